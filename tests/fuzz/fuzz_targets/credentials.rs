//! `Authorization`, `DPoP` and the query, as they come. Lines of the input are: the query, then header lines of both kinds in turn.

#![no_main]

use std::sync::Arc;

use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::credential::{CredentialLimits, DPOP, Presented};
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::NonceRule;
use holdfast::verify::request::{RequestFacts, Target};
use holdfast::verify::time::UnixTime;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

const LIMITS: CredentialLimits = CredentialLimits { token_bytes: 256, proof_bytes: 256 };

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let query = lines.next().map(|query| String::from_utf8_lossy(query).into_owned());
    let mut headers = HeaderMap::new();
    for (position, line) in lines.enumerate().take(8) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(if position % 2 == 0 { AUTHORIZATION } else { DPOP }, value);
        }
    }
    let target = Target {
        origin: Arc::new(Origin::read("https://a").expect("an origin")),
        path: Path::read("/b").expect("a path"),
        query,
    };
    let rules = DpopRules {
        algorithms: Algorithms::new(&Algorithm::ALL),
        max_age: 60,
        max_future: 10,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[1; 32], &[], 300),
    };
    let terms = Terms { rules: &rules, nonce: NonceRule::None, now: UnixTime::from_seconds(1_700_000_000) };
    let facts = RequestFacts { method: &Method::GET, target: &target, headers: &headers, certificate: None };
    if let Ok(presented) = Presented::read(&facts, &LIMITS, &terms) {
        assert_eq!(headers.get_all(AUTHORIZATION).iter().count(), 1, "exactly one credential");
        assert!(presented.token().text().len() <= LIMITS.token_bytes);
    }
});

//! A DPoP proof: the compact JWS, its header with the key, its claims. The three parts of the input, split at NUL, are encoded as a
//! caller would, so that the fuzzer need not learn base64.

#![no_main]

use std::sync::Arc;

use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::credential::{CredentialLimits, DPOP, Presented};
use holdfast::verify::digest::Digest;
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::jws::to_base64url;
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::NonceRule;
use holdfast::verify::request::{RequestFacts, Target};
use holdfast::verify::time::UnixTime;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

const LIMITS: CredentialLimits = CredentialLimits { token_bytes: 8192, proof_bytes: 65_536 };

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<String> = bytes.splitn(3, |byte| *byte == 0).map(to_base64url).collect();
    let Ok(proof) = HeaderValue::from_str(&parts.join(".")) else { return };
    let headers =
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("DPoP abc")), (DPOP, proof)]);
    let target = Target {
        origin: Arc::new(Origin::read("https://a").expect("an origin")),
        path: Path::read("/b").expect("a path"),
        query: None,
    };
    let rules = DpopRules {
        algorithms: Algorithms::new(&Algorithm::ALL),
        // So wide that the fuzzer need not guess the time.
        max_age: i64::MAX,
        max_future: i64::MAX,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[1; 32], &[], 300),
    };
    let facts = RequestFacts { method: &Method::GET, target: &target, headers: &headers, certificate: None };
    for nonce in [NonceRule::None, NonceRule::Required] {
        let terms = Terms { rules: &rules, nonce, now: UnixTime::from_seconds(1_700_000_000) };
        if let Ok(Presented::Dpop { proof: Ok(proof), .. }) = Presented::read(&facts, &LIMITS, &terms) {
            assert!(proof.verify(Digest::of(b"a key nobody has"), &terms).is_err());
        }
    }
});

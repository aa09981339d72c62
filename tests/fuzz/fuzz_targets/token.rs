//! An access token before its signature: header and claims, split at NUL and encoded as an issuer would.

#![no_main]

use std::sync::Arc;

use holdfast::verify::algorithm::Algorithms;
use holdfast::verify::credential::{CredentialLimits, Presented};
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::jws::to_base64url;
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::NonceRule;
use holdfast::verify::request::{RequestFacts, Target};
use holdfast::verify::time::UnixTime;
use holdfast::verify::token::Unverified;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

const LIMITS: CredentialLimits = CredentialLimits { token_bytes: 65_536, proof_bytes: 8192 };

fuzz_target!(|bytes: &[u8]| {
    let parts: Vec<String> = bytes.splitn(3, |byte| *byte == 0).map(to_base64url).collect();
    let Ok(line) = HeaderValue::from_str(&format!("Bearer {}", parts.join("."))) else { return };
    let headers = HeaderMap::from_iter([(AUTHORIZATION, line)]);
    let target = Target {
        origin: Arc::new(Origin::read("https://a").expect("an origin")),
        path: Path::read("/b").expect("a path"),
        query: None,
    };
    let rules = DpopRules {
        algorithms: Algorithms::new(&[]),
        max_age: 60,
        max_future: 10,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[1; 32], &[], 300),
    };
    let terms = Terms { rules: &rules, nonce: NonceRule::None, now: UnixTime::from_seconds(1_700_000_000) };
    let facts = RequestFacts { method: &Method::GET, target: &target, headers: &headers, certificate: None };
    if let Ok(presented) = Presented::read(&facts, &LIMITS, &terms)
        && let Ok(token) = Unverified::read(presented.token())
    {
        let _ = token.issuer().len();
    }
});

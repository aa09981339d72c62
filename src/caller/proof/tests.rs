//! A proof made here passes the gateway's own checks, and each part of it is what makes it pass.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

use super::{NotAUrl, ProofRequest};
use crate::caller::key::DpopKey;
use crate::verify::algorithm::{Algorithm, Algorithms};
use crate::verify::credential::{CredentialLimits, DPOP, Presented};
use crate::verify::dpop::{DpopRules, HeldKey, Terms};
use crate::verify::htu::{Origin, Path};
use crate::verify::jws::{self, Compact};
use crate::verify::nonce::NonceRing;
use crate::verify::policy::NonceRule;
use crate::verify::rejection::Rejection;
use crate::verify::request::{RequestFacts, Target};
use crate::verify::time::UnixTime;

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);
const TOKEN: &str = "token-of-the-test";
const URL: &str = "https://api.example.com/accounts/1?page=2#top";

fn rules() -> DpopRules {
    DpopRules {
        algorithms: Algorithms::new(&[Algorithm::Es256]),
        max_age: 60,
        max_future: 10,
        fence: None,
        oldest: None,
        nonces: NonceRing::new(&[7; 32], &[], 300),
    }
}

/// What the gateway makes of `proof` on GET /accounts/1 with [`TOKEN`], bound to `key`.
fn judged(proof: &str, key: &DpopKey, nonce: NonceRule) -> Result<HeldKey, Rejection> {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("DPoP {TOKEN}")).expect("a header"));
    headers.insert(DPOP, HeaderValue::from_str(proof).expect("a header"));
    let target = Target {
        origin: Arc::new(Origin::read("https://api.example.com").expect("an origin")),
        path: Path::read("/accounts/1").expect("a path"),
        query: Some("page=2".into()),
    };
    let facts = RequestFacts { method: &Method::GET, target: &target, headers: &headers, certificate: None };
    let rules = rules();
    let terms = Terms { rules: &rules, nonce, now: NOW };
    let limits = CredentialLimits { token_bytes: 16 << 10, proof_bytes: 8 << 10 };
    match Presented::read(&facts, &limits, &terms)? {
        Presented::Dpop { proof, .. } => proof?.verify(key.thumbprint(), &terms),
        Presented::Bearer { .. } | Presented::BearerBesideProof { .. } => panic!("the scheme was DPoP"),
    }
}

fn request(method: &Method, url: &str) -> ProofRequest {
    ProofRequest::new(method, url).expect("a URL")
}

#[test]
fn a_proof_made_here_passes_every_check() {
    let key = DpopKey::generate().expect("a key");
    let proof = request(&Method::GET, URL).with_token(TOKEN).sign(&key, NOW).expect("a proof");
    let held = judged(&proof, &key, NonceRule::None).expect("accepted");
    assert_eq!(held.thumbprint(), key.thumbprint());
}

#[test]
fn a_nonce_goes_into_the_proof() {
    let key = DpopKey::generate().expect("a key");
    let wanted = request(&Method::GET, URL).with_token(TOKEN);
    let without = wanted.sign(&key, NOW).expect("a proof");
    assert_eq!(judged(&without, &key, NonceRule::Required).map(|_| ()), Err(Rejection::NonceMissing));
    let nonce = rules().nonces.seal(key.thumbprint(), NOW);
    let with = wanted.with_nonce(nonce.as_str()).sign(&key, NOW).expect("a proof");
    assert_eq!(judged(&with, &key, NonceRule::Required).map(|_| ()), Ok(()));
}

/// Each argument of the proof is in it: changing one is heard.
#[test]
fn every_argument_counts() {
    let (key, other) = (DpopKey::generate().expect("a key"), DpopKey::generate().expect("a key"));
    let good = request(&Method::GET, URL).with_token(TOKEN);
    for (proof, expected) in [
        (request(&Method::POST, URL).with_token(TOKEN).sign(&key, NOW), Rejection::ProofHtm),
        (
            request(&Method::GET, "https://api.example.com/accounts/2").with_token(TOKEN).sign(&key, NOW),
            Rejection::ProofHtu,
        ),
        (request(&Method::GET, URL).sign(&key, NOW), Rejection::ProofClaims),
        (request(&Method::GET, URL).with_token("another").sign(&key, NOW), Rejection::ProofAth),
        (good.sign(&key, NOW.minus(61)), Rejection::ProofTooOld),
        (good.sign(&key, NOW.plus(11)), Rejection::ProofInFuture),
        (good.sign(&other, NOW), Rejection::KeyMismatch),
    ] {
        let proof = proof.expect("a proof");
        assert_eq!(judged(&proof, &key, NonceRule::None).map(|_| ()), Err(expected));
    }
}

#[test]
fn each_proof_has_a_jti_of_its_own_unless_told() {
    let key = DpopKey::generate().expect("a key");
    let jti = |request: &ProofRequest| {
        let proof = request.sign(&key, NOW).expect("a proof");
        let jws = Compact::read(&proof).expect("a compact JWS");
        let claims = jws.claims().expect("claims");
        jws::string(&claims, "jti").expect("a jti").to_owned()
    };
    let wanted = request(&Method::GET, URL);
    let (first, second) = (jti(&wanted), jti(&wanted));
    assert_ne!(first, second);
    assert_eq!(first.len(), 22, "128 bits");
    assert_eq!(jti(&wanted.with_jti("mine")), "mine");
}

#[test]
fn query_and_fragment_are_cut_and_an_empty_path_is_a_slash() {
    for (url, htu) in [
        (URL, "https://api.example.com/accounts/1"),
        ("https://api.example.com", "https://api.example.com/"),
        ("https://api.example.com?a=/b", "https://api.example.com/"),
        ("http://[::1]:8080/x#y?z", "http://[::1]:8080/x"),
    ] {
        assert_eq!(request(&Method::GET, url).htu(), htu);
    }
    for url in [
        "",
        "/accounts/1",
        "api.example.com/x",
        "ftp://api.example.com/",
        "https://u:p@api.example.com/",
        "https:///x",
    ] {
        assert_eq!(ProofRequest::new(&Method::GET, url).map(|_| ()), Err(NotAUrl), "{url}");
    }
}

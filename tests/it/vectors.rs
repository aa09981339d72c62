//! The RFCs' own examples, from `tests/vectors`.

use holdfast::verify::algorithm::Algorithm;
use holdfast::verify::credential::Presented;
use holdfast::verify::digest::{AccessToken, Digest};
use holdfast::verify::htu::{self, Origin, Path};
use holdfast::verify::json::Object;
use holdfast::verify::jwk::{PublicKey, Unfit};
use holdfast::verify::jws::Compact;
use holdfast::verify::rejection::Rejection;
use serde_json::Value;

use crate::presented::Request;
use crate::rfc3986;

fn data(text: &str) -> Value {
    serde_json::from_str(text).expect("the vectors are JSON")
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} in {vector}"))
}

fn key(vector: &Value) -> (Algorithm, PublicKey) {
    let algorithm = Algorithm::from_name(text(vector, "alg")).expect("an algorithm we know");
    let jwk = vector["jwk"].to_string();
    let jwk = Object::read(jwk.as_bytes()).expect("a JSON object");
    (algorithm, PublicKey::read(&jwk, algorithm).unwrap_or_else(|| panic!("the key of {vector}")))
}

/// The proof printed in RFC 9449 §7.1, all the way to the signature, at the second it was made. T-BND-07.
#[test]
fn the_resource_request_of_rfc_9449() {
    let vectors = data(include_str!("../vectors/rfc9449.json"));
    let vector = &vectors["resource_request"];
    let (token, proof) = (text(vector, "access_token"), text(vector, "proof"));
    let jkt = Digest::from_base64url(text(vector, "jkt")).expect("a thumbprint");
    let iat = vector["iat"].as_i64().expect("seconds");
    let request = Request::new(text(vector, "method"), text(vector, "url"))
        .authorization(format!("DPoP {token}").as_bytes())
        .proof(proof.as_bytes());
    let checked = |now| match request.read(now).expect("credentials of the right form") {
        Presented::Dpop { token, proof } => (token.digest(), proof),
        Presented::Bearer { .. } | Presented::BearerBesideProof { .. } => panic!("the scheme is DPoP"),
    };

    let (ath, proof) = checked(iat);
    assert_eq!(Digest::<AccessToken>::from_base64url(text(vector, "ath")), Some(ath));
    let held = proof.expect("it passes every cheap check").verify(jkt, &request.terms(iat));
    assert_eq!(held.expect("its signature verifies").thumbprint(), jkt);

    let (_, proof) = checked(iat);
    let other = Digest::of(b"another key");
    let refused =
        proof.expect("the same proof").verify(other, &request.terms(iat)).expect_err("another's token");
    assert_eq!(refused, Rejection::KeyMismatch);
    // The last and the first second of the window, and the ones beyond.
    assert!(checked(iat + 60).1.is_ok() && checked(iat - 10).1.is_ok());
    assert_eq!(checked(iat + 61).1.err(), Some(Rejection::ProofTooOld));
    assert_eq!(checked(iat - 11).1.err(), Some(Rejection::ProofInFuture));
}

/// A proof made for the authorization server has no `ath`, and is none for a resource (RFC 9449 §4.2).
#[test]
fn the_token_request_of_rfc_9449_is_no_proof_here() {
    let vectors = data(include_str!("../vectors/rfc9449.json"));
    let vector = &vectors["token_request"];
    let request = Request::new(text(vector, "method"), text(vector, "url"))
        .authorization(b"DPoP abc")
        .proof(text(vector, "proof").as_bytes());
    let presented = request.read(vector["iat"].as_i64().expect("seconds")).expect("credentials");
    assert_eq!(presented.proof_rejection(), Some(Rejection::ProofClaims));
}

#[test]
fn thumbprints() {
    for vector in data(include_str!("../vectors/thumbprints.json")).as_array().expect("a list") {
        let (_, key) = key(vector);
        assert_eq!(key.thumbprint().to_base64url(), text(vector, "thumbprint"), "{}", vector["section"]);
    }
}

#[test]
fn signatures() {
    for vector in data(include_str!("../vectors/signatures.json")).as_array().expect("a list") {
        let (algorithm, key) = key(vector);
        let jws = Compact::read(text(vector, "jws")).expect("a compact JWS");
        let verify = |message: &str| key.verify(algorithm, message.as_bytes(), &jws.signature);
        assert_eq!(verify(jws.signing_input), Ok(()), "{}", vector["section"]);
        assert_eq!(verify(&jws.signing_input[1..]), Err(Unfit::Signature), "{}", vector["section"]);
    }
}

/// The gateway's `htu` and the plain implementation of `rfc3986` both give what the RFC says.
#[test]
fn the_uris_of_rfc_3986() {
    let vectors = data(include_str!("../vectors/rfc3986.json"));
    let list = |name: &str| vectors[name].as_array().expect("a list").clone();
    for vector in list("dot_segments") {
        let (path, is) = (text(&vector, "path"), text(&vector, "is"));
        let origin = Origin::read("https://a").expect("an origin");
        assert!(
            htu::matches(&format!("https://a{path}"), &origin, &Path::read(is).expect("a path")),
            "{vector}"
        );
        assert_eq!(rfc3986::remove_dot_segments(path), is, "{vector}");
    }
    for (name, equal) in [("equivalent", true), ("different", false)] {
        for vector in list(name) {
            let (a, b) = (text(&vector, "a"), text(&vector, "b"));
            let authority = b.find("://").expect("absolute") + 3;
            let path = authority + b[authority..].find('/').expect("a path");
            let origin = Origin::read(&b[..path]).expect("an origin");
            assert_eq!(htu::matches(a, &origin, &Path::read(&b[path..]).expect("a path")), equal, "{vector}");
            assert_eq!(rfc3986::normal(a) == rfc3986::normal(b), equal, "{vector}");
        }
    }
}

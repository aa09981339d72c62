//! Which keys a token may be signed with: T-JWT-04, -16 to -18, -24, R-H-02, R-H-04, R-H-09, R-H-10.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::{Value, json};

use super::without;
use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{Signer, mac};
use crate::table::Heard::{Passed, Refused};
use crate::table::hear;

/// T-JWT-04: the public key is no secret.
#[tokio::test(flavor = "multi_thread")]
async fn macs_with_the_issuers_public_key() {
    let house = House::usual().await;
    let signer = Signer::es256(&house.issuer);
    let pem = josekit::jwk::alg::ec::EcKeyPair::from_pem(house.issuer.to_pkcs8_pem().as_bytes(), None)
        .expect("its own PEM")
        .to_pem_public_key();
    let jwks = std::fs::read(house.directory.path().join("issuer.jwks.json")).expect("the issuer's keys");
    let secrets = [
        pem,
        house.issuer.public_jwk().into_bytes(),
        signer.public().to_string().into_bytes(),
        jwks,
        Vec::new(),
    ];
    for secret in secrets {
        for (name, algorithm) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            for named in [name, "ES256"] {
                let mut scene = Scene::right(&house);
                scene.token_header["alg"] = json!(named);
                let secret = secret.clone();
                scene.edit_token = Box::new(move |token| mac(&token, algorithm, &secret));
                let rejection = if named == "ES256" { TokenSignature } else { TokenAlg };
                hear(&house, &scene, name, Refused(rejection)).await;
            }
        }
    }
}

/// T-JWT-18, R-H-10: keys that a token brings along, or says where to find, are neither used nor fetched.
#[tokio::test(flavor = "multi_thread")]
async fn keys_in_a_token_are_ignored() {
    let house = House::usual().await;
    let bait = std::net::TcpListener::bind("127.0.0.1:0").expect("port 0 is free");
    bait.set_nonblocking(true).expect("a socket");
    let url = format!("http://{}/keys", bait.local_addr().expect("an address"));
    for known_kid in [true, false] {
        let thief = DpopKey::generate().expect("a key");
        let mut scene = Scene::right(&house);
        scene.token_header["jwk"] = serde_json::from_str(&thief.public_jwk()).expect("a JWK");
        scene.token_header["jku"] = json!(url);
        scene.token_header["x5u"] = json!(url);
        scene.token_header["x5c"] = json!([STANDARD.encode(&house.certificates[0].0)]);
        hear(&house, &scene, "ignored in a right token", Passed).await;
        if !known_kid {
            without(&mut scene.token_header, "kid");
        }
        let (header, claims) = (scene.token_header.to_string(), scene.token_claims.to_string());
        scene.edit_token = Box::new(move |_| thief.sign_compact(&header, &claims));
        scene.proof_claims["jti"] = json!("another");
        hear(&house, &scene, "signed with the key it brings", Refused(TokenSignature)).await;
    }
    assert!(bait.accept().is_err(), "someone came for the keys");
}

/// T-JWT-16, T-JWT-17, R-H-04, R-H-09: which key of a set verifies what.
#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_set() {
    let [ec, rsa, rsa_for_ps, ed, private, encrypting] =
        ["ES256", "RS256", "PS256", "EdDSA", "ES256", "ES256"].map(Signer::new);
    let published = |signer: &Signer, more: Value| {
        let mut key = signer.public();
        for (name, value) in more.as_object().expect("an object") {
            key[name] = value.clone();
        }
        key
    };
    let mut leaked = private.private();
    leaked["kid"] = json!("leaked");
    let keys = json!({"keys": [
        {"kty": "oct", "kid": "secret", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"},
        leaked,
        published(&encrypting, json!({"kid": "enc", "use": "enc"})),
        published(&encrypting, json!({"kid": "ops", "key_ops": ["encrypt"]})),
        published(&encrypting, json!({"kid": "other", "alg": "ES384"})),
        {"kty": "AKP", "kid": "tomorrow", "alg": "ML-DSA-44", "pub": "AAAA"},
        {"kid": "nothing"},
        published(&ec, json!({"kid": "same"})),
        published(&rsa, json!({"kid": "same", "alg": "RS256"})),
        published(&rsa_for_ps, json!({"kid": "ps", "use": "sig", "alg": "PS256"})),
        published(&ed, json!({"kid": "ed"})),
    ]});
    let house =
        House::built(Plan { files: vec![("issuer.jwks.json", keys.to_string())], ..Plan::default() }).await;
    let rs_with_ps_key = rsa_for_ps.renamed("RS256");
    let (ed25519, ps_with_rs_key) = (ed.renamed("Ed25519"), rsa.renamed("PS256"));
    let cases: [(&Signer, Option<&str>, Result<(), Rejection>); 14] = [
        (&ec, Some("same"), Ok(())),
        (&rsa, Some("same"), Ok(())),
        (&rsa_for_ps, Some("ps"), Ok(())),
        (&ed, Some("ed"), Ok(())),
        (&ed25519, Some("ed"), Ok(())),
        (&ec, None, Ok(())),
        (&rsa, None, Ok(())),
        (&rs_with_ps_key, Some("ps"), Err(TokenKeyUnknown)),
        (&ps_with_rs_key, Some("same"), Err(TokenKeyUnknown)),
        (&ec, Some("ps"), Err(TokenKeyUnknown)),
        (&private, Some("leaked"), Err(TokenKeyUnknown)),
        (&encrypting, Some("enc"), Err(TokenKeyUnknown)),
        (&encrypting, Some("ops"), Err(TokenKeyUnknown)),
        (&encrypting, None, Err(TokenSignature)),
    ];
    for (signer, kid, expected) in cases {
        let mut scene = Scene::right(&house);
        scene.token_header = json!({"typ": "at+jwt", "alg": signer.algorithm});
        if let Some(kid) = kid {
            scene.token_header["kid"] = json!(kid);
        }
        // ECDSA signs at random here, and `ath` has to be of the token that is sent.
        let token =
            signer.sign(scene.token_header.to_string().as_bytes(), scene.token_claims.to_string().as_bytes());
        scene.edit_token = Box::new(move |_| token.clone());
        let what = format!("{} by {kid:?}", signer.algorithm);
        hear(&house, &scene, &what, expected.map_or_else(Refused, |()| Passed)).await;
    }
}

/// T-JWT-24, R-H-02: each issuer speaks for itself.
#[tokio::test(flavor = "multi_thread")]
async fn issuers_speak_for_themselves() {
    const OTHER: &str = "https://other.example.com";
    let issuer = "    keys: { jwks_file: issuer.jwks.json }
  - issuer: https://other.example.com
    audiences: [https://api.example.com]
    keys: { jwks_file: other.jwks.json }
";
    let other = Signer::new("ES256");
    let mut key = other.public();
    key["kid"] = json!("one");
    let files = vec![("other.jwks.json", json!({"keys": [key]}).to_string())];
    let house = House::built(Plan { issuer, files, ..Plan::default() }).await;
    for (names_other, by_other) in [(false, false), (true, true), (true, false), (false, true)] {
        let mut scene = Scene::right(&house);
        if names_other {
            scene.token_claims["iss"] = json!(OTHER);
        }
        if by_other {
            let token = other
                .sign(scene.token_header.to_string().as_bytes(), scene.token_claims.to_string().as_bytes());
            scene.edit_token = Box::new(move |_| token.clone());
        }
        let expected = if names_other == by_other { Passed } else { Refused(TokenSignature) };
        hear(&house, &scene, &format!("names the other: {names_other}, signed by it: {by_other}"), expected)
            .await;
    }
}

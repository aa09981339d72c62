//! What a token is taken for, for how long, and how large it may be: T-JWT-02, -25, -32, R-H-01, R-H-17, R-H-20, R-H-21.

use std::fmt::Write as _;

use holdfast::caller::key::DpopKey;
use holdfast::verify::digest::{AccessToken, Digest};
use holdfast::verify::rejection::Rejection::*;
use serde_json::json;

use super::{typ, without};
use crate::house::{House, Plan};
use crate::scene::Scene;
use crate::signer::{malleated, push_member, resign, respell_token};
use crate::table::Heard::{self, Passed, Refused};
use crate::table::{hear, heard};

/// T-JWT-02, T-JWT-25, R-H-01, R-H-20: an issuer from before RFC 9068 is taken at the operator's word, and other kinds of JWT are refused still.
#[tokio::test(flavor = "multi_thread")]
async fn token_type_any() {
    type Change = fn(&mut Scene);
    let issuer = "    keys: { jwks_file: issuer.jwks.json }\n    token_type: any\n";
    let house = House::built(Plan { issuer, ..Plan::default() }).await;
    let cases: [(&str, Heard, Change); 12] = [
        ("at+jwt", Passed, |_| {}),
        ("JWT", Passed, |s| typ(s, json!("JWT"))),
        ("none", Passed, |s| without(&mut s.token_header, "typ")),
        ("dpop+jwt", Refused(TokenTyp), |s| typ(s, json!("dpop+jwt"))),
        ("logout+jwt", Refused(TokenTyp), |s| typ(s, json!("logout+jwt"))),
        ("application/token-introspection+jwt", Refused(TokenTyp), |s| {
            typ(s, json!("application/token-introspection+jwt"))
        }),
        ("an ID token", Refused(TokenTyp), |s| s.token_claims["at_hash"] = json!("AAAA")),
        ("a logout token", Refused(TokenTyp), |s| s.token_claims["events"] = json!({"x": {}})),
        ("an answer of introspection", Refused(TokenTyp), |s| {
            s.token_claims["token_introspection"] = json!({"active": true})
        }),
        ("a proof", Refused(TokenTyp), |s| s.token_claims["htu"] = json!("https://api.example.com/")),
        ("unbound, still", Refused(TokenUnbound), |s| without(&mut s.token_claims, "cnf")),
        ("without client_id, still", Refused(TokenClaimMissing), |s| {
            without(&mut s.token_claims, "client_id")
        }),
    ];
    for (what, expected, change) in cases {
        let mut scene = Scene::right(&house);
        change(&mut scene);
        hear(&house, &scene, what, expected).await;
    }
}

/// T-JWT-25, R-A-04, R-H-20: a proof is no token, a token is no proof, though the same key signed both.
#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_proofs_are_not_confused() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    let proof = scene.proof(&scene.token(&house));
    scene.edit_token = Box::new(move |_| proof.clone());
    hear(&house, &scene, "a proof as the token", Refused(TokenTyp)).await;

    let mut scene = Scene::right(&house);
    let token = scene.token(&house);
    scene.edit_proof = Box::new(move |_| token.clone());
    hear(&house, &scene, "the token as the proof", Refused(ProofTyp)).await;

    // Everything a proof needs and everything a token needs, by a key that is both the issuer's and the caller's.
    let mut scene = Scene::right(&house);
    scene.key = DpopKey::from_pem(&house.issuer.to_pkcs8_pem()).expect("its own PEM");
    scene.proof_header["jwk"] = serde_json::from_str(&scene.key.public_jwk()).expect("a JWK");
    scene.token_claims["cnf"]["jkt"] = json!(scene.key.thumbprint().to_base64url());
    for (name, value) in scene.token_claims.as_object().expect("an object").clone() {
        if !matches!(name.as_str(), "jti" | "iat" | "exp") {
            scene.proof_claims[name] = value;
        }
    }
    hear(&house, &scene, "claims of both", Passed).await;
    scene.proof_claims["jti"] = json!("another");
    let proof = scene.proof(&scene.token(&house));
    scene.edit_token = Box::new(move |_| proof.clone());
    hear(&house, &scene, "such a proof as the token", Refused(TokenTyp)).await;
}

/// T-JWT-32, R-H-21: an answer is repeated for the very same characters, and only while they are good.
#[tokio::test(flavor = "multi_thread")]
async fn verified_tokens_are_remembered_no_longer_than_they_last() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    let again = |scene: &mut Scene| {
        let jti = holdfast::caller::key::random_base64url::<16>().expect("randomness");
        scene.proof_claims["jti"] = json!(jti);
        scene.proof_claims["iat"] = json!(house.now());
    };
    hear(&house, &scene, "first", Passed).await;
    again(&mut scene);
    hear(&house, &scene, "remembered", Passed).await;

    // The same header and claims with another signature; with the other signature of the same key; with one character more.
    again(&mut scene);
    scene.edit_token = Box::new(|token| resign(&token, |_| vec![1; 64]));
    hear(&house, &scene, "another signature", Refused(TokenSignature)).await;
    scene.edit_token = Box::new(|token| malleated(&token));
    hear(&house, &scene, "as good a signature", Passed).await;
    again(&mut scene);
    for (what, edit) in [
        ("a character more", (|token| token + "A") as fn(String) -> String),
        ("a character less", |mut token| {
            token.pop();
            token
        }),
        ("a dot more", |token| token + "."),
        ("padding", |token| token + "=="),
    ] {
        scene.edit_token = Box::new(edit);
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, house.seen().len()), (401, 0), "{what}: {answer:?}");
    }
    scene.edit_token = Box::new(|token| token);

    // Remembered is not presented: everything about the request is judged each time.
    let thief = DpopKey::generate().expect("a key");
    let mut stolen = Scene::right(&house);
    stolen.token_claims = scene.token_claims.clone();
    hear(&house, &stolen, "another key", Refused(KeyMismatch)).await;
    (stolen.key, stolen.scheme) = (thief, "Bearer".into());
    hear(&house, &stolen, "as Bearer", Refused(BearerForDpop)).await;
    scene.go_to("/narrow");
    again(&mut scene);
    hear(&house, &scene, "another route", Refused(RouteAudience)).await;
    scene.go_to("/");

    // 300 s of life and 5 s of leeway; the proofs are fresh.
    house.pass_time(304);
    again(&mut scene);
    hear(&house, &scene, "its last second", Passed).await;
    house.pass_time(1);
    again(&mut scene);
    hear(&house, &scene, "over", Refused(TokenExpired)).await;
    hear(&house, &scene, "and again", Refused(TokenExpired)).await;
}

/// R-H-17, T-PRF-40: as deep as fits in limits that are far above the usual ones; and long, and many.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_levels() {
    let more = "limits: { header_bytes: 512KiB, proof_bytes: 128KiB, token_bytes: 256KiB }\n";
    let house = House::built(Plan { more, ..Plan::default() }).await;
    let mut many = String::new();
    for number in 0..10_000 {
        write!(many, "\"m{number}\":0,").expect("text");
    }
    let members = [
        format!("\"deep\":{}{}", "[".repeat(10_000), "]".repeat(10_000)),
        format!("\"deep\":{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000)),
        format!("\"deep\":{}", "[".repeat(10_000)),
        format!("{many}\"last\":0"),
    ];
    for member in members {
        for in_header in [true, false] {
            let mut scene = Scene::right(&house);
            let member = member.clone();
            respell_token(&mut scene, &house, move |header, claims| {
                push_member(if in_header { header } else { claims }, &member);
            });
            hear(&house, &scene, "deep", Refused(TokenMalformed)).await;
        }
    }
    // A claim as long as a token may be is no trouble.
    let mut scene = Scene::right(&house);
    scene.token_claims["long"] = json!("x".repeat(100_000));
    hear(&house, &scene, "long", Passed).await;
}

/// R-H-17: the limit is exact, and a longer head is refused before it is a request.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_be_as_long_as_the_limit() {
    let house = House::usual().await;
    for (length, expected) in [
        (16 * 1024, Refused(TokenMalformed)),
        (16 * 1024 + 1, Refused(TokenTooLarge)),
        (40_000, Heard::Unread(431)),
    ] {
        let mut scene = Scene::right(&house);
        scene.edit_token = Box::new(move |_| "a".repeat(length));
        let lines = [
            ("authorization".to_owned(), format!("DPoP {}", scene.token(&house))),
            ("dpop".to_owned(), {
                let ath = Digest::<AccessToken>::of("a".repeat(length).as_bytes()).to_base64url();
                scene.proof_claims["ath"] = json!(ath);
                scene.proof("")
            }),
        ];
        let answer = scene.send_bytes(&house, &scene.bytes_with(&lines)).await;
        heard(&house, &scene, &answer, &format!("{length}"), expected);
    }
}

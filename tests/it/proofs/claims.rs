//! The claims of a proof: T-CLM, R-A-11 to R-A-13, R-A-19 to R-A-21 and R-A-25.

use holdfast::verify::rejection::Rejection::{self, *};
use serde_json::json;

use super::without;
use crate::house::House;
use crate::scene::Scene;
use crate::signer::{replace, respell_proof};
use crate::table::Heard::{self, Passed, Refused};
use crate::table::{Row, hear, play};

const CLAIMS: &[Row] = &[
    ("T-CLM-02 R-A-25", "an empty jti", Refused(ProofJti), |s, _| s.proof_claims["jti"] = json!("")),
    ("R-A-25 R-E-07", "a jti of 256 bytes", Passed, |s, _| s.proof_claims["jti"] = json!("é".repeat(128))),
    ("R-A-25 R-E-07", "a jti of 257", Refused(ProofJti), |s, _| {
        s.proof_claims["jti"] = json!("x".repeat(257))
    }),
    ("R-A-25", "a jti of 5 KB", Refused(ProofJti), |s, _| s.proof_claims["jti"] = json!("x".repeat(5000))),
    ("R-A-25", "a jti of 10 KB", Refused(ProofTooLarge), |s, _| {
        s.proof_claims["jti"] = json!("x".repeat(10_000))
    }),
    ("T-CLM-04", "a jti with NUL", Refused(ProofMalformed), |s, _| s.proof_claims["jti"] = json!("a\0b")),
    ("T-CLM-04", "a jti with lines", Passed, |s, _| s.proof_claims["jti"] = json!("a\r\nINFO ok")),
    ("T-CLM-04", "a jti in another script", Passed, |s, _| s.proof_claims["jti"] = json!("ключ 鍵 🔑")),
    ("T-CLM-06 R-A-12", "PUT for GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("PUT")),
    ("T-CLM-08", "get for GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("get")),
    ("R-A-12", "an empty htm", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("")),
    ("R-A-12", "a space behind GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("GET ")),
    ("R-A-12", "two methods", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("GET,POST")),
    ("R-A-12", "any method", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("*")),
    ("R-A-12", "PROPFIND", Passed, |s, _| s.using("PROPFIND")),
    ("R-A-12", "GET for PROPFIND", Refused(ProofHtm), |s, _| s.method = "PROPFIND".into()),
    ("R-A-12", "OPTIONS", Passed, |s, _| s.using("OPTIONS")),
    ("T-CLM-12", "GET for HEAD", Refused(ProofHtm), |s, _| s.method = "HEAD".into()),
    ("T-CLM-12", "HEAD", Passed, |s, _| s.using("HEAD")),
    ("T-CLM-12", "HEAD for GET", Refused(ProofHtm), |s, _| s.proof_claims["htm"] = json!("HEAD")),
    ("T-CLM-10 R-A-13", "POST that says it is DELETE, a proof for DELETE", Refused(ProofHtm), |s, _| {
        s.method = "POST".into();
        s.proof_claims["htm"] = json!("DELETE");
        s.headers.push(("x-http-method-override".into(), "DELETE".into()));
    }),
    ("R-A-13", "_method in the query", Refused(MethodOverridden), |s, _| {
        s.target = "/?_method=DELETE".into()
    }),
    ("R-A-13", "behind another parameter", Refused(MethodOverridden), |s, _| {
        s.target = "/?a=b&_method=DELETE".into()
    }),
    ("R-A-13", "percent-encoded", Refused(MethodOverridden), |s, _| s.target = "/?%5Fmethod=DELETE".into()),
    ("R-A-13", "encoded throughout", Refused(MethodOverridden), |s, _| {
        s.target = "/?a&%5f%6d%65%74%68%6f%64=DELETE".into()
    }),
    ("R-A-13", "another parameter", Passed, |s, _| s.target = "/?method=DELETE&x_method=1&a=_method".into()),
    ("T-CLM-20 R-A-21", "claims nobody knows", Passed, |s, _| {
        for name in ["foo", "aud", "iss", "sub", "htb", "azp"] {
            s.proof_claims[name] = json!({"deep": [1, 2, {"er": null}]});
        }
    }),
    ("T-CLM-21", "a content_digest", Passed, |s, _| {
        s.proof_claims["content_digest"] = json!("sha-256=:AAAA:")
    }),
    ("R-D-03", "a nonce nobody asked for", Passed, |s, _| s.proof_claims["nonce"] = json!("whatever")),
];

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_this_requests() {
    play(&House::usual().await, CLAIMS).await;
}

/// T-CLM-01, -02, -05, -09, -13, -14, T-BND-01, T-HTU-31, R-A-11: absent, or of another type, is refused; never taken for absent or for text.
#[tokio::test(flavor = "multi_thread")]
async fn claims_of_another_type() {
    let house = House::usual().await;
    let others = [json!(null), json!(true), json!([]), json!({}), json!(["GET"]), json!({"a": "GET"})];
    for name in ["jti", "htm", "htu", "iat", "ath"] {
        let mut scene = Scene::right(&house);
        if name == "ath" {
            scene.proof_claims["ath"] = json!("none");
        } else {
            without(&mut scene.proof_claims, name);
        }
        hear(&house, &scene, name, Refused(ProofClaims)).await;
        let wrong = if name == "iat" { json!(house.now().to_string()) } else { json!(1) };
        for value in others.iter().chain([&wrong]) {
            let mut scene = Scene::right(&house);
            scene.proof_claims[name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(ProofClaims)).await;
        }
    }
    for name in ["exp", "nbf"] {
        for value in others.iter().chain([&json!("1")]) {
            let mut scene = Scene::right(&house);
            scene.proof_claims[name] = value.clone();
            hear(&house, &scene, &format!("{name}: {value}"), Refused(ProofClaims)).await;
        }
    }
}

/// R-A-13: what could make another method of the one the proof is for never reaches the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn method_overrides_do_not_arrive() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    scene.body = "_method=DELETE".into();
    let names = [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x_http_method_override",
        "X_Method-Override",
    ];
    scene.headers.extend(names.map(|name| (name.to_owned(), "DELETE".to_owned())));
    assert_eq!(scene.send(&house).await.status, 200);
    let [seen] = &house.seen()[..] else { panic!("one request") };
    assert_eq!(
        (seen.method.as_str(), &seen.body[..]),
        ("POST", &b"_method=DELETE"[..]),
        "bodies are the upstream's"
    );
    assert!(!seen.headers.keys().any(|name| name.as_str().contains("method")), "{:?}", seen.headers);
}

/// T-CLM-16, R-A-19: numbers that do not fit, as they are written.
#[tokio::test(flavor = "multi_thread")]
async fn dates_that_are_none() {
    let house = House::usual().await;
    let now = house.now();
    let cases: Vec<(String, Heard)> = [
        ("-9223372036854775808", ProofClaims),
        ("9223372036854775807", ProofClaims),
        ("9223372036854775808", ProofClaims),
        ("18446744073709551615", ProofClaims),
        ("99999999999999999999999999", ProofClaims),
        ("1e300", ProofClaims),
        ("1e400", ProofMalformed),
        ("-1", ProofClaims),
        ("-1e400", ProofMalformed),
        ("-0.5", ProofClaims),
        ("NaN", ProofMalformed),
        ("Infinity", ProofMalformed),
        ("0x10", ProofMalformed),
        ("01", ProofMalformed),
        ("9007199254740991", ProofInFuture),
        ("9007199254740993", ProofClaims),
        ("0", ProofTooOld),
        ("1.5", ProofTooOld),
    ]
    .map(|(text, rejection): (&str, Rejection)| (text.to_owned(), Refused(rejection)))
    .into_iter()
    .chain([
        (format!("{now}.5"), Passed),
        (format!("{now}.0"), Passed),
        (format!("{}e1", now / 10), Passed),
        // Milliseconds, a mistake of many clients.
        (format!("{now}000"), Refused(ProofInFuture)),
    ])
    .collect();
    for (text, expected) in cases {
        let mut scene = Scene::right(&house);
        let (from, to) = (format!("\"iat\":{now}"), format!("\"iat\":{text}"));
        respell_proof(&mut scene, move |_, claims| replace(claims, &from, &to));
        hear(&house, &scene, &text, expected).await;
    }
}

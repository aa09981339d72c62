//! Whatever a caller puts wherever, nothing of it comes back.

use serde_json::json;

use crate::challenges::{challenges, house, judge};
use crate::house::HOST;
use crate::scene::Scene;

/// Puts something into a scene.
type Break<'b> = Box<dyn Fn(&mut Scene) + Send + 'b>;

/// R-C-05, R-C-09, T-CHL-05, T-CHL-06, T-CLM-04: whatever is put wherever, nothing of it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_sent_comes_back() {
    const MARK: &str = "zzREFLECTEDzz";
    let house = house().await;
    for poison in [
        MARK.to_owned(),
        format!("{MARK}\", error=\"none\", x=\""),
        format!("\r\nX-Injected: {MARK}\r\n\r\n{MARK}"),
        format!("{MARK}\\\\\u{0}\u{7f}"),
        format!("\u{2028}{MARK}\u{202e}\u{1f600}"),
        format!("<script>{MARK}</script>%0d%0a"),
    ] {
        let value = || json!(poison.clone());
        let breaks: Vec<(&str, Break)> = vec![
            ("kid", Box::new(|s: &mut Scene| s.token_header["kid"] = value())),
            ("token typ", Box::new(|s| s.token_header["typ"] = value())),
            ("token alg", Box::new(|s| s.token_header["alg"] = value())),
            ("iss", Box::new(|s| s.token_claims["iss"] = value())),
            ("aud", Box::new(|s| s.token_claims["aud"] = value())),
            ("token exp", Box::new(|s| s.token_claims["exp"] = value())),
            ("cnf", Box::new(|s| s.token_claims["cnf"] = value())),
            ("jkt", Box::new(|s| s.token_claims["cnf"] = json!({"jkt": value()}))),
            (
                "scope",
                Box::new(|s| {
                    s.go_to("/scoped");
                    s.token_claims["scope"] = value();
                }),
            ),
            ("crit", Box::new(|s| s.token_header["crit"] = json!([value()]))),
            ("typ", Box::new(|s| s.proof_header["typ"] = value())),
            ("alg", Box::new(|s| s.proof_header["alg"] = value())),
            (
                "proof kid",
                Box::new(|s| {
                    s.proof_header["kid"] = value();
                    s.proof_claims["htm"] = json!("PUT");
                }),
            ),
            ("jwk", Box::new(|s| s.proof_header["jwk"] = value())),
            ("x", Box::new(|s| s.proof_header["jwk"]["x"] = value())),
            ("crv", Box::new(|s| s.proof_header["jwk"]["crv"] = value())),
            (
                "jti",
                Box::new(|s| {
                    s.proof_claims["jti"] = value();
                    s.proof_claims["ath"] = json!("x");
                }),
            ),
            ("htm", Box::new(|s| s.proof_claims["htm"] = value())),
            ("htu", Box::new(|s| s.proof_claims["htu"] = json!(format!("https://{HOST}/{poison}")))),
            ("iat", Box::new(|s| s.proof_claims["iat"] = value())),
            ("ath", Box::new(|s| s.proof_claims["ath"] = value())),
            (
                "nonce",
                Box::new(|s| {
                    s.go_to("/r/nonce");
                    s.proof_claims["nonce"] = value();
                }),
            ),
            (
                "a member's name",
                Box::new(|s| {
                    s.proof_claims[poison.clone()] = json!(1);
                    s.proof_claims["htm"] = json!("PUT");
                }),
            ),
        ];
        for (what, break_it) in breaks {
            let mut scene = Scene::right(&house);
            break_it(&mut scene);
            let answer = scene.send(&house).await;
            assert!([401, 403].contains(&answer.status), "{what}: {answer:?}");
            assert!(!format!("{answer:?}").contains(MARK), "{what}: {answer:?}");
            assert!(answer.all("x-injected").is_empty());
            judge(&answer, &challenges(&answer), what);
            assert!(house.seen().is_empty(), "{what}");
        }
    }
    // And what stands outside the credentials.
    for (what, target, headers) in [
        ("path", format!("/a/{MARK}%zz"), vec![]),
        ("dots", format!("/{MARK}/../x"), vec![]),
        ("query", format!("/?access_token={MARK}"), vec![]),
        ("scheme", "/".to_owned(), vec![("authorization", format!("{MARK} x"))]),
        ("token", "/".to_owned(), vec![("authorization", format!("DPoP \"{MARK}\""))]),
        ("proof", "/".to_owned(), vec![("authorization", "DPoP x".to_owned()), ("dpop", MARK.to_owned())]),
        ("request id", "/".to_owned(), vec![("x-request-id", MARK.to_owned())]),
        ("origin", "/".to_owned(), vec![("origin", format!("https://{MARK}"))]),
    ] {
        let mut scene = Scene::right(&house);
        scene.target = target;
        scene.credentials = Some(headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
        let answer = scene.send(&house).await;
        assert!(answer.status >= 400 && !format!("{answer:?}").contains(MARK), "{what}: {answer:?}");
    }
}

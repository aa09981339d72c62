//! Attacks on what is verified, on the wire: each of them is a request that looks right to one reader and should not pass.

use holdfast::verify::digest::{Digest, Key};
use holdfast::verify::jws::to_base64url;
use serde_json::json;

use crate::house::{House, Plan};
use crate::scene::Scene;

/// Points of small order (RFC 8032 §5.1): with such a key, R and an S of zero are a signature of anything, which no private key made. A token that
/// is bound to one is a bearer token.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_sign_everything_are_none() {
    let house = House::usual().await;
    let identity = {
        let mut y = [0_u8; 32];
        y[0] = 1;
        y
    };
    let x = to_base64url(&identity);
    let thumbprint: Digest<Key> =
        Digest::of(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#).as_bytes());
    for alg in ["EdDSA", "Ed25519"] {
        let mut scene = Scene::right(&house);
        scene.token_claims["cnf"] = json!({"jkt": thumbprint.to_base64url()});
        scene.proof_header =
            json!({"typ": "dpop+jwt", "alg": alg, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}});
        let mut signature = identity.to_vec();
        signature.extend([0; 32]);
        let forged = to_base64url(&signature);
        scene.edit_proof = Box::new(move |proof| {
            let (signed, _) = proof.rsplit_once('.').expect("three parts");
            format!("{signed}.{forged}")
        });
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "proof_key"), "{alg}: {answer:?}");
        assert!(house.seen().is_empty());
    }
}

/// R-A-13: a second method, in any spelling that a form decoder reads as `_method`.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_in_the_query_in_any_spelling() {
    let house = House::usual().await;
    for query in ["_method=DELETE", "a=b&_method=DELETE", "%5Fmethod=DELETE", "a;%5fm%65thod", "_method"] {
        let mut scene = Scene::right(&house);
        scene.target = format!("/?{query}");
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "method_overridden"), "{query}");
        assert!(house.seen().is_empty(), "{query}");
    }
    let mut scene = Scene::right(&house);
    scene.target = "/?a_method=x&x=_method".into();
    assert_eq!(scene.send(&house).await.status, 200);
}

/// R-L-05, T-PXY-11: some upstreams cut `;…` from every segment, so a path whose route depends on it is two paths.
#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_a_segment_choose_no_other_route() {
    let house = House::usual().await;
    for path in
        ["/scoped;x", "/scoped;x/a", "/scoped;/a", "/dpop;a=b", "/public;x", "/;x/scoped", "/get-only;x"]
    {
        let mut scene = Scene::at(&house, path);
        scene.token_claims["scope"] = json!("nothing");
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "path_ambiguous"), "{path}: {answer:?}");
        assert!(house.seen().is_empty(), "{path}");
    }
    // T-HTU-35: where it chooses nothing it is a path like any other.
    for path in ["/a;v=1", "/a;v=1/b;w", "/dpop/a;v=1"] {
        assert_eq!(Scene::at(&house, path).send(&house).await.status, 200, "{path}");
        assert_eq!(house.seen()[0].target, path);
    }
}

/// A token without any scope may say so with an empty `scope`.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_scope_is_no_scope() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    scene.token_claims["scope"] = json!("");
    let answer = scene.send(&house).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!house.seen()[0].headers.contains_key("x-auth-scope"));
    scene.go_to("/scoped");
    scene.proof_claims["jti"] = json!("another");
    assert_eq!(scene.send(&house).await.status, 403);
}

/// RFC 9449 Figure 18: the error stands on the challenge of the scheme that was used, and on no other.
#[tokio::test(flavor = "multi_thread")]
async fn the_error_is_on_the_challenge_of_the_scheme() {
    let house = House::usual().await;
    let errors = |answer: &crate::wire::Answer| {
        answer.all("www-authenticate").iter().map(|line| line.contains("error=")).collect::<Vec<_>>()
    };
    let mut scene = Scene::right(&house);
    scene.token_claims["more"] = json!("x".repeat(17_000));
    let answer = scene.send(&house).await;
    assert_eq!((answer.reason().as_str(), errors(&answer)), ("token_too_large", vec![true, false]));
    scene.scheme = "Bearer".into();
    let answer = scene.send(&house).await;
    assert_eq!((answer.reason().as_str(), errors(&answer)), ("token_too_large", vec![false, true]));
    let mut scene = Scene::right(&house);
    scene.credentials = Some(vec![("authorization".into(), "DPoP a b".into())]);
    let answer = scene.send(&house).await;
    assert_eq!(errors(&answer), [true, true]);
}

const NONCES: &str = "dpop: { nonce: required, nonce_lifetime: 100s }
replay: { memory: { capacity: 1000, per_key: 2, after_restart: accept } }
";

/// RFC 9449 §8 and §9, T-NON: what a client with a nonce may and may not do.
#[tokio::test(flavor = "multi_thread")]
async fn nonces_in_every_state() {
    let house = House::built(Plan { rules: NONCES, ..Plan::default() }).await;
    let mut scene = Scene::right(&house);
    for blank in [json!(null), json!(""), json!(" ")] {
        scene.proof_claims["nonce"] = blank;
        let answer = scene.send(&house).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "nonce_missing"));
        let [challenge] = answer.all("www-authenticate")[..] else { panic!("one challenge: {answer:?}") };
        assert!(challenge.starts_with("DPoP error=\"use_dpop_nonce\""), "{challenge}");
        assert_eq!(answer.one("cache-control"), "no-store");
        scene.proof_claims["nonce"] = json!(answer.one("dpop-nonce"));
    }
    let nonce = scene.proof_claims["nonce"].clone();
    // Another type is a broken proof, told with a nonce (T-NON-04, T-NON-16).
    for broken in [json!(5), json!({}), json!([nonce.clone()])] {
        scene.proof_claims["nonce"] = broken;
        let answer = scene.send(&house).await;
        assert_eq!(answer.reason(), "proof_claims");
        assert!(!answer.one("dpop-nonce").is_empty());
    }
    // T-NON-17, T-TIM-08: a client whose clock is an hour wrong.
    scene.proof_claims["nonce"] = nonce.clone();
    for (jti, wrong) in [("ahead", 3600), ("behind", -3600)] {
        scene.proof_claims["jti"] = json!(jti);
        scene.proof_claims["iat"] = json!(house.now() + wrong);
        assert_eq!(scene.send(&house).await.status, 200, "{jti}");
        assert_eq!(scene.send(&house).await.reason(), "proof_replayed", "{jti}");
    }
    // R-E-06: this key's share is used up until the nonces it used no longer open, and that is what Retry-After says.
    scene.proof_claims["jti"] = json!("third");
    let answer = scene.send(&house).await;
    assert_eq!((answer.status, answer.reason().as_str()), (429, "key_share_exhausted"));
    assert_eq!(answer.one("retry-after"), "200", "two lifetimes");
    // Another key cannot use it (T-NON-11), and is given its own.
    let mut other = Scene::right(&house);
    other.proof_claims["nonce"] = nonce.clone();
    let answer = other.send(&house).await;
    assert_eq!(answer.reason(), "nonce_stale");
    assert_ne!(json!(answer.one("dpop-nonce")), nonce);
    // A token that is refused gets none: nobody's key is known (T-NON-15).
    other.token_claims["aud"] = json!("https://other.example");
    assert!(other.send(&house).await.all("dpop-nonce").is_empty());
}

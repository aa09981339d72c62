//! Attacks on what is verified, on the wire: each of them is a request that looks right to one reader and should not pass.

use holdfast::verify::digest::{Digest, Key};
use holdfast::verify::jws::to_base64url;
use serde_json::json;

use crate::house::House;
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

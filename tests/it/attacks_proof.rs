//! Attacks on what is verified, on the wire: each of them is a request that looks right to one reader and should not pass.

use std::sync::Arc;

use holdfast::caller::key::DpopKey;
use holdfast::verify::digest::{AccessToken, Digest, Key};
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
    scene.credentials = Some(vec![("authorization".into(), "DPoP".into())]);
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

/// R-E-01, R-E-03, T-RPL-06: many callers with one proof at one moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_one_passes() {
    let house = House::usual().await;
    let scene = Scene::at(&house, "/a");
    let bytes = scene.bytes(&house);
    let mut clients = Vec::new();
    for _ in 0..24 {
        clients.push(house.connect(&scene.sni, None).await);
    }
    let barrier = Arc::new(tokio::sync::Barrier::new(clients.len()));
    let mut tries = tokio::task::JoinSet::new();
    for mut client in clients {
        let (bytes, barrier) = (bytes.clone(), Arc::clone(&barrier));
        tries.spawn(async move {
            barrier.wait().await;
            client.exchange(&bytes).await.expect("an answer").status
        });
    }
    let mut statuses = tries.join_all().await;
    statuses.sort_unstable();
    assert_eq!((statuses[0], statuses[1], house.seen().len()), (200, 401, 1), "{statuses:?}");
}

/// R-E-02, R-E-04, T-RPL-03: a captured proof under every spelling of its request, and to the last second in which it could pass.
#[tokio::test(flavor = "multi_thread")]
async fn a_captured_proof_passes_under_no_other_spelling_or_time() {
    let house = House::usual().await;
    let mut scene = Scene::at(&house, "/~a");
    scene.proof_claims["iat"] = json!(house.now() + 10);
    let credentials = scene.credentials(&house);
    scene.credentials = Some(credentials);
    assert_eq!(scene.send(&house).await.status, 200);
    for (target, host) in [
        ("/~a", "api.example.com"),
        ("/%7Ea?x=y", "api.example.com:443"),
        ("https://api.example.com/%7ea", "API.example.com"),
    ] {
        (scene.target, scene.host) = (target.into(), host.into());
        assert_eq!(scene.send(&house).await.reason(), "proof_replayed", "{target}");
    }
    house.pass_time(70);
    assert_eq!(scene.send(&house).await.reason(), "proof_replayed", "its last second");
    house.pass_time(1);
    assert_eq!(scene.send(&house).await.reason(), "proof_too_old");
    assert_eq!(house.seen().len(), 1);
}

/// R-D-03, R-D-06: the same with a nonce, whose time is the proof's then.
#[tokio::test(flavor = "multi_thread")]
async fn a_captured_proof_with_a_nonce_lasts_as_long_as_the_nonce() {
    let house = House::built(Plan { rules: NONCES, ..Plan::default() }).await;
    // To the first second of a period, so that the nonce lasts two whole ones.
    house.pass_time(100 - house.now() % 100);
    let mut scene = Scene::right(&house);
    scene.proof_claims["nonce"] = json!(scene.send(&house).await.one("dpop-nonce"));
    scene.credentials = Some(scene.credentials(&house));
    let first = scene.send(&house).await;
    assert!(first.status == 200 && first.all("dpop-nonce").is_empty(), "{first:?}");
    for (passed, reason) in [(99, "proof_replayed"), (100, "proof_replayed"), (1, "nonce_stale")] {
        house.pass_time(passed);
        assert_eq!(scene.send(&house).await.reason(), reason);
    }
    assert_eq!(house.seen().len(), 1);
}

/// R-E-05, T-RPL-11, T-RPL-12: what fails any check before the last spends nothing and is remembered nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_proof_is_not_spent() {
    let house = House::usual().await;
    let scene = Scene::at(&house, "/scoped");
    let (mut token, mut wrong) = (scene.token(&house), Vec::new());
    let proof = scene.proof(&token);
    let (signed, _) = proof.rsplit_once('.').expect("three parts");
    wrong.push(vec![
        ("authorization", format!("DPoP {token}")),
        ("dpop", format!("{signed}.{}", "A".repeat(86))),
    ]);
    wrong.push(vec![("authorization", format!("Bearer {token}")), ("dpop", proof.clone())]);
    wrong.push(vec![("authorization", format!("DPoP {token}x")), ("dpop", proof.clone())]);
    let mut narrow = Scene::at(&house, "/scoped");
    narrow.key = DpopKey::from_pem(&scene.key.to_pkcs8_pem()).expect("the same key");
    narrow.proof_header = scene.proof_header.clone();
    narrow.proof_claims = scene.proof_claims.clone();
    narrow.token_claims = scene.token_claims.clone();
    narrow.token_claims["scope"] = json!("accounts:read");
    let narrow = narrow.token(&house);
    wrong.push(vec![("authorization", format!("DPoP {narrow}")), ("dpop", scene.proof(&narrow))]);
    for credentials in wrong {
        let credentials: Vec<_> =
            credentials.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let answer = scene.send_bytes(&house, &scene.bytes_with(&credentials)).await;
        assert!(matches!(answer.status, 401 | 403), "{answer:?}");
    }
    let live = || async { house.ask_admin("/metrics").await.1 };
    assert!(live().await.contains("holdfast_replay_live_claims 0\n"));
    token.insert_str(0, "DPoP ");
    let right = [("authorization".to_owned(), token), ("dpop".to_owned(), proof)];
    assert_eq!(scene.send_bytes(&house, &scene.bytes_with(&right)).await.status, 200);
    assert!(live().await.contains("holdfast_replay_live_claims 1\n"));
}

/// R-A-26, R-A-27: two readings of one text, in the header, in its key and in the claims.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_with_two_readings_is_no_proof() {
    let house = House::usual().await;
    let scene = Scene::right(&house);
    let token = scene.token(&house);
    let (header, claims) = (scene.proof_header.to_string(), {
        let mut claims = scene.proof_claims.clone();
        claims["ath"] = json!(Digest::<AccessToken>::of(token.as_bytes()).to_base64url());
        claims.to_string()
    });
    let with = |text: &str, member: &str| format!("{{{member},{}", &text[1..]);
    let jwk_twice = header.replacen("\"jwk\":{", "\"jwk\":{\"k\\u0074y\":\"oct\",", 1);
    for (header, claims) in [
        (with(&header, "\"\\u0061lg\":\"none\""), claims.clone()),
        (jwk_twice, claims.clone()),
        (header.clone(), with(&claims, "\"\\u0068tm\":\"POST\"")),
        (header.clone(), with(&claims, "\"x\":{\"a\":[{\"b\":1,\"b\":2}]}")),
        (header.clone(), format!("\u{feff}{claims}")),
        (header.clone(), format!("{claims}{claims}")),
        (header.clone(), with(&claims, "\"x\":\"\\u0000\"")),
        (header.clone(), with(&claims, &format!("\"x\":{}{}", "[".repeat(1500), "]".repeat(1500)))),
        (header.clone(), with(&claims, "\"x\":1e999")),
    ] {
        let proof = scene.key.sign_compact(&header, &claims);
        let credentials = [("authorization".to_owned(), format!("DPoP {token}")), ("dpop".to_owned(), proof)];
        let answer = scene.send_bytes(&house, &scene.bytes_with(&credentials)).await;
        assert_eq!((answer.status, answer.reason().as_str()), (401, "proof_malformed"), "{header} {claims}");
    }
    // One reading in another spelling is the same proof.
    let claims = claims.replace("htm", "\\u0068tm").replace(",", " ,\n");
    let proof = scene.key.sign_compact(&header, &claims);
    let credentials = [("authorization".to_owned(), format!("dPOP   {token}")), ("dpop".to_owned(), proof)];
    assert_eq!(scene.send_bytes(&house, &scene.bytes_with(&credentials)).await.status, 200);
}

//! Whole tokens: whose keys they are judged by, what is remembered of them, and many at once.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::server::{Answer, KeyServer};
use super::{Running, claims_of, issuer, key};
use crate::authority::Tokens;
use crate::config::Issuer;
use crate::verify::jwks::signing::{ISSUER, NOW, bearer, claims, key_set, raw};
use crate::verify::rejection::Rejection;

const JWKS: &str = "/jwks";
const OTHER: &str = "https://other.example.com";

async fn server_of(key: &crate::verify::jwks::signing::SigningKey) -> KeyServer {
    let server = KeyServer::https().await;
    server.publish(JWKS, key_set(&[key.public()]));
    server
}

fn asking(server: &KeyServer, name: &str) -> Issuer {
    issuer(name, server.key_source(JWKS), Some(server.roots()))
}

/// T-JWK-04: two hundred requests before the first key, and one fetch.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_fetch_for_two_hundred_first_requests() {
    let key = key("k");
    let server = server_of(&key).await;
    let running = Running::not_yet(&[asking(&server, ISSUER)]);
    let asked: Vec<_> = (0..200)
        .map(|number| {
            let mut claims = claims();
            claims["jti"] = number.to_string().into();
            let (tokens, token) = (Arc::clone(&running.tokens), key.token(&claims));
            tokio::spawn(async move { tokens.verify(raw(&bearer(&token)), None, NOW).await.map(|_| ()) })
        })
        .collect();
    running.tokens.spawn(&running.tasks, &running.stop);
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    assert_eq!(server.asked(), [JWKS]);
    assert_eq!(running.tokens.cached(), 200);
}

/// The same for a key that was not there before: all wait for the one fetch that is allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_fetch_for_two_hundred_requests_with_a_new_key() {
    let (old, new) = (key("old"), key("new"));
    let server = server_of(&old).await;
    // One fetch is over the moment it ends here; that only one more follows is not the cooldown's doing.
    let running = Running::new(&[Issuer { refetch_cooldown: Duration::ZERO, ..asking(&server, ISSUER) }]);
    running.ended(1).await;
    server.set(JWKS, Answer::Text(key_set(&[new.public()])));
    let token = new.token(&claims());
    let asked: Vec<_> = (0..200)
        .map(|_| {
            let (tokens, token) = (Arc::clone(&running.tokens), token.clone());
            tokio::spawn(async move { tokens.verify(raw(&bearer(&token)), None, NOW).await.map(|_| ()) })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap(), Ok(()));
    }
    // A request may have asked while the fetch was ending; then, and only then, there is a second.
    assert!(server.asked().len() <= 3, "{:?}", server.asked());
}

/// A caller that goes away takes no fetch with it.
#[tokio::test]
async fn a_fetch_outlives_who_asked_for_it() {
    let key = key("k");
    let server = KeyServer::https().await;
    server.set(JWKS, Answer::Dripping);
    let running = Running::new(&[asking(&server, ISSUER)]);
    let (tokens, token) = (Arc::clone(&running.tokens), key.token(&claims()));
    let caller =
        tokio::spawn(async move { tokens.verify(raw(&bearer(&token)), None, NOW).await.map(|_| ()) });
    server.was_asked(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    tokio::time::pause();
    running.ended(1).await;
    assert_eq!(running.counted(), (1, 1));
}

/// T-JWT-24, R-H-02: each issuer's tokens by its own keys, under the same `kid` too.
#[tokio::test]
async fn issuers_do_not_speak_for_each_other() {
    let (ours, theirs) = (key("same"), key("same"));
    let (server, other) = (server_of(&ours).await, server_of(&theirs).await);
    let running = Running::new(&[asking(&server, ISSUER), asking(&other, OTHER)]);
    assert!(running.verify(&ours.token(&claims())).await.is_ok());
    assert!(running.verify(&theirs.token(&claims_of(OTHER))).await.is_ok());
    assert_eq!(running.rejection(&theirs.token(&claims())).await, Rejection::TokenSignature);
    assert_eq!(running.rejection(&ours.token(&claims_of(OTHER))).await, Rejection::TokenSignature);
    for name in ["https://other.example.com/", "https://OTHER.example.com", ""] {
        assert_eq!(running.rejection(&theirs.token(&claims_of(name))).await, Rejection::TokenIssuer);
    }
    assert_eq!((server.asked().len(), other.asked().len()), (1, 1));
}

/// One issuer that is down does not keep the others from being served.
#[tokio::test]
async fn ready_when_all_were_tried_and_one_has_keys() {
    let key = key("k");
    let server = server_of(&key).await;
    let down = KeyServer::https().await;
    let running = Running::not_yet(&[asking(&down, OTHER), asking(&server, ISSUER)]);
    assert!(!running.tokens.ready());
    running.tokens.spawn(&running.tasks, &running.stop);
    running.tokens.tried().await;
    assert!(running.tokens.ready());
    assert_eq!(running.rejection(&key.token(&claims_of(OTHER))).await, Rejection::IssuerUnavailable);
    assert!(running.verify(&key.token(&claims())).await.is_ok());
    let seen: Vec<_> = running
        .tokens
        .issuers()
        .map(|issuer| (issuer.name().to_owned(), issuer.keys(), issuer.fetches(), issuer.failures()))
        .collect();
    assert_eq!(seen, [(OTHER.to_owned(), 0, 1, 1), (ISSUER.to_owned(), 1, 1, 0)]);
}

/// T-JWT-14 and no more: a token that is refused for what it says causes no fetch and learns nothing of the keys.
#[tokio::test]
async fn refused_without_a_fetch() {
    let key = key("k");
    let server = server_of(&key).await;
    let running = Running::new(&[Issuer { refetch_cooldown: Duration::ZERO, ..asking(&server, ISSUER) }]);
    running.ended(1).await;
    let mut header = key.header();
    header["kid"] = "unknown".into();
    for (name, value, rejection) in [
        ("exp", json!(NOW.seconds() - 100), Rejection::TokenExpired),
        ("aud", json!("x"), Rejection::TokenAudience),
        ("iss", json!("x"), Rejection::TokenIssuer),
        ("jti", json!(""), Rejection::TokenClaimMissing),
        ("cnf", json!({}), Rejection::TokenConfirmation),
    ] {
        let mut claims = claims();
        claims[name] = value;
        assert_eq!(running.rejection(&key.sign(&header, &claims)).await, rejection);
    }
    header["jku"] = server.url("/evil").into();
    header["x5u"] = server.url("/evil").into();
    assert_eq!(running.rejection(&key.sign(&header, &claims())).await, Rejection::TokenKeyUnknown);
    assert_eq!(server.asked(), [JWKS, JWKS], "T-JWT-18: one for the kid, none for what the header names");
}

/// R-H-21, T-JWT-09: a cached token ends at `exp` like any other, and refusals are not remembered.
#[tokio::test]
async fn a_cached_token_ends_at_its_end() {
    let key = key("k");
    let server = server_of(&key).await;
    let running = Running::new(&[asking(&server, ISSUER)]);
    let token = key.token(&claims());
    assert!(running.verify(&token).await.is_ok());
    let end = NOW.plus(300 + 5);
    assert!(running.verify_at(&token, end.minus(1)).await.is_ok());
    assert_eq!(running.verify_at(&token, end).await.map(|_| ()), Err(Rejection::TokenExpired));
    assert_eq!(running.verify_at(&token, end.plus(1)).await.map(|_| ()), Err(Rejection::TokenExpired));
    let mut early = claims();
    early["nbf"] = (NOW.seconds() + 100).into();
    let early = key.token(&early);
    assert_eq!(running.rejection(&early).await, Rejection::TokenNotYetValid);
    assert!(running.verify_at(&early, NOW.plus(100)).await.is_ok());
    assert_eq!(running.tokens.cached(), 2);
}

/// T-JWT-32: tokens that are alike at both ends, or share all but the signature, are different tokens.
#[tokio::test]
async fn tokens_that_look_alike() {
    let key = key("k");
    let server = server_of(&key).await;
    let running = Running::new(&[asking(&server, ISSUER)]);
    let good = key.token(&claims());
    assert!(running.verify(&good).await.is_ok());
    let mut admin = claims();
    admin["sub"] = "admin".into();
    let other = key.token(&admin);
    let (_, signature) = good.rsplit_once('.').unwrap();
    let (input, _) = other.rsplit_once('.').unwrap();
    assert_eq!(running.rejection(&format!("{input}.{signature}")).await, Rejection::TokenSignature);
    let (input, _) = good.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    assert_eq!(running.rejection(&format!("{input}.{signature}")).await, Rejection::TokenSignature);
    assert_eq!(running.verify(&other).await.unwrap().subject(), Some("admin"));
    assert_eq!(running.verify(&good).await.unwrap().subject(), Some("alice"));
}

/// However many tokens an issuer signs and however long they are, the cache keeps to its size.
#[tokio::test]
async fn the_cache_is_bounded() {
    let key = key("k");
    let server = server_of(&key).await;
    let bytes = 256 * 1024;
    let mut running = Running::not_yet(&[asking(&server, ISSUER)]);
    running.tokens = Arc::new(Tokens::new(&[asking(&server, ISSUER)], bytes).unwrap());
    running.tokens.spawn(&running.tasks, &running.stop);
    for number in 0..300 {
        let mut claims = claims();
        claims["jti"] = number.to_string().into();
        claims["scope"] = "s".repeat(8000).into();
        assert!(running.verify(&key.token(&claims)).await.is_ok());
    }
    let most = usize::try_from(bytes).unwrap() / 8000;
    assert!((1..=most).contains(&running.tokens.cached()), "{} of at most {most}", running.tokens.cached());
}

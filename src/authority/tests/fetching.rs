//! What is fetched, from where, and what is not taken.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::server::{Answer, KeyServer};
use super::{Running, claims_of, issuer, key};
use crate::authority::fetch::MOST_BYTES;
use crate::authority::{Tokens, Unusable};
use crate::config::KeySource;
use crate::verify::jwks::signing::{ISSUER, claims, key_set};
use crate::verify::rejection::Rejection;

const JWKS: &str = "/jwks";
const RFC_8414: &str = "/.well-known/oauth-authorization-server";
const OPENID: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn keys_over_https_and_from_loopback() {
    let key = key("k");
    for server in [KeyServer::https().await, KeyServer::http().await] {
        server.publish(JWKS, key_set(&[key.public()]));
        let running = Running::new(&[issuer(ISSUER, server.key_source(JWKS), Some(server.roots()))]);
        assert!(running.verify(&key.token(&claims())).await.is_ok());
        assert_eq!(server.asked(), [JWKS]);
    }
    // No roots are needed to ask this machine itself over http.
    let server = KeyServer::http().await;
    server.publish(JWKS, key_set(&[key.public()]));
    let running = Running::new(&[issuer(ISSUER, server.key_source(JWKS), None)]);
    assert!(running.verify(&key.token(&claims())).await.is_ok());
}

/// R-H-12: a server that is not who the operator trusts.
#[tokio::test]
async fn the_wrong_ca() {
    let (server, other) = (KeyServer::https().await, KeyServer::https().await);
    let key = key("k");
    server.publish(JWKS, key_set(&[key.public()]));
    for trust in [Some(other.roots()), None] {
        let issuers = [issuer(ISSUER, server.key_source(JWKS), trust)];
        // A machine without any roots says so at the start.
        if matches!(Tokens::new(&issuers, 0), Err(Unusable::Roots(..))) {
            continue;
        }
        let running = Running::new(&issuers);
        assert_eq!(running.rejection(&key.token(&claims())).await, Rejection::IssuerUnavailable);
        assert_eq!(running.counted(), (1, 1));
    }
    // The right CA, but another name than the certificate's.
    let url = server.url(JWKS).replace("127.0.0.1", "localhost");
    let running = Running::new(&[issuer(ISSUER, KeySource::Url(url.parse().unwrap()), Some(server.roots()))]);
    assert_eq!(running.rejection(&key.token(&claims())).await, Rejection::IssuerUnavailable);
    assert!(server.asked().is_empty());
}

/// T-JWK-05: without keys from before, a start without keys; nothing is followed.
#[tokio::test]
async fn answers_that_are_no_keys() {
    let (server, elsewhere) = (KeyServer::https().await, KeyServer::http().await);
    let key = key("k");
    let keys = key_set(&[key.public()]);
    elsewhere.publish(JWKS, keys.clone());
    server.publish("/moved", keys.clone());
    let answers = [
        Answer::Status(500, keys.clone()),
        Answer::Status(404, String::new()),
        Answer::Status(201, keys.clone()),
        Answer::Status(304, String::new()),
        Answer::Redirect(elsewhere.url(JWKS)),
        Answer::Redirect(server.url("/moved")),
        Answer::Text("<html>".into()),
        Answer::Text(String::new()),
        Answer::Text(r#"{"keys":[]}"#.into()),
        Answer::Text(key.public().to_string()),
        Answer::Broken,
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        server.set(JWKS, answer);
        let running = Running::new(&[issuer(ISSUER, server.key_source(JWKS), Some(server.roots()))]);
        assert_eq!(
            running.rejection(&key.token(&claims())).await,
            Rejection::IssuerUnavailable,
            "answer {number}"
        );
        assert_eq!(running.counted(), (1, 1), "answer {number}");
        assert!(!running.tokens.ready());
    }
    assert!(elsewhere.asked().is_empty());
    assert!(server.asked().iter().all(|path| path == JWKS));
}

/// T-JWK-06: 50 MB are not read, and what just fits is.
#[tokio::test]
async fn answers_of_any_size() {
    let server = KeyServer::https().await;
    let key = key("k");
    server.set(JWKS, Answer::Huge);
    let running = Running::new(&[issuer(ISSUER, server.key_source(JWKS), Some(server.roots()))]);
    running.ended(1).await;
    assert_eq!(running.counted(), (1, 1));
    let keys = key_set(&[key.public()]);
    for (bytes, fits) in [(MOST_BYTES, true), (MOST_BYTES + 1, false)] {
        server.publish(JWKS, format!("{keys}{}", " ".repeat(bytes - keys.len())));
        let running = Running::new(&[issuer(ISSUER, server.key_source(JWKS), Some(server.roots()))]);
        assert_eq!(running.verify(&key.token(&claims())).await.is_ok(), fits, "{bytes}");
    }
}

/// T-JWK-06: a server that never ends is left after five seconds, metadata included. Time moves by itself once all are waiting.
#[tokio::test]
async fn answers_that_take_for_ever() {
    for answer in [Answer::Silence, Answer::Dripping] {
        let server = KeyServer::https().await;
        server.set(JWKS, answer.clone());
        server.set(RFC_8414, answer);
        for source in [server.key_source(JWKS), KeySource::Discovery] {
            let name = server.url("");
            let running = Running::new(&[issuer(&name, source, Some(server.roots()))]);
            let before = server.asked().len();
            server.was_asked(before + 1).await;
            tokio::time::pause();
            let began = Instant::now();
            running.ended(1).await;
            let took = began.elapsed();
            tokio::time::resume();
            assert_eq!(running.counted(), (1, 1));
            assert!(took <= Duration::from_secs(5) && took > Duration::from_secs(3), "{took:?}");
        }
    }
    // A port where nobody answers at all.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/jwks", silent.local_addr().unwrap());
    let roots = KeyServer::https().await.roots();
    let running = Running::new(&[issuer(ISSUER, KeySource::Url(url.parse().unwrap()), Some(roots))]);
    let _held = silent.accept().await.unwrap();
    tokio::time::pause();
    running.ended(1).await;
    assert_eq!(running.counted(), (1, 1));
}

#[tokio::test]
async fn discovery_asks_rfc_8414_and_then_openid() {
    let key = key("k");
    for path in ["", "/tenant", "/tenant/"] {
        let bare = path.trim_end_matches('/');
        let (first, second) = (format!("{RFC_8414}{bare}"), format!("{bare}{OPENID}"));
        let server = KeyServer::https().await;
        let name = server.url(path);
        let metadata = json!({"issuer": name, "jwks_uri": server.url(JWKS)}).to_string();
        server.publish(JWKS, key_set(&[key.public()]));
        let token = key.token(&claims_of(&name));
        let running = || Running::new(&[issuer(&name, KeySource::Discovery, Some(server.roots()))]);

        server.publish(&second, metadata.clone());
        for answer in [
            Answer::Status(404, String::new()),
            Answer::Redirect(server.url(&second)),
            Answer::Text("<html>".into()),
        ] {
            server.set(&first, answer);
            let before = server.asked().len();
            assert!(running().verify(&token).await.is_ok(), "{name}");
            assert_eq!(server.asked()[before..], [first.as_str(), second.as_str(), JWKS]);
        }
        server.publish(&first, metadata);
        let before = server.asked().len();
        assert!(running().verify(&token).await.is_ok(), "{name}");
        assert_eq!(server.asked()[before..], [first.as_str(), JWKS]);
    }
}

/// RFC 8414 §3.3: metadata of another issuer, under either path, leads nowhere.
#[tokio::test]
async fn discovery_of_another_issuer() {
    let key = key("k");
    let server = KeyServer::https().await;
    let name = server.url("");
    server.publish(JWKS, key_set(&[key.public()]));
    let plain = KeyServer::http().await;
    plain.publish(JWKS, key_set(&[key.public()]));
    for metadata in [
        json!({"issuer": server.url("/"), "jwks_uri": server.url(JWKS)}),
        json!({"issuer": "https://evil.example.com", "jwks_uri": server.url(JWKS)}),
        json!({"jwks_uri": server.url(JWKS)}),
        json!({"issuer": name}),
        json!({"issuer": name, "jwks_uri": plain.url(JWKS)}),
    ] {
        server.publish(RFC_8414, metadata.to_string());
        server.publish(OPENID, metadata.to_string());
        let running = Running::new(&[issuer(&name, KeySource::Discovery, Some(server.roots()))]);
        assert_eq!(
            running.rejection(&key.token(&claims_of(&name))).await,
            Rejection::IssuerUnavailable,
            "{metadata}"
        );
    }
    assert!(!server.asked().contains(&JWKS.to_owned()));
    assert!(plain.asked().is_empty());
}

/// An issuer on loopback without TLS, as in a test set-up, may have its keys there too.
#[tokio::test]
async fn discovery_on_loopback() {
    let (key, server) = (key("k"), KeyServer::http().await);
    let name = server.url("");
    server.publish(JWKS, key_set(&[key.public()]));
    server.publish(RFC_8414, json!({"issuer": name, "jwks_uri": server.url(JWKS)}).to_string());
    let running = Running::new(&[issuer(&name, KeySource::Discovery, Some(server.roots()))]);
    assert!(running.verify(&key.token(&claims_of(&name))).await.is_ok());
}

#[tokio::test]
async fn addresses_that_are_never_asked() {
    let roots = KeyServer::https().await.roots();
    let refused = |name: &str, keys| {
        let outcome = Tokens::new(&[issuer(name, keys, Some(roots.clone()))], 0);
        assert!(matches!(outcome, Err(Unusable::Address(_))), "{name}");
    };
    refused(ISSUER, KeySource::Url("http://keys.example.com/jwks".parse().unwrap()));
    refused("http://as.example.com", KeySource::Discovery);
    refused("https://as.example.com?x", KeySource::Discovery);
}

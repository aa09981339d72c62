//! The real gateway passes, and a gateway that does not do its work is found out. One that is none stands in for each mistake, since the real one
//! makes none of them.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::TcpListener;

use super::{Demo, Ended, GatewayError, SCENES, play};
use crate::caller::connection;
use crate::caller::trust::{ServerTrust, client_config};
use crate::config::{self, Config, ListenerTls};
use crate::demo::loopback::{self, Server, Transport};
use crate::verify::credential::DPOP;
use crate::verify::htu::Origin;
use crate::verify::rejection::Rejection;

/// What a gateway does wrong.
#[derive(Clone, Copy, Debug)]
enum Mistake {
    /// It lets everyone in.
    LetsAllIn,
    /// It lets everyone in, and passes the token on.
    PassesTokensOn,
    /// It lets everyone in, and sends each request twice.
    ForwardsTwice,
    /// It refuses everyone, without a reason.
    RefusesAll,
    /// It gives the reason of the first scene, but forwards nevertheless.
    RefusesTooLate,
}

#[tokio::test]
async fn every_scene_ends_as_it_has_to_with_the_real_gateway() {
    let mut out = Vec::new();
    let ended = play(Demo { once: true }, super::gateway, &mut out).await.expect("played");
    assert_eq!(ended, Ended::AsExpected, "{}", String::from_utf8_lossy(&out));
}

/// Plays the scenes with such a gateway: how they ended, and which of them went as they have to.
async fn ended(mistake: Mistake) -> (Ended, Vec<usize>) {
    let mut out = Vec::new();
    let ended = play(Demo { once: true }, |config, listener, _| gateway(config, listener, mistake), &mut out)
        .await
        .expect("played");
    let out = String::from_utf8(out).expect("text");
    let marks: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().next()).skip(1).collect();
    assert_eq!(marks.len(), SCENES.len(), "one line each: {out}");
    let went_well =
        marks.iter().enumerate().filter(|(_, mark)| **mark == "ok").map(|(scene, _)| scene).collect();
    (ended, went_well)
}

async fn gateway(config: Config, listener: TcpListener, mistake: Mistake) -> Result<Server, GatewayError> {
    let ListenerTls::Tls(tls) = &config.listeners[0].tls else { return Err("the demo has TLS".into()) };
    let transport = Transport::Tls(loopback::acceptor(Arc::clone(&tls.certificates[0].key))?);
    let config::Server::Origin(upstream) = config.upstreams[0].servers[0].clone() else { panic!("http") };
    let upstream = Arc::new(upstream);
    Ok(loopback::serve(listener, transport, move |request| {
        let upstream = Arc::clone(&upstream);
        async move { answer(request, &upstream, mistake).await }
    })?)
}

async fn answer(request: Request<Incoming>, upstream: &Origin, mistake: Mistake) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = match mistake {
        Mistake::RefusesAll => StatusCode::UNAUTHORIZED,
        Mistake::LetsAllIn | Mistake::PassesTokensOn | Mistake::ForwardsTwice => {
            forward(request, upstream, mistake).await
        }
        Mistake::RefusesTooLate => {
            forward(request, upstream, mistake).await;
            let reason = Rejection::TokenUnbound;
            let challenge = format!("DPoP error=\"invalid_token\", error_description=\"{}\"", reason.label());
            let challenge = HeaderValue::from_str(&challenge).expect("a header value");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            StatusCode::UNAUTHORIZED
        }
    };
    response
}

async fn forward(request: Request<Incoming>, upstream: &Origin, mistake: Mistake) -> StatusCode {
    let mut outgoing = Request::new(Full::<Bytes>::default());
    *outgoing.uri_mut() = request.uri().clone();
    let headers = outgoing.headers_mut();
    headers.insert(HOST, HeaderValue::from_str(upstream.authority()).expect("a header value"));
    headers.insert("x-auth-subject", HeaderValue::from_static("alice"));
    let binding = if request.headers().contains_key(DPOP) { "dpop" } else { "mtls" };
    headers.insert("x-auth-binding", HeaderValue::from_static(binding));
    if let Mistake::PassesTokensOn = mistake {
        headers.insert(AUTHORIZATION, request.headers()[AUTHORIZATION].clone());
    }
    let tls = client_config(ServerTrust::Anyone, None).expect("a client");
    if let Mistake::ForwardsTwice = mistake {
        connection::send(upstream, &tls, outgoing.clone()).await.expect("an answer");
    }
    connection::send(upstream, &tls, outgoing).await.expect("an answer").status()
}

#[tokio::test]
async fn a_gateway_that_lets_all_in_is_found_out() {
    // The second and the seventh scene are those that pass without a nonce.
    assert_eq!(ended(Mistake::LetsAllIn).await, (Ended::Otherwise, vec![1, 6]));
}

#[tokio::test]
async fn a_gateway_that_passes_tokens_on_is_found_out() {
    assert_eq!(ended(Mistake::PassesTokensOn).await, (Ended::Otherwise, vec![]));
}

/// RFC 9449 §11.1: one proof, one request.
#[tokio::test]
async fn a_gateway_that_forwards_twice_is_found_out() {
    assert_eq!(ended(Mistake::ForwardsTwice).await, (Ended::Otherwise, vec![]));
}

#[tokio::test]
async fn a_gateway_that_refuses_all_is_found_out() {
    assert_eq!(ended(Mistake::RefusesAll).await, (Ended::Otherwise, vec![]));
}

#[tokio::test]
async fn a_gateway_that_refuses_too_late_is_found_out() {
    assert_eq!(ended(Mistake::RefusesTooLate).await, (Ended::Otherwise, vec![]));
}

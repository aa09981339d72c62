//! Reloads in a loop under load: nothing is lost, and nothing is judged by half a configuration.
//!
//! Two configurations take turns. In one a route leads to upstream `left` and asks for the scope `left`, in the other to `right` and for `right`. A
//! token has one of the scopes, so each answer tells by itself which configuration it is of: 200 from that upstream, or 403 that asks for the
//! other scope. Any other pair of status and text is of both at once.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::{ASKED, house};
use crate::house::{HOST, House};
use crate::scene::Scene;
use crate::wire::Answer;

const RELOADS: usize = 40;
const SIDES: [&str; 2] = ["left", "right"];

/// An upstream that answers with its name.
async fn upstream(name: &'static str) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = service_fn(move |_: Request<Incoming>| async move {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(name)))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// What was answered: of which configuration, or what was wrong.
#[derive(Default)]
struct Counts {
    of: [AtomicUsize; 2],
    wrong: std::sync::Mutex<Vec<String>>,
}

impl Counts {
    /// Judges an answer to a caller with that scope.
    fn judge(&self, scope: usize, answer: std::io::Result<Answer>) {
        let side = match &answer {
            Ok(answer) if answer.status == 200 => SIDES.iter().position(|side| answer.text() == *side),
            Ok(answer) if answer.status == 403 => {
                let asks = |side: &&str| {
                    answer
                        .all("www-authenticate")
                        .iter()
                        .any(|line| line.contains(&format!("scope=\"{side}\"")))
                };
                SIDES.iter().position(asks).filter(|side| *side != scope)
            }
            _ => None,
        };
        // A token with the scope is let through by its own configuration alone.
        match (side, &answer) {
            (Some(side), Ok(answer)) if (answer.status == 200) == (side == scope) => {
                self.of[side].fetch_add(1, Ordering::Relaxed);
            }
            _ => self.wrong.lock().expect("no one panicked").push(format!("{}: {answer:?}", SIDES[scope])),
        }
    }
}

fn scene(house: &House, scope: usize, certificate: bool) -> Scene {
    let mut scene = if certificate { Scene::with_certificate(house) } else { Scene::right(house) };
    scene.token_claims["scope"] = json!(SIDES[scope]);
    scene.go_to("/swapped");
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_judged_by_half() {
    let house = Arc::new(house(ASKED).await);
    let base = house.text();
    let mut texts = Vec::new();
    for side in SIDES {
        let address = upstream(side).await;
        let route = format!(
            "routes:\n  - {{ name: swapped, match: {{ path_prefix: /swapped }}, upstream: swapped, require: {{ scopes: [{side}] }} }}\n  \
             - {{ name: open, match: {{ path_prefix: /open-{side} }}, upstream: swapped, public: true }}\n"
        );
        let text = base
            .replacen(
                "upstreams:\n",
                &format!("upstreams:\n  swapped: {{ servers: ['http://{address}'] }}\n"),
                1,
            )
            .replacen("routes:\n", &route, 1);
        texts.push(text);
    }
    house.reload_with(&texts[0]).await;
    let (counts, done) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
    let mut callers = Vec::new();
    for scope in 0..SIDES.len() {
        for certificate in [true, false] {
            let shared = || (Arc::clone(&house), Arc::clone(&counts), Arc::clone(&done));
            let (one, other) = (shared(), shared());
            let (house, counts, done) = one;
            // One connection from beginning to end: no reload closes it.
            callers.push(tokio::spawn(async move {
                let mut client = house.connect(HOST, certificate.then_some(0)).await;
                while !done.load(Ordering::Relaxed) {
                    let request = scene(&house, scope, certificate).bytes(&house);
                    counts.judge(scope, client.exchange(&request).await);
                }
            }));
            let (house, counts, done) = other;
            callers.push(tokio::spawn(async move {
                let client = house.connect_h2(certificate.then_some(0)).await;
                while !done.load(Ordering::Relaxed) {
                    let scene = scene(&house, scope, certificate);
                    let request = scene.request_with(&scene.credentials(&house));
                    counts.judge(scope, client.exchange(request).await);
                }
            }));
        }
    }
    for round in 1..=RELOADS {
        house.reload_with(&texts[round % 2]).await;
    }
    done.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.expect("no panic");
    }
    let wrong = counts.wrong.lock().expect("no one panicked");
    let [left, right] = counts.of.each_ref().map(|count| count.load(Ordering::Relaxed));
    println!(
        "{RELOADS} reloads: {left} answers of one configuration, {right} of the other, {} of neither",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{} of {}: {:?}", wrong.len(), left + right, wrong.first());
    assert!(left > RELOADS && right > RELOADS, "{left} {right}");
}

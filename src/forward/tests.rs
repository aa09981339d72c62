//! Names that change, settings that stay, and HTTP/2 servers that refuse: with real servers, and a resolver that a test sets.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::MapErr;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::fault::Fault;
use super::names::Resolver;
use super::upload::Upload;
use super::upstream::Upstream;
use super::{Download, Upstreams};
use crate::config::{self, Format, GivenNames, Host};

type Body = MapErr<Full<Bytes>, fn(Infallible) -> Fault>;

fn body(text: &'static str) -> Body {
    Full::from(text).map_err(|never| match never {})
}

/// The upstreams of a configuration in which they stand like this.
fn configured(upstreams: &str) -> Vec<config::Upstream> {
    let names = ["one", "two"].into_iter().filter(|name| upstreams.contains(&format!("{name}:")));
    let route = |name| {
        format!("  - {{ name: {name}, match: {{ path: /{name} }}, upstream: {name}, public: true }}\n")
    };
    let routes: String = names.map(route).collect();
    let text = format!(
        "listeners: [{{ name: a, address: 127.0.0.1:0, public_urls: [https://a.example], tls: plaintext }}]\n\
         upstreams:\n{upstreams}\nroutes:\n{routes}"
    );
    let read = config::read(&text, Format::Yaml, "test", std::path::Path::new("/"), &|_| None);
    read.unwrap_or_else(|complaints| panic!("{complaints}")).upstreams
}

/// A server at this address, which answers every request with its address on a connection that it counts.
async fn server(ip: [u8; 4], port: u16) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = TcpListener::bind((IpAddr::from(ip), port)).await.expect("free");
    let address = socket.local_addr().expect("an address");
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(move |_| async move {
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(address.ip().to_string())))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, connections)
}

async fn send(
    upstream: &Upstream<Body>,
    method: Method,
    text: &'static str,
) -> Result<Response<Download>, Fault> {
    let request = Request::builder().method(method).uri("/a?b").header("host", "a.example");
    let (body, progress) = Upload::new(body(text), &GivenNames::default());
    let request = Box::new(request.body(body).expect("a request"));
    upstream.exchange(request, &progress, &Host::Caller).await
}

/// Who answers a GET.
async fn who(upstream: &Upstream<Body>) -> Result<String, Fault> {
    let body = send(upstream, Method::GET, "").await?.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// What a name points to, for a test to change; nothing is an error.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<IpAddr>>>, Arc<AtomicUsize>);

impl Names {
    fn point_to(&self, ips: &[[u8; 4]]) {
        *self.0.lock().expect("no one panicked") = ips.iter().copied().map(IpAddr::from).collect();
    }

    fn resolver(&self) -> Resolver {
        let names = self.clone();
        Resolver::new(move |name, port| {
            let ips = names.0.lock().expect("no one panicked").clone();
            names.1.fetch_add(1, Ordering::SeqCst);
            async move {
                assert_eq!(name, "app.internal");
                match ips.is_empty() {
                    true => Err(io::Error::other("SERVFAIL")),
                    false => Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()),
                }
            }
        })
    }

    /// Waits until it was asked again, twice, so that the answer of the first is in use.
    async fn asked_again(&self) {
        let (before, start) = (self.1.load(Ordering::SeqCst), Instant::now());
        while self.1.load(Ordering::SeqCst) < before + 2 {
            assert!(start.elapsed() < Duration::from_secs(20), "the name is not resolved again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

const ONE: [u8; 4] = [127, 0, 0, 1];
const TWO: [u8; 4] = [127, 0, 0, 2];

#[tokio::test]
async fn requests_go_where_the_name_points() {
    let (address, _) = server(ONE, 0).await;
    let port = address.port();
    let _two = server(TWO, port).await;
    let names = Names::default();
    let upstreams =
        configured(&format!("  one: {{ servers: [http://app.internal:{port}], resolve: 100ms }}"));
    // Nobody answers for the name: the start succeeds, and requests are told.
    let all = Upstreams::<Body>::new(&upstreams, None, GivenNames::default(), &names.resolver(), None)
        .expect("no TLS");
    let upstream = &all.upstreams[0];
    assert_eq!(who(upstream).await, Err(Fault::Unreachable));
    for (ips, answering) in [
        (&[ONE][..], &["127.0.0.1"][..]),
        (&[TWO], &["127.0.0.2"]),
        // A resolution that fails keeps the last good one.
        (&[], &["127.0.0.2"]),
        (&[ONE, TWO, ONE], &["127.0.0.1", "127.0.0.2"]),
    ] {
        names.point_to(ips);
        names.asked_again().await;
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..40 {
            seen.insert(who(upstream).await.expect("an answer"));
        }
        assert!(seen.iter().eq(answering), "{ips:?}: {seen:?}");
        assert_eq!(upstream.numbers().endpoints, answering.len() as u64);
    }
}

/// Only before the first answer does a request wait for a name.
#[tokio::test]
async fn the_first_request_waits_for_the_name() {
    let (address, _) = server(ONE, 0).await;
    let go = Arc::new(tokio::sync::Notify::new());
    let gone = Arc::clone(&go);
    let resolver = Resolver::new(move |_, port| {
        let gone = Arc::clone(&gone);
        async move {
            gone.notified().await;
            Ok(vec![SocketAddr::from((ONE, port))])
        }
    });
    let port = address.port();
    let upstreams =
        configured(&format!("  one: {{ servers: [http://app.internal:{port}], connect_timeout: 10s }}"));
    let all =
        Upstreams::<Body>::new(&upstreams, None, GivenNames::default(), &resolver, None).expect("no TLS");
    let first = tokio::spawn({
        let upstream = Arc::clone(&all.upstreams[0]);
        async move { who(&upstream).await }
    });
    tokio::task::yield_now().await;
    go.notify_one();
    assert_eq!(first.await.expect("no panic"), Ok("127.0.0.1".to_owned()));
}

/// A request to a server that is gone from the name ends where it is; the next goes elsewhere.
#[tokio::test]
async fn a_connection_failure_asks_for_the_name_at_once() {
    let (address, _) = server(TWO, 0).await;
    let names = Names::default();
    // Nobody listens there.
    names.point_to(&[ONE]);
    let upstreams =
        configured(&format!("  one: {{ servers: [http://app.internal:{}], resolve: 24h }}", address.port()));
    let all = Upstreams::<Body>::new(&upstreams, None, GivenNames::default(), &names.resolver(), None)
        .expect("no TLS");
    assert_eq!(who(&all.upstreams[0]).await, Err(Fault::Unreachable));
    names.point_to(&[TWO]);
    let start = Instant::now();
    while who(&all.upstreams[0]).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "the name is never asked for again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(names.1.load(Ordering::SeqCst) <= 4, "and not for every failure");
}

/// What has not changed is taken over with its connections; what has is built anew; and what is gone ends its tasks.
#[tokio::test]
async fn an_upstream_outlives_the_runtime_it_was_made_for() {
    let (address, connections) = server(ONE, 0).await;
    let resolver = Resolver::system();
    let both = |retries: u32| {
        configured(&format!(
            "  one: {{ servers: [http://{address}] }}\n  two: {{ servers: [http://{address}], retries: {retries} }}"
        ))
    };
    let first =
        Upstreams::<Body>::new(&both(1), None, GivenNames::default(), &resolver, None).expect("no TLS");
    assert!(who(&first.upstreams[0]).await.is_ok() && who(&first.upstreams[1]).await.is_ok());
    let second =
        Upstreams::new(&both(2), None, GivenNames::default(), &resolver, Some(&first)).expect("no TLS");
    assert!(
        Arc::ptr_eq(&first.upstreams[0], &second.upstreams[0])
            && !Arc::ptr_eq(&first.upstreams[1], &second.upstreams[1])
    );
    let gone = Arc::downgrade(&first.upstreams[1]);
    drop(first);
    assert!(gone.upgrade().is_none(), "nothing holds what no runtime has");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    assert!(who(&second.upstreams[0]).await.is_ok());
    assert_eq!(connections.load(Ordering::SeqCst), 2, "its connection is still there");
    assert!(who(&second.upstreams[1]).await.is_ok());
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// RFC 9113 §8.7: what the server says that it did not process is sent again, whatever its method; what it may have, is not.
#[tokio::test]
async fn an_http2_server_that_refuses_a_stream_is_asked_again() {
    for (reason, method, text, expected) in [
        (h2::Reason::REFUSED_STREAM, Method::GET, "", Ok(2)),
        (h2::Reason::REFUSED_STREAM, Method::POST, "", Ok(2)),
        (h2::Reason::INTERNAL_ERROR, Method::GET, "", Ok(2)),
        (h2::Reason::INTERNAL_ERROR, Method::POST, "", Err(1)),
        // Its body is gone.
        (h2::Reason::REFUSED_STREAM, Method::POST, "body", Err(1)),
    ] {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("free");
        let address = socket.local_addr().expect("an address");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.expect("HTTP/2");
                    while let Some(Ok((request, mut answer))) = connection.accept().await {
                        let came = {
                            let mut noted = noted.lock().expect("no one panicked");
                            noted.push((request.method().clone(), request.uri().to_string()));
                            noted.len()
                        };
                        if came == 1 {
                            answer.send_reset(reason);
                        } else {
                            answer.send_response(Response::new(()), true).expect("sent");
                        }
                    }
                });
            }
        });
        let upstreams = configured(&format!("  one: {{ servers: [http://{address}], protocol: http2 }}"));
        let all = Upstreams::<Body>::new(&upstreams, None, GivenNames::default(), &Resolver::system(), None)
            .expect("no TLS");
        let answered = send(&all.upstreams[0], method.clone(), text).await.map(|response| response.status());
        let requests = requests.lock().expect("no one panicked").clone();
        // The same each time, and not the method and the target that nothing was said of.
        assert!(
            requests.iter().all(|came| *came == (method.clone(), "http://a.example/a?b".to_owned())),
            "{requests:?}"
        );
        let came = requests.len();
        match expected {
            Ok(times) => assert_eq!((answered, came), (Ok(StatusCode::OK), times), "{reason:?} {method}"),
            Err(times) => {
                assert_eq!((answered, came), (Err(Fault::Broken), times), "{reason:?} {method} {text}")
            }
        }
    }
}

/// The task that asks for the names waits nearly all the time, and must not be what keeps an upstream that nobody uses any more.
#[tokio::test(start_paused = true)]
async fn an_upstream_ends_with_its_last_holder() {
    let names = Names::default();
    names.point_to(&[[127, 0, 0, 1]]);
    let settings = configured("  one: { servers: [http://app.internal:1], resolve: 1h }");
    let upstreams = Upstreams::<Body>::new(&settings, None, GivenNames::default(), &names.resolver(), None)
        .expect("no TLS");
    // It was asked once, and has waited for longer than the least time.
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(names.1.load(Ordering::SeqCst), 1);
    let kept = Arc::downgrade(&upstreams.upstreams[0]);
    drop(upstreams);
    assert!(kept.upgrade().is_none());
}

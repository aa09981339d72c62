//! HTTP/2: the same verdicts as HTTP/1, and streams that a caller opens by the thousand (R-L-07).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::house::{HOST, House, OTHER_HOST, Plan, Seen};
use crate::scene::{Scene, thumbprint};
use crate::wire::{settings, tls};

/// These frames, one after another, without saying how many bytes there will be.
#[derive(Default)]
pub struct Frames(VecDeque<Frame<Bytes>>);

impl Frames {
    fn of(parts: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(parts.into_iter().map(|part| Frame::data(Bytes::from(part))).collect())
    }
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// A connection that speaks HTTP/2.
pub async fn connect(house: &House, sni: &str, certificate: Option<usize>) -> SendRequest<Frames> {
    let certificate = certificate.map(|index| {
        let (der, key) = house.certificates[index].clone();
        (vec![der], key)
    });
    let mut settings = settings(rustls::ALL_VERSIONS, certificate);
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let stream = tls(house.address, sni, Arc::new(settings)).await.expect("the handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("the preface");
    // It ends when the sender is dropped, or when the gateway has had enough.
    tokio::spawn(connection);
    sender
}

/// The scene as an HTTP/2 request: its host in `:authority`, no Host.
pub fn request(scene: &Scene, house: &House, body: Frames) -> Request<Frames> {
    let mut request = Request::builder()
        .method(scene.method.as_str())
        .uri(format!("https://{}{}", scene.host, scene.target))
        .version(Version::HTTP_2);
    for (name, value) in scene.credentials(house).iter().chain(&scene.headers) {
        request = request.header(name, value);
    }
    request.body(body).expect("a request")
}

/// What is heard of a request.
struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    reason: String,
}

async fn exchange(sender: &mut SendRequest<Frames>, request: Request<Frames>) -> Result<Heard, hyper::Error> {
    sender.ready().await?;
    let (parts, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reason = body["reason"].as_str().unwrap_or_default().to_owned();
    Ok(Heard { status: parts.status, headers: parts.headers, reason })
}

async fn play(house: &House, scene: &Scene) -> Heard {
    let mut sender = connect(house, &scene.sni, scene.certificate).await;
    exchange(&mut sender, request(scene, house, Frames::default())).await.expect("an answer")
}

fn the_one(house: &House, heard: &Heard) -> Seen {
    let mut seen = house.seen();
    assert_eq!((heard.status, seen.len()), (StatusCode::OK, 1), "{}", heard.reason);
    seen.remove(0)
}

/// T-REQ-06 and the rest of the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_bound_request_passes() {
    let house = House::usual().await;
    let mut by_both = Scene::right(&house);
    by_both.certificate = Some(0);
    by_both.token_claims["cnf"]["x5t#S256"] = json!(thumbprint(&house, 0));
    for (scene, binding) in
        [(Scene::at(&house, "/a?b=c"), "dpop"), (Scene::with_certificate(&house), "mtls"), (by_both, "both")]
    {
        let heard = play(&house, &scene).await;
        let seen = the_one(&house, &heard);
        assert_eq!((seen.target.as_str(), seen.method.as_str()), (scene.target.as_str(), "GET"));
        for (name, value) in [
            ("host", HOST),
            ("x-forwarded-host", HOST),
            ("x-auth-subject", "alice"),
            ("x-auth-binding", binding),
            ("via", "2 holdfast"),
        ] {
            assert_eq!(seen.headers[name], value, "{name}");
        }
        assert!(!seen.headers.contains_key("authorization") && !seen.headers.contains_key("dpop"));
        assert_eq!(seen.headers["x-request-id"], heard.headers["x-request-id"]);
        assert!(heard.headers.contains_key("date"));
    }
}

/// R-L-01: a name in any spelling, and a field that comes late.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_forged_passes() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    scene.using("POST");
    for name in
        ["x-auth-subject", "x_auth_subject", "client-cert", "x-forwarded-for", "x-http-method-override"]
    {
        scene.headers.extend([(name.to_owned(), "evil".to_owned()), (name.to_owned(), "evil".to_owned())]);
    }
    let mut body = Frames::of([b"body".to_vec()]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-auth-subject", HeaderValue::from_static("evil"));
    body.0.push_back(Frame::trailers(trailers));
    let mut sender = connect(&house, HOST, None).await;
    let heard = exchange(&mut sender, request(&scene, &house, body)).await.expect("an answer");
    let seen = the_one(&house, &heard);
    assert_eq!(seen.body, "body");
    assert!(!format!("{:?}", seen.headers).contains("evil"), "{:?}", seen.headers);
}

/// RFC 9113 §8.2.3: what HTTP/2 sends in crumbs is one line to an HTTP/1 server, which may look at the first line alone.
#[tokio::test(flavor = "multi_thread")]
async fn cookies_are_put_together() {
    let house = House::usual().await;
    let mut scene = Scene::right(&house);
    scene.headers = ["a=1", "b=2", "c=3"].map(|crumb| ("cookie".to_owned(), crumb.to_owned())).to_vec();
    let seen = the_one(&house, &play(&house, &scene).await);
    let lines: Vec<_> = seen.headers.get_all("cookie").iter().collect();
    assert_eq!(lines, ["a=1; b=2; c=3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_arrive_as_they_were_sent() {
    let house = House::usual().await;
    let mut sender = connect(&house, HOST, None).await;
    for sizes in [vec![], vec![1], vec![1, 70_000, 3], vec![1 << 20; 3]] {
        let sent: Vec<Vec<u8>> = sizes
            .iter()
            .map(|&size| (0..size).map(|at| u8::try_from(at % 251).expect("a byte")).collect())
            .collect();
        let mut scene = Scene::right(&house);
        scene.using("POST");
        let heard = exchange(&mut sender, request(&scene, &house, Frames::of(sent.clone()))).await;
        let seen = the_one(&house, &heard.expect("an answer"));
        assert!(seen.body == sent.concat(), "{sizes:?}");
    }
    let house = House::built(Plan { more: "limits: { body_bytes: 1000 }\n", ..Plan::default() }).await;
    for (sizes, status) in [(vec![500, 500], 200), (vec![500, 501], 413), (vec![100_000; 20], 413)] {
        let mut scene = Scene::right(&house);
        scene.using("POST");
        let body = Frames::of(sizes.iter().map(|&size| vec![b'x'; size]));
        let mut sender = connect(&house, HOST, None).await;
        let heard = exchange(&mut sender, request(&scene, &house, body)).await.expect("an answer");
        assert_eq!(heard.status, status, "{sizes:?}: {}", heard.reason);
        assert_eq!(house.seen().len(), usize::from(status == 200), "{sizes:?}");
    }
}

/// T-ORG-15, T-MTL-18, R-F-13: one name in the handshake, `:authority` and Host.
#[tokio::test(flavor = "multi_thread")]
async fn authority_host_and_handshake_agree() {
    let house = House::usual().await;
    for (sni, authority, host, status, reason) in [
        (HOST, HOST, None, 200, ""),
        (HOST, HOST, Some(HOST), 200, ""),
        (HOST, "API.example.com:443", Some(HOST), 200, ""),
        (HOST, HOST, Some(OTHER_HOST), 400, "host_invalid"),
        (HOST, HOST, Some("evil.example"), 400, "host_invalid"),
        (HOST, HOST, Some("api.example.com:8443"), 400, "host_invalid"),
        (HOST, "evil.example", Some(HOST), 400, "host_invalid"),
        (HOST, OTHER_HOST, None, 421, "sni_mismatch"),
        (OTHER_HOST, HOST, None, 421, "sni_mismatch"),
        (HOST, "api.example.com:8443", None, 421, "host_unknown"),
    ] {
        let mut scene = Scene::with_certificate(&house);
        (scene.sni, scene.host) = (sni.into(), authority.into());
        scene.headers = host.map(|host| ("host".to_owned(), host.to_owned())).into_iter().collect();
        let heard = play(&house, &scene).await;
        assert_eq!(
            (heard.status.as_u16(), heard.reason.as_str()),
            (status, reason),
            "{sni} {authority} {host:?}"
        );
        assert_eq!(house.seen().len(), usize::from(status == 200));
    }
    // `:scheme` of a TLS connection is https.
    let scene = Scene::right(&house);
    let mut plain = request(&scene, &house, Frames::default());
    *plain.uri_mut() = format!("http://{HOST}/").parse().expect("a URI");
    let heard = exchange(&mut connect(&house, HOST, None).await, plain).await.expect("an answer");
    assert_eq!(heard.status, 421);
    for method in [Method::TRACE, Method::CONNECT] {
        let mut refused = request(&scene, &house, Frames::default());
        *refused.method_mut() = method.clone();
        if method == Method::CONNECT {
            *refused.uri_mut() = HOST.parse().expect("a URI");
        }
        let heard = exchange(&mut connect(&house, HOST, None).await, refused).await;
        assert!(heard.is_err() || heard.is_ok_and(|heard| heard.status == 501), "{method}");
    }
    assert!(house.seen().is_empty());
}

/// R-J-06, T-REQ-40: every stream is asked, whatever the one before it showed.
#[tokio::test(flavor = "multi_thread")]
async fn every_stream_shows_its_own_credentials() {
    let house = House::usual().await;
    let mut sender = connect(&house, HOST, Some(0)).await;
    let right = Scene::right(&house);
    let used = right.credentials(&house);
    let mut without = Scene::right(&house);
    without.credentials = Some(Vec::new());
    let mut replayed = Scene::right(&house);
    replayed.credentials = Some(used.clone());
    let mut twice = Scene::right(&house);
    twice.credentials = Some([Scene::right(&house).credentials(&house), vec![used[1].clone()]].concat());
    let first = Scene { credentials: Some(used), ..right };
    for (scene, status, reason) in [
        (&first, 200, ""),
        (&without, 401, "credentials_missing"),
        (&replayed, 401, "proof_replayed"),
        (&twice, 401, "proof_repeated"),
        (&Scene::with_certificate(&house), 200, ""),
        (&without, 401, "credentials_missing"),
    ] {
        let heard =
            exchange(&mut sender, request(scene, &house, Frames::default())).await.expect("an answer");
        assert_eq!((heard.status.as_u16(), heard.reason.as_str()), (status, reason));
        assert_eq!(heard.headers.contains_key("www-authenticate"), status == 401);
        assert_eq!(house.seen().len(), usize::from(status == 200));
    }
}

/// T-RPL-06: the same proof on many streams at once passes once.
#[tokio::test(flavor = "multi_thread")]
async fn one_proof_on_many_streams_is_one_request() {
    let house = House::usual().await;
    let sender = connect(&house, HOST, None).await;
    let mut scene = Scene::right(&house);
    scene.credentials = Some(scene.credentials(&house));
    let streams: Vec<_> = (0..50)
        .map(|_| {
            let (mut sender, request) = (sender.clone(), request(&scene, &house, Frames::default()));
            tokio::spawn(async move { exchange(&mut sender, request).await.expect("an answer").status })
        })
        .collect();
    let mut passed = 0;
    for stream in streams {
        passed += usize::from(stream.await.expect("no panic") == StatusCode::OK);
    }
    assert_eq!((passed, house.seen().len()), (1, 1));
}

/// CVE-2023-44487 and its kin: the connection may be ended, the gateway goes on, and nothing reaches the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn streams_by_the_thousand() {
    let house = House::usual().await;
    let begin = Instant::now();
    let mut without = Scene::right(&house);
    without.credentials = Some(Vec::new());

    // Opened and reset at once.
    let mut sender = connect(&house, HOST, None).await;
    for _ in 0..5000 {
        if sender.ready().await.is_err() {
            break;
        }
        let mut stream = Box::pin(sender.send_request(request(&without, &house, Frames::default())));
        // The frame goes out; nobody waits for the answer.
        let _ = tokio::time::timeout(Duration::from_micros(50), &mut stream).await;
    }
    // Opened and left open, many more than a connection may have.
    let sender = connect(&house, HOST, None).await;
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let (mut sender, request) = (sender.clone(), request(&without, &house, Frames::default()));
            tokio::spawn(async move { exchange(&mut sender, request).await.expect("an answer").status })
        })
        .collect();
    for stream in streams {
        assert_eq!(stream.await.expect("no panic"), StatusCode::UNAUTHORIZED);
    }
    assert!(house.seen().is_empty());
    assert_eq!(play(&house, &Scene::right(&house)).await.status, StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

/// R-L-08: the list of fields has the limit of a head.
#[tokio::test(flavor = "multi_thread")]
async fn long_lists_of_fields_are_refused() {
    let house = House::built(Plan {
        more: "limits: { header_bytes: 8KiB, token_bytes: 4KiB, proof_bytes: 4KiB }\n",
        ..Plan::default()
    })
    .await;
    for (lines, length) in [(1, 20_000), (300, 100), (5000, 10)] {
        let mut scene = Scene::at(&house, "/public");
        scene.credentials = Some(Vec::new());
        scene.headers = (0..lines).map(|at| (format!("x-{at}"), "y".repeat(length))).collect();
        let mut sender = connect(&house, HOST, None).await;
        let heard = exchange(&mut sender, request(&scene, &house, Frames::default())).await;
        assert!(heard.is_err() || heard.is_ok_and(|heard| heard.status == 431), "{lines} of {length}");
        assert!(house.seen().is_empty());
    }
    // Pseudo-fields are not counted.
    for (lines, status, reason) in [(100, 401, "credentials_missing"), (101, 431, "header_too_many_fields")] {
        let mut scene = Scene::right(&house);
        scene.credentials = Some(Vec::new());
        scene.headers = (0..lines).map(|at| (format!("x-{at}"), "y".to_owned())).collect();
        let client = house.connect_h2(None).await;
        let answer = client.exchange(scene.request_with(&[])).await.expect("an answer");
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason));
        assert!(house.seen().is_empty());
    }
    // A length that no body has, nor a counter of 63 bits.
    for length in
        ["9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616"]
    {
        let mut scene = Scene::at(&house, "/public");
        scene.headers = vec![("content-length".to_owned(), length.to_owned())];
        let mut sender = connect(&house, HOST, None).await;
        let heard = exchange(&mut sender, request(&scene, &house, Frames::default())).await;
        assert!(
            heard.is_err() || heard.is_ok_and(|heard| heard.status == 413 || heard.status == 400),
            "{length}"
        );
        assert!(house.seen().is_empty());
    }
    let scene = Scene::at(&house, "/public");
    assert_eq!(play(&house, &scene).await.status, StatusCode::OK);
}

/// RFC 9110 §9.3.2, RFC 9113 §8.1.1: an answer to HEAD has no body, whoever answers; its length is that of the answer to GET.
#[tokio::test(flavor = "multi_thread")]
async fn answers_to_head_have_no_body() {
    let routes = "  - { name: gone, match: { path_prefix: /gone }, upstream: gone, public: true }\n";
    let more = format!("  gone: {{ servers: [http://{}] }}", crate::scripted::nobody().await);
    let timeouts: &'static str = format!(" }}\n{}", more.trim_end_matches(" }")).leak();
    let house = House::built(Plan { routes, timeouts, ..Plan::default() }).await;
    let h2 = house.connect_h2(None).await;
    for (path, status) in
        [("/", 401), ("/get-only", 405), ("/a//b", 400), ("/public?x=1", 200), ("/gone", 502)]
    {
        let ask = async |method: &str| {
            let request = http::Request::builder().method(method).uri(format!("https://{HOST}{path}"));
            let request = request.body(http_body_util::Full::default()).expect("a request");
            h2.exchange(request).await.expect("an answer")
        };
        let head = ask("HEAD").await;
        assert_eq!((head.status, head.body.len()), (status, 0), "{path}: {head:?}");
        if status != 200 {
            assert!(head.one("content-length").parse::<usize>().is_ok_and(|length| length > 50), "{head:?}");
        }
    }
}

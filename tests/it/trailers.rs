//! Trailers both ways, and what gRPC needs of them: HTTP/2 on both sides, `te: trailers`, a verdict behind the body, streams that go both ways at
//! once, and a broken stream that never looks complete.

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::house::{House, Plan};
use crate::piped::{self, connect, fields, next, piped, request, soon};
use crate::scene::Scene;

/// What only a head may say, and only the gateway at that.
const NEVER_LATE: [&str; 7] = [
    "x-auth-subject",
    "authorization",
    "dpop",
    "dpop-nonce",
    "www-authenticate",
    "content-length",
    "x-forwarded-for",
];

/// What an upstream saw of a request: head, body, trailers.
type Seen = (HeaderMap, Bytes, Option<HeaderMap>);

/// A house with an HTTP/2 upstream that reads a request to its end and answers with trailers.
async fn house() -> (House, mpsc::Receiver<Seen>) {
    let (tell, heard) = mpsc::channel(16);
    let upstream = piped::upstream(move |request| {
        let tell = tell.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a whole body");
            let trailers = body.trailers().cloned();
            tell.send((head.headers, body.to_bytes(), trailers)).await.expect("heard");
            let (pen, paper) = piped();
            tokio::spawn(async move {
                pen.write("answer").await;
                let mut trailers = fields(&NEVER_LATE, "theirs");
                trailers.extend(fields(&["grpc-status"], "0"));
                pen.end(trailers).await;
            });
            Response::new(paper)
        }
    })
    .await;
    let plan = Plan { upstream: Some(upstream), timeouts: ", protocol: http2", ..Plan::default() };
    (House::built(plan).await, heard)
}

/// T-PXY-04: they pass, and get past no rule.
#[tokio::test(flavor = "multi_thread")]
async fn both_ways_over_http2() {
    let (house, mut heard) = house().await;
    let mut gateway = connect(&house).await;
    for wanted in [true, false] {
        let mut scene = Scene::at(&house, "/echo");
        scene.using("POST");
        if wanted {
            scene.headers = vec![("te".into(), "trailers".into())];
        }
        let (pen, paper) = piped();
        let answer = gateway.send_request(request(&house, &scene, paper));
        let sent = async {
            pen.write("question").await;
            let mut trailers = fields(&NEVER_LATE, "mine");
            trailers.extend(fields(&["x-checksum"], "c"));
            pen.end(trailers).await;
        };
        let (answer, ()) = soon(async { tokio::join!(answer, sent) }).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body = soon(answer.into_body().collect()).await.expect("a whole body");
        assert_eq!(body.trailers().cloned(), wanted.then(|| fields(&["grpc-status"], "0")));
        assert_eq!(body.to_bytes(), "answer");
        let (head, body, trailers) = soon(heard.recv()).await.expect("seen");
        assert_eq!(body, "question");
        assert_eq!(trailers, Some(fields(&["x-checksum"], "c")));
        assert_eq!(head.get("te").map(|te| te.as_bytes()), wanted.then_some(&b"trailers"[..]));
        assert_eq!(head.get("x-auth-subject").map(|subject| subject.as_bytes()), Some(&b"alice"[..]));
    }
}

/// A verdict that says nothing else: the head is all there is (gRPC calls it Trailers-Only).
#[tokio::test(flavor = "multi_thread")]
async fn a_head_may_be_everything() {
    let upstream = piped::upstream(|_| async {
        let (_, paper) = piped();
        Response::builder().header("grpc-status", "7").body(paper).expect("an answer")
    })
    .await;
    let plan = Plan { upstream: Some(upstream), timeouts: ", protocol: http2", ..Plan::default() };
    let house = House::built(plan).await;
    let answer = house
        .connect_h2(None)
        .await
        .exchange({
            let scene = Scene::right(&house);
            scene.request_with(&scene.credentials(&house))
        })
        .await
        .expect("an answer");
    assert_eq!((answer.status, answer.one("grpc-status")), (200, "7"));
    assert!(answer.body.is_empty());
}

/// Neither side waits for the end of the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_goes_both_ways_at_once() {
    let upstream = piped::upstream(|mut request| async move {
        let (pen, paper) = piped();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = request.body_mut().frame().await {
                let Ok(data) = frame.into_data() else { break };
                // The end may come as a frame without data.
                if data.is_empty() {
                    continue;
                }
                pen.write([b"re: ", &data[..]].concat()).await;
            }
            pen.end(fields(&["grpc-status"], "0")).await;
        });
        Response::new(paper)
    })
    .await;
    let plan = Plan { upstream: Some(upstream), timeouts: ", protocol: http2", ..Plan::default() };
    let house = House::built(plan).await;
    let mut scene = Scene::at(&house, "/chat");
    scene.using("POST");
    scene.headers = vec![("te".into(), "trailers".into())];
    let (pen, paper) = piped();
    let answer =
        soon(connect(&house).await.send_request(request(&house, &scene, paper))).await.expect("a head");
    let mut body = answer.into_body();
    for word in ["one", "two", "three"] {
        assert!(pen.write(word).await);
        let frame = next(&mut body).await.expect("more").expect("unbroken");
        assert_eq!(frame.into_data().expect("data"), format!("re: {word}"));
    }
    drop(pen);
    let last = next(&mut body).await.expect("trailers").expect("unbroken");
    assert_eq!(last.into_trailers().expect("trailers"), fields(&["grpc-status"], "0"));
}

/// An upstream that breaks off, or says more than is passed on, leaves a caller without an end, not with a false one.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_never_looks_complete() {
    let upstream = piped::upstream(|request| async move {
        let (pen, paper) = piped();
        let too_much = request.uri().path() == "/too-much";
        tokio::spawn(async move {
            pen.write("part").await;
            if too_much {
                let mut trailers = fields(&["grpc-status"], "0");
                trailers.insert("x-long", "y".repeat(9000).parse().expect("a value"));
                pen.end(trailers).await;
            } else {
                // Longer than any end: the connection goes first.
                std::future::pending::<()>().await;
            }
        });
        Response::new(paper)
    })
    .await;
    let plan = Plan {
        upstream: Some(upstream),
        timeouts: ", protocol: http2",
        more: "limits: { idle_timeout: 500ms }\n",
        ..Plan::default()
    };
    let house = House::built(plan).await;
    for path in ["/too-much", "/silent"] {
        let mut scene = Scene::at(&house, path);
        scene.headers = vec![("te".into(), "trailers".into())];
        let (pen, paper) = piped();
        drop(pen);
        let mut gateway = connect(&house).await;
        let whole = async {
            // Where all is broken at once, not even the head may have left.
            let answer = gateway.send_request(request(&house, &scene, paper)).await?;
            answer.into_body().collect().await
        };
        let error = soon(whole).await.expect_err("no end");
        assert!(format!("{error:?}").contains("Reset"), "{path}: {error:?}");
        // And in HTTP/1.1, where the end of the connection is the sign.
        let mut client = house.connect(crate::house::HOST, None).await;
        let mut scene = Scene::at(&house, path);
        scene.headers = vec![("te".into(), "trailers".into())];
        client.send(&scene.bytes(&house)).await.expect("sent");
        assert!(client.answer().await.is_err(), "{path}");
    }
}

/// In HTTP/1.1 they are announced, or they do not come.
#[tokio::test(flavor = "multi_thread")]
async fn http1_callers_get_those_they_ask_for() {
    let upstream = crate::scripted::answering(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: X-Checksum, DPoP-Nonce\r\n\r\n\
          6\r\nanswer\r\n0\r\nx-checksum: c\r\ndpop-nonce: theirs\r\n\r\n",
    )
    .await;
    let house = House::built(Plan { upstream: Some(upstream), ..Plan::default() }).await;
    for (te, end, announced) in [
        (Some("trailers"), "6\r\nanswer\r\n0\r\nx-checksum: c\r\n\r\n", true),
        (None, "6\r\nanswer\r\n0\r\n\r\n", false),
    ] {
        let mut scene = Scene::right(&house);
        scene.headers = te.map(|te| ("te".to_owned(), te.to_owned())).into_iter().collect();
        scene.headers.push(("connection".into(), "close, te".into()));
        let mut client = house.connect(crate::house::HOST, None).await;
        client.send(&scene.bytes(&house)).await.expect("sent");
        let head = client.head().await.expect("a head");
        assert_eq!(head.all("trailer"), if announced { vec!["x-checksum"] } else { vec![] });
        let body = client.read_until(end.as_bytes()).await.expect("the end");
        assert_eq!(String::from_utf8_lossy(&body), end);
    }
}

/// An answer may be whole while the request goes on; that ends with its token too.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_does_not_outlive_its_token() {
    let (tell, mut heard) = mpsc::channel(16);
    let upstream = piped::upstream(move |mut request| {
        let tell = tell.clone();
        async move {
            tokio::spawn(async move {
                while let Some(frame) = request.body_mut().frame().await {
                    let data = frame.map(|frame| frame.into_data().unwrap_or_default());
                    tell.send(data.map_err(drop)).await.expect("heard");
                }
            });
            Response::new(piped().1)
        }
    })
    .await;
    let routes = "  - { name: ends, match: { path_prefix: /ends }, upstream: echo, forward: { end_at_expiry: true } }\n";
    let plan = Plan { upstream: Some(upstream), timeouts: ", protocol: http2", routes, ..Plan::default() };
    let house = House::built(plan).await;
    let mut scene = Scene::at(&house, "/ends");
    scene.using("POST");
    let (pen, paper) = piped();
    let mut gateway = connect(&house).await;
    let answer = soon(gateway.send_request(request(&house, &scene, paper))).await.expect("a head");
    assert!(soon(answer.into_body().collect()).await.expect("a whole body").to_bytes().is_empty());
    for word in ["one", "two"] {
        assert!(pen.write(word).await);
        assert_eq!(soon(heard.recv()).await, Some(Ok(Bytes::from(word))));
    }
    house.pass_time(310);
    assert_eq!(soon(heard.recv()).await, Some(Err(())), "broken off, and not complete");
}

//! Upstreams as operators run them: real servers in every protocol, killed and revived, slow, full, and elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::Version;
use tokio::task::JoinSet;

use crate::house::{HOST, House, Plan};
use crate::served::{Served, Spoken, leaked};
use crate::wire::Answer;

/// A house with a second upstream, `tested`, and a public route to it below `/t`.
async fn house(upstream: &str, route: &str) -> House {
    house_with(upstream, route, Vec::new()).await
}

async fn house_with(upstream: &str, route: &str, files: Vec<(&'static str, String)>) -> House {
    House::built(Plan {
        // Closes the upstream that every house has, and leaves its own end to the house.
        timeouts: leaked(format!(" }}\n  tested: {{ {upstream}")),
        routes: leaked(format!(
            "  - {{ name: tested, match: {{ path_prefix: /t }}, upstream: tested, public: true{route} }}\n"
        )),
        files,
        ..Plan::default()
    })
    .await
}

async fn get(house: &House, target: &str) -> Answer {
    ask(house, "GET", target, "").await
}

async fn ask(house: &House, method: &str, target: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let request = format!("{method} {target} HTTP/1.1\r\nhost: {HOST}\r\n{length}\r\n{body}");
    house.connect(HOST, None).await.exchange(request.as_bytes()).await.expect("an answer")
}

fn outcome(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason())
}

/// Waits for something that has to come, without guessing when.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is().await {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_with_prior_knowledge_shares_a_connection() {
    let served = Served::start(Spoken::Http2).await;
    let house = house(&format!("servers: [http://{}], protocol: http2", served.address()), "").await;
    let answer = ask(&house, "POST", "/t/x?y", "four").await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "four"));
    let seen = served.seen().remove(0);
    assert_eq!((seen.version, seen.uri.as_str()), (Version::HTTP_2, "http://api.example.com/t/x?y"));
    assert!(!seen.headers.contains_key("host") && !seen.headers.contains_key("transfer-encoding"));
    let house = Arc::new(house);
    let mut all = JoinSet::new();
    for _ in 0..50 {
        let house = Arc::clone(&house);
        all.spawn(async move { get(&house, "/t/wait-a-moment").await.status });
    }
    assert_eq!(all.join_all().await, [200; 50]);
    assert_eq!((served.hits(), served.connections()), (51, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket() {
    let served = Served::start(Spoken::Unix).await;
    for host in ["caller", "upstream"] {
        let route = format!(", forward: {{ host: {host} }}");
        let house = house(&format!("servers: [\"{}\"]", served.url()), &route).await;
        assert_eq!(get(&house, "/t").await.status, 200);
        let expected = if host == "caller" { HOST } else { "localhost" };
        assert_eq!(served.seen().remove(0).headers["host"], expected);
    }
    let house = house("servers: [\"unix:/nowhere/at/all.sock\"]", "").await;
    assert_eq!(outcome(&get(&house, "/t").await), (502, "upstream_unreachable".to_owned()));
}

/// TLS with a client certificate, in both protocols; without what the server asks for, or under another name, nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn tls_both_ways() {
    for (spoken, protocol) in [(Spoken::Tls, "http1"), (Spoken::TlsHttp2, "http2")] {
        let served = Served::start(spoken).await;
        let files = || served.files();
        let right = format!(
            "servers: [{}], protocol: {protocol}, trust: {{ ca: ca.pem }}, client_certificate: {{ chain: shown.pem, key: shown.key }}, server_name: app.internal",
            served.url()
        );
        let house = house_with(&right, "", files()).await;
        assert_eq!(ask(&house, "POST", "/t", "body").await.text(), "body", "{protocol}");
        let version = served.seen().remove(0).version;
        assert_eq!(version == Version::HTTP_2, protocol == "http2");
        let other = if protocol == "http1" { "http2" } else { "http1" };
        for (wrong, by) in [
            (", client_certificate: { chain: shown.pem, key: shown.key }", String::new()),
            ("server_name: app.internal", "server_name: other.internal".to_owned()),
            (", trust: { ca: ca.pem }", ", trust: { ca: shown.pem }".to_owned()),
            (leaked(format!("protocol: {protocol}")), format!("protocol: {other}")),
        ] {
            assert!(right.contains(wrong), "{wrong}");
            let house = house_with(&right.replace(wrong, &by), "", files()).await;
            let (status, reason) = outcome(&get(&house, "/t").await);
            // With TLS 1.3 a server refuses a certificate after the handshake is over for the client.
            assert_eq!(status, 502, "{protocol}, {wrong}: {reason}");
            assert!(!wrong.starts_with("protocol") || reason == "upstream_unreachable", "{wrong}: {reason}");
            assert!(served.seen().is_empty(), "{protocol}, {wrong}");
        }
    }
}

/// Callers notice neither that a server dies nor that it comes back, and it gets requests again.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_dies_under_load_and_returns() {
    for (spoken, protocol) in [(Spoken::Http1, "http1"), (Spoken::Http2, "http2")] {
        let (one, other) = (Served::start(spoken).await, Served::start(spoken).await);
        let settings = format!(
            "servers: [http://{}, http://{}], protocol: {protocol}, health: {{ failures: 2, ejection: 100ms }}",
            one.address(),
            other.address()
        );
        let house = Arc::new(house(&settings, "").await);
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..8)
            .map(|_| {
                let (house, stop, sent) = (Arc::clone(&house), Arc::clone(&stop), Arc::clone(&sent));
                tokio::spawn(async move {
                    let mut client = house.connect(HOST, None).await;
                    while !stop.load(Ordering::Relaxed) {
                        let request = format!("GET /t HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
                        let answer = client.exchange(request.as_bytes()).await.expect("an answer");
                        assert_eq!(outcome(&answer), (200, String::new()));
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let more = async || {
            let before = sent.load(Ordering::Relaxed);
            until("requests go on", async || sent.load(Ordering::Relaxed) > before + 200).await;
        };
        more().await;
        let address = one.address();
        assert!(one.hits() > 0 && other.hits() > 0, "both get requests");
        one.kill().await;
        more().await;
        let revived = Served::start_at(spoken, address).await;
        until("it gets requests again", async || revived.hits() > 10).await;
        more().await;
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.expect("no request failed");
        }
        let numbers = house.ask_admin("/metrics").await.1;
        assert!(numbers.contains("holdfast_upstream_endpoints{upstream=\"tested\"} 2\n"), "{numbers}");
        assert!(numbers.contains("holdfast_upstream_endpoints_up{upstream=\"tested\"} 2\n"), "{numbers}");
    }
}

/// What may have been acted on is sent a second time only if doing it twice is doing it once; and then elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn only_what_can_be_repeated_is_sent_twice() {
    for (method, body, hits) in
        [("GET", "", 2), ("DELETE", "", 2), ("POST", "", 1), ("POST", "body", 1), ("PUT", "body", 1)]
    {
        let (one, other) = (Served::start(Spoken::Http1).await, Served::start(Spoken::Http1).await);
        let settings = format!("servers: [http://{}, http://{}]", one.address(), other.address());
        let house = house(&settings, "").await;
        // Reads the request, and closes.
        let answer = ask(&house, method, "/t/hang-up", body).await;
        assert_eq!(outcome(&answer), (502, "upstream_broken".to_owned()), "{method} {body}");
        assert_eq!(one.hits() + other.hits(), hits, "{method} {body}");
        assert!(one.hits() <= 1 && other.hits() <= 1, "{method} {body}: the other one is asked");
    }
    let (one, other) = (Served::start(Spoken::Http1).await, Served::start(Spoken::Http1).await);
    let settings = format!("servers: [http://{}, http://{}], retries: 0", one.address(), other.address());
    let house = house(&settings, "").await;
    assert_eq!(get(&house, "/t/hang-up").await.status, 502);
    assert_eq!(one.hits() + other.hits(), 1);
}

/// Nothing was sent where nobody answered, so even a POST with a body goes to the other server.
#[tokio::test(flavor = "multi_thread")]
async fn what_never_left_is_sent_elsewhere() {
    let served = Served::start(Spoken::Http1).await;
    let settings =
        format!("servers: [http://{}, http://{}]", crate::scripted::nobody().await, served.address());
    let house = house(&settings, "").await;
    for _ in 0..20 {
        assert_eq!(ask(&house, "POST", "/t", "body").await.text(), "body");
    }
    assert_eq!(served.hits(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_requests_are_told_so_at_once() {
    let served = Served::start(Spoken::Http1).await;
    let settings =
        format!("servers: [http://{}], connections: 1, waiting: 1, connect_timeout: 1m", served.address());
    let house = Arc::new(house(&settings, "").await);
    let send = || {
        let house = Arc::clone(&house);
        async move { get(&house, "/t/wait-for-go").await }
    };
    let first = tokio::spawn(send());
    until("the first is there", async || served.hits() == 1).await;
    // One of the next two waits, and the other is turned away at once: nobody else could end yet.
    let mut later = JoinSet::new();
    later.spawn(send());
    later.spawn(send());
    let turned_away = later.join_next().await.expect("two of them").expect("an answer");
    assert_eq!(outcome(&turned_away), (503, "upstream_overloaded".to_owned()));
    assert!(turned_away.one("retry-after").parse::<u64>().is_ok());
    served.go();
    let waited = later.join_next().await.expect("one more").expect("an answer");
    assert_eq!((first.await.expect("an answer").status, waited.status, served.hits()), (200, 200, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_are_rewritten_after_they_are_judged() {
    let served = Served::start(Spoken::Http1).await;
    let rewritten = ", forward: { rewrite: { strip_prefix: /t/api, replace: /v2 }, host: \"inside.example:81\" } }
  - { name: stripped, match: { path_prefix: \"/s/{tenant}\" }, upstream: tested, public: true, forward: { rewrite: { strip_prefix: \"/s/{tenant}\" } } }
  - { name: slashes, match: { path_prefix: /e, allow_encoded_slash: true }, upstream: tested, public: true, forward: { rewrite: { strip_prefix: /e }, host: upstream, report: [] }";
    let settings = format!("servers: [http://{}]", served.address());
    let house = House::built(Plan {
        timeouts: leaked(format!(" }}\n  tested: {{ {settings}")),
        routes: leaked(format!(
            "  - {{ name: tested, match: {{ path_prefix: /t/api }}, upstream: tested, public: true{rewritten} }}\n"
        )),
        ..Plan::default()
    })
    .await;
    let own = served.address().to_string();
    for (asked, seen, host) in [
        ("/t/api", "/v2", "inside.example:81"),
        ("/t/api/", "/v2/", "inside.example:81"),
        ("/t/api/x?y=/t/api/..//", "/v2/x?y=/t/api/..//", "inside.example:81"),
        ("/t/%61pi/%7Ex", "/v2/~x", "inside.example:81"),
        ("/s/7", "/", HOST),
        ("/s/7/x/", "/x/", HOST),
        ("/s/evil.example/x", "/x", HOST),
        ("/e/a%2fb", "/a%2Fb", &own),
        ("/e/%2fevil.example", "/%2Fevil.example", &own),
    ] {
        assert_eq!(get(&house, asked).await.status, 200, "{asked}");
        let was = served.seen().remove(0);
        assert_eq!((was.uri.as_str(), was.headers["host"].to_str().expect("text")), (seen, host), "{asked}");
        // Said where something was taken off and nothing put in its place, and the route tells of such things.
        let taken_off =
            asked.strip_suffix(if seen == "/" { "" } else { seen }).filter(|_| asked.starts_with("/s/"));
        let told = was.headers.get("x-forwarded-prefix").map(|prefix| prefix.to_str().expect("text"));
        assert_eq!(told, taken_off, "{asked}");
    }
    // What two readers could take for different paths is refused before anything is rewritten; what is no whole segment is not this route's.
    for (asked, status) in [
        ("/t/api//evil.example", 400),
        ("/t/api/%2e%2e/x", 400),
        ("/t/api/../x", 400),
        ("/t/api/..;/x", 400),
        ("/t/api;v=1/x", 400),
        ("/t/api%2Fx", 400),
        ("/t/api/%5cx", 400),
        ("/t/api/%2fevil.example", 400),
        ("/t/apix", 401),
        ("/s//x", 400),
        ("/s", 401),
    ] {
        let answer = get(&house, asked).await;
        assert_eq!(answer.status, status, "{asked}: {}", answer.reason());
        assert!(served.seen().is_empty() && house.seen().is_empty(), "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_turn_a_server_away_and_bring_it_back() {
    let (one, other) = (Served::start(Spoken::Http1).await, Served::start(Spoken::Http1).await);
    let settings = format!(
        "servers: [http://{}, http://{}], health: {{ check: {{ path: \"/healthz?gateway\", interval: 20ms, timeout: 20ms, healthy: 2, unhealthy: 2, status: [204] }} }}",
        one.address(),
        other.address()
    );
    let house = house(&settings, "").await;
    let up = async || {
        let numbers = house.ask_admin("/metrics").await.1;
        let line = numbers
            .lines()
            .find_map(|line| line.strip_prefix("holdfast_upstream_endpoints_up{upstream=\"tested\"} "));
        line.expect("the line").parse::<u32>().expect("a number")
    };
    for well in [false, true] {
        one.is_well(well);
        until("the checks see it", async || up().await == 1 + u32::from(well)).await;
        let before = one.hits();
        for _ in 0..30 {
            assert_eq!(get(&house, "/t").await.status, 200);
        }
        assert_eq!(one.hits() > before, well);
    }
    assert!(one.checks() > 3);
    // All of them: then all are tried.
    one.is_well(false);
    other.is_well(false);
    until("both are away", async || up().await == 0).await;
    assert_eq!(get(&house, "/t").await.status, 200);
}

/// Whom a caller keeps waiting for the rest of a body is not the one who is late.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_caller_is_not_held_against_the_upstream() {
    let served = Served::start(Spoken::Http1).await;
    let settings = format!(
        "servers: [http://{}], response_timeout: 50ms, health: {{ failures: 1, ejection: 1h }}",
        served.address()
    );
    let house = house(&settings, "").await;
    let mut slow = house.connect(HOST, None).await;
    let head = format!("POST /t HTTP/1.1\r\nhost: {HOST}\r\ncontent-length: 4\r\n\r\nfo");
    slow.send(head.as_bytes()).await.expect("sent");
    // Several times as long as an upstream may take.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let answer = slow.exchange(b"ur").await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "four"));
    let (_, numbers) = house.ask_admin("/metrics").await;
    assert!(numbers.contains("holdfast_upstream_ejections_total{upstream=\"tested\"} 0"), "{numbers}");
}

/// What waits to be understood is bounded: no upstream makes each connection hold as much as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_a_limit() {
    for (length, status) in [(32 * 1024, 200), (200 * 1024, 502)] {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-a: {}\r\n\r\n", "a".repeat(length));
        let address = crate::scripted::answering(leaked(head).as_bytes()).await;
        let house = house(&format!("servers: [http://{address}]"), "").await;
        assert_eq!(get(&house, "/t").await.status, status, "{length}");
    }
}

/// One upstream's rubbish is its own trouble.
#[tokio::test(flavor = "multi_thread")]
async fn rubbish_is_broken_and_nobody_elses_trouble() {
    for rubbish in [
        &b"SSH-2.0-OpenSSH_9.9\r\n"[..],
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx y: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno-colon\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        b"HTTP/1.1 200",
        b"",
    ] {
        let address = crate::scripted::upstream(move |mut stream| async move {
            crate::scripted::read_until(&mut stream, b"\r\n\r\n").await;
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, rubbish).await;
        })
        .await;
        let house = house(&format!("servers: [http://{address}]"), "").await;
        let answer = get(&house, "/t").await;
        assert_eq!(
            outcome(&answer),
            (502, "upstream_broken".to_owned()),
            "{:?}",
            String::from_utf8_lossy(rubbish)
        );
        assert_eq!(get(&house, "/public").await.status, 200);
    }
}

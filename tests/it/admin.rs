//! The admin listener: health, readiness, numbers, and that none of it is public.

use std::collections::HashSet;

use holdfast::forward::Fault;
use holdfast::verify::rejection::Rejection;

use crate::house::{House, Plan};
use crate::reload::ASKED;
use crate::scene::Scene;
use crate::wire::{Answer, Client};

async fn ask(house: &House, request: &str) -> Answer {
    let mut client = Client::plain(house.admin).await.expect("the admin listener");
    client
        .exchange(format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
        .await
        .expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn alive_is_not_ready() {
    let issuer = "    keys: { jwks_url: \"http://127.0.0.1:1/unreachable\" }\n";
    let without_keys = House::built(Plan { issuer, ..Plan::default() }).await;
    without_keys.gateway.tried().await;
    let house = House::usual().await;
    for (house, path, status) in [
        (&without_keys, "/livez", 200),
        (&without_keys, "/readyz", 503),
        (&house, "/livez", 200),
        (&house, "/readyz", 200),
        (&house, "/readyz?verbose", 200),
        (&house, "/", 404),
        (&house, "/readyz/", 404),
        (&house, "/metrics/x", 404),
        (&house, "/debug", 404),
    ] {
        let answer = ask(house, &format!("GET {path}")).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.one("cache-control"), "no-store", "{path}");
    }
    let answer = ask(&house, "POST /livez").await;
    assert_eq!((answer.status, answer.one("allow")), (405, "GET, HEAD"));
}

/// R-L-09.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_it_is_public() {
    let open = House::usual().await;
    let narrow = House::built(Plan { catch_all: "/only", ..Plan::default() }).await;
    for path in ["/livez", "/readyz", "/metrics"] {
        for (house, status) in [(&open, 401), (&narrow, 404)] {
            let mut scene = Scene::at(house, path);
            scene.credentials = Some(Vec::new());
            assert_eq!(scene.send(house).await.status, status, "{path}");
        }
    }
    // Nor does the admin listener proxy, and a page of another name that was pointed at it reads nothing (DNS rebinding).
    for (path, name) in
        [("/metrics", "evil.example"), ("/livez", "127.0.0.1.evil.example"), ("/readyz", "gateway.internal")]
    {
        let mut client = Client::plain(open.admin).await.expect("the admin listener");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {name}:{}\r\n\r\n", open.admin.port());
        let answer = client.exchange(request.as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 403, "{name}");
        assert!(answer.text().contains("admin.names") && !answer.text().contains("holdfast_"), "{answer:?}");
    }
    let scene = Scene::right(&open);
    let mut client = Client::plain(open.admin).await.expect("the admin listener");
    assert_eq!(client.exchange(&scene.bytes(&open)).await.expect("an answer").status, 403);
    assert!(open.seen().is_empty());
}

/// The names that are listed are ours, from the reload on that lists them.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_admin_listener() {
    let house = House::built(Plan { reloads: true, more: ASKED, ..Plan::default() }).await;
    let ask = async || {
        let mut client = Client::plain(house.admin).await.expect("the admin listener");
        let request = b"GET /livez HTTP/1.1\r\nhost: Gateway.internal:9901\r\n\r\n";
        client.exchange(request).await.expect("an answer").status
    };
    let text = house.text();
    assert_eq!(ask().await, 403);
    house.reload_with(&text.replace("admin: { ", "admin: { names: [gateway.internal], ")).await;
    assert_eq!(ask().await, 200);
    house.reload_with(&text).await;
    assert_eq!(ask().await, 403);
}

/// One sample of the metrics: name, labels, value.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("no end of the labels: {line}"));
    let label = |label: &str| {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        let value = value.strip_suffix('"').unwrap_or_else(|| panic!("no end of the quotes: {line}"));
        (name.to_owned(), value.to_owned())
    };
    let labels = labels.split_terminator(',').map(label).collect();
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
}

/// Invariant 6: counted right, in a format that is one, under labels that nobody outside can choose.
#[tokio::test(flavor = "multi_thread")]
async fn numbers_under_our_own_labels() {
    let house = House::usual().await;
    for _ in 0..3 {
        assert_eq!(Scene::right(&house).send(&house).await.status, 200);
    }
    for (what, target, host) in [
        ("path", "/mark/%zz", crate::house::HOST),
        ("host", "/", "mark.example"),
        ("no credentials", "/mark?mark=mark", crate::house::HOST),
        ("a bad request", "/mark mark", crate::house::HOST),
        ("no path of a route", "/get-only", crate::house::HOST),
    ] {
        let mut scene = Scene::right(&house);
        (scene.method, scene.target, scene.host) = ("MARK".into(), target.into(), host.into());
        scene.credentials = Some(Vec::new());
        assert!(scene.send(&house).await.status >= 400, "{what}");
    }
    let answer = ask(&house, "GET /metrics").await;
    assert!(answer.one("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let outcomes: HashSet<&str> = Rejection::ALL
        .iter()
        .map(|rejection| rejection.label())
        .chain(Fault::ALL.iter().map(|fault| fault.label()))
        .chain(["forwarded", "request_malformed", "host_invalid", "applied", "refused", "unchanged"])
        .collect();
    let routes = HashSet::from(["", "any", "dpop", "scoped", "narrow", "get-only", "public", "kept"]);
    let mut forwarded = 0.0;
    let mut typed = HashSet::new();
    for line in text.lines() {
        assert!(!line.to_lowercase().contains("mark"), "{line}");
        if let Some(comment) = line.strip_prefix("# ") {
            if let Some(family) = comment.strip_prefix("TYPE ") {
                typed.insert(family.split(' ').next().unwrap_or_default().to_owned());
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        assert!(typed.contains(&name) || typed.contains(name.trim_end_matches("_total")), "no TYPE: {line}");
        for (label, value) in &labels {
            let known = match label.as_str() {
                "route" => routes.contains(value.as_str()),
                "outcome" => outcomes.contains(value.as_str()),
                "upstream" => value == "echo",
                _ => false,
            };
            assert!(known, "{line}");
        }
        if labels.iter().any(|(_, value)| value == "forwarded") {
            assert_eq!((name.as_str(), labels[0].1.as_str()), ("holdfast_requests_total", "any"));
            forwarded += value;
        }
    }
    assert!((forwarded - 3.0).abs() < 1e-9, "{text}");
    assert!(text.contains("holdfast_replay_live_claims 3\n"), "{text}");
    assert!(text.contains("outcome=\"method_unknown\"} 1\n"), "{text}");
}

//! The URL that counts is the gateway's: no header makes another one, and routing, `htu` and the upstream see the same path.

use serde_json::json;

use crate::house::{HOST, House, OTHER_HOST, Plan};
use crate::scene::Scene;

fn line(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The scene with a proof for that URL.
fn claiming(house: &House, htu: &str) -> Scene {
    let mut scene = Scene::right(house);
    scene.proof_claims["htu"] = json!(htu);
    scene
}

/// What is heard of the scene. Only a 200 may have reached the upstream.
async fn heard(scene: &Scene, house: &House) -> (u16, String) {
    let answer = scene.send(house).await;
    assert_eq!(house.seen().len(), usize::from(answer.status == 200), "{answer:?}");
    assert!(!format!("{answer:?}").contains("evil"), "something the caller sent comes back: {answer:?}");
    (answer.status, answer.reason())
}

/// T-ORG-01 to T-ORG-05, T-ORG-17, T-HTU-23.
#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_none_and_hosts_that_are_not_ours() {
    let house = House::usual().await;
    for (host, status, reason) in [
        ("api.example.com/path?", 400, "host_invalid"),
        ("api.example.com/", 400, "host_invalid"),
        ("api.example.com?x", 400, "host_invalid"),
        ("api.example.com#x", 400, "host_invalid"),
        ("evil@api.example.com", 400, "host_invalid"),
        ("api.example.com@evil.example", 400, "host_invalid"),
        ("api.example.com\\evil", 400, "host_invalid"),
        ("api.example.com evil", 400, "host_invalid"),
        ("api.example.com, evil.example", 400, "host_invalid"),
        ("", 400, "host_invalid"),
        ("a//b", 400, "host_invalid"),
        ("https://api.example.com", 400, "host_invalid"),
        ("api.example.com:abc", 400, "host_invalid"),
        ("api.example.com:65536", 400, "host_invalid"),
        ("api.example.com:+443", 400, "host_invalid"),
        ("api.example.com:443:443", 400, "host_invalid"),
        ("[::1", 400, "host_invalid"),
        ("[api.example.com]", 400, "host_invalid"),
        ("api.example%2Ecom", 400, "host_invalid"),
        ("\u{430}pi.example.com", 400, "host_invalid"),
        ("evil.example", 421, ""),
        ("api.example.com.evil.example", 421, ""),
        ("notapi.example.com", 421, ""),
        ("api.example.com.", 421, ""),
        ("127.0.0.1", 421, ""),
        ("[::1]", 421, ""),
        ("[fe80::443]:443", 421, ""),
        ("api.example.com:8443", 421, "host_unknown"),
        ("api.example.com:80", 421, "host_unknown"),
        ("api.example.com:0", 421, "host_unknown"),
    ] {
        let mut scene = Scene::right(&house);
        scene.host = host.into();
        let (heard_status, heard_reason) = heard(&scene, &house).await;
        assert_eq!(heard_status, status, "{host:?}: {heard_reason}");
        assert!(reason.is_empty() || heard_reason == reason, "{host:?}: {heard_reason}");
    }
    for host in ["api.example.com", "API.Example.COM", "api.example.com:443", "api.example.com:"] {
        let mut scene = Scene::right(&house);
        scene.host = host.into();
        assert_eq!(heard(&scene, &house).await.0, 200, "{host}");
    }
    for lines in [
        "",
        "host: api.example.com\r\nhost: api.example.com\r\n",
        "host: api.example.com\r\nHost: evil.example\r\n",
    ] {
        let scene = Scene::right(&house);
        let request = String::from_utf8(scene.bytes(&house)).expect("text");
        let request = request.replace("host: api.example.com\r\n", lines);
        assert_eq!(scene.send_bytes(&house, request.as_bytes()).await.status, 400, "{lines:?}");
        assert!(house.seen().is_empty());
    }
}

/// R-A-17, T-ORG-06, T-ORG-09, T-ORG-11, T-ORG-13, T-ORG-14: a stranger's word about the URL is nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_say_about_the_url() {
    let house = House::usual().await;
    for (name, value) in [
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-host", OTHER_HOST),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-port", "8443"),
        ("x-forwarded-prefix", "/evil"),
        ("x-original-host", "evil.example"),
        ("x-host", "evil.example"),
        ("forwarded", "host=evil.example;proto=http"),
        ("forwarded", "for=\"[::1]\";host=\"evil.example\""),
        ("origin", "https://evil.example"),
        ("referer", "https://evil.example/"),
        ("x-original-url", "/evil"),
        ("x-rewrite-url", "/evil"),
    ] {
        let said = line(name, value);
        for htu in [
            "https://evil.example/",
            "https://api2.example.com/",
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com/evil",
            "https://api.example.com/evil/",
        ] {
            let mut scene = claiming(&house, htu);
            scene.headers = vec![said.clone()];
            assert_eq!(heard(&scene, &house).await, (401, "proof_htu".into()), "{said:?} {htu}");
        }
        let mut scene = Scene::right(&house);
        scene.headers = vec![said.clone()];
        assert_eq!(heard(&scene, &house).await.0, 200, "{said:?}");
    }
}

/// R-L-04, T-ORG-07, T-ORG-10, and that the names of the listener are still all there are.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_trusted_proxy_says_about_the_url() {
    let listener = "    tls: plaintext\n    trusted_proxies: [127.0.0.0/8]\n";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    let (here, there) = ("https://api.example.com/", "https://api2.example.com/");
    for (said, htu, status, reason) in [
        (&[][..], here, 200, ""),
        (&[("x-forwarded-host", "api2.example.com")], there, 200, ""),
        (&[("x-forwarded-host", "api2.example.com")], here, 401, "proof_htu"),
        (&[("x-forwarded-host", "API2.example.com:443"), ("x-forwarded-proto", "HTTPS")], there, 200, ""),
        (&[("x-forwarded-host", "evil.example")], "https://evil.example/", 421, "host_unknown"),
        (&[("x-forwarded-host", "api.example.com, api2.example.com")], here, 400, "forwarded_invalid"),
        (
            &[("x-forwarded-host", "api.example.com"), ("X-Forwarded-Host", "api.example.com")],
            here,
            400,
            "forwarded_invalid",
        ),
        (&[("x-forwarded-host", "")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-host", "api.example.com/x?")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-host", "api.example.com:65536")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-proto", "http")], "http://api.example.com/", 421, "host_unknown"),
        (&[("x-forwarded-proto", "https://evil/?")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-proto", "https, http")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-proto", "ftp")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-for", "203.0.113.7")], here, 200, ""),
        (&[("x-forwarded-for", "not an address")], here, 400, "forwarded_invalid"),
        (&[("x-forwarded-prefix", "/x"), ("forwarded", "host=evil.example")], here, 200, ""),
    ] {
        let mut scene = claiming(&house, htu);
        scene.headers = said.iter().map(|(name, value)| line(name, value)).collect();
        let mut client = crate::wire::Client::plain(house.address).await.expect("a connection");
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{said:?} {htu}");
        let seen = house.seen();
        assert_eq!(seen.len(), usize::from(status == 200), "{said:?}");
        if said.first().is_some_and(|(name, _)| *name == "x-forwarded-for") && status == 200 {
            assert_eq!(seen[0].headers["x-forwarded-for"], "203.0.113.7");
        }
    }
    // The address further left was written by nobody we trust.
    let mut scene = Scene::right(&house);
    scene.headers =
        vec![line("x-forwarded-for", "1.2.3.4, 203.0.113.7"), line("x-forwarded-for", "127.0.0.9")];
    let mut client = crate::wire::Client::plain(house.address).await.expect("a connection");
    assert_eq!(client.exchange(&scene.bytes(&house)).await.expect("an answer").status, 200);
    assert_eq!(house.seen()[0].headers["x-forwarded-for"], "203.0.113.7");
}

/// T-ORG-19: each name has its own URLs, and a proof for the one is none for the other.
#[tokio::test(flavor = "multi_thread")]
async fn two_public_names() {
    let house = House::usual().await;
    for (host, htu, status) in [
        (HOST, HOST, 200),
        (OTHER_HOST, OTHER_HOST, 200),
        (HOST, OTHER_HOST, 401),
        (OTHER_HOST, HOST, 401),
        (HOST, "api3.example.com", 401),
    ] {
        let mut scene = claiming(&house, &format!("https://{htu}/"));
        (scene.host, scene.sni) = (host.into(), host.into());
        assert_eq!(heard(&scene, &house).await.0, status, "{host} {htu}");
    }
}

/// T-HTU-36, T-HTU-37, T-REQ-42, and RFC 9112 §3.2.2.
#[tokio::test(flavor = "multi_thread")]
async fn other_forms_of_targets() {
    let house = House::usual().await;
    for (method, target, status) in [
        ("GET", "https://api.example.com/", 200),
        ("GET", "https://api.example.com", 200),
        ("GET", "HTTPS://API.example.com:443/", 200),
        ("GET", "https://api.example.com?x=y", 200),
        ("GET", "http://api.example.com/", 421),
        ("GET", "https://evil.example/", 400),
        ("GET", "https://api2.example.com/", 400),
        ("GET", "https://api.example.com:8443/", 400),
        ("GET", "https://evil@api.example.com/", 400),
        ("GET", "ftp://api.example.com/", 400),
        ("GET", "//api.example.com/", 400),
        ("GET", "api.example.com", 400),
        ("GET", "https:///", 400),
        ("GET", "*", 501),
        ("OPTIONS", "*", 501),
        ("CONNECT", "api.example.com:443", 501),
        ("CONNECT", "/", 501),
        ("TRACE", "/", 501),
        ("TRACE", "https://api.example.com/", 501),
        ("get", "/", 401),
        ("GET", "/#", 400),
        ("GET", "/a b", 400),
    ] {
        let mut scene = Scene::right(&house);
        (scene.method, scene.target) = (method.into(), target.into());
        // The proof is for what would pass, so that nothing but the target can be the reason.
        scene.proof_claims["htm"] = json!(if method == "get" { "GET" } else { method });
        let answer = scene.send(&house).await;
        assert_eq!(answer.status, status, "{method} {target}: {answer:?}");
        assert_eq!(house.seen().len(), usize::from(status == 200), "{method} {target}");
    }
}

/// Invariant 7, R-L-05, T-PXY-11, T-HTU-15 to T-HTU-21: a raw path is refused, or it has one meaning for everyone: the route, the proof and
/// the upstream. `/guarded` asks for a scope that the token lacks, so what is routed there is refused with 403 after the proof was found right.
#[tokio::test(flavor = "multi_thread")]
async fn every_path_has_one_meaning() {
    let routes = "  - { name: guarded, match: { path_prefix: /guarded }, upstream: echo, require: { scopes: [root] } }\n";
    let house = House::built(Plan { routes, ..Plan::default() }).await;
    /// What becomes of a path: refused before any route, forwarded as this, or routed to `/guarded` as this.
    enum Meaning {
        None,
        Open(&'static str),
        Guarded(&'static str),
    }
    use Meaning::{Guarded, None, Open};
    for (raw, meaning) in [
        ("/", Open("/")),
        ("/open", Open("/open")),
        ("/open/", Open("/open/")),
        ("/Guarded", Open("/Guarded")),
        ("/guardedx", Open("/guardedx")),
        ("/guarded%3Bx", Open("/guarded%3Bx")),
        ("/guarded%20", Open("/guarded%20")),
        ("/guarded.", Open("/guarded.")),
        ("/guarded%3f", Open("/guarded%3F")),
        ("/guarded%23x", Open("/guarded%23x")),
        ("/guarded%25", Open("/guarded%25")),
        ("/%2567uarded", Open("/%2567uarded")),
        ("/open%252fguarded", Open("/open%252fguarded")),
        ("/...", Open("/...")),
        ("/.guarded", Open("/.guarded")),
        ("/%7Euser", Open("/~user")),
        ("/%41%2d%2E%5f", Open("/A-._")),
        ("/%c3%A9", Open("/%C3%A9")),
        ("/a:b@c!$&'()*+,;=", Open("/a:b@c!$&'()*+,;=")),
        ("/guarded", Guarded("/guarded")),
        ("/guarded/", Guarded("/guarded/")),
        ("/guarded/x", Guarded("/guarded/x")),
        ("/%67uarded", Guarded("/guarded")),
        ("/%67%75%61%72%64%65%64/x", Guarded("/guarded/x")),
        ("/guarded/..x", Guarded("/guarded/..x")),
        // What cuts parameters off would serve the guarded one.
        ("/guarded;x", None),
        ("//guarded", None),
        ("/open//guarded", None),
        ("/guarded//", None),
        ("/./guarded", None),
        ("/open/../guarded", None),
        ("/open/..", None),
        ("/.", None),
        ("/..", None),
        ("/%2e/guarded", None),
        ("/%2E%2e/guarded", None),
        ("/.%2e/guarded", None),
        ("/open/%2e%2e/guarded", None),
        ("/open/..;/guarded", None),
        ("/open/..;x=y/guarded", None),
        ("/open/.;/guarded", None),
        ("/guarded%2Fx", None),
        ("/open%2f..%2fguarded", None),
        ("/open%5c..%5cguarded", None),
        ("/open\\..\\guarded", None),
        ("/guarded\\x", None),
        ("/guarded%00", None),
        ("/guarded%0d%0aX-Auth-Subject:%20evil", None),
        ("/guarded%09", None),
        ("/guarded%7f", None),
        ("/guarded%", None),
        ("/guarded%4", None),
        ("/guarded%zz", None),
        ("/guarded%u0041", None),
        ("/%c0%afguarded", None),
        ("/%e0%80%af", None),
        ("/%ff", None),
        ("/open[1]", None),
        ("/open|x", None),
        ("/open^x", None),
        ("/open{x}", None),
        ("/open\"x", None),
        ("/caf\u{e9}", None),
    ] {
        let at = |path: &str| {
            let mut scene = claiming(&house, &format!("https://{HOST}{path}"));
            scene.target = raw.into();
            scene
        };
        match meaning {
            None => {
                for path in [raw, "/", "/guarded", "/open"] {
                    let answer = at(path).send(&house).await;
                    assert_eq!(answer.status, 400, "{raw} with a proof for {path}: {answer:?}");
                    assert!(house.seen().is_empty(), "{raw}");
                }
            }
            Open(path) | Guarded(path) => {
                let open = matches!(meaning, Open(_));
                // The raw spelling and the normal one are the same URL.
                for spelling in [raw, path] {
                    let answer = at(spelling).send(&house).await;
                    assert_eq!(
                        answer.status,
                        if open { 200 } else { 403 },
                        "{raw} as {spelling}: {answer:?}"
                    );
                    let targets: Vec<String> = house.seen().into_iter().map(|seen| seen.target).collect();
                    assert_eq!(targets, if open { vec![path] } else { Vec::new() }, "{raw}");
                }
                for other in
                    [format!("{path}x"), format!("{path}%2F"), path.to_uppercase() + "/X", "/other".into()]
                {
                    let answer = at(&other).send(&house).await;
                    assert_eq!(answer.reason(), "proof_htu", "{raw} with a proof for {other}: {answer:?}");
                    assert!(house.seen().is_empty(), "{raw}");
                }
            }
        }
    }
}

/// R-A-13, T-CLM-10: the method is the one on the request line.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_request_line_names_the_method() {
    let house = House::usual().await;
    for name in
        ["x-http-method-override", "X-HTTP-Method", "x-method-override", "_method", "x_http_method_override"]
    {
        let mut scene = Scene::right(&house);
        scene.using("POST");
        scene.headers = vec![line(name, "DELETE")];
        assert_eq!(scene.send(&house).await.status, 200);
        let seen = house.seen().remove(0);
        assert!(seen.method == "POST" && !seen.headers.contains_key(name), "{name}: {seen:?}");
        scene.proof_claims["htm"] = json!("DELETE");
        assert_eq!(heard(&scene, &house).await, (401, "proof_htm".into()), "{name}");
    }
    for query in [
        "_method=DELETE",
        "a=b&_method=DELETE",
        "a;_method=DELETE",
        "_method",
        "%5Fmethod=DELETE",
        "_%6dethod=x",
    ] {
        let mut scene = Scene::right(&house);
        scene.using("POST");
        scene.target = format!("/?{query}");
        assert_eq!(heard(&scene, &house).await, (400, "method_overridden".into()), "{query}");
    }
}

/// RFC 9110 §7.4, T-ORG-18: the name of the handshake is the name of the request. Without one there is nothing to compare.
#[tokio::test(flavor = "multi_thread")]
async fn the_handshake_and_host_name_the_same() {
    let house = House::usual().await;
    for (sni, host, status) in [
        (HOST, HOST, 200),
        ("API.example.com", HOST, 200),
        (OTHER_HOST, HOST, 421),
        (HOST, OTHER_HOST, 421),
        ("evil.example", HOST, 421),
        ("127.0.0.1", HOST, 200),
    ] {
        let mut scene = Scene::right(&house);
        (scene.sni, scene.host) = (sni.into(), host.into());
        scene.go_to("/");
        assert_eq!(heard(&scene, &house).await.0, status, "{sni} {host}");
    }
}

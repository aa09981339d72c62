//! T-ORG: what a request was made to, and who may say so.

use std::net::SocketAddr;

use http::{Request, Version};

use super::{origins, plaintext, the_listener};
use crate::accept::connection::Session;
use crate::accept::peer::{Peer, caller};
use crate::accept::site::{ListenerId, Site, Sites};
use crate::accept::target::target;
use crate::verify::rejection::Rejection;

const PUBLIC: &[&str] = &["https://api.example.com", "https://other.example.com:8443"];

/// A site, and a session with it.
fn session(server_name: Option<&str>, tls: bool, urls: &[&str]) -> (Site, Session) {
    let listener = crate::config::Listener {
        origins: origins(urls),
        trusted_proxies: vec!["10.0.0.0/8".parse().expect("a range")],
        ..plaintext()
    };
    let session = Session {
        peer: Peer::Direct(SocketAddr::from(([192, 0, 2, 1], 1))),
        server_name: server_name.map(str::to_owned),
        certificate: None,
        tls,
        listener: the_listener(),
        overdue: Default::default(),
    };
    (Site::new(&listener), session)
}

fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request")
}

fn ask(
    (site, session): &(Site, Session),
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
) -> Result<String, Rejection> {
    let request = request(method, uri, headers);
    let caller = caller(request.headers(), site, session)?;
    target(&request, &caller, site, session)
        .map(|target| format!("{}{}", target.origin, target.path.as_str()))
}

#[test]
fn the_host_must_be_one_of_ours() {
    let session = session(None, true, PUBLIC);
    let get = |uri: &str, hosts: &[&str]| {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        ask(&session, "GET", uri, &headers)
    };
    for host in ["api.example.com", "API.Example.com", "api.example.com:443", "api.example.com:"] {
        assert_eq!(get("/a?b", &[host]).as_deref(), Ok("https://api.example.com/a"), "{host}");
    }
    assert_eq!(
        get("/", &["other.example.com:8443"]).as_deref(),
        Ok("https://other.example.com:8443/"),
        "T-ORG-19"
    );
    for host in
        ["evil.example", "other.example.com", "api.example.com:8443", "api.example.com.", "x.api.example.com"]
    {
        assert_eq!(get("/", &[host]), Err(Rejection::HostUnknown), "{host}");
    }
    // T-ORG-01 to T-ORG-03, T-ORG-17.
    for host in [
        "",
        " ",
        "api.example.com/path?",
        "api.example.com#",
        "api.example.com?",
        "user@api.example.com",
        "api.example.com\\",
        "api.example.com, evil.example",
        "a//b",
        "https://api.example.com",
        "api.example.com:abc",
        "api.example.com:65536",
        "api.example.com:+443",
    ] {
        assert_eq!(get("/", &[host]), Err(Rejection::HostInvalid), "{host:?}");
    }
    assert_eq!(get("/", &[]), Err(Rejection::HostInvalid));
    assert_eq!(get("/", &["api.example.com", "api.example.com"]), Err(Rejection::HostInvalid));
}

/// T-ORG-15, T-HTU-36, RFC 9112 §3.2.2, RFC 9113 §8.3.1.
#[test]
fn everything_that_names_a_host_agrees() {
    let session = session(Some("api.example.com"), true, PUBLIC);
    let get = |uri: &str, headers: &[(&str, &str)]| ask(&session, "GET", uri, headers);
    let good = Ok("https://api.example.com/a");
    assert_eq!(get("https://api.example.com/a", &[]).as_deref(), good);
    assert_eq!(get("https://api.example.com/a", &[("host", "api.example.com")]).as_deref(), good);
    assert_eq!(get("https://api.example.com:443/a", &[("host", "api.example.com")]).as_deref(), good);
    assert_eq!(get("https://api.example.com", &[]).as_deref(), Ok("https://api.example.com/"));
    for host in ["other.example.com:8443", "evil.example", "api.example.com:8443"] {
        assert_eq!(
            get("https://api.example.com/a", &[("host", host)]),
            Err(Rejection::HostInvalid),
            "{host}"
        );
    }
    assert_eq!(get("https://user@api.example.com/a", &[]), Err(Rejection::HostInvalid));
    assert_eq!(get("http://api.example.com/a", &[]), Err(Rejection::HostUnknown), "the connection is TLS");
    assert_eq!(get("ftp://api.example.com/a", &[]), Err(Rejection::HostUnknown));
    // T-ORG-18, T-MTL-18: also for another name that is served here.
    for host in ["other.example.com:8443", "evil.example"] {
        assert_eq!(get("/a", &[("host", host)]), Err(Rejection::SniMismatch), "{host}");
    }
}

#[test]
fn only_targets_with_a_path() {
    let session = session(None, false, PUBLIC);
    let host = [("host", "api.example.com")];
    for (method, uri) in [
        ("CONNECT", "api.example.com:443"),
        ("GET", "api.example.com:443"),
        ("TRACE", "/"),
        ("OPTIONS", "*"),
        ("GET", "*"),
    ] {
        assert_eq!(ask(&session, method, uri, &host), Err(Rejection::MethodRefused), "{method} {uri}");
    }
    assert!(ask(&session, "OPTIONS", "/", &host).is_ok());
    assert_eq!(ask(&session, "GET", "/a/../b", &host), Err(Rejection::PathAmbiguous));
    assert_eq!(ask(&session, "GET", "/a?\u{e9}", &host), Err(Rejection::PathInvalid));
    let (site, one) = &session;
    let of = |request: &Request<()>| target(request, &caller(request.headers(), site, one)?, site, one);
    let with_query = of(&request("GET", "/a?b=%2F&c", &host)).expect("a target");
    assert_eq!(with_query.query.as_deref(), Some("b=%2F&c"));
    let mut old = request("GET", "/a", &[]);
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(of(&old).map(|_| ()), Err(Rejection::HostInvalid));
}

/// T-ORG-06, T-ORG-07, T-ORG-09, T-ORG-10, R-L-04.
#[test]
fn forwarded_hosts_are_believed_from_trusted_proxies_alone() {
    let mut session = session(None, false, &["https://api.example.com", "http://api.example.com"]);
    let get = |session: &(Site, Session), headers: &[(&str, &str)]| {
        let mut all = vec![("host", "internal.example")];
        all.extend_from_slice(headers);
        ask(session, "GET", "/a", &all)
    };
    let host = ("x-forwarded-host", "api.example.com");
    assert_eq!(get(&session, &[host]), Err(Rejection::HostUnknown), "from anyone");
    let anyone = ask(&session, "GET", "/a", &[("host", "api.example.com"), ("x-forwarded-proto", "http")]);
    assert_eq!(anyone.as_deref(), Ok("https://api.example.com/a"), "from anyone");

    session.1.peer = Peer::Direct(SocketAddr::from(([10, 0, 0, 1], 1)));
    assert_eq!(get(&session, &[host]).as_deref(), Ok("https://api.example.com/a"));
    let proto = |proto| get(&session, &[host, ("x-forwarded-proto", proto)]);
    assert_eq!(proto("http").as_deref(), Ok("http://api.example.com/a"));
    assert_eq!(proto("HTTPS").as_deref(), Ok("https://api.example.com/a"));
    for bad in ["https://evil/?", "https, http", "ftp", ""] {
        assert_eq!(proto(bad), Err(Rejection::ForwardedInvalid), "{bad}");
    }
    assert_eq!(get(&session, &[("x-forwarded-host", "evil.example")]), Err(Rejection::HostUnknown));
    for bad in ["", "api.example.com, api.example.com", "api.example.com/a", "a b", "x@api.example.com"] {
        assert_eq!(get(&session, &[("x-forwarded-host", bad)]), Err(Rejection::ForwardedInvalid), "{bad}");
    }
    assert_eq!(get(&session, &[host, host]), Err(Rejection::ForwardedInvalid));
    assert_eq!(get(&session, &[]), Err(Rejection::HostUnknown));

    // Through an IPv6 socket the same peer has another spelling.
    session.1.peer = Peer::Direct("[::ffff:10.0.0.1]:1".parse().expect("an address"));
    assert!(get(&session, &[host]).is_ok());
}

/// What a session meets after a reload, by what has become of its listener (`test` at port 1).
#[test]
fn a_session_is_judged_by_its_own_listener_or_not_at_all() {
    let listener = |name: &str, port: u16| crate::config::Listener {
        name: name.to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        ..plaintext()
    };
    let (_, mut session) = session(None, false, PUBLIC);
    for (what, port, listeners, judged) in [
        ("it is there", 1, [("other", 2), ("test", 1)], true),
        ("it has moved, and nobody has its address", 1, [("other", 2), ("test", 3)], true),
        ("it has gone", 1, [("other", 2), ("more", 3)], false),
        ("it has another name", 1, [("other", 2), ("more", 1)], false),
        ("its name is another's, and its address too", 1, [("other", 1), ("test", 2)], false),
        ("the system chose the ports", 0, [("other", 0), ("test", 0)], true),
    ] {
        let sites = Sites::new(&listeners.map(|(name, port)| listener(name, port)));
        session.listener = std::sync::Arc::new(ListenerId::of(&listener("test", port)));
        assert_eq!(sites.of(&session).is_ok(), judged, "{what}");
        if !judged {
            assert_eq!(sites.of(&session).map(|_| ()), Err(Rejection::HostUnknown), "{what}");
        }
    }
}

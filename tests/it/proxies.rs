//! Who is calling, as proxies in front say it: believed from those that are listed, and told to the upstream as configured.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast::verify::digest::{Certificate, Digest};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::house::{HOST, House, Plan};
use crate::scene::Scene;
use crate::wire::{self, Client};

/// A listener behind a balancer at 127.0.0.1 that speaks the PROXY protocol, and behind an HTTP proxy at 10.0.0.1 in front of that.
const BEHIND_A_BALANCER: &str = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
    trusted_proxies: [127.0.0.1/32, 10.0.0.1/32]
    client_certificate_header: client-cert
    proxy_protocol: required
";

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.9 4444 443\r\n";

/// Version 2 from this address, with this behind the addresses.
fn v2(from: [u8; 4], behind: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + behind.len()).expect("short").to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11";
    [&signature[..], &length, &from, &[10, 0, 0, 9, 0x11, 0x5c, 1, 0xbb], behind].concat()
}

/// What a balancer does for its client: the header, and then the client's bytes.
async fn through(house: &House, header: &[u8], certificate: Option<usize>) -> io::Result<Client> {
    let mut stream = TcpStream::connect(house.address).await?;
    stream.write_all(header).await?;
    let certificate = certificate.map(|index| house.certificates[index].clone());
    let settings = wire::settings(rustls::ALL_VERSIONS, certificate.map(|(der, key)| (vec![der], key)));
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    TlsConnector::from(std::sync::Arc::new(settings)).connect(name, stream).await.map(Client::over)
}

/// What the upstream heard of the one request that got there.
fn heard(house: &House, name: &str) -> Option<String> {
    let seen = house.seen();
    assert_eq!(seen.len(), 1);
    let lines: Vec<_> = seen[0].headers.get_all(name).iter().collect();
    assert!(lines.len() < 2, "{lines:?}");
    Some(lines.first()?.to_str().expect("text").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_header_says_whose_connection_it_is() {
    let house = House::built(Plan { listener: BEHIND_A_BALANCER, ..Plan::default() }).await;
    let unnamed = [&b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0"[..], b"PROXY UNKNOWN\r\n"];
    for (header, address) in [
        (V1.to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), "2001:db8::7"),
        (v2([203, 0, 113, 8], &[]), "203.0.113.8"),
        (v2([203, 0, 113, 8], &[0xea, 0, 3, 1, 2, 3]), "203.0.113.8"),
        (unnamed[0].to_vec(), "127.0.0.1"),
        (unnamed[1].to_vec(), "127.0.0.1"),
    ] {
        // The certificate is that of the handshake behind the header.
        let mut client = through(&house, &header, Some(0)).await.expect("a handshake");
        let answer =
            client.exchange(&Scene::with_certificate(&house).bytes(&house)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(heard(&house, "x-forwarded-for").as_deref(), Some(address));
    }
}

/// A balancer passes on what callers write, so their headers are theirs, whoever's connection it is; an HTTP proxy before it is another
/// matter, if it is listed.
#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_is_no_witness_for_what_it_passes_on() {
    let house = House::built(Plan { listener: BEHIND_A_BALANCER, ..Plan::default() }).await;
    let der = &house.certificates[0].0;
    for (header, reason, address) in [
        (V1.to_vec(), "certificate_missing", "-"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "certificate_missing", "-"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0".to_vec(), "certificate_missing", "-"),
        (v2([127, 0, 0, 2], &[]), "certificate_missing", "-"),
        (v2([10, 0, 0, 1], &[]), "", "198.51.100.1"),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.headers = vec![
            ("client-cert".to_owned(), format!(":{}:", STANDARD.encode(der))),
            ("x-forwarded-for".to_owned(), "198.51.100.1".to_owned()),
        ];
        let mut client = through(&house, &header, None).await.expect("a handshake");
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!(answer.reason(), reason, "{header:x?}");
        if answer.status == 200 {
            assert_eq!(heard(&house, "x-forwarded-for").as_deref(), Some(address));
        }
    }
    let house = House::built(Plan {
        listener: BEHIND_A_BALANCER,
        more: "limits: { handshake_timeout: 300ms }\n",
        ..Plan::default()
    })
    .await;
    let stranger = TcpSocket::new_v4().expect("a socket");
    stranger.bind("127.0.0.2:0".parse().expect("an address")).expect("loopback");
    let mut stranger = stranger.connect(house.address).await.expect("connected");
    assert!(is_closed(&mut stranger, V1).await, "a stranger's header is not read");
    for (header, label) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "proxy_header_missing"),
        (b"GET / HTTP/1.1\r\n", "proxy_header_missing"),
        (b"PROXY TCP4 203.0.113.7 10.0.0.9 4444 65536\r\n", "proxy_header_malformed"),
        (b"PROXY TCP4 203.0.113.7 10.0.", "proxy_header_timeout"),
        (&v2([203, 0, 113, 8], &[3, 0, 4, 1, 2, 3, 4]), "proxy_header_checksum"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "proxy_header_too_long"),
    ] {
        let mut stream = TcpStream::connect(house.address).await.expect("connected");
        assert!(is_closed(&mut stream, header).await, "{label}");
        let numbers = house.ask_admin("/metrics").await.1;
        let counted = format!("holdfast_connections_refused_total{{reason=\"{label}\"}}");
        assert!(numbers.contains(&counted), "{counted}: {numbers}");
    }
    let mut half = TcpStream::connect(house.address).await.expect("connected");
    half.write_all(&V1[..20]).await.expect("sent");
    half.shutdown().await.expect("half closed");
    assert!(is_closed(&mut half, b"").await);
    let numbers = house.ask_admin("/metrics").await.1;
    for label in ["proxy_header_half", "peer_not_a_proxy"] {
        assert!(numbers.contains(&format!("{{reason=\"{label}\"}} 1")), "{label}: {numbers}");
    }
    // Nobody else was disturbed.
    let mut client = through(&house, V1, None).await.expect("a handshake");
    assert_eq!(client.exchange(&Scene::right(&house).bytes(&house)).await.expect("an answer").status, 200);
}

/// Whether nothing comes back but the end.
async fn is_closed(stream: &mut TcpStream, sent: &[u8]) -> bool {
    // It may be closed before it has read.
    let _ = stream.write_all(sent).await;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), read).await.is_ok();
    ended && answer.is_empty()
}

/// Envoy's header, and RFC 7239 in place of the other family.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_and_forwarded_are_understood() {
    let listener = "    tls: plaintext
    trusted_proxies: [127.0.0.1/32]
    client_certificate_header: xfcc
    forwarded_header: forwarded
";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    let der = &house.certificates[0].0;
    let hash: String =
        Digest::<Certificate>::of(der).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let right = format!("By=spiffe://x/y;Hash={hash};Subject=\"\";URI=");
    let forwarded = format!("for=\"[2001:db8::1]:80\";host={HOST};proto=https");
    for (lines, status, reason) in [
        (vec![("x-forwarded-client-cert", right.as_str())], 200, ""),
        (vec![("client-cert", "rubbish"), ("x-forwarded-client-cert", &right)], 200, ""),
        (vec![], 401, "certificate_missing"),
        (vec![("x-forwarded-client-cert", &format!("{right},{right}"))], 400, "client_cert_invalid"),
        (vec![("x-forwarded-client-cert", &right), ("forwarded", &forwarded)], 200, ""),
        (
            vec![("x-forwarded-client-cert", &right), ("forwarded", "for=1.2.3.4; by=x")],
            400,
            "forwarded_invalid",
        ),
        (vec![("x-forwarded-client-cert", &right), ("forwarded", "host=evil.example")], 421, "host_unknown"),
        (vec![("x-forwarded-client-cert", &right), ("x-forwarded-for", "rubbish")], 200, ""),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.headers = lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut client = Client::plain(house.address).await.expect("a connection");
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{lines:?}");
        if status == 200 {
            let expected =
                if lines.iter().any(|(name, _)| *name == "forwarded") { "2001:db8::1" } else { "127.0.0.1" };
            let seen = house.seen().remove(0).headers;
            assert_eq!(seen["x-forwarded-for"], expected);
            assert!(!seen.contains_key("forwarded") && !seen.contains_key("x-forwarded-client-cert"));
            assert!(!seen.contains_key("client-cert"));
        }
    }
}

/// R-F-10: what goes on is what was proven or believed, under the names that the route reports, and nothing a caller wrote there.
#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_told_what_its_route_reports() {
    let routes = "  - { name: all, match: { path_prefix: /all }, upstream: echo, forward: { report: [x-forwarded, forwarded, client-cert, x-request-id] } }
  - { name: nothing, match: { path_prefix: /nothing }, upstream: echo, public: true, forward: { report: [] } }\n";
    let house = House::built(Plan { routes, ..Plan::default() }).await;
    let forged = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "forwarded",
        "client-cert",
        "client-cert-chain",
        "x-forwarded-client-cert",
        "x-request-id",
    ];
    let scene = |path: &str, certificate| {
        let mut scene = Scene::at(&house, path);
        scene.certificate = certificate;
        scene.headers = forged.iter().map(|name| ((*name).to_owned(), "evil".to_owned())).collect();
        scene
    };
    let told = |house: &House| -> Vec<String> {
        let seen = house.seen().remove(0).headers;
        assert!(!format!("{seen:?}").contains("evil"));
        forged.iter().filter(|name| seen.contains_key(**name)).map(|name| (*name).to_owned()).collect()
    };
    for (path, certificate, expected) in [
        (
            "/all",
            Some(0),
            &[
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "forwarded",
                "client-cert",
                "x-request-id",
            ][..],
        ),
        (
            "/all",
            None,
            &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded", "x-request-id"],
        ),
        ("/nothing", Some(0), &[]),
        ("/a", Some(0), &["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"]),
    ] {
        let answer = scene(path, certificate).send(&house).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.one("x-request-id"), "evil");
        assert_eq!(told(&house), expected, "{path}");
    }
    scene("/all", Some(1)).send(&house).await;
    let seen = house.seen().remove(0).headers;
    assert_eq!(seen["client-cert"], format!(":{}:", STANDARD.encode(&house.certificates[1].0)));
    assert_eq!(seen["forwarded"], format!("for=127.0.0.1;host={HOST};proto=https;by=_holdfast"));
}

/// One name for a request from the first proxy to the last log; from anyone else it is the gateway's.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_names_the_request() {
    let listener = "    tls: plaintext\n    trusted_proxies: [127.0.0.1/32]\n";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    for (said, taken) in [("7f-4_A", true), ("a b", false), ("", false)] {
        let mut scene = Scene::right(&house);
        scene.headers = vec![("x-request-id".to_owned(), said.to_owned())];
        let mut client = Client::plain(house.address).await.expect("a connection");
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!(answer.one("x-request-id") == said, taken, "{said}");
        assert_eq!(heard(&house, "x-request-id").as_deref(), Some(answer.one("x-request-id")));
        // The same on a refusal.
        scene.credentials = Some(Vec::new());
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!((answer.status, answer.one("x-request-id") == said), (401, taken), "{said}");
    }
}

/// The places of one address: closed at once beyond them, before TLS; free again when a connection ends; nobody else is kept out.
#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_so_many_connections() {
    let more = "limits: { connections: 10, connections_per_address: 3 }\n";
    let house = House::built(Plan { listener: BEHIND_A_BALANCER, more, ..Plan::default() }).await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        kept.push(through(&house, V1, None).await.expect("a place"));
    }
    for header in [V1, &v2([203, 0, 113, 7], &[])] {
        let mut stream = TcpStream::connect(house.address).await.expect("connected");
        assert!(is_closed(&mut stream, header).await, "the fourth of this address");
    }
    // Another address, and the proxies themselves: those of an HTTP proxy are those of all its callers.
    for header in [v2([203, 0, 113, 8], &[]), v2([10, 0, 0, 1], &[])] {
        for _ in 0..3 {
            let mut client = through(&house, &header, None).await.expect("a place");
            let answer = client.exchange(&Scene::right(&house).bytes(&house)).await.expect("an answer");
            assert_eq!(answer.status, 200);
        }
    }
    let mut of_proxy = Vec::new();
    for _ in 0..4 {
        of_proxy.push(through(&house, &v2([10, 0, 0, 1], &[]), None).await.expect("a place"));
    }
    drop((kept.pop(), of_proxy));
    crate::process::wait("a place is free again", async || through(&house, V1, None).await.is_ok()).await;
    let numbers = house.ask_admin("/metrics").await.1;
    assert!(numbers.contains("{reason=\"connections_per_address\"}"), "{numbers}");

    // Without the PROXY protocol it is the TCP peer that is counted.
    let more = "limits: { connections_per_address: 2 }\n";
    let house = House::built(Plan { more, ..Plan::default() }).await;
    let _kept = [house.connect(HOST, None).await, house.connect(HOST, None).await];
    let mut stream = TcpStream::connect(house.address).await.expect("connected");
    assert!(is_closed(&mut stream, b"").await, "the third");
    let other = TcpSocket::new_v4().expect("a socket");
    other.bind("127.0.0.3:0".parse().expect("an address")).expect("loopback");
    let settings = std::sync::Arc::new(wire::settings(rustls::ALL_VERSIONS, None));
    let stream = other.connect(house.address).await.expect("connected");
    let name = ServerName::try_from(HOST).expect("a name");
    assert!(TlsConnector::from(settings).connect(name, stream).await.is_ok(), "another address");
}

/// A `Client-Cert` of somebody who may not send one is said in the log, once, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_with_a_certificate_is_news() {
    let mut house = House::usual().await;
    let process = crate::process::Process::instead_of(&mut house, "{ level: info, access: none }").await;
    for _ in 0..20 {
        let mut scene = Scene::with_certificate(&house);
        scene.certificate = None;
        scene.headers = vec![("client-cert".to_owned(), ":AAAA:".to_owned())];
        assert_eq!(scene.send(&house).await.reason(), "certificate_missing");
    }
    crate::process::wait("it is logged", async || process.stderr().contains("trusted_proxies")).await;
    let lines = process.stderr().matches("trusted_proxies").count();
    assert!(lines < 10, "{}", process.stderr());
    assert!(!process.stderr().contains("AAAA"));
}

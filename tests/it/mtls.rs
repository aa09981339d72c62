//! Certificate-bound tokens (RFC 8705): whose certificate it is, where it comes from, and what cannot stand in for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use holdfast::demo::pki::{Authority, Identity, Validity};
use holdfast::verify::digest::{Certificate, Digest};
use holdfast::verify::time::UnixTime;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, SignatureScheme};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::house::{ASKS_FOR_CERTIFICATES, HOST, House, Plan};
use crate::scene::{Scene, thumbprint};
use crate::wire::{Answer, Client, settings, tls};

type Held = (Vec<Vec<u8>>, Vec<u8>);

/// A house's certificate, as a client shows it.
fn held(house: &House, certificate: usize) -> Held {
    let (der, key) = house.certificates[certificate].clone();
    (vec![der], key)
}

/// A self-signed certificate made otherwise.
fn self_signed(change: impl FnOnce(&mut rcgen::CertificateParams)) -> Held {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).expect("a name");
    change(&mut params);
    (vec![params.self_signed(&key).expect("a certificate").der().to_vec()], key.serialize_der())
}

/// A token bound to the first certificate of a chain.
fn bound_to(house: &House, held: &Held) -> Scene {
    let mut scene = Scene::with_certificate(house);
    scene.token_claims["cnf"] = json!({"x5t#S256": Digest::<Certificate>::of(&held.0[0]).to_base64url()});
    scene
}

async fn over(address: SocketAddr, settings: &Arc<ClientConfig>, request: &[u8]) -> io::Result<Answer> {
    Client::connect_with(address, HOST, Arc::clone(settings)).await?.exchange(request).await
}

/// Why the handshake was refused. With TLS 1.3 a client hears of it only when it reads on.
async fn refused(house: &House, settings: ClientConfig) -> AlertDescription {
    let request = Scene::with_certificate(house).bytes(house);
    let error = over(house.address, &Arc::new(settings), &request).await.expect_err("an alert");
    assert!(house.seen().is_empty());
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        other => panic!("{other:?} {error}"),
    }
}

fn verdict(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason())
}

/// T-MTL-01 to T-MTL-09, T-MTL-15, R-F-02, R-F-03, R-F-05, R-F-06, R-F-08, R-G-03.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_says_of_its_certificate() {
    let house = House::usual().await;
    let right = thumbprint(&house, 0);
    let raw = URL_SAFE_NO_PAD.decode(&right).expect("base64url");
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let colons = raw.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let sha1 = "x5t".to_owned();
    let jkt = Scene::right(&house).key.thumbprint().to_base64url();
    for (cnf, certificate, scheme, reason) in [
        (json!({"x5t#S256": right}), Some(0), "Bearer", ""),
        (json!({"x5t#S256": right}), Some(0), "bearer", ""),
        (json!({"x5t#S256": right, "foo": {"jwk": 1}}), Some(0), "Bearer", ""),
        (json!({"x5t#S256": right}), None, "Bearer", "certificate_missing"),
        (json!({"x5t#S256": right}), Some(1), "Bearer", "certificate_mismatch"),
        (json!({"x5t#S256": thumbprint(&house, 1)}), Some(0), "Bearer", "certificate_mismatch"),
        (json!({"x5t#S256": right}), Some(0), "DPoP", "dpop_for_certificate"),
        (json!({"x5t#S256": right, "jkt": jkt}), Some(0), "Bearer", "bearer_for_dpop"),
        (json!({sha1: "bwcK0esc3ACC3DB2Y5_lESsXE8o"}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t": right}), Some(0), "Bearer", "token_confirmation"),
        (json!({"X5T#S256": right}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#s256": right}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": hex}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": colons}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": URL_SAFE.encode(&raw)}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": format!(" {right}")}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": right[..42]}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": format!("{right}A")}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": ""}), None, "Bearer", "token_confirmation"),
        (json!({"x5t#S256": null}), None, "Bearer", "token_confirmation"),
        (json!({"x5t#S256": 5}), Some(0), "Bearer", "token_confirmation"),
        (json!({"x5t#S256": [right]}), Some(0), "Bearer", "token_confirmation"),
        (json!({}), Some(0), "Bearer", "token_confirmation"),
        (json!(right), Some(0), "Bearer", "token_confirmation"),
        (json!(null), Some(0), "Bearer", "token_confirmation"),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.token_claims["cnf"] = cnf.clone();
        (scene.certificate, scene.scheme) = (certificate, scheme.into());
        let answer = scene.send(&house).await;
        let status = if reason.is_empty() { 200 } else { 401 };
        assert_eq!(verdict(&answer), (status, reason.to_owned()), "{cnf} {certificate:?} {scheme}");
        assert_eq!(house.seen().len(), usize::from(reason.is_empty()), "{cnf}");
        assert!(
            reason.is_empty() || answer.all("www-authenticate").concat().contains("error=\"invalid_token\"")
        );
    }
    // T-MTL-05: a certificate binds nothing that does not name it.
    let mut scene = Scene::with_certificate(&house);
    scene.token_claims.as_object_mut().expect("an object").remove("cnf");
    assert_eq!(verdict(&scene.send(&house).await), (401, "token_unbound".into()));
    // A stray proof beside a certificate-bound token is ignored.
    let mut scene = Scene::with_certificate(&house);
    scene.headers = vec![("dpop".into(), "nonsense".into())];
    assert_eq!(scene.send(&house).await.status, 200);
}

/// T-BND-16, T-BND-17, R-G-03: a token bound to both needs both.
#[tokio::test(flavor = "multi_thread")]
async fn both_means_both() {
    let routes =
        "  - { name: both, match: { path_prefix: /both }, upstream: echo, require: { binding: both } }
  - { name: mtls, match: { path_prefix: /mtls }, upstream: echo, require: { binding: mtls } }\n";
    let house = House::built(Plan { routes, ..Plan::default() }).await;
    let with = |path: &str, certificate, bound: &[&str]| {
        let mut scene = Scene::at(&house, path);
        scene.certificate = certificate;
        let jkt = scene.key.thumbprint().to_base64url();
        scene.token_claims["cnf"] = bound
            .iter()
            .map(|name| {
                (name.to_string(), json!(if *name == "jkt" { jkt.clone() } else { thumbprint(&house, 0) }))
            })
            .collect();
        scene
    };
    for (path, certificate, bound, reason) in [
        ("/", Some(0), &["jkt", "x5t#S256"][..], ""),
        ("/", None, &["jkt", "x5t#S256"], "certificate_missing"),
        ("/", Some(1), &["jkt", "x5t#S256"], "certificate_mismatch"),
        ("/both", Some(0), &["jkt", "x5t#S256"], ""),
        ("/both", None, &["jkt", "x5t#S256"], "certificate_missing"),
        ("/both", Some(0), &["jkt"], "binding_insufficient"),
        ("/both", Some(0), &["x5t#S256"], "dpop_for_certificate"),
        ("/dpop", Some(0), &["jkt", "x5t#S256"], ""),
        ("/dpop", Some(0), &["jkt"], ""),
        ("/mtls", Some(0), &["jkt"], "binding_insufficient"),
        ("/mtls", Some(0), &["jkt", "x5t#S256"], "binding_insufficient"),
    ] {
        let answer = with(path, certificate, bound).send(&house).await;
        assert_eq!(answer.reason(), reason, "{path} {certificate:?} {bound:?}");
        assert_eq!(house.seen().len(), usize::from(reason.is_empty()));
    }
    for (path, reason) in
        [("/mtls", ""), ("/both", "binding_insufficient"), ("/dpop", "binding_insufficient")]
    {
        let mut scene = Scene::with_certificate(&house);
        scene.go_to(path);
        assert_eq!(scene.send(&house).await.reason(), reason, "{path}");
    }
    // The wrong certificate beside the right proof spends nothing: with the right one the same proof passes.
    let scene = with("/", Some(0), &["jkt", "x5t#S256"]);
    let bytes = scene.bytes(&house);
    for (certificate, status) in [(1, 401), (0, 200), (0, 401)] {
        let mut client = house.connect(HOST, Some(certificate)).await;
        assert_eq!(client.exchange(&bytes).await.expect("an answer").status, status);
    }
}

/// T-MTL-19, R-F-01: the certificate is the connection's, whoever else has one.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_one_certificate() {
    let house = House::usual().await;
    let mine = Scene::with_certificate(&house);
    let theirs = bound_to(&house, &held(&house, 1));
    for (connection, own, other) in [(0, &mine, &theirs), (1, &theirs, &mine)] {
        let mut client = house.connect(HOST, Some(connection)).await;
        for (scene, status) in [(own, 200), (other, 401), (own, 200), (other, 401)] {
            assert_eq!(client.exchange(&scene.bytes(&house)).await.expect("an answer").status, status);
        }
    }
    // A connection without one beside them.
    let mut client = house.connect(HOST, None).await;
    for scene in [&mine, &theirs] {
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!(answer.reason(), "certificate_missing");
    }
}

/// T-MTL-10, T-MTL-14, R-F-04, RFC 8705 §4: under `any` the chain says nothing, and the leaf is the first.
#[tokio::test(flavor = "multi_thread")]
async fn any_certificate_will_do_when_its_key_is_held() {
    let house = House::usual().await;
    let expired = self_signed(|params| {
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let server_only = self_signed(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let mut with_others = held(&house, 0);
    with_others.0.push(held(&house, 1).0.remove(0));
    for (what, chain) in [
        ("self-signed", held(&house, 0)),
        ("expired", expired),
        ("for servers", server_only),
        ("others behind it", with_others),
    ] {
        for version in [&TLS12, &TLS13] {
            let request = bound_to(&house, &chain).bytes(&house);
            let settings = Arc::new(settings(&[version], Some(chain.clone())));
            let answer = over(house.address, &settings, &request).await.expect(what);
            assert_eq!(answer.status, 200, "{what} {version:?}: {answer:?}");
        }
    }
    // What stands behind the leaf is no evidence.
    let mut chain = held(&house, 0);
    chain.0.push(held(&house, 1).0.remove(0));
    let request = bound_to(&house, &held(&house, 1)).bytes(&house);
    let answer =
        over(house.address, &Arc::new(settings(&[&TLS13], Some(chain))), &request).await.expect("an answer");
    assert_eq!(answer.reason(), "certificate_mismatch");
}

/// Shows one certificate and signs with the key of another.
#[derive(Debug)]
struct Forger(Arc<CertifiedKey>);

impl ResolvesClientCert for Forger {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// T-MTL-11, R-F-04: anyone may have a copy of a certificate; the handshake is signed with its key.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_its_key_is_an_alert() {
    let house = House::usual().await;
    let (stolen, own) = (held(&house, 0), held(&house, 1));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(own.1.into())).expect("a key");
    let forged = Arc::new(CertifiedKey::new(vec![CertificateDer::from(stolen.0[0].clone())], key));
    for version in [&TLS12, &TLS13] {
        let mut settings = settings(&[version], None);
        settings.client_auth_cert_resolver = Arc::new(Forger(Arc::clone(&forged)));
        assert_eq!(refused(&house, settings).await, AlertDescription::DecryptError, "{version:?}");
    }
    assert_eq!(Scene::with_certificate(&house).send(&house).await.status, 200);
}

fn authority(name: &str) -> Authority {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let now = UnixTime::from_seconds(i64::try_from(now.as_secs()).expect("before the sun dies"));
    Authority::new(name, Validity { now, days: 2 }).expect("an authority")
}

fn of(identity: &Identity) -> Held {
    let shown = identity.client_identity();
    (shown.chain.iter().map(|der| der.to_vec()).collect(), shown.key.secret_der().to_vec())
}

/// T-MTL-13: under `ca` a certificate of another authority ends the handshake; `required` wants one at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_judges_and_required_insists() {
    let (ours, others) = (authority("ours"), authority("others"));
    let (right, wrong) =
        (of(&ours.client("a").expect("a client")), of(&others.client("a").expect("a client")));
    let server = of(&ours.server(&["client.example"]).expect("a server"));
    for (request, listener) in [
        (
            "optional",
            "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: { ca: clients.pem } }
",
        ),
        (
            "required",
            "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: required, trust: { ca: clients.pem } }
",
        ),
    ] {
        let files = vec![("clients.pem", ours.certificate_pem())];
        let house = House::built(Plan { listener, files, ..Plan::default() }).await;
        for version in [&TLS12, &TLS13] {
            let shown = |held: &Held| settings(&[version], Some(held.clone()));
            let request_of = |held| bound_to(&house, held).bytes(&house);
            let answer = over(house.address, &Arc::new(shown(&right)), &request_of(&right)).await;
            assert_eq!(answer.expect("an answer").status, 200, "{request} {version:?}");
            assert_eq!(house.seen().len(), 1);
            assert_eq!(refused(&house, shown(&wrong)).await, AlertDescription::UnknownCA, "{request}");
            assert_eq!(
                refused(&house, shown(&held(&house, 0))).await,
                AlertDescription::UnknownCA,
                "{request}"
            );
            // A server's certificate is no client's.
            refused(&house, shown(&server)).await;
            let nothing = settings(&[version], None);
            if request == "required" {
                let alert = refused(&house, nothing).await;
                assert_eq!(alert, AlertDescription::CertificateRequired);
            } else {
                let answer = over(house.address, &Arc::new(nothing), &request_of(&right)).await;
                assert_eq!(answer.expect("an answer").reason(), "certificate_missing");
                assert!(house.seen().is_empty());
            }
        }
    }
}

/// T-MTL-26: nothing that a caller makes as large as it likes is looked at.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_have_limits() {
    let house = House::usual().await;
    let large = self_signed(|params| {
        params.subject_alt_names = (0..1000)
            .map(|at| {
                rcgen::SanType::DnsName(format!("name-{at}.client.example").try_into().expect("a name"))
            })
            .collect();
    });
    assert!(large.0[0].len() > 16 * 1024);
    let mut long = held(&house, 0);
    while long.0.len() < 50 {
        long.0.push(held(&house, 1).0.remove(0));
    }
    for version in [&TLS12, &TLS13] {
        refused(&house, settings(&[version], Some(large.clone()))).await;
        refused(&house, settings(&[version], Some(long.clone()))).await;
    }
    assert_eq!(Scene::with_certificate(&house).send(&house).await.status, 200);
}

/// One request, and whether its connection resumed a session.
async fn resuming(
    address: SocketAddr,
    settings: &Arc<ClientConfig>,
    request: &[u8],
) -> (HandshakeKind, Answer) {
    let stream = tls(address, HOST, Arc::clone(settings)).await.expect("the handshake");
    let kind = stream.get_ref().1.handshake_kind().expect("after the handshake");
    let mut client = Client::over(stream);
    (kind, client.exchange(request).await.expect("an answer"))
}

/// R-F-12, T-MTL-17: a ticket carries its certificate along, and opens only where it was made.
#[tokio::test(flavor = "multi_thread")]
async fn tickets_keep_the_certificate_and_the_listener() {
    let listener = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
  - name: never-asks
    address: 127.0.0.1:0
    public_urls: [https://api.example.com]
    tls:
      certificates: [{ chain: server.pem, key: server.key }]
  - name: insists
    address: 127.0.0.1:0
    public_urls: [https://api.example.com]
    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: required, trust: any }
";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    let [asks, never, insists] = house.gateway.addresses()[..] else { panic!("three listeners") };
    let mine = Scene::with_certificate(&house).bytes(&house);
    let theirs = bound_to(&house, &held(&house, 1)).bytes(&house);
    for version in [&TLS12, &TLS13] {
        let with = Arc::new(settings(&[version], Some(held(&house, 0))));
        let (kind, answer) = resuming(asks, &with, &mine).await;
        assert_eq!((kind == HandshakeKind::Resumed, answer.status), (false, 200), "{version:?}");
        let (kind, answer) = resuming(asks, &with, &mine).await;
        assert_eq!((kind, answer.status), (HandshakeKind::Resumed, 200), "{version:?}");
        let (kind, answer) = resuming(asks, &with, &theirs).await;
        assert_eq!((kind, answer.status), (HandshakeKind::Resumed, 401), "{version:?}");

        // The same client at a listener that never asks: its ticket is worth nothing there, and so is its certificate.
        let (kind, answer) = resuming(never, &with, &mine).await;
        assert_ne!(kind, HandshakeKind::Resumed, "{version:?}");
        assert_eq!(answer.reason(), "certificate_missing", "{version:?}");

        // A ticket from where nobody asked, where one is required.
        let without = Arc::new(settings(&[version], None));
        for resumed in [false, true] {
            let (kind, answer) = resuming(never, &without, &mine).await;
            assert_eq!((kind == HandshakeKind::Resumed, answer.status), (resumed, 401), "{version:?}");
        }
        over(insists, &without, &mine).await.expect_err("no certificate, no handshake");
        let (kind, answer) = resuming(insists, &with, &mine).await;
        assert_eq!((kind == HandshakeKind::Resumed, answer.status), (false, 200), "{version:?}");
    }
}

/// R-J-04: the first bytes of a client of that version, and the kind of record that answers.
async fn hello(address: SocketAddr, version: [u8; 2]) -> u8 {
    let mut body = vec![version[0], version[1]];
    body.extend([7; 32]);
    body.push(0);
    // ECDHE_ECDSA_AES_128_CBC_SHA, ECDHE_RSA_AES_128_CBC_SHA, RSA_AES_128_CBC_SHA; for TLS 1.2 ECDHE_ECDSA_AES_128_GCM_SHA256.
    body.extend([0, 8, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f, 0xc0, 0x2b]);
    body.extend([1, 0]);
    // supported_groups: secp256r1; ec_point_formats; signature_algorithms: ecdsa_secp256r1_sha256.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 4, 0, 2, 4, 3];
    body.extend(u16::try_from(extensions.len()).expect("short").to_be_bytes());
    body.extend(extensions);
    let length = u16::try_from(body.len()).expect("short");
    let mut record = vec![22, 3, 1];
    record.extend((length + 4).to_be_bytes());
    record.extend([1, 0]);
    record.extend(length.to_be_bytes());
    record.extend(body);
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(&record).await.expect("sent");
    stream.read_u8().await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_refused() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    let house = House::usual().await;
    for version in [[3, 0], [3, 1], [3, 2]] {
        assert_eq!(hello(house.address, version).await, ALERT, "{version:?}");
    }
    // The same bytes of a TLS 1.2 client are understood.
    assert_eq!(hello(house.address, [3, 3]).await, HANDSHAKE);

    let listener = "    tls:
      min_version: \"1.3\"
      certificates: [{ chain: server.pem, key: server.key }]
";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    assert_eq!(hello(house.address, [3, 3]).await, ALERT);
    assert_eq!(refused(&house, settings(&[&TLS12], None)).await, AlertDescription::ProtocolVersion);
    assert_eq!(Scene::right(&house).send(&house).await.status, 200);
}

/// T-MTL-22, T-MTL-23, R-F-09: RFC 9440 from a trusted proxy, to the letter; from anyone else nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_reports_certificates_and_nobody_else_does() {
    let listener = "    tls: plaintext
    trusted_proxies: [127.0.0.0/8]
    client_certificate_header: client-cert
";
    let house = House::built(Plan { listener, ..Plan::default() }).await;
    let der = &house.certificates[0].0;
    let encoded = STANDARD.encode(der);
    let right = format!(":{encoded}:");
    let pem = format!("-----BEGIN CERTIFICATE-----{encoded}-----END CERTIFICATE-----");
    let unpadded = format!(":{}:", encoded.trim_end_matches('='));
    let mut longer = der.clone();
    longer.push(0);
    let one = |value: &str| vec![value.to_owned()];
    for (what, lines, status, reason) in [
        ("right", one(&right), 200, ""),
        ("white space around", one(&format!("  {right} ")), 200, ""),
        ("none", Vec::new(), 401, "certificate_missing"),
        (
            "another",
            one(&format!(":{}:", STANDARD.encode(&house.certificates[1].0))),
            401,
            "certificate_mismatch",
        ),
        ("twice", vec![right.clone(), right.clone()], 400, "client_cert_invalid"),
        ("a list", one(&format!("{right}, {right}")), 400, "client_cert_invalid"),
        ("no colons", one(&encoded), 400, "client_cert_invalid"),
        ("one colon", one(&format!(":{encoded}")), 400, "client_cert_invalid"),
        ("PEM", one(&pem), 400, "client_cert_invalid"),
        ("URL-encoded", one(&right.replace('+', "%2B").replace(':', "%3A")), 400, "client_cert_invalid"),
        ("parameters", one(&format!("{right};a=b")), 400, "client_cert_invalid"),
        ("empty", one(""), 400, "client_cert_invalid"),
        ("an empty sequence", one("::"), 400, "client_cert_invalid"),
        ("no certificate", one(&format!(":{}:", STANDARD.encode("hello"))), 400, "client_cert_invalid"),
        ("something behind it", one(&format!(":{}:", STANDARD.encode(&longer))), 400, "client_cert_invalid"),
        (
            "cut off",
            one(&format!(":{}:", STANDARD.encode(&der[..der.len() - 1]))),
            400,
            "client_cert_invalid",
        ),
        ("too large", one(&format!(":{}:", "A".repeat(24_000))), 400, "client_cert_invalid"),
    ] {
        let mut scene = Scene::with_certificate(&house);
        scene.headers = lines.into_iter().map(|line| ("Client-Cert".to_owned(), line)).collect();
        let mut client = Client::plain(house.address).await.expect("a connection");
        let answer = client.exchange(&scene.bytes(&house)).await.expect("an answer");
        assert_eq!(verdict(&answer), (status, reason.to_owned()), "{what}: {answer:?}");
        let seen = house.seen();
        assert_eq!(seen.len(), usize::from(status == 200), "{what}");
        assert!(seen.iter().all(|seen| !seen.headers.contains_key("client-cert")), "{what}");
    }
    // RFC 8941 §4.2.7 lets a parser take base64 without padding. Either answer is sound; none may be a pass for another certificate.
    let mut scene = Scene::with_certificate(&house);
    scene.headers = vec![("Client-Cert".to_owned(), unpadded)];
    let mut client = Client::plain(house.address).await.expect("a connection");
    let status = client.exchange(&scene.bytes(&house)).await.expect("an answer").status;
    assert!([200, 400].contains(&status));

    // A stranger at a listener that trusts somebody else, and one at a listener that trusts nobody.
    let elsewhere = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
    trusted_proxies: [10.0.0.0/8]
    client_certificate_header: client-cert
";
    for listener in [elsewhere, ASKS_FOR_CERTIFICATES] {
        let house = House::built(Plan { listener, ..Plan::default() }).await;
        let said = format!(":{}:", STANDARD.encode(&house.certificates[0].0));
        let mut scene = Scene::with_certificate(&house);
        scene.headers = vec![("Client-Cert".to_owned(), said.clone()), ("Client-Cert".to_owned(), said)];
        scene.certificate = None;
        assert_eq!(scene.send(&house).await.reason(), "certificate_missing");
        scene.certificate = Some(1);
        assert_eq!(scene.send(&house).await.reason(), "certificate_mismatch");
        // Its own certificate counts as ever.
        scene.certificate = Some(0);
        assert_eq!(scene.send(&house).await.status, 200);
    }

    // The proxy's own certificate does not stand in for its caller's.
    let behind = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
    trusted_proxies: [127.0.0.1/32]
    client_certificate_header: client-cert
";
    let house = House::built(Plan { listener: behind, ..Plan::default() }).await;
    assert_eq!(Scene::with_certificate(&house).send(&house).await.reason(), "certificate_missing");
}

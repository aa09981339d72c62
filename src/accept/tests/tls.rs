//! TLS on real sockets: which certificate is shown, which client certificates are taken, and what a ticket carries.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion, version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Running, exchange, limits, plaintext, start};
use crate::config::{
    ClientCertificates, ClientTrust, Limits, Listener, ListenerTls, ServerCertificate, TlsSettings,
};
use crate::verify::digest::{Certificate, Digest};

const VERSIONS: [&[&SupportedProtocolVersion]; 2] = [&[&version::TLS13], &[&version::TLS12]];

fn certified(params: &CertificateParams, key: &KeyPair, chain: Vec<CertificateDer<'static>>) -> CertifiedKey {
    let leaf = params.self_signed(key).expect("a certificate").der().clone();
    CertifiedKey::new([vec![leaf], chain].concat(), signing_key(key))
}

fn signing_key(key: &KeyPair) -> Arc<dyn rustls::sign::SigningKey> {
    let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    any_supported_type(&der).expect("a usable key")
}

fn self_signed(name: &str) -> Arc<CertifiedKey> {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    Arc::new(certified(&params, &key, Vec::new()))
}

fn thumbprint(key: &CertifiedKey) -> Digest<Certificate> {
    Digest::of(&key.cert[0])
}

fn tls(names: &[&str], client_certificates: ClientCertificates) -> TlsSettings {
    let certificate =
        |name: &&str| ServerCertificate { names: vec![(*name).to_owned()], key: self_signed(name) };
    TlsSettings {
        only_tls13: false,
        certificates: names.iter().map(certificate).collect(),
        client_certificates,
    }
}

fn asked(required: bool, trust: ClientTrust) -> ClientCertificates {
    ClientCertificates::Asked { required, trust }
}

async fn serve(settings: TlsSettings, limits: Limits) -> Running {
    let listener = Listener { tls: ListenerTls::Tls(settings), ..plaintext() };
    start(&listener, limits, Duration::ZERO).await
}

/// A client that takes any server, since which one answers is what is looked at here.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Always this certificate, whether it fits its key or the server's wishes or not.
#[derive(Debug)]
struct Identity(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

fn client(
    identity: Option<&Arc<CertifiedKey>>,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
        .with_client_cert_resolver(Arc::new(Identity(identity.cloned())))
}

async fn connect(
    server: &Running,
    config: &Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::clone(config)).connect(name, server.connect().await).await
}

/// What the server makes of a request; nothing where the handshake fails, which TLS 1.3 clients learn only when they read.
async fn ask(server: &Running, config: &Arc<ClientConfig>, name: &str) -> String {
    match connect(server, config, name).await {
        Ok(mut stream) => {
            exchange(&mut stream, b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await
        }
        Err(_) => String::new(),
    }
}

#[tokio::test]
async fn certificates_are_chosen_by_server_name() {
    let names = ["first.example", "api.example.com", "*.wild.example", "exact.wild.example"];
    let settings = tls(&names, ClientCertificates::None);
    let keys: Vec<_> = settings.certificates.iter().map(|certificate| thumbprint(&certificate.key)).collect();
    let server = serve(settings, limits()).await;
    for (name, expected) in [
        ("first.example", 0),
        ("api.example.com", 1),
        ("API.example.com", 1),
        ("a.wild.example", 2),
        ("exact.wild.example", 3),
        ("wild.example", 0),
        ("a.b.wild.example", 0),
        ("unknown.example", 0),
        ("127.0.0.1", 0),
    ] {
        for versions in VERSIONS {
            let config = Arc::new(client(None, versions));
            let stream = connect(&server, &config, name).await.expect("a handshake");
            let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
            assert_eq!(Digest::<Certificate>::of(&shown[0]), keys[expected], "{name}");
        }
    }
    let config = Arc::new(client(None, VERSIONS[0]));
    let named = ask(&server, &config, "api.example.com").await;
    assert!(named.ends_with("/a sni=api.example.com certificate=-"), "{named}");
    assert!(ask(&server, &config, "127.0.0.1").await.ends_with("/a sni=- certificate=-"));
}

#[tokio::test]
async fn the_protocol_is_what_alpn_says_and_the_key_exchange_hybrid() {
    let server = serve(tls(&["a"], ClientCertificates::None), limits()).await;
    for (offered, chosen) in
        [(&[][..], None), (&[&b"http/1.1"[..]], Some(&b"http/1.1"[..])), (&[b"http/1.1", b"h2"], Some(b"h2"))]
    {
        let mut config = client(None, &[&version::TLS13]);
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        let mut stream = connect(&server, &Arc::new(config), "a").await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        let group = stream.get_ref().1.negotiated_key_exchange_group().expect("a group").name();
        assert_eq!(group, kx_group::X25519MLKEM768.name());
        if chosen == Some(b"h2") {
            // The first frame is the server's SETTINGS.
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("open");
            let mut frame = [0; 9];
            stream.read_exact(&mut frame).await.expect("a frame");
            assert_eq!(frame[3], 4);
        }
    }
    let mut settings = tls(&["a"], ClientCertificates::None);
    settings.only_tls13 = true;
    let server = serve(settings, limits()).await;
    assert!(connect(&server, &Arc::new(client(None, &[&version::TLS12])), "a").await.is_err());
    assert!(connect(&server, &Arc::new(client(None, &[&version::TLS13])), "a").await.is_ok());
}

/// R-F-04, T-MTL-10, T-MTL-14: any certificate, as long as its key is there too.
#[tokio::test]
async fn any_client_certificate_whose_key_is_held() {
    let mine = self_signed("client");
    for versions in VERSIONS {
        for required in [false, true] {
            let server = serve(tls(&["a"], asked(required, ClientTrust::Any)), limits()).await;
            let with = ask(&server, &Arc::new(client(Some(&mine), versions)), "a").await;
            assert!(with.ends_with(&format!("certificate={}", thumbprint(&mine))), "{with}");
            let without = ask(&server, &Arc::new(client(None, versions)), "a").await;
            assert_eq!(without.ends_with("certificate=-"), !required, "{without}");
        }
    }
    let server = serve(tls(&["a"], ClientCertificates::None), limits()).await;
    let unasked = ask(&server, &Arc::new(client(Some(&mine), VERSIONS[0])), "a").await;
    assert!(unasked.ends_with("certificate=-"), "{unasked}");
}

/// T-MTL-11: another's certificate with one's own key.
#[tokio::test]
async fn a_forged_certificate_verify_is_refused() {
    let (mine, theirs) = (self_signed("client"), self_signed("victim"));
    let forged = Arc::new(CertifiedKey::new(theirs.cert.clone(), Arc::clone(&mine.key)));
    for versions in VERSIONS {
        for required in [false, true] {
            let server = serve(tls(&["a"], asked(required, ClientTrust::Any)), limits()).await;
            let answer = ask(&server, &Arc::new(client(Some(&forged), versions)), "a").await;
            assert_eq!(answer, "");
            assert!(server.answers.seen().requests.is_empty());
        }
    }
}

/// T-MTL-13: a CA where the listener has one.
#[tokio::test]
async fn client_certificates_of_a_ca() {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let mut roots = RootCertStore::empty();
    roots.add(ca.self_signed(&ca_key).expect("a certificate").der().clone()).expect("a root");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["client".to_owned()]).expect("parameters");
    let leaf = params.signed_by(&key, &Issuer::from_params(&ca, &ca_key)).expect("a certificate");
    let member = Arc::new(CertifiedKey::new(vec![leaf.der().clone()], signing_key(&key)));
    let forged = Arc::new(CertifiedKey::new(member.cert.clone(), Arc::clone(&self_signed("x").key)));
    let roots = Arc::new(roots);
    for versions in VERSIONS {
        for required in [false, true] {
            let trust = ClientTrust::Ca(Arc::clone(&roots));
            let server = serve(tls(&["a"], asked(required, trust)), limits()).await;
            let ask = async |identity: Option<&Arc<CertifiedKey>>| {
                ask(&server, &Arc::new(client(identity, versions)), "a").await
            };
            assert!(ask(Some(&member)).await.ends_with(&format!("certificate={}", thumbprint(&member))));
            assert_eq!(ask(Some(&self_signed("client"))).await, "");
            assert_eq!(ask(Some(&forged)).await, "");
            assert_eq!(ask(None).await.ends_with("certificate=-"), !required);
        }
    }
}

/// T-MTL-26.
#[tokio::test]
async fn client_certificates_have_a_size_and_a_number() {
    let key = KeyPair::generate().expect("a key");
    let with_names = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("{number:0>50}.example")).collect();
        CertificateParams::new(names).expect("parameters")
    };
    let extra = |count: usize| vec![self_signed("extra").cert[0].clone(); count];
    let server = serve(tls(&["a"], asked(false, ClientTrust::Any)), limits()).await;
    for (names, extras, fits) in [(1, 10, true), (1, 11, false), (200, 0, true), (300, 0, false)] {
        let identity = Arc::new(certified(&with_names(names), &key, extra(extras)));
        assert_eq!(identity.cert[0].len() <= 16 * 1024, names < 300, "{}", identity.cert[0].len());
        let answer = ask(&server, &Arc::new(client(Some(&identity), VERSIONS[0])), "a").await;
        assert_eq!(!answer.is_empty(), fits, "{names} {extras}");
    }
}

/// R-F-12, T-MTL-17: a ticket carries its certificate back to the listener that made it, and opens at no other.
#[tokio::test]
async fn a_ticket_stays_with_its_policy() {
    let mine = self_signed("client");
    for versions in VERSIONS {
        let asking = serve(tls(&["a"], asked(true, ClientTrust::Any)), limits()).await;
        let other = serve(tls(&["a"], asked(true, ClientTrust::Any)), limits()).await;
        let silent = serve(tls(&["a"], ClientCertificates::None), limits()).await;
        let mut config = client(Some(&mine), versions);
        config.resumption = Resumption::in_memory_sessions(16);
        let config = Arc::new(config);
        for (server, kind, certificate) in [
            (&asking, HandshakeKind::Full, true),
            (&asking, HandshakeKind::Resumed, true),
            (&other, HandshakeKind::Full, true),
            (&silent, HandshakeKind::Full, false),
            (&asking, HandshakeKind::Full, true),
        ] {
            let mut stream = connect(server, &config, "a").await.expect("a handshake");
            let request = b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            let answer = exchange(&mut stream, request).await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{answer}");
            let expected = if certificate { thumbprint(&mine).to_string() } else { "-".to_owned() };
            assert!(answer.ends_with(&format!("certificate={expected}")), "{answer}");
        }
    }
}

/// R-E-09: a client that would send early data is never offered to.
#[tokio::test]
async fn early_data_is_not_offered() {
    let server = serve(tls(&["a"], ClientCertificates::None), limits()).await;
    let mut config = client(None, &[&version::TLS13]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    assert!(ask(&server, &config, "a").await.starts_with("HTTP/1.1 200 OK"));
    let mut again = connect(&server, &config, "a").await.expect("a handshake");
    again.read_exact(&mut []).await.expect("open");
    assert_eq!(again.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    // The ticket in hand resumes; what it does not do is let a request go ahead of the handshake.
    let name = ServerName::try_from("a").expect("a name");
    let mut next = rustls::ClientConnection::new(config, name).expect("a client");
    assert!(next.early_data().is_none());
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_not_waited_for() {
    let limits = Limits { handshake_timeout: Duration::from_millis(100), connections: 1, ..limits() };
    let server = serve(tls(&["a"], ClientCertificates::None), limits).await;
    let mut silent = server.connect().await;
    let closed = timeout(Duration::from_secs(5), silent.read_u8()).await;
    assert!(closed.expect("within the limit").is_err());
    // And its place is free again.
    assert!(connect(&server, &Arc::new(client(None, VERSIONS[0])), "a").await.is_ok());
}

/// Before its first request a connection is parked, and the records of TLS itself are no request.
#[tokio::test]
async fn new_keys_before_a_request() {
    let server = serve(tls(&["a"], ClientCertificates::None), limits()).await;
    let config = Arc::new(client(None, VERSIONS[0]));
    let mut stream = connect(&server, &config, "a").await.expect("a handshake");
    for _ in 0..3 {
        stream.get_mut().1.refresh_traffic_keys().expect("TLS 1.3");
        stream.flush().await.expect("open");
    }
    let answer = exchange(&mut stream, b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("/a sni=a certificate=-"), "{answer}");
}

//! The handshake: which certificates are taken, that their keys are held, what a ticket carries, and which versions there are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

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

use crate::house::{HOST, House, Plan};
use crate::scene::Scene;
use crate::wire::{Answer, Client, settings, tls};

/// A chain and the key of its first certificate.
pub type Held = (Vec<Vec<u8>>, Vec<u8>);

/// A house's certificate, as a client shows it.
pub fn held(house: &House, certificate: usize) -> Held {
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
pub fn bound_to(house: &House, held: &Held) -> Scene {
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

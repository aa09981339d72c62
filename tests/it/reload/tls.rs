//! Certificates, keys and CAs that change: for new handshakes at once, for old connections in order, for tickets as the policy says.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion, version};

use super::{ASKED, WATCHED, reloads};
use crate::house::{ASKS_FOR_CERTIFICATES, HOST, House, Plan};
use crate::process::wait;
use crate::wire::{Client, settings, tls};

const REQUEST: &[u8] = b"GET /public HTTP/1.1\r\nhost: api.example.com\r\n\r\n";

/// A certificate for the house's name and its key, as PEM.
fn server() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![HOST.to_owned()]).expect("a name");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

/// The certificate that a new connection is shown.
async fn shown(house: &House) -> Vec<u8> {
    let settings = Arc::new(settings(rustls::ALL_VERSIONS, None));
    let stream = tls(house.address, HOST, settings).await.expect("the handshake");
    stream.get_ref().1.peer_certificates().and_then(<[_]>::first).expect("a certificate").to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject as _;
    rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM").to_vec()
}

/// Puts a directory in place of another as Kubernetes does: a link to it is renamed over the link to the other.
fn mount(volume: &Path, version: &str, (chain, key): &(String, String)) {
    let directory = volume.join(version);
    std::fs::create_dir_all(&directory).expect("made");
    std::fs::write(directory.join("tls.crt"), chain).expect("written");
    std::fs::write(directory.join("tls.key"), key).expect("written");
    symlink(version, volume.join("..data_tmp")).expect("linked");
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_kubernetes_changes_a_secret() {
    let house = House::built(Plan { reloads: true, more: WATCHED, ..Plan::default() }).await;
    let volume = house.directory.path().join("volume");
    let servers = [server(), server(), server()];
    mount(&volume, "..2026_1", &servers[0]);
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), volume.join(name)).expect("linked");
    }
    let text = house
        .text()
        .replace("chain: server.pem, key: server.key", "chain: volume/tls.crt, key: volume/tls.key");
    house.reload_with(&text).await;
    assert_eq!(shown(&house).await, der(&servers[0].0));
    let mut old = Client::connect(house.address, HOST, None).await.expect("the handshake");
    // Twice: the second time it is another directory that has to be watched.
    for (version, server) in [("..2026_2", &servers[1]), ("..2026_3", &servers[2])] {
        mount(&volume, version, server);
        wait("the new certificate", async || shown(&house).await == der(&server.0)).await;
        assert_eq!(old.exchange(REQUEST).await.expect("an answer").status, 200, "it was not cut");
    }
    // A broken one: the old one stays, and it is counted.
    mount(&volume, "..2026_4", &(servers[0].0.clone(), servers[1].1.clone()));
    wait("it is refused", async || reloads(&house, "refused").await == 1).await;
    assert_eq!(shown(&house).await, der(&servers[2].0));
}

/// A certificate and those behind it, and its key.
type Shown = (Vec<Vec<u8>>, Vec<u8>);

/// The certificates of [`authority`] are good for an hour from when they are made.
const HOUR: i64 = 3600;

/// After so many seconds they are not, by the clock of any house: that one stands still since the first house was built.
pub const LIFETIME: i64 = 2 * HOUR;

/// A listener that takes client certificates of one CA.
pub const FROM_A_CA: &str = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: required, trust: { ca: clients.pem } }
";

/// A connection with this certificate.
pub async fn connect_as(house: &House, certificate: Shown) -> Client {
    let settings = Arc::new(settings(rustls::ALL_VERSIONS, Some(certificate)));
    Client::connect_with(house.address, HOST, settings).await.expect("the handshake")
}

/// A CA, and a certificate for a client that it has issued, with its key.
pub fn authority(name: &str) -> (String, Shown) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let pem = params.self_signed(&key).expect("a certificate").pem();
    let client = KeyPair::generate().expect("a key");
    let mut of_client = CertificateParams::new(vec!["client.example".to_owned()]).expect("a name");
    of_client.not_after = (SystemTime::now() + Duration::from_secs(HOUR.unsigned_abs())).into();
    let leaf = of_client.signed_by(&client, &Issuer::new(params, key)).expect("a certificate");
    (pem, (vec![leaf.der().to_vec()], client.serialize_der()))
}

/// How a handshake with these settings goes, after enough of a conversation to get a ticket; `None` when it fails.
async fn handshake(house: &House, settings: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let stream = tls(house.address, HOST, Arc::clone(settings)).await.ok()?;
    let kind = stream.get_ref().1.handshake_kind();
    let mut client = Client::over(stream);
    // In TLS 1.3 a refusal comes after the client's last word, and a ticket with the answer.
    let answer = client.exchange(REQUEST).await.ok()?;
    assert_eq!(answer.status, 200);
    kind
}

/// Tickets and connections outlive a new certificate of the server. They do not outlive a CA: a caller keeps a certificate of one that is no
/// longer trusted neither by a ticket nor by staying.
async fn with_version(versions: &[&'static SupportedProtocolVersion]) {
    let listener = FROM_A_CA;
    let ((old, certificate), (new, _)) = (authority("old"), authority("new"));
    let files = vec![("clients.pem", old.clone())];
    let house = House::built(Plan { reloads: true, more: ASKED, listener, files, ..Plan::default() }).await;
    let settings = Arc::new(settings(versions, Some(certificate)));
    assert_eq!(handshake(&house, &settings).await, Some(HandshakeKind::Full));
    assert_eq!(handshake(&house, &settings).await, Some(HandshakeKind::Resumed));
    let mut kept =
        Client::connect_with(house.address, HOST, Arc::clone(&settings)).await.expect("the handshake");
    assert_eq!(kept.exchange(REQUEST).await.expect("an answer").status, 200);

    let (chain, key) = server();
    house.write("server.pem", &chain);
    house.write("server.key", &key);
    // The same CA, written otherwise.
    house.write("clients.pem", &format!("# the same\n{old}\n"));
    assert_eq!(house.post_reload().await.0, 200);
    assert_eq!(handshake(&house, &settings).await, Some(HandshakeKind::Resumed));
    let answer = kept.exchange(REQUEST).await.expect("an answer");
    assert_eq!((answer.status, answer.all("connection").len()), (200, 0), "nobody asks it to end");

    house.write("clients.pem", &new);
    assert_eq!(house.post_reload().await.0, 200);
    assert_eq!(handshake(&house, &settings).await, None, "neither with the ticket nor without");
    let answer = kept.exchange(REQUEST).await.expect("not cut");
    assert_eq!((answer.status, answer.one("connection")), (200, "close"));
    assert!(kept.is_closed().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_is_changed() {
    with_version(&[&version::TLS13]).await;
    with_version(&[&version::TLS12]).await;
}

/// A certificate ends when it ends, neither a ticket nor a connection that is kept carries it further: also for a route that wants no token, as a new
/// handshake would not get there either. Where any certificate is taken, nobody vouches for its dates.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_expires() {
    for versions in [&[&version::TLS13], &[&version::TLS12]] {
        for (listener, ends) in [(FROM_A_CA, true), (ASKS_FOR_CERTIFICATES, false)] {
            let (ca, certificate) = authority("clients");
            let house =
                House::built(Plan { listener, files: vec![("clients.pem", ca)], ..Plan::default() }).await;
            let settings = Arc::new(settings(versions, Some(certificate)));
            let mut kept =
                Client::connect_with(house.address, HOST, Arc::clone(&settings)).await.expect("shown");
            assert_eq!(kept.exchange(REQUEST).await.expect("an answer").status, 200);
            house.pass_time(HOUR - 1);
            assert_eq!(kept.exchange(REQUEST).await.expect("an answer").status, 200, "not yet");
            assert_eq!(handshake(&house, &settings).await, Some(HandshakeKind::Resumed));
            house.seen();
            house.pass_time(LIFETIME - HOUR + 1);
            let mut resumed =
                Client::connect_with(house.address, HOST, Arc::clone(&settings)).await.expect("by a ticket");
            for client in [&mut kept, &mut resumed] {
                let answer = client.exchange(REQUEST).await.expect("an answer");
                let expected = if ends { (421, "certificate_expired") } else { (200, "") };
                assert_eq!((answer.status, answer.reason().as_str()), expected, "{listener}");
            }
            assert_eq!(house.seen().len(), if ends { 0 } else { 2 });
        }
    }
}

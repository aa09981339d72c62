//! Ways to a server: TLS with a private CA and a client certificate, a socket, and what must not be a way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use tokio::net::TcpListener;

use super::super::connect::{Connector, announced};
use super::super::resp::Reply;
use super::super::trouble::Trouble;
use super::process::{Server, free_port};
use super::settings;
use crate::config::{
    self, RedisEndpoint, RedisLogin, RedisPassword, RedisServer, RedisServers, RedisTls, RedisWire,
};

const SHORT: Duration = Duration::from_millis(400);

pub(super) fn at(port: u16) -> RedisEndpoint {
    RedisEndpoint { host: "127.0.0.1".into(), port }
}

fn connector(wire: &RedisWire) -> Connector {
    let settings = settings(RedisServers::Cluster(Vec::new()), wire.clone());
    Connector::new(&config::Redis { timeout: SHORT, connect_timeout: SHORT, ..settings })
}

async fn ping(wire: &RedisWire, server: &RedisServer) -> Result<(), Trouble> {
    let mut link = connector(wire).connect(server).await?;
    match link.demand(&[b"PING"]).await? {
        Reply::Simple(b"PONG") => Ok(()),
        other => panic!("{other:?}"),
    }
}

/// A CA that nobody else knows.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        // With the name that a leaf has too, it would seem to be its own issuer.
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA"))
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        Arc::new(roots)
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        (params.signed_by(&key, &self.0).expect("signed"), key)
    }

    fn shown(&self) -> Arc<CertifiedKey> {
        let (certificate, key) = self.issue("gateway");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Arc::new(
            CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider)
                .expect("they belong together"),
        )
    }

    /// A server for TLS at the port that is given too, whose certificate is for `name`.
    fn serve(&self, name: &str, clients: &str) -> (Server, RedisServer) {
        let files = tempfile::tempdir().expect("a directory").keep();
        let (certificate, key) = self.issue(name);
        for (file, content) in
            [("ca", self.0.pem()), ("cert", certificate.pem()), ("key", key.serialize_pem())]
        {
            std::fs::write(files.join(file), content).expect("written");
        }
        let at_port = free_port();
        let at_files = files.display();
        let server = Server::start(&[
            &format!("tls-port {at_port}"),
            &format!(
                "tls-ca-cert-file {at_files}/ca\ntls-cert-file {at_files}/cert\ntls-key-file {at_files}/key"
            ),
            &format!("tls-auth-clients {clients}"),
        ]);
        std::fs::remove_dir_all(&files).expect("they were read");
        (server, RedisServer::Network(at(at_port)))
    }
}

fn tls(trust: &Authority, shown: Option<Arc<CertifiedKey>>, name: Option<&'static str>) -> RedisWire {
    RedisWire::Tls(RedisTls {
        trust: Some(trust.roots()),
        client_certificate: shown,
        server_name: name.map(|name| ServerName::try_from(name).expect("a name")),
    })
}

#[tokio::test]
async fn tls_is_with_the_server_that_is_meant() {
    let (ours, other) = (Authority::new(), Authority::new());
    let (_server, place) = ours.serve("valkey.internal", "no");
    assert_eq!(ping(&tls(&ours, None, Some("valkey.internal")), &place).await, Ok(()));
    for (wire, what) in [
        (tls(&other, None, Some("valkey.internal")), "another CA"),
        (tls(&ours, None, None), "the address is not in the certificate"),
        (tls(&ours, None, Some("valkey.example")), "another name"),
        (
            RedisWire::Tls(RedisTls {
                trust: None,
                client_certificate: None,
                server_name: Some(ServerName::try_from("valkey.internal").expect("a name")),
            }),
            "the system's roots",
        ),
    ] {
        assert!(matches!(ping(&wire, &place).await, Err(Trouble::Tls(_))), "{what}");
    }
    let (_server, place) = ours.serve("127.0.0.1", "no");
    assert_eq!(ping(&tls(&ours, None, None), &place).await, Ok(()), "the host is the name");
}

#[tokio::test]
async fn a_server_that_asks_for_a_certificate_is_shown_one() {
    let ours = Authority::new();
    let (_server, place) = ours.serve("127.0.0.1", "yes");
    assert_eq!(ping(&tls(&ours, Some(ours.shown()), None), &place).await, Ok(()));
    // With TLS 1.3 the server says no only when the handshake is over for the client.
    for shown in [None, Some(Authority::new().shown())] {
        assert!(matches!(ping(&tls(&ours, shown, None), &place).await, Err(Trouble::Tls(_))));
    }
}

#[tokio::test]
async fn what_speaks_no_tls_is_not_spoken_to_without() {
    let server = Server::start(&[]);
    let place = RedisServer::Network(at(server.port));
    assert!(matches!(ping(&tls(&Authority::new(), None, None), &place).await, Err(Trouble::Tls(_))));
    assert_eq!(ping(&RedisWire::Plain, &place).await, Ok(()));
    assert_eq!(ping(&RedisWire::Plain, &RedisServer::Unix(server.socket())).await, Ok(()));
    let port = server.kill();
    let refused = ping(&RedisWire::Plain, &RedisServer::Network(at(port))).await;
    assert!(matches!(refused, Err(Trouble::Unreachable(_))));
}

/// A sentinel or a cluster could send us anywhere.
#[tokio::test]
async fn another_machine_is_not_spoken_to_in_the_clear() {
    let elsewhere = RedisEndpoint { host: "192.0.2.1".into(), port: 6379 };
    let began = Instant::now();
    let refused = ping(&RedisWire::Plain, &RedisServer::Network(elsewhere)).await;
    assert!(matches!(&refused, Err(Trouble::Unreachable(why)) if why.contains("rediss")), "{refused:?}");
    assert!(began.elapsed() < SHORT, "nobody was called");
}

/// Something that takes connections and says nothing, with TLS and without.
#[tokio::test]
async fn silence_ends() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = at(silent.local_addr().expect("an address").port());
    let server = RedisServer::Network(place.clone());
    let began = Instant::now();
    assert!(matches!(ping(&tls(&Authority::new(), None, None), &server).await, Err(Trouble::Tls(_))));
    assert!(matches!(connector(&RedisWire::Plain).log_in(&place, None).await, Err(Trouble::Late)));
    assert!(began.elapsed() < SHORT * 4);
}

#[tokio::test]
async fn users_and_passwords() {
    let server = Server::start(&["user holdfast on >hunter2 +@all ~*", "requirepass hunter3"]);
    let place = at(server.port);
    let login = |user: Option<&str>, password: &str| RedisLogin {
        user: user.map(str::to_owned),
        password: RedisPassword::new(password.to_owned()),
    };
    let ways = connector(&RedisWire::Plain);
    for (login, ok) in [
        (login(Some("holdfast"), "hunter2"), true),
        (login(None, "hunter3"), true),
        (login(Some("holdfast"), "hunter3"), false),
        (login(None, "hunter2"), false),
        (login(Some("nobody"), "hunter2"), false),
    ] {
        match ways.log_in(&place, Some(&login)).await {
            Ok(mut link) => assert!(ok && link.demand(&[b"PING"]).await.is_ok(), "{login:?}"),
            Err(trouble) => {
                assert!(!ok && matches!(trouble, Trouble::WrongPassword(_)), "{login:?}: {trouble:?}")
            }
        }
    }
    let mut nobody = ways.log_in(&place, None).await.expect("it answers");
    assert!(matches!(nobody.demand(&[b"GET", b"a"]).await, Err(Trouble::WrongPassword(_))));
}

/// Words of another server are addresses, or names as the configuration has them.
#[test]
fn what_is_announced_is_an_address() {
    for (host, expected) in [
        ("10.0.0.1", Some("10.0.0.1:1")),
        ("::1", Some("[::1]:1")),
        ("2001:DB8::0:1", Some("[2001:db8::1]:1")),
        ("Redis-1.internal", Some("redis-1.internal:1")),
        ("", None),
        ("?", None),
        ("a b", None),
        ("a:1", None),
        ("[::1]", None),
        ("a\u{1b}[31m", None),
    ] {
        assert_eq!(
            announced(host.as_bytes(), 1).map(|endpoint| endpoint.to_string()).as_deref(),
            expected,
            "{host}"
        );
    }
    assert_eq!((announced(b"a", 0), announced(b"\xff", 1)), (None, None));
}

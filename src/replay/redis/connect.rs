//! From an address to a stream of bytes with the server that is meant: TCP, or a socket of this machine, and TLS.
//!
//! Nothing is said on it yet: who answers is judged by `vet.rs`. Names are resolved for each connection, so a server that has moved is found again.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::link::{Link, Stream};
use super::lookup::Lookups;
use super::trouble::Trouble;
use super::vet;
use crate::config::{self, RedisEndpoint, RedisLogin, RedisServer, RedisTls, RedisWire};
use crate::keepalive;
use crate::verify::htu::Authority;

/// How servers are reached: all of a store in one way, those too that Sentinel or a cluster tells of.
#[derive(Clone)]
pub(super) struct Connector {
    wire: Wire,
    lookups: Lookups,
    connect_timeout: Duration,
    timeout: Duration,
}

#[derive(Clone)]
enum Wire {
    Plain,
    Tls(TlsConnector, Option<ServerName<'static>>),
    /// TLS that cannot be: the system's roots cannot be had. It is told with each attempt.
    Unfit(Trouble),
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl Connector {
    /// The way to the servers of these settings.
    pub(super) fn new(settings: &config::Redis) -> Self {
        let wire = match &settings.wire {
            RedisWire::Plain => Wire::Plain,
            RedisWire::Tls(tls) => match client_config(tls) {
                Ok(config) => Wire::Tls(TlsConnector::from(config), tls.server_name.clone()),
                Err(error) => Wire::Unfit(Trouble::Tls(error.to_string())),
            },
        };
        let lookups = Lookups::default();
        Self { wire, lookups, connect_timeout: settings.connect_timeout, timeout: settings.timeout }
    }

    /// A connection to a server, with nobody logged in.
    ///
    /// # Errors
    /// [`Trouble::Unreachable`] and [`Trouble::Tls`], also when `connect_timeout` has passed.
    pub(super) async fn connect(&self, server: &RedisServer) -> Result<Link, Trouble> {
        let end = Instant::now() + self.connect_timeout;
        let late = |_| Trouble::Unreachable("no connection in time".into());
        let stream: Box<dyn Stream> = match (server, &self.wire) {
            (RedisServer::Unix(path), _) => {
                Box::new(timeout_at(end, UnixStream::connect(path)).await.map_err(late)??)
            }
            (RedisServer::Network(_), Wire::Unfit(trouble)) => return Err(trouble.clone()),
            (RedisServer::Network(endpoint), Wire::Plain) => {
                // The configuration lets no other host in, but a sentinel or a cluster may tell of any, and `localhost` may be resolved to anything. What such a server says, or
                // whoever is in between, decides whether a proof passes.
                let here = |address: &SocketAddr| address.ip().is_loopback();
                let none = "it is another machine, and only `rediss://` leads to those";
                Box::new(timeout_at(end, self.reach(endpoint, here, none, end)).await.map_err(late)??)
            }
            (RedisServer::Network(endpoint), Wire::Tls(connector, name)) => {
                let reached = self.reach(endpoint, |_| true, "its name has no address", end);
                let stream = timeout_at(end, reached).await.map_err(late)??;
                // A server without TLS waits for the end of a line that never comes.
                let late = |_| Trouble::Tls("no handshake in time".into());
                let secured = secure(connector, name.as_ref(), stream, endpoint);
                Box::new(timeout_at(end, secured).await.map_err(late)??)
            }
        };
        Ok(Link::new(stream, self.timeout))
    }

    /// A connection to a server that is asked where others are, with `login` logged in. All of it has `connect_timeout` twice, or less.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), [`Trouble::NotRedis`], [`Trouble::WrongPassword`], [`Trouble::Late`].
    pub(super) async fn log_in(
        &self,
        endpoint: &RedisEndpoint,
        login: Option<&RedisLogin>,
    ) -> Result<Link, Trouble> {
        let mut link = self.connect(&RedisServer::Network(endpoint.clone())).await?;
        let said = async {
            vet::greet(&mut link).await?;
            match login {
                Some(login) => vet::log_in(&mut link, login).await,
                None => Ok(()),
            }
        };
        timeout(self.connect_timeout, said).await.map_err(|_| Trouble::Late)??;
        Ok(link)
    }

    /// A connection to the endpoint, at an address that is `fit`. `none` is what is said where there is no such address.
    async fn reach(
        &self,
        endpoint: &RedisEndpoint,
        fit: impl Fn(&SocketAddr) -> bool,
        none: &str,
        end: Instant,
    ) -> Result<TcpStream, Trouble> {
        let addresses = self.lookups.addresses(endpoint).await?;
        let addresses: Vec<_> = addresses.into_iter().filter(fit).collect();
        first(&addresses, end).await?.ok_or_else(|| Trouble::Unreachable(none.into()))
    }
}

/// TLS on a connection, with a server of this name, or else of the endpoint's.
async fn secure(
    connector: &TlsConnector,
    name: Option<&ServerName<'static>>,
    stream: TcpStream,
    endpoint: &RedisEndpoint,
) -> Result<TlsStream<TcpStream>, Trouble> {
    let name = name.map_or_else(|| ServerName::try_from(endpoint.host.clone()), |name| Ok(name.clone()));
    let name =
        name.map_err(|_| Trouble::Tls("its host is no name that a certificate could be for".into()))?;
    connector.connect(name, stream).await.map_err(|error| Trouble::Tls(error.to_string()))
}

/// A connection to the first of these addresses that takes one; `None`: there are none. The next is tried when the one before refuses, or has said nothing for its part of the time until
/// `end` (RFC 8305 §5): behind one that is silent (IPv6 that leads nowhere, a machine that is gone) the others would never be tried. What was begun goes on beside it, so that a way that is long has
/// all of the time.
async fn first(addresses: &[SocketAddr], end: Instant) -> io::Result<Option<TcpStream>> {
    let (mut attempts, mut refused) = (JoinSet::new(), None);
    for (address, left) in addresses.iter().zip((1..=addresses.len()).rev()) {
        attempts.spawn(TcpStream::connect(*address));
        let now = Instant::now();
        let part = end.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
        // The last one, and all that are still under way, have until the end.
        while let Ok(Some(attempt)) = timeout_at(now + part, attempts.join_next()).await {
            match attempt? {
                Ok(stream) => {
                    // A claim is small and waits for its reply; Nagle's algorithm would only hold it back. Not being able to say so is no failure.
                    let _ = stream.set_nodelay(true);
                    let _ = keepalive::watch(&stream);
                    return Ok(Some(stream));
                }
                Err(error) => refused = Some(error),
            }
            if left > 1 {
                break;
            }
        }
    }
    if !attempts.is_empty() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no connection in time"));
    }
    refused.map_or(Ok(None), Err)
}

/// A server as another one tells of it. Its words go into the log and to the resolver, so they have to be an address, or a name like those of the configuration.
pub(super) fn announced(host: &[u8], port: u16) -> Option<RedisEndpoint> {
    let text = std::str::from_utf8(host).ok().filter(|_| port != 0)?;
    let host = match text.parse::<IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => {
            Authority::read(text)
                .filter(|authority| authority.port.is_none() && !text.contains([':', '[']))?
                .host
        }
    };
    Some(RedisEndpoint { host, port })
}

/// TLS to the servers: their certificates are always verified, against `trust` or the system's roots.
fn client_config(tls: &RedisTls) -> Result<Arc<ClientConfig>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &tls.trust {
        Some(roots) => builder.with_root_certificates(Arc::<RootCertStore>::clone(roots)),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(rustls_platform_verifier::Verifier::new(provider)?)),
    };
    Ok(Arc::new(match &tls.client_certificate {
        None => builder.with_no_client_auth(),
        Some(certified) => {
            let shown = SingleCertAndKey::from(CertifiedKey::clone(certified));
            builder.with_client_cert_resolver(Arc::new(shown))
        }
    }))
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// One that is there and takes no more connections, so that whoever calls hears nothing.
    async fn silent() -> (SocketAddr, Vec<TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listening = socket.listen(0).expect("it listens");
        let address = listening.local_addr().expect("an address");
        let mut waiting = Vec::new();
        while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            waiting.push(stream);
        }
        (address, waiting, listening)
    }

    #[tokio::test]
    async fn an_address_behind_a_silent_one_is_tried() {
        let (nowhere, _waiting, _listening) = silent().await;
        let there = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = there.local_addr().expect("an address");
        let within = |patience| Instant::now() + Duration::from_millis(patience);
        let end = within(2100);
        let reached = first(&[nowhere, nowhere, there], end).await.expect("a connection");
        assert_eq!(reached.and_then(|stream| stream.peer_addr().ok()), Some(there));
        assert!(Instant::now() < end, "there was time left for it");
        let silence = first(&[nowhere], within(200)).await.map(drop).map_err(|error| error.kind());
        assert_eq!(silence, Err(io::ErrorKind::TimedOut));
        assert!(first(&[], within(200)).await.is_ok_and(|stream| stream.is_none()));
    }

    /// Many addresses do not take the time away from one that is there and slow: the others are tried beside it.
    #[tokio::test]
    async fn an_address_that_is_slow_has_all_of_the_time() {
        let ((slow, waiting, listening), (nowhere, _waiting, _listening)) = (silent().await, silent().await);
        let addresses = [slow, nowhere, nowhere, nowhere, nowhere, nowhere, nowhere, nowhere];
        // The system calls again after a second, and is heard then.
        let room = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for _ in &waiting {
                listening.accept().await.expect("it has called");
            }
            std::future::pending().await
        };
        let reached = tokio::select! {
            reached = first(&addresses, Instant::now() + Duration::from_millis(3000)) => reached,
            () = room => Ok(None),
        };
        assert_eq!(reached.expect("a connection").and_then(|stream| stream.peer_addr().ok()), Some(slow));
    }

    /// Who refuses is not waited for.
    #[tokio::test]
    async fn an_address_that_refuses_takes_no_time() {
        // Nobody else has this address, so nobody is given its port.
        let refuses = SocketAddr::from(([127, 53, 17, 1], 6379));
        let there = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = there.local_addr().expect("an address");
        let (nowhere, _waiting, _listening) = silent().await;
        let end = Instant::now() + Duration::from_secs(3600);
        let reached = timeout(Duration::from_secs(9), first(&[refuses, there, nowhere], end)).await;
        let reached = reached.expect("at once").expect("a connection");
        assert_eq!(reached.and_then(|stream| stream.peer_addr().ok()), Some(there));
        let refused = first(&[refuses, refuses], end).await.map(drop).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::ConnectionRefused));
    }
}

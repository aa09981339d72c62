//! Which addresses a server's name has, asked again and again.
//!
//! Nothing is resolved while a request waits, except before the first answer. What the system's resolver says is asked for every `resolve` interval and after
//! connections failed; it does not tell how long its answers hold. A failure changes nothing: the last good addresses stay.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// The most addresses of one name that are used.
const MOST_ADDRESSES: usize = 256;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Resolves names. Tests hand in one that they set.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(String, u16) -> Answer + Send + Sync>);

impl Resolver {
    /// The system's resolver (`getaddrinfo`, so `/etc/hosts` and `resolv.conf` count).
    pub fn system() -> Self {
        Self::new(|name, port| async move { Ok(tokio::net::lookup_host((name, port)).await?.collect()) })
    }

    /// A resolver that asks `resolve` for a name's addresses with this port.
    pub fn new<Fut>(resolve: impl Fn(String, u16) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name, port| Box::pin(resolve(name, port))))
    }

    /// The addresses of a name, each once and in order: at least one.
    pub(super) async fn addresses(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let answer = (self.0)(name.to_owned(), port);
        let mut addresses = tokio::time::timeout(PATIENCE, answer)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer in time"))??;
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(MOST_ADDRESSES);
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no address"));
        }
        Ok(addresses)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

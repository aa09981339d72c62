//! One address of a server: its connections and its health.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme};
use http::{Request, Uri, Version};
use http_body::Body;

use super::connect::{self, ConnectError, Place};
use super::fault::Fault;
use super::health::{Health, Rules};
use super::link::Link;
use super::pool::Pool;
use super::server::Server;
use crate::config::{self, Host, Protocol};

/// An address that requests can be sent to.
pub(super) struct Endpoint<B> {
    pub(super) server: Arc<Server>,
    pub(super) place: Place,
    pub(super) health: Arc<Health>,
    pool: Arc<Pool<B>>,
    protocol: Protocol,
    connect_timeout: Duration,
    /// Whose turn it is to make an HTTP/2 connection. The others wait, and then share it.
    dialing: tokio::sync::Mutex<()>,
}

/// A connection, and whether it has carried a request before: such a one may have been closed by the server without our knowing yet.
pub(super) struct Connected<B> {
    pub(super) link: Arc<Link<B>>,
    pub(super) reused: bool,
}

/// What may carry a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Any connection.
    Any,
    /// One that was made for it: the request before it was lost to a connection that had waited.
    Fresh,
}

impl<B> Endpoint<B> {
    pub(super) fn new(server: Arc<Server>, place: Place, upstream: &config::Upstream) -> Self {
        let rules = Rules { failures: upstream.health.failures, ejection: upstream.health.ejection };
        Self {
            server,
            place,
            health: Health::new(rules),
            pool: Arc::new(Pool::new(upstream.keep_alive)),
            protocol: upstream.protocol,
            connect_timeout: upstream.connect_timeout,
            dialing: tokio::sync::Mutex::default(),
        }
    }

    /// Closes the connections that are not needed any more.
    pub(super) fn sweep(&self) {
        self.pool.sweep();
    }
}

impl<B> Endpoint<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    /// A connection for one request.
    ///
    /// # Errors
    /// [`ConnectError`], within `connect_timeout`.
    pub(super) async fn connection(&self, wanted: Wanted) -> Result<Connected<B>, ConnectError> {
        // Connecting, with TLS in it, needs kilobytes. In place, every request would hold and move them, although nearly none connects.
        match (self.protocol, wanted) {
            (Protocol::Http1, Wanted::Any) => match self.pool.take() {
                Some(link) => Ok(Connected { link, reused: true }),
                None => self.in_time(Box::pin(self.dial())).await,
            },
            (Protocol::Http1, Wanted::Fresh) => self.in_time(Box::pin(self.dial())).await,
            // One that is closed is never shared, so whatever is there is as good as a new one.
            (Protocol::Http2, _) => match self.pool.share() {
                Some(link) => Ok(Connected { link, reused: true }),
                None => self.in_time(Box::pin(self.dial_shared())).await,
            },
        }
    }

    async fn dial(&self) -> Result<Connected<B>, ConnectError> {
        let sender = connect::connect(&self.place, self.server.tls.as_ref(), self.protocol).await?;
        let link = Arc::new(Link::new(sender, Arc::downgrade(&self.pool)));
        Ok(Connected { link, reused: false })
    }

    async fn dial_shared(&self) -> Result<Connected<B>, ConnectError> {
        let _turn = self.dialing.lock().await;
        if let Some(link) = self.pool.share() {
            return Ok(Connected { link, reused: true });
        }
        let connected = self.dial().await?;
        connected.link.first_stream();
        self.pool.put(Arc::clone(&connected.link));
        Ok(connected)
    }

    async fn in_time<T>(
        &self,
        connecting: impl Future<Output = Result<T, ConnectError>>,
    ) -> Result<T, ConnectError> {
        tokio::time::timeout(self.connect_timeout, connecting).await.unwrap_or(Err(ConnectError::TimedOut))
    }

    /// Makes a request fit the protocol and the server. Done again for another endpoint, it is as if it had been done for that one alone.
    pub(super) fn fit<R>(&self, request: &mut Request<R>, host: &Host) {
        let own = match host {
            Host::Caller => None,
            Host::Upstream => Some(&self.server.authority),
            Host::Name(name) => Some(name),
        };
        if let Some(own) = own {
            request.headers_mut().insert(HOST, own.clone());
        }
        if self.protocol == Protocol::Http1 {
            return;
        }
        // RFC 9113 §8.3.1: `:authority` takes the place of Host, and §8.2.2: framing is not said in headers.
        let authority = match request.headers_mut().remove(HOST) {
            Some(host) => Authority::from_maybe_shared(Bytes::copy_from_slice(host.as_bytes())).ok(),
            None => request.uri().authority().cloned(),
        };
        request.headers_mut().remove(TRANSFER_ENCODING);
        request.headers_mut().remove(CONNECTION);
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.server.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = authority;
        // All three parts are there, so this makes a URI; without one, the request would be for `/`, which hyper refuses to send without a scheme.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.version_mut() = Version::HTTP_2;
    }

    /// Whether a connection can be made. It is thrown away.
    pub(super) async fn can_connect(&self) -> bool {
        self.in_time(self.dial()).await.is_ok()
    }
}

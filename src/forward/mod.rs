//! Permit → upstream response.
//!
//! [`Upstreams::send`] takes a [`Pass`] by value: a permit, which only a spent proof or a proven certificate makes, or the
//! operator's word that the route is public. An unchecked request has nothing to call it with.

mod download;
mod fault;
mod headers;
mod identity;
mod report;
mod upload;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::config;
use crate::route::{PublicRoute, Route};
use crate::verify::htu::{Origin, Scheme};
use crate::verify::replay::Permit;
use crate::verify::request::Target;

pub use download::Download;
pub use fault::Fault;
pub use report::Origin as CallerOrigin;
use upload::Upload;

/// Connections to an upstream that wait for another request are closed after this time.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// The right to reach an upstream.
#[derive(Debug)]
#[must_use]
pub enum Pass {
    /// A bound caller whose proof is spent.
    Bound(Permit),
    /// A public route.
    Public(PublicRoute),
}

/// Every upstream, with its pool of connections. `B` is the body of a caller's request.
pub struct Upstreams<B> {
    all: Vec<Upstream<B>>,
    idle_timeout: Duration,
}

struct Upstream<B> {
    servers: Vec<Origin>,
    next: AtomicUsize,
    client: Client<HttpsConnector<HttpConnector>, Upload<B>>,
    response_timeout: Duration,
}

impl<B> Upstreams<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault> + std::error::Error + Send + Sync,
{
    /// Makes the pools; connects to nothing yet. `idle_timeout` is how long the body of an answer may be silent.
    ///
    /// # Errors
    /// When an upstream without a `trust` of its own needs the system's roots and they cannot be had.
    pub fn new(upstreams: &[config::Upstream], idle_timeout: Duration) -> Result<Self, rustls::Error> {
        let all = upstreams.iter().map(Upstream::new).collect::<Result<_, _>>()?;
        Ok(Self { all, idle_timeout })
    }

    /// Sends a request to the route's upstream and returns the head of its answer; the bodies stream both ways.
    ///
    /// The request's headers are rewritten first: see `headers` for what goes and what comes. What is forwarded is
    /// `target`, the very path that was authorised. `origin` is what the upstream may be told of the caller.
    ///
    /// # Errors
    /// [`Fault`]: the upstream cannot be reached, does not answer in time or not in HTTP; or the caller's body ended badly.
    pub async fn send(
        &self,
        pass: Pass,
        route: &Route,
        target: &Target,
        origin: CallerOrigin<'_>,
        request: Request<B>,
        request_id: &HeaderValue,
    ) -> Result<Response<Download>, Fault> {
        let (mut parts, body) = request.into_parts();
        headers::for_upstream(
            &mut parts.headers,
            parts.version,
            &pass,
            route.forward,
            target,
            &origin,
            request_id,
        )?;
        headers::frame(&mut parts.headers, &body);
        let upstream = self.all.get(route.upstream).ok_or(Fault::Unreachable)?;
        parts.uri = upstream.uri(target).ok_or(Fault::Unreachable)?;
        parts.version = Version::HTTP_11;
        let mut response = upstream.exchange(Request::from_parts(parts, body)).await?;
        // RFC 9110 §15.2.2: it answers an Upgrade, and none is ever passed on. Handed to the caller, it would end the connection without
        // an answer, or be taken for a tunnel (T-PXY-08).
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Fault::Broken);
        }
        headers::for_caller(response.headers_mut(), &pass, route.forward, request_id);
        Ok(response.map(|body| Download::new(body, self.idle_timeout)))
    }
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault> + std::error::Error + Send + Sync,
{
    fn new(upstream: &config::Upstream) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(upstream.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(client_config(upstream)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self {
            servers: upstream.servers.clone(),
            next: AtomicUsize::new(0),
            client,
            response_timeout: upstream.response_timeout,
        })
    }

    /// The servers take turns.
    fn uri(&self, target: &Target) -> Option<Uri> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.servers.len().max(1);
        let server = self.servers.get(turn)?;
        let path_and_query = match &target.query {
            None => PathAndQuery::try_from(target.path.as_str()),
            Some(query) => PathAndQuery::try_from(format!("{}?{query}", target.path.as_str())),
        };
        Uri::builder()
            .scheme(server.scheme().name())
            .authority(server.authority())
            .path_and_query(path_and_query.ok()?)
            .build()
            .ok()
    }

    async fn exchange(&self, request: Request<B>) -> Result<Response<hyper::body::Incoming>, Fault> {
        let (parts, body) = request.into_parts();
        let (body, progress) = Upload::new(body);
        let answer = self.client.request(Request::from_parts(parts, body));
        tokio::pin!(answer);
        loop {
            match tokio::time::timeout(self.response_timeout, &mut answer).await {
                Ok(Ok(response)) => return Ok(response),
                // The caller's body is the usual reason why a request breaks off half-way.
                Ok(Err(error)) => return Err(progress.fault().unwrap_or_else(|| Fault::of(&error))),
                // A long upload is no silent upstream: the time starts again with each part of the body that went out.
                Err(_) if progress.moved() => {}
                Err(_) => return Err(progress.fault().unwrap_or(Fault::TimedOut)),
            }
        }
    }
}

/// TLS to an upstream: its certificate is always verified, against `trust` or the system's roots.
fn client_config(upstream: &config::Upstream) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let encrypted = upstream.servers.iter().any(|server| server.scheme() == Scheme::Https);
    let config = match &upstream.trust {
        Some(roots) => builder.with_root_certificates(Arc::clone(roots)),
        // Without an https server the roots are never used, and a machine without any can still start.
        None if !encrypted => builder.with_root_certificates(rustls::RootCertStore::empty()),
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(rustls_platform_verifier::Verifier::new(provider)?)),
    };
    Ok(config.with_no_client_auth())
}

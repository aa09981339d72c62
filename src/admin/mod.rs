//! Health, readiness and numbers, on a listener of their own that is never public (R-L-09).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::authority::Tokens;
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Metrics;
use crate::replay::memory::MemoryStore;

/// Connections at a time; a probe and a scraper need two.
const CONNECTIONS: usize = 64;
/// From the first byte to the end of a request's head, and between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the admin listener tells about.
#[derive(Debug)]
pub struct Admin {
    /// For readiness.
    pub tokens: Arc<Tokens>,
    /// For the number of live claims.
    pub replay: Arc<MemoryStore>,
    /// For the number of requests.
    pub metrics: Arc<Metrics>,
    /// For the number of lost lines.
    pub access_log: AccessLog,
    /// Readiness ends when this is cancelled.
    pub stop: CancellationToken,
}

/// Serves until `drained` is cancelled: while requests still end, a probe hears 503 and not a refused connection; after that, nobody has to
/// wait for it.
pub async fn serve(socket: TcpListener, admin: Arc<Admin>, drained: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let next = async || (Arc::clone(&slots).acquire_owned().await, socket.accept().await);
    loop {
        let (slot, stream) = tokio::select! {
            () = drained.cancelled() => return,
            next = next() => next,
        };
        // Out of file descriptors: wait a moment rather than spin.
        let Ok((stream, _)) = stream else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        tokio::spawn(async move {
            admin.connection(stream).await;
            drop(slot);
        });
    }
}

impl Admin {
    async fn connection(&self, stream: TcpStream) {
        let service =
            service_fn(
                |request: Request<Incoming>| async move { Ok::<_, Infallible>(self.answer(&request)) },
            );
        // A probe that breaks off is nobody's trouble.
        let _ = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut response =
                text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET and HEAD only\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "text/plain", "alive\n".into()),
            "/readyz" if self.stop.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "stopping\n".into())
            }
            "/readyz" if self.tokens.ready() => text(StatusCode::OK, "text/plain", "ready\n".into()),
            "/readyz" => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "waiting for the issuers' keys\n".into())
            }
            "/metrics" => text(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                self.metrics.encode(&self.numbers()),
            ),
            _ => text(StatusCode::NOT_FOUND, "text/plain", "/livez, /readyz, /metrics\n".into()),
        }
    }

    fn numbers(&self) -> [(&'static str, &'static str, u64); 2] {
        [
            ("replay_live_claims", "Proofs that are remembered", self.replay.live() as u64),
            (
                "access_log_dropped_lines",
                "Access log lines lost because the log was too slow",
                self.access_log.dropped(),
            ),
        ]
    }
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

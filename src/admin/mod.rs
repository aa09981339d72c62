//! Health, readiness, numbers, the report, reloads and the quarantine, on a listener of their own that is never public (R-L-09).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reload::{Outcome, Reloads, Trigger};
use crate::forward::Numbers;
use crate::gateway::{Current, Gateway};
use crate::observe::metrics::Kept;

mod called;
mod quarantine;
pub mod reload;
mod report;
mod store;

/// Connections at a time; a probe and a scraper need two.
const CONNECTIONS: usize = 64;
/// For a head: whoever does not ask may not keep a probe waiting for longer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// For one connection, which carries one request. A reload may wait for issuers, and for the reload before it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// What the admin listener tells about.
pub struct Admin {
    /// For readiness and for the numbers.
    pub gateway: Arc<Current>,
    /// Readiness ends when this is cancelled.
    pub stop: CancellationToken,
    /// Who reloads.
    pub reloads: Reloads,
    /// `admin.names` of the configuration in force.
    pub names: ArcSwap<Vec<String>>,
}

/// Serves until `ended` is cancelled. Connections that are there by then go on to their own end.
pub async fn serve(socket: TcpListener, admin: Arc<Admin>, ended: CancellationToken) {
    let (slots, connections) = (Arc::new(Semaphore::new(CONNECTIONS)), TaskTracker::new());
    loop {
        let taken = async { (Arc::clone(&slots).acquire_owned().await, socket.accept().await) };
        let (slot, stream) = tokio::select! {
            () = ended.cancelled() => return,
            taken = taken => taken,
        };
        // Nobody closes the semaphore.
        let Ok(slot) = slot else { return };
        // Out of file descriptors: wait a moment rather than spin.
        let Ok((stream, _)) = stream else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let admin = Arc::clone(&admin);
        connections.spawn(async move {
            admin.connection(stream).await;
            drop(slot);
        });
    }
}

impl Admin {
    async fn connection(&self, stream: TcpStream) {
        let service = service_fn(|request: Request<Incoming>| async move {
            Ok::<_, Infallible>(self.answer(request).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .keep_alive(false)
            .max_buf_size(16 * 1024)
            .serve_connection(TokioIo::new(stream), service);
        // A probe that breaks off is nobody's trouble.
        let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if !called::is_for_us(&request, &self.names.load()) {
            let why = "this Host is none of ours: call an IP address, localhost, or a name in admin.names\n";
            return text(StatusCode::FORBIDDEN, "text/plain", why.into());
        }
        let path = request.uri().path();
        let allowed = match path {
            "/reload" => "POST",
            "/quarantine" => "GET, HEAD, POST, DELETE",
            _ => "GET, HEAD",
        };
        if !allowed.split(", ").any(|method| request.method() == method) {
            let mut response =
                text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", format!("{allowed} only\n"));
            // RFC 9110 §15.5.6.
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        match path {
            // A page in a browser on this machine can reach this address; what it posts has an Origin, and an operator's tool sends none.
            "/reload" if request.headers().contains_key(ORIGIN) => {
                text(StatusCode::FORBIDDEN, "text/plain", "not for pages\n".into())
            }
            "/reload" => self.reload().await,
            "/quarantine" => quarantine::answer(request, &self.gateway.get()).await,
            "/report" => report::answer(request.uri().query(), &self.gateway.get()),
            "/livez" => text(StatusCode::OK, "text/plain", "alive\n".into()),
            "/readyz" if self.stop.is_cancelled() => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "stopping\n".into())
            }
            "/readyz" => self.readiness(),
            "/metrics" => {
                let gateway = self.gateway.get();
                text(
                    StatusCode::OK,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    gateway.metrics.encode(&numbers(&gateway)),
                )
            }
            "/jwks" => match self.gateway.get().upstreams.assertion_keys() {
                Some(keys) => text(StatusCode::OK, "application/jwk-set+json", keys.to_owned()),
                None => text(StatusCode::NOT_FOUND, "text/plain", "no assertions are signed here\n".into()),
            },
            _ => text(
                StatusCode::NOT_FOUND,
                "text/plain",
                "/livez, /readyz, /metrics, /jwks, /report, /reload, /quarantine\n".into(),
            ),
        }
    }

    /// Whether requests should come here, and how the store is that replicas share: a store that is away makes no replica unready, since it is away for all of them.
    fn readiness(&self) -> Response<Full<Bytes>> {
        let gateway = self.gateway.get();
        let (status, word) = match (gateway.is_ready(), gateway.tokens.ready()) {
            (true, _) => (StatusCode::OK, "ready"),
            (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the issuers' keys"),
            (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the replay store"),
        };
        let detail = gateway.replay.shared().map(|shared| store::detail(&shared.redis.state()));
        text(status, "text/plain; charset=utf-8", format!("{word}\n{}", detail.unwrap_or_default()))
    }

    /// Reloads, and tells what came of it.
    async fn reload(&self) -> Response<Full<Bytes>> {
        let (status, lines) = match self.reloads.ask(Trigger::Request).await {
            Some(Outcome::Applied(changes)) => (StatusCode::OK, format!("applied\n{}", changes.join("\n"))),
            Some(Outcome::Unchanged) => (StatusCode::OK, "unchanged".to_owned()),
            // The request was understood; the configuration is what is wrong.
            Some(Outcome::Refused(why)) => (StatusCode::UNPROCESSABLE_ENTITY, format!("refused\n{why}")),
            None => {
                (StatusCode::CONFLICT, "this gateway is stopping, or has no configuration file".to_owned())
            }
        };
        text(status, "text/plain; charset=utf-8", format!("{}\n", lines.trim_end()))
    }
}

/// What others count.
fn numbers(gateway: &Gateway) -> Vec<Kept<'static>> {
    let Gateway { tokens, replay, access_log, upstreams, routes, .. } = gateway;
    let issuers = || tokens.issuers();
    let (asked, failed, turned_away) = tokens.introspections();
    let (exchanges, not_exchanged, exchanges_refused) = tokens.exchanges();
    let all: Vec<Numbers> = upstreams.numbers().collect();
    let of = |name, help, count: fn(&Numbers) -> u64| {
        let values = all.iter().map(|numbers| (Arc::clone(&numbers.upstream), count(numbers)));
        Kept::by_upstream(name, help, values)
    };
    let store = replay.shared().map(|shared| store::numbers(&shared.redis.state()));
    let mut numbers = vec![
        of("upstream_endpoints", "Addresses of an upstream", |of| of.endpoints),
        of("upstream_endpoints_up", "Those that are healthy", |of| of.up),
        of("upstream_requests_in_flight", "Requests that an upstream has", |of| of.in_flight),
        of("upstream_ejections_total", "Times an address failed too often in a row", |of| of.ejections),
        of("upstream_retries_total", "Requests that were sent once more", |of| of.retries),
        Kept::one("replay_live_claims", "Proofs that are remembered", replay.memory().live() as u64),
        Kept::one(
            "routes_report_only",
            "Routes that let unbound tokens through",
            routes.report_only().count() as u64,
        ),
        Kept::one("quarantined", "Keys and clients that are shut out", {
            gateway.quarantine.list(gateway.clock.now()).len() as u64
        }),
        Kept::one(
            "rate_limited_remembered",
            "Clients, keys and addresses whose allowance is not whole",
            routes.limiters().map(|limiter| limiter.remembered() as u64).sum(),
        ),
        Kept::one("tokens_cached", "Verified tokens that are remembered", tokens.cached() as u64),
        Kept::one("introspections_total", "Questions to issuers about tokens", asked),
        Kept::one("introspection_failures_total", "Those without a usable answer", failed),
        Kept::one(
            "introspections_refused_total",
            "Those not asked: too many, or the issuer fails",
            turned_away,
        ),
        Kept::one("tokens_exchanged", "Exchanged tokens that are remembered", tokens.exchanged() as u64),
        Kept::one("exchanges_total", "Questions to issuers for another token", exchanges),
        Kept::one("exchange_failures_total", "Those without a token that can be sent on", not_exchanged),
        Kept::one(
            "exchanges_refused_total",
            "Those not asked: too many, or the issuer fails",
            exchanges_refused,
        ),
        Kept::one("key_fetches", "Fetches of issuers' keys", issuers().map(|issuer| issuer.fetches()).sum()),
        Kept::one("key_fetch_failures", "Those that failed", issuers().map(|issuer| issuer.failures()).sum()),
        Kept::one(
            "access_log_dropped_lines",
            "Lines lost because the log was too slow",
            access_log.dropped(),
        ),
    ];
    numbers.extend(store.into_iter().flatten());
    numbers
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

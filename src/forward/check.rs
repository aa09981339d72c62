//! Active health: a request of the gateway's own to each address, again and again.
//!
//! It shows what no connection does: that the application behind the server can do its work. It carries no token and nothing of a caller.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{CONNECTION, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body::Body;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::endpoint::{Connected, Endpoint, Wanted};
use super::fault::Fault;
use super::health::Change;
use super::link::Lease;
use super::upload::Upload;
use super::upstream::Upstream;
use crate::config::{Check, Host};

/// Checks every address of the upstream, until the upstream is gone.
pub(super) async fn run<B>(upstream: Weak<Upstream<B>>, rules: Check)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    let mut ticks = tokio::time::interval(rules.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let rules = Arc::new(rules);
    loop {
        ticks.tick().await;
        // All at once: one that hangs must not keep the others from being seen.
        let mut round = JoinSet::new();
        {
            let Some(upstream) = upstream.upgrade() else { return };
            for endpoint in upstream.addresses().iter() {
                round.spawn(check(Arc::clone(&upstream.name), Arc::clone(endpoint), Arc::clone(&rules)));
            }
        }
        round.join_all().await;
    }
}

async fn check<B>(upstream: Arc<str>, endpoint: Arc<Endpoint<B>>, rules: Arc<Check>)
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    let answered = tokio::time::timeout(rules.timeout, ask(&endpoint, &rules)).await;
    let status = answered.unwrap_or(None);
    let good = status.is_some_and(|status| {
        if rules.status.is_empty() { status.is_success() } else { rules.status.contains(&status) }
    });
    let address = &endpoint.place;
    let status = status.map_or(0, |status| status.as_u16());
    match endpoint.health.checked(good, &rules) {
        Some(Change::Up) => info!(%upstream, %address, status, "answers its checks and gets requests again"),
        Some(Change::Down) => {
            warn!(%upstream, %address, status, "fails its checks and gets no requests; status 0 is no answer");
        }
        None => {}
    }
}

/// The status of one answer; `None` where there was none.
async fn ask<B>(endpoint: &Endpoint<B>, rules: &Check) -> Option<StatusCode>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    let load = endpoint.health.begin();
    // A new connection, so that whether one can be made is checked as well.
    let Connected { link, .. } = endpoint.connection(Wanted::Fresh).await.ok()?;
    let _lease = Lease::new(Arc::clone(&link), load);
    let mut request = Request::new(Upload::none());
    *request.uri_mut() = Uri::from(rules.path.clone());
    let headers = request.headers_mut();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static(concat!("holdfast/", env!("CARGO_PKG_VERSION"), " check")),
    );
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    endpoint.fit(&mut request, &Host::Upstream);
    link.send(request).await.ok().map(|response| response.status())
}

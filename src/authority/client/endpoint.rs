//! Where an issuer is asked, and the connections to it.
//!
//! The address is the operator's, or what the issuer's metadata says; that is looked up with the first question, and again every `refresh`. When a
//! later look fails, what was known before holds: metadata that is broken, or names another issuer, moves nothing.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use rustls::client::ResolvesClientCert;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout};

use crate::authority::fetch::{self, FetchError, FetchUrl, Fetcher, Roots, causes};
use crate::authority::source::{Issued, Member, Unusable};
use crate::config::{ClientAuthentication, Issuer, OauthClient};

/// The largest answer that is read. Real ones have less than a KiB.
pub(super) const MOST_BYTES: usize = 64 * 1024;
/// How long a connection is kept for the next question. Servers close theirs after five seconds and more, Node.js's being the quickest.
const KEPT: Duration = Duration::from_secs(4);
/// How many are kept.
const MOST_KEPT: usize = 16;

/// One issuer's endpoint.
pub(super) struct Endpoint {
    place: Place,
    fetcher: Fetcher,
    kept: Mutex<Vec<Kept>>,
}

enum Place {
    Written(FetchUrl),
    Discovered(Box<Discovery>),
}

/// An address that the issuer's metadata says.
struct Discovery {
    issued: Issued,
    refresh: Duration,
    patience: Duration,
    member: Member,
    lookup: ArcSwap<Lookup>,
}

/// One look into the metadata, shared by everyone who waits for it.
struct Lookup {
    begun: Instant,
    found: OnceCell<FetchUrl>,
    before: Option<FetchUrl>,
}

/// A connection that has carried a question and its answer.
struct Kept {
    url: FetchUrl,
    since: Instant,
    sender: SendRequest<Full<Bytes>>,
}

/// An answer with a status that was asked for.
pub(in crate::authority) struct Answer {
    /// The status.
    pub(in crate::authority) status: StatusCode,
    /// `Content-Type`; `None` where there is none, or several.
    pub(in crate::authority) content_type: Option<HeaderValue>,
    /// All of it.
    pub(in crate::authority) body: Bytes,
}

impl Endpoint {
    /// The endpoint that `settings` are for, and metadata calls `member`.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn new(issuer: &Issuer, settings: &OauthClient, member: Member) -> Result<Self, Unusable> {
        let name = &issuer.rules.issuer;
        let address = || Unusable::Address(name.clone());
        let (place, is_https) = match &settings.url {
            Some(uri) => {
                let url = FetchUrl::new(uri.clone()).ok_or_else(address)?;
                let is_https = url.is_https();
                (Place::Written(url), is_https)
            }
            None => {
                let issued = Issued::read(name).ok_or_else(address)?;
                let is_https = issued.url().is_https();
                let lookup = ArcSwap::from_pointee(Lookup::after(None));
                // Half of what a question may take, so that what was known before can still be asked.
                let (refresh, patience) = (issuer.refresh, settings.timeout / 2);
                (
                    Place::Discovered(Box::new(Discovery { issued, refresh, patience, member, lookup })),
                    is_https,
                )
            }
        };
        let roots = match &issuer.trust {
            Some(roots) => Roots::Ca(Arc::clone(roots)),
            None if !is_https => Roots::Nobody,
            None => Roots::System,
        };
        let shown = match &settings.authentication {
            ClientAuthentication::Tls(key) => {
                let shown = SingleCertAndKey::from(CertifiedKey::clone(key));
                Some(Arc::new(shown) as Arc<dyn ResolvesClientCert>)
            }
            ClientAuthentication::Basic(_)
            | ClientAuthentication::Post(_)
            | ClientAuthentication::PrivateKeyJwt(..) => None,
        };
        let fetcher = Fetcher::new(roots, shown).map_err(|error| Unusable::Roots(name.clone(), error))?;
        Ok(Self { place, fetcher, kept: Mutex::default() })
    }

    /// The address to ask at now.
    pub(super) async fn url(&self) -> Result<FetchUrl, FetchError> {
        match &self.place {
            Place::Written(url) => Ok(url.clone()),
            Place::Discovered(discovery) => discovery.url(&self.fetcher).await,
        }
    }

    /// Asks, and reads an answer of one of `statuses`. `question` is made anew where it is sent a second time, which is when a connection that was kept turns
    /// out to be closed: an issuer that is asked twice has answered twice, and nothing else has changed.
    pub(super) async fn ask(
        &self,
        url: &FetchUrl,
        question: impl Fn() -> Request<Full<Bytes>>,
        statuses: &[StatusCode],
    ) -> Result<Answer, FetchError> {
        if let Some(mut sender) = self.kept_for(url)
            && sender.ready().await.is_ok()
            && let Ok(response) = sender.send_request(question()).await
        {
            return self.read(url, sender, response, statuses).await;
        }
        let mut sender = self.fetcher.connect(url).await?;
        let response = sender.send_request(question()).await;
        let response = response.map_err(|error| FetchError::Broken(causes(&error)))?;
        self.read(url, sender, response, statuses).await
    }

    async fn read(
        &self,
        url: &FetchUrl,
        sender: SendRequest<Full<Bytes>>,
        response: Response<Incoming>,
        statuses: &[StatusCode],
    ) -> Result<Answer, FetchError> {
        // R-I-02: these and nothing else. A redirect would take our credentials to wherever it says.
        let status = response.status();
        if !statuses.contains(&status) {
            return Err(FetchError::Status(status));
        }
        let mut types = response.headers().get_all(CONTENT_TYPE).iter();
        let content_type = types.next().filter(|_| types.next().is_none()).cloned();
        let body = fetch::read(response.into_body(), MOST_BYTES).await?;
        self.keep(url, sender);
        Ok(Answer { status, content_type, body })
    }

    fn kept_for(&self, url: &FetchUrl) -> Option<SendRequest<Full<Bytes>>> {
        // A panic leaves the list whole.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|one| one.since.elapsed() < KEPT && !one.sender.is_closed());
        let at = kept.iter().rposition(|one| one.url == *url)?;
        Some(kept.swap_remove(at).sender)
    }

    fn keep(&self, url: &FetchUrl, sender: SendRequest<Full<Bytes>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MOST_KEPT {
            kept.push(Kept { url: url.clone(), since: Instant::now(), sender });
        }
    }
}

impl Discovery {
    async fn url(&self, fetcher: &Fetcher) -> Result<FetchUrl, FetchError> {
        let Self { issued, refresh, patience, member, lookup } = self;
        let mut latest = lookup.load_full();
        if let Some(before) = latest.found.get().filter(|_| latest.begun.elapsed() > *refresh) {
            lookup.store(Arc::new(Lookup::after(Some(before.clone()))));
            latest = lookup.load_full();
        }
        let look = async || {
            let looked = timeout(*patience, issued.discover(*member, fetcher)).await;
            let found = looked.unwrap_or(Err(FetchError::TooSlow(*patience)));
            match (found, &latest.before) {
                (Err(error), Some(before)) => {
                    let member = member.name();
                    tracing::warn!(reason = %error, member, "an endpoint could not be looked up again; it stays what it was");
                    Ok(before.clone())
                }
                (found, _) => found,
            }
        };
        latest.found.get_or_try_init(look).await.cloned()
    }
}

impl Lookup {
    fn after(before: Option<FetchUrl>) -> Self {
        Self { begun: Instant::now(), found: OnceCell::new(), before }
    }
}

//! The gateway as a client of one of an issuer's endpoints (RFC 6749 §2): who it says it is, and how much it asks.
//!
//! What every question has in common is here, whatever it is about: `admission` says whether it may be asked, `flight` that one is asked for all who want the
//! same answer, `question` shows who asks, and `endpoint` has the address and the connections. What an answer means is its asker's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};
use thiserror::Error;
use tokio::time::timeout;
use tracing::warn;

use super::fetch::FetchError;
use super::source::{Member, Unusable};
use crate::config::{Issuer, OauthClient};
use crate::seldom::Seldom;
use crate::verify::time::UnixTime;
pub(super) use admission::TurnedAway;
use admission::{Admission, Admitted};
pub(super) use endpoint::Answer;
use endpoint::Endpoint;
use question::Asker;
pub(super) use question::Form;

mod admission;
mod endpoint;
pub(super) mod flight;
mod question;

/// The type of a plain answer.
pub(super) const JSON: &str = "application/json";

/// A client of one endpoint.
pub(super) struct Client {
    issuer: String,
    limit: Duration,
    asker: Asker,
    endpoint: Endpoint,
    admission: Arc<Admission>,
    failed: Seldom,
    asked: AtomicU64,
    failures: AtomicU64,
    turned_away: AtomicU64,
}

/// Leave to ask one question.
pub(super) struct Leave(Admitted);

/// Why a question has no answer at all. The sentence is for the operator's log.
#[derive(Debug, Error)]
pub(super) enum Unanswered {
    /// Where to ask could not be had from the metadata.
    #[error("the endpoint could not be looked up: {0}")]
    Lookup(FetchError),
    /// The endpoint itself.
    #[error("the endpoint {0}")]
    Fetch(FetchError),
}

impl Unanswered {
    /// What went wrong.
    pub(super) const fn cause(&self) -> &FetchError {
        match self {
            Unanswered::Lookup(error) | Unanswered::Fetch(error) => error,
        }
    }

    /// See [`NoAnswer::is_about_the_question`]. A look into the metadata is the same for every question.
    pub(super) fn is_about_the_question(&self) -> bool {
        let statuses =
            [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
        matches!(self, Unanswered::Fetch(FetchError::Status(status)) if statuses.contains(status))
    }
}

/// Why there is no answer that can be used. The sentence is for the operator's log and holds nothing a caller sent.
pub(super) trait NoAnswer: From<Unanswered> + std::fmt::Display {
    /// Whether it may be for what was asked about that there is none: then it is no sign that the endpoint is unwell, or whoever asks for the right
    /// things could have it left alone for everyone.
    fn is_about_the_question(&self) -> bool;

    /// What the operator is told: what could not be done.
    const UNDONE: &'static str;
}

impl Client {
    /// The client that `settings` say, at the endpoint that metadata calls `member`.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn new(issuer: &Issuer, settings: &OauthClient, member: Member) -> Result<Self, Unusable> {
        Ok(Self {
            issuer: issuer.rules.issuer.clone(),
            limit: settings.timeout,
            asker: Asker::new(&issuer.rules.issuer, settings),
            endpoint: Endpoint::new(issuer, settings, member)?,
            admission: Arc::new(Admission::new(settings.calls, settings.rate)),
            failed: Seldom::new(),
            asked: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
        })
    }

    /// Leave to ask now.
    ///
    /// # Errors
    /// [`TurnedAway`].
    pub(super) fn leave(&self) -> Result<Leave, TurnedAway> {
        self.admission.admit(tokio::time::Instant::now()).map(Leave).inspect_err(|_| {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Waits for what `asking` makes of an answer, no longer than the settings allow, and counts it. Who asked badly is told once a second at most.
    ///
    /// # Errors
    /// That of `asking`, or that it took too long.
    pub(super) async fn ask<T, E: NoAnswer>(
        &self,
        Leave(admitted): Leave,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let outcome = timeout(self.limit, asking).await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(Unanswered::Fetch(FetchError::TooSlow(self.limit)).into()));
        match &outcome {
            Ok(_) => admitted.went_well(),
            Err(error) => {
                if error.is_about_the_question() {
                    admitted.went_well();
                }
                self.failures.fetch_add(1, Ordering::Relaxed);
                if let Some(unsaid) = self.failed.due(Instant::now()) {
                    warn!(issuer = self.issuer, reason = %error, unsaid, "{}", E::UNDONE);
                }
            }
        }
        outcome
    }

    /// Sends one question, for an answer of the type `accept`, and reads the answer if it has one of these statuses.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub(super) async fn send(
        &self,
        form: Form,
        accept: &'static str,
        statuses: &[StatusCode],
        now: UnixTime,
    ) -> Result<Answer, Unanswered> {
        let url = self.endpoint.url().await.map_err(Unanswered::Lookup)?;
        let question = self.asker.question(form, &url, now).ok_or(Unanswered::Fetch(FetchError::Unsigned))?;
        let request = || question.request(&url, accept);
        self.endpoint.ask(&url, request, statuses).await.map_err(Unanswered::Fetch)
    }

    /// Questions asked, those without a usable answer, and those not asked, since there were too many or the endpoint was left alone.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.asked), read(&self.failures), read(&self.turned_away))
    }
}

/// Whether a `Content-Type` is `wanted`, whatever parameters it has (RFC 9110 §8.3.1).
pub(super) fn is_type(found: Option<&HeaderValue>, wanted: &str) -> bool {
    let found = found.and_then(|found| found.to_str().ok()).unwrap_or_default();
    let essence = found.split_once(';').map_or(found, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case(wanted)
}

//! What an issuer says of a token that only it can read (RFC 7662).
//!
//! [`Introspector::ask`] is one question and its answer. Whether it is asked is `admission`'s to say and comes first; that a token is asked about once and not
//! by everybody at a time is `flight`'s. An answer that cannot be had or not be used refuses the request and not the token: 503, since a client would
//! throw a good token away for a 401 (R-I-05). What the answer says is judged by `verify::token`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use http::{HeaderValue, StatusCode};
use quick_cache::sync::Cache;
use thiserror::Error;
use tokio::time::timeout;
use tracing::warn;

use super::fetch::FetchError;
use super::issuer::IssuerKeys;
use super::source::Unusable;
use crate::config::{AnswerForm, Introspection, Issuer};
use crate::seldom::Seldom;
use crate::verify::digest::{AccessToken, Digest};
use crate::verify::json::Object;
use crate::verify::jwe::Sealed;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::time::UnixTime;
use crate::verify::token::answer::{self, AnswerFault, AnswerRules};
use crate::verify::token::{TokenRules, VerifiedToken};
use admission::{Admission, Admitted};
use endpoint::Endpoint;
use question::Asker;

mod admission;
mod endpoint;
pub(super) mod flight;
mod question;

/// How many refused tokens are remembered: about a megabyte. They have a cache of their own, or invented tokens would push good ones out.
const REFUSED_TOKENS: usize = 8192;
/// The type of a plain answer.
const JSON: &str = "application/json";
/// The type of a signed one (RFC 9701 §4).
const JWT: &str = "application/token-introspection+jwt";

/// One issuer that is asked about tokens.
pub(super) struct Introspector {
    rules: TokenRules,
    settings: Introspection,
    keys: Arc<IssuerKeys>,
    asker: Asker,
    endpoint: Endpoint,
    admission: Arc<Admission>,
    refused: Cache<Digest<AccessToken>, (Rejection, UnixTime)>,
    failed: Seldom,
    asked: AtomicU64,
    failures: AtomicU64,
    turned_away: AtomicU64,
}

/// A token that its issuer calls active, and how long that holds.
#[derive(Clone, Debug)]
pub(super) struct Active {
    /// The token.
    pub(super) token: VerifiedToken,
    /// From when on it has to be asked about again.
    pub(super) until: UnixTime,
}

/// Leave to ask about one token.
pub(super) struct Leave(Admitted);

/// Why there is no answer. The sentence is for the operator's log and holds nothing a caller sent.
#[derive(Debug, Error)]
enum NoAnswer {
    #[error("the endpoint {0}")]
    Fetch(#[from] FetchError),
    #[error("the endpoint could not be looked up: {0}")]
    Lookup(FetchError),
    #[error("the answer is not {0}")]
    Type(&'static str),
    #[error("the answer is not encrypted to a key of this gateway's, in a way it takes")]
    Sealed,
    #[error("{0}")]
    Signed(#[from] AnswerFault),
    #[error("the answer is no JSON object, each member once")]
    Json,
    #[error("the question could not be signed")]
    Unsigned,
}

impl NoAnswer {
    /// What the caller hears.
    const fn rejection(&self) -> Rejection {
        match self {
            NoAnswer::Fetch(error) | NoAnswer::Lookup(error) => match error {
                FetchError::Unreachable(_) | FetchError::Broken(_) | FetchError::File(_) => {
                    Rejection::IntrospectionUnreachable
                }
                FetchError::Status(_) => Rejection::IntrospectionRefused,
                FetchError::TooLarge(_) => Rejection::IntrospectionTooLarge,
                FetchError::TooSlow(_) => Rejection::IntrospectionTooSlow,
                FetchError::Metadata(_) | FetchError::Keys(_) => Rejection::IntrospectionMalformed,
            },
            NoAnswer::Type(_) | NoAnswer::Json | NoAnswer::Signed(AnswerFault::Malformed) => {
                Rejection::IntrospectionMalformed
            }
            NoAnswer::Sealed | NoAnswer::Signed(_) => Rejection::IntrospectionUntrusted,
            NoAnswer::Unsigned => Rejection::IntrospectionUnreachable,
        }
    }

    /// Whether it may be for the token that there is none: then it is no sign that the endpoint is unwell, or whoever invents the right tokens could
    /// have it left alone for everyone.
    fn is_about_the_token(&self) -> bool {
        let statuses =
            [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
        matches!(self, NoAnswer::Fetch(FetchError::Status(status)) if statuses.contains(status))
    }
}

impl Introspector {
    /// The issuer's, where it is to be asked at all.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn new(issuer: &Issuer, keys: &Arc<IssuerKeys>) -> Result<Option<Self>, Unusable> {
        let Some(settings) = &issuer.introspection else { return Ok(None) };
        Ok(Some(Self {
            asker: Asker::new(&issuer.rules.issuer, settings),
            endpoint: Endpoint::new(issuer, settings)?,
            admission: Arc::new(Admission::new(settings.calls, settings.rate)),
            refused: Cache::new(REFUSED_TOKENS),
            failed: Seldom::new(),
            asked: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            rules: issuer.rules.clone(),
            settings: settings.clone(),
            keys: Arc::clone(keys),
        }))
    }

    /// The refusal of a token that was asked about a moment ago.
    pub(super) fn refused_lately(&self, digest: Digest<AccessToken>, now: UnixTime) -> Option<Rejection> {
        self.refused.get(&digest).filter(|(_, until)| now < *until).map(|(rejection, _)| rejection)
    }

    /// Leave to ask now.
    ///
    /// # Errors
    /// [`Rejection::IntrospectionBusy`] or [`Rejection::IntrospectionPaused`].
    pub(super) fn leave(&self) -> Result<Leave, Rejection> {
        self.admission.admit(tokio::time::Instant::now()).map(Leave).inspect_err(|_| {
            self.turned_away.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Asks about a token.
    ///
    /// # Errors
    /// The token's rejection, which is remembered for a moment; or why there is no answer.
    pub(super) async fn ask(
        &self,
        Leave(admitted): Leave,
        token: &str,
        digest: Digest<AccessToken>,
        now: UnixTime,
    ) -> Result<Active, Rejection> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let limit = self.settings.timeout;
        let answer = timeout(limit, self.answer(token, now)).await;
        let judged = match answer.unwrap_or(Err(FetchError::TooSlow(limit).into())) {
            Ok(judged) => {
                admitted.went_well();
                judged
            }
            Err(error) => {
                if error.is_about_the_token() {
                    admitted.went_well();
                }
                self.tell(&error);
                return Err(error.rejection());
            }
        };
        match judged {
            Ok(token) => {
                // R-I-04: never past `exp`, leeway or not: from there on it is the issuer's to say whether it is active still.
                let until = now.plus(self.settings.cache).min(token.expires());
                Ok(Active { token, until })
            }
            Err(rejection) => {
                self.remember(digest, rejection, now);
                Err(rejection)
            }
        }
    }

    /// The issuer's answer, judged.
    async fn answer(&self, token: &str, now: UnixTime) -> Result<Result<VerifiedToken, Rejection>, NoAnswer> {
        let url = self.endpoint.url().await.map_err(NoAnswer::Lookup)?;
        let question = self.asker.question(token, &url, now).ok_or(NoAnswer::Unsigned)?;
        // R-I-07: the one form that is set. Who asked for a signature and takes an answer without one has asked for nothing.
        let form = match self.settings.answer {
            AnswerForm::Json => JSON,
            AnswerForm::Jwt | AnswerForm::EncryptedJwt => JWT,
        };
        let answer = self.endpoint.ask(&url, || question.request(&url, form)).await?;
        if !answer.content_type.as_ref().is_some_and(|found| is_type(found, form)) {
            return Err(NoAnswer::Type(form));
        }
        match self.settings.answer {
            AnswerForm::Json => {
                let object = Object::read(&answer.body).ok_or(NoAnswer::Json)?;
                Ok(VerifiedToken::introspected(&object, &self.rules, now))
            }
            AnswerForm::Jwt => self.open(text(&answer.body)?, now).await,
            AnswerForm::EncryptedJwt => {
                let sealed = Sealed::read(text(&answer.body)?).ok_or(NoAnswer::Sealed)?;
                let keys = self.keys.encryption().map_or(&[][..], |encryption| &encryption.keys);
                let key = keys.iter().find(|key| sealed.fits(key)).ok_or(NoAnswer::Sealed)?;
                let opened = sealed.open(key).ok_or(NoAnswer::Sealed)?;
                self.open(opened.text(), now).await
            }
        }
    }

    /// A signed answer, judged.
    async fn open(&self, answer: &str, now: UnixTime) -> Result<Result<VerifiedToken, Rejection>, NoAnswer> {
        let rules = AnswerRules {
            issuer: &self.rules.issuer,
            client_id: &self.settings.client_id,
            audiences: &self.rules.audiences,
            algorithms: &self.rules.algorithms,
            leeway: self.rules.leeway,
        };
        let judge = |said: &Object<'_>| VerifiedToken::introspected(said, &self.rules, now);
        Ok(self.keys.open(|keys| answer::open(answer, rules, keys, now, judge)).await?)
    }

    fn remember(&self, digest: Digest<AccessToken>, rejection: Rejection, now: UnixTime) {
        if rejection.code() == Code::InvalidToken && self.settings.cache_inactive > 0 {
            self.refused.insert(digest, (rejection, now.plus(self.settings.cache_inactive)));
        }
    }

    /// Tells the operator, once a second at most.
    fn tell(&self, error: &NoAnswer) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        if let Some(unsaid) = self.failed.due(Instant::now()) {
            warn!(issuer = self.rules.issuer, reason = %error, unsaid, "a token could not be introspected");
        }
    }

    /// Questions asked.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Of them, those without a usable answer.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Questions not asked, since there were too many or the endpoint was left alone.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspector({})", self.rules.issuer)
    }
}

/// A JWT as text, without the line that some servers end it with.
fn text(body: &[u8]) -> Result<&str, NoAnswer> {
    std::str::from_utf8(body).map(str::trim_ascii_end).map_err(|_| AnswerFault::Malformed.into())
}

/// Whether a `Content-Type` is `wanted`, whatever parameters it has (RFC 9110 §8.3.1).
fn is_type(found: &HeaderValue, wanted: &str) -> bool {
    let found = found.to_str().unwrap_or_default();
    let essence = found.split_once(';').map_or(found, |(essence, _)| essence);
    essence.trim().eq_ignore_ascii_case(wanted)
}

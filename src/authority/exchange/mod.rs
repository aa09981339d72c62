//! The caller's token, exchanged at its issuer for one that is made for the upstream (RFC 8693).
//!
//! [`Exchanger::ask`] is one exchange. It comes behind the permit: a replay, or a token that nobody has shown the key of, costs the issuer nothing. The
//! proof is spent by then, as it is where the upstream itself cannot be reached.
//!
//! What cannot be had or not be used refuses the request and not the token: 503, since a client would throw a good token away for a 401. The issuer's own
//! refusal is told apart by its word: see [`Denial`]. A new token is kept no longer than the caller's is good, than the issuer says, or than the operator
//! allows.

use std::fmt;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use thiserror::Error;

use super::client::{self, Client, Form, JSON, Leave, TurnedAway, Unanswered, is_type};
use super::fetch::FetchError;
use super::source::{Member, Unusable};
use crate::config::{Exchange, ExchangeTarget, Issuer};
use crate::verify::digest::{AccessToken, Digest};
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;
use answer::{Denial, Issued, Unfit};

mod answer;

/// How many refused exchanges are remembered.
const REFUSED: usize = 4096;
/// What one entry takes beside its tokens: the key, the entry, and the cache's own table.
const ENTRY_BYTES: u64 = 256;
/// Entries the table has room for at first. It grows with use.
const FIRST_ENTRIES: usize = 16;
/// Seconds before its end from which on a new token is not sent on any more: it has to reach the upstream, whose clock may be ahead.
const MARGIN: i64 = 5;

/// `grant_type` (RFC 8693 §2.1).
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// What is given, and what is wanted (RFC 8693 §3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// One issuer that exchanges tokens.
pub(super) struct Exchanger {
    settings: Exchange,
    client: Client,
    refused: Cache<ExchangeKey, (Rejection, UnixTime)>,
}

/// What an exchange is for: this token of this issuer, and what the new one is to be for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ExchangeKey {
    /// The whole token.
    pub(super) digest: Digest<AccessToken>,
    /// Which of the issuers.
    pub(super) issuer: usize,
    /// What for.
    pub(super) target: Arc<ExchangeTarget>,
}

/// A token that the issuer has made for an upstream, ready to be sent. It prints as `Exchanged(…)`.
#[derive(Clone)]
pub struct Exchanged {
    authorization: HeaderValue,
    until: UnixTime,
}

impl Exchanged {
    /// `Bearer` and the token, for `Authorization` and nothing else.
    pub const fn authorization(&self) -> &HeaderValue {
        &self.authorization
    }
}

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchanged(…)")
    }
}

/// The new tokens, bounded in memory. Losing an entry costs one exchange and nothing else.
pub(super) struct ExchangeCache(Cache<ExchangeKey, Exchanged, ByMemory>);

#[derive(Clone)]
struct ByMemory;

impl Weighter<ExchangeKey, Exchanged> for ByMemory {
    fn weight(&self, _: &ExchangeKey, exchanged: &Exchanged) -> u64 {
        ENTRY_BYTES + exchanged.authorization.len() as u64
    }
}

impl ExchangeCache {
    /// A cache of about `bytes` of memory.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Cache::with_weighter(FIRST_ENTRIES, bytes, ByMemory))
    }

    /// The token, while it holds.
    pub(super) fn get(&self, key: &ExchangeKey, now: UnixTime) -> Option<Exchanged> {
        self.0.get(key).filter(|exchanged| now < exchanged.until)
    }

    /// Remembers a token, at the cost of ones that are used less.
    pub(super) fn put(&self, key: ExchangeKey, exchanged: &Exchanged, now: UnixTime) {
        if now < exchanged.until {
            self.0.insert(key, exchanged.clone());
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for ExchangeCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeCache({} tokens)", self.len())
    }
}

/// A caller's token as it is exchanged: verified, and shown by its holder.
pub(super) struct Subject {
    /// Its characters.
    pub(super) token: Box<str>,
    /// `exp`, leeway or not: its issuer would not take it after that.
    pub(super) expires: UnixTime,
    /// The longest token that is taken for it.
    pub(super) most_bytes: usize,
}

/// Why there is no new token. The sentence is for the operator's log and holds nothing a caller sent.
#[derive(Debug, Error)]
enum NoToken {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("the answer is not {JSON}")]
    Type,
    #[error("the answer {0}")]
    Unfit(#[from] Unfit),
    #[error("the issuer says {0}")]
    Denied(#[from] Denial),
}

impl NoToken {
    /// What the caller hears.
    const fn rejection(&self) -> Rejection {
        match self {
            NoToken::Unanswered(unanswered) => match unanswered.cause() {
                FetchError::Unreachable(_)
                | FetchError::Unsigned
                | FetchError::Broken(_)
                | FetchError::File(_) => Rejection::ExchangeUnreachable,
                FetchError::Status(_) => Rejection::ExchangeRefused,
                FetchError::TooLarge(_) => Rejection::ExchangeTooLarge,
                FetchError::TooSlow(_) => Rejection::ExchangeTooSlow,
                FetchError::Metadata(_) | FetchError::Keys(_) => Rejection::ExchangeMalformed,
            },
            NoToken::Type | NoToken::Unfit(Unfit::Json | Unfit::Member(_)) => Rejection::ExchangeMalformed,
            NoToken::Unfit(_) => Rejection::ExchangeUnusable,
            NoToken::Denied(denial) => denial.rejection(),
        }
    }
}

impl client::NoAnswer for NoToken {
    const UNDONE: &'static str = "a token could not be exchanged";

    fn is_about_the_question(&self) -> bool {
        match self {
            NoToken::Unanswered(unanswered) => unanswered.is_about_the_question(),
            NoToken::Denied(denial) => denial.is_about_the_token(),
            // A page in the place of an answer is nobody's token; what is wrong with a token that was issued may well be the doing of the one it was issued for.
            NoToken::Type | NoToken::Unfit(Unfit::Json | Unfit::Member(_)) => false,
            NoToken::Unfit(_) => true,
        }
    }
}

impl Exchanger {
    /// The issuer's, where it exchanges tokens at all.
    ///
    /// # Errors
    /// [`Unusable`].
    pub(super) fn new(issuer: &Issuer) -> Result<Option<Self>, Unusable> {
        let Some(settings) = &issuer.exchange else { return Ok(None) };
        Ok(Some(Self {
            client: Client::new(issuer, &settings.client, Member::Token)?,
            refused: Cache::new(REFUSED),
            settings: settings.clone(),
        }))
    }

    /// The issuer's refusal of a moment ago.
    pub(super) fn refused_lately(&self, key: &ExchangeKey, now: UnixTime) -> Option<Rejection> {
        self.refused.get(key).filter(|(_, until)| now < *until).map(|(rejection, _)| rejection)
    }

    /// Leave to ask now.
    ///
    /// # Errors
    /// [`Rejection::ExchangeBusy`] or [`Rejection::ExchangePaused`].
    pub(super) fn leave(&self) -> Result<Leave, Rejection> {
        self.client.leave().map_err(|turned_away| match turned_away {
            TurnedAway::Busy => Rejection::ExchangeBusy,
            TurnedAway::Paused => Rejection::ExchangePaused,
        })
    }

    /// Exchanges a token.
    ///
    /// # Errors
    /// The issuer's refusal, which is remembered for a moment; or why there is no token that can be sent on.
    pub(super) async fn ask(
        &self,
        leave: Leave,
        subject: &Subject,
        key: &ExchangeKey,
        now: UnixTime,
    ) -> Result<Exchanged, Rejection> {
        match self.client.ask(leave, self.answer(subject, &key.target, now)).await {
            Ok(Issued { authorization, lifetime }) => {
                let stated = lifetime.map_or(subject.expires, |lifetime| now.plus(lifetime - MARGIN));
                let until = now.plus(self.settings.cache).min(subject.expires).min(stated);
                Ok(Exchanged { authorization, until })
            }
            Err(error) => {
                let rejection = error.rejection();
                if matches!(&error, NoToken::Denied(denial) if denial.is_about_the_token()) {
                    self.refused.insert(key.clone(), (rejection, now.plus(self.settings.cache_refused)));
                }
                Err(rejection)
            }
        }
    }

    /// The issuer's answer, judged.
    async fn answer(
        &self,
        subject: &Subject,
        target: &ExchangeTarget,
        now: UnixTime,
    ) -> Result<Issued, NoToken> {
        // RFC 8693 §2.1. No actor_token: the new token is the caller's still, and says nothing of the gateway but what the issuer writes of its client.
        let mut question = Form::default();
        question.add("grant_type", TOKEN_EXCHANGE);
        let wanted =
            [("resource", &target.resource), ("audience", &target.audience), ("scope", &target.scope)];
        for (name, value) in wanted {
            if let Some(value) = value {
                question.add(name, value);
            }
        }
        question.add("requested_token_type", ACCESS_TOKEN);
        question.add("subject_token", &subject.token);
        question.add("subject_token_type", ACCESS_TOKEN);
        // RFC 6749 §5.2 has 400 for refusals; servers that refuse one token and not the gateway say `access_denied` with 403.
        let statuses = [StatusCode::OK, StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN];
        let answer = self.client.send(question, JSON, &statuses, now).await?;
        if answer.status != StatusCode::OK {
            // RFC 8693 §2.2.2; without a word of its own it is as good as any other status.
            let other = || Unanswered::Fetch(FetchError::Status(answer.status)).into();
            return Err(Denial::read(&answer).map_or_else(other, NoToken::Denied));
        }
        if !is_type(answer.content_type.as_ref(), JSON) {
            return Err(NoToken::Type);
        }
        Ok(Issued::read(&answer.body, subject)?)
    }

    /// What was asked, without a usable answer, and not asked: see [`Client::counts`].
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        self.client.counts()
    }
}

impl fmt::Debug for Exchanger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchanger")
    }
}

//! What an issuer says of a token that only it can read (RFC 7662).
//!
//! [`Introspector::ask`] is one question and its answer. Whether it is asked, and once and not by everybody at a time, is `client`'s. An answer that cannot be had or not be used refuses the request and not the token: 503, since a client would
//! throw a good token away for a 401 (R-I-05). What the answer says is judged by `verify::token`.

use std::fmt;
use std::sync::Arc;

use http::StatusCode;
use quick_cache::sync::Cache;
use thiserror::Error;

use super::client::{self, Client, Form, JSON, Leave, TurnedAway, Unanswered, is_type};
use super::fetch::FetchError;
use super::issuer::IssuerKeys;
use super::source::{Member, Unusable};
use crate::config::{AnswerForm, Introspection, Issuer};
use crate::verify::digest::{AccessToken, Digest};
use crate::verify::json::Object;
use crate::verify::jwe::Sealed;
use crate::verify::rejection::{Code, Rejection};
use crate::verify::time::UnixTime;
use crate::verify::token::answer::{self, AnswerFault, AnswerRules};
use crate::verify::token::{TokenRules, VerifiedToken};

/// How many refused tokens are remembered: about a megabyte. They have a cache of their own, or invented tokens would push good ones out.
const REFUSED_TOKENS: usize = 8192;
/// The type of a signed one (RFC 9701 §4).
const JWT: &str = "application/token-introspection+jwt";

/// One issuer that is asked about tokens.
pub(super) struct Introspector {
    rules: TokenRules,
    settings: Introspection,
    keys: Arc<IssuerKeys>,
    client: Client,
    refused: Cache<Digest<AccessToken>, (Rejection, UnixTime)>,
}

/// A token that its issuer calls active, and how long that holds.
#[derive(Clone, Debug)]
pub(super) struct Active {
    /// The token.
    pub(super) token: VerifiedToken,
    /// From when on it has to be asked about again.
    pub(super) until: UnixTime,
}

/// Why there is no answer. The sentence is for the operator's log and holds nothing a caller sent.
#[derive(Debug, Error)]
enum NoAnswer {
    #[error(transparent)]
    Unanswered(#[from] Unanswered),
    #[error("the answer is not {0}")]
    Type(&'static str),
    #[error("the answer is not encrypted to a key of this gateway's, in a way it takes")]
    Sealed,
    #[error("{0}")]
    Signed(#[from] AnswerFault),
    #[error("the answer is no JSON object, each member once")]
    Json,
}

impl NoAnswer {
    /// What the caller hears.
    const fn rejection(&self) -> Rejection {
        match self {
            NoAnswer::Unanswered(unanswered) => match unanswered.cause() {
                FetchError::Unreachable(_)
                | FetchError::Unsigned
                | FetchError::Broken(_)
                | FetchError::File(_) => Rejection::IntrospectionUnreachable,
                FetchError::Status(_) => Rejection::IntrospectionRefused,
                FetchError::TooLarge(_) => Rejection::IntrospectionTooLarge,
                FetchError::TooSlow(_) => Rejection::IntrospectionTooSlow,
                FetchError::Metadata(_) | FetchError::Keys(_) => Rejection::IntrospectionMalformed,
            },
            NoAnswer::Type(_) | NoAnswer::Json | NoAnswer::Signed(AnswerFault::Malformed) => {
                Rejection::IntrospectionMalformed
            }
            NoAnswer::Sealed | NoAnswer::Signed(_) => Rejection::IntrospectionUntrusted,
        }
    }
}

impl client::NoAnswer for NoAnswer {
    const UNDONE: &'static str = "a token could not be introspected";

    fn is_about_the_question(&self) -> bool {
        matches!(self, NoAnswer::Unanswered(unanswered) if unanswered.is_about_the_question())
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
            client: Client::new(issuer, &settings.client, Member::Introspection)?,
            refused: Cache::new(REFUSED_TOKENS),
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
        self.client.leave().map_err(|turned_away| match turned_away {
            TurnedAway::Busy => Rejection::IntrospectionBusy,
            TurnedAway::Paused => Rejection::IntrospectionPaused,
        })
    }

    /// Asks about a token.
    ///
    /// # Errors
    /// The token's rejection, which is remembered for a moment; or why there is no answer.
    pub(super) async fn ask(
        &self,
        leave: Leave,
        token: &str,
        digest: Digest<AccessToken>,
        now: UnixTime,
    ) -> Result<Active, Rejection> {
        let judged = self.client.ask(leave, self.answer(token, now)).await;
        match judged.map_err(|error| error.rejection())? {
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
        // RFC 7662 §2.1
        let mut question = Form::default();
        question.add("token", token);
        question.add("token_type_hint", "access_token");
        // R-I-07: the one form that is set. Who asked for a signature and takes an answer without one has asked for nothing.
        let form = match self.settings.answer {
            AnswerForm::Json => JSON,
            AnswerForm::Jwt | AnswerForm::EncryptedJwt => JWT,
        };
        let answer = self.client.send(question, form, &[StatusCode::OK], now).await?;
        if !is_type(answer.content_type.as_ref(), form) {
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
            client_id: &self.settings.client.client_id,
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

    /// What was asked, without a usable answer, and not asked: see [`Client::counts`].
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        self.client.counts()
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

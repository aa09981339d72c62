//! Plays the scenes against a running gateway and judges each: the answer, the reason, and what the upstream saw.

use http::header::AUTHORIZATION;
use http::{HeaderName, Method};
use thiserror::Error;

use super::caller::{Answer, CallError, Caller};
use super::scenes::{Outcome, Presented, Scene, Shown, Token};
use super::surroundings::{DemoError, Surroundings};
use super::upstream::Seen;
use crate::caller::key::DpopKey;
use crate::caller::proof::{NotAUrl, ProofRequest};
use crate::verify::confirmation::Confirmation;
use crate::verify::credential::DPOP;
use crate::verify::rejection::Rejection;

/// The header that brings a nonce (RFC 9449 §8.1).
const DPOP_NONCE: &str = "dpop-nonce";

/// Why a scene ended otherwise than it has to, or not at all.
#[derive(Debug, Error)]
pub enum Surprise {
    /// The request could not be made.
    #[error(transparent)]
    Prepare(#[from] DemoError),
    /// No proof can be made for the URL.
    #[error(transparent)]
    Url(#[from] NotAUrl),
    /// There was no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// No earlier scene left what this one needs.
    #[error("no earlier scene left {0}")]
    Missing(&'static str),
    /// The answer is another.
    #[error("expected {expected}, got {got}")]
    Answer {
        /// What had to come
        expected: String,
        /// What came
        got: String,
    },
    /// The upstream saw what it must not see, or not what it must.
    #[error("the upstream {0}")]
    Upstream(String),
}

/// The stage: the callers, the tokens, and what one scene leaves to the next.
#[derive(Debug)]
pub struct Stage<'s> {
    around: &'s Surroundings,
    plain: Caller,
    own: Caller,
    another: Caller,
    unbound: String,
    key_bound: String,
    certificate_bound: String,
    captured: Option<String>,
    nonce: Option<String>,
}

impl<'s> Stage<'s> {
    /// Sets it: a caller for each certificate, one token of each kind.
    ///
    /// # Errors
    /// [`DemoError`].
    pub fn new(around: &'s Surroundings) -> Result<Self, DemoError> {
        Ok(Self {
            around,
            plain: around.caller(None)?,
            own: around.caller(Some(&around.client))?,
            another: around.caller(Some(&around.other_client))?,
            unbound: around.token(Confirmation::Unbound)?,
            key_bound: around.token(Confirmation::Key(around.key.thumbprint()))?,
            certificate_bound: around.token(Confirmation::Certificate(around.client.thumbprint()))?,
            captured: None,
            nonce: None,
        })
    }

    /// Plays one scene. What came of it, in a line, when it ended as it has to.
    ///
    /// # Errors
    /// [`Surprise`].
    pub async fn play(&mut self, scene: &Scene) -> Result<String, Surprise> {
        let url = format!("{}{}", self.around.api(), scene.path);
        let token = match scene.token {
            Token::Unbound => &self.unbound,
            Token::Key => &self.key_bound,
            Token::Certificate => &self.certificate_bound,
        };
        let proof = self.proof(scene.presented, &url, token)?;
        let headers: Vec<(HeaderName, String)> = match &proof {
            None => vec![(AUTHORIZATION, format!("Bearer {token}"))],
            Some(proof) => vec![(AUTHORIZATION, format!("DPoP {token}")), (DPOP, proof.clone())],
        };
        let caller = match scene.certificate {
            Shown::Nothing => &self.plain,
            Shown::Own => &self.own,
            Shown::Another => &self.another,
        };
        let before = self.around.upstream.requests();
        let answer = caller.send(&Method::GET, &url, &headers).await?;
        let arrived = self.around.upstream.requests() - before;
        if let Some(nonce) = answer.headers.get(DPOP_NONCE).and_then(|value| value.to_str().ok()) {
            self.nonce = Some(nonce.to_owned());
        }
        match scene.outcome {
            Outcome::Passes => {
                let line = passed(scene, &answer, arrived, self.around.upstream.last())?;
                self.captured = proof.or_else(|| self.captured.take());
                Ok(line)
            }
            Outcome::Refused(reason) => refused(reason, &answer, arrived),
        }
    }

    fn proof(&self, presented: Presented, url: &str, token: &str) -> Result<Option<String>, Surprise> {
        let request = ProofRequest::new(&Method::GET, url)?.with_token(token);
        let sign = |request: ProofRequest, key: &DpopKey| {
            request.sign(key, self.around.now()).map(Some).map_err(|error| DemoError::from(error).into())
        };
        match presented {
            Presented::Bearer => Ok(None),
            Presented::Proof => sign(request, &self.around.key),
            Presented::ProofByThief => sign(request, &self.around.stolen_with),
            Presented::CapturedProof => {
                self.captured.clone().map(Some).ok_or(Surprise::Missing("an accepted proof"))
            }
            Presented::ProofWithNonce => {
                let nonce = self.nonce.as_deref().ok_or(Surprise::Missing("a nonce"))?;
                sign(request.with_nonce(nonce), &self.around.key)
            }
        }
    }
}

/// Judges an answer to a request that has to pass.
fn passed(scene: &Scene, answer: &Answer, arrived: u64, last: Option<Seen>) -> Result<String, Surprise> {
    if answer.status != http::StatusCode::OK {
        return Err(Surprise::Answer { expected: "200".to_owned(), got: described(answer) });
    }
    let Some(seen) = last.filter(|_| arrived == 1) else {
        return Err(Surprise::Upstream(format!("saw {arrived} requests and not one")));
    };
    if seen.target != scene.path {
        return Err(Surprise::Upstream(format!("saw {} and not {}", seen.target, scene.path)));
    }
    // REQUIREMENTS.md R-B-13: a token must not travel on to where it was not meant for.
    for credential in [AUTHORIZATION, DPOP] {
        if seen.header(credential.as_str()).is_some() {
            return Err(Surprise::Upstream(format!("saw the caller's {credential}")));
        }
    }
    let binding = match scene.token {
        Token::Unbound => None,
        Token::Key => Some("dpop"),
        Token::Certificate => Some("mtls"),
    };
    let subject = seen.header("x-auth-subject");
    if subject != Some("alice") || seen.header("x-auth-binding") != binding {
        return Err(Surprise::Upstream("was not told who calls".to_owned()));
    }
    let binding = binding.unwrap_or("unbound");
    Ok(format!(
        "200; the upstream saw {} {} by alice, bound by {binding}, no token",
        seen.method, seen.target
    ))
}

/// Judges an answer to a request that has to be refused.
fn refused(reason: Rejection, answer: &Answer, arrived: u64) -> Result<String, Surprise> {
    let error = reason.code().error();
    let said = answer.challenges().any(|challenge| {
        error.is_none_or(|error| challenge.contains(&format!("error=\"{error}\"")))
            && challenge.contains(reason.label())
    });
    let summary = format!("{} {}: {}", reason.status(), error.unwrap_or_default(), reason.label());
    if answer.status.as_u16() != reason.status() || !said {
        return Err(Surprise::Answer { expected: summary, got: described(answer) });
    }
    if arrived > 0 {
        return Err(Surprise::Upstream("saw a request that was refused".to_owned()));
    }
    Ok(format!("{summary}; the upstream saw nothing"))
}

/// An answer for the report of a failure: its status and challenges.
fn described(answer: &Answer) -> String {
    let challenges: Vec<&str> = answer.challenges().collect();
    format!("{} {}", answer.status.as_u16(), challenges.join(" | "))
}

//! Real key servers over real TLS on loopback, real keys, real tokens. Where only the schedule matters, keys come from a file and time is
//! tokio's, paused: it then moves only when everything waits.

use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Tokens;
use crate::config::{Issuer, KeySource};
use crate::verify::algorithm::{Algorithm, Algorithms};
use crate::verify::jwks::signing::{AUDIENCE, NOW, SigningKey, bearer, claims, raw};
use crate::verify::rejection::Rejection;
use crate::verify::time::UnixTime;
use crate::verify::token::{TokenRules, TokenType, VerifiedToken};

mod decrypting;
mod fetching;
mod introspecting;
mod schedule;
mod server;
mod verifying;

const HOUR: Duration = Duration::from_secs(3600);

/// An issuer that is asked once, and again after an hour at the soonest.
fn issuer(name: &str, keys: KeySource, trust: Option<Arc<RootCertStore>>) -> Issuer {
    let rules = TokenRules {
        issuer: name.into(),
        audiences: vec![AUDIENCE.into()],
        algorithms: Algorithms::new(&[Algorithm::Es256, Algorithm::EdDsa]),
        token_type: TokenType::AtJwt,
        required_claims: ["sub", "client_id", "iat", "jti"].map(String::from).to_vec(),
        leeway: 5,
        max_lifetime: None,
    };
    Issuer {
        rules,
        keys,
        trust,
        refetch_cooldown: HOUR,
        refresh: HOUR,
        keep_stale: HOUR,
        introspection: None,
        exchange: None,
        encryption: None,
    }
}

/// Tokens of these issuers with their tasks running, which end with this value.
struct Running {
    tokens: Arc<Tokens>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    fn new(issuers: &[Issuer]) -> Self {
        let running = Self::not_yet(issuers);
        running.tokens.spawn(&running.tasks, &running.stop);
        running
    }

    /// The same before anything is fetched.
    fn not_yet(issuers: &[Issuer]) -> Self {
        let tokens = Arc::new(Tokens::new(issuers, 1 << 20).unwrap());
        Self { tokens, tasks: TaskTracker::new(), stop: CancellationToken::new() }
    }

    /// Waits until the first issuer's nth attempt has ended.
    async fn ended(&self, attempts: u64) {
        self.tokens.issuers[0].keys.ended(attempts).await;
    }

    async fn verify_at(&self, token: &str, now: UnixTime) -> Result<VerifiedToken, Rejection> {
        self.tokens.verify(raw(&bearer(token)), None, now).await
    }

    async fn verify(&self, token: &str) -> Result<VerifiedToken, Rejection> {
        self.verify_at(token, NOW).await
    }

    async fn rejection(&self, token: &str) -> Rejection {
        self.verify(token).await.expect_err("refused")
    }

    /// Fetches begun by the first issuer's task, and those that failed.
    fn counted(&self) -> (u64, u64) {
        let issuer = &self.tokens.issuers[0].keys;
        (issuer.fetches(), issuer.failures())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn key(kid: &str) -> SigningKey {
    SigningKey::new(Algorithm::Es256, kid)
}

/// Right claims of another issuer than the usual one.
fn claims_of(issuer: &str) -> Value {
    let mut claims = claims();
    claims["iss"] = issuer.into();
    claims
}

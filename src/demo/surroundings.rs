//! Everything around the demo's gateway, started: who issues, who serves, who calls, and with which keys.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::RootCertStore;
use thiserror::Error;
use tokio::net::TcpListener;

use super::caller::Caller;
use super::issuer::{Issuer, IssuerError, Order};
use super::loopback;
use super::pki::{Authority, Identity, PkiError, Validity};
use super::token::MintError;
use super::upstream::Upstream;
use crate::caller::key::{DpopKey, KeyError};
use crate::caller::trust::TrustError;
use crate::clock::Clock;
use crate::verify::confirmation::Confirmation;
use crate::verify::time::UnixTime;

/// `aud` of the demo's tokens.
pub const AUDIENCE: &str = "https://api.example.com";
/// `scope` of the demo's tokens.
pub const SCOPE: &str = "accounts:read payments:write";
/// How long the demo's tokens last, in seconds: time enough to try things by hand.
const LIFETIME: i64 = 3600;
/// How long its certificates last: longer than anyone leaves it running.
const DAYS: u16 = 30;

/// Why the demo does not start.
#[derive(Debug, Error)]
pub enum DemoError {
    /// A certificate cannot be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// A certificate cannot be shown.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The issuer does not start.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// A key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] MintError),
    /// There is no port.
    #[error("cannot listen on 127.0.0.1: {0}")]
    Listen(#[from] io::Error),
    /// What there is to say cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// Ctrl-C cannot be waited for.
    #[error("cannot wait for Ctrl-C: {0}")]
    Signal(#[source] io::Error),
    /// The gateway does not start.
    #[error("the gateway does not start: {0}")]
    Gateway(#[source] Box<dyn Error + Send + Sync>),
}

/// All parts but the gateway. They run until this is dropped; their keys are in memory alone.
#[derive(Debug)]
pub struct Surroundings {
    /// Whom everyone in the demo trusts.
    pub authority: Authority,
    /// The authorization server.
    pub issuer: Issuer,
    /// The service behind the gateway.
    pub upstream: Upstream,
    /// The gateway's certificate.
    pub server: Identity,
    /// The DPoP key of the honest caller, which the tokens are bound to.
    pub key: DpopKey,
    /// The thief's own key.
    pub stolen_with: DpopKey,
    /// The client certificate of the honest caller.
    pub client: Identity,
    /// Another caller's, of the same CA.
    pub other_client: Identity,
    api: String,
    clock: Clock,
}

impl Surroundings {
    /// Starts them, for a gateway that will listen on `gateway`.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn start(gateway: &TcpListener, clock: Clock) -> Result<Self, DemoError> {
        let authority = Authority::new("holdfast demo CA", Validity { now: clock.now(), days: DAYS })?;
        let address = gateway.local_addr()?;
        Ok(Self {
            issuer: Issuer::start(loopback::bind().await?, &authority)?,
            upstream: Upstream::start(loopback::bind().await?)?,
            server: authority.server(&[&address.ip().to_string(), "localhost"])?,
            key: DpopKey::generate()?,
            stolen_with: DpopKey::generate()?,
            client: authority.client("demo-app")?,
            other_client: authority.client("another-app")?,
            authority,
            api: format!("https://{address}"),
            clock,
        })
    }

    /// The time, which everyone in the demo agrees on.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// The gateway's public URL.
    pub fn api(&self) -> &str {
        &self.api
    }

    /// What callers trust.
    ///
    /// # Errors
    /// [`DemoError::Pki`].
    pub fn roots(&self) -> Result<Arc<RootCertStore>, DemoError> {
        Ok(self.authority.roots()?)
    }

    /// A caller that shows that certificate.
    ///
    /// # Errors
    /// [`DemoError::Pki`], [`DemoError::Trust`].
    pub fn caller(&self, certificate: Option<&Identity>) -> Result<Caller, DemoError> {
        let identity = certificate.map(Identity::client_identity);
        Ok(Caller::new(self.roots()?, identity)?)
    }

    /// A token for this gateway.
    ///
    /// # Errors
    /// [`DemoError::Token`].
    pub fn token(&self, confirmation: Confirmation) -> Result<String, DemoError> {
        let order = Order { audience: AUDIENCE, scope: SCOPE, lifetime: LIFETIME, confirmation };
        Ok(self.issuer.mint(&order, self.now())?)
    }
}

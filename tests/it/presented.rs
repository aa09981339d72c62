//! A request as the verifying core sees it, with credentials put on it.

use std::sync::Arc;

use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::credential::{CredentialLimits, DPOP, Presented};
use holdfast::verify::dpop::{DpopRules, Terms};
use holdfast::verify::htu::{Origin, Path};
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::policy::NonceRule;
use holdfast::verify::rejection::Rejection;
use holdfast::verify::request::{RequestFacts, Target};
use holdfast::verify::time::UnixTime;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};

/// The limits of the example configuration.
pub(crate) const LIMITS: CredentialLimits = CredentialLimits { token_bytes: 8192, proof_bytes: 8192 };

/// A request to a gateway with every algorithm and a window of −60/+10 s.
pub(crate) struct Request {
    method: Method,
    target: Target,
    headers: HeaderMap,
    rules: DpopRules,
}

impl Request {
    /// A request for `url`, an origin and a path.
    pub(crate) fn new(method: &str, url: &str) -> Self {
        let authority = url.find("://").expect("a scheme") + 3;
        let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
        let target = Target {
            origin: Arc::new(Origin::read(&url[..path]).expect("an origin")),
            path: Path::read(&url[path..]).expect("a path"),
            query: None,
        };
        let rules = DpopRules {
            algorithms: Algorithms::new(&Algorithm::ALL),
            max_age: 60,
            max_future: 10,
            fence: None,
            oldest: None,
            nonces: NonceRing::new(&[1; 32], &[], 300),
        };
        Self { method: method.parse().expect("a method"), target, headers: HeaderMap::new(), rules }
    }

    /// With one more `Authorization` line.
    pub(crate) fn authorization(mut self, value: &[u8]) -> Self {
        self.headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value"));
        self
    }

    /// With one more `DPoP` line.
    pub(crate) fn proof(mut self, value: &[u8]) -> Self {
        self.headers.append(DPOP, HeaderValue::from_bytes(value).expect("a header value"));
        self
    }

    /// With a query.
    pub(crate) fn query(mut self, query: &str) -> Self {
        self.target.query = Some(query.to_owned());
        self
    }

    /// What it is judged by at `now`.
    pub(crate) const fn terms(&self, now: i64) -> Terms<'_> {
        Terms { rules: &self.rules, nonce: NonceRule::None, now: UnixTime::from_seconds(now) }
    }

    /// Its credentials, read at `now`.
    pub(crate) fn read(&self, now: i64) -> Result<Presented<'_>, Rejection> {
        let facts = RequestFacts {
            method: &self.method,
            target: &self.target,
            headers: &self.headers,
            certificate: None,
        };
        Presented::read(&facts, &LIMITS, &self.terms(now))
    }
}

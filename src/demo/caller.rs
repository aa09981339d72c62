//! A caller of the gateway, honest or not: an https client with or without a certificate that sends exactly what it is told.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;

use crate::caller::connection::{self, SendError};
use crate::caller::trust::{ClientIdentity, ServerTrust, TrustError, client_config};

/// The largest answer that is taken.
const BODY_BYTES: usize = 1 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum CallError {
    /// The URL is none.
    #[error("not an http or https URL: {0}")]
    Url(String),
    /// A header value is none.
    #[error("not a header value, for {0}")]
    Header(HeaderName),
    /// It could not be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The body ended early or is too large.
    #[error("the answer's body: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An https client.
#[derive(Clone, Debug)]
pub struct Caller {
    tls: Arc<ClientConfig>,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status
    pub status: StatusCode,
    /// Every header line
    pub headers: HeaderMap,
    /// The body
    pub body: Bytes,
}

impl Caller {
    /// A client that trusts `roots` and shows `identity`.
    ///
    /// # Errors
    /// [`TrustError::Identity`].
    pub fn new(roots: Arc<RootCertStore>, identity: Option<ClientIdentity>) -> Result<Self, TrustError> {
        Ok(Self { tls: client_config(ServerTrust::Roots(roots), identity)? })
    }

    /// Sends one request without a body, on a connection of its own, with these header lines in this order.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(HeaderName, String)],
    ) -> Result<Answer, CallError> {
        let (origin, target) = connection::split(url).ok_or_else(|| CallError::Url(url.to_owned()))?;
        let mut request = Request::new(Full::<Bytes>::default());
        *request.method_mut() = method.clone();
        *request.uri_mut() = target;
        let mut append = |name: HeaderName, value: &str| {
            let value = HeaderValue::from_str(value).map_err(|_| CallError::Header(name.clone()))?;
            request.headers_mut().append(name, value);
            Ok::<_, CallError>(())
        };
        append(HOST, origin.authority())?;
        for (name, value) in headers {
            append(name.clone(), value)?;
        }
        let (head, body) = connection::send(&origin, &self.tls, request).await?.into_parts();
        let body = Limited::new(body, BODY_BYTES).collect().await.map_err(CallError::Body)?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

impl Answer {
    /// The challenges, one a line.
    pub fn challenges(&self) -> impl Iterator<Item = &str> {
        self.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok())
    }
}

//! One request over a connection of its own: HTTP/1.1, over TLS where the URL says https.
//!
//! A caller that tries things out wants to know which step failed, so each step has an error of its own.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::verify::htu::{Origin, Scheme};

/// How sending failed. None of them says anything about the token.
#[derive(Debug, Error)]
pub enum SendError {
    /// The host has no address.
    #[error("could not resolve host: {0}")]
    Resolve(String),
    /// Nobody answers there.
    #[error("failed to connect to {0}: {1}")]
    Connect(String, #[source] io::Error),
    /// The server's certificate is not believed, or is for another name.
    #[error("the server's certificate is not trusted: {0}")]
    Untrusted(#[source] rustls::Error),
    /// The TLS handshake failed in another way.
    #[error("TLS handshake failed: {0}")]
    Handshake(#[source] io::Error),
    /// The connection ended before there was an answer, or what came is no HTTP. With TLS 1.3, a server that refuses a client
    /// certificate says so here.
    #[error("no answer: {}", innermost(.0))]
    Exchange(#[source] hyper::Error),
}

/// The last cause of an error, which is the one that says something.
fn innermost(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Sends `request` (with an origin-form target and a `Host`) to `origin`, and gives the answer as soon as its head is there.
///
/// There is no time limit: who wants one puts it around.
///
/// # Errors
/// [`SendError`].
pub async fn send(
    origin: &Origin,
    tls: &Arc<ClientConfig>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, SendError> {
    let stream = connect(origin).await?;
    match origin.scheme() {
        Scheme::Http => exchange(stream, request).await,
        Scheme::Https => {
            let name = ServerName::try_from(origin.host().to_owned())
                .map_err(|_| SendError::Resolve(origin.host().to_owned()))?;
            let stream =
                TlsConnector::from(Arc::clone(tls)).connect(name, stream).await.map_err(tls_error)?;
            exchange(stream, request).await
        }
    }
}

/// The origin of a URL, and its target in origin form: the path and the query. `None` unless it is http or https without userinfo.
pub fn split(url: &str) -> Option<(Origin, Uri)> {
    let uri: Uri = url.parse().ok()?;
    let origin = Origin::read(&format!("{}://{}", uri.scheme_str()?, uri.authority()?))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str()).parse().ok()?;
    Some((origin, target))
}

async fn connect(origin: &Origin) -> Result<TcpStream, SendError> {
    let addresses: Vec<_> = tokio::net::lookup_host((origin.host(), origin.port()))
        .await
        .map_err(|_| SendError::Resolve(origin.host().to_owned()))?
        .collect();
    let stream = TcpStream::connect(&*addresses)
        .await
        .map_err(|error| SendError::Connect(origin.authority().to_owned(), error))?;
    // A request is small and waits for its answer; Nagle's algorithm would only hold it back. Not being able to say so is no failure.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn tls_error(error: io::Error) -> SendError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(refused @ rustls::Error::InvalidCertificate(_)) => SendError::Untrusted(refused.clone()),
        Some(_) | None => SendError::Handshake(error),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, SendError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(SendError::Exchange)?;
    // It ends by itself when the answer's body is read or dropped; what went wrong in it reaches the reader of the body.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(SendError::Exchange)
}

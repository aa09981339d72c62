//! A connection to an address: TCP or a Unix socket, TLS where the server is https, then HTTP.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tracing::debug;

use super::fault::Fault;
use super::link::Sender;
use super::portion::Portions;
use super::server::Tls;
use super::upload::Upload;
use crate::config::Protocol;
use crate::keepalive;

/// On an HTTP/2 connection with requests, how often the server is asked whether it is still there, and how long it may take to say so. Nobody else
/// would notice when the machine behind a connection is gone: the requests on it would all wait for their own time limits.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of an answer that wait to be understood: of a head, of anything that comes in front of it (RFC 9110 §15.2), or of a body that
/// nobody has taken yet. Each connection may hold so much, and what comes in one reading besides.
pub(super) const MOST_UNREAD: usize = 64 * 1024;

/// HTTP/2's name in ALPN (RFC 9113 §3.2).
pub(super) const H2: &[u8] = b"h2";
/// HTTP/1.1's name in ALPN (RFC 7301 §6).
pub(super) const HTTP_1_1: &[u8] = b"http/1.1";

/// Where a connection goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An address of the network.
    Tcp(SocketAddr),
    /// A socket of the file system.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => address.fmt(f),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no connection. Nothing of a request was sent. The sentence is for the operator's log.
#[derive(Debug, Error)]
pub(super) enum ConnectError {
    /// Nobody answers there.
    #[error("no connection: {0}")]
    Refused(io::Error),
    /// No TLS, most often because the server's certificate is not trusted.
    #[error("no TLS: {0}")]
    Tls(io::Error),
    /// The upstream is `protocol: http2`, and the server chose something else in the TLS handshake.
    #[error("the server does not speak HTTP/2: it chose no `h2` in ALPN")]
    NotHttp2,
    /// HTTP did not begin.
    #[error("no HTTP: {0}")]
    Http(#[from] hyper::Error),
    /// `connect_timeout` has passed.
    #[error("no connection in time")]
    TimedOut,
}

/// Connects, and starts the task that drives the connection until it ends.
///
/// # Errors
/// [`ConnectError`]. How long it may take is the caller's to bound.
pub(super) async fn connect<B>(
    place: &Place,
    tls: Option<&Tls>,
    protocol: Protocol,
) -> Result<Sender<B>, ConnectError>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    match place {
        Place::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(ConnectError::Refused)?;
            // A request is small and waits for its answer; Nagle's algorithm would only hold it back. Not being able to say so is no failure.
            let _ = stream.set_nodelay(true);
            let _ = keepalive::watch(&stream);
            secure(stream, tls, protocol).await
        }
        Place::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(ConnectError::Refused)?;
            speak(stream, protocol).await
        }
    }
}

async fn secure<S, B>(stream: S, tls: Option<&Tls>, protocol: Protocol) -> Result<Sender<B>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    match tls {
        None => speak(stream, protocol).await,
        Some(tls) => {
            let stream = tls.connector.connect(tls.name.clone(), stream).await.map_err(ConnectError::Tls)?;
            let chosen = stream.get_ref().1.alpn_protocol();
            // RFC 9113 §3.2: without `h2` in ALPN, the server would take the first bytes for a broken HTTP/1.1 request.
            if protocol == Protocol::Http2 && chosen != Some(H2) {
                return Err(ConnectError::NotHttp2);
            }
            speak(stream, protocol).await
        }
    }
}

async fn speak<S, B>(stream: S, protocol: Protocol) -> Result<Sender<B>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    match protocol {
        Protocol::Http1 => speak_http1(stream).await,
        Protocol::Http2 => speak_http2(stream).await,
    }
}

async fn speak_http2<S, B>(stream: S) -> Result<Sender<B>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_PATIENCE)
        .handshake::<_, Upload<B>>(TokioIo::new(Portions::of(stream)))
        .await?;
    let most_streams = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
    let told = Arc::clone(&most_streams);
    tokio::spawn(async move {
        let driven = poll_fn(|cx| {
            let ended = Pin::new(&mut connection).poll(cx);
            // The server's SETTINGS come after our first request may have gone, and can change.
            told.store(connection.current_max_send_streams(), Ordering::Relaxed);
            ended
        });
        if let Err(error) = driven.await {
            debug!(%error, "a connection to an upstream ended");
        }
    });
    Ok(Sender::Http2(sender, most_streams))
}

async fn speak_http1<S, B>(stream: S) -> Result<Sender<B>, ConnectError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Fault>,
{
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MOST_UNREAD)
        .handshake::<_, Upload<B>>(TokioIo::new(Portions::of(stream)))
        .await?;
    // One task for the life of the connection, whatever it carries. Where an upgrade is agreed on, the task hands the stream over and ends.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            debug!(%error, "a connection to an upstream ended");
        }
    });
    Ok(Sender::Http1(sender))
}

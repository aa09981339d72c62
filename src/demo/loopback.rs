//! A small HTTP server on 127.0.0.1, on a port that the system chooses, for the parts around the gateway.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How long a client may take for a handshake or a head.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when the system gives no more connections.
const BACK_OFF: Duration = Duration::from_millis(50);

/// How a server is reached.
#[derive(Clone)]
pub enum Transport {
    /// http
    Plaintext,
    /// https, with this acceptor
    Tls(TlsAcceptor),
}

/// A server that runs until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A free port of 127.0.0.1.
///
/// # Errors
/// What the system says.
pub async fn bind() -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await
}

/// Serves `answer` on `listener`.
///
/// # Errors
/// What the system says when asked for the listener's address.
pub fn serve<A, F>(listener: TcpListener, transport: Transport, answer: A) -> io::Result<Server>
where
    A: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(BACK_OFF).await;
                continue;
            };
            let (transport, answer) = (transport.clone(), answer.clone());
            tokio::spawn(async move {
                match transport {
                    Transport::Plaintext => converse(stream, answer).await,
                    Transport::Tls(acceptor) => {
                        let handshake = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await;
                        if let Ok(Ok(stream)) = handshake {
                            converse(stream, answer).await;
                        }
                    }
                }
            });
        }
    });
    Ok(Server { address, task })
}

async fn converse<S, A, F>(stream: S, answer: A)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    A: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    // A connection that breaks is the client's affair, who notices.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// The acceptor of a server with that certificate: TLS 1.2 and 1.3, no client certificate asked for.
///
/// # Errors
/// What rustls says.
pub fn acceptor(key: Arc<rustls::sign::CertifiedKey>) -> Result<TlsAcceptor, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)));
    Ok(TlsAcceptor::from(Arc::new(config)))
}

//! A key server: real TCP, real TLS unless it is told otherwise, and every bad habit a server can have.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::config::KeySource;

/// What a path is answered with.
#[derive(Clone)]
pub(super) enum Answer {
    /// 200 with this text.
    Text(String),
    /// The same, said to be JSON.
    Json(String),
    /// The same, as soon as there is a permit.
    Held(Arc<Semaphore>, String),
    /// This status and this text.
    Status(u16, String),
    /// 302 to this address.
    Redirect(String),
    /// 200 with 50 MB of a key set that never gets to its end.
    Huge,
    /// 200 with a byte every tenth of a second.
    Dripping,
    /// Nothing.
    Silence,
    /// 200 and half a text, then the connection closes.
    Broken,
}

/// A server on a port of its own.
pub(super) struct KeyServer {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    roots: Arc<RootCertStore>,
}

struct Shared {
    answers: Mutex<HashMap<String, Answer>>,
    /// The paths that were asked for, in order.
    asked: watch::Sender<Vec<String>>,
    connections: watch::Sender<Connections>,
}

/// How many connections there were, and how many of them are open.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Connections {
    pub(super) ever: usize,
    pub(super) open: usize,
}

impl KeyServer {
    /// Over TLS, with a certificate of a CA of its own.
    pub(super) async fn https() -> Self {
        Self::start(true).await
    }

    /// Over plain TCP.
    pub(super) async fn http() -> Self {
        Self::start(false).await
    }

    async fn start(tls: bool) -> Self {
        let certificate = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let der = certificate.cert.der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let private = PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], private)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            answers: Mutex::default(),
            asked: watch::Sender::new(Vec::new()),
            connections: watch::Sender::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, acceptor) = (Arc::clone(&serving), acceptor.clone());
                shared.connections.send_modify(|count| {
                    *count = Connections { ever: count.ever + 1, open: count.open + 1 };
                });
                tokio::spawn(async move {
                    if tls {
                        // A client that does not trust the certificate ends here.
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, Arc::clone(&shared)).await;
                        }
                    } else {
                        serve(stream, Arc::clone(&shared)).await;
                    }
                    shared.connections.send_modify(|count| count.open -= 1);
                });
            }
        });
        let scheme = if tls { "https" } else { "http" };
        Self { address, scheme, shared, roots: Arc::new(roots) }
    }

    /// Answers `path` so from now on.
    pub(super) fn set(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// The same for a text.
    pub(super) fn publish(&self, path: &str, text: impl Into<String>) {
        self.set(path, Answer::Text(text.into()));
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub(super) fn key_source(&self, path: &str) -> KeySource {
        KeySource::Url(self.url(path).parse().unwrap())
    }

    /// What a client has to trust.
    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.shared.asked.borrow().clone()
    }

    /// How many connections there are and were.
    pub(super) fn connections(&self) -> watch::Receiver<Connections> {
        self.shared.connections.subscribe()
    }

    /// Waits until that many requests have come.
    pub(super) async fn was_asked(&self, times: usize) {
        self.shared.asked.subscribe().wait_for(|asked| asked.len() >= times).await.unwrap();
    }
}

async fn serve<S>(stream: S, shared: Arc<Shared>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    // A connection that ends early is what many of these tests are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type AnyBody = UnsyncBoxBody<Bytes, std::io::Error>;

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<AnyBody>, Infallible> {
    let path = request.uri().path_and_query().unwrap().to_string();
    let answer = shared.answers.lock().unwrap().get(&path).cloned();
    shared.asked.send_modify(|asked| asked.push(path));
    let full = |text: String| Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let answered = |status: u16, body| Response::builder().status(status).body(body).unwrap();
    let json = |body| Response::builder().header("content-type", "application/json").body(body).unwrap();
    Ok(match answer {
        None => answered(404, full(String::new())),
        Some(Answer::Text(text)) => answered(200, full(text)),
        Some(Answer::Json(text)) => json(full(text)),
        Some(Answer::Held(permits, text)) => {
            permits.acquire().await.unwrap().forget();
            json(full(text))
        }
        Some(Answer::Status(status, text)) => answered(status, full(text)),
        Some(Answer::Redirect(to)) => {
            Response::builder().status(302).header("location", to).body(full(String::new())).unwrap()
        }
        Some(Answer::Huge) => answered(200, streamed(Streamed::Huge { left: 50 << 20 })),
        Some(Answer::Dripping) => answered(200, streamed(Streamed::Dripping)),
        Some(Answer::Broken) => answered(200, streamed(Streamed::Broken { sent: false })),
        Some(Answer::Silence) => std::future::pending().await,
    })
}

enum Streamed {
    Huge { left: usize },
    Dripping,
    Broken { sent: bool },
}

/// A body that is made as it is sent.
fn streamed(mut streamed: Streamed) -> AnyBody {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let chunk = match &mut streamed {
                Streamed::Huge { left: 0 } => return,
                Streamed::Huge { left } => {
                    *left = left.saturating_sub(64 << 10);
                    Ok(Bytes::from(vec![b' '; 64 << 10]))
                }
                Streamed::Dripping => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    Ok(Bytes::from_static(b" "))
                }
                Streamed::Broken { sent: true } => Err(std::io::Error::other("broken on purpose")),
                Streamed::Broken { sent } => {
                    *sent = true;
                    Ok(Bytes::from_static(b"{\"keys\":["))
                }
            };
            if sender.send(chunk).await.is_err() {
                return;
            }
        }
    });
    ChannelBody(receiver).boxed_unsync()
}

struct ChannelBody(tokio::sync::mpsc::Receiver<Result<Bytes, std::io::Error>>);

impl Body for ChannelBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

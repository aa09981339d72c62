//! A real server behind the gateway: in each protocol, with what it saw, and with ways to be slow, ill or dead.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::scripted::address_of_its_own;

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoken {
    Http1,
    /// With prior knowledge.
    Http2,
    /// HTTP/1.1 on a Unix socket.
    Unix,
    /// HTTP/1.1 over TLS as `app.internal`, and only with a certificate of the same CA.
    Tls,
    /// HTTP/2 over the same.
    TlsHttp2,
}

/// What a server saw of a request.
#[derive(Clone, Debug)]
pub struct Was {
    pub version: Version,
    pub uri: String,
    pub headers: HeaderMap,
}

/// A server that runs.
pub struct Served {
    spoken: Spoken,
    address: Option<SocketAddr>,
    directory: TempDir,
    files: Vec<(&'static str, String)>,
    state: Arc<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

struct State {
    seen: Mutex<Vec<Was>>,
    hits: AtomicUsize,
    checks: AtomicUsize,
    connections: AtomicUsize,
    well: AtomicBool,
    go: watch::Sender<bool>,
}

/// Text for a [`crate::house::Plan`], which wants it for ever.
pub fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

impl Served {
    /// Starts one.
    pub async fn start(spoken: Spoken) -> Self {
        Self::start_at(spoken, address_of_its_own()).await
    }

    /// Starts one at this address.
    pub async fn start_at(spoken: Spoken, address: SocketAddr) -> Self {
        let state = Arc::new(State {
            seen: Mutex::default(),
            hits: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            well: AtomicBool::new(true),
            go: watch::Sender::new(false),
        });
        let directory = TempDir::new().expect("a directory");
        let (files, acceptor) = pki(spoken);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut served = Self { spoken, address: None, directory, files, state, stop, tasks };
        if spoken == Spoken::Unix {
            let socket = UnixListener::bind(served.socket()).expect("a new path");
            let (state, tasks, stop) = served.parts();
            served.run(async move {
                while let Ok((stream, _)) = socket.accept().await {
                    tasks.spawn(stop.clone().run_until_cancelled_owned(speak(
                        stream,
                        false,
                        Arc::clone(&state),
                    )));
                }
            });
            return served;
        }
        let socket = TcpListener::bind(address).await.expect("the address is free");
        served.address = Some(socket.local_addr().expect("an address"));
        let (state, tasks, stop) = served.parts();
        let http2 = matches!(spoken, Spoken::Http2 | Spoken::TlsHttp2);
        served.run(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (state, acceptor) = (Arc::clone(&state), acceptor.clone());
                let talk = async move {
                    match acceptor {
                        None => speak(stream, http2, state).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                speak(stream, http2, state).await;
                            }
                        }
                    }
                };
                tasks.spawn(stop.clone().run_until_cancelled_owned(talk));
            }
        });
        served
    }

    fn parts(&self) -> (Arc<State>, TaskTracker, CancellationToken) {
        (Arc::clone(&self.state), self.tasks.clone(), self.stop.clone())
    }

    fn run(&self, accepting: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(accepting));
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("http.sock")
    }

    /// Its address; a Unix socket has none.
    pub fn address(&self) -> SocketAddr {
        self.address.expect("an address of the network")
    }

    /// As it stands in `servers`.
    pub fn url(&self) -> String {
        match self.spoken {
            Spoken::Unix => format!("unix:{}", self.socket().display()),
            Spoken::Http1 | Spoken::Http2 => format!("http://{}", self.address()),
            Spoken::Tls | Spoken::TlsHttp2 => format!("https://{}", self.address()),
        }
    }

    /// `ca.pem`, and `shown.pem` with `shown.key`, which it takes from its clients.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        self.files.clone()
    }

    /// Every request since the last time this was asked, checks aside.
    pub fn seen(&self) -> Vec<Was> {
        std::mem::take(&mut *self.state.seen.lock().expect("no one panicked"))
    }

    /// How many requests came, checks aside.
    pub fn hits(&self) -> usize {
        self.state.hits.load(Ordering::SeqCst)
    }

    /// How many checks came.
    pub fn checks(&self) -> usize {
        self.state.checks.load(Ordering::SeqCst)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Whether it answers `/healthz` with 204.
    pub fn is_well(&self, well: bool) {
        self.state.well.store(well, Ordering::SeqCst);
    }

    /// Lets all requests go on that wait for it.
    pub fn go(&self) {
        self.state.go.send_replace(true);
    }

    /// Ends it as a crash would: the socket and every connection are closed, whatever they were doing.
    pub async fn kill(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn speak<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    http2: bool,
    state: Arc<State>,
) {
    state.connections.fetch_add(1, Ordering::SeqCst);
    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
    // However a connection ends, it is the gateway that has to cope.
    if http2 {
        let _ =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    } else {
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

/// An error ends the connection without an answer.
async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if path == "/healthz" {
        state.checks.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::default();
        *response.status_mut() = match state.well.load(Ordering::SeqCst) {
            true => StatusCode::NO_CONTENT,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        };
        return Ok(response);
    }
    state.hits.fetch_add(1, Ordering::SeqCst);
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let was = Was { version: parts.version, uri: parts.uri.to_string(), headers: parts.headers };
    state.seen.lock().expect("no one panicked").push(was);
    match path.rsplit('/').next() {
        Some("hang-up") => return Err(std::io::Error::other("as asked")),
        Some("wait-a-moment") => tokio::time::sleep(Duration::from_millis(20)).await,
        Some("wait-for-go") => {
            let mut go = state.go.subscribe();
            go.wait_for(|go| *go).await.map_err(std::io::Error::other)?;
        }
        Some(_) | None => {}
    }
    Ok(Response::new(Full::from(body)))
}

/// A CA that nobody else knows, with a server and a client, each as PEM: its chain and its key.
pub struct Pki {
    pub ca: String,
    /// For `app.internal`.
    pub server: (String, String),
    pub client: (String, String),
}

impl Pki {
    pub fn new() -> Self {
        let key = || KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the name that a leaf has too, it would seem to OpenSSL to be its own issuer.
        params.distinguished_name.push(DnType::CommonName, "CA");
        let ca_key = key();
        let ca = params.self_signed(&ca_key).expect("a CA").pem();
        let issuer = Issuer::new(params, ca_key);
        let signed = |name: &str| {
            let (params, key) = (CertificateParams::new(vec![name.to_owned()]).expect("a name"), key());
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            (certificate.pem(), key.serialize_pem())
        };
        Self { ca, server: signed("app.internal"), client: signed("gateway.internal") }
    }

    /// `ca.pem`, and `shown.pem` with `shown.key`: what a client needs.
    pub fn files(&self) -> Vec<(&'static str, String)> {
        let (shown, key) = self.client.clone();
        vec![("ca.pem", self.ca.clone()), ("shown.pem", shown), ("shown.key", key)]
    }
}

/// What a server and its clients need of each other.
fn pki(spoken: Spoken) -> (Vec<(&'static str, String)>, Option<TlsAcceptor>) {
    if !matches!(spoken, Spoken::Tls | Spoken::TlsHttp2) {
        return (Vec::new(), None);
    }
    let pki = Pki::new();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&pki.ca)).expect("a CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(
            vec![certificate(&pki.server.0)],
            PrivateKeyDer::from_pem_slice(pki.server.1.as_bytes()).expect("a key"),
        )
        .expect("a key that belongs to it");
    // The HTTP/1.1 server chooses no protocol at all, as older ones do.
    if spoken == Spoken::TlsHttp2 {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    (pki.files(), Some(TlsAcceptor::from(Arc::new(config))))
}

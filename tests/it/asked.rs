//! An issuer that is asked about tokens: what it answers is set by a test, and what it was asked is remembered.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// What is answered.
#[derive(Clone)]
pub enum Said {
    /// 200 and this JSON.
    Json(Value),
    /// Status, content type and body.
    Raw(u16, &'static str, String),
    /// The same, to as many as there are permits for.
    Held(Arc<Semaphore>, Value),
    /// Nothing, ever.
    Nothing,
}

/// What was asked: path, headers and form.
#[derive(Clone, Debug)]
pub struct Heard {
    pub path: String,
    pub headers: HeaderMap,
    pub form: Vec<(String, String)>,
}

/// The issuer.
pub struct AskedIssuer {
    pub address: SocketAddr,
    pub said: Arc<Mutex<Said>>,
    pub heard: Arc<Mutex<Vec<Heard>>>,
}

impl AskedIssuer {
    /// One that answers so, over plain TCP on loopback.
    pub async fn start(said: Said) -> Self {
        Self::behind(said, None).await
    }

    /// The same behind TLS, where callers must show a certificate that it knows.
    pub async fn behind_tls(said: Said, tls: rustls::ServerConfig) -> Self {
        Self::behind(said, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn behind(said: Said, tls: Option<TlsAcceptor>) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
        let address = socket.local_addr().expect("an address");
        let said = Arc::new(Mutex::new(said));
        let heard = Arc::<Mutex<Vec<Heard>>>::default();
        let issuer = Self { address, said: Arc::clone(&said), heard: Arc::clone(&heard) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                let (said, heard) = (Arc::clone(&said), Arc::clone(&heard));
                let tls = tls.clone();
                let service =
                    service_fn(move |request| answer(request, Arc::clone(&said), Arc::clone(&heard)));
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // Whoever breaks off is what some of the tests are about.
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                drop(http.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        issuer
    }

    /// Answers so from now on.
    pub fn say(&self, said: Said) {
        *self.said.lock().expect("no one panicked") = said;
    }

    /// How much was asked since the last time that was heard.
    pub fn heard_so_far(&self) -> usize {
        self.heard.lock().expect("no one panicked").len()
    }

    /// Everything that was asked since the last time this was.
    pub fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut *self.heard.lock().expect("no one panicked"))
    }

    /// What goes under `issuers[0]` so that it is asked; `more` goes under `introspection`.
    pub fn configuration(&self, more: &str) -> &'static str {
        self.configured("http", &format!("      client_secret: {{ file: client-secret }}\n{more}"))
    }

    /// The same over `http` or `https`, with nothing said of how the gateway shows who it is.
    pub fn configured(&self, scheme: &str, more: &str) -> &'static str {
        let url = format!("{scheme}://{}/introspect", self.address);
        // A plan lives as long as its test, and there is one for each.
        format!(
            "    keys: {{ jwks_file: issuer.jwks.json }}
    introspection:
      url: {url}
      client_id: gate:way
{more}"
        )
        .leak()
    }
}

async fn answer(
    request: Request<Incoming>,
    said: Arc<Mutex<Said>>,
    heard: Arc<Mutex<Vec<Heard>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let form = form(&String::from_utf8_lossy(&body));
    let path = format!("{} {}", parts.method, parts.uri);
    heard.lock().expect("no one panicked").push(Heard { path, headers: parts.headers, form });
    let said = said.lock().expect("no one panicked").clone();
    let response = |status: u16, kind: &str, body: String| {
        let builder = Response::builder().status(status).header("content-type", kind);
        let builder = if (300..400).contains(&status) { builder.header("location", &body) } else { builder };
        Ok(builder.body(Full::from(body)).expect("a response"))
    };
    match said {
        Said::Json(json) => response(200, "application/json", json.to_string()),
        Said::Raw(status, kind, body) => response(status, kind, body),
        Said::Held(permits, json) => {
            permits.acquire().await.expect("never closed").forget();
            response(200, "application/json", json.to_string())
        }
        Said::Nothing => std::future::pending().await,
    }
}

/// The pairs of a form.
fn form(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            bytes.push(match byte {
                b'+' => b' ',
                b'%' => {
                    let digits: String =
                        [rest.next(), rest.next()].into_iter().flatten().map(char::from).collect();
                    u8::from_str_radix(&digits, 16).expect("two digits")
                }
                plain => plain,
            });
        }
        String::from_utf8(bytes).expect("UTF-8")
    };
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').expect("a pair");
        (decode(name), decode(value))
    };
    text.split('&').map(pair).collect()
}

//! A real gateway on a port of its own, with an issuer, an upstream that remembers, and a clock that a test sets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use holdfast::app::{self, Running, Sockets, Source, Supervisor};
use holdfast::caller::key::DpopKey;
use holdfast::clock::Clock;
use holdfast::config::Reading;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::process::PATIENCE;
use crate::wire::{Client, H2Client};

/// The name callers know the gateway by.
pub const HOST: &str = "api.example.com";
/// The second public name of the same listener.
pub const OTHER_HOST: &str = "api2.example.com";
/// The issuer's name.
pub const ISSUER: &str = "https://as.example.com";

/// A key of `dpop.nonce_keys`: each replica that has it opens the nonces of all others.
pub const NONCE_KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n";
/// Another one.
pub const OTHER_NONCE_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI\n";

/// What the upstream saw of one request.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: http::HeaderMap,
    pub body: Bytes,
}

/// Everything that is needed to try a request. Dropping it ends it.
pub struct House {
    pub gateway: Running,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub issuer: DpopKey,
    /// Certificates that callers may present: the certificate's DER and the PKCS#8 key.
    pub certificates: Vec<(Vec<u8>, Vec<u8>)>,
    seen: Arc<Mutex<Vec<Seen>>>,
    ahead: Arc<AtomicI64>,
    clock: Clock,
    pub directory: TempDir,
}

/// What of the configuration a test wants otherwise.
pub struct Plan {
    /// Goes under `listeners[0]`.
    pub listener: &'static str,
    /// Replaces `dpop`, `replay`.
    pub rules: &'static str,
    /// Goes under `issuers[0]`.
    pub issuer: &'static str,
    /// The prefix of the route that any bound caller may use.
    pub catch_all: &'static str,
    /// More routes.
    pub routes: &'static str,
    /// Goes at the end.
    pub more: &'static str,
    /// Headers the upstream answers with.
    pub answers: &'static [(&'static str, &'static str)],
    /// Another upstream than the one that remembers.
    pub upstream: Option<SocketAddr>,
    /// Goes into the upstream.
    pub timeouts: &'static str,
    /// Whether the gateway reads its configuration again.
    pub reloads: bool,
    /// Whether the clock runs, as that of a server outside does; otherwise it stands still.
    pub ticks: bool,
    /// Files beside the configuration: name and text. They take the place of the house's own.
    pub files: Vec<(&'static str, String)>,
}

/// A listener that asks for certificates and takes any.
pub const ASKS_FOR_CERTIFICATES: &str = "    tls:
      certificates: [{ chain: server.pem, key: server.key }]
      client_certificates: { request: optional, trust: any }
";

impl Default for Plan {
    fn default() -> Self {
        Self {
            listener: ASKS_FOR_CERTIFICATES,
            rules: "replay: { memory: { capacity: 1000, per_key: 500, after_restart: accept } }\n",
            issuer: "    keys: { jwks_file: issuer.jwks.json }\n",
            catch_all: "/",
            routes: "",
            more: "",
            answers: &[],
            upstream: None,
            timeouts: "",
            reloads: false,
            ticks: false,
            files: Vec::new(),
        }
    }
}

impl House {
    /// The usual one.
    pub async fn usual() -> Self {
        Self::built(Plan::default()).await
    }

    /// One built otherwise.
    pub async fn built(plan: Plan) -> Self {
        let issuer = DpopKey::generate().expect("a key");
        let certificates = (0..2).map(|_| certificate()).collect();
        Self::of(plan, issuer, certificates, Arc::new(AtomicI64::new(0))).await
    }

    /// Another gateway for the same issuer's tokens and the same callers, at the same time: a replica, or this one after a restart.
    pub async fn twin(&self, plan: Plan) -> Self {
        let issuer = DpopKey::from_pem(&self.issuer.to_pkcs8_pem()).expect("its own PEM");
        Self::of(plan, issuer, self.certificates.clone(), Arc::clone(&self.ahead)).await
    }

    async fn of(
        plan: Plan,
        issuer: DpopKey,
        certificates: Vec<(Vec<u8>, Vec<u8>)>,
        ahead: Arc<AtomicI64>,
    ) -> Self {
        let directory = TempDir::new().expect("a directory");
        write_files(directory.path(), &issuer);
        for (name, text) in &plan.files {
            std::fs::write(directory.path().join(name), text).expect("the file is written");
        }
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let upstream = match plan.upstream {
            Some(other) => other,
            None => upstream(Arc::clone(&seen), plan.answers).await,
        };
        let text = configuration(&plan, upstream);
        let file = directory.path().join("gateway.yaml");
        std::fs::write(&file, &text).expect("the configuration is written");
        let source = Source {
            path: file,
            environment: Arc::new(|_| None),
            set_log_level: Arc::new(|_| {}),
            supervisor: Supervisor::None,
        };
        let Reading { outcome, files } = source.read();
        let config = outcome.unwrap_or_else(|complaints| panic!("{complaints}\n{text}"));
        let sockets = Sockets::bind(&config).expect("port 0 is free");
        let clock = clock(Arc::clone(&ahead), plan.ticks);
        let started = if plan.reloads {
            app::start_from(source, config, files, sockets, clock.clone()).await
        } else {
            app::start(config, sockets, clock.clone()).await
        };
        let gateway = started.expect("the gateway starts");
        let never_ready = [plan.issuer, plan.rules].iter().any(|text| text.contains("unreachable"));
        let begin = Instant::now();
        while !gateway.is_ready() && !never_ready {
            assert!(begin.elapsed() < PATIENCE, "the gateway does not become ready\n{text}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let address = gateway.addresses()[0];
        let admin = gateway.admin_address().expect("an admin listener");
        Self { gateway, address, admin, issuer, certificates, seen, ahead, clock, directory }
    }

    /// A connection with this SNI, and the certificate of that index.
    pub async fn connect(&self, sni: &str, certificate: Option<usize>) -> Client {
        let certificate = certificate.map(|index| self.certificates[index].clone());
        Client::connect(self.address, sni, certificate).await.expect("the handshake")
    }

    /// The same, in HTTP/2.
    pub async fn connect_h2(&self, certificate: Option<usize>) -> H2Client {
        let certificate = certificate.map(|index| self.certificates[index].clone());
        H2Client::connect(self.address, HOST, certificate).await.expect("the handshake")
    }

    /// Everything that reached the upstream since the last time this was asked.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("no one panicked"))
    }

    /// The gateway's time, in whole seconds.
    pub fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Moves the gateway's clock.
    pub fn pass_time(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The text of the configuration.
    pub fn text(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("gateway.yaml")).expect("the configuration")
    }

    /// Writes a file beside the configuration, or the configuration itself.
    pub fn write(&self, name: &str, text: &str) {
        // Beside it and then into its place: who looks in between must not find half of it.
        let file = self.directory.path().join(name);
        let mut new = file.clone().into_os_string();
        new.push(".new");
        std::fs::write(&new, text).expect("the file is written");
        std::fs::rename(&new, file).expect("the file is in its place");
    }

    /// Changes the configuration and has it put in force.
    pub async fn reload_with(&self, text: &str) {
        self.write("gateway.yaml", text);
        let (status, said) = self.post_reload().await;
        assert_eq!(status, 200, "{said}");
    }

    /// `POST /reload`.
    pub async fn post_reload(&self) -> (u16, String) {
        self.exchange_with_admin("POST /reload HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .await
    }

    /// Asks the admin listener.
    pub async fn ask_admin(&self, path: &str) -> (u16, String) {
        self.exchange_with_admin(&format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ))
        .await
    }

    /// Sends this to the admin listener.
    pub async fn exchange_with_admin(&self, request: &str) -> (u16, String) {
        let mut client = Client::plain(self.admin).await.expect("the admin listener");
        let answer = client.exchange(request.as_bytes()).await.expect("an answer");
        (answer.status, answer.text())
    }
}

/// The system's time at the start, standing still, moved by what a test adds: so that a window's edge can be hit exactly.
fn clock(ahead: Arc<AtomicI64>, ticks: bool) -> Clock {
    static START: std::sync::OnceLock<SystemTime> = std::sync::OnceLock::new();
    let start = *START.get_or_init(SystemTime::now);
    Clock::new(move || {
        let start = if ticks { SystemTime::now() } else { start };
        start
            + Duration::from_secs(
                u64::try_from(ahead.load(Ordering::SeqCst)).expect("time is moved forwards"),
            )
    })
}

fn configuration(plan: &Plan, upstream: SocketAddr) -> String {
    let Plan { listener, rules, issuer, catch_all, routes, more, timeouts, .. } = plan;
    format!(
        "listeners:
  - name: public
    address: 127.0.0.1:0
    public_urls: [https://{HOST}, https://{OTHER_HOST}]
{listener}
issuers:
  - issuer: {ISSUER}
    audiences: [https://{HOST}]
    algorithms: [ES256, PS256, RS256, EdDSA]
{issuer}
{rules}
upstreams:
  echo: {{ servers: [http://{upstream}]{timeouts} }}
routes:
  - name: any
    match: {{ path_prefix: {catch_all} }}
    upstream: echo
    require: {{ binding: any }}
    forward: {{ identity: headers }}
  - {{ name: dpop, match: {{ path_prefix: /dpop }}, upstream: echo, require: {{ binding: dpop }} }}
  - {{ name: scoped, match: {{ path_prefix: /scoped }}, upstream: echo, require: {{ scopes: [accounts:read, accounts:write] }} }}
  - {{ name: narrow, match: {{ path_prefix: /narrow }}, upstream: echo, require: {{ audiences: [https://{HOST}/narrow] }} }}
  - {{ name: get-only, match: {{ path: /get-only, methods: [GET] }}, upstream: echo }}
  - {{ name: public, match: {{ path_prefix: /public }}, upstream: echo, public: true }}
  - {{ name: kept, match: {{ path_prefix: /kept }}, upstream: echo, forward: {{ credentials: keep }} }}
{routes}
log: {{ level: error, access: none }}
admin: {{ address: 127.0.0.1:0 }}
{more}"
    )
}

fn write_files(directory: &Path, issuer: &DpopKey) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec![HOST.to_owned(), OTHER_HOST.to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let jwk = issuer.public_jwk().replace("{\"crv\"", "{\"kid\":\"one\",\"use\":\"sig\",\"crv\"");
    for (name, text) in [
        ("server.pem", certificate.pem()),
        ("server.key", key.serialize_pem()),
        ("issuer.jwks.json", format!("{{\"keys\":[{jwk}]}}")),
    ] {
        std::fs::write(directory.join(name), text).expect("the file is written");
    }
}

fn certificate() -> (Vec<u8>, Vec<u8>) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["client.example".to_owned()]).expect("a name");
    (params.self_signed(&key).expect("a certificate").der().to_vec(), key.serialize_der())
}

/// An upstream that remembers what it saw, and answers with what it was asked.
async fn upstream(
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: &'static [(&'static str, &'static str)],
) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("port 0 is free");
    let address = socket.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let seen = Arc::clone(&seen);
            let service =
                service_fn(move |request: Request<Incoming>| remember(request, Arc::clone(&seen), answers));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

async fn remember(
    request: Request<Incoming>,
    seen: Arc<Mutex<Vec<Seen>>>,
    answers: &'static [(&'static str, &'static str)],
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let echo = format!("{} {}", parts.method, parts.uri);
    seen.lock().expect("no one panicked").push(Seen {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body,
    });
    let mut response = Response::new(Full::from(echo));
    for (name, value) in answers {
        response.headers_mut().append(*name, http::HeaderValue::from_static(value));
    }
    Ok(response)
}

//! `dpop curl` against real servers on this machine: what they receive, what is printed, and curl's exit codes.

use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use clap::Parser;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tempfile::TempDir;

use super::{CurlArguments, CurlError, transfer};
use crate::caller::key::DpopKey;
use crate::clock::Clock;
use crate::demo::loopback::{self, Server, Transport};
use crate::demo::pki::{Authority, Validity};
use crate::verify::jws::{self, Compact};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    arguments: CurlArguments,
}

/// A directory with `key.pem` and the `ca.pem` that signed the servers' certificates.
struct Desk {
    files: TempDir,
    authority: Authority,
}

impl Desk {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("test CA", Validity { now: Clock::system().now(), days: 1 })
            .expect("an authority");
        fs::write(files.path().join("ca.pem"), authority.certificate_pem()).expect("written");
        let key = DpopKey::generate().expect("a key");
        fs::write(files.path().join("key.pem"), &*key.to_pkcs8_pem()).expect("written");
        Self { files, authority }
    }

    fn path(&self, name: &str) -> String {
        self.files.path().join(name).to_str().expect("a name").to_owned()
    }

    /// Sends with the key and these arguments; what is printed, or curl's exit code.
    async fn curl(&self, arguments: &[&str]) -> Result<String, u8> {
        let key = self.path("key.pem");
        let line = [&["curl", "--key", &key], arguments].concat();
        let arguments = Line::try_parse_from(line).expect("arguments").arguments;
        let mut out = Vec::new();
        transfer(&arguments, &mut out).await.map_err(|error: CurlError| error.code())?;
        Ok(String::from_utf8(out).expect("text"))
    }

    /// An https server that answers each request with what `answer` makes of its headers and body.
    async fn server<A>(&self, answer: A) -> Server
    where
        A: Fn(&HeaderMap, Bytes) -> Response<Full<Bytes>> + Send + Sync + 'static,
    {
        let key =
            self.authority.server(&["127.0.0.1"]).expect("a certificate").certified_key().expect("a key");
        let transport = Transport::Tls(loopback::acceptor(key).expect("an acceptor"));
        let answer = Arc::new(answer);
        let listener = loopback::bind().await.expect("a port");
        loopback::serve(listener, transport, move |request| {
            let answer = Arc::clone(&answer);
            async move {
                let (head, body) = request.into_parts();
                answer(&head.headers, body.collect().await.expect("a body").to_bytes())
            }
        })
        .expect("a server")
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_owned())));
    *response.status_mut() = status;
    response
}

/// A claim of the proof in a request's headers.
fn claim(headers: &HeaderMap, name: &str) -> Option<String> {
    let proof = headers.get("dpop")?.to_str().ok()?;
    let jws = Compact::read(proof)?;
    let claims = jws.claims()?;
    jws::string(&claims, name).map(str::to_owned)
}

fn demands_nonce() -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::UNAUTHORIZED, "");
    let headers = response.headers_mut();
    headers
        .insert("www-authenticate", r#"DPoP error="use_dpop_nonce", algs="ES256""#.parse().expect("a value"));
    headers.insert("dpop-nonce", "nonce-1".parse().expect("a value"));
    response
}

/// RFC 9449 §9: the second try has the nonce, and a proof of its own.
#[tokio::test]
async fn a_nonce_is_given_when_it_is_demanded() {
    let desk = Desk::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&seen);
    let server = desk
        .server(move |headers, _| {
            let nonce = claim(headers, "nonce");
            shared.lock().expect("seen").push((nonce.clone(), claim(headers, "jti")));
            if nonce.is_some() { text(StatusCode::OK, "hello") } else { demands_nonce() }
        })
        .await;
    let url = format!("https://{}/x", server.address());
    let printed =
        desk.curl(&["--cacert", &desk.path("ca.pem"), "--token", "t", "-i", &url]).await.expect("an answer");
    assert!(printed.starts_with("HTTP/1.1 200 OK\r\n"), "{printed}");
    assert!(printed.ends_with("\r\n\r\nhello"), "{printed}");
    let seen = seen.lock().expect("seen");
    assert_eq!(seen.iter().map(|(nonce, _)| nonce.as_deref()).collect::<Vec<_>>(), [None, Some("nonce-1")]);
    assert_ne!(seen[0].1, seen[1].1, "two proofs");
}

#[tokio::test]
async fn a_server_that_asks_for_ever_is_asked_twice() {
    let desk = Desk::new();
    let count = Arc::new(Mutex::new(0));
    let shared = Arc::clone(&count);
    let server = desk
        .server(move |_, _| {
            *shared.lock().expect("a count") += 1;
            demands_nonce()
        })
        .await;
    let url = format!("https://{}/x", server.address());
    let printed = desk.curl(&["-k", "--token", "t", "-i", &url]).await.expect("a refusal is an answer");
    assert!(printed.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{printed}");
    assert_eq!(*count.lock().expect("a count"), 2);
}

#[tokio::test]
async fn data_is_a_form_and_headers_are_the_callers() {
    let desk = Desk::new();
    fs::write(desk.path("data"), "b=2\n").expect("written");
    let server = desk
        .server(|headers, body| {
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
            let seen = format!(
                "{} {} {} {} {}",
                claim(headers, "htm").unwrap_or_default(),
                header("content-type"),
                header("user-agent"),
                header("authorization"),
                String::from_utf8_lossy(&body)
            );
            text(StatusCode::OK, &seen)
        })
        .await;
    let url = format!("https://{}/x", server.address());
    let data = format!("@{}", desk.path("data"));
    let printed =
        desk.curl(&["-k", "-d", "a=1", "-d", &data, "-H", "User-Agent: me", &url]).await.expect("an answer");
    assert_eq!(printed, "POST application/x-www-form-urlencoded me - a=1&b=2");
}

#[tokio::test]
async fn exit_codes_are_curls() {
    let desk = Desk::new();
    let server = desk.server(|_, _| text(StatusCode::NOT_FOUND, "no")).await;
    let url = format!("https://{}/x", server.address());
    assert_eq!(desk.curl(&["-k", &url]).await.as_deref(), Ok("no"), "an answer is an answer");
    assert_eq!(desk.curl(&["-k", "--fail", &url]).await, Err(22));
    // Not one of the system's roots; a system may have none at all.
    assert!(matches!(desk.curl(&[&url]).await, Err(60 | 77)));
    let other =
        Authority::new("another CA", Validity { now: Clock::system().now(), days: 1 }).expect("an authority");
    fs::write(desk.path("other.pem"), other.certificate_pem()).expect("written");
    assert_eq!(desk.curl(&["--cacert", &desk.path("other.pem"), &url]).await, Err(60));
    assert_eq!(desk.curl(&["--cacert", &desk.path("key.pem"), &url]).await, Err(77));
    assert_eq!(desk.curl(&["-k", "--cert", &desk.path("ca.pem"), &url]).await, Err(58), "no key in it");
    assert_eq!(desk.curl(&["-k", "x"]).await, Err(3));
    assert_eq!(desk.curl(&["-k", "--token-file", "/nowhere", &url]).await, Err(26));

    let nobody = loopback::bind().await.expect("a port");
    let address = nobody.local_addr().expect("an address");
    // Nobody accepts: the connection stands and nothing comes back.
    assert_eq!(desk.curl(&["-k", "-m", "1", &format!("https://{address}/")]).await, Err(28));
    drop(nobody);
    assert_eq!(desk.curl(&["-k", &format!("https://{address}/")]).await, Err(7));
    let plaintext =
        loopback::serve(loopback::bind().await.expect("a port"), Transport::Plaintext, |_| async {
            text(StatusCode::OK, "")
        })
        .expect("a server");
    assert_eq!(desk.curl(&["-k", &format!("https://{}/", plaintext.address())]).await, Err(35));
}

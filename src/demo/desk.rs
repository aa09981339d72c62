//! The demo's desk: hands out over plain http on 127.0.0.1 what a person needs to try things by hand, since the demo writes no files.
//!
//! Private keys too. Anyone on this machine can fetch them, and they open nothing but this demo.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;

use super::loopback::{self, Server, Transport};
use super::surroundings::{DemoError, Surroundings};
use crate::caller::proof::ProofRequest;
use crate::verify::confirmation::Confirmation;

/// What the captured request asks for.
pub const CAPTURED_PATH: &str = "/accounts/1";

/// The desk. It is open until it is dropped.
#[derive(Debug)]
pub struct Desk {
    server: Server,
}

impl Desk {
    /// Opens it on `listener`.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(listener: TcpListener, around: Arc<Surroundings>) -> io::Result<Self> {
        let server = loopback::serve(listener, Transport::Plaintext, move |request| {
            let answer = answer(&around, request.method(), request.uri().path());
            async move { answer }
        })?;
        Ok(Self { server })
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

fn answer(around: &Surroundings, method: &Method, path: &str) -> Response<Full<Bytes>> {
    let (status, text) = match handed_out(around, method, path) {
        Some(Ok(text)) => (StatusCode::OK, text),
        Some(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        None => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What is under that path; `None` for nothing.
fn handed_out(around: &Surroundings, method: &Method, path: &str) -> Option<Result<String, DemoError>> {
    if method != Method::GET {
        return None;
    }
    match path {
        "/ca.pem" => Some(Ok(around.authority.certificate_pem())),
        "/key.pem" => Some(Ok(around.key.to_pkcs8_pem().to_string())),
        "/client.pem" => Some(Ok(around.client.certificate_pem())),
        // Apart from its certificate, since curl reads the file of each and a pipe can be read only once.
        "/client.key" => Some(Ok(around.client.key_pem())),
        "/token" => Some(around.token(Confirmation::Key(around.key.thumbprint()))),
        "/certificate-token" => Some(around.token(Confirmation::Certificate(around.client.thumbprint()))),
        "/captured" => Some(captured(around)),
        _ => None,
    }
}

/// A request as someone in the middle would have it: its headers, in the form of a curl configuration. It is good once.
fn captured(around: &Surroundings) -> Result<String, DemoError> {
    let token = around.token(Confirmation::Key(around.key.thumbprint()))?;
    let proof = ProofRequest::new(&Method::GET, &format!("{}{CAPTURED_PATH}", around.api()))
        .expect("the demo's own URL is https")
        .with_token(&token)
        .sign(&around.key, around.now())?;
    Ok(format!("header = \"Authorization: DPoP {token}\"\nheader = \"DPoP: {proof}\"\n"))
}

#[cfg(test)]
mod tests {
    use super::{Arc, Desk, Method, StatusCode, Surroundings, loopback};
    use crate::caller::key::DpopKey;
    use crate::clock::Clock;

    #[tokio::test]
    async fn what_is_handed_out_fits_together() {
        let gateway = loopback::bind().await.expect("a port");
        let around = Surroundings::start(&gateway, Clock::system()).await.expect("surroundings");
        let around = Arc::new(around);
        let desk = Desk::open(loopback::bind().await.expect("a port"), Arc::clone(&around)).expect("a desk");
        let caller = around.caller(None).expect("a caller");
        let get = async |path: &str| {
            let url = format!("http://{}{path}", desk.address());
            let answer = caller.send(&Method::GET, &url, &[]).await.expect("an answer");
            (answer.status, String::from_utf8(answer.body.to_vec()).expect("text"))
        };
        let key = DpopKey::from_pem(&get("/key.pem").await.1).expect("a key");
        assert_eq!(key.thumbprint(), around.key.thumbprint());
        assert_eq!(get("/client.pem").await.1, around.client.certificate_pem());
        assert_eq!(get("/client.key").await.1, around.client.key_pem());
        assert_eq!(get("/token").await.1.split('.').count(), 3);
        // What curl reads with -K.
        let captured = get("/captured").await.1;
        assert!(captured.lines().all(|line| line.starts_with("header = \"") && line.ends_with('"')));
        assert_eq!(captured.lines().count(), 2);
        assert_eq!(get("/else").await.0, StatusCode::NOT_FOUND);
    }
}

//! The report of a gateway that runs, from its admin listener.

use std::time::Duration;

use http::header::HOST;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::NoReport;
use crate::coverage::report::Report;
use crate::coverage::wording;

/// More than the largest report of a hundred routes with a thousand clients each; whoever else listens there may say more.
const ANSWER_BYTES: usize = 64 << 20;
/// For all of it, in seconds.
const TIMEOUT: u64 = 30;

/// Asks the admin listener at `admin`.
pub(super) async fn ask(admin: &Uri, quiet: u64) -> Result<Report, NoReport> {
    let asked = tokio::time::timeout(Duration::from_secs(TIMEOUT), exchange(admin, quiet)).await;
    asked.unwrap_or_else(|_| Err(NoReport::Late(admin.to_string(), TIMEOUT)))
}

async fn exchange(admin: &Uri, quiet: u64) -> Result<Report, NoReport> {
    // What cannot be read is repeated in the reason, and whoever answers there may have written it for a terminal.
    let unreadable = |why: &dyn std::fmt::Display| {
        NoReport::Unreadable(admin.to_string(), wording::line(&why.to_string()))
    };
    let host = admin.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, admin.port_u16().unwrap_or(80))).await;
    let stream = stream.map_err(|error| NoReport::Unreachable(admin.to_string(), error))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreadable(&error))?;
    // It ends with the answer; what goes wrong in it reaches whoever waits for that.
    let connection = tokio::spawn(connection);
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = format!("/report?quiet={quiet}s")
        .parse()
        .map_err(|error: http::uri::InvalidUri| unreadable(&error))?;
    let authority = admin.authority().map_or("localhost", http::uri::Authority::as_str);
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority).map_err(|error| unreadable(&error))?);
    let answer = sender.send_request(request).await.map_err(|error| unreadable(&error))?;
    let status = answer.status();
    let body =
        Limited::new(answer.into_body(), ANSWER_BYTES).collect().await.map_err(|error| unreadable(&error))?;
    connection.abort();
    let body = body.to_bytes();
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|error| unreadable(&error)),
        other => {
            let said = String::from_utf8_lossy(&body);
            let line = said.lines().next().unwrap_or_default();
            Err(NoReport::Says(admin.to_string(), other, wording::line(line)))
        }
    }
}

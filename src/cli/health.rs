//! `holdfast health`: what a running gateway says of itself, as an exit code. An image without a shell has no curl to ask with.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

/// An answer of the admin listener is a line; whoever else listens there may say more.
const ANSWER_BYTES: usize = 4096;

/// The arguments of `holdfast health`.
#[derive(Debug, Args)]
pub struct Health {
    /// The admin listener
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9901")]
    address: SocketAddr,
    /// Ask whether the process is alive, not whether it is ready for callers
    #[arg(long)]
    live: bool,
    /// For the answer
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

/// Why the gateway does not count as healthy.
#[derive(Debug, Error)]
enum Unhealthy {
    #[error("nobody answers: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("the answer is no HTTP: {0}")]
    Unreadable(#[from] hyper::Error),
    #[error("it says {0}: {1}")]
    Says(StatusCode, String),
    #[error("no answer within {0} s")]
    Late(u64),
}

impl Health {
    /// Asks `/readyz` (or `/livez`) of the admin listener. Exit code 0 when the answer is 200; otherwise 1, and the reason on standard error.
    ///
    /// It reads no configuration: a file that a reload has just refused says nothing about the gateway that still runs on the last good one.
    pub async fn run(self) -> ExitCode {
        let asked = tokio::time::timeout(Duration::from_secs(self.timeout), self.ask());
        match asked.await.unwrap_or(Err(Unhealthy::Late(self.timeout))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("holdfast health: {}: {reason}", self.address);
                ExitCode::FAILURE
            }
        }
    }

    async fn ask(&self) -> Result<(), Unhealthy> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends with the answer; what goes wrong in it reaches whoever waits for that.
        let connection = tokio::spawn(connection);
        let path = if self.live { "/livez" } else { "/readyz" };
        let mut request = http::Request::new(Empty::<Bytes>::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = http::Uri::from_static(path);
        request.headers_mut().insert(http::header::HOST, http::HeaderValue::from_static("localhost"));
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let said = match Limited::new(answer.into_body(), ANSWER_BYTES).collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim_end().to_owned(),
            Err(_) => String::from("an answer that is none of ours"),
        };
        connection.abort();
        if status == StatusCode::OK { Ok(()) } else { Err(Unhealthy::Says(status, said)) }
    }
}

//! `holdfast dpop curl`: one request as curl would send it, with a DPoP proof made for it.
//!
//! Exit codes are curl's: 0 whenever an answer came, whatever its status; 22 with `--fail` from 400 on; 3 for a URL that is none, 6 for a host that
//! does not resolve, 7 when nobody answers there, 23 when the output cannot be written, 26 for a file that cannot be read, 28 for `--max-time`, 35 for a
//! failed TLS handshake, 52 for a connection that ends without an answer, 56 for one that ends within it, 58 for a client certificate that does not work,
//! 60 for a server that is not trusted, 77 for a CA file that cannot be read; and 2 for arguments that are none.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue, Method, Response};
use thiserror::Error;

use super::{DpopError, TokenArguments};
use crate::caller::connection::SendError;
use crate::caller::trust::TrustError;
use outgoing::Outgoing;

mod outgoing;
mod shown;

/// What the server puts a new nonce in (RFC 9449 §8.1).
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// `holdfast dpop curl`
#[derive(Debug, Args)]
#[command(
    after_help = "Exit codes are curl's: 0 an answer came (22 with --fail and a status from 400 on), 3 not a URL, 6 not resolved, \
7 not connected, 26 file not read, 28 timed out, 35 TLS handshake failed, 52 no answer, 58 client certificate, 60 server not trusted."
)]
pub struct CurlArguments {
    /// Where to.
    url: String,
    /// The DPoP private key: P-256, PEM. It signs a fresh proof for each request sent.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    token: TokenArguments,
    /// The method; GET, or POST with --data.
    #[arg(short = 'X', long = "request", value_name = "METHOD")]
    method: Option<Method>,
    /// A further header, `Name: value`; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "HEADER", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, as a form; may be repeated, then joined with &. @FILE is a file without its line ends, @- standard input.
    #[arg(short = 'd', long = "data", value_name = "DATA")]
    data: Vec<String>,
    /// Do not ask who the server is.
    #[arg(short = 'k', long, conflicts_with = "cacert")]
    insecure: bool,
    /// The CAs to trust instead of the system's, PEM.
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// A client certificate, PEM, leaf first; its key may be in the same file.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The client certificate's key, PEM. (--key is the DPoP key.)
    #[arg(long, value_name = "FILE", requires = "cert")]
    key_file: Option<PathBuf>,
    /// Print the answer's status and headers before its body.
    #[arg(short = 'i', long)]
    include: bool,
    /// Print what is sent (>) and what comes back (<) to standard error, token and proof shortened.
    #[arg(short = 'v', long)]
    verbose: bool,
    /// Say nothing when it fails.
    #[arg(short = 's', long)]
    silent: bool,
    /// Exit with 22, and print no body, when the status is 400 or above.
    #[arg(short = 'f', long)]
    fail: bool,
    /// The longest it may take, in seconds.
    #[arg(short = 'm', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    max_time: Option<u64>,
}

/// Reads `Name: value`.
fn header(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = line.split_once(':').ok_or("not `Name: value`")?;
    let name = name.trim().parse().map_err(|_| "not a header name")?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| "not a header value")?;
    Ok((name, value))
}

/// Why no answer was printed.
#[derive(Debug, Error)]
enum CurlError {
    #[error(transparent)]
    Argument(#[from] DpopError),
    #[error("no CA in {path}: {1}", path = .0.display())]
    Ca(PathBuf, String),
    #[error("client certificate {path}: {1}", path = .0.display())]
    Certificate(PathBuf, String),
    #[error(transparent)]
    Trust(#[from] TrustError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the answer ended early: {0}")]
    Body(#[source] hyper::Error),
    #[error("the server answered {0}")]
    Status(http::StatusCode),
    #[error("it took longer than {0} s")]
    Timeout(u64),
}

impl CurlError {
    /// curl's exit code for it.
    const fn code(&self) -> u8 {
        match self {
            CurlError::Argument(DpopError::Url(..)) => 3,
            CurlError::Argument(DpopError::Output(_) | DpopError::Write(..)) => 23,
            CurlError::Argument(DpopError::Read(..) | DpopError::Key(..)) => 26,
            CurlError::Argument(DpopError::Token | DpopError::Randomness(_)) => 2,
            CurlError::Ca(..) | CurlError::Trust(TrustError::Roots(_)) => 77,
            CurlError::Certificate(..) | CurlError::Trust(TrustError::Identity(_)) => 58,
            CurlError::Send(SendError::Resolve(_)) => 6,
            CurlError::Send(SendError::Connect(..)) => 7,
            CurlError::Send(SendError::Untrusted(_)) => 60,
            CurlError::Send(SendError::Handshake(_)) => 35,
            CurlError::Send(SendError::Exchange(_)) => 52,
            CurlError::Body(_) => 56,
            CurlError::Status(_) => 22,
            CurlError::Timeout(_) => 28,
        }
    }
}

/// Sends the request and prints the answer.
pub(super) async fn run(arguments: &CurlArguments) -> ExitCode {
    match transfer(arguments, &mut io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !arguments.silent {
                eprintln!("holdfast: ({}) {error}", error.code());
            }
            ExitCode::from(error.code())
        }
    }
}

/// [`transfer_untimed`] within `--max-time`.
async fn transfer(arguments: &CurlArguments, out: &mut impl Write) -> Result<(), CurlError> {
    let transfer = transfer_untimed(arguments, out);
    match arguments.max_time {
        None => transfer.await,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds), transfer)
            .await
            .unwrap_or(Err(CurlError::Timeout(seconds))),
    }
}

async fn transfer_untimed(arguments: &CurlArguments, out: &mut impl Write) -> Result<(), CurlError> {
    let outgoing = Outgoing::read(arguments)?;
    let mut response = outgoing.send(None, arguments.verbose).await?;
    // RFC 9449 §9: once, with the nonce that came along. A server that asks again has answered.
    if let Some(nonce) = demanded_nonce(&response) {
        if arguments.verbose {
            eprintln!("* The server asks for a nonce: once more, with its nonce in a new proof");
        }
        response = outgoing.send(Some(&nonce), arguments.verbose).await?;
    }
    shown::answer(response, arguments, out).await
}

/// The nonce to repeat the request with, when that is what the server asks for (RFC 9449 §9).
fn demanded_nonce<B>(response: &Response<B>) -> Option<String> {
    let asked = response.status() == http::StatusCode::UNAUTHORIZED
        && response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .any(|line| line.contains(r#"error="use_dpop_nonce""#));
    let nonce = response.headers().get(DPOP_NONCE)?.to_str().ok()?;
    asked.then(|| nonce.to_owned())
}

#[cfg(test)]
mod tests;

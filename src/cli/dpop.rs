//! `holdfast dpop`: a caller's side by hand. Make a key, print a proof, send a request.

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use http::Method;
use thiserror::Error;

use crate::caller::key::{DpopKey, KeyError};
use crate::caller::private_file;
use crate::caller::proof::{NotAUrl, ProofRequest};
use crate::clock::Clock;

pub mod curl;

/// The most that is read of a file with a key, a token or a body. A larger one is refused.
const FILE_BYTES: u64 = 64 << 10;

/// What to do as a DPoP caller.
#[derive(Debug, Subcommand)]
pub enum DpopCommand {
    /// Make a P-256 key; show its thumbprint and its public JWK.
    Key(KeyArguments),
    /// Print a proof for one request, and nothing else.
    Proof(ProofArguments),
    /// Send a request with a fresh proof; options and output as curl's.
    Curl(Box<curl::CurlArguments>),
}

/// `holdfast dpop key`
#[derive(Debug, Args)]
pub struct KeyArguments {
    /// Write the private key here: PKCS#8 PEM, mode 0600. An existing file is never replaced.
    ///
    /// Left out, the key goes to standard output, and what is shown of it to standard error.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `holdfast dpop proof`
#[derive(Debug, Args)]
pub struct ProofArguments {
    /// The private key: P-256, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The request's method.
    #[arg(long, default_value = "GET")]
    method: Method,
    /// The request's URL; query and fragment are left out of the proof.
    #[arg(long)]
    url: String,
    #[command(flatten)]
    token: TokenArguments,
    /// The nonce of the server's DPoP-Nonce header.
    #[arg(long)]
    nonce: Option<String>,
}

/// Where the access token comes from; without one, the proof has no `ath`, as a token endpoint wants it.
#[derive(Args)]
#[group(multiple = false)]
pub struct TokenArguments {
    /// The access token. Other users see it in the list of processes: --token-file keeps it out.
    #[arg(long)]
    token: Option<String>,
    /// A file that holds the access token; - is standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for TokenArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenArguments(…)")
    }
}

/// Why a command cannot be done. None of them repeats a secret.
#[derive(Debug, Error)]
pub enum DpopError {
    /// A file cannot be read.
    #[error("cannot read {path}: {1}", path = .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// A file cannot be written.
    #[error("cannot write {path}: {1}", path = .0.display())]
    Write(PathBuf, #[source] io::Error),
    /// The file with the key holds none.
    #[error("{path}: {1}", path = .0.display())]
    Key(PathBuf, #[source] KeyError),
    /// There is no randomness.
    #[error(transparent)]
    Randomness(#[from] KeyError),
    /// The URL is none.
    #[error("{1}: {0}")]
    Url(NotAUrl, String),
    /// The token could be no header value.
    #[error("the access token is empty or has characters that no token has")]
    Token,
    /// Standard output is closed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

/// Does it. Exit codes: 0 done, 1 not; `curl` has its own (see [`curl`]).
pub async fn run(command: DpopCommand) -> ExitCode {
    let done = match command {
        DpopCommand::Key(arguments) => key(&arguments, &mut io::stdout()),
        DpopCommand::Proof(arguments) => proof(&arguments, &mut io::stdout()),
        DpopCommand::Curl(arguments) => return curl::run(&arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("holdfast: {error}");
            ExitCode::FAILURE
        }
    }
}

fn key(arguments: &KeyArguments, out: &mut impl Write) -> Result<(), DpopError> {
    let key = DpopKey::generate()?;
    let shown = format!("thumbprint (jkt): {}\npublic JWK:       {}\n", key.thumbprint(), key.public_jwk());
    match &arguments.out {
        Some(path) => {
            private_file::create(path, &key.to_pkcs8_pem())
                .map_err(|error| DpopError::Write(path.clone(), error))?;
            print(out, shown.as_bytes())
        }
        None => {
            eprint!("{shown}");
            print(out, key.to_pkcs8_pem().as_bytes())
        }
    }
}

fn proof(arguments: &ProofArguments, out: &mut impl Write) -> Result<(), DpopError> {
    let key = read_key(&arguments.key)?;
    let mut request = proof_request(&arguments.method, &arguments.url)?;
    if let Some(token) = arguments.token.read()? {
        request = request.with_token(&token);
    }
    if let Some(nonce) = &arguments.nonce {
        request = request.with_nonce(nonce);
    }
    let proof = request.sign(&key, Clock::system().now())?;
    print(out, format!("{proof}\n").as_bytes())
}

fn proof_request(method: &Method, url: &str) -> Result<ProofRequest, DpopError> {
    ProofRequest::new(method, url).map_err(|error| DpopError::Url(error, url.to_owned()))
}

fn read_key(path: &Path) -> Result<DpopKey, DpopError> {
    DpopKey::from_pem(&read_text(path)?).map_err(|error| DpopError::Key(path.to_owned(), error))
}

impl TokenArguments {
    /// The token, where one is given. White space around it, such as the last line's end, is no part of it.
    fn read(&self) -> Result<Option<String>, DpopError> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => token.clone(),
            (None, Some(path)) => read_text(path)?,
            (None, None) => return Ok(None),
        };
        let token = token.trim();
        // RFC 9449 §4.2 hashes the token's ASCII; a token with anything else cannot be sent, and a space would make it two.
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DpopError::Token);
        }
        Ok(Some(token.to_owned()))
    }
}

/// A file's text, or standard input's where the path is `-`. Pipes are fine: `--key <(command)` writes nothing to a disk.
fn read_text(path: &Path) -> Result<String, DpopError> {
    let read = || {
        let mut text = String::new();
        // One byte more than is allowed tells a file that is too large from one that just fits: half a body must not be sent as a whole one.
        if path.as_os_str() == "-" {
            io::stdin().lock().take(FILE_BYTES + 1).read_to_string(&mut text)?;
        } else {
            fs::File::open(path)?.take(FILE_BYTES + 1).read_to_string(&mut text)?;
        }
        if text.len() as u64 > FILE_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 64 KiB"));
        }
        Ok(text)
    };
    read().map_err(|error| DpopError::Read(path.to_owned(), error))
}

/// Writes to standard output, at once. `print!` would panic where it is closed.
fn print(out: &mut impl Write, bytes: &[u8]) -> Result<(), DpopError> {
    out.write_all(bytes).and_then(|()| out.flush()).map_err(DpopError::Output)
}

#[cfg(test)]
mod tests;

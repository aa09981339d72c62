//! A door of the group, which is a gateway or the balancer before them, and a connection to it that is made again when it has ended.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Outcome;
use crate::gateway::HOST;

/// A request that has no answer by then has none. A gateway that waits for its store answers long before.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// It passed.
    Passed,
    /// It was refused: the status and the gateway's reason.
    Refused(u16, String),
    /// The connection could not be made, or ended before there was an answer. Whether it passed is not known.
    Lost,
    /// No answer for as long as it was waited for.
    Hung,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passed => f.write_str("passed"),
            Self::Refused(status, reason) => write!(f, "{status} {reason}"),
            Self::Lost => f.write_str("connection lost"),
            Self::Hung => f.write_str("no answer"),
        }
    }
}

/// An answer with what a caller takes from it.
#[derive(Debug)]
pub(crate) struct Told {
    /// The number of the door that it came from
    pub(crate) door: usize,
    pub(crate) answer: Answer,
    /// `DPoP-Nonce`
    pub(crate) nonce: Option<String>,
    pub(crate) took: Duration,
}

/// Whom callers believe.
#[derive(Clone)]
pub(crate) struct Trust(TlsConnector);

impl Trust {
    pub(crate) fn new(ca: &Path) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }
}

/// A connection to one door, kept from one request to the next.
pub(crate) struct Connection {
    number: usize,
    door: SocketAddr,
    trust: Trust,
    stream: Option<TlsStream<TcpStream>>,
}

impl Connection {
    /// `number` is what the door is called in counts: that of the gateway, or one more than the last of them for the balancer.
    pub(crate) fn to(number: usize, door: SocketAddr, trust: &Trust) -> Self {
        Self { number, door, trust: trust.clone(), stream: None }
    }

    /// Makes the connection, if there is none, and nothing else.
    pub(crate) async fn open(&mut self) -> io::Result<()> {
        if self.stream.is_none() {
            let socket = TcpStream::connect(self.door).await?;
            socket.set_nodelay(true)?;
            let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
            self.stream = Some(self.trust.0.connect(name, socket).await?);
        }
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Told {
        self.send_within(request, PATIENCE).await
    }

    /// Sends a request once, and waits for so long: one that may have arrived is never sent again here, since whoever counts would count it twice.
    pub(crate) async fn send_within(&mut self, request: &[u8], patience: Duration) -> Told {
        let began = Instant::now();
        let outcome = tokio::time::timeout(patience, self.exchange(request)).await;
        let took = began.elapsed();
        let (answer, nonce, keep) = match outcome {
            Ok(Ok((answer, nonce, keep))) => (answer, nonce, keep),
            Ok(Err(_)) => (Answer::Lost, None, false),
            Err(_) => (Answer::Hung, None, false),
        };
        if !keep {
            self.stream = None;
        }
        Told { door: self.number, answer, nonce, took }
    }

    async fn exchange(&mut self, request: &[u8]) -> io::Result<(Answer, Option<String>, bool)> {
        self.open().await?;
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.write_all(request).await?;
        let mut buffer = Vec::with_capacity(1024);
        loop {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(whole) = whole(&buffer)? {
                return Ok(whole);
            }
        }
    }
}

/// The answer that begins here, its nonce, and whether the connection stays, once everything of it is here.
fn whole(bytes: &[u8]) -> io::Result<Option<(Answer, Option<String>, bool)>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(io::Error::other)?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status: u16 = status.ok_or_else(|| io::Error::other("no status"))?;
    let field = |wanted: &str| {
        let mut fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find_map(|(name, value)| name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned()))
    };
    let length = field("content-length").and_then(|length| length.parse::<usize>().ok());
    let length = length.ok_or_else(|| io::Error::other("an answer without a length"))?;
    if bytes.len() < end + 4 + length {
        return Ok(None);
    }
    let body: serde_json::Value = serde_json::from_slice(&bytes[end + 4..]).unwrap_or_default();
    let reason = body["reason"].as_str().unwrap_or_default().to_owned();
    let answer = if status == 200 { Answer::Passed } else { Answer::Refused(status, reason) };
    let keep = field("connection").is_none_or(|token| !token.eq_ignore_ascii_case("close"));
    Ok(Some((answer, field("dpop-nonce"), keep)))
}

#[cfg(test)]
mod tests {
    use super::{Answer, whole};

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let text = "HTTP/1.1 401 Unauthorized\r\nDPoP-Nonce: n\r\ncontent-length: 22\r\n\r\n{\"reason\":\"replayed\"} ";
        assert!(whole(&text.as_bytes()[..text.len() - 1]).expect("HTTP").is_none());
        let (answer, nonce, keep) = whole(text.as_bytes()).expect("HTTP").expect("whole");
        assert_eq!(answer, Answer::Refused(401, "replayed".to_owned()));
        assert_eq!((nonce.as_deref(), keep), (Some("n"), true));
    }
}

//! One TLS connection that is kept, and one request after the other on it.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Outcome;
use crate::requests::Kind;

/// The name that every server here has in its certificate.
const SERVER: &str = "localhost";

/// How connections are made.
pub(crate) struct Settings {
    connector: TlsConnector,
}

impl Settings {
    /// TLS 1.3 with one cipher suite, so that no proxy is measured with a cheaper one than another; with a client certificate where the requests
    /// need it.
    pub(crate) fn new(files: &Path, kind: Kind) -> Outcome<Self> {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(files.join("ca.pem"))?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match kind {
            Kind::Plain | Kind::Dpop => builder.with_no_client_auth(),
            Kind::Certificate => builder.with_client_auth_cert(
                vec![CertificateDer::from_pem_file(files.join("client.pem"))?],
                PrivateKeyDer::from_pem_file(files.join("client.key"))?,
            )?,
        };
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)) })
    }
}

/// One connection.
pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, settings: &Settings) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(SERVER).map_err(io::Error::other)?;
        let stream = settings.connector.connect(name, socket).await?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads its answer, which has to be a 200 with a length.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request).await?;
        // The session's tickets, if any, are behind us by the first answer; nothing else is ever in the buffer.
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(length) = whole(&self.buffer)? {
                return match self.buffer.len() {
                    here if here < length => continue,
                    here if here == length => Ok(()),
                    _ => Err(io::Error::other("more than one answer")),
                };
            }
        }
    }
}

/// How long the answer is that begins here, once its head is whole.
fn whole(answer: &[u8]) -> io::Result<Option<usize>> {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else { return Ok(None) };
    let head = &answer[..end];
    let unfit = || io::Error::other(String::from_utf8_lossy(answer).into_owned());
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(unfit());
    }
    let length = head
        .split(|byte| *byte == b'\n')
        .find_map(|line| {
            let (name, value) = line.split_at_checked("content-length:".len())?;
            name.eq_ignore_ascii_case(b"content-length:").then_some(value)
        })
        .and_then(|value| std::str::from_utf8(value.trim_ascii()).ok()?.parse::<usize>().ok());
    Ok(Some(end + 4 + length.ok_or_else(unfit)?))
}

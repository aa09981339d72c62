//! What goes over the wire, byte for byte: requests that no client library would send, and answers as they came.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Nothing here takes longer, unless something hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub struct Client {
    stream: Box<dyn Stream>,
    /// Read, but not yet part of an answer.
    rest: Vec<u8>,
    /// The last request was HEAD, so its answer has no body whatever its fields say.
    head: bool,
}

/// One HTTP/2 connection. Clones share it.
#[derive(Clone)]
pub struct H2Client(http2::SendRequest<Full<Bytes>>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One answer, with its body read to the end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Every line of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// The only line of a header.
    pub fn one(&self, name: &str) -> &str {
        match self.all(name)[..] {
            [value] => value,
            ref lines => panic!("{name} has {} lines in {self:?}", lines.len()),
        }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The label of a refusal, from the body.
    pub fn reason(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["reason"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    /// Connects over TLS, without judging the server's certificate.
    pub async fn connect(
        address: SocketAddr,
        sni: &str,
        certificate: Option<(Vec<u8>, Vec<u8>)>,
    ) -> io::Result<Self> {
        let certificate = certificate.map(|(der, key)| (vec![der], key));
        Self::connect_with(address, sni, Arc::new(settings(rustls::ALL_VERSIONS, certificate))).await
    }

    /// Connects over TLS with these settings.
    pub async fn connect_with(
        address: SocketAddr,
        sni: &str,
        settings: Arc<ClientConfig>,
    ) -> io::Result<Self> {
        tls(address, sni, settings).await.map(Self::over)
    }

    /// A connection that is there already.
    pub fn over(stream: TlsStream<TcpStream>) -> Self {
        Self { stream: Box::new(stream), rest: Vec::new(), head: false }
    }

    /// Connects without TLS.
    pub async fn plain(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: Box::new(TcpStream::connect(address).await?), rest: Vec::new(), head: false })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.head = bytes.starts_with(b"HEAD ");
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends a request and reads the answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.send(request).await?;
        self.answer().await
    }

    /// Reads one answer; 1xx are passed over.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.read_answer()).await.map_err(io::Error::other)?
    }

    /// Whether the other side has closed, with nothing more to read.
    pub async fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match tokio::time::timeout(PATIENCE, self.stream.read(&mut byte)).await {
            Ok(Ok(count)) => count == 0 && self.rest.is_empty(),
            Ok(Err(_)) => true,
            Err(_) => false,
        }
    }

    /// Reads one head, that of a 1xx too, and nothing behind it.
    pub async fn head(&mut self) -> io::Result<Answer> {
        tokio::time::timeout(PATIENCE, self.read_head()).await.map_err(io::Error::other)?
    }

    /// Reads until `text` has come, and returns everything up to its end.
    pub async fn read_until(&mut self, text: &[u8]) -> io::Result<Vec<u8>> {
        let read = async {
            loop {
                if let Some(at) = self.rest.windows(text.len()).position(|window| window == text) {
                    return Ok(self.rest.drain(..at + text.len()).collect());
                }
                self.more().await?;
            }
        };
        tokio::time::timeout(PATIENCE, read).await.map_err(io::Error::other)?
    }

    async fn read_answer(&mut self) -> io::Result<Answer> {
        loop {
            let mut answer = self.read_head().await?;
            if (100..200).contains(&answer.status) {
                continue;
            }
            answer.body = self.read_body(&answer).await?;
            return Ok(answer);
        }
    }

    async fn read_head(&mut self) -> io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.rest.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::other(format!("no status line: {head}")))?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Ok(Answer { status, headers, body: Vec::new() })
    }

    async fn read_body(&mut self, answer: &Answer) -> io::Result<Vec<u8>> {
        if self.head || answer.status == 204 || answer.status == 304 {
            return Ok(Vec::new());
        }
        if let [length] = answer.all("content-length")[..] {
            let length: usize = length.parse().map_err(io::Error::other)?;
            while self.rest.len() < length {
                self.more().await?;
            }
            return Ok(self.rest.drain(..length).collect());
        }
        let mut body = Vec::new();
        if answer.all("transfer-encoding") == ["chunked"] {
            loop {
                let line = self.line().await?;
                let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
                while self.rest.len() < size + 2 {
                    self.more().await?;
                }
                body.extend(self.rest.drain(..size));
                self.rest.drain(..2);
                if size == 0 {
                    return Ok(body);
                }
            }
        }
        // Neither: the body goes on until the connection ends.
        while self.more().await.is_ok() {}
        Ok(std::mem::take(&mut self.rest))
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|window| window == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        match self.stream.read(&mut buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }
}

/// A client's TLS settings for these versions, with this chain and key. The server's certificate is not judged.
pub fn settings(
    versions: &[&'static SupportedProtocolVersion],
    certificate: Option<(Vec<Vec<u8>>, Vec<u8>)>,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("versions that rustls has")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unjudged(provider)));
    match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder
            .with_client_auth_cert(
                chain.into_iter().map(CertificateDer::from).collect(),
                PrivateKeyDer::Pkcs8(key.into()),
            )
            .expect("a key that rustls can use"),
    }
}

/// A TLS connection.
pub async fn tls(
    address: SocketAddr,
    sni: &str,
    settings: Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(sni.to_owned()).map_err(io::Error::other)?;
    TlsConnector::from(settings).connect(name, TcpStream::connect(address).await?).await
}

impl H2Client {
    /// Connects over TLS with `h2`.
    pub async fn connect(
        address: SocketAddr,
        sni: &str,
        certificate: Option<(Vec<u8>, Vec<u8>)>,
    ) -> io::Result<Self> {
        let mut settings = settings(rustls::ALL_VERSIONS, certificate.map(|(der, key)| (vec![der], key)));
        settings.alpn_protocols = vec![b"h2".to_vec()];
        let stream = tls(address, sni, Arc::new(settings)).await?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Sends a request on a stream of its own and reads the answer.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> io::Result<Answer> {
        let mut sender = self.0.clone();
        let answer = async {
            sender.ready().await?;
            let (parts, body) = sender.send_request(request).await?.into_parts();
            let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let headers =
                parts.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
            let body = body.collect().await?.to_bytes().to_vec();
            Ok::<_, hyper::Error>(Answer { status: parts.status.as_u16(), headers, body })
        };
        tokio::time::timeout(PATIENCE, answer).await.map_err(io::Error::other)?.map_err(io::Error::other)
    }
}

/// Takes any server certificate: these tests are about the caller's side.
#[derive(Debug)]
struct Unjudged(Arc<CryptoProvider>);

impl ServerCertVerifier for Unjudged {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

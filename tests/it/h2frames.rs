//! HTTP/2 by hand: frames as no client library would send them, and what comes back (RFC 9113 §4, §6).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::house::{HOST, House};
use crate::wire;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags: END_STREAM and ACK are the same bit on different frames.
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// What a client sends first (RFC 9113 §3.4), with empty settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Longer than any answer here takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as a header block, each a literal that no table remembers (RFC 7541 §6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // RFC 7541 §5.1: seven bits, then the rest in sevens.
            match u8::try_from(text.len()) {
                Ok(length) if length < 127 => block.push(length),
                _ => {
                    block.push(127);
                    let mut left = text.len() - 127;
                    while left >= 128 {
                        block.push(u8::try_from(left % 128).expect("small") | 128);
                        left /= 128;
                    }
                    block.push(u8::try_from(left).expect("small"));
                }
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The head of a request for `/public`, with these fields behind the pseudo-fields.
pub fn request(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", "/public")];
    block(&[&pseudo[..], more].concat())
}

/// A whole GET on one stream.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &request("GET", &[]))
}

/// The head of a POST, whose body is still to come.
pub fn post(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", &[]))
}

/// What came back, as far as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The code of the GOAWAY that ended the connection.
    pub goaway: Option<u32>,
    /// Streams that were reset, with the code.
    pub resets: Vec<(u32, u32)>,
    /// Streams that had an answer.
    pub answered: Vec<u32>,
    /// Payloads of acknowledged pings.
    pub pings: Vec<[u8; 8]>,
    /// Acknowledged settings.
    pub settings: usize,
    /// Lengths of DATA frames.
    pub data: Vec<usize>,
    /// The connection was closed.
    pub closed: bool,
}

/// A connection to a gateway, by hand.
pub struct Raw(pub TlsStream<TcpStream>);

impl Raw {
    /// A connection that speaks HTTP/2 and has sent nothing.
    pub async fn connect(house: &House) -> io::Result<Self> {
        let mut settings = wire::settings(rustls::ALL_VERSIONS, None);
        settings.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(wire::tls(house.address, HOST, Arc::new(settings)).await?))
    }

    /// Sends bytes; whether they were taken is seen in what comes back.
    pub async fn send(&mut self, bytes: &[u8]) {
        // The other side may have closed before it read everything.
        let _ = self.0.write_all(bytes).await;
        let _ = self.0.flush().await;
    }

    /// Reads until the connection ends or `enough` has come.
    pub async fn hear(&mut self, enough: impl Fn(&Heard) -> bool) -> Heard {
        let mut heard = Heard::default();
        let reading = async {
            while !enough(&heard) {
                let Some((kind, flags, stream, payload)) = self.frame().await else {
                    heard.closed = true;
                    return;
                };
                let code = |at: usize| {
                    payload
                        .get(at..at + 4)
                        .and_then(|code| code.try_into().ok())
                        .map_or(0, u32::from_be_bytes)
                };
                match kind {
                    GOAWAY if code(4) != 0 => heard.goaway = Some(code(4)),
                    RST_STREAM => heard.resets.push((stream, code(0))),
                    HEADERS => heard.answered.push(stream),
                    PING if flags & ACK != 0 => heard.pings.extend(<[u8; 8]>::try_from(&payload[..])),
                    SETTINGS if flags & ACK != 0 => heard.settings += 1,
                    DATA => heard.data.push(payload.len()),
                    _ => {}
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, reading).await.is_ok(), "nothing ended: {heard:?}");
        heard
    }

    /// The next frame; none when the connection ended.
    async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut header = [0; 9];
        self.0.read_exact(&mut header).await.ok()?;
        let [high, middle, low, kind, flags, stream @ ..] = header;
        let mut payload = vec![0; usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(stream) & 0x7fff_ffff, payload))
    }
}

//! The PROXY protocol, versions 1 and 2: whom the proxy in front of a connection speaks for (haproxy.org, proxy-protocol.txt).
//!
//! The header comes before TLS and nothing in it is proven, so it is read from `trusted_proxies` alone, and where a listener has
//! `proxy_protocol: required` there is no connection without it: one that could be left out could be written by the caller. What
//! follows the header is left unread in the socket, since it is the client's handshake.
//!
//! Additional fields (TLVs) are not looked at, with one exception: a checksum that is there has to be right.

use std::io;
use std::net::SocketAddr;

use ppp::{v1, v2};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// How much of a header tells its version: version 2 begins with these twelve bytes, and no header of version 1 is shorter.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const WORD: &[u8; 6] = b"PROXY ";
/// The longest header of version 1, with its CRLF (§2.1).
const LONGEST_V1: usize = 107;
/// Version 2: signature, version and command, family and protocol, length (§2.2).
const FIXED_V2: usize = 16;
/// The most that may follow in version 2. Addresses take at most 216 bytes; the rest are fields such as a cloud's endpoint id or
/// a client certificate's names.
const LONGEST_V2: usize = 4096;
/// §2.2.3: the type of a checksum field, and its length.
const CRC32C: u8 = 0x03;
const CHECKSUM: usize = 4;

/// Whom a header speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spoken {
    /// The client at this address.
    For(SocketAddr),
    /// Nobody that can be named: the proxy itself (`LOCAL`, as for its health checks), or a client without an IP address (`UNKNOWN`).
    ForNobody,
}

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    /// The connection ended before it began.
    #[error("nothing came")]
    Nothing,
    /// The connection does not begin with a header.
    #[error("no PROXY header")]
    Missing,
    /// The connection ended in the middle.
    #[error("half a PROXY header")]
    Half,
    /// A version 1 header without its end where that must be, or a version 2 header that says it is longer than we read.
    #[error("a PROXY header that is too long")]
    TooLong,
    /// It breaks the grammar.
    #[error("a malformed PROXY header")]
    Malformed,
    /// Its checksum is that of something else.
    #[error("a PROXY header with a wrong checksum")]
    Checksum,
    /// The connection failed.
    #[error("the connection failed before a PROXY header had come")]
    Lost,
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Half } else { Self::Lost }
    }
}

/// Reads the header that `stream` begins with, and not a byte behind it. There is no time limit here: the caller has one.
///
/// # Errors
/// [`Unusable`], as soon as it is certain; the connection is to be closed then.
pub(super) async fn read(stream: &mut TcpStream) -> Result<Spoken, Unusable> {
    let mut start = [0; SIGNATURE.len()];
    let mut come = 0;
    while come < start.len() {
        match stream.read(&mut start[come..]).await? {
            0 if come == 0 => return Err(Unusable::Nothing),
            0 => return Err(Unusable::Half),
            more => come += more,
        }
        // Said at once, or somebody who forgot the header would wait for an answer until the time limit.
        let begins = |with: &[u8]| start[..come.min(with.len())] == with[..come.min(with.len())];
        if !begins(SIGNATURE) && !begins(WORD) {
            return Err(Unusable::Missing);
        }
    }
    if start == *SIGNATURE { read_v2(stream, start).await } else { read_v1(stream, start).await }
}

async fn read_v1(stream: &mut TcpStream, start: [u8; SIGNATURE.len()]) -> Result<Spoken, Unusable> {
    let mut header = [0; LONGEST_V1];
    header[..start.len()].copy_from_slice(&start);
    let mut come = start.len();
    loop {
        // Looked at first and then taken up to the line's end: what is behind it belongs to TLS.
        let seen = stream.peek(&mut header[come..]).await?;
        if seen == 0 {
            return Err(Unusable::Half);
        }
        let end = memchr::memchr(b'\n', &header[come..come + seen]).map(|at| come + at + 1);
        let upto = end.unwrap_or(come + seen);
        stream.read_exact(&mut header[come..upto]).await?;
        come = upto;
        if end.is_some() {
            return parse_v1(&header[..come]);
        }
        if come == LONGEST_V1 {
            return Err(Unusable::TooLong);
        }
    }
}

async fn read_v2(stream: &mut TcpStream, start: [u8; SIGNATURE.len()]) -> Result<Spoken, Unusable> {
    let mut fixed = [0; FIXED_V2];
    fixed[..start.len()].copy_from_slice(&start);
    stream.read_exact(&mut fixed[start.len()..]).await?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST_V2 {
        return Err(Unusable::TooLong);
    }
    let mut header = fixed.to_vec();
    header.resize(FIXED_V2 + length, 0);
    stream.read_exact(&mut header[FIXED_V2..]).await?;
    parse_v2(&header)
}

/// A whole header of version 1, with the LF at its end.
fn parse_v1(header: &[u8]) -> Result<Spoken, Unusable> {
    // The parser looks for the first CR, and its numbers may have a sign.
    let line = header.strip_suffix(b"\r\n").ok_or(Unusable::Malformed)?;
    if line.iter().any(|&byte| !matches!(byte, b' '..=b'~') || byte == b'+') {
        return Err(Unusable::Malformed);
    }
    match v1::Header::try_from(header).map_err(|_| Unusable::Malformed)?.addresses {
        v1::Addresses::Unknown => Ok(Spoken::ForNobody),
        v1::Addresses::Tcp4(told) => {
            Ok(Spoken::For(SocketAddr::from((told.source_address, told.source_port))))
        }
        v1::Addresses::Tcp6(told) => {
            Ok(Spoken::For(SocketAddr::from((told.source_address, told.source_port))))
        }
    }
}

/// A whole header of version 2, and nothing behind it.
fn parse_v2(header: &[u8]) -> Result<Spoken, Unusable> {
    let parsed = v2::Header::try_from(header).map_err(|_| Unusable::Malformed)?;
    // What is spoken here is TCP; somebody who announces datagrams means another port.
    if parsed.protocol == v2::Protocol::Datagram {
        return Err(Unusable::Malformed);
    }
    let fields = parsed.tlv_bytes();
    judge_checksum(header, header.len() - fields.len())?;
    match (parsed.command, parsed.addresses) {
        // §2.2: what a LOCAL header says of addresses is to be discarded.
        (v2::Command::Local, _)
        | (v2::Command::Proxy, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => Ok(Spoken::ForNobody),
        (v2::Command::Proxy, v2::Addresses::IPv4(told)) => {
            Ok(Spoken::For(SocketAddr::from((told.source_address, told.source_port))))
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(told)) => {
            Ok(Spoken::For(SocketAddr::from((told.source_address, told.source_port))))
        }
    }
}

/// §2.2.3: a checksum field holds the CRC-32C of the whole header with zeros in its own place. The fields begin at `at`.
fn judge_checksum(header: &[u8], mut at: usize) -> Result<(), Unusable> {
    while at < header.len() {
        let [kind, high, low, ..] = header[at..] else { return Err(Unusable::Malformed) };
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        let Some(field) = header.get(value..end) else { return Err(Unusable::Malformed) };
        if kind == CRC32C {
            let told: [u8; CHECKSUM] = field.try_into().map_err(|_| Unusable::Malformed)?;
            let parts = [&header[..value], &[0; CHECKSUM], &header[end..]];
            if u32::from_be_bytes(told) != crc32c(parts.into_iter().flatten()) {
                return Err(Unusable::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// RFC 9260 appendix A: the Castagnoli polynomial, reflected. A bit at a time: a header is short, and few have the field.
fn crc32c<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            let carry = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc >> 1 ^ carry
        })
    };
    !bytes.fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    const ADDRESSES: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0x11, 0x5c, 0x01, 0xbb];

    fn for_client(address: &str) -> Result<Spoken, Unusable> {
        Ok(Spoken::For(address.parse().expect("an address")))
    }

    #[test]
    fn version_1_as_the_specification_has_it() {
        for (header, spoken) in [
            ("PROXY TCP4 203.0.113.7 10.0.0.1 4444 443\r\n", for_client("203.0.113.7:4444")),
            ("PROXY TCP6 2001:db8::7 ::1 65535 0\r\n", for_client("[2001:db8::7]:65535")),
            ("PROXY UNKNOWN\r\n", Ok(Spoken::ForNobody)),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", Ok(Spoken::ForNobody)),
        ] {
            assert_eq!(parse_v1(header.as_bytes()), spoken, "{header}");
        }
        for header in [
            "PROXY TCP4 203.0.113.7 10.0.0.1 4444 443\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4444 65536\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 +4444 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 04444 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 -1 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4444\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4444 443 1\r\n",
            "PROXY TCP4  203.0.113.7 10.0.0.1 4444 443\r\n",
            "PROXY TCP4 2001:db8::7 ::1 4444 443\r\n",
            "PROXY TCP6 203.0.113.7 10.0.0.1 4444 443\r\n",
            "PROXY TCP4 203.0.113.007 10.0.0.1 4444 443\r\n",
            "PROXY UDP4 203.0.113.7 10.0.0.1 4444 443\r\n",
            "PROXY TCP4\t203.0.113.7 10.0.0.1 4444 443\r\n",
            "PROXY UNKNOWN\r\r\n",
            "PROXY UNKNOWN \0\r\n",
            "PROXY \r\n",
            "proxy TCP4 203.0.113.7 10.0.0.1 4444 443\r\n",
        ] {
            assert_eq!(parse_v1(header.as_bytes()), Err(Unusable::Malformed), "{header}");
        }
    }

    #[test]
    fn version_2_as_the_specification_has_it() {
        let ipv6 = [&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7][..], &[0; 16], &[0, 9, 0, 1]];
        let field = [&ADDRESSES[..], &[0xea, 0, 2, 1, 2]].concat();
        for (header, spoken) in [
            (v2(0x21, 0x11, &ADDRESSES), for_client("203.0.113.7:4444")),
            (v2(0x21, 0x21, &ipv6.concat()), for_client("[2001:db8::7]:9")),
            (v2(0x21, 0x11, &field), for_client("203.0.113.7:4444")),
            (v2(0x20, 0x00, &[]), Ok(Spoken::ForNobody)),
            // A health check of the proxy's own, whatever addresses it puts in.
            (v2(0x20, 0x11, &ADDRESSES), Ok(Spoken::ForNobody)),
            (v2(0x21, 0x00, &[1, 2, 3]), Ok(Spoken::ForNobody)),
            (v2(0x21, 0x31, &[0; 216]), Ok(Spoken::ForNobody)),
        ] {
            assert_eq!(parse_v2(&header), spoken, "{header:x?}");
        }
        for (header, why) in [
            (v2(0x11, 0x11, &ADDRESSES), "version"),
            (v2(0x22, 0x11, &ADDRESSES), "command"),
            (v2(0x21, 0x41, &ADDRESSES), "family"),
            (v2(0x21, 0x13, &ADDRESSES), "transport"),
            (v2(0x21, 0x12, &ADDRESSES), "datagrams"),
            (v2(0x21, 0x11, &ADDRESSES[..11]), "short addresses"),
            (v2(0x21, 0x11, &[&ADDRESSES[..], &[0xea, 0]].concat()), "half a field"),
            (v2(0x21, 0x11, &[&ADDRESSES[..], &[0xea, 0, 3, 1, 2]].concat()), "a field that is too long"),
            (v2(0x21, 0x11, &[&ADDRESSES[..], &[3, 0, 3, 1, 2, 3]].concat()), "a short checksum"),
        ] {
            assert_eq!(parse_v2(&header), Err(Unusable::Malformed), "{why}");
        }
    }

    #[test]
    fn a_checksum_that_is_there_is_right() {
        assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283, "the check value of CRC-32C");
        let without = v2(0x21, 0x11, &[&ADDRESSES[..], &[3, 0, 4, 0, 0, 0, 0], &[0xea, 0, 1, 9]].concat());
        let mut with = without.clone();
        let sum = crc32c(without.iter()).to_be_bytes();
        with[31..35].copy_from_slice(&sum);
        assert_eq!(parse_v2(&with), for_client("203.0.113.7:4444"));
        assert_eq!(parse_v2(&without), Err(Unusable::Checksum));
        let last = with.len() - 1;
        with[last] ^= 1;
        assert_eq!(parse_v2(&with), Err(Unusable::Checksum));
    }

    /// Whatever comes in pieces is put together, and what is behind the header stays where it is.
    #[tokio::test]
    async fn nothing_behind_the_header_is_read() {
        let v1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 4444 443\r\n".to_vec();
        for header in [v1, v2(0x21, 0x11, &ADDRESSES)] {
            for piece in [1, 5, header.len()] {
                let (mut near, mut far) = pair().await;
                let sent = [&header[..], b"\x16\x03\x01\r\n"].concat();
                let reading = tokio::spawn(async move { (read(&mut far).await, far) });
                for piece in sent.chunks(piece) {
                    tokio::io::AsyncWriteExt::write_all(&mut near, piece).await.expect("open");
                    tokio::task::yield_now().await;
                }
                drop(near);
                let (spoken, mut far) = reading.await.expect("no panic");
                assert_eq!(spoken, for_client("203.0.113.7:4444"));
                let mut rest = Vec::new();
                far.read_to_end(&mut rest).await.expect("open");
                assert_eq!(rest, b"\x16\x03\x01\r\n");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_said_to_be_none() {
        let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
        let longer = v2(0x21, 0x11, &[0; LONGEST_V2 + 1]);
        for (sent, why) in [
            (&b""[..], Unusable::Nothing),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00", Unusable::Missing),
            (b"GET / HTTP/1.1\r\n\r\n", Unusable::Missing),
            (b"PROXIED ", Unusable::Missing),
            (b"PROXY", Unusable::Half),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4444 443", Unusable::Half),
            (&SIGNATURE[..7], Unusable::Half),
            (&v2(0x21, 0x11, &ADDRESSES)[..20], Unusable::Half),
            (&long, Unusable::TooLong),
            (&longer, Unusable::TooLong),
            (b"\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c", Unusable::Missing),
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4444 x\r\n", Unusable::Malformed),
        ] {
            let (mut near, mut far) = pair().await;
            tokio::io::AsyncWriteExt::write_all(&mut near, sent).await.expect("open");
            tokio::io::AsyncWriteExt::shutdown(&mut near).await.expect("open");
            assert_eq!(read(&mut far).await, Err(why), "{:?}", String::from_utf8_lossy(sent));
        }
        // Said while the other side still waits.
        let (mut near, mut far) = pair().await;
        tokio::io::AsyncWriteExt::write_all(&mut near, b"G").await.expect("open");
        assert_eq!(read(&mut far).await, Err(Unusable::Missing));
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connected");
        (near, listener.accept().await.expect("a connection").0)
    }
}

//! R-L-06: what two readers could understand differently is refused, and no handler hears of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::super::chunked::{Broken, Checked, ChunkReader};
use super::super::head::{Body, Head, HeadReader};
use super::super::refusal::Refusal;
use super::{Answers, exchange, limits, pipe, rest, until};
use crate::accept::body::BodyFault;

/// Every one of these must be refused whole, in one piece and byte by byte.
const REFUSED: &[(&str, &[u8])] = &[
    // Lines.
    ("400", b"GET / HTTP/1.1\nHost: a\n\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\n\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX\t: a\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX(y): a\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nX\xc3\xa9: a\r\n\r\n"),
    ("400", b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    // The request line.
    ("400", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    ("400", b" GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET / a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /\r\nHost: a\r\n\r\n"),
    ("400", b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("400", b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    ("505", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("505", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("505", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // Host.
    ("400", b"GET / HTTP/1.1\r\n\r\n"),
    ("400", b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
    ("400", b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"),
    // Where the request ends.
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 1 1\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\na"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("400", b"POST /body HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
];

#[tokio::test(start_paused = true)]
async fn nothing_of_a_doubtful_request_reaches_the_handler() {
    for &(status, request) in REFUSED {
        for at_once in [request.len(), 1] {
            let answers = Answers::new();
            // Half a refused request is not waited for: the clock stands still here until everyone waits.
            let (mut caller, served) = pipe(limits(), &answers, at_once.max(512));
            let text = {
                for piece in request.chunks(at_once) {
                    let _ = caller.write_all(piece).await;
                    tokio::task::yield_now().await;
                }
                rest(&mut caller).await
            };
            let shown = String::from_utf8_lossy(request);
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{shown:?}: {text:?}");
            for header in ["\r\nDate: ", "\r\nCache-Control: no-store\r\n", "\r\nConnection: close\r\n"] {
                assert!(text.contains(header), "{shown:?}: {text:?}");
            }
            assert_eq!(answers.seen().requests, Vec::<String>::new(), "{shown:?}");
            assert_eq!(answers.seen().refused.len(), 1, "{shown:?}");
            served.await.expect("no panic");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_in_order_pass_in_any_pieces() {
    let requests = b"\
        GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Auth-Subject: root\r\n\r\n\
        \r\nGET /b HTTP/1.1\r\nhOST: a\r\nx-empty:\r\nx-text:\t caf\xc3\xa9 \r\n\r\n\
        GET http://a/c HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for at_once in [requests.len(), 1, 2, 3, 7, 40] {
        let answers = Answers::new();
        let (caller, served) = pipe(limits(), &answers, 8192);
        let (mut reading, mut writing) = tokio::io::split(caller);
        let text = tokio::spawn(async move { rest(&mut reading).await });
        for piece in requests.chunks(at_once) {
            writing.write_all(piece).await.expect("open");
            tokio::task::yield_now().await;
        }
        let text = text.await.expect("no panic");
        let answers = answers.seen();
        assert_eq!(
            answers.requests,
            ["GET /a", "POST /body", "POST /body", "GET /b", "GET /c"],
            "{at_once}: {text}"
        );
        assert!(text.contains("read 5") && text.contains("read 13"), "{at_once}: {text}");
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 5, "{at_once}: {text}");
        assert_eq!(answers.refused, []);
        served.await.expect("no panic");
    }
}

/// The answer to the good request comes first and whole, then the refusal of the bad one behind it.
#[tokio::test(start_paused = true)]
async fn a_refusal_waits_for_the_answers_before_it() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 8192);
    let requests = b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n";
    caller.write_all(requests).await.expect("open");
    let (mut reading, _writing) = tokio::io::split(caller);
    let text = tokio::spawn(async move { rest(&mut reading).await });
    tokio::task::yield_now().await;
    let since = Instant::now();
    answers.release.add_permits(1);
    let text = text.await.expect("no panic");
    assert!(
        since.elapsed() < Duration::from_secs(3),
        "at once, not when some timer looks: {:?}",
        since.elapsed()
    );
    let (good, bad) = text.split_once("released").expect("the first answer");
    assert!(good.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(bad.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert_eq!(answers.seen().requests, ["GET /hang"]);
}

/// A body that breaks its framing fails for its handler, and what follows it is no request.
#[tokio::test(start_paused = true)]
async fn a_broken_body_fails_and_ends_the_connection() {
    for body in [
        "x\r\n",
        "\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcde0\r\n\r\n",
        "3\r\nab\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nabc",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
        "3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
    ] {
        assert!(is_broken(body.as_bytes()), "{body:?}: hyper would find it, but the rule is ours");
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 8192);
        let request = format!(
            "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}GET /b HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let text = exchange(&mut caller, request.as_bytes()).await;
        let seen = answers.seen();
        assert_eq!(seen.requests, ["POST /body"], "{body:?}: {text}");
        assert_eq!(seen.faults, [BodyFault::Broken], "{body:?}: {text}");
        assert!(text.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{body:?}: {text}");
    }
    for endless in ["1;".to_owned() + &"x".repeat(300), "0\r\n".to_owned() + &"X: y\r\n".repeat(101)] {
        let answers = Answers::new();
        let (mut caller, _served) = pipe(limits(), &answers, 8192);
        let head = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange(&mut caller, format!("{head}{endless}").as_bytes()).await;
        assert_eq!(answers.seen().faults, [BodyFault::Broken], "{endless}");
    }
}

/// Whether a chunked body that starts with `bytes` is found broken without hyper's help.
fn is_broken(mut bytes: &[u8]) -> bool {
    let mut reader = ChunkReader::new();
    loop {
        match reader.read(bytes) {
            Err(_) => return true,
            Ok(Checked::Part(0) | Checked::End(_)) => return false,
            Ok(Checked::Part(checked)) => bytes = &bytes[checked..],
        }
    }
}

/// T-PXY-10: the caller is asked for its body only when somebody wants it.
#[tokio::test(start_paused = true)]
async fn continue_is_sent_for_a_body_that_is_read() {
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 8192);
    let head = "HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    caller.write_all(format!("POST /body {head}").as_bytes()).await.expect("open");
    assert_eq!(until(&mut caller, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    caller.write_all(b"ok").await.expect("open");
    assert!(until(&mut caller, "read 2").await.starts_with("HTTP/1.1 200"));
    let text = exchange(&mut caller, format!("POST /unread {head}").as_bytes()).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn heads_have_a_size() {
    let request = |fields: &str| format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let padding = limits().header_bytes - request("X: \r\n").len();
    for (fields, status) in [
        (format!("X: {}\r\n", "y".repeat(padding)), "200"),
        (format!("X: {}\r\n", "y".repeat(padding + 1)), "431"),
        ("X: y\r\n".repeat(99), "200"),
        ("X: y\r\n".repeat(100), "431"),
    ] {
        for room in [100, 64 * 1024] {
            let (caller, _served) = pipe(limits(), &Answers::new(), room);
            let (mut reading, mut writing) = tokio::io::split(caller);
            let sent = tokio::spawn({
                let request = request(&fields);
                async move { writing.write_all(request.as_bytes()).await }
            });
            let text = rest(&mut reading).await;
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{}: {text}", fields.len());
            let _ = sent.await;
        }
    }
    // A head without an end is refused when it is too long, not when the caller has said everything.
    let answers = Answers::new();
    let (mut caller, _served) = pipe(limits(), &answers, 64 * 1024);
    caller.write_all(format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(8192)).as_bytes()).await.expect("open");
    let mut status = [0; 12];
    caller.read_exact(&mut status).await.expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 431");
}

/// Every byte at every place of a name, a value, a method and a target, against the grammar as it is written in the RFCs.
#[test]
fn a_head_has_these_bytes_alone() {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    // RFC 9110 §5.6.2 `tchar`.
    let in_token = |byte: u8| LETTERS.as_bytes().contains(&byte) || b"!#$%&'*+-.^_`|~".contains(&byte);
    // RFC 9110 §5.5 `field-vchar`, SP and HTAB; RFC 5234 B.1 `VCHAR` is %x21-7E, `obs-text` is %x80-FF.
    let in_value = |byte: u8| matches!(byte, 0x09 | 0x20 | 0x21..=0x7e | 0x80..=0xff);
    // RFC 3986 A: `pchar`, "/", "?" and "%", and seven that clients send though they should not.
    let in_target = |byte: u8| {
        LETTERS.as_bytes().contains(&byte)
            || b"-._~!$&'()*+,;=:@/?%".contains(&byte)
            || b"[]\\^{|}".contains(&byte)
    };
    let passes = |head: &[u8]| match HeadReader::default().read(head, 4096) {
        Ok(read) => {
            assert_eq!(read.map(|read| read.length), Some(head.len()), "{:?}", String::from_utf8_lossy(head));
            true
        }
        Err(refusal) => {
            assert_eq!(refusal, Refusal::Malformed);
            false
        }
    };
    for length in [1, 2, 15, 16, 17, 33, 70] {
        for place in 0..length {
            for byte in 0..=255_u8 {
                let mut text = vec![b'm'; length];
                text[place] = byte;
                let shown = || format!("{byte:#x} at {place} of {length}");
                let head = |before: &[u8], behind: &[u8]| [before, &text, behind].concat();
                let name = head(b"GET / HTTP/1.1\r\nHost: a\r\n", b": v\r\n\r\n");
                // The first colon ends the name, wherever it stands; a line's end leaves a line without one.
                let is_name = in_token(byte) || (byte == b':' && place > 0);
                assert_eq!(passes(&name), is_name, "name {}", shown());
                let value = head(b"GET / HTTP/1.1\r\nHost: a\r\nX:", b"\r\n\r\n");
                assert_eq!(passes(&value), in_value(byte), "value {}", shown());
                let method = head(b"", b" / HTTP/1.1\r\nHost: a\r\n\r\n");
                assert_eq!(passes(&method), in_token(byte), "method {}", shown());
                for before in ["GET /", "GET /?", "GET http://a/", "GET https://a/?"] {
                    let target = head(before.as_bytes(), b" HTTP/1.1\r\nHost: a\r\n\r\n");
                    assert_eq!(passes(&target), in_target(byte), "{before} {}", shown());
                }
            }
        }
    }
}

/// RFC 9112 §7.1: hexadecimal digits, and behind a `;` what can be seen, SP and HTAB.
#[test]
fn a_size_line_has_these_bytes_alone() {
    for byte in 0..=255_u8 {
        let digit = b"0123456789abcdefABCDEF".contains(&byte);
        for (line, fits) in [
            ([&[byte][..], b"1\r\n"].concat(), digit),
            ([b"1", &[byte][..], b"\r\n"].concat(), digit || byte == b';'),
            ([b"1", &[byte][..], b"1\r\n"].concat(), digit || byte == b';'),
            ([b"1;", &[byte][..], b"\r\n"].concat(), matches!(byte, 0x09 | 0x20..=0x7e)),
            ([b"1;a=", &[byte][..], b"b\r\n"].concat(), matches!(byte, 0x09 | 0x20..=0x7e)),
        ] {
            let shown = String::from_utf8_lossy(&line);
            let expected = if fits { Ok(Checked::Part(line.len())) } else { Err(Broken) };
            assert_eq!(ChunkReader::new().read(&line), expected, "{shown:?}");
        }
    }
}

/// Whatever target the reader passes on, hyper must be able to read, or hyper would answer in our place.
#[test]
fn every_target_passed_on_is_a_uri() {
    for byte in 0..=255_u8 {
        let mut request = b"GET /a".to_vec();
        request.push(byte);
        request.extend_from_slice(b"?b");
        request.push(byte);
        request.extend_from_slice(b" HTTP/1.1\r\nHost: a\r\n\r\n");
        if let Ok(Some(_)) = HeadReader::default().read(&request, 1000) {
            let target = request.split(|&byte| byte == b' ').nth(1).expect("a target");
            assert!(http::Uri::try_from(target).is_ok(), "{byte:#x}");
        }
    }
}

proptest::proptest! {
    /// Any bytes, in any two pieces: no panic, and the pieces make no difference.
    #[test]
    fn a_head_is_the_same_in_pieces(
        bytes in proptest::collection::vec(proptest::sample::select(b"GET / HTTP/1.\r\n:0aX,\t\0\xff".to_vec()), 0..200),
        cut in 0_usize..200,
        valid in proptest::bool::ANY,
    ) {
        let mut bytes = bytes;
        if valid {
            bytes.splice(0..0, *b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n");
        }
        let whole = HeadReader::default().read(&bytes, 150);
        let mut reader = HeadReader::default();
        let first = reader.read(&bytes[..cut.min(bytes.len())], 150);
        let pieces = match first {
            Ok(None) => reader.read(&bytes, 150),
            decided => decided,
        };
        proptest::prop_assert_eq!(whole, pieces);
    }
}

#[test]
fn a_head_says_what_follows() {
    let read = |text: &str| HeadReader::default().read(text.as_bytes(), 1000);
    let host = "Host: a\r\n";
    for (fields, body) in [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::None),
        ("Content-Length: 007\r\n", Body::Length(7)),
        ("transfer-encoding: CHUNKED \r\n", Body::Chunked),
    ] {
        let text = format!("GET / HTTP/1.1\r\n{host}{fields}\r\n");
        assert_eq!(read(&text), Ok(Some(Head { length: text.len(), body, upgrade: false })), "{fields}");
        assert_eq!(read(&text[..text.len() - 1]), Ok(None), "{fields}");
    }
    assert_eq!(read("GET / HTTP/1.1\r\n\r\n"), Err(Refusal::HostInvalid));
    assert!(matches!(read("GET / HTTP/1.0\r\n\r\n"), Ok(Some(_))));
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(70_000));
    assert_eq!(HeadReader::default().read(long.as_bytes(), 100_000), Err(Refusal::TargetTooLong));
}

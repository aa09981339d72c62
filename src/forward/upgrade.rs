//! Switching protocols: which requests ask the upstream for it, and which answers are believed (RFC 9110 §7.8).
//!
//! `Upgrade` belongs to one hop, so the caller's is never passed on: where the route lists the protocol, the gateway asks for it anew. Nothing but
//! an upstream that says 101 and names that very protocol has switched; whatever else it says is an ordinary answer, and the connection
//! to the caller stays HTTP. Proxies that took any answer for a tunnel let callers speak past every check.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::download::Download;
use super::fault::Fault;
use crate::verify::field::only;

/// What RFC 6455 §1.3 has a server put behind the key.
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A protocol that the caller asks for and its route allows.
#[derive(Debug)]
pub(super) struct Asked {
    protocol: HeaderValue,
    /// For a WebSocket: what its server answers the key with.
    accept: Option<String>,
}

impl Asked {
    /// What a request with this head asks for, in so far as `allowed` lists it. `None` is an ordinary request, whatever it says:
    /// RFC 9110 §7.8 lets a server ignore the field, and what is behind it is then the next request.
    pub(super) fn of(head: &Parts, has_body: bool, allowed: &[String]) -> Option<Self> {
        if allowed.is_empty() || head.version != Version::HTTP_11 || has_body {
            return None;
        }
        let connection = head.headers.get_all(CONNECTION).iter();
        let named = connection.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        if !named.into_iter().any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade")) {
            return None;
        }
        let wanted = only(&head.headers, &UPGRADE)?.to_str().ok()?.trim();
        let protocol = allowed.iter().find(|protocol| protocol.eq_ignore_ascii_case(wanted))?;
        let accept = if protocol == "websocket" { Some(websocket(head)?) } else { None };
        Some(Self { protocol: HeaderValue::from_str(protocol).ok()?, accept })
    }

    /// Asks for it. To be called when everything else about the headers is settled.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, self.protocol.clone());
    }

    /// Whether `answer`, a 101, is to what was asked.
    pub(super) fn is_granted_by(&self, answer: &HeaderMap) -> bool {
        let same = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(self.protocol.as_bytes());
        // RFC 6455 §4.1: without the right answer to its key there is no WebSocket server there, but something that repeats what it hears.
        let accepted = self.accept.as_ref().is_none_or(|accept| {
            only(answer, &SEC_WEBSOCKET_ACCEPT).is_some_and(|given| given.as_bytes() == accept.as_bytes())
        });
        only(answer, &UPGRADE).is_some_and(same) && accepted
    }
}

/// What a server that answers 426 wants spoken instead (RFC 9110 §15.5.22): without it the answer says nothing.
pub(super) fn demanded<B>(answer: &Response<B>) -> Option<HeaderValue> {
    let is_demand = answer.status() == StatusCode::UPGRADE_REQUIRED;
    only(answer.headers(), &UPGRADE).filter(|_| is_demand).cloned()
}

/// Passes the demand on, as ours: `Upgrade` belongs to one hop, and `Connection` names it (RFC 9110 §7.8). To an HTTP/2 caller hyper sends neither (RFC 9113 §8.2.2).
pub(super) fn demand(headers: &mut HeaderMap, protocols: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocols);
}

/// RFC 6455 §4.2.1, §4.2.2: what the server must answer a well-formed handshake with.
fn websocket(head: &Parts) -> Option<String> {
    let key = only(&head.headers, &SEC_WEBSOCKET_KEY)?.as_bytes();
    let is_key = STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    let version = only(&head.headers, &SEC_WEBSOCKET_VERSION)?;
    if head.method != Method::GET || !is_key || version != "13" {
        return None;
    }
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, WEBSOCKET].concat());
    Some(STANDARD.encode(hash))
}

/// A connection that its upstream has switched to another protocol. It keeps what the request held of the upstream: its place and its load.
#[derive(Debug)]
pub struct Switched {
    io: TokioIo<Upgraded>,
    _held: Download,
}

impl Switched {
    /// Takes over the connection behind a 101 that was granted.
    ///
    /// # Errors
    /// [`Fault::Broken`] when it ended meanwhile.
    pub(super) async fn behind(
        mut answer: Response<Download>,
        asked: Asked,
    ) -> Result<(Response<()>, Self), Fault> {
        let upgraded = hyper::upgrade::on(&mut answer).await.map_err(|_| Fault::Broken)?;
        let (mut parts, held) = answer.into_parts();
        asked.ask(&mut parts.headers);
        parts.status = StatusCode::SWITCHING_PROTOCOLS;
        Ok((Response::from_parts(parts, ()), Self { io: TokioIo::new(upgraded), _held: held }))
    }
}

impl AsyncRead for Switched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Switched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(lines: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method("GET").uri("/");
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn handshake<'l>(connection: &'l str, upgrade: &'l str, key: &'l str, version: &'l str) -> Parts {
        head(&[
            ("connection", connection),
            ("upgrade", upgrade),
            ("sec-websocket-key", key),
            ("sec-websocket-version", version),
        ])
    }

    /// The example of RFC 6455 §1.3.
    #[test]
    fn a_websocket_is_one_that_answers_its_key() {
        let allowed = ["websocket".to_owned()];
        let asked = Asked::of(&handshake("keep-alive, Upgrade", "WebSocket", KEY, "13"), false, &allowed);
        let asked = asked.expect("asked for");
        let granted = |accept: &'static str, upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(accept));
            headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
            asked.is_granted_by(&headers)
        };
        assert!(granted("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "WebSocket"));
        assert!(!granted("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "h2c"));
        assert!(!granted("s3pPLMBiTxaQ9kYGzzhZRbK+xOO=", "websocket"));
        assert!(!asked.is_granted_by(&HeaderMap::new()));
    }

    #[test]
    fn what_is_not_quite_a_handshake_is_an_ordinary_request() {
        let allowed = ["websocket".to_owned(), "tcp".to_owned()];
        let asks = |head: &Parts| Asked::of(head, false, &allowed).is_some();
        assert!(asks(&handshake("upgrade", "websocket", KEY, "13")));
        assert!(asks(&head(&[("connection", "upgrade"), ("upgrade", "tcp")])));
        assert!(Asked::of(&handshake("upgrade", "websocket", KEY, "13"), true, &allowed).is_none());
        assert!(Asked::of(&handshake("upgrade", "websocket", KEY, "13"), false, &[]).is_none());
        for (connection, upgrade, key, version) in [
            ("keep-alive", "websocket", KEY, "13"),
            ("upgrade", "h2c", KEY, "13"),
            ("upgrade", "websocket, h2c", KEY, "13"),
            ("upgrade", "websocket", "short", "13"),
            ("upgrade", "websocket", KEY, "8"),
        ] {
            assert!(
                !asks(&handshake(connection, upgrade, key, version)),
                "{connection} {upgrade} {key} {version}"
            );
        }
        let mut old = handshake("upgrade", "websocket", KEY, "13");
        old.version = Version::HTTP_10;
        assert!(!asks(&old));
        let mut posted = handshake("upgrade", "websocket", KEY, "13");
        posted.method = Method::POST;
        assert!(!asks(&posted));
        let mut twice = handshake("upgrade", "websocket", KEY, "13");
        twice.headers.append(UPGRADE, HeaderValue::from_static("websocket"));
        assert!(!asks(&twice));
    }
}

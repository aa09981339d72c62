//! What `holdfast dpop curl` prints: the answer as curl has it, and with `-v` both heads, credentials shortened.

use std::io::Write;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{CurlArguments, CurlError};
use crate::cli::dpop::print;
use crate::verify::credential::DPOP;

/// How many characters of a token or proof `-v` shows: enough to tell two apart, too few to use.
const SHOWN: usize = 12;

/// Prints the answer to `out`.
pub(super) async fn answer(
    mut response: Response<Incoming>,
    arguments: &CurlArguments,
    out: &mut impl Write,
) -> Result<(), CurlError> {
    if arguments.include {
        let mut head = format!("{}\r\n", status_line(&response)).into_bytes();
        for (name, value) in response.headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        print(out, &head)?;
    }
    if arguments.fail && response.status().as_u16() >= 400 {
        return Err(CurlError::Status(response.status()));
    }
    // Piece by piece: an answer may be larger than memory, or never end.
    while let Some(frame) = response.body_mut().frame().await {
        if let Some(data) = frame.map_err(CurlError::Body)?.data_ref() {
            print(out, data)?;
        }
    }
    Ok(())
}

/// `HTTP/1.1 200 OK`
pub(super) fn status_line<B>(response: &Response<B>) -> String {
    format!("{:?} {}", response.version(), response.status())
}

/// A request's or an answer's head, each line marked, to standard error.
pub(super) fn head(mark: &str, first: &str, headers: &HeaderMap) {
    eprintln!("{mark} {first}");
    for (name, value) in headers {
        eprintln!("{mark} {name}: {}", value_shown(name, value));
    }
    eprintln!("{mark}");
}

/// A header's value as `-v` prints it. Terminals are recorded and pasted, so credentials are shortened: a token after its scheme, a proof whole.
fn value_shown(name: &HeaderName, value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    let (scheme, secret) = if name == AUTHORIZATION {
        text.split_once(' ').unwrap_or(("", &text))
    } else if name == DPOP {
        ("", &*text)
    } else {
        return text.into_owned();
    };
    let space = if scheme.is_empty() { "" } else { " " };
    let start: String = secret.chars().take(SHOWN).collect();
    format!("{scheme}{space}{start}… ({} bytes)", secret.len())
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, AUTHORIZATION};
    use http::{HeaderName, HeaderValue};

    use super::{DPOP, value_shown};

    #[test]
    fn credentials_are_shortened_and_nothing_else_is() {
        let secret = "abcdefghijklmnopqrstuvwxyz";
        let shown = |name: HeaderName, value: &str| {
            value_shown(&name, &HeaderValue::from_str(value).expect("a header value"))
        };
        assert_eq!(shown(AUTHORIZATION, &format!("DPoP {secret}")), "DPoP abcdefghijkl… (26 bytes)");
        assert_eq!(shown(AUTHORIZATION, secret), "abcdefghijkl… (26 bytes)");
        assert_eq!(shown(DPOP, secret), "abcdefghijkl… (26 bytes)");
        assert_eq!(shown(ACCEPT, secret), secret);
    }
}

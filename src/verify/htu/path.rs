//! Paths in normal form. What two readers could understand differently is refused here, since the upstream is such a second reader.

use crate::verify::rejection::Rejection;

/// A request's path in normal form: unreserved octets decoded, hex digits in upper case, no dot segments, nothing that two readers understand
/// differently, save what [`Path::has_empty_segment`] and [`Path::has_encoded_slash`] tell and a route may allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: String,
    empty_segment: bool,
    encoded_slash: bool,
}

impl Path {
    /// Reads the path of a request target.
    ///
    /// # Errors
    /// [`Rejection::PathAmbiguous`] for dot segments (plain, encoded, or with parameters behind them: `..;x`), `\`, `%5C` and encoded control
    /// characters; [`Rejection::PathInvalid`] for what RFC 3986 §3.3 does not allow, and for octets that are no UTF-8.
    pub fn read(raw: &str) -> Result<Self, Rejection> {
        if !raw.starts_with('/') {
            return Err(Rejection::PathInvalid);
        }
        if raw.contains('\\') {
            return Err(Rejection::PathAmbiguous);
        }
        let text = normalised(raw).ok_or(Rejection::PathInvalid)?;
        let mut encoded_slash = false;
        for octet in encoded_octets(&text) {
            match octet {
                b'/' => encoded_slash = true,
                b'\\' | 0x00..=0x1f | 0x7f => return Err(Rejection::PathAmbiguous),
                _ => {}
            }
        }
        if !is_utf8(&text) {
            return Err(Rejection::PathInvalid);
        }
        let mut segments = text[1..].split('/').peekable();
        let mut empty_segment = false;
        while let Some(segment) = segments.next() {
            // Some servers cut path parameters first and resolve dots after, so `..;` is `..` to them; `..%3B` too, where they decode first.
            let name = segment.split(';').next().unwrap_or(segment);
            let name = name.split("%3B").next().unwrap_or(name);
            if name == "." || name == ".." {
                return Err(Rejection::PathAmbiguous);
            }
            // An empty last segment is a trailing slash, which is a path of its own. One of parameters alone is empty to those servers.
            empty_segment |= name.is_empty() && segments.peek().is_some();
        }
        Ok(Self { text, empty_segment, encoded_slash })
    }

    /// The path, with its leading `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has `//`, or `/;x/`: refused unless the route allows it.
    pub const fn has_empty_segment(&self) -> bool {
        self.empty_segment
    }

    /// Whether it has `%2F`: refused unless the route allows it.
    pub const fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }
}

/// Decodes unreserved octets and puts hex digits in upper case (RFC 3986 §6.2.2.1, §6.2.2.2). `None` for a character outside
/// `pchar` and `/`, and for a `%` without two hex digits. Reserved octets stay encoded: `%2F` is not `/`.
pub(super) fn normalised(path: &str) -> Option<String> {
    let mut text = String::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (hex_digit(bytes.next()?)?, hex_digit(bytes.next()?)?);
            let octet = high << 4 | low;
            if is_unreserved(octet) {
                text.push(char::from(octet));
            } else {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                text.push('%');
                text.push(char::from(HEX[usize::from(high)]));
                text.push(char::from(HEX[usize::from(low)]));
            }
        } else if is_unreserved(byte) || b"!$&'()*+,;=:@/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            return None;
        }
    }
    Some(text)
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The octets that stand percent-encoded in a normalised path.
fn encoded_octets(path: &str) -> impl Iterator<Item = u8> + '_ {
    path.split('%').skip(1).filter_map(|rest| u8::from_str_radix(rest.get(..2)?, 16).ok())
}

/// Whether the path's octets, decoded, are UTF-8. `%C0%AF` is a slash to a decoder that takes overlong forms.
fn is_utf8(path: &str) -> bool {
    if !path.contains('%') {
        return true;
    }
    let mut bytes = Vec::with_capacity(path.len());
    for (position, part) in path.split('%').enumerate() {
        let (octet, rest) = if position == 0 { ("", part) } else { part.split_at(part.len().min(2)) };
        bytes.extend(u8::from_str_radix(octet, 16));
        bytes.extend_from_slice(rest.as_bytes());
    }
    std::str::from_utf8(&bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{Path, Rejection};

    fn path(raw: &str) -> Path {
        Path::read(raw).expect(raw)
    }

    /// R-L-05.
    #[test]
    fn ambiguous_paths_are_refused_and_the_rest_normalised() {
        for raw in [
            "/.",
            "/..",
            "/a/../b",
            "/a/./b",
            "/%2e%2e/x",
            "/%2E/x",
            "/.%2e/x",
            "/a\\b",
            "/a%5Cb",
            "/a%5cb",
            "/a%00",
            "/a%0d%0a",
            "/..;/x",
            "/..%3bx/y",
            "/.;a=b/x",
        ] {
            assert_eq!(Path::read(raw), Err(Rejection::PathAmbiguous), "{raw}");
        }
        for raw in [
            "", "a", "*", "/a b", "/a%", "/a%2", "/a%zz", "/a\"", "/é", "/%c0%af", "/%ff", "/a?b", "/a#b",
            "/a|b",
        ] {
            assert_eq!(Path::read(raw), Err(Rejection::PathInvalid), "{raw}");
        }
        assert_eq!(path("/%61ccounts/%e4%bd%a0").as_str(), "/accounts/%E4%BD%A0");
        assert!(path("//x").has_empty_segment() && path("/a//").has_empty_segment());
        assert!(path("/;x/a").has_empty_segment() && !path("/a;/b").has_empty_segment());
        assert!(!path("/a/").has_empty_segment() && !path("/").has_empty_segment());
        assert!(path("/a%2fb").has_encoded_slash());
        assert_eq!(path("/...").as_str(), "/...");
    }
}

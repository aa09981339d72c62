//! Origins, paths and `htu`: one normalisation for routing, for the proof and for what is forwarded (RFC 3986 §6.2.2, §6.2.3).
//!
//! A request whose path two readers could understand differently is refused before a route is chosen, since the upstream is
//! such a second reader. A claim is a caller's text and is only ever compared, so it is normalised generously and compared for equality: never
//! prefix, never pattern (R-A-16).

use std::fmt;
use std::net::Ipv6Addr;

use super::rejection::Rejection;

/// `http` or `https`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the variants are the schemes")]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The scheme's name.
    pub const fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The scheme of this name, in any case (RFC 3986 §3.1).
    pub fn read(name: &str) -> Option<Self> {
        [Scheme::Http, Scheme::Https].into_iter().find(|scheme| name.eq_ignore_ascii_case(scheme.name()))
    }

    /// The port that is meant when none is given (RFC 9110 §4.2).
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// A host and perhaps a port, as in `Host`, `:authority` and the middle of a URI. Lower case; IPv6 in its canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// The host's name or address, without brackets.
    pub host: String,
    /// The port; `None` when it was absent or empty (RFC 3986 §6.2.3).
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `text` strictly: letters, digits, `-`, `.` and `_`, or a bracketed IPv6 address; then perhaps a port up to 65535. Userinfo,
    /// white space, and anything that could start a path is refused. A trailing dot stays: it is another name.
    pub fn read(text: &str) -> Option<Self> {
        let (host, rest) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (address, rest) = bracketed.split_once(']')?;
                (address.parse::<Ipv6Addr>().ok()?.to_string(), rest)
            }
            None => {
                let (name, rest) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
                let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
                if name.is_empty() || name.len() > 255 || !name.bytes().all(fits) {
                    return None;
                }
                (name.to_ascii_lowercase(), rest)
            }
        };
        let port = match rest.strip_prefix(':') {
            None if rest.is_empty() => None,
            None => return None,
            Some("") => None,
            // Digits only: `parse` alone would take a plus sign.
            Some(digits) if digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok()?)
            }
            Some(_) => return None,
        };
        Some(Self { host, port })
    }
}

/// A scheme and authority in normal form: what callers see, from the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: String,
    port: u16,
    text: String,
}

impl Origin {
    /// The origin of these parts.
    pub fn new(scheme: Scheme, authority: &Authority) -> Self {
        let port = authority.port.unwrap_or(scheme.default_port());
        let bracketed = authority.host.contains(':');
        let mut text = format!("{}://", scheme.name());
        text.push_str(&if bracketed { format!("[{}]", authority.host) } else { authority.host.clone() });
        if port != scheme.default_port() {
            text.push_str(&format!(":{port}"));
        }
        Self { scheme, host: authority.host.clone(), port, text }
    }

    /// Reads a URL of a scheme and an authority, with nothing or `/` behind it.
    pub fn read(url: &str) -> Option<Self> {
        let (origin, rest) = split_origin(url)?;
        (rest.is_empty() || rest == "/").then_some(origin)
    }

    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own where none was given.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The authority as it goes in `Host`: the port only where it is not the scheme's own.
    pub fn authority(&self) -> &str {
        &self.text[self.scheme.name().len() + 3..]
    }

    /// Whether a request for `authority` is for this origin.
    pub fn is_at(&self, authority: &Authority) -> bool {
        self.host == authority.host && self.port == authority.port.unwrap_or(self.scheme.default_port())
    }
}

impl fmt::Display for Origin {
    /// `scheme://authority`, nothing behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

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

/// Whether the claim `htu` names this request (RFC 9449 §4.3 check 9): an absolute http or https URI, equal after normalisation, query and fragment aside.
pub fn matches(htu: &str, origin: &Origin, path: &Path) -> bool {
    // The spelling nearly every client sends, without an allocation.
    if htu.strip_prefix(origin.text.as_str()) == Some(path.as_str()) {
        return true;
    }
    let Some((claimed, rest)) = split_origin(htu) else { return false };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (claimed_path, ignored) = rest.split_at(end);
    // What is ignored must still be a URI's: control characters, spaces and backslashes make the whole claim none.
    if claimed != *origin || !ignored.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') {
        return false;
    }
    let claimed_path = if claimed_path.is_empty() { "/" } else { claimed_path };
    normalised(claimed_path).is_some_and(|claimed| without_dot_segments(&claimed) == path.as_str())
}

/// Splits an absolute http(s) URI behind its authority. The authority ends at `/`, `?` or `#` (RFC 3986 §3.2).
fn split_origin(uri: &str) -> Option<(Origin, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let scheme = if scheme.eq_ignore_ascii_case("https") {
        Scheme::Https
    } else if scheme.eq_ignore_ascii_case("http") {
        Scheme::Http
    } else {
        return None;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Some((Origin::new(scheme, &Authority::read(authority)?), rest))
}

/// Decodes unreserved octets and puts hex digits in upper case (RFC 3986 §6.2.2.1, §6.2.2.2). `None` for a character outside
/// `pchar` and `/`, and for a `%` without two hex digits. Reserved octets stay encoded: `%2F` is not `/`.
fn normalised(path: &str) -> Option<String> {
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

/// RFC 3986 §5.2.4, for a path that starts with `/`.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
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
    use super::{Authority, Origin, Path, Rejection, matches};

    fn origin() -> Origin {
        Origin::read("https://api.example.com").expect("an origin")
    }

    fn path(raw: &str) -> Path {
        Path::read(raw).expect(raw)
    }

    /// R-A-14 to R-A-16, T-HTU.
    #[test]
    fn claims_that_name_the_request() {
        for (claim, request) in [
            ("https://api.example.com/resource", "/resource"),
            ("https://api.example.com/resource?a=b#c", "/resource"),
            ("HTTPS://API.EXAMPLE.COM/resource", "/resource"),
            ("https://api.example.com:443/resource", "/resource"),
            ("https://api.example.com:/resource", "/resource"),
            ("https://api.example.com", "/"),
            ("https://api.example.com?x", "/"),
            ("https://api.example.com/%7Euser", "/~user"),
            ("https://api.example.com/~user", "/%7euser"),
            ("https://api.example.com/%4d", "/M"),
            ("https://api.example.com/a%2fb", "/a%2Fb"),
            ("https://api.example.com/a/./b/../c", "/a/c"),
            ("https://api.example.com/a/..", "/"),
            ("https://api.example.com/a;v=1", "/a;v=1"),
            ("https://api.example.com//x", "//x"),
        ] {
            assert!(matches(claim, &origin(), &path(request)), "{claim}");
        }
        let v6 = Origin::read("https://[::1]:8443").expect("an origin");
        assert!(matches("https://[0:0:0:0:0:0:0:1]:8443/x", &v6, &path("/x")));
        let tricky = Origin::read("https://[fe80::443]").expect("an origin");
        assert!(matches("https://[fe80::443]/x", &tricky, &path("/x")));
        assert!(!matches("https://[fe80::]/x", &tricky, &path("/x")));
    }

    #[test]
    fn claims_that_name_something_else() {
        for claim in [
            "",
            "/resource",
            "//api.example.com/resource",
            "https://api.example.com:8443/resource",
            "http://api.example.com/resource",
            "https://api.example.com/Resource",
            "https://api.example.com/resource/",
            "https://api.example.com/resourceohnonotagain",
            "https://api.example.com/res",
            "https://api.example.com//resource",
            "https://api.example.com.evil/resource",
            "https://api.example.com./resource",
            "https://u:p@api.example.com/resource",
            "https://api.example.com:65536/resource",
            "https://api.example.com:abc/resource",
            "https://api.example.com:+443/resource",
            "ftp://api.example.com/resource",
            " https://api.example.com/resource",
            "https://api.example.com/resource ",
            "https://api.example.com\\resource",
            "https://api.example.com/resource\t",
            "https:/api.example.com/resource",
            "https://api.example.com/res%6fu",
            "https://api.example.com/resource?a b",
            "https://api.example.com/%zz",
            "javascript:alert(1)",
            "https://[::1/resource",
            "https://api.example.com%2Fresource",
            "https://api.exämple.com/resource",
        ] {
            assert!(!matches(claim, &origin(), &path("/resource")), "{claim}");
        }
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

    /// T-ORG-01 to T-ORG-03, T-HTU-24, T-HTU-28.
    #[test]
    fn authorities_are_read_strictly() {
        for text in [
            "",
            ":",
            ":80",
            "a b",
            "a/b",
            "a//b",
            "https://a",
            "a?",
            "a#",
            "u@a",
            "a\\b",
            "a:abc",
            "a:65536",
            "a:-1",
            "a:1:2",
            "[::1",
            "::1",
            "[::1]x",
            "[g]",
            "[::1%25eth0]",
            "[fe80::1%eth0]",
            "a:123456",
            "ä",
            "a,b",
            "*",
        ] {
            assert_eq!(Authority::read(text), None, "{text}");
        }
        let read = |text| Authority::read(text).expect(text);
        assert_eq!(read("API.example.com:"), Authority { host: "api.example.com".into(), port: None });
        assert_eq!(read("[0:0::1]:8443"), Authority { host: "::1".into(), port: Some(8443) });
        assert_eq!(
            Origin::read("https://[::FFFF:1.2.3.4]/").expect("an origin").to_string(),
            "https://[::ffff:1.2.3.4]"
        );
        assert_eq!(Origin::read("http://x:80").expect("an origin").authority(), "x");
        for url in ["https://a/b", "https://a?b", "a", "https://", "wss://a"] {
            assert_eq!(Origin::read(url), None, "{url}");
        }
    }
}

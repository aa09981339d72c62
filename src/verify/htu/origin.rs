//! Scheme, host and port: what callers see of a listener, and what they ask for.

use std::fmt;
use std::net::Ipv6Addr;

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

    /// `scheme://authority`, nothing behind it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
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

/// Splits an absolute http(s) URI behind its authority. The authority ends at `/`, `?` or `#` (RFC 3986 §3.2).
pub(super) fn split_origin(uri: &str) -> Option<(Origin, &str)> {
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

#[cfg(test)]
mod tests {
    use super::{Authority, Origin};

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

//! The `Forwarded` field (RFC 7239 §4), read strictly.
//!
//! A proxy that writes it has to be understood as it meant it: quoted strings, brackets and obfuscated names are its grammar and not a
//! matter of taste, and a reader that skips what it does not understand takes the wrong element for the caller's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::verify::htu::{Authority, Scheme};

/// What one proxy wrote about the connection it was reached by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    /// `for`: who connected to the proxy.
    pub(super) client: Option<Node>,
    /// `host`: the Host that the proxy was asked for.
    pub(super) host: Option<Authority>,
    /// `proto`: how it was asked.
    pub(super) scheme: Option<Scheme>,
}

/// One end of a connection (RFC 7239 §6). Ports are checked and forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// An address.
    Address(IpAddr),
    /// `unknown`, or an obfuscated name: the proxy does not say.
    Hidden,
}

/// The elements of all lines, from the left. `None` where any of it breaks the grammar.
pub(super) fn read<'l>(lines: impl Iterator<Item = &'l [u8]>) -> Option<Vec<Element>> {
    let mut elements = Vec::new();
    for line in lines {
        let mut rest = line;
        loop {
            let (element, behind) = element(rest.trim_ascii_start())?;
            elements.push(element);
            let behind = behind.trim_ascii_start();
            if behind.is_empty() {
                break;
            }
            rest = behind.strip_prefix(b",")?;
        }
    }
    Some(elements)
}

/// RFC 7239 §4: `token=value`, separated by `;` without space. An element without a pair would be allowed; nobody means one.
fn element(text: &[u8]) -> Option<(Element, &[u8])> {
    let (mut element, mut rest) = (Element::default(), text);
    let mut by = None;
    loop {
        let name = &rest[..rest.iter().position(|&byte| !is_token_byte(byte))?];
        let (value, behind) = value(rest[name.len()..].strip_prefix(b"=")?)?;
        // §4: no parameter more than once in an element; names in any case.
        if name.eq_ignore_ascii_case(b"for") {
            set(&mut element.client, node(&value)?)?;
        } else if name.eq_ignore_ascii_case(b"by") {
            set(&mut by, node(&value)?)?;
        } else if name.eq_ignore_ascii_case(b"host") {
            set(&mut element.host, Authority::read(&value)?)?;
        } else if name.eq_ignore_ascii_case(b"proto") {
            set(&mut element.scheme, Scheme::read(&value)?)?;
        } else if name.is_empty() {
            return None;
        }
        match behind.strip_prefix(b";") {
            Some(behind) => rest = behind,
            None => return Some((element, behind)),
        }
    }
}

/// A second value is none.
fn set<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

/// RFC 9110 §5.6.4: a token, or a quoted string with its escapes taken off; and what is behind it.
fn value(text: &[u8]) -> Option<(String, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let end = text.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(text.len());
        let token = std::str::from_utf8(&text[..end]).ok()?;
        return (end > 0).then(|| (token.to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, &byte)) = bytes.next() {
        let byte = match byte {
            b'"' => return Some((value, &quoted[at + 1..])),
            b'\\' => *bytes.next()?.1,
            byte => byte,
        };
        // Nothing that is meant here has another character.
        value.push(char::from(Some(byte).filter(|byte| matches!(byte, b' '..=b'~'))?));
    }
    None
}

/// RFC 7239 §6: a name, and perhaps a port.
fn node(text: &str) -> Option<Node> {
    if let Some(bracketed) = text.strip_prefix('[') {
        // §6.1: IPv6 in brackets, always.
        let (address, behind) = bracketed.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return is_port(behind).then(|| Node::Address(IpAddr::V6(address).to_canonical()));
    }
    let (name, behind) = text.find(':').map_or((text, ""), |colon| text.split_at(colon));
    if !is_port(behind) {
        return None;
    }
    if name.eq_ignore_ascii_case("unknown") || is_obfuscated(name) {
        return Some(Node::Hidden);
    }
    Some(Node::Address(name.parse::<Ipv4Addr>().ok()?.into()))
}

/// RFC 7239 §6: nothing, or a colon and a port: a number, or an obfuscated one.
fn is_port(text: &str) -> bool {
    let Some(port) = text.strip_prefix(':') else { return text.is_empty() };
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_number || is_obfuscated(port)
}

/// RFC 7239 §6.3.
fn is_obfuscated(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.strip_prefix('_').is_some_and(|name| !name.is_empty() && name.bytes().all(fits))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'('
                | b')'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'<'
                | b'='
                | b'>'
                | b'?'
                | b'@'
                | b'['
                | b'\\'
                | b']'
                | b'{'
                | b'}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn clients(lines: &[&str]) -> Option<Vec<String>> {
        let elements = read(lines.iter().map(|line| line.as_bytes()))?;
        let client = |element: &Element| match element.client {
            None => "-".to_owned(),
            Some(Node::Hidden) => "?".to_owned(),
            Some(Node::Address(address)) => address.to_string(),
        };
        Some(elements.iter().map(client).collect())
    }

    /// The examples of RFC 7239 §4, §6 and §7.1 among them.
    #[test]
    fn elements_as_proxies_write_them() {
        for (lines, expected) in [
            (&["for=\"_gazonk\""][..], &["?"][..]),
            (&["For=\"[2001:db8:cafe::17]:4711\""], &["2001:db8:cafe::17"]),
            (&["for=192.0.2.60;proto=http;by=203.0.113.43"], &["192.0.2.60"]),
            (&["for=192.0.2.43, for=198.51.100.17"], &["192.0.2.43", "198.51.100.17"]),
            (
                &["for=192.0.2.43,for=\"[2001:db8:cafe::17]\",for=unknown"],
                &["192.0.2.43", "2001:db8:cafe::17", "?"],
            ),
            (&["for=192.0.2.43", "for=_hidden, for=_SEVKISEK"], &["192.0.2.43", "?", "?"]),
            (&["for=\"192.0.2.43:47011\""], &["192.0.2.43"]),
            (&["for=\"192.0.2.43:_port\";by=\"unknown:1\""], &["192.0.2.43"]),
            (&["for=\"\\1\\92.0.2.43\" \t, proto=https"], &["192.0.2.43", "-"]),
            (&["for=192.0.2.43;secret=x;other=\"a, b;c\""], &["192.0.2.43"]),
            (&["for=\"[::ffff:10.0.0.1]\""], &["10.0.0.1"]),
            (&[], &[]),
        ] {
            assert_eq!(clients(lines).as_deref(), Some(&expected.map_owned()[..]), "{lines:?}");
        }
        let whole = read([&b"for=192.0.2.60;host=\"API.example.com:8443\";proto=HTTPS"[..]].into_iter());
        let whole = whole.expect("the grammar").remove(0);
        let host = whole.host.expect("a host");
        assert_eq!((host.host.as_str(), host.port), ("api.example.com", Some(8443)));
        assert_eq!(whole.scheme, Some(Scheme::Https));
    }

    trait MapOwned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl MapOwned for [&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|&text| text.to_owned()).collect()
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_not_read() {
        for line in [
            "",
            ",",
            "for=192.0.2.1,",
            ",for=192.0.2.1",
            "for=192.0.2.1,,for=192.0.2.2",
            "for=192.0.2.1;",
            ";for=192.0.2.1",
            "for=192.0.2.1; proto=https",
            "for =192.0.2.1",
            "for= 192.0.2.1",
            "for",
            "for=",
            "=192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
            "for=192.0.2.1;FOR=192.0.2.1",
            "for=192.0.2.1:80",
            "for=\"192.0.2.1:65536\"",
            "for=\"192.0.2.1:\"",
            "for=\"192.0.2.1:+80\"",
            "for=2001:db8::1",
            "for=\"2001:db8::1\"",
            "for=[2001:db8::1]",
            "for=\"[2001:db8::1\"",
            "for=\"[2001:db8::1]x\"",
            "for=\"[192.0.2.1]\"",
            "for=192.0.2",
            "for=192.0.2.01",
            "for=\"192.0.2.1",
            "for=\"192.0.2.1\\\"",
            "for=\"192.0.2.1\"x",
            "for=_",
            "for=_a/b",
            "for=hidden",
            "for=192.0.2.1 for=192.0.2.2",
            "host=a/b",
            "host=\"a b\"",
            "proto=ftp",
            "proto=",
            "by=nowhere;for=192.0.2.1",
            "192.0.2.1",
            "for=\"192.0.2.1\u{e9}\"",
        ] {
            assert_eq!(clients(&[line]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(line in "[ -~]{0,60}") {
            let _ = clients(&[&line]);
        }

        /// Parse ∘ print is the identity.
        #[test]
        fn what_is_written_is_read(addresses in prop::collection::vec(any::<IpAddr>(), 1..5)) {
            let line: Vec<String> = addresses.iter().map(|address| match address {
                IpAddr::V4(address) => format!("for={address}"),
                IpAddr::V6(address) => format!("for=\"[{address}]\""),
            }).collect();
            let read: Vec<String> = addresses.iter().map(|address| address.to_canonical().to_string()).collect();
            prop_assert_eq!(clients(&[&line.join(", ")]), Some(read));
        }
    }
}

//! How single values are written: durations, sizes, names, addresses, URLs of servers, algorithms.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::complaint::{did_you_mean, one_of, quoted};
use super::decode::{FromText, Wrong};
use crate::verify::algorithm::Algorithm;
use crate::verify::htu::Origin;
use crate::verify::policy::mcp::FIRST_BINDING_VERSION;

/// A duration of `LEAST` to `MOST` milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Millis<const LEAST: u64, const MOST: u64>(pub(super) Duration);

impl<const LEAST: u64, const MOST: u64> FromText for Millis<LEAST, MOST> {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let millis = milliseconds(text)?;
        within(millis, LEAST, MOST, duration_text)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

/// A duration of `LEAST` to `MOST` whole seconds, for what is compared with `NumericDate`s.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds<const LEAST: u64, const MOST: u64>(pub(super) i64);

impl<const LEAST: u64, const MOST: u64> FromText for Seconds<LEAST, MOST> {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let millis = milliseconds(text)?;
        if !millis.is_multiple_of(1000) {
            return Err(Wrong::new("is not whole seconds", "tokens and proofs tell time in whole seconds"));
        }
        within(millis / 1000, LEAST, MOST, |seconds| duration_text(seconds * 1000))?;
        i64::try_from(millis / 1000)
            .map(Self)
            .map_err(|_| Wrong::new("is too long", "write a shorter duration"))
    }
}

/// A size of `LEAST` to `MOST` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<const LEAST: u64, const MOST: u64> Bytes<LEAST, MOST> {
    /// As the size of something in memory. Where `usize` is smaller than the limit, the limit is what there is.
    pub(super) fn in_memory(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<const LEAST: u64, const MOST: u64> FromText for Bytes<LEAST, MOST> {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1), ("", 1)];
        let bytes = number_with_unit(text, &units).ok_or_else(|| {
            Wrong::new(
                "is not a size",
                "a whole number and a unit: `64KiB`, `10MiB`, `1GiB`; without one, bytes",
            )
        })?;
        within(bytes, LEAST, MOST, size_text)?;
        Ok(Self(bytes))
    }
}

/// A whole number of `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count<const LEAST: u64, const MOST: u64>(pub(super) usize);

impl<const LEAST: u64, const MOST: u64> FromText for Count<LEAST, MOST> {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let count = number_with_unit(text, &[("", 1)])
            .ok_or_else(|| Wrong::new("is not a whole number", "digits and nothing else"))?;
        within(count, LEAST, MOST, |count| count.to_string())?;
        usize::try_from(count).map(Self).map_err(|_| Wrong::new("is too large", "write a smaller number"))
    }
}

/// So many requests in a second, a minute or an hour; as the time that one takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct PerTime(pub(super) Duration);

impl FromText for PerTime {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let wrong = || Wrong::new("is no rate", "a whole number, `/` and a unit: `10/s`, `100/m`, `1000/h`");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count = number_with_unit(count, &[("", 1)]).ok_or_else(wrong)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(wrong()),
        };
        within(count, 1, 1_000_000, |count| format!("{count}/{unit}"))?;
        let count = u32::try_from(count).map_err(|_| wrong())?;
        Ok(Self(Duration::from_secs(seconds) / count))
    }
}

/// Digits and one of `units`, as a product that fits. No sign, no fraction, no space: one way to write a value.
fn number_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn milliseconds(text: &str) -> Result<u64, Wrong> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    number_with_unit(text, &units).ok_or_else(|| {
        Wrong::new("is not a duration", "a whole number and a unit: `500ms`, `10s`, `5m`, `1h`")
    })
}

fn within(value: u64, least: u64, most: u64, text: impl Fn(u64) -> String) -> Result<(), Wrong> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Wrong::new("is out of range", format!("it can be from `{}` to `{}`", text(least), text(most))))
}

fn duration_text(millis: u64) -> String {
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        _ => format!("{millis}ms"),
    }
}

fn size_text(bytes: u64) -> String {
    match bytes {
        0 => "0".to_owned(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

/// Text of any kind that is compared byte for byte: not empty, no white space at its ends, nothing that would not print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text(pub(super) String);

impl FromText for Text {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new("is empty", "write a value"));
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(Wrong::new(
                "has white space at an end, or a control character",
                "it is compared byte for byte",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name of the operator's, fit for a log line and a metric label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name(pub(super) String);

impl FromText for Name {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if text.is_empty() || text.len() > 64 || !text.bytes().all(fits) {
            return Err(Wrong::new("is no name", "letters, digits, `-`, `_` and `.`, at most 64 of them"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A protocol that a connection may be switched to (RFC 9110 §7.8), in lower case: names are compared so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpgradeToken(pub(super) String);

impl FromText for UpgradeToken {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let name = text.to_ascii_lowercase();
        let is_token = |part: &str| part.parse::<http::Method>().is_ok();
        let (first, version) = name.split_once('/').unwrap_or((&name, "1"));
        if !is_token(first) || !is_token(version) {
            return Err(Wrong::new(
                "is no protocol",
                "a name as in the `Upgrade` header, such as `websocket`",
            ));
        }
        // What is asked for in there would be verified by nobody.
        if matches!(first, "h2c" | "h2" | "h3" | "http" | "https" | "tls") {
            return Err(Wrong::new(
                "would carry requests past the gateway",
                "name a protocol that is not HTTP, such as `websocket`",
            ));
        }
        Ok(Self(name))
    }
}

/// A file's path, relative to the directory of the configuration file.
#[derive(Clone, Debug)]
pub(super) struct FilePath(pub(super) String);

impl FromText for FilePath {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        if text.is_empty() {
            return Err(Wrong::new(
                "is empty",
                "write a path, relative to the configuration file's directory",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromText for bool {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(Wrong::new("is neither `true` nor `false`", "write `true` or `false`")),
        }
    }
}

impl FromText for SocketAddr {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|_| {
            let mend = match text.split_once(':') {
                Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
                    format!("for all interfaces: `0.0.0.0:{port}`")
                }
                Some(("localhost", port)) => format!("write `127.0.0.1:{port}` or `[::1]:{port}`"),
                _ => "an IP address and a port: `127.0.0.1:8443`, `[::1]:8443`".to_owned(),
            };
            Wrong::new("is not an address to listen on", mend)
        })
    }
}

impl FromText for IpNet {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            return Err(Wrong::new(
                "has no prefix length",
                format!("for that one address: `{}`", IpNet::from(address)),
            ));
        }
        let range: IpNet = text
            .parse()
            .map_err(|_| Wrong::new("is not a CIDR", "an address range: `10.0.0.0/8`, `fd00::/8`"))?;
        if range.trunc() != range {
            return Err(Wrong::new(
                "has bits set behind its prefix",
                format!("the range is `{}`", range.trunc()),
            ));
        }
        Ok(range)
    }
}

impl FromText for Origin {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        Origin::read(text).ok_or_else(|| {
            if text.contains('@') {
                let mut wrong =
                    Wrong::new("has a user or password in it", "write scheme, host and port alone");
                wrong.secret = true;
                return wrong;
            }
            let mend = "`http://` or `https://`, a host, perhaps a port, and nothing behind it";
            // The longest part that is an origin says what is too much.
            let origin = text.match_indices('/').nth(2).and_then(|(end, _)| Origin::read(&text[..end]));
            match origin {
                Some(origin) => Wrong::new("has a path", format!("write `{origin}`")),
                None => Wrong::new("is not an origin", mend),
            }
        })
    }
}

impl FromText for Algorithm {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let names = Algorithm::ALL.map(Algorithm::name);
        Algorithm::from_name(text).ok_or_else(|| {
            let known = format!("the algorithms are {}", one_of(&names));
            // RFC 8725 §3.1, §3.2: neither belongs on any list of ours.
            if text.eq_ignore_ascii_case("none") {
                return Wrong::new("is no signature at all", known);
            }
            if text.to_ascii_uppercase().starts_with("HS") {
                return Wrong::new("is a MAC: who can verify it can make it", known);
            }
            Wrong::new("is not a known algorithm", did_you_mean(text, names).unwrap_or(known))
        })
    }
}

/// A scope-token (RFC 6749 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope(pub(super) String);

impl FromText for Scope {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.contains(' ') {
            return Err(Wrong::new(
                "is more than one scope",
                format!("write a list: `[{}]`", text.replace(' ', ", ")),
            ));
        }
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(Wrong::new(
                "is no scope",
                "printable ASCII without space, `\"` and `\\` (RFC 6749 §3.3)",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// One of `acr_values` (RFC 9470 §3), which stand in a challenge with spaces between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AcrValue(pub(super) String);

impl FromText for AcrValue {
    const ANY_WORD: bool = true;

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let fits = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.is_empty() || !text.bytes().all(fits) {
            return Err(Wrong::new("is no acr", "printable ASCII without space, `\"` and `\\`"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A revision of MCP in which servers compare headers with the body: a date, from the first such on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct McpVersion(pub(super) String);

impl FromText for McpVersion {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        let is_date = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        if !is_date {
            return Err(Wrong::new("is no revision of MCP", "a date: `2026-07-28`"));
        }
        if text < FIRST_BINDING_VERSION {
            return Err(Wrong::new(
                "is a revision in which nobody compares the headers with the body",
                format!(
                    "`{FIRST_BINDING_VERSION}` or later; a caller could write what it likes into the headers"
                ),
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromText for http::Method {
    fn from_text(text: &str) -> Result<Self, Wrong> {
        if matches!(text, "CONNECT" | "TRACE") {
            return Err(Wrong::new("is never forwarded", "leave it out"));
        }
        if text.bytes().any(|b| b.is_ascii_lowercase()) {
            return Err(Wrong::new(
                "is no method",
                format!("methods are case-sensitive: {}", quoted(&text.to_uppercase())),
            ));
        }
        http::Method::from_bytes(text.as_bytes()).map_err(|_| Wrong::new("is no method", "for example `GET`"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, FromText, IpNet, Millis, Name, Scope, Seconds};

    #[test]
    fn durations_and_sizes_have_one_spelling() {
        let millis = |text| Millis::<0, 3_600_000>::from_text(text).ok().map(|value| value.0.as_millis());
        for (text, expected) in [
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("2h", None),
            ("10", None),
            ("-1s", None),
            ("+1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("10S", None),
            ("s", None),
            ("", None),
            ("1m30s", None),
            ("99999999999999999999s", None),
            ("9999999999999999999h", None),
        ] {
            assert_eq!(millis(text), expected, "{text}");
        }
        let bytes = |text| Bytes::<1, { 1 << 31 }>::from_text(text).ok().map(|value| value.0);
        for (text, expected) in [
            ("64KiB", Some(65_536)),
            ("10MiB", Some(10_485_760)),
            ("1GiB", Some(1 << 30)),
            ("12", Some(12)),
            ("12B", Some(12)),
            ("0", None),
            ("64KB", None),
            ("64kib", None),
            ("1e3", None),
            ("8GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
        assert!(Seconds::<1, 300>::from_text("5m").is_ok_and(|value| value.0 == 300));
        assert!(
            Seconds::<1, 300>::from_text("1500ms").is_err_and(|wrong| wrong.what == "is not whole seconds")
        );
        assert!(
            Seconds::<1, 300>::from_text("301s")
                .is_err_and(|wrong| wrong.mend == "it can be from `1s` to `5m`")
        );
    }

    #[test]
    fn ranges_names_and_scopes_are_strict() {
        for (text, ok) in [
            ("10.0.0.0/8", true),
            ("::1/128", true),
            ("10.0.0.1", false),
            ("10.0.0.1/8", false),
            ("any", false),
        ] {
            assert_eq!(IpNet::from_text(text).is_ok(), ok, "{text}");
        }
        for (text, ok) in [("a-b_c.1", true), ("", false), ("a b", false), ("é", false), ("a\n", false)] {
            assert_eq!(Name::from_text(text).is_ok(), ok, "{text}");
        }
        for (text, ok) in
            [("accounts:read", true), ("a b", false), ("a\"b", false), ("a\\b", false), ("", false)]
        {
            assert_eq!(Scope::from_text(text).is_ok(), ok, "{text}");
        }
    }
}

//! What MCP says of a request in its headers, and whether a route lets it through (MCP 2026-07-28, Streamable HTTP, "Request Metadata").
//!
//! The headers repeat what the body says, and the body is not read here. They are worth a policy for one reason: from revision 2026-07-28 on the server behind must
//! compare them with the body and refuse what differs ("Server Validation"). So a request of an older revision, or of none, is refused before anything else is
//! looked at: there `Mcp-Method` is whatever a caller likes, and a policy on it would be a policy on nothing. That the server does compare is the operator's to know.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::field::{Line, single};
use super::super::rejection::Rejection;

/// The revision of MCP that a request speaks.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `method` of the body.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `params.name` or `params.uri` of the body.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// The methods whose `Mcp-Name` a server must compare with the body ("Standard Request Headers"). With any other it may hold anything.
pub const NAMED_METHODS: [&str; 3] = ["tools/call", "resources/read", "prompts/get"];

/// The first revision that binds the headers to the body. Revisions are dates, which are in order as texts.
pub const FIRST_BINDING_VERSION: &str = "2026-07-28";

/// `require.mcp`: what of MCP a route lets through.
#[derive(Clone, Debug)]
pub struct Mcp {
    /// `versions`: the revisions that may be spoken, each one that binds the headers to the body
    pub versions: Vec<String>,
    /// `allow`: the first of them that fits a request decides; at least one
    pub allow: Vec<Allowed>,
}

/// One of `allow`.
#[derive(Clone, Debug)]
pub struct Allowed {
    /// `methods`: `Mcp-Method` is one of these
    pub methods: Vec<String>,
    /// `names`: `Mcp-Name`, decoded, is one of these; empty: it is not looked at. With [`NAMED_METHODS`] alone.
    pub names: Vec<String>,
    /// `scopes`: the token has all of these, besides those of the route
    pub scopes: Vec<String>,
}

/// What a request says it is for. The texts are the caller's.
struct Call<'h> {
    method: &'h str,
    name: Option<Cow<'h, str>>,
}

impl Mcp {
    /// The entry that allows a request with these headers, which are forwarded as they are.
    ///
    /// # Errors
    /// [`Rejection::McpVersion`], [`Rejection::McpHeaders`] or [`Rejection::McpRefused`]. Whether the token has the entry's scopes is not judged here.
    pub fn find(&self, headers: &HeaderMap) -> Result<&Allowed, Rejection> {
        let Line::One(version) = single(headers, &PROTOCOL_VERSION) else {
            return Err(Rejection::McpVersion);
        };
        // Byte for byte: what a server would read as another revision, it would judge by other rules.
        if !self.versions.iter().any(|one| one.as_bytes() == version.as_bytes()) {
            return Err(Rejection::McpVersion);
        }
        let call = Call::read(headers)?;
        self.allow.iter().find(|entry| entry.fits(&call)).ok_or(Rejection::McpRefused)
    }
}

impl Allowed {
    fn fits(&self, call: &Call<'_>) -> bool {
        // "Case Sensitivity": values are compared as they are.
        self.methods.iter().any(|method| method == call.method)
            && (self.names.is_empty()
                || call.name.as_deref().is_some_and(|name| self.names.iter().any(|one| one == name)))
    }
}

impl<'h> Call<'h> {
    fn read(headers: &'h HeaderMap) -> Result<Self, Rejection> {
        // RFC 9110 §7.6.1: what `Connection` names ends here, so the server would get a request without what was judged; without a version it would take it for an
        // old one and compare nothing.
        if is_ended_here(headers) {
            return Err(Rejection::McpHeaders);
        }
        let one = |name: &HeaderName| match single(headers, name) {
            Line::One(line) => text(line).ok_or(Rejection::McpHeaders),
            Line::Absent | Line::Several => Err(Rejection::McpHeaders),
        };
        let method = one(&METHOD)?;
        let name = if NAMED_METHODS.contains(&method) {
            Some(decoded(one(&NAME)?).ok_or(Rejection::McpHeaders)?)
        } else {
            None
        };
        Ok(Self { method, name })
    }
}

fn is_ended_here(headers: &HeaderMap) -> bool {
    let named =
        headers.get_all(CONNECTION).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let ours = [PROTOCOL_VERSION, METHOD, NAME];
    named
        .map(<[u8]>::trim_ascii)
        .any(|name| ours.iter().any(|one| name.eq_ignore_ascii_case(one.as_str().as_bytes())))
}

/// "Value Encoding": visible ASCII, spaces and tabs, and not nothing. Spaces at the ends are no part of a field; HTTP/1 has taken them off, and where they are still
/// there (HTTP/2) one server would and another would not.
fn text(line: &HeaderValue) -> Option<&str> {
    line.to_str().ok().filter(|text| !text.is_empty() && text.trim_matches([' ', '\t']) == *text)
}

/// The name that a value stands for. The markers are taken exactly as they are written, in lower case; what stands between them has one spelling, padding and
/// all, so that nobody can mean another name by it than the server does.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    const BEGIN: &str = "=?base64?";
    const END: &str = "?=";
    if !(value.starts_with(BEGIN) && value.ends_with(END)) {
        return Some(Cow::Borrowed(value));
    }
    let coded = value.strip_prefix(BEGIN)?.strip_suffix(END)?;
    String::from_utf8(STANDARD.decode(coded).ok()?).ok().filter(|name| !name.is_empty()).map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mcp() -> Mcp {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let entry = |methods: &[&str], names: &[&str], scopes: &[&str]| Allowed {
            methods: texts(methods),
            names: texts(names),
            scopes: texts(scopes),
        };
        Mcp {
            versions: texts(&["2026-07-28"]),
            allow: vec![
                entry(&["tools/list", "server/discover"], &[], &[]),
                entry(&["tools/call"], &["search", "größe", " padded "], &[]),
                entry(&["tools/call"], &["drop"], &["admin"]),
                entry(&["prompts/get"], &[], &[]),
            ],
        }
    }

    fn found(lines: &[(&'static str, &str)]) -> Result<Vec<String>, Rejection> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        mcp().find(&headers).map(|entry| entry.scopes.clone())
    }

    const VERSION: (&str, &str) = ("mcp-protocol-version", "2026-07-28");

    #[test]
    fn only_revisions_that_bind() {
        let call = ("mcp-method", "tools/list");
        assert!(found(&[VERSION, call]).is_ok());
        for version in
            ["2025-11-25", "2025-06-18", "", "2026-07-28, 2026-07-28", "2026-07-29", "2026-7-28", "DRAFT"]
        {
            assert_eq!(
                found(&[("mcp-protocol-version", version), call]),
                Err(Rejection::McpVersion),
                "{version}"
            );
        }
        assert_eq!(found(&[call]), Err(Rejection::McpVersion));
        assert_eq!(found(&[VERSION, VERSION, call]), Err(Rejection::McpVersion));
    }

    #[test]
    fn one_method_exactly() {
        for (lines, expected) in [
            (&[][..], Rejection::McpHeaders),
            (&[""], Rejection::McpHeaders),
            (&["tools/list", "tools/list"], Rejection::McpHeaders),
            (&["tools/list\u{e9}"], Rejection::McpHeaders),
            (&["tools/list, server/discover"], Rejection::McpRefused),
            (&["Tools/List"], Rejection::McpRefused),
            (&["tools/lis"], Rejection::McpRefused),
            (&["initialize"], Rejection::McpRefused),
            // The sentinel is for names alone, so this is a method of that very name.
            (&["=?base64?dG9vbHMvbGlzdA==?="], Rejection::McpRefused),
        ] {
            let all: Vec<_> =
                std::iter::once(VERSION).chain(lines.iter().map(|line| ("mcp-method", *line))).collect();
            assert_eq!(found(&all), Err(expected), "{lines:?}");
        }
    }

    #[test]
    fn names_in_every_spelling_that_stands_for_one() {
        let call = |name: &str| found(&[VERSION, ("mcp-method", "tools/call"), ("mcp-name", name)]);
        for name in ["search", "=?base64?c2VhcmNo?=", "=?base64?Z3LDtsOfZQ==?=", "=?base64?IHBhZGRlZCA=?="] {
            assert_eq!(call(name), Ok(Vec::new()), "{name}");
        }
        assert_eq!(call("drop"), Ok(vec!["admin".to_owned()]));
        for (name, expected) in [
            ("", Rejection::McpHeaders),
            ("größe", Rejection::McpHeaders),
            ("=?base64?c2VhcmN?=", Rejection::McpHeaders),
            ("=?base64?c2VhcmNp?= ?=", Rejection::McpHeaders),
            ("=?base64?Z3LDtsOfZQ?=", Rejection::McpHeaders),
            ("=?base64?Z3LDtsOfZR==?=", Rejection::McpHeaders),
            ("=?base64?/w==?=", Rejection::McpHeaders),
            ("=?BASE64?c2VhcmNo?=", Rejection::McpRefused),
            ("=?base64?c2VhcmNo", Rejection::McpRefused),
            ("=?base64??=", Rejection::McpHeaders),
            ("=?base64?=", Rejection::McpHeaders),
            (" search", Rejection::McpHeaders),
            ("search\t", Rejection::McpHeaders),
            ("Search", Rejection::McpRefused),
            ("search,drop", Rejection::McpRefused),
        ] {
            assert_eq!(call(name), Err(expected), "{name}");
        }
        let twice = [VERSION, ("mcp-method", "tools/call"), ("mcp-name", "search"), ("mcp-name", "search")];
        assert_eq!(found(&twice), Err(Rejection::McpHeaders));
        assert_eq!(found(&twice[..2]), Err(Rejection::McpHeaders));
        // A method that is allowed with any name still has to say one; one without names may have whatever it likes.
        assert_eq!(found(&[VERSION, ("mcp-method", "prompts/get")]), Err(Rejection::McpHeaders));
        assert!(found(&[VERSION, ("mcp-method", "prompts/get"), ("mcp-name", "any")]).is_ok());
        assert!(found(&[VERSION, ("mcp-method", "tools/list"), ("mcp-name", "drop")]).is_ok());
    }

    /// What is judged is what the server gets.
    #[test]
    fn nothing_of_it_ends_here() {
        for named in ["mcp-name", "close, MCP-Protocol-Version", " mcp-method ,x", "x,\tMcp-Name"] {
            let lines = [VERSION, ("mcp-method", "tools/list"), ("connection", named)];
            assert_eq!(found(&lines), Err(Rejection::McpHeaders), "{named}");
        }
        let lines =
            [VERSION, ("mcp-method", "tools/list"), ("connection", "close"), ("connection", "mcp-method")];
        assert_eq!(found(&lines), Err(Rejection::McpHeaders));
        assert!(
            found(&[VERSION, ("mcp-method", "tools/list"), ("connection", "keep-alive, mcp-names")]).is_ok()
        );
    }
}

//! What is wrong with `issuers` beyond how they are written, and the issuers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use rustls::RootCertStore;

use super::complaint::{Complaints, did_you_mean, quoted};
use super::decode::{List, Setting, Wrong};
use super::encryption::encryption;
use super::exchange::exchange;
use super::introspection::{AnswerForm, introspection};
use super::issuer_file;
use super::material::Surroundings;
use super::route_file;
use super::values::Text;
use super::{Encryption, Exchange, Introspection};
use crate::verify::algorithm::Algorithms;
use crate::verify::htu::Authority;
use crate::verify::token::TokenRules;

/// One of `issuers`.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// How its tokens are judged.
    pub rules: TokenRules,
    /// `keys`
    pub keys: KeySource,
    /// `trust`: the CA for whatever is fetched from it; `None` is the system's roots
    pub trust: Option<Arc<RootCertStore>>,
    /// `refetch_cooldown`: at most one fetch in this time; default 30 s
    pub refetch_cooldown: Duration,
    /// `refresh`: how often keys are fetched without a reason; default 5 m
    pub refresh: Duration,
    /// `keep_stale`: how long keys are used after the last fetch that worked; default 1 h
    pub keep_stale: Duration,
    /// `introspection`; `None`: its tokens are JWTs
    pub introspection: Option<Introspection>,
    /// `exchange`; `None`: it exchanges no tokens
    pub exchange: Option<Exchange>,
    /// `encryption`; `None`: what is encrypted is refused
    pub encryption: Option<Encryption>,
}

impl PartialEq for Issuer {
    /// CAs by what they are: the same file may hold others after a while.
    fn eq(&self, other: &Self) -> bool {
        let Self {
            rules,
            keys,
            trust,
            refetch_cooldown,
            refresh,
            keep_stale,
            introspection,
            exchange,
            encryption,
        } = self;
        let roots = |trust: &Option<Arc<RootCertStore>>| trust.as_ref().map(|trust| trust.roots.clone());
        *rules == other.rules
            && *keys == other.keys
            && roots(trust) == roots(&other.trust)
            && *refetch_cooldown == other.refetch_cooldown
            && *refresh == other.refresh
            && *keep_stale == other.keep_stale
            && *introspection == other.introspection
            && *exchange == other.exchange
            && *encryption == other.encryption
    }
}

/// `keys` of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `jwks_file`: read again every `refresh`
    File(PathBuf),
    /// `jwks_url`: https, or http to a loopback address
    Url(http::Uri),
    /// `discovery: true`: RFC 8414, then OpenID Connect Discovery
    Discovery,
}

/// The issuers that could be built; all of them, when nothing was complained of.
pub(super) fn issuers(
    written: &List<issuer_file::Issuer>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Vec<Issuer> {
    for (position, one) in written.items.iter().enumerate() {
        let Some(issuer) = &one.issuer else { continue };
        let before = written.items[..position].iter().filter_map(|other| other.issuer.as_ref());
        if let Some(twin) = before.into_iter().find(|other| other.value == issuer.value) {
            let message = format!("the issuer on line {} is the same", twin.span.line);
            complaints.add_with(issuer.span, message, "write one entry with the audiences of both");
        }
    }
    written.items.iter().filter_map(|issuer| build(issuer, surroundings, complaints)).collect()
}

fn build(
    written: &issuer_file::Issuer,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Issuer> {
    if let Some(issuer) = &written.issuer {
        // RFC 8414 §2: https, and neither query nor fragment. http to this machine is for tests and sidecars.
        let wrong = match web_url(&issuer.0) {
            Ok(url) if url.query().is_some() => {
                Some(Wrong::new("has a query", "an issuer has none (RFC 8414 §2)"))
            }
            Ok(_) => None,
            Err(wrong) => Some(wrong),
        };
        complain(wrong, issuer, complaints);
    }
    if written.keep_stale.0 < written.refresh.0 {
        let blamed =
            if written.keep_stale.written { &written.keep_stale.span } else { &written.refresh.span };
        let message = "`keep_stale` is shorter than `refresh`: keys would be dropped between two fetches";
        complaints.add(*blamed, message);
    }
    let algorithms = Algorithms::new(&written.algorithms.values());
    let keys = written.keys.as_ref().and_then(|keys| key_source(keys, &algorithms, surroundings, complaints));
    let from_file = written.keys.as_ref().is_some_and(|keys| keys.jwks_file.is_some());
    let trust = match &written.trust {
        Some(trust) if from_file && written.introspection.is_none() && written.exchange.is_none() => {
            complaints.add_with(
                trust.span,
                "nothing is fetched from this issuer: its keys are in a file",
                "leave `trust` out",
            );
            None
        }
        Some(trust) => Some(surroundings.roots(trust, complaints)?),
        None => None,
    };
    if let Some(asked) = &written.introspection
        && asked.settings.answer.value == AnswerForm::EncryptedJwt
        && written.encryption.is_none()
    {
        complaints.add_with(
            asked.settings.answer.span,
            "there is no key to decrypt an answer with",
            "give the issuer `encryption`, with a key",
        );
    }
    let sealed = match &written.encryption {
        Some(sealed) => Some(encryption(sealed, surroundings, complaints)?),
        None => None,
    };
    let exchanged = match &written.exchange {
        Some(exchanged) => Some(exchange(exchanged, surroundings, complaints)?),
        None => None,
    };
    let asked = match &written.introspection {
        Some(asked) => Some(introspection(asked, surroundings, complaints)?),
        None => None,
    };
    Some(Issuer {
        rules: TokenRules {
            issuer: written.issuer.as_ref()?.0.clone(),
            audiences: texts(&written.audiences.as_ref()?.value),
            algorithms,
            token_type: written.token_type.value,
            required_claims: texts(&written.required_claims),
            leeway: written.leeway.0,
            max_lifetime: written.max_lifetime.as_ref().map(|most| most.0),
        },
        keys: keys?,
        trust,
        refetch_cooldown: written.refetch_cooldown.0,
        refresh: written.refresh.0,
        keep_stale: written.keep_stale.0,
        introspection: asked,
        exchange: exchanged,
        encryption: sealed,
    })
}

/// The index of a route's `require.issuer` among the issuers.
pub(super) fn issuer_of(
    route: &route_file::Route,
    issuers: &List<issuer_file::Issuer>,
    complaints: &mut Complaints,
) -> Option<usize> {
    let name = route.require.issuer.as_ref()?;
    let names = || issuers.items.iter().map(|one| one.issuer.as_ref().map(|issuer| issuer.0.as_str()));
    let found = names().position(|one| one == Some(&name.0));
    if found.is_none() && issuers.whole {
        let mend = did_you_mean(&name.0, names().flatten())
            .unwrap_or_else(|| "write it as in `issuers`, byte for byte".to_owned());
        complaints.add_with(name.span, format!("there is no issuer {}", quoted(&name.0)), mend);
    }
    found
}

fn texts<const LEAST: usize>(list: &List<Text, LEAST>) -> Vec<String> {
    list.items.iter().map(|text| text.0.clone()).collect()
}

fn key_source(
    written: &Setting<issuer_file::Keys>,
    algorithms: &Algorithms,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<KeySource> {
    const MEND: &str = "exactly one of `jwks_file`, `jwks_url` and `discovery: true`";
    let issuer_file::Keys { jwks_file, jwks_url, discovery } = &written.value;
    let mut places: Vec<_> = [
        jwks_file.as_ref().map(|setting| setting.span),
        jwks_url.as_ref().map(|setting| setting.span),
        discovery.as_ref().map(|setting| setting.span),
    ]
    .into_iter()
    .flatten()
    .collect();
    places.sort();
    if let [_, second, ..] = places.as_slice() {
        complaints.add_with(*second, "a second source of keys", MEND);
        return None;
    }
    match (jwks_file, jwks_url, discovery) {
        (Some(file), _, _) => surroundings.jwks_file(file, algorithms, complaints).map(KeySource::File),
        (_, Some(url), _) => match web_url(&url.0) {
            Ok(uri) => Some(KeySource::Url(uri)),
            Err(wrong) => {
                complain(Some(wrong), url, complaints);
                None
            }
        },
        (_, _, Some(discovery)) if discovery.value => Some(KeySource::Discovery),
        (_, _, Some(discovery)) => {
            complaints.add_with(discovery.span, "no source of keys", MEND);
            None
        }
        (None, None, None) => {
            complaints.add_with(written.span, "no source of keys", MEND);
            None
        }
    }
}

pub(super) fn complain(wrong: Option<Wrong>, text: &Setting<Text>, complaints: &mut Complaints) {
    match wrong {
        Some(Wrong { what, mend, secret: true }) => {
            complaints.hide(text.span);
            complaints.add_with(text.span, format!("this {what}"), mend);
        }
        Some(Wrong { what, mend, secret: false }) => {
            complaints.add_with(text.span, format!("{} {what}", quoted(&text.0)), mend);
        }
        None => {}
    }
}

/// A URL that may be fetched from: https, or http to this machine alone. Keys that came over a network in the clear are whoever's.
pub(super) fn web_url(text: &str) -> Result<Uri, Wrong> {
    const MEND: &str = "`https://`, a host and perhaps a path; `http://` only to a loopback address";
    // `Uri` cuts a fragment off without a word.
    if text.contains('#') {
        return Err(Wrong::new("has a fragment", "leave out `#` and what is behind it"));
    }
    let uri: Uri = text.parse().map_err(|_| Wrong::new("is not a URL", MEND))?;
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    if authority.contains('@') {
        let mut wrong = Wrong::new("has a user or password in it", "leave out what is before the `@`");
        wrong.secret = true;
        return Err(wrong);
    }
    let host = Authority::read(authority).ok_or_else(|| Wrong::new("is not a URL", MEND))?.host;
    match uri.scheme_str() {
        Some("https") => Ok(uri),
        Some("http") if is_loopback(&host) => Ok(uri),
        Some("http") => Err(Wrong::new("is neither https nor a loopback address", MEND)),
        _ => Err(Wrong::new("is not a URL", MEND)),
    }
}

/// Whether a host is this machine by its name alone: nothing is resolved here.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::web_url;

    #[test]
    fn keys_are_fetched_over_tls_or_from_this_machine() {
        for (url, ok) in [
            ("https://as.example.com", true),
            ("https://as.example.com/jwks?v=1", true),
            ("http://127.0.0.1:8080/jwks", true),
            ("http://127.255.0.1/", true),
            ("http://[::1]:8080/jwks", true),
            ("http://localhost/jwks", true),
            ("http://as.example.com/jwks", false),
            ("http://127.0.0.1.example.com/jwks", false),
            ("http://localhost.example.com/jwks", false),
            ("http://0.0.0.0/jwks", false),
            ("https://as.example.com/jwks#x", false),
            ("https://user:password@as.example.com/", false),
            ("http://127.0.0.1@as.example.com/", false),
            ("file:///etc/passwd", false),
            ("/jwks", false),
            ("as.example.com", false),
            ("https://", false),
            ("", false),
        ] {
            assert_eq!(web_url(url).is_ok(), ok, "{url}");
        }
    }
}

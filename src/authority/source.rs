//! Where an issuer's keys are: a file, an address, or wherever its metadata says.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Uri;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;

use super::fetch::{FetchError, FetchUrl, Fetcher, MOST_BYTES, Roots};
use crate::config::{Issuer, KeySource};
use crate::verify::json::Object;
use crate::verify::jws;

/// Why keys of an issuer could never be had. The sentence is for the operator.
#[derive(Debug, Error)]
pub enum Unusable {
    /// Neither https nor http to a loopback address; an issuer with a query or a fragment, which has no metadata (RFC 8414 §2).
    #[error("issuer {0}: keys are fetched over https only, or over http from a loopback address")]
    Address(String),
    /// There is no root to trust its servers by.
    #[error(
        "issuer {0}: no trusted roots for its servers; install the system's CA certificates or set trust.ca: {1}"
    )]
    Roots(String, rustls::Error),
}

/// The source of one issuer's keys.
#[derive(Debug)]
pub(super) enum Source {
    /// A file, read anew each time.
    File(PathBuf),
    /// An address.
    Url(FetchUrl, Fetcher),
    /// The address that the issuer's metadata names, looked up anew each time: an issuer may move its keys.
    Discovery(Issued, Fetcher),
}

/// What is looked up in metadata (RFC 8414 §2).
#[derive(Clone, Copy, Debug)]
pub(super) enum Member {
    /// `jwks_uri`
    Keys,
    /// `introspection_endpoint`
    Introspection,
    /// `token_endpoint`
    Token,
}

impl Member {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Member::Keys => "jwks_uri",
            Member::Introspection => "introspection_endpoint",
            Member::Token => "token_endpoint",
        }
    }

    /// The sentence for metadata without a usable one.
    const fn missing(self) -> &'static str {
        match self {
            Member::Keys => "the metadata has no jwks_uri that is https",
            Member::Introspection => "the metadata has no introspection_endpoint that is https",
            Member::Token => "the metadata has no token_endpoint that is https",
        }
    }
}

/// An issuer that has metadata.
#[derive(Debug)]
pub(super) struct Issued {
    name: String,
    url: FetchUrl,
    metadata: [FetchUrl; 2],
}

impl Source {
    /// The source that `issuer` is configured with.
    pub(super) fn new(issuer: &Issuer) -> Result<Self, Unusable> {
        let name = &issuer.rules.issuer;
        let address = || Unusable::Address(name.clone());
        let fetcher = |url: &FetchUrl| {
            let roots = match &issuer.trust {
                Some(roots) => Roots::Ca(roots.clone()),
                // So that a container without CA certificates can still ask a neighbour on loopback.
                None if matches!(issuer.keys, KeySource::Url(_)) && !url.is_https() => Roots::Nobody,
                None => Roots::System,
            };
            Fetcher::new(roots, None).map_err(|error| Unusable::Roots(name.clone(), error))
        };
        match &issuer.keys {
            KeySource::File(path) => Ok(Source::File(path.clone())),
            KeySource::Url(uri) => {
                let url = FetchUrl::new(uri.clone()).ok_or_else(address)?;
                let fetcher = fetcher(&url)?;
                Ok(Source::Url(url, fetcher))
            }
            KeySource::Discovery => {
                let issued = Issued::read(name).ok_or_else(address)?;
                let fetcher = fetcher(&issued.url)?;
                Ok(Source::Discovery(issued, fetcher))
            }
        }
    }

    /// The text of the key set, whatever it says.
    pub(super) async fn fetch(&self) -> Result<Bytes, FetchError> {
        match self {
            Source::File(path) => read_file(path).await.map(Bytes::from),
            Source::Url(url, fetcher) => fetcher.get(url).await,
            Source::Discovery(issued, fetcher) => {
                fetcher.get(&issued.discover(Member::Keys, fetcher).await?).await
            }
        }
    }
}

async fn read_file(path: &Path) -> Result<Vec<u8>, FetchError> {
    // To open a FIFO is to wait for its writer, in a thread that nothing can end: not even the end of the process would come.
    if !tokio::fs::metadata(path).await.map_err(FetchError::File)?.is_file() {
        return Err(FetchError::File(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
    }
    let file = tokio::fs::File::open(path).await.map_err(FetchError::File)?;
    let mut text = Vec::new();
    // One byte more than is allowed tells a file that is too long from one that just fits.
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut text).await.map_err(FetchError::File)?;
    if text.len() > MOST_BYTES { Err(FetchError::TooLarge(MOST_BYTES)) } else { Ok(text) }
}

impl Issued {
    /// `None` for what is no issuer identifier with an address we would ask (RFC 8414 §2).
    pub(super) fn read(name: &str) -> Option<Self> {
        if name.contains(['?', '#']) {
            return None;
        }
        let url = FetchUrl::new(name.parse().ok()?)?;
        let path = url.uri().path().trim_end_matches('/');
        let at = |path: String| {
            let mut parts = url.uri().clone().into_parts();
            parts.path_and_query = Some(path.parse().ok()?);
            FetchUrl::new(Uri::from_parts(parts).ok()?)
        };
        let metadata = [
            // RFC 8414 §3.1: the well-known path goes between host and path.
            at(format!("/.well-known/oauth-authorization-server{path}"))?,
            // OpenID Connect Discovery 1.0 §4: it goes behind the path.
            at(format!("{path}/.well-known/openid-configuration"))?,
        ];
        Some(Self { name: name.to_owned(), url, metadata })
    }

    /// Where the metadata is looked for.
    pub(super) const fn url(&self) -> &FetchUrl {
        &self.url
    }

    /// The address that its metadata has for `member`: RFC 8414, then OpenID Connect Discovery for issuers from before it. The second is asked whenever the first was
    /// answered with something else, since servers answer an unknown path in every way there is; not when there was no answer.
    pub(super) async fn discover(&self, member: Member, fetcher: &Fetcher) -> Result<FetchUrl, FetchError> {
        let [first, second] = &self.metadata;
        match self.ask(first, member, fetcher).await {
            Err(error @ (FetchError::Unreachable(_) | FetchError::Broken(_))) => Err(error),
            Err(_) => self.ask(second, member, fetcher).await,
            found => found,
        }
    }

    async fn ask(&self, url: &FetchUrl, member: Member, fetcher: &Fetcher) -> Result<FetchUrl, FetchError> {
        self.read_metadata(&fetcher.get(url).await?, member)
    }

    /// An address, from metadata that is this issuer's own.
    fn read_metadata(&self, text: &[u8], member: Member) -> Result<FetchUrl, FetchError> {
        let metadata = Object::read(text)
            .ok_or(FetchError::Metadata("the metadata is no JSON object, each member once"))?;
        // RFC 8414 §3.3: identical, or one issuer's metadata could hand out another's keys.
        if jws::string(&metadata, "issuer") != Some(&self.name) {
            return Err(FetchError::Metadata("the metadata names another issuer"));
        }
        let (name, missing) = (member.name(), member.missing());
        jws::string(&metadata, name)
            .and_then(|uri| FetchUrl::new(uri.parse().ok()?))
            // Metadata that came over the network does not lead to services of this machine.
            .filter(|url| url.is_https() || !self.url.is_https())
            .ok_or(FetchError::Metadata(missing))
    }
}

#[cfg(test)]
mod tests {
    use super::{Issued, Member};

    fn issued(name: &str) -> Issued {
        Issued::read(name).unwrap()
    }

    #[test]
    fn where_metadata_is() {
        let urls = |name: &str| issued(name).metadata.map(|url| url.uri().to_string());
        for name in ["https://as.example.com", "https://as.example.com/"] {
            assert_eq!(
                urls(name),
                [
                    "https://as.example.com/.well-known/oauth-authorization-server",
                    "https://as.example.com/.well-known/openid-configuration"
                ]
            );
        }
        for name in ["https://as.example.com:8443/a/b", "https://as.example.com:8443/a/b/"] {
            assert_eq!(
                urls(name),
                [
                    "https://as.example.com:8443/.well-known/oauth-authorization-server/a/b",
                    "https://as.example.com:8443/a/b/.well-known/openid-configuration"
                ]
            );
        }
        for name in
            ["http://as.example.com", "https://as.example.com?x", "https://as.example.com#x", "as", ""]
        {
            assert!(Issued::read(name).is_none(), "{name}");
        }
    }

    /// Whoever opens a FIFO waits for its writer.
    #[tokio::test]
    async fn only_files_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("jwks.json");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [&*fifo, directory.path()] {
            assert!(matches!(super::read_file(path).await, Err(super::FetchError::File(_))), "{path:?}");
        }
    }

    /// T-JWK-10.
    #[test]
    fn metadata_is_the_issuers_own_and_leads_nowhere_near() {
        let read = |name: &str, text: &str| {
            issued(name).read_metadata(text.as_bytes(), Member::Keys).map(|url| url.uri().to_string()).ok()
        };
        let metadata = |issuer: &str, uri: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"{uri}"}}"#);
        let far = "https://as.example.com/t";
        let near = "http://127.0.0.1:9";
        let keys = "https://keys.example.net/jwks?x=y";
        assert_eq!(read(far, &metadata(far, keys)).as_deref(), Some(keys));
        assert_eq!(
            read(near, &metadata(near, "http://127.0.0.1:9/k")).as_deref(),
            Some("http://127.0.0.1:9/k")
        );
        for issuer in ["https://as.example.com/t/", "https://as.example.com", "https://AS.example.com/t", ""]
        {
            assert_eq!(read(far, &metadata(issuer, keys)), None, "{issuer}");
        }
        for uri in
            ["http://as.example.com/k", "http://127.0.0.1/k", "http://localhost/k", "file:///k", "/k", ""]
        {
            assert_eq!(read(far, &metadata(far, uri)), None, "{uri}");
        }
        assert_eq!(read(near, &metadata(near, "http://as.example.com/k")), None);
        for text in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"issuer":"https://as.example.com/t"}"#,
            r#"{"issuer":"https://as.example.com/t","jwks_uri":5}"#,
            r#"{"issuer":"https://as.example.com/t","jwks_uri":"https://a/","jwks_uri":"https://b/"}"#,
        ] {
            assert_eq!(read(far, text), None, "{text}");
        }
    }
}

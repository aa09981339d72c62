//! The files that a configuration names: certificates, keys, CAs, JWK sets and secrets.
//!
//! They are read here, once, so that a gateway which starts has all it needs. A file's content is never part of a complaint.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::complaint::{Complaints, Span, quoted};
use super::decode::Setting;
use super::either::Secret;
use super::environment::Environment;
use super::file::{CaTrust, Certificate};
use super::files::Files;
use super::values::FilePath;
use super::{NonceKeys, ServerCertificate};
use crate::verify::algorithm::Algorithms;
use crate::verify::jwks::{KeySet, NotAKeySet};
use crate::verify::time::UnixTime;

/// The largest file that is read, in bytes. A bundle of all public CAs is a quarter of this.
const LARGEST: u64 = 1 << 20;

/// The most `nonce_keys`. Each is tried on a nonce that none of the others opens.
const MOST_NONCE_KEYS: usize = 16;

/// Where the configuration stands: what its paths and variables mean.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The directory that paths are relative to.
    pub(super) base: &'a Path,
    pub(super) environment: Environment<'a>,
    /// Every file that was read so far.
    pub(super) files: &'a RefCell<Files>,
}

impl Surroundings<'_> {
    /// The file's path from where the process stands.
    pub(super) fn path(self, written: &FilePath) -> PathBuf {
        self.base.join(&written.0)
    }

    fn file(self, written: &FilePath, span: Span, complaints: &mut Complaints) -> Option<Vec<u8>> {
        let path = self.path(written);
        match self.files.borrow_mut().read(&path, LARGEST) {
            Ok(content) => Some(content),
            Err(reason) => {
                let mend = "paths are relative to the configuration file's directory";
                complaints.add_with(
                    span,
                    format!("{} cannot be read: {reason}", quoted(&path.to_string_lossy())),
                    mend,
                );
                None
            }
        }
    }

    /// The certificates of a PEM file, at least one.
    fn certificates(
        self,
        written: &Setting<FilePath>,
        complaints: &mut Complaints,
    ) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.file(written, written.span, complaints)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match read {
            Ok(certificates) if !certificates.is_empty() => Some(certificates),
            Ok(_) => {
                complaints.add_with(
                    written.span,
                    "no certificate in this file",
                    "PEM: `-----BEGIN CERTIFICATE-----`",
                );
                None
            }
            Err(_) => {
                complaints.add(written.span, "this file is not PEM");
                None
            }
        }
    }

    /// A chain and its key, matched to each other. Whether the chain is trusted by anyone, or in time, is not judged: an expired
    /// certificate is no reason not to start, since it can be replaced while the gateway runs and callers refuse it themselves.
    pub(super) fn server_certificate(
        self,
        written: &Certificate,
        complaints: &mut Complaints,
    ) -> Option<ServerCertificate> {
        let chain = written.chain.as_ref().and_then(|chain| self.certificates(chain, complaints));
        let key = written.key.as_ref().and_then(|key| {
            let pem = self.file(key, key.span, complaints)?;
            let parsed = PrivateKeyDer::from_pem_slice(&pem).ok();
            let provider = rustls::crypto::aws_lc_rs::default_provider();
            // No part of either error is shown: it may hold what stands in the file.
            let loaded = parsed.and_then(|parsed| provider.key_provider.load_private_key(parsed).ok());
            if loaded.is_none() {
                let mend = "PEM: PKCS#8, PKCS#1 or SEC1, without a passphrase; RSA of 2048 bits or more, P-256, P-384, P-521 or Ed25519";
                complaints.add_with(key.span, "no usable private key in this file", mend);
            }
            loaded
        });
        let chain_span = written.chain.as_ref()?.span;
        let chain = chain?;
        let names = leaf_names(&chain);
        if names.is_none() {
            complaints.add(chain_span, "the first certificate in this file cannot be parsed");
        }
        let certified = CertifiedKey::new(chain, key?);
        if names.is_some() && certified.keys_match().is_err() {
            let key_span = written.key.as_ref()?.span;
            complaints.add_with(
                key_span,
                "this key does not belong to the first certificate of the chain",
                format!(
                    "the chain is on line {}; its first certificate must be the server's own",
                    chain_span.line
                ),
            );
            return None;
        }
        Some(ServerCertificate { names: names?, key: Arc::new(certified) })
    }

    /// The CA certificates of `{ ca: FILE }`.
    pub(super) fn roots(self, written: &CaTrust, complaints: &mut Complaints) -> Option<Arc<RootCertStore>> {
        let ca = written.ca.as_ref()?;
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(ca, complaints)? {
            if roots.add(certificate).is_err() {
                complaints.add(ca.span, "a certificate in this file cannot be parsed");
                return None;
            }
        }
        Some(Arc::new(roots))
    }

    /// The path of a JWK set, after a look whether it has a key that verifies one of `algorithms`: a reload must not put one in force that
    /// refuses every token.
    pub(super) fn jwks_file(
        self,
        written: &Setting<FilePath>,
        algorithms: &Algorithms,
        complaints: &mut Complaints,
    ) -> Option<PathBuf> {
        let content = self.file(written, written.span, complaints)?;
        match KeySet::read(&content, algorithms) {
            Ok(_) => Some(self.path(written)),
            // What is wrong then are the algorithms, and that has been said.
            Err(NotAKeySet::NoUsableKey(_)) if algorithms.iter().next().is_none() => Some(self.path(written)),
            Err(NotAKeySet::Malformed) => {
                let mend = "a JSON object with an array `keys` (RFC 7517 §5), each member once";
                complaints.add_with(written.span, "this file is not a JWK set", mend);
                None
            }
            Err(reason @ (NotAKeySet::TooManyKeys | NotAKeySet::NoUsableKey(_))) => {
                complaints.add(written.span, format!("this JWK set cannot be used: {reason}"));
                None
            }
        }
    }

    /// The key ring for nonces: one key a line, 32 bytes in base64url without padding.
    pub(super) fn nonce_keys(
        self,
        written: &Setting<Secret>,
        complaints: &mut Complaints,
    ) -> Option<NonceKeys> {
        let content = self.secret(written, complaints)?;
        let mut keys = Vec::new();
        for (row, line) in content.lines().enumerate() {
            let mut key = [0; 32];
            match URL_SAFE_NO_PAD.decode_slice(line, &mut key) {
                Ok(32) if keys.contains(&key) => {
                    let message = format!("line {} of this secret is an earlier one again", row + 1);
                    complaints.add_with(written.span, message, "each key once: to rotate, make a new one");
                    return None;
                }
                Ok(32) => keys.push(key),
                _ => {
                    let message = format!("line {} of this secret is not 32 bytes in base64url", row + 1);
                    complaints.add_with(
                        written.span,
                        message,
                        "43 characters a line: `openssl rand 32 | basenc --base64url | tr -d =`",
                    );
                    return None;
                }
            }
        }
        if keys.is_empty() || keys.len() > MOST_NONCE_KEYS {
            complaints.add(
                written.span,
                format!("{} keys in this secret: 1 to {MOST_NONCE_KEYS} are of use", keys.len()),
            );
            return None;
        }
        Some(NonceKeys(keys))
    }

    /// A secret, without the one newline that editors and `echo` put at the end.
    pub(super) fn secret(self, written: &Setting<Secret>, complaints: &mut Complaints) -> Option<String> {
        let mut content = match &written.value {
            Secret::File(path) => String::from_utf8(self.file(path, written.span, complaints)?).ok(),
            Secret::Environment(name) => {
                let value = (self.environment)(&name.0);
                if value.is_none() {
                    complaints.add(written.span, format!("the environment has no `{}`", name.0));
                    return None;
                }
                value
            }
        };
        match &mut content {
            None => complaints.add(written.span, "this secret is not UTF-8"),
            Some(text) if text.ends_with('\n') => {
                text.pop();
            }
            Some(_) => {}
        }
        content
    }
}

/// Reads a regular file of at most `largest` bytes: nothing else ends for certain.
pub(super) fn read_bounded(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    // A FIFO would hang while it is opened, so the look comes first.
    let metadata = std::fs::metadata(path).map_err(|error| reason(&error))?;
    if !metadata.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mut content = Vec::new();
    let opened = std::fs::File::open(path).map_err(|error| reason(&error))?;
    opened.take(largest + 1).read_to_end(&mut content).map_err(|error| reason(&error))?;
    if content.len() as u64 > largest {
        return Err(format!("it is larger than {largest} bytes"));
    }
    Ok(content)
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        kind => kind.to_string(),
    }
}

/// The DNS names and IP addresses of the first certificate. Its common name is none (RFC 9525 §2).
fn leaf_names(chain: &[CertificateDer<'_>]) -> Option<Vec<String>> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let mut names = Vec::new();
    if let Some(alternative) = leaf.subject_alternative_name().ok()? {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(octets) => names.extend(address_text(octets)),
                _ => {}
            }
        }
    }
    Some(names)
}

fn address_text(octets: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(octets) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(octets).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}

impl ServerCertificate {
    /// When the server's own certificate ends. The configuration does not judge it; `check` tells it.
    pub fn expires(&self) -> Option<UnixTime> {
        let (_, leaf) = X509Certificate::from_der(self.key.cert.first()?).ok()?;
        Some(UnixTime::from_seconds(leaf.validity().not_after.timestamp()))
    }
}

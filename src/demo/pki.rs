//! Certificates for one machine and a short time: a CA, servers, clients.
//!
//! The CA's key never leaves this type. What it signs says what it is for: a server's certificate is no client's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::caller::trust::ClientIdentity;
use crate::verify::digest::{Certificate, Digest};
use crate::verify::time::UnixTime;

/// Seconds in a day.
pub const DAY: i64 = 86_400;

/// How long before now a certificate begins: clocks of other machines may be behind.
const BACKDATED: i64 = DAY;

/// Why there is no certificate.
#[derive(Debug, Error)]
pub enum PkiError {
    /// A name is none, or there is no randomness.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls does not take what was made.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
}

/// When certificates begin and end.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// Now; they begin a day earlier.
    pub now: UnixTime,
    /// How many days from now they end.
    pub days: u16,
}

impl Validity {
    fn apply(self, params: &mut CertificateParams) {
        let date = |time: UnixTime| {
            date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(time.seconds()).unwrap_or(0))
        };
        params.not_before = date(self.now.minus(BACKDATED));
        params.not_after = date(self.now.plus(i64::from(self.days) * DAY));
    }
}

/// A certificate authority. Its key is in memory alone.
pub struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
    validity: Validity,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

impl Authority {
    /// A new authority of that common name. It may sign certificates of ends, not other authorities.
    ///
    /// # Errors
    /// [`PkiError::Certificate`].
    pub fn new(name: &str, validity: Validity) -> Result<Self, PkiError> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        validity.apply(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self { certificate, issuer: Issuer::new(params, key), validity })
    }

    /// Its certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The roots of somebody who trusts this authority and no other.
    ///
    /// # Errors
    /// [`PkiError::Tls`], which its own certificate does not cause.
    pub fn roots(&self) -> Result<Arc<RootCertStore>, PkiError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone())?;
        Ok(Arc::new(roots))
    }

    /// A server's certificate for these DNS names and IP addresses; the first is its common name.
    ///
    /// # Errors
    /// [`PkiError::Certificate`] when one is neither.
    pub fn server(&self, names: &[&str]) -> Result<Identity, PkiError> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let name = names.first().cloned().unwrap_or_default();
        self.sign(CertificateParams::new(names)?, &name, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate with that common name.
    ///
    /// # Errors
    /// [`PkiError::Certificate`].
    pub fn client(&self, name: &str) -> Result<Identity, PkiError> {
        self.sign(CertificateParams::new(Vec::new())?, name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, PkiError> {
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        self.validity.apply(&mut params);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Identity { certificate, key })
    }
}

/// A certificate with its key, of a server or a client. It prints no key.
pub struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.thumbprint())
    }
}

impl Identity {
    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    /// The private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// What a token bound to it has as `x5t#S256` (RFC 8705 §3.1).
    pub fn thumbprint(&self) -> Digest<Certificate> {
        Digest::of(self.certificate.der())
    }

    /// As a server signs with it.
    ///
    /// # Errors
    /// [`PkiError::Tls`].
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, PkiError> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        Ok(Arc::new(CertifiedKey::from_der(vec![self.leaf()], self.private_key(), &provider)?))
    }

    /// As a client shows it.
    pub fn client_identity(&self) -> ClientIdentity {
        ClientIdentity { chain: vec![self.leaf()], key: self.private_key() }
    }

    fn leaf(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::parse_x509_certificate;

    use super::{Authority, DAY, Digest, UnixTime, Validity};

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn authority() -> Authority {
        Authority::new("test CA", Validity { now: NOW, days: 2 }).expect("an authority")
    }

    #[test]
    fn certificates_say_for_whom_for_what_and_how_long() {
        let authority = authority();
        let server = authority.server(&["localhost", "127.0.0.1", "::1"]).expect("a server");
        let client = authority.client("alice").expect("a client");
        let ca = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).expect("PEM");
        let (_, ca) = parse_x509_certificate(&ca).expect("X.509");
        assert!(ca.is_ca());
        for (identity, is_server, subject) in [(&server, true, "CN=localhost"), (&client, false, "CN=alice")]
        {
            let der = CertificateDer::from_pem_slice(identity.certificate_pem().as_bytes()).expect("PEM");
            assert_eq!(identity.thumbprint(), Digest::of(&der));
            let (_, certificate) = parse_x509_certificate(&der).expect("X.509");
            certificate.verify_signature(Some(ca.public_key())).expect("signed by the authority");
            assert_eq!(certificate.subject().to_string(), subject);
            let validity = certificate.validity();
            assert_eq!(validity.not_before.timestamp(), NOW.seconds() - DAY);
            assert_eq!(validity.not_after.timestamp(), NOW.seconds() + 2 * DAY);
            let usage = certificate.extended_key_usage().expect("readable").expect("there").value;
            assert_eq!((usage.server_auth, usage.client_auth), (is_server, !is_server));
            let names = certificate.subject_alternative_name().expect("readable");
            assert_eq!(names.map(|names| names.value.general_names.len()), is_server.then_some(3));
        }
    }

    #[test]
    fn the_key_belongs_to_the_certificate() {
        let server = authority().server(&["localhost"]).expect("a server");
        server.certified_key().expect("usable").keys_match().expect("one pair");
    }
}

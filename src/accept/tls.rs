//! How a listener speaks TLS: which certificate it shows, and which certificates of callers it takes.
//!
//! One `ServerConfig` is one policy with ticket keys of its own. A resumed session carries the client certificate of the session it
//! resumes, so a ticket that opened at a listener with another policy would carry a certificate past that policy (R-F-12).
//! Early data stays off: a proof in it could be replayed by anyone who saw the flight (RFC 8446 §8, R-E-09).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
    VerifierBuilderError, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme,
    SupportedProtocolVersion, client::danger::HandshakeSignatureValid, version,
};
use tokio_rustls::TlsAcceptor;

use crate::config::{ClientCertificates, ClientTrust, ServerCertificate, TlsSettings};

/// The largest client certificate, in bytes of DER (T-MTL-26).
pub(super) const LARGEST_CERTIFICATE: usize = 16 * 1024;

/// The most certificates behind a client's own.
const LONGEST_CHAIN: usize = 10;

/// The most sessions that are kept for clients that take no tickets.
const KEPT_SESSIONS: usize = 256;

/// TLS settings that cannot be used. The configuration is checked before, so this is a last resort and stops the start.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The protocol versions, or the keys for tickets.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
    /// The CA for client certificates.
    #[error("client certificates cannot be judged: {0}")]
    ClientTrust(#[from] VerifierBuilderError),
    /// No certificate to show.
    #[error("a TLS listener has no certificate")]
    NoCertificate,
}

/// What every connection of a listener shares.
pub(super) struct Tls {
    /// Makes the handshakes.
    pub(super) acceptor: TlsAcceptor,
    policy: ClientCertificates,
    resumption: Resumption,
}

/// What sessions are resumed from: keys of tickets, and sessions that are kept for clients of TLS 1.2 that take no tickets. Whoever has it
/// believes the client certificates of every session in it.
#[derive(Clone)]
struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Tls {
    /// TLS with these settings, that resumes no session of another.
    pub(super) fn new(settings: &TlsSettings) -> Result<Self, TlsFault> {
        let resumption = Resumption {
            tickets: aws_lc_rs::Ticketer::new()?,
            sessions: ServerSessionMemoryCache::new(KEPT_SESSIONS),
        };
        Self::resuming(settings, resumption)
    }

    /// TLS with other settings in the place of these. Sessions of these go on to be resumed, but only where client certificates are judged as
    /// they were: a session brings its certificate along unjudged.
    pub(super) fn followed_by(&self, settings: &TlsSettings) -> Result<Self, TlsFault> {
        if settings.client_certificates != self.policy {
            return Self::new(settings);
        }
        Self::resuming(settings, self.resumption.clone())
    }

    /// Whether the same client certificates are taken, compared by the CAs themselves and not by their file.
    pub(super) fn judges_like(&self, other: &Self) -> bool {
        self.policy == other.policy
    }

    /// Whether a client certificate has to come from a CA.
    pub(super) const fn wants_issuer(&self) -> bool {
        match &self.policy {
            ClientCertificates::Asked { trust: ClientTrust::Ca(_), .. } => true,
            ClientCertificates::Asked { trust: ClientTrust::Any, .. } | ClientCertificates::None => false,
        }
    }

    fn resuming(settings: &TlsSettings, resumption: Resumption) -> Result<Self, TlsFault> {
        let mut config = server_config(settings)?;
        config.ticketer = Arc::clone(&resumption.tickets);
        config.session_storage = Arc::clone(&resumption.sessions);
        let policy = settings.client_certificates.clone();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), policy, resumption })
    }
}

/// The settings of a listener, with no way to resume a session yet.
fn server_config(settings: &TlsSettings) -> Result<ServerConfig, TlsFault> {
    const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
    const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

    // Named here rather than taken from a process-wide default, which any library could have set.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = if settings.only_tls13 { ONLY_13 } else { BOTH };
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
    let builder = match &settings.client_certificates {
        ClientCertificates::None => builder.with_no_client_auth(),
        ClientCertificates::Asked { required, trust } => {
            builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(*required, trust, provider)?))
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(ByServerName::new(&settings.certificates)?));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.max_early_data_size = 0;
    Ok(config)
}

/// The listener's certificates by the names they are valid for.
#[derive(Debug)]
struct ByServerName {
    first: Arc<CertifiedKey>,
    /// By name; under a wildcard's name what stands behind `*.`. In the order of the configuration.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByServerName {
    fn new(certificates: &[ServerCertificate]) -> Result<Self, TlsFault> {
        let first =
            certificates.first().map(|first| Arc::clone(&first.key)).ok_or(TlsFault::NoCertificate)?;
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for certificate in certificates {
            for name in &certificate.names {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut wildcard, parent),
                    None => (&mut exact, name.as_str()),
                };
                let keys: &mut Vec<_> = table.entry(name.to_owned()).or_default();
                keys.push(Arc::clone(&certificate.key));
            }
        }
        Ok(Self { first, exact, wildcard })
    }

    /// The certificates for a name: those that have it, else those with a wildcard for its first label and no more (RFC 9525 §6.3).
    fn named(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.to_ascii_lowercase();
        self.exact.get(&name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
    }
}

impl ResolvesServerCert for ByServerName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(keys) = hello.server_name().and_then(|name| self.named(name)) else {
            return Some(Arc::clone(&self.first));
        };
        // One name may have an ECDSA and an RSA certificate: the first that this client can verify.
        let usable = keys.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        usable.or_else(|| keys.first()).cloned()
    }
}

/// Judges the certificates of callers.
#[derive(Debug)]
struct ClientVerifier {
    required: bool,
    chain: Chain,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Who has to have signed a client's certificate.
#[derive(Debug)]
enum Chain {
    /// Anybody: what counts is that the caller holds its key and that the token names it (RFC 8705 §4, §6.2).
    Any,
    /// One of these.
    Ca(Arc<dyn ClientCertVerifier>),
}

impl ClientVerifier {
    fn new(required: bool, trust: &ClientTrust, provider: Arc<CryptoProvider>) -> Result<Self, TlsFault> {
        let algorithms = provider.signature_verification_algorithms;
        let chain = match trust {
            ClientTrust::Any => Chain::Any,
            ClientTrust::Ca(roots) => {
                Chain::Ca(WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider).build()?)
            }
        };
        Ok(Self { required, chain, algorithms })
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.chain {
            Chain::Any => &[],
            Chain::Ca(judge) => judge.root_hint_subjects(),
        }
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // Before anything is parsed or verified: this is work that a caller makes us do.
        if end_entity.len() > LARGEST_CERTIFICATE || intermediates.len() > LONGEST_CHAIN {
            return Err(CertificateError::BadEncoding.into());
        }
        match &self.chain {
            Chain::Any => Ok(ClientCertVerified::assertion()),
            Chain::Ca(judge) => judge.verify_client_cert(end_entity, intermediates, now),
        }
    }

    // The next two are what makes a certificate more than a file that anyone may send: the handshake is signed with its key, whatever
    // is thought of its chain (R-F-04). An `assertion()` here would let every caller be everyone.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

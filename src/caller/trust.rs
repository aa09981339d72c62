//! Whom a caller's TLS believes, and what it shows of itself.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thiserror::Error as ThisError;

/// Which servers are believed.
#[derive(Clone, Debug)]
pub enum ServerTrust {
    /// Those that the system's roots vouch for.
    System,
    /// Those that one of these vouches for.
    Roots(Arc<RootCertStore>),
    /// Any. Whoever sits between can then read the token, though not use it without the key: for trying things out.
    Anyone,
}

/// A client certificate with its key (RFC 8705 §2). It prints no key.
pub struct ClientIdentity {
    /// The certificate and what leads to its root, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's private key.
    pub key: PrivateKeyDer<'static>,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientIdentity({} certificates)", self.chain.len())
    }
}

/// Why there are no TLS settings.
#[derive(Debug, ThisError)]
pub enum TrustError {
    /// The system has no roots, or none that can be read.
    #[error("no CA to trust: {0}")]
    Roots(#[source] Error),
    /// The client certificate and its key do not belong together, or the key is of a kind that is not supported.
    #[error("client certificate: {0}")]
    Identity(#[source] Error),
}

/// The TLS settings of a caller: TLS 1.2 or 1.3, HTTP/1.1, and no session kept from one connection to the next, so that each
/// one shows its own certificate.
///
/// # Errors
/// [`TrustError`].
pub fn client_config(
    trust: ServerTrust,
    identity: Option<ClientIdentity>,
) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider of rustls has the cipher suites of both versions");
    let builder = match trust {
        ServerTrust::System => builder.with_platform_verifier().map_err(TrustError::Roots)?,
        ServerTrust::Roots(roots) => builder.with_root_certificates(roots),
        ServerTrust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        }
    };
    let mut config = match identity {
        Some(ClientIdentity { chain, key }) => {
            builder.with_client_auth_cert(chain, key).map_err(TrustError::Identity)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Takes any certificate. The handshake's signature is still verified, so the connection is at least to whoever holds its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

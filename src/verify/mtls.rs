//! Step 4b: the certificate of the session that carried this request (RFC 8705 §3).

use super::digest::{Certificate, Digest};
use super::rejection::Rejection;

/// The caller holds the private key of this certificate, and the token is bound to it. Only [`verify`] makes one.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct HeldCertificate(Digest<Certificate>);

impl HeldCertificate {
    /// The certificate's `x5t#S256`.
    pub const fn thumbprint(&self) -> Digest<Certificate> {
        self.0
    }
}

/// Compares the session's certificate with the token's `x5t#S256`.
///
/// Possession was proven in the handshake (`accept::tls`), or by the trusted proxy that reported the certificate; the chain is
/// not judged here (RFC 8705 §6.2).
///
/// # Errors
/// [`Rejection::CertificateMissing`] or [`Rejection::CertificateMismatch`].
pub fn verify(
    session: Option<Digest<Certificate>>,
    expected: Digest<Certificate>,
) -> Result<HeldCertificate, Rejection> {
    match session {
        None => Err(Rejection::CertificateMissing),
        Some(certificate) if certificate == expected => Ok(HeldCertificate(certificate)),
        Some(_) => Err(Rejection::CertificateMismatch),
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, Rejection, verify};

    #[test]
    fn only_the_same_certificate_passes() {
        let (mine, other) = (Digest::of(b"mine"), Digest::of(b"other"));
        assert_eq!(verify(Some(mine), mine).map(|held| held.thumbprint()), Ok(mine));
        assert_eq!(verify(Some(other), mine).map(|_| ()), Err(Rejection::CertificateMismatch));
        assert_eq!(verify(None, mine).map(|_| ()), Err(Rejection::CertificateMissing));
    }
}

//! `encryption` of an issuer: the gateway's private keys, for what the issuer encrypts to it.

use std::sync::Arc;

use super::client_key::read_pem;
use super::complaint::Complaints;
use super::issuer_file;
use super::material::Surroundings;
use crate::verify::jwe::DecryptionKey;

/// `encryption` of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// `keys`, at least one
    pub keys: Vec<Arc<DecryptionKey>>,
    /// `tokens`; default required
    pub tokens: SealedTokens,
}

/// `encryption.tokens`: whether an issuer's JWT access tokens are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedTokens {
    /// All are, and one that is not is refused (RFC 9068 §4)
    Required,
    /// Some are
    Optional,
}

/// What could be built; `None` after a complaint.
pub(super) fn encryption(
    written: &issuer_file::Encryption,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Encryption> {
    const MEND: &str = "PEM without a passphrase: RSA of 2048 bits or more, P-256, P-384 or P-521";
    let mut keys = Vec::new();
    for one in &written.keys.as_ref()?.items {
        let place = one.key.as_ref()?;
        let name = one.id.as_ref().map(|name| name.0.clone());
        let pem = surroundings.secret(place, complaints)?;
        let Some(key) = read_pem(&pem).and_then(|jwk| DecryptionKey::new(jwk, name)) else {
            complaints.add_with(place.span, "no private key in this secret that decrypts", MEND);
            return None;
        };
        keys.push(Arc::new(key));
    }
    Some(Encryption { keys, tokens: written.tokens.value })
}

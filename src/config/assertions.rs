//! What is wrong with `assertions` and with the routes that use them, beyond how they are written; and the keys.

use std::fmt;

use p256::SecretKey;
use p256::pkcs8::DecodePrivateKey as _;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::complaint::Complaints;
use super::decode::{List, Setting};
use super::either::Secret;
use super::file;
use super::material::Surroundings;
use super::route_file;
use super::words::Identity as Written;

/// The most keys: one that signs, and those before it until nothing of theirs is good any more.
const MOST_KEYS: usize = 16;

/// `assertions`: the gateway's own word for upstreams.
#[derive(Debug)]
pub struct Assertions {
    /// `issuer`
    pub issuer: String,
    /// `keys`, at least one; the first signs
    pub keys: AssertionKeys,
    /// `lifetime`, in seconds; default 30
    pub lifetime: i64,
}

/// Private keys of P-256. They are never printed.
pub struct AssertionKeys(pub Vec<p256::SecretKey>);

impl fmt::Debug for AssertionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionKeys({})", self.0.len())
    }
}

/// `assertions`. The routes are told to know whether there is any use for them.
pub(super) fn assertions(
    written: &Setting<file::Assertions>,
    routes: Option<&List<route_file::Route, 1>>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Assertions> {
    if let Some(routes) = routes
        && routes.whole
        && !routes.items.iter().any(|route| route.forward.identity.value == Written::Assertion)
    {
        let mend = "leave it out, or write `identity: assertion` in a route's `forward`";
        complaints.add_with(written.span, "no route makes an assertion, so this has no effect", mend);
    }
    let file::Assertions { issuer, keys: secret, lifetime } = &written.value;
    let keys = keys(secret.as_ref()?, surroundings, complaints)?;
    Some(Assertions { issuer: issuer.as_ref()?.0.clone(), keys, lifetime: lifetime.0 })
}

/// P-256 keys in PEM, one behind the other.
fn keys(
    written: &Setting<Secret>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<AssertionKeys> {
    let content = surroundings.secret(written, complaints)?;
    let found = PrivateKeyDer::pem_slice_iter(content.as_bytes());
    // No part of an error is shown: it may hold what stands in the file.
    let read = |der: Result<PrivateKeyDer<'_>, _>| match der.ok()? {
        PrivateKeyDer::Pkcs8(der) => SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok(),
        PrivateKeyDer::Sec1(der) => SecretKey::from_sec1_der(der.secret_sec1_der()).ok(),
        _ => None,
    };
    let keys: Option<Vec<_>> = found.map(read).collect();
    let keys = keys.filter(|keys| (1..=MOST_KEYS).contains(&keys.len()));
    if keys.is_none() {
        let message = format!("this secret is not 1 to {MOST_KEYS} private keys of P-256");
        let mend = "PEM, PKCS#8 or SEC1, one behind the other: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`";
        complaints.add_with(written.span, message, mend);
    }
    keys.map(AssertionKeys)
}

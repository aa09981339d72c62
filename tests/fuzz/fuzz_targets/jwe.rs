//! An encrypted token or answer: header, key, IV, ciphertext and tag, split at NUL and encoded as an issuer would. What is in front of the key is anyone's to write, and
//! goes to josekit.

#![no_main]

use std::sync::LazyLock;

use holdfast::verify::jwe::{DecryptionKey, Sealed};
use holdfast::verify::jws::to_base64url;
use josekit::jwk::Jwk;
use josekit::jwk::alg::ec::EcCurve;
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<Vec<DecryptionKey>> = LazyLock::new(|| {
    let keys = [
        Jwk::generate_ec_key(EcCurve::P256),
        Jwk::generate_ec_key(EcCurve::P521),
        Jwk::generate_rsa_key(2048),
    ];
    keys.into_iter().map(|key| DecryptionKey::new(key.expect("a key"), None).expect("one that opens")).collect()
});

/// Headers that come far, for what the input begins with: the rest of it is what is behind them.
const HEADERS: [&str; 4] = [
    r#"{"alg":"ECDH-ES","enc":"A128GCM","cty":"JWT","epk":{"kty":"EC","crv":"P-256","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}}"#,
    r#"{"alg":"ECDH-ES+A256KW","enc":"A256CBC-HS512","cty":"JWT","epk":{"kty":"EC","crv":"P-256","x":"weNJy2HscCSM6AEDTDg04biOvhFhyyWvOHQfeF_PxMQ","y":"e8lnCO-AlStT-NJVX-crhB7QRYhiix03illJOVAOyck"}}"#,
    r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT"}"#,
    r#"{"alg":"RSA-OAEP-256","enc":"A128CBC-HS256","cty":"JWT"}"#,
];

fuzz_target!(|bytes: &[u8]| {
    let mut parts: Vec<&[u8]> = bytes.splitn(5, |byte| *byte == 0).collect();
    if let [only] = parts[0]
        && let Some(header) = HEADERS.get(usize::from(*only))
    {
        parts[0] = header.as_bytes();
    }
    let text = parts.into_iter().map(to_base64url).collect::<Vec<_>>().join(".");
    let Some(sealed) = Sealed::read(&text) else { return };
    for key in KEYS.iter() {
        // Nobody knows these keys, so nothing that opens was encrypted to one.
        assert!(sealed.open(key).is_none());
    }
});

//! An issuer's key set, and a single key as a proof has it.

#![no_main]

use holdfast::verify::algorithm::{Algorithm, Algorithms};
use holdfast::verify::json::Object;
use holdfast::verify::jwk::PublicKey;
use holdfast::verify::jwks::KeySet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok((keys, _)) = KeySet::read(text, &Algorithms::new(&Algorithm::ALL)) {
        for algorithm in Algorithm::ALL {
            assert!(keys.verify(None, algorithm, b"message", b"no signature").is_err());
        }
    }
    let Some(jwk) = Object::read(text) else { return };
    for algorithm in Algorithm::ALL {
        if let Some(key) = PublicKey::read(&jwk, algorithm) {
            let _ = key.thumbprint();
            assert!(key.verify(algorithm, b"message", b"no signature").is_err());
        }
    }
});

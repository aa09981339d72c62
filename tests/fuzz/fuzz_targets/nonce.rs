//! A nonce that a caller made up.

#![no_main]

use holdfast::verify::digest::Digest;
use holdfast::verify::nonce::NonceRing;
use holdfast::verify::time::UnixTime;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|nonce: &str| {
    let ring = NonceRing::new(&[1; 32], &[[2; 32]], 300);
    assert!(ring.open(nonce, Digest::of(b"key"), UnixTime::from_seconds(1_700_000_000)).is_none());
});

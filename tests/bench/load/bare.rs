//! What one verification of an ES256 signature costs with nothing around it: what no proof can do without.

use std::fs;
use std::hint::black_box;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};

use crate::Outcome;

/// As long as the signed part of a proof.
const MESSAGE: usize = 450;

/// Nanoseconds for each of `count` verifications, of different signatures: one that is repeated takes the same branches every time, which the processor
/// learns. The key is read each time, as a proof brings its own.
pub(crate) fn nanoseconds(count: usize) -> Outcome<u64> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let message = |number: usize| {
        let mut message = vec![b'.'; MESSAGE];
        message[..8].copy_from_slice(&number.to_be_bytes());
        message
    };
    let mut signed = Vec::with_capacity(count);
    for number in 0..count {
        let message = message(number);
        let signature = pair.sign(&random, &message)?;
        signed.push((message, signature));
    }
    let point = pair.public_key().as_ref().to_vec();
    let before = processor_time()?;
    for (message, signature) in &signed {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, black_box(&point));
        key.verify(message, signature.as_ref())?;
    }
    Ok((processor_time()? - before) / count.max(1) as u64)
}

/// Nanoseconds that this program has run, which others on the machine do not lengthen as they do the clock's.
fn processor_time() -> Outcome<u64> {
    let times = fs::read_to_string("/proc/self/schedstat")?;
    Ok(times.split(' ').next().unwrap_or_default().parse()?)
}

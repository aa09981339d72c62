//! The signature of a proof: T-PRF-30 to T-PRF-35, R-A-10.

use holdfast::caller::key::DpopKey;
use holdfast::verify::rejection::Rejection::*;

use super::parts;
use crate::house::House;
use crate::scene::Scene;
use crate::signer::{decoded, encoded, push_member, resign};
use crate::table::Heard::Refused;
use crate::table::{Row, play};

/// The order of P-256's group, which no part of a signature may reach (FIPS 186-5 §6.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// r ‖ s as a DER sequence.
fn der(signature: &[u8]) -> Vec<u8> {
    p256::ecdsa::Signature::from_slice(signature).expect("r and s").to_der().as_bytes().to_vec()
}

const SIGNATURES: &[Row] = &[
    ("T-PRF-30 R-A-10", "a bit of r", Refused(ProofSignature), |s, _| {
        signature(s, |mut x| {
            x[0] ^= 1;
            x
        })
    }),
    ("T-PRF-30", "the last bit of s", Refused(ProofSignature), |s, _| {
        signature(s, |mut x| {
            x[63] ^= 1;
            x
        })
    }),
    ("T-PRF-31", "another payload", Refused(ProofSignature), |s, _| {
        parts(s, |p| {
            let mut claims = decoded(&p[1]);
            push_member(&mut claims, "\"foo\":1");
            vec![p[0].clone(), encoded(&claims), p[2].clone()]
        });
    }),
    ("T-PRF-31", "another header", Refused(ProofSignature), |s, _| {
        parts(s, |p| {
            let mut header = decoded(&p[0]);
            push_member(&mut header, "\"kid\":\"x\"");
            vec![encoded(&header), p[1].clone(), p[2].clone()]
        });
    }),
    ("T-PRF-31", "another spelling of the same header", Refused(ProofSignature), |s, _| {
        parts(s, |p| {
            let mut header = decoded(&p[0]);
            header.insert(1, b' ');
            vec![encoded(&header), p[1].clone(), p[2].clone()]
        });
    }),
    ("T-PRF-32", "another key's signature", Refused(ProofSignature), |s, _| {
        s.key = DpopKey::generate().expect("a key")
    }),
    ("T-PRF-32 R-A-23", "another key and its jwk", Refused(KeyMismatch), |s, _| {
        s.key = DpopKey::generate().expect("a key");
        s.proof_header["jwk"] = serde_json::from_str(&s.key.public_jwk()).expect("a JWK");
    }),
    ("T-PRF-34", "all zero", Refused(ProofSignature), |s, _| signature(s, |_| vec![0; 64])),
    ("T-PRF-34", "r is zero", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&[0; 32], &x[32..]].concat())
    }),
    ("T-PRF-34", "s is zero", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&x[..32], &[0; 32]].concat())
    }),
    ("R-A-10", "r is the order", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&ORDER, &x[32..]].concat())
    }),
    ("R-A-10", "s is the order", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&x[..32], &ORDER].concat())
    }),
    ("R-A-10", "all ones", Refused(ProofSignature), |s, _| signature(s, |_| vec![0xff; 64])),
    ("T-PRF-35", "DER", Refused(ProofSignature), |s, _| signature(s, |x| der(&x))),
    ("R-A-10", "a byte short", Refused(ProofSignature), |s, _| signature(s, |x| x[..63].to_vec())),
    ("R-A-10", "a byte more", Refused(ProofSignature), |s, _| signature(s, |x| [&x[..], &[0]].concat())),
    ("R-A-10", "a zero before each half", Refused(ProofSignature), |s, _| {
        signature(s, |x| [&[0], &x[..32], &[0], &x[32..]].concat());
    }),
    ("R-A-10", "one byte", Refused(ProofSignature), |s, _| signature(s, |_| vec![1])),
];

fn signature(s: &mut Scene, edit: fn(Vec<u8>) -> Vec<u8>) {
    s.edit_proof = Box::new(move |proof| resign(&proof, edit));
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_of_the_key_and_no_other() {
    play(&House::usual().await, SIGNATURES).await;
}

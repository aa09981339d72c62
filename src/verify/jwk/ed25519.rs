//! Which 32 bytes are an Ed25519 key that proves anything (RFC 8032 §5.1.3).
//!
//! The curve has eight points whose multiples are only each other. For such a "key" nobody needs a private one: with S = 0 the equation of
//! RFC 8032 §5.1.7 holds for one message in eight at worst, and the signer chooses the message. The verifier does not refuse them. A token bound to one
//! is a bearer token with a proof's looks, so they are no keys here.

/// The y coordinates of the points of small order, as they are encoded: 0 and the identity's 1, -1, and the two of the points of order 8.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    {
        let mut one = [0; 32];
        one[0] = 1;
        one
    },
    {
        let mut minus_one = [0xff; 32];
        minus_one[0] = 0xec;
        minus_one[31] = 0x7f;
        minus_one
    },
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// Whether `x`, as a JWK has it (RFC 8037 §2), can be somebody's key: y below the field's prime, since any other spelling would have another
/// thumbprint, and not of small order. Whether the point is on the curve at all is found out by whoever verifies with it.
pub(super) fn is_a_key(x: &[u8; 32]) -> bool {
    let mut y = *x;
    // The last bit is the sign of the other coordinate.
    y[31] &= 0x7f;
    // The prime is 2^255 - 19.
    let below_the_prime = y[0] < 0xed || y[31] != 0x7f || y[1..31].iter().any(|&byte| byte != 0xff);
    below_the_prime && !SMALL_ORDER.contains(&y)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

    use super::{SMALL_ORDER, is_a_key};

    /// Holds the table against the verifier: each of these does verify what nobody signed, or the bytes would be wrong.
    #[test]
    fn a_key_of_small_order_needs_no_private_key() {
        for x in SMALL_ORDER {
            // R is the identity and S is zero.
            let mut signature = [0; 64];
            signature[0] = 1;
            let key = UnparsedPublicKey::new(&ED25519, x);
            let forged = (0..200_u8).filter(|message| key.verify(&[*message], &signature).is_ok()).count();
            assert!(forged > 0, "{x:?}");
            let mut other_sign = x;
            other_sign[31] |= 0x80;
            assert!(!is_a_key(&x) && !is_a_key(&other_sign), "{x:?}");
        }
    }

    #[test]
    fn one_spelling_of_each_key() {
        let near_the_prime = |first: u8| {
            let mut y = [0xff; 32];
            (y[0], y[31]) = (first, 0x7f);
            y
        };
        for first in 0xed..=0xff {
            assert!(!is_a_key(&near_the_prime(first)), "{first:x}");
        }
        assert!(is_a_key(&near_the_prime(0xeb)));
        let mut far = near_the_prime(0xff);
        far[15] = 0xfe;
        assert!(is_a_key(&far));
    }
}

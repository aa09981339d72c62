//! The JWS algorithms this gateway knows, by their registered names (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2, RFC 9964 §2).
//!
//! An allow-list and nothing else: `none` and every MAC are not on it because they are not in the type
//! (RFC 8725 §3.1 and §3.2, RFC 9449 §11.6).

use std::fmt;

/// A digital-signature algorithm. Names are compared exactly: `es256` is no algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the variants are the registered names")]
pub enum Algorithm {
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
    Rs256,
    Rs384,
    Rs512,
    /// RFC 8037; Ed25519 keys alone, never Ed448.
    EdDsa,
    /// RFC 9864: the same signatures under a name that says the curve.
    Ed25519,
    MlDsa44,
    MlDsa65,
    MlDsa87,
}

impl Algorithm {
    /// All of them, in the order they are preferred and listed.
    pub const ALL: [Algorithm; 14] = [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Es512,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
        Algorithm::EdDsa,
        Algorithm::Ed25519,
        Algorithm::MlDsa44,
        Algorithm::MlDsa65,
        Algorithm::MlDsa87,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Es512 => "ES512",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Ed25519 => "Ed25519",
            Algorithm::MlDsa44 => "ML-DSA-44",
            Algorithm::MlDsa65 => "ML-DSA-65",
            Algorithm::MlDsa87 => "ML-DSA-87",
        }
    }

    /// Whether its keys and signatures have kilobytes: ML-DSA (RFC 9964).
    pub const fn is_large(self) -> bool {
        matches!(self, Algorithm::MlDsa44 | Algorithm::MlDsa65 | Algorithm::MlDsa87)
    }

    /// The algorithm of that exact name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of algorithms that are accepted somewhere, in the order they were given.
///
/// `EdDSA` in a configuration stands for Ed25519 keys under either name, so it adds `Ed25519` too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Algorithms(Vec<Algorithm>);

impl Algorithms {
    /// The set of `listed`, both Ed25519 names where either is listed, without repetition.
    pub fn new(listed: &[Algorithm]) -> Self {
        let mut all = Vec::with_capacity(listed.len() + 1);
        for &algorithm in listed {
            let names: &[Algorithm] = match algorithm {
                Algorithm::EdDsa | Algorithm::Ed25519 => &[Algorithm::EdDsa, Algorithm::Ed25519],
                _ => &[algorithm],
            };
            for &name in names {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        Self(all)
    }

    /// Whether `algorithm` is accepted.
    pub fn contains(&self, algorithm: Algorithm) -> bool {
        self.0.contains(&algorithm)
    }

    /// The algorithms in order.
    pub fn iter(&self) -> impl Iterator<Item = Algorithm> + '_ {
        self.0.iter().copied()
    }
}

impl fmt::Display for Algorithms {
    /// Space-separated, as the `algs` attribute has it (RFC 9449 §7.1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, algorithm) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(algorithm.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Algorithms};

    #[test]
    fn names_are_exact() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::from_name(algorithm.name()), Some(algorithm));
        }
        for name in ["", "none", "None", "nOnE", "HS256", "es256", "ES256K", " ES256", "Ed448"] {
            assert_eq!(Algorithm::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn eddsa_covers_both_names_and_the_list_prints_in_order() {
        let algorithms = Algorithms::new(&[Algorithm::Es256, Algorithm::EdDsa, Algorithm::Es256]);
        assert_eq!(algorithms.to_string(), "ES256 EdDSA Ed25519");
        assert!(algorithms.contains(Algorithm::Ed25519));
        assert!(!algorithms.contains(Algorithm::Rs256));
    }
}

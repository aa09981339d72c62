//! Step 1: what was put on the wire, exactly one of each (RFC 9449 §7.1, RFC 6750 §2.1).

use std::fmt;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memchr;

use super::digest::{AccessToken, Digest};
use super::dpop::{CheckedProof, Terms};
use super::field::{Line, single};
use super::rejection::Rejection;
use super::request::RequestFacts;

/// The `DPoP` request header (RFC 9449 §4.1).
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// Sizes beyond which nothing is even split (RFC 9449 §11.1, R-A-25, R-H-17).
#[derive(Clone, Copy, Debug)]
pub struct CredentialLimits {
    /// `limits.token_bytes`
    pub token_bytes: usize,
    /// `limits.proof_bytes`
    pub proof_bytes: usize,
}

/// An access token as it was presented: token68 within the size limit, nothing else known of it. It prints as `RawToken(…)`.
#[derive(Clone, Copy)]
pub struct RawToken<'r> {
    text: &'r str,
    digest: Digest<AccessToken>,
}

impl<'r> RawToken<'r> {
    /// The token's characters. For the issuer's verification and introspection only; never for a log.
    pub const fn text(&self) -> &'r str {
        self.text
    }

    /// The hash of the whole token: `ath`, and the key of the cache.
    pub const fn digest(&self) -> Digest<AccessToken> {
        self.digest
    }
}

impl fmt::Debug for RawToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawToken(…)")
    }
}

/// A DPoP header as it was presented: one line, within the size limit. It prints as `RawProof(…)`.
#[derive(Clone, Copy)]
pub struct RawProof<'r>(&'r str);

impl<'r> RawProof<'r> {
    /// The proof's characters; for `dpop` only.
    pub(super) const fn text(&self) -> &'r str {
        self.0
    }
}

impl fmt::Debug for RawProof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawProof(…)")
    }
}

/// The credentials of a request. The scheme says how they were presented, never what they are worth: that is the token's `cnf`.
#[derive(Debug)]
#[must_use]
#[expect(
    clippy::large_enum_variant,
    reason = "one a request, on the stack; a box would cost every proof an allocation"
)]
pub enum Presented<'r> {
    /// `Authorization: DPoP`. What is wrong with the proof is kept beside the token instead of ending the reading, because a
    /// route that requires a nonce sends one along with the refusal, and only a token says for which key (T-NON-16).
    Dpop {
        /// The token.
        token: RawToken<'r>,
        /// The proof with its cheap checks done, or the first of them that failed.
        proof: Result<CheckedProof<'r>, Rejection>,
    },
    /// `Authorization: Bearer`, and no DPoP header.
    Bearer {
        /// The token.
        token: RawToken<'r>,
    },
    /// `Authorization: Bearer`, and a DPoP header beside it, which nobody reads: some clients always sign, and where a certificate binds nothing is
    /// weaker for it. It proves nothing either, so with a token that is bound to nothing it is a client gone wrong (T-REQ-32).
    BearerBesideProof {
        /// The token.
        token: RawToken<'r>,
    },
}

impl<'r> Presented<'r> {
    /// Reads `Authorization` and `DPoP`, refuses a token in the query, and does the cheap checks of the proof.
    ///
    /// # Errors
    /// The rejection for credentials that are missing, repeated, malformed, too large, or in the query.
    /// Whether the token is any good is not looked at, nor is the proof's signature.
    pub fn read(
        facts: &RequestFacts<'r>,
        limits: &CredentialLimits,
        terms: &Terms<'_>,
    ) -> Result<Self, Rejection> {
        // RFC 6750 §2.3 is refused altogether, with a token in the header (R-B-09) or without (R-J-01).
        if facts.target.has_parameter("access_token") {
            return Err(Rejection::TokenInQuery);
        }
        let (scheme, token) = read_authorization(facts.headers, limits)?;
        Ok(match scheme {
            Scheme::Bearer if facts.headers.contains_key(DPOP) => Presented::BearerBesideProof { token },
            Scheme::Bearer => Presented::Bearer { token },
            Scheme::Dpop => {
                let proof = read_proof(facts.headers, limits);
                Presented::Dpop {
                    token,
                    proof: proof.and_then(|raw| CheckedProof::read(raw, token.digest(), facts, terms)),
                }
            }
        })
    }

    /// The token, under either scheme.
    pub const fn token(&self) -> RawToken<'r> {
        match self {
            Presented::Dpop { token, .. }
            | Presented::Bearer { token }
            | Presented::BearerBesideProof { token } => *token,
        }
    }

    /// What is already known to be wrong with the proof.
    pub const fn proof_rejection(&self) -> Option<Rejection> {
        match self {
            Presented::Dpop { proof: Err(rejection), .. } => Some(*rejection),
            Presented::Dpop { proof: Ok(_), .. }
            | Presented::Bearer { .. }
            | Presented::BearerBesideProof { .. } => None,
        }
    }
}

/// The authentication schemes we speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `DPoP` (RFC 9449 §7.1)
    Dpop,
    /// `Bearer` (RFC 6750 §2.1)
    Bearer,
}

/// The scheme of the only `Authorization` line, whatever follows it: a refusal's error goes on the challenge of the scheme that was used (RFC 9449
/// Figure 18). `None` where there is no such line, several, or another scheme.
pub fn scheme(headers: &HeaderMap) -> Option<Scheme> {
    read_scheme(headers).ok().map(|(scheme, _)| scheme)
}

/// The token of the only `Authorization` line, again, of a request whose [`Presented`] is gone.
///
/// # Errors
/// As [`Presented::read`].
pub fn token<'r>(headers: &'r HeaderMap, limits: &CredentialLimits) -> Result<RawToken<'r>, Rejection> {
    read_authorization(headers, limits).map(|(_, token)| token)
}

fn read_authorization<'r>(
    headers: &'r HeaderMap,
    limits: &CredentialLimits,
) -> Result<(Scheme, RawToken<'r>), Rejection> {
    let (scheme, token) = read_scheme(headers)?;
    Ok((scheme, read_token(token, limits)?))
}

/// The scheme and the text behind it.
fn read_scheme(headers: &HeaderMap) -> Result<(Scheme, &str), Rejection> {
    let line = match single(headers, &AUTHORIZATION) {
        Line::Absent => return Err(Rejection::CredentialsMissing),
        Line::One(line) => line,
        // RFC 9449 §7.2 Figure 19: more than one is an error, two identical ones too.
        Line::Several => return Err(Rejection::CredentialsRepeated),
    };
    let (scheme, rest) = split_scheme(line)?;
    // RFC 9110 §11.1: the scheme's name is compared without regard to case.
    let scheme = if scheme.eq_ignore_ascii_case("DPoP") {
        Scheme::Dpop
    } else if scheme.eq_ignore_ascii_case("Bearer") {
        Scheme::Bearer
    } else {
        return Err(Rejection::CredentialsMissing);
    };
    Ok((scheme, rest))
}

/// The scheme and what follows its spaces. An empty header is no credential; bytes outside ASCII are malformed ones.
fn split_scheme(line: &HeaderValue) -> Result<(&str, &str), Rejection> {
    let line = line.to_str().map_err(|_| Rejection::CredentialsMalformed)?;
    if line.is_empty() {
        return Err(Rejection::CredentialsMissing);
    }
    let (scheme, rest) = line.split_once(' ').unwrap_or((line, ""));
    // A tab is no separator (RFC 9110 §11.4 says 1*SP), and a scheme is a token.
    if scheme.contains('\t') {
        return Err(Rejection::CredentialsMalformed);
    }
    Ok((scheme, rest.trim_start_matches(' ')))
}

fn read_token<'r>(text: &'r str, limits: &CredentialLimits) -> Result<RawToken<'r>, Rejection> {
    if text.is_empty() {
        return Err(Rejection::CredentialsMalformed);
    }
    // Looked at once for all that follows: a token68 has no comma.
    let is_token = is_token68(text);
    let is_list = |(token, rest): (&str, &str)| is_token68(token.trim_end()) && rest.contains(' ');
    if !is_token && text.split_once(',').is_some_and(is_list) {
        // `DPoP a, Bearer b`: two credentials in one line.
        return Err(Rejection::CredentialsRepeated);
    }
    if text.len() > limits.token_bytes {
        return Err(Rejection::TokenTooLarge);
    }
    if !is_token {
        // RFC 6750 §3.1 calls a token that is malformed an invalid one: a JSON serialisation, say (T-JWT-26).
        return Err(Rejection::TokenMalformed);
    }
    Ok(RawToken { text, digest: Digest::of(text.as_bytes()) })
}

fn read_proof<'r>(headers: &'r HeaderMap, limits: &CredentialLimits) -> Result<RawProof<'r>, Rejection> {
    let line = match single(headers, &DPOP) {
        Line::Absent => return Err(Rejection::ProofMissing),
        Line::One(line) => line,
        // RFC 9449 §4.3 check 1: not more than one DPoP header.
        Line::Several => return Err(Rejection::ProofRepeated),
    };
    if line.is_empty() {
        return Err(Rejection::ProofMissing);
    }
    if line.len() > limits.proof_bytes {
        return Err(Rejection::ProofTooLarge);
    }
    let text = line.to_str().map_err(|_| Rejection::ProofMalformed)?;
    // An intermediary may join two lines with a comma (RFC 9110 §5.3): that is two proofs as well.
    if memchr(b',', text.as_bytes()).is_some() {
        return Err(Rejection::ProofRepeated);
    }
    Ok(RawProof(text))
}

/// RFC 9110 §11.2: `1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
pub fn is_token68(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    // Without an exit half-way the compiler compares many bytes at once; a token is a kilobyte, and nearly always fits to its end.
    let fits = |byte: u8| {
        (byte | 0x20).is_ascii_lowercase()
            | byte.is_ascii_digit()
            | (byte == b'-')
            | (byte == b'.')
            | (byte == b'_')
            | (byte == b'~')
            | (byte == b'+')
            | (byte == b'/')
    };
    !body.is_empty() && body.bytes().fold(true, |all, byte| all & fits(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: CredentialLimits = CredentialLimits { token_bytes: 64, proof_bytes: 64 };

    fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(*name, HeaderValue::from_bytes(value).expect("a header value"));
        }
        map
    }

    fn rejection(lines: &[(&'static str, &[u8])]) -> Rejection {
        read_authorization(&headers(lines), &LIMITS).map(|_| ()).expect_err("refused")
    }

    /// T-REQ-04, R-B-01.
    #[test]
    fn scheme_in_any_case_and_any_spaces() {
        for line in ["DPoP abc", "dpop abc", "DPOP abc", "dPoP   abc"] {
            let map = headers(&[("authorization", line.as_bytes()), ("dpop", b"a.b.c")]);
            let (scheme, token) = read_authorization(&map, &LIMITS).expect("read");
            assert!(matches!(scheme, Scheme::Dpop), "{line}");
            assert_eq!(token.text(), "abc");
        }
    }

    /// T-REQ-08 to T-REQ-18.
    #[test]
    fn malformed_and_repeated_credentials() {
        assert_eq!(rejection(&[]), Rejection::CredentialsMissing);
        assert_eq!(rejection(&[("authorization", b"")]), Rejection::CredentialsMissing);
        assert_eq!(rejection(&[("authorization", b"Basic eDp5")]), Rejection::CredentialsMissing);
        for line in ["DPoP", "DPoP ", "Bearer", "DPoP\tabc"] {
            assert_eq!(
                rejection(&[("authorization", line.as_bytes())]),
                Rejection::CredentialsMalformed,
                "{line}"
            );
        }
        for line in [
            "DPoP \"x\"",
            "DPoP a b",
            "DPoP a;b",
            "Bearer a,b",
            "DPoP =",
            "DPoP a=b",
            "DPoP \ta",
            "DPoP {\"payload\": \"e30\", \"signature\": \"AA\"}",
        ] {
            assert_eq!(rejection(&[("authorization", line.as_bytes())]), Rejection::TokenMalformed, "{line}");
        }
        assert_eq!(rejection(&[("authorization", b"DPoP \xc3\xa9")]), Rejection::CredentialsMalformed);
        assert_eq!(rejection(&[("authorization", b"DPoP a, Bearer b")]), Rejection::CredentialsRepeated);
        assert_eq!(
            rejection(&[("authorization", b"DPoP a"), ("authorization", b"DPoP a")]),
            Rejection::CredentialsRepeated
        );
        assert_eq!(
            rejection(&[("authorization", format!("DPoP {}", "a".repeat(65)).as_bytes())]),
            Rejection::TokenTooLarge
        );
    }

    /// T-REQ-20 to T-REQ-24.
    #[test]
    fn exactly_one_proof() {
        let proof = |lines: &[(&'static str, &[u8])]| read_proof(&headers(lines), &LIMITS).map(|_| ());
        assert_eq!(proof(&[]), Err(Rejection::ProofMissing));
        assert_eq!(proof(&[("dpop", b"")]), Err(Rejection::ProofMissing));
        assert_eq!(proof(&[("dpop", b"a.b.c"), ("dpop", b"a.b.c")]), Err(Rejection::ProofRepeated));
        assert_eq!(proof(&[("dpop", b"a.b.c, d.e.f")]), Err(Rejection::ProofRepeated));
        assert_eq!(proof(&[("dpop", &[b'a'; 65])]), Err(Rejection::ProofTooLarge));
        assert_eq!(proof(&[("dpop", b"\xff")]), Err(Rejection::ProofMalformed));
    }

    /// RFC 9110 §11.2, written out: every byte at every place of tokens that are shorter and longer than what is compared at once.
    #[test]
    fn a_token68_has_these_characters_alone() {
        const FIT: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/";
        for length in [1, 2, 15, 16, 17, 31, 33, 64, 70] {
            for place in 0..length {
                for byte in 0..=255_u8 {
                    let (before, behind) = ("a".repeat(place), "Z".repeat(length - place - 1));
                    let character = char::from(byte);
                    let text = format!("{before}{character}{behind}");
                    // The padding stands at the end, behind something.
                    let pads = character == '=' && place > 0 && behind.is_empty();
                    assert_eq!(is_token68(&text), FIT.contains(character) || pads, "{text:?}");
                    let padded = format!("{text}==");
                    assert_eq!(is_token68(&padded), FIT.contains(character) || pads, "{padded:?}");
                }
            }
        }
        assert!(!is_token68("") && !is_token68("=") && !is_token68("=="));
    }

    #[test]
    fn nothing_secret_is_printed() {
        let map = headers(&[("authorization", b"DPoP s3cret"), ("dpop", b"pr00f.b.c")]);
        let (_, token) = read_authorization(&map, &LIMITS).expect("read");
        let printed = format!("{token:?} {:?}", read_proof(&map, &LIMITS));
        assert!(!printed.contains("s3cret") && !printed.contains("pr00f"), "{printed}");
    }
}

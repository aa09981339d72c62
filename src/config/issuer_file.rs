//! `issuers`, as they are written.

use super::client::{self, Audience};
use super::decode::{List, Whole};
use super::either::Secret;
use super::encryption::SealedTokens;
use super::file::{CaTrust, Certificate};
use super::introspection::AnswerForm;
use super::table::settings;
use super::values::{Count, FilePath, Millis, Seconds, Text};
use super::words::Authentication;
use crate::verify::algorithm::Algorithm;
use crate::verify::token::TokenType;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

settings! {
    /// One of `issuers`.
    Issuer {
        /// compared with `iss` byte for byte
        issuer: Text => required;
        /// `aud` must hold one of them
        audiences: List<Text, 1> => required;
        /// where its keys come from: one of `jwks_file`, `jwks_url` and `discovery: true`
        keys: Keys => required;
        /// for whatever is fetched from this issuer; left out, the system's roots
        trust: CaTrust => optional;
        /// at most one fetch in this time for a kid that is not known
        refetch_cooldown: Millis<100, HOUR> => default "30s";
        /// how often keys are fetched without a reason
        refresh: Millis<100, DAY> => default "5m";
        /// how long keys are used after the last fetch that worked
        keep_stale: Millis<100, { 7 * DAY }> => default "1h";
        /// the signature algorithms of its tokens
        algorithms: List<Algorithm, 1> => default "[ES256, PS256, RS256, EdDSA]";
        /// `typ` of its tokens: `at+jwt` (RFC 9068), or `any`
        token_type: TokenType => default "at+jwt";
        /// besides iss, aud and exp
        required_claims: List<Text> => default "[sub, client_id, iat, jti]";
        /// how far its clock may differ, for exp, nbf and iat
        leeway: Seconds<0, 300> => default "5s";
        /// how long a token may be good, from iat to exp; left out, any time
        max_lifetime: Seconds<1, 31_536_000> => optional;
        /// for tokens that are not JWTs; left out, they are refused
        introspection: Whole<Introspection> => optional;
        /// for routes with `credentials: exchange`: its tokens are exchanged for ones of the upstream (RFC 8693)
        exchange: Whole<Exchange> => optional;
        /// what its tokens and answers are decrypted with; left out, encrypted ones are refused
        encryption: Encryption => optional;
    }
}

settings! {
    /// `keys` of an issuer.
    Keys {
        /// a file with a JWK set, read again every `refresh`
        jwks_file: FilePath => optional;
        /// the URL of a JWK set
        jwks_url: Text => optional;
        /// from the issuer's metadata (RFC 8414, then OpenID Connect Discovery)
        discovery: bool => optional;
    }
}

/// Declares the settings of one of an issuer's endpoints: those of the gateway as its client, and what is the endpoint's own.
macro_rules! client_settings {
    ($(#[doc = $about:literal])* $name:ident { $($own:tt)* }) => {
        settings! {
            $(#[doc = $about])*
            $name {
                /// where the issuer is asked; left out, as its metadata says
                url: Text => optional;
                /// how the gateway shows who it is: `client_secret_basic`, `client_secret_post`, `private_key_jwt` or `tls`
                authentication: Authentication => default "client_secret_basic";
                /// as which client of the issuer
                client_id: Text => required;
                /// for `client_secret_basic` and `client_secret_post`
                client_secret: Secret => optional;
                /// for `private_key_jwt`: a private key in PEM
                client_key: Secret => optional;
                /// names the key for the issuer, as `kid`; left out, it has no name
                client_key_id: Text => optional;
                /// what the key signs with; left out, what fits it: ES256, ES384, ES512, EdDSA, or PS256 for an RSA key
                client_key_algorithm: Algorithm => optional;
                /// the `aud` of what the key signs: `issuer`, or `endpoint` for servers that want the address
                assertion_audience: Audience => default "issuer";
                /// for `tls`: the certificate that is shown
                client_certificate: Certificate => optional;
                /// for one answer, from the connection to the last byte
                timeout: Millis<100, MINUTE> => default "5s";
                /// questions at a time; more are answered 503
                calls: Count<1, 10_000> => default "64";
                /// questions in a second; more are answered 503
                rate: Count<1, 100_000> => default "200";
                $($own)*
            }
        }

        impl $name {
            /// The settings of the client.
            pub(super) const fn client(&self) -> client::Written<'_> {
                client::Written {
                    url: self.url.as_ref(),
                    authentication: &self.authentication,
                    client_id: self.client_id.as_ref(),
                    client_secret: self.client_secret.as_ref(),
                    client_key: self.client_key.as_ref(),
                    client_key_id: self.client_key_id.as_ref(),
                    client_key_algorithm: self.client_key_algorithm.as_ref(),
                    assertion_audience: &self.assertion_audience,
                    client_certificate: self.client_certificate.as_ref(),
                    timeout: self.timeout.value.0,
                    calls: self.calls.value.0,
                    rate: self.rate.value.0,
                }
            }
        }
    };
}

client_settings! {
    /// `introspection` of an issuer.
    Introspection {
        /// what it answers with: `json`, `jwt` (signed, RFC 9701) or `encrypted-jwt`
        answer: AnswerForm => default "json";
        /// how long an answer that a token is active holds; never past exp
        cache: Seconds<0, 3600> => default "30s";
        /// how long one that it is not holds
        cache_inactive: Seconds<0, 60> => default "5s";
    }
}

client_settings! {
    /// `exchange` of an issuer.
    Exchange {
        /// how long a new token is used; never past its own end or that of the caller's
        cache: Seconds<0, 3600> => default "60s";
        /// how long the issuer's refusal to exchange a token holds
        cache_refused: Seconds<0, 60> => default "5s";
    }
}

settings! {
    /// `encryption` of an issuer.
    Encryption {
        /// the gateway's private keys; the one that a token names, or the first that fits, decrypts
        keys: List<PrivateKey, 1> => required;
        /// whether tokens must be encrypted: `required` or `optional`
        tokens: SealedTokens => default "required";
    }
}

settings! {
    /// One of `encryption.keys`.
    PrivateKey {
        /// PEM of a private key: RSA, P-256, P-384 or P-521
        key: Secret => required;
        /// the `kid` that it was published under; left out, it has none
        id: Text => optional;
    }
}

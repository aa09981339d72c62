//! `introspection` of an issuer: how it is asked about tokens that are not JWTs, and how long its answers hold (RFC 7662).

use super::client::{OauthClient, client};
use super::complaint::Complaints;
use super::decode::Whole;
use super::issuer_file;
use super::material::Surroundings;

/// `introspection` of an issuer.
#[derive(Clone, Debug, PartialEq)]
pub struct Introspection {
    /// Where, as whom, and how much
    pub client: OauthClient,
    /// `answer`; default json
    pub answer: AnswerForm,
    /// `cache`, in seconds; default 30
    pub cache: i64,
    /// `cache_inactive`, in seconds; default 5
    pub cache_inactive: i64,
}

/// `answer`: what an issuer answers with. Another form than the one that is set is no answer (RFC 9701 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerForm {
    /// JSON, as it stands
    Json,
    /// A JWT that the issuer has signed
    Jwt,
    /// The same, encrypted to one of `encryption.keys`
    EncryptedJwt,
}

/// What could be built; `None` after a complaint.
pub(super) fn introspection(
    written: &Whole<issuer_file::Introspection>,
    surroundings: Surroundings<'_>,
    complaints: &mut Complaints,
) -> Option<Introspection> {
    let Whole { settings: written, whole } = written;
    Some(Introspection {
        client: client(written.client(), *whole, surroundings, complaints)?,
        answer: written.answer.value,
        cache: written.cache.0,
        cache_inactive: written.cache_inactive.0,
    })
}

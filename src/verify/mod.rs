//! Facts → a permit or a rejection. No IO, no clock, no locks: time, keys and the replay store are arguments.
//!
//! The steps, each with a value that only it can make and that the next consumes:
//! [`credential::Presented`] → [`token::VerifiedToken`] → [`proof::Proven`] → [`policy::Granted`] → [`replay::Permit`].
//! A check that returned `()` could be stubbed; one that returns evidence cannot.

pub mod algorithm;
pub mod claim_value;
pub mod confirmation;
pub mod credential;
pub mod digest;
pub mod dpop;
pub mod enforcement;
pub mod field;
pub mod htu;
pub mod json;
pub mod jwe;
pub mod jwk;
pub mod jwks;
pub mod jws;
pub mod mtls;
pub mod nonce;
pub mod policy;
pub mod proof;
pub mod rejection;
pub mod replay;
pub mod request;
pub mod time;
pub mod token;

//! The other side of the protocol: what a caller does to get through a gateway like this one.
//!
//! `holdfast dpop` and `holdfast demo` are made of it, and so are the tests and the benchmarks. Nothing of the gateway imports it, so no
//! mistake in here can let anyone in.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::verify::time::UnixTime;

pub mod connection;
pub mod key;
pub mod private_file;
pub mod proof;
pub mod trust;

/// The system's clock, for a caller's `iat`. A clock before 1970 reads as 1970; the server then says that the proof is too old.
pub fn now() -> UnixTime {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    UnixTime::from_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

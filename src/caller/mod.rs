//! The other side of the protocol: what a caller does to get through a gateway like this one.
//!
//! `holdfast dpop` and `holdfast demo` are made of it, and so are the tests and the benchmarks. Nothing of the gateway imports it, so no
//! mistake in here can let anyone in.

pub mod connection;
pub mod key;
pub mod private_file;
pub mod proof;
pub mod trust;

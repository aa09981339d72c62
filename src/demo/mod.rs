//! Everything that a gateway stands between, in one process: a CA, an issuer, an upstream and callers.
//!
//! `holdfast demo` plays its scenes with these parts, `certs/make.rs` writes the files of a development set-up with them, and tests start
//! from them. Keys live in memory and end with the process.

pub mod caller;
pub mod configuration;
pub mod desk;
pub mod files;
pub mod issuer;
pub mod loopback;
pub mod pki;
pub mod scenes;
pub mod stage;
pub mod surroundings;
pub mod token;
pub mod upstream;

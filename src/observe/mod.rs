//! What happened, for people and machines: one line a request, and numbers.
//!
//! Never a token or a proof, and nothing a caller sent is a metric label.

pub mod access_log;
mod lines;
pub mod metrics;

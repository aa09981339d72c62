//! Everything that is tested through the library's public face, in one binary.

mod differential;
mod layering;
mod properties;
mod replay_model;
mod rfc3986;
mod vectors;

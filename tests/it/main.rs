//! Everything that is tested through the library's public face, in one binary.

#![expect(unreachable_pub, reason = "the modules of a test binary are each other's public")]

mod algorithms;
mod attacks_proof;
mod attacks_wire;
mod binding;
mod differential;
mod forwarding;
mod house;
mod htu;
mod layering;
mod nonce;
mod presented;
mod presenting;
mod proofs;
mod properties;
mod refusals;
mod replay;
mod replay_model;
mod rfc3986;
mod scene;
mod scripted;
mod signer;
mod source;
mod table;
mod time;
mod token;
mod vectors;
mod wire;

//! Everything that is tested through the library's public face, in one binary.

#![expect(unreachable_pub, reason = "the modules of a test binary are each other's public")]

mod admin;
mod algorithms;
mod answers;
mod attacks_proof;
mod attacks_wire;
mod binding;
mod challenges;
mod cors;
mod differential;
mod forwarding;
mod handshake;
mod health;
mod house;
mod http2;
mod htu;
mod layering;
mod limits;
mod mtls;
mod nonce;
mod origin;
mod presented;
mod presenting;
mod process;
mod proofs;
mod properties;
mod proxies;
mod readme;
mod reflection;
mod refusals;
mod reload;
mod replay;
mod replay_model;
mod rfc3986;
mod scene;
mod scripted;
mod secrecy;
mod shutdown;
mod signer;
mod source;
mod table;
mod time;
mod token;
mod vectors;
mod wire;

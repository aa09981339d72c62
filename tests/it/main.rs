//! Everything that is tested through the library's public face, in one binary.

#![expect(unreachable_pub, reason = "the modules of a test binary are each other's public")]

mod attacks_wire;
mod attacks_proof;
mod differential;
mod forwarding;
mod house;
mod layering;
mod presented;
mod properties;
mod refusals;
mod replay_model;
mod rfc3986;
mod scene;
mod scripted;
mod source;
mod vectors;
mod wire;

//! Everything that is tested through the library's public face, in one binary.

#![expect(unreachable_pub, reason = "the modules of a test binary are each other's public")]

mod admin;
mod challenges;
mod differential;
mod forwarding;
mod house;
mod http2;
mod layering;
mod limits;
mod mtls;
mod origin;
mod presented;
mod process;
mod properties;
mod readme;
mod refusals;
mod replay_model;
mod rfc3986;
mod scene;
mod scripted;
mod secrecy;
mod shutdown;
mod source;
mod vectors;
mod wire;

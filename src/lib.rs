//! holdfast: a reverse proxy that lets an access token through only together with proof of the key it is bound to.

pub mod cli;
pub mod config;
pub mod verify;

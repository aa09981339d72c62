//! holdfast

pub mod config;
pub mod forward;
pub mod observe;
pub mod respond;
pub mod route;
pub mod verify;

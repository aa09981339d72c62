//! The stores behind [`crate::verify::replay::ClaimStore`]: where a used proof is remembered (RFC 9449 §11.1).
//!
//! [`memory`] is the one of a single process. What such a store cannot know is what was used before the process started; [`mod@fence`] is the
//! line that is drawn there. [`mod@redis`] is the one that replicas share, and [`store`] says which of them is asked, and what happens when it cannot be.

pub mod fence;
mod lag;
pub mod memory;
pub mod redis;
mod shares;
pub mod store;
mod wheel;

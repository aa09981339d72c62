//! Origins, paths and `htu`: one normalisation for routing, for the proof and for what is forwarded (RFC 3986 §6.2.2, §6.2.3).
//!
//! A request's own origin and path are read strictly: what is not understood in one way alone is refused before a route is chosen. A claim is read generously,
//! since it is compared with these and decides nothing else.

mod claim;
mod origin;
mod path;

pub use claim::matches;
pub use origin::{Authority, Origin, Scheme};
pub use path::Path;

//! Golden vectors of the Duplex protocol, embedded, with a loader.
//!
//! The data lives beside this crate in `messages/` and `sessions/` and needs no Rust; this crate only reads it.

mod session;

pub use session::*;

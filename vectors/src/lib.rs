//! Golden vectors of the Duplex protocol, embedded, with a loader.
//!
//! The data lives beside this crate in `messages/` and `sessions/` and needs no Rust; this crate only reads it.

mod applies;
mod corpus;
mod lint;
mod message;
pub mod schema;
mod session;
pub mod words;

pub use corpus::{Corpus, FileFault, LoadError};
pub use lint::{Problem, lint, unshown};
pub use message::{Accept, Class, FrameError, MessageVector};
pub use session::*;

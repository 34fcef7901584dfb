//! The sans-IO core of the Duplex reference peer: framings, codecs, and the state of one connection.
//!
//! No runtime, no clock, no environment, no files, no threads: bytes and commands go in, events and bytes come out.
//! [`Connection`] states the one contract that its user keeps; `duplex-peer` is the user that runs on tokio.

pub mod codec;
pub mod connection;
mod error;
mod ext;
pub mod framing;
pub mod greeting;
mod limits;
mod value;

pub use codec::{Codec, Json, MessagePack};
pub use connection::{Config, Connection, EndReason, Event, Role};
pub use duplex_spec::{Code, Id};
pub use error::RemoteError;
pub use ext::Ext;
pub use framing::{Deframer, Framing};
pub use limits::Limits;
pub use value::{DecodeError, EncodeError, Format, Raw};

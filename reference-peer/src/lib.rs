//! Duplex RPC on tokio: two equal peers, calls and callbacks in either direction, streamed arguments and results, middleware.
//!
//! An [`Rpc`] holds methods and hooks; [`Rpc::handshake`] and [`Rpc::accept`] make a [`Peer`] of a [`Transport`]; a
//! [`Channel`] is one call. The protocol's state lives in `duplex-proto`, which knows no runtime; this crate adds tasks,
//! sockets and types, and no protocol of its own.
//!
//! ```
//! use duplex_peer::{BoxError, Framing, Rpc, Transport};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let server = Rpc::new();
//! server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
//!
//! let caller = Rpc::new();
//! let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
//! let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
//! let sum: i64 = client.call("add", &(1, 2)).await?;
//! assert_eq!(sum, 3);
//! # Ok(())
//! # }
//! ```

mod address;
mod call;
mod callback;
mod channel;
mod connection;
mod driver;
mod error;
mod handler;
mod hook;
mod link;
pub mod middleware;
mod peer;
mod request;
mod rpc;
mod service;
mod single;
mod stream;
mod transport;
mod tunnel;
mod values;
#[cfg(feature = "websocket")]
mod websocket;

pub use bytes;

pub use address::{Address, AddressError, ConnectError, Incoming, Listener};
pub use call::{Call, ConnectionId, Direction};
pub use callback::Callback;
pub use channel::{Channel, Sender};
pub use connection::{ConnectionInfo, TransportKind};
pub use duplex_proto::codec;
pub use duplex_proto::connection::CallEnd;
pub use duplex_proto::greeting::Refusal;
pub use duplex_proto::{
    Code, Codec, DecodeError, Deframer, EncodeError, EndReason, Ext, Format, Framing, Id, Json, Limits, MessagePack, Raw,
    RemoteError, Role,
};
pub use error::{Blame, BoxError, Error, RegisterError};
pub use handler::Handler;
pub use hook::{Hook, HookFrame, Part, Verdict};
pub use peer::{Counts, Peer};
pub use request::Request;
pub use rpc::Rpc;
pub use service::{CallRequest, PeerService, ServedCall};
pub use stream::{ItemSink, Items};
pub use transport::{ChildEnd, Close, FrameReader, FrameWriter, Input, Transport};
pub use tunnel::Tunnel;
#[cfg(feature = "websocket")]
pub use websocket::{WebSocketError, WebSocketOptions};

/// The programs of the book's guide, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../book/src/guide/reference-peer.md")]
mod guide {}

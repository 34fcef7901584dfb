//! Duplex RPC on tokio: two equal peers, calls and callbacks in either direction, streamed arguments and results, middleware.
//!
//! Duplex is a small protocol over anything that carries frames. Whoever dials and whoever listens are *peers*: both register
//! methods, both call, a handler calls back while it runs, and each call can stream in both directions at once. The wire is
//! readable JSON, or MessagePack, and other languages speak it too. This crate is the protocol's reference in Rust: it follows the
//! book of its repository rule by rule, and the suite that checks other implementations checks it.
//!
//! # A first program
//!
//! A server with a function, a stream and a method that calls back; and a client of all three. In a program of yours they would
//! be two: `examples/server.rs` and `examples/client.rs` are these, ready to run.
//!
//! ```
//! use duplex_peer::{Address, BoxError, Channel, Framing, Rpc};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), BoxError> {
//!     // What is served, to as many connections as come.
//!     let server = Rpc::new();
//!     server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
//!     server.register("countdown", |mut channel: Channel| async move {
//!         let from: u64 = channel.argument().await?;
//!         for number in (1..=from).rev() {
//!             channel.send(&number).await?;
//!         }
//!         Ok(channel.send_last(&0).await?)
//!     })?;
//!     server.register("ask", |mut channel: Channel| async move {
//!         let callback: String = channel.argument().await?;
//!         let answer: String = channel.call(&callback, "Who is there?").await?;
//!         Ok(channel.send_last(&answer.to_uppercase()).await?)
//!     })?;
//!     let listener = "tcp://127.0.0.1:0".parse::<Address>()?.listen().await?;
//!     let address = listener.address().clone();
//!     tokio::spawn(server.serve(listener, Framing::Length, |_taken| ()));
//!
//!     // A client is a peer too; this one registers nothing.
//!     let peer = Rpc::new().connect(&address, Framing::Length).await?;
//!     let sum: i64 = peer.call("add", &(1, 2)).await?;
//!     assert_eq!(sum, 3);
//!
//!     let mut numbers = peer.open("countdown");
//!     numbers.send_last(&3).await?;
//!     while let Some(number) = numbers.recv::<u64>().await? {
//!         println!("{number}");
//!     }
//!
//!     let callback = peer.callback_fn(|_question: String| async { Ok::<_, BoxError>("ada") });
//!     assert_eq!(peer.call::<_, String>("ask", &callback).await?, "ADA");
//!     peer.close();
//!     peer.closed().await;
//!     Ok(())
//! }
//! ```
//!
//! # What to reach for
//!
//! | to | take |
//! |---|---|
//! | serve a function of one value | [`Rpc::register_fn`] |
//! | serve a stream, or call back while serving | [`Rpc::register`] with a function of a [`Channel`] |
//! | call | [`Peer::call`]; inside a handler [`Channel::call`], which inherits its ext |
//! | call with a time limit, a deadline, ext or a unit of work | [`Peer::request`] |
//! | call and not wait | [`Request::detach`] with any peer; [`Peer::notify`] with one that follows the book |
//! | stream arguments, results or both | [`Peer::open`]; as a `Stream` and a `Sink`: [`Channel::into_stream`], [`Sender::into_sink`] |
//! | carry bytes both ways | [`Channel::into_tunnel`], which is `AsyncRead` and `AsyncWrite` |
//! | be called back | [`Peer::callback_fn`]: it serializes as its name, and is gone when it is dropped |
//! | listen, connect | [`Address`] with [`Rpc::serve`] and [`Rpc::connect`]: TCP, WebSocket, Unix sockets, child processes, standard streams |
//! | use a stream of your own, such as TLS | [`Transport::new`], then [`Rpc::handshake`] or [`Rpc::accept`] |
//! | know who is at the other end | [`Peer::info`] |
//! | find out that the other side is gone where nothing tells | [`Peer::keepalive`] and [`Peer::silence`] |
//! | stop a server | [`Rpc::shutdown`] |
//! | trace, authenticate, allow, limit in time, transact | [`middleware`] |
//! | see or change every frame | a [`Hook`] |
//! | put a `tower` layer around calls | [`Peer::service`], [`Rpc::register_service`] |
//! | speak another codec | a [`Codec`] of your own and [`Rpc::with_codecs`]: `examples/codec.rs` |
//! | test without a port | [`Transport::pair`] |
//!
//! # How things end
//!
//! | what | ends | and then |
//! |---|---|---|
//! | a call that is waited for | with its reply, its time limit, or the drop of its future | a late reply is ignored; 1.0 has no cancel, so the handler runs on |
//! | a caller's [`Channel`] | with the last result, an error, or its drop | arguments that had not ended are aborted: nobody takes them for whole |
//! | a handler | by returning | a stream that it began ends; if it sent nothing, the caller gets -32603, so one whose stream may be empty [finishes](Channel::finish) it |
//! | a handler that fails or panics | | [`RemoteError`] goes to the caller as it is, an argument that does not fit its type is -32602; all else is -32603 without a word of what it says, an [`Error::Remote`] of a call inside it too: the words are in the log, as events of the crate `tracing`. The peer lives on |
//! | a [`Callback`] | when it is dropped, unless it was [kept](Callback::keep), or with its connection | calling it finds no such method |
//! | a connection | by [`Peer::close`], [`Peer::shutdown`], [`Rpc::shutdown`] for all of a server, the other side, a frame that is none, or the end of the runtime that it was made on; never by the drop of a [`Peer`] | [`Peer::closed`] returns, [`Peer::end_reason`] says why, all that waits fails with [`Error::Closed`] |
//!
//! Nobody reconnects by itself: which calls may run twice, the program knows.
//!
//! # Errors
//!
//! [`Error`] is for calls and channels, and [`Error::blame`] says whose fault it is: the other program said no, the other peer broke
//! the protocol, the two are incompatible, the connection is gone, or this program made a mistake. No input makes the crate panic;
//! where a function can panic for a mistake in the program that calls it, its documentation says so.
//!
//! # Limits and flow
//!
//! Whatever a peer holds for another has an end: [`Limits`] has the numbers, and each says what happens there. Sending waits
//! while too much waits to be written, and so do answers: the calls of a caller that does not read stay open, up to the limit
//! of open calls, and what nobody waits to send ends the connection at the limit of outbound bytes. Reading goes on meanwhile;
//! it pauses for a channel whose reader is behind and catching up: up to a second, and not for one that reads nothing for 100
//! ms, since the frame that it waits for may be behind. A channel whose reader falls further behind fails by itself, with
//! [`Error::Overflow`] or -32001; the bytes that wait unread on all channels together have a limit of their own, and there the
//! call fails whose item comes next.
//!
//! A handler that waits holds up nothing. One that computes for long belongs on [`spawn_blocking`](tokio::task::spawn_blocking), as
//! in any task of tokio. Hooks run where frames are read and sent, and must not wait.
//!
//! # Features
//!
//! | feature | default | has |
//! |---|---|---|
//! | `websocket` | yes | WebSocket, through `tokio-tungstenite`. No TLS: bring a stream that has it |
//! | `cli` | no | the command `duplex`, which calls, serves, traces and describes peers from a shell |
//!
//! A mark such as `r[call.reply]` in this documentation is a rule of the book, which is kept there.
//!
//! The protocol's state lives in `duplex-proto`, which knows no runtime; this crate adds tasks, sockets and types, and no protocol
//! of its own.

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

/// The program of the front page, as a doctest.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The programs of the book's guide, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../../book/src/guide/reference-peer.md")]
mod guide {}

//! WebSocket: a frame is a message. Handshakes of both sides, and the two directions.
//!
//! Compression is not negotiated, so a message takes no more memory than it says. TLS is the caller's: any stream is taken.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use duplex_proto::{Framing, Limits};
use futures_core::Stream;
use futures_sink::Sink;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

use crate::connection::TransportKind;
use crate::transport::{Close, FrameReader, FrameWriter, Input, Transport};

/// Bytes that are read at once: most messages are shorter, and every connection has this many.
const READ_BUFFER: usize = 16 * 1024;
/// Bytes of messages that are written at once.
const WRITE_BUFFER: usize = 64 * 1024;

/// What a WebSocket is opened with. The default takes frames up to the protocol's limit, and no page of a browser.
#[derive(Clone, Debug)]
pub struct WebSocketOptions {
    /// `None`: the protocol's.
    frame_limit: Option<usize>,
    /// `None`: any.
    origins: Option<Vec<String>>,
    /// `None`: any.
    path: Option<String>,
}

/// A WebSocket cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the WebSocket cannot be opened: {0}")]
pub struct WebSocketError(String);

impl Default for WebSocketOptions {
    fn default() -> Self {
        Self { frame_limit: None, origins: Some(Vec::new()), path: None }
    }
}

impl WebSocketOptions {
    /// The longest message that is taken, in bytes; a longer one is refused before it is held in memory. An [`Rpc`](crate::Rpc) that
    /// connects or serves by an address sets it to its own limit of frames. Set it where that is not the protocol's default and
    /// the WebSocket is opened apart: messages longer than this and than the protocol's limit of outbound bytes are not sent.
    #[must_use]
    pub fn frame_limit(mut self, bytes: usize) -> Self {
        self.frame_limit = Some(bytes);
        self
    }

    /// Takes messages of this many bytes unless something else was said.
    pub(crate) fn or_frame_limit(mut self, bytes: usize) -> Self {
        self.frame_limit.get_or_insert(bytes);
        self
    }

    /// An acceptor takes WebSockets on this path alone, such as `/rpc`.
    pub(crate) fn with_path(mut self, path: Option<String>) -> Self {
        self.path = path;
        self
    }

    /// An acceptor takes pages of this origin, such as `https://example.org`; may be repeated. A program that is no browser sends
    /// no origin and is always taken.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Self {
        if let Some(origins) = &mut self.origins {
            origins.push(origin.into());
        }
        self
    }

    /// An acceptor takes pages of every origin: for services that anybody may use from anywhere.
    #[must_use]
    pub fn allow_any_origin(mut self) -> Self {
        self.origins = None;
        self
    }

    /// r[transport.websocket.origin]
    fn allows(&self, request: &Request) -> bool {
        let Some(origins) = &self.origins else { return true };
        let mut sent = request.headers().get_all("origin").iter();
        sent.all(|sent| origins.iter().any(|origin| sent.as_bytes().eq_ignore_ascii_case(origin.as_bytes())))
    }

    /// The answer to a request that is not to become a WebSocket.
    fn refusal(&self, request: &Request) -> Option<ErrorResponse> {
        let (status, text) = if self.path.as_ref().is_some_and(|path| path != request.uri().path()) {
            (StatusCode::NOT_FOUND, "there is no WebSocket on this path\n")
        } else if !self.allows(request) {
            (StatusCode::FORBIDDEN, "this origin is not allowed\n")
        } else {
            return None;
        };
        let mut refusal = ErrorResponse::new(Some(text.to_owned()));
        *refusal.status_mut() = status;
        Some(refusal)
    }

    fn config(&self) -> WebSocketConfig {
        let limits = Limits::default();
        let limit = self.frame_limit.unwrap_or(limits.frame);
        WebSocketConfig::default()
            .max_message_size(Some(limit))
            .max_frame_size(Some(limit))
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            // Answers to pings of a side that does not read wait here, and nobody counts them but this. r[limit.outbound-bytes]
            .max_write_buffer_size(WRITE_BUFFER + limit.max(limits.outbound_bytes))
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}
type Socket = WebSocketStream<Box<dyn Io>>;

impl Transport {
    /// Takes a WebSocket on a stream that somebody has connected: the accepting side of a connection.
    ///
    /// # Errors
    /// When what comes is no WebSocket handshake, or from an origin that is not allowed, which is answered 403.
    pub async fn accept_websocket<S>(stream: S, options: &WebSocketOptions) -> Result<Self, WebSocketError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        #[expect(clippy::result_large_err, reason = "the type is the handshake's own")]
        let checked = |request: &Request, response: Response| options.refusal(request).map_or(Ok(response), Err);
        let stream: Box<dyn Io> = Box::new(stream);
        let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, checked, Some(options.config())).await;
        accepted.map(Self::websocket).map_err(|error| WebSocketError(error.to_string()))
    }

    /// Opens a WebSocket on a stream that is connected to the host of `url`: the connecting side.
    ///
    /// # Errors
    /// When the URL is none, or the other side does not take the WebSocket.
    pub async fn open_websocket<S>(stream: S, url: &str, options: &WebSocketOptions) -> Result<Self, WebSocketError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream: Box<dyn Io> = Box::new(stream);
        let opened = tokio_tungstenite::client_async_with_config(url, stream, Some(options.config())).await;
        opened.map(|(socket, _)| Self::websocket(socket)).map_err(|error| WebSocketError(error.to_string()))
    }

    fn websocket(socket: Socket) -> Self {
        let socket = Arc::new(Mutex::new(socket));
        let reader = Reader { socket: Arc::clone(&socket), has_failed: false, is_told: false };
        let writer = Writer { socket, is_closing: false };
        Self::from_frames(reader, writer, Framing::Message).with_kind(TransportKind::WebSocket)
    }
}

struct Reader {
    socket: Arc<Mutex<Socket>>,
    has_failed: bool,
    /// Whether the other side has said that it ends.
    is_told: bool,
}

struct Writer {
    socket: Arc<Mutex<Socket>>,
    is_closing: bool,
}

/// The lock is held for one poll at a time.
fn lock(socket: &Mutex<Socket>) -> MutexGuard<'_, Socket> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FrameReader for Reader {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Input>> {
        let mut socket = lock(&self.socket);
        loop {
            if self.has_failed {
                return poll_discard(&mut socket, cx);
            }
            let message = match ready!(Pin::new(&mut *socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(Input::End)),
                Some(Ok(message)) => message,
                Some(Err(error)) => {
                    self.has_failed = true;
                    return Poll::Ready(match error {
                        tungstenite::Error::Capacity(_) => Ok(Input::TooLong),
                        // The other side has gone without a word, or in the middle of one.
                        tungstenite::Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                            Ok(Input::End)
                        }
                        // Many close a TLS stream without a word when all was said.
                        _ if self.is_told => Ok(Input::End),
                        error => Err(io::Error::other(error)),
                    });
                }
            };
            // r[transport.websocket.kind.accept]
            match &message {
                Message::Text(text) => buffer.extend_from_slice(text.as_bytes()),
                Message::Binary(bytes) => buffer.extend_from_slice(bytes),
                // The end comes after a closing handshake.
                Message::Close(_) => {
                    self.is_told = true;
                    continue;
                }
                // Pings are answered below.
                _ => continue,
            }
            return Poll::Ready(Ok(Input::Read));
        }
    }
}

/// Reads past what WebSocket makes no sense of, so that the other side gets to read why.
fn poll_discard(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<Input>> {
    let mut waste = [0; 4096];
    let mut waste = ReadBuf::new(&mut waste);
    ready!(Pin::new(socket.get_mut()).poll_read(cx, &mut waste))?;
    Poll::Ready(Ok(if waste.filled().is_empty() { Input::End } else { Input::Read }))
}

impl FrameWriter for Writer {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes, is_text: bool) -> Poll<io::Result<()>> {
        let mut socket = lock(&self.socket);
        ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(io::Error::other)?;
        let bytes = std::mem::take(bytes);
        // r[transport.websocket.kind] r[transport.websocket.keepalive]
        let message = if is_text {
            Message::Text(Utf8Bytes::try_from(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?)
        } else {
            Message::Binary(bytes)
        };
        Poll::Ready(Pin::new(&mut *socket).start_send(message).map_err(io::Error::other))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *lock(&self.socket)).poll_flush(cx).map_err(io::Error::other)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, close: Close) -> Poll<io::Result<()>> {
        let mut socket = lock(&self.socket);
        if !self.is_closing {
            ready!(Pin::new(&mut *socket).poll_ready(cx)).map_err(io::Error::other)?;
            self.is_closing = true;
            // r[transport.websocket.close]
            let (code, reason) = match close {
                Close::Normal => (CloseCode::Normal, ""),
                Close::Undecodable => (CloseCode::Protocol, "a frame cannot be decoded"),
                Close::TooLong => (CloseCode::Size, "a frame is over the limit"),
            };
            let close = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            Pin::new(&mut *socket).start_send(Message::Close(Some(close))).map_err(io::Error::other)?;
        }
        ready!(Pin::new(&mut *socket).poll_flush(cx)).map_err(io::Error::other)?;
        // Nothing follows: a TLS stream wants to say so.
        Pin::new(socket.get_mut()).poll_shutdown(cx)
    }
}

//! What carries frames: byte streams with a framing, and transports that carry messages by themselves.
//!
//! Both are a [`FrameReader`] and a [`FrameWriter`]; what the frames say is nothing to them. WebSocket stands in `websocket`,
//! addresses in `address`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use duplex_proto::{EndReason, Framing, greeting::Refusal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::process::{Child, Command};

use crate::connection::{Origin, TransportKind};

/// Both directions of a connection, and how frames lie in them.
///
/// Any stream of bytes is one, with a framing; what carries messages by itself is a [`FrameReader`] and a [`FrameWriter`] with
/// [`Framing::Message`]. Which peer dialled is nothing to it: either end of a transport may greet.
///
/// ```
/// use duplex_peer::{BoxError, Framing, Rpc, Transport, TransportKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// // Stands for a stream with TLS.
/// let (here, there) = tokio::io::duplex(64 * 1024);
/// let here = Transport::new(here, Framing::Newline).with_kind(TransportKind::Other("tls"));
/// let there = Transport::new(there, Framing::Newline);
/// let (one, other) = (Rpc::new(), Rpc::new());
/// let (ours, _theirs) = tokio::try_join!(one.handshake(here), other.accept(there))?;
/// assert!(ours.info().to_string().contains("json over tls"));
/// # Ok(())
/// # }
/// ```
pub struct Transport {
    pub(crate) reader: Box<dyn FrameReader>,
    pub(crate) writer: Box<dyn FrameWriter>,
    pub(crate) framing: Framing,
    /// What the connection's `ConnectionInfo` says of it.
    pub(crate) origin: Origin,
}

/// The direction that comes in.
pub trait FrameReader: Send + 'static {
    /// Appends to `buffer` what has come: any bytes for a framing of byte streams, one whole message for [`Framing::Message`].
    /// Nothing is lost when it is not polled again.
    ///
    /// # Errors
    /// When the transport fails; nothing is read after that but what is to be discarded.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Input>>;
}

/// The direction that goes out.
pub trait FrameWriter: Send + 'static {
    /// Takes all of `bytes`: whole frames of a byte stream, or one message, which is `is_text` or binary and can be empty. Called
    /// again with what is left of the same bytes until it is ready.
    ///
    /// # Errors
    /// When the transport fails.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes, is_text: bool) -> Poll<io::Result<()>>;

    /// Sends what was taken and is still held back.
    ///
    /// # Errors
    /// When the transport fails.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends this direction.
    ///
    /// # Errors
    /// When the transport fails.
    fn poll_close(&mut self, cx: &mut Context<'_>, close: Close) -> Poll<io::Result<()>>;
}

/// What a read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Bytes, or one message.
    Read,
    /// Nothing, and nothing more will come.
    End,
    /// A message that is longer than the transport takes, which was not kept.
    TooLong,
}

/// Why a direction is ended, for transports that can say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// All is well.
    Normal,
    /// The other peer sent what is no frame.
    Undecodable,
    /// The other peer sent a frame over the limit.
    TooLong,
}

/// What becomes of a child process whose output has not ended a second after its connection was closed. Whoever awaits
/// [`Peer::closed`](crate::Peer::closed) gives it that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChildEnd {
    /// It is killed.
    #[default]
    Kill,
    /// It is left to itself.
    Leave,
}

impl Transport {
    /// A transport of these two directions.
    #[must_use]
    pub fn from_frames(reader: impl FrameReader, writer: impl FrameWriter, framing: Framing) -> Self {
        Self { reader: Box::new(reader), writer: Box::new(writer), framing, origin: Origin::default() }
    }

    /// Both directions and the framing, for what only passes frames on.
    #[must_use]
    pub fn into_frames(self) -> (Box<dyn FrameReader>, Box<dyn FrameWriter>, Framing) {
        (self.reader, self.writer, self.framing)
    }

    /// Says what the transport is, where this crate cannot know: `TransportKind::Other("tls")`, say.
    #[must_use]
    pub fn with_kind(mut self, kind: TransportKind) -> Self {
        self.origin.kind = kind;
        self
    }

    /// Says what address the other side has.
    #[must_use]
    pub fn with_remote(mut self, address: SocketAddr) -> Self {
        self.origin.remote = Some(address);
        self
    }

    /// Says what address this side has.
    #[must_use]
    pub fn with_local(mut self, address: SocketAddr) -> Self {
        self.origin.local = Some(address);
        self
    }

    /// Keeps a value with the connection that is made of the transport, such as the other side's certificate: it is found there
    /// by its type, with [`ConnectionInfo::value`](crate::ConnectionInfo::value).
    #[must_use]
    pub fn with_value<T: Send + Sync + 'static>(self, value: T) -> Self {
        self.origin.values.insert(value);
        self
    }

    pub(crate) fn with_addresses(mut self, Addresses { local, remote }: Addresses) -> Self {
        self.origin.local = local;
        self.origin.remote = remote;
        self
    }

    /// A transport over one stream that reads and writes.
    ///
    /// # Panics
    /// With [`Framing::Message`]: a stream of bytes has no messages.
    pub fn new<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, framing: Framing) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self::from_halves(reader, writer, framing)
    }

    /// A transport over two streams.
    ///
    /// # Panics
    /// As [`Transport::new`].
    pub fn from_halves<R, W>(reader: R, writer: W, framing: Framing) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        assert_ne!(framing, Framing::Message, "a stream of bytes has no messages: name a framing that cuts it");
        Self::from_frames(ByteReader { reader, _child: None }, ByteWriter(writer), framing)
    }

    /// A transport over a TCP connection.
    #[must_use]
    pub fn tcp(stream: TcpStream, framing: Framing) -> Self {
        // Frames are batched before they are written: waiting for more would only add delay. Failing to say so harms nothing.
        _ = stream.set_nodelay(true);
        let addresses = Addresses::of(&stream);
        let (reader, writer) = stream.into_split();
        Self::from_halves(reader, writer, framing).with_kind(TransportKind::Tcp).with_addresses(addresses)
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// When nobody can be reached there.
    pub async fn connect(address: impl ToSocketAddrs, framing: Framing) -> io::Result<Self> {
        Ok(Self::tcp(TcpStream::connect(address).await?, framing))
    }

    /// A transport over a connection of a Unix socket.
    #[cfg(unix)]
    #[must_use]
    pub fn unix(stream: tokio::net::UnixStream, framing: Framing) -> Self {
        let credentials = stream.peer_cred().ok();
        let (reader, writer) = stream.into_split();
        let mut transport = Self::from_halves(reader, writer, framing).with_kind(TransportKind::Unix);
        transport.origin.process = credentials.and_then(|user| user.pid()).and_then(|id| u32::try_from(id).ok());
        transport.origin.credentials = credentials;
        transport
    }

    /// Starts a program and talks to it over its standard input and output; its standard error stays what `command` says. The
    /// connection ends when the program ends its standard output, and the program is told of the end by that of its input.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn child(mut command: Command, end: ChildEnd, framing: Framing) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(end == ChildEnd::Kill).spawn()?;
        let reader = child.stdout.take().expect("invariant: standard output is a pipe");
        let writer = child.stdin.take().expect("invariant: standard input is a pipe");
        let process = child.id();
        let reader = ByteReader { reader, _child: Some(child) };
        let mut transport = Self::from_frames(reader, ByteWriter(writer), framing).with_kind(TransportKind::Child);
        transport.origin.process = process;
        Ok(transport)
    }

    /// Two ends of one connection in memory, each way holding at most so many bytes that nobody has read yet.
    #[must_use]
    pub fn pair(framing: Framing, capacity: usize) -> (Self, Self) {
        let (here, there) = tokio::io::duplex(capacity);
        let [here, there] = [here, there].map(|end| Self::new(end, framing).with_kind(TransportKind::Memory));
        (here, there)
    }

    /// This process's standard input and output. Nothing else may write to standard output then.
    ///
    /// A read of standard input cannot be given up: a program that ends of itself, before its parent ends that, shuts its runtime
    /// down with [`tokio::runtime::Runtime::shutdown_background`] or calls [`std::process::exit`].
    #[must_use]
    pub fn stdio(framing: Framing) -> Self {
        Self::from_halves(tokio::io::stdin(), tokio::io::stdout(), framing).with_kind(TransportKind::Stdio)
    }
}

/// Both ends of a TCP connection, as far as the system tells.
pub(crate) struct Addresses {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

impl Addresses {
    pub(crate) fn of(stream: &TcpStream) -> Self {
        Self { local: stream.local_addr().ok(), remote: stream.peer_addr().ok() }
    }
}

/// Bytes, for a framing to cut.
struct ByteReader<R> {
    reader: R,
    /// Killed, where that is wanted, when nothing is read from it any more.
    _child: Option<Child>,
}

impl<R: AsyncRead + Send + Unpin + 'static> FrameReader for ByteReader<R> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Input>> {
        let length = ready!(pin!(self.reader.read_buf(buffer)).poll(cx))?;
        Poll::Ready(Ok(if length == 0 { Input::End } else { Input::Read }))
    }
}

struct ByteWriter<W>(W);

impl<W: AsyncWrite + Send + Unpin + 'static> FrameWriter for ByteWriter<W> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes, _is_text: bool) -> Poll<io::Result<()>> {
        while !bytes.is_empty() {
            let length = ready!(pin!(self.0.write(bytes)).poll(cx))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            bytes.advance(length);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(self.0.flush()).poll(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _close: Close) -> Poll<io::Result<()>> {
        pin!(self.0.shutdown()).poll(cx)
    }
}

impl Close {
    /// What the end of a connection is to its transport. r[transport.websocket.close]
    #[must_use]
    pub fn of(reason: &EndReason) -> Self {
        match reason {
            EndReason::Undecodable(_) | EndReason::Transport => Self::Undecodable,
            EndReason::TooLong(_) | EndReason::Refuses(Refusal::TooLong) => Self::TooLong,
            _ => Self::Normal,
        }
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("kind", &self.origin.kind).field("framing", &self.framing).finish_non_exhaustive()
    }
}

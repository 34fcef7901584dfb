//! A channel as bytes in both directions: whatever speaks over a socket speaks through a call.
//!
//! Bytes travel as the book's patterns have it: `bin` in MessagePack, base64 in JSON. Where the pieces are cut means nothing.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};
use duplex_proto::{Format, Raw};
use serde_bytes::ByteBuf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::channel::Channel;
use crate::error::Error;
use crate::stream::{Reader, Writer};

/// How many bytes one item carries at most: far below what a frame may hold, so that other calls get their turn.
const PIECE: usize = 32 * 1024;

/// A channel whose items are bytes.
///
/// Shutting the writing side down ends the stream: a caller reads on until the provider ends its own; a provider that shuts
/// down has ended the call, and reads nothing more. A tunnel that is dropped before has failed for the other side, so that what
/// was cut off is not taken for whole. A caller's tunnel opens with the first byte that it writes, or with its end. What is written
/// is on its way at once, without a flush, unless too much waits to be written already. When the other side has answered the call
/// for good, writing fails as on a broken pipe; why, reading says.
///
/// A tunnel has no window of its own. A reader that stands still for longer than a tenth of a second while more comes than may wait
/// unread ([`Limits::buffered_items`](crate::Limits) and [`Limits::buffered_bytes`](crate::Limits)) loses the call: who writes what was
/// read to a slow place raises them, or has a task of its own for that.
///
/// ```
/// use duplex_peer::{BoxError, Channel, Framing, Rpc, Transport};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new();
/// server.register("echo", |channel: Channel| async move {
///     let (mut input, mut output) = tokio::io::split(channel.into_tunnel());
///     tokio::io::copy(&mut input, &mut output).await?;
///     Ok(output.shutdown().await?)
/// })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
///
/// let mut tunnel = client.open("echo").into_tunnel();
/// tunnel.write_all(b"hello").await?;
/// tunnel.shutdown().await?;
/// let mut echoed = String::new();
/// tunnel.read_to_string(&mut echoed).await?;
/// assert_eq!(echoed, "hello");
/// # Ok(())
/// # }
/// ```
pub struct Tunnel {
    reader: Reader,
    writer: Writer,
    /// What was received and not read yet.
    unread: Bytes,
}

impl Tunnel {
    pub(crate) fn new(channel: Channel) -> Self {
        let writer = Writer::new(channel.sender());
        Self { reader: Reader::new(channel), writer, unread: Bytes::new() }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.reader.poll_next(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(item) => self.unread = decode(&item.map_err(as_io)?)?,
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.writer.poll_idle(cx)).map_err(as_io)?;
        let piece = &bytes[..bytes.len().min(PIECE)];
        if !piece.is_empty() {
            let item = match self.writer.sender.format() {
                Format::Json => self.writer.sender.encode(&STANDARD.encode(piece)),
                _ => self.writer.sender.encode(serde_bytes::Bytes::new(piece)),
            };
            self.writer.start(item.map_err(as_io)?);
            if let Poll::Ready(sent) = self.writer.poll_idle(cx) {
                sent.map_err(as_io)?;
            }
        }
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_idle(cx).map_err(as_io)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.poll_close(cx).map_err(as_io)
    }
}

fn decode(item: &Raw) -> io::Result<Bytes> {
    let bytes = match item.format() {
        Format::Json => item.decode::<String>().ok().and_then(|text| STANDARD.decode(text).ok()),
        _ => item.decode::<ByteBuf>().ok().map(ByteBuf::into_vec),
    };
    bytes.map(Bytes::from).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "an item came that is no bytes"))
}

fn as_io(error: Error) -> io::Error {
    let kind = match error {
        Error::Closed => io::ErrorKind::ConnectionAborted,
        Error::Ended => io::ErrorKind::BrokenPipe,
        Error::Aborted(_) => io::ErrorKind::UnexpectedEof,
        Error::Timeout => io::ErrorKind::TimedOut,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

impl std::fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

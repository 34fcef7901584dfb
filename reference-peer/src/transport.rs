//! Byte streams that carry frames: anything that tokio can read and write.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs};

use duplex_proto::Framing;

/// A byte stream in both directions, and how frames lie in it.
pub struct Transport {
    pub(crate) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) framing: Framing,
}

impl Transport {
    /// A transport over one stream that reads and writes.
    pub fn new<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, framing: Framing) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self::from_halves(reader, writer, framing)
    }

    /// A transport over two streams.
    pub fn from_halves<R, W>(reader: R, writer: W, framing: Framing) -> Self
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        Self { reader: Box::new(reader), writer: Box::new(writer), framing }
    }

    /// A transport over a TCP connection.
    #[must_use]
    pub fn tcp(stream: TcpStream, framing: Framing) -> Self {
        // Frames are batched before they are written: waiting for more would only add delay. Failing to say so harms nothing.
        _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self::from_halves(reader, writer, framing)
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// When nobody can be reached there.
    pub async fn connect(address: impl ToSocketAddrs, framing: Framing) -> std::io::Result<Self> {
        Ok(Self::tcp(TcpStream::connect(address).await?, framing))
    }

    /// Two ends of one connection in memory, each way holding at most so many bytes that nobody has read yet.
    #[must_use]
    pub fn pair(framing: Framing, capacity: usize) -> (Self, Self) {
        let (here, there) = tokio::io::duplex(capacity);
        (Self::new(here, framing), Self::new(there, framing))
    }

    /// This process's standard input and output. Nothing else may write to standard output then.
    #[must_use]
    pub fn stdio(framing: Framing) -> Self {
        Self::from_halves(tokio::io::stdin(), tokio::io::stdout(), framing)
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("framing", &self.framing).finish_non_exhaustive()
    }
}

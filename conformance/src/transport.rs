//! Connections as tasks: one reads always, one writes what it is given, so that neither waits for the other.
//!
//! What is read is bounded, whatever a target sends. What it means is not looked at here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use duplex_vectors::Framing;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::wire::framing::Deframer;

/// Frames and bytes that one session may receive.
const BUDGET: (u64, u64) = (300_000, 512 * 1024 * 1024);

/// How long one write may take. A target that does not read so long is not waited for.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// What comes from a connection.
#[derive(Debug)]
pub enum Event {
    /// A frame.
    Frame(Vec<u8>),
    /// Bytes that make no frame; the last event.
    Unframed(String, Vec<u8>),
    /// The end, with what was left of an unfinished frame; the last event.
    Ended(Vec<u8>),
    /// More than a session can need; the last event.
    Flood,
}

/// Gathers the events of every connection of one worker.
#[derive(Debug)]
pub struct Hub {
    sender: mpsc::Sender<(u64, Event)>,
    receiver: mpsc::Receiver<(u64, Event)>,
    next: u64,
}

impl Default for Hub {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(256);
        Self { sender, receiver, next: 0 }
    }
}

impl Hub {
    /// Runs a connection over these two halves.
    pub fn link(
        &mut self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        framing: Framing,
    ) -> Link {
        let id = self.next;
        self.next += 1;
        let received = Arc::new(Received::default());
        let (commands, queue) = mpsc::unbounded_channel();
        let read = tokio::spawn(read(id, reader, framing, self.sender.clone(), Arc::clone(&received))).abort_handle();
        let write = tokio::spawn(write(writer, queue)).abort_handle();
        Link { id, commands: Some(commands), received, read, write }
    }

    /// The next event, with its connection's id.
    pub async fn event(&mut self) -> (u64, Event) {
        match self.receiver.recv().await {
            Some(event) => event,
            // The hub itself holds a sender.
            None => std::future::pending().await,
        }
    }
}

#[derive(Debug, Default)]
struct Received {
    frames: AtomicU64,
    bytes: AtomicU64,
}

/// A connection. Dropping it ends it at once.
#[derive(Debug)]
pub struct Link {
    id: u64,
    commands: Option<mpsc::UnboundedSender<Vec<u8>>>,
    received: Arc<Received>,
    read: AbortHandle,
    write: AbortHandle,
}

impl Link {
    /// What events of this connection carry.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Writes bytes, flushed on their own.
    pub fn write(&self, bytes: Vec<u8>) {
        if let Some(commands) = &self.commands {
            // An error says that the connection is gone, which its reader tells.
            let _gone = commands.send(bytes);
        }
    }

    /// Ends the tester's side, behind what was written.
    pub fn half_close(&mut self) {
        self.commands = None;
    }

    /// Ends the connection, behind what was written.
    pub fn close(mut self) {
        self.commands = None;
        self.read.abort();
        // The writer ends by itself once its queue is empty; dropping this may no longer reach it.
        self.write = self.read.clone();
    }

    /// Another session begins on this connection.
    pub fn renew(&self) {
        self.received.frames.store(0, Ordering::Relaxed);
        self.received.bytes.store(0, Ordering::Relaxed);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.read.abort();
        self.write.abort();
    }
}

async fn read(
    id: u64,
    mut reader: impl AsyncRead + Unpin,
    framing: Framing,
    events: mpsc::Sender<(u64, Event)>,
    received: Arc<Received>,
) {
    let mut deframer = Deframer::new(framing);
    let mut buffer = vec![0; 64 * 1024];
    let last = 'reading: loop {
        // A reset is an end like any other.
        let count = reader.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            break Event::Ended(deframer.rest()[..deframer.rest().len().min(64)].to_vec());
        }
        let bytes = received.bytes.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        deframer.push(&buffer[..count]);
        loop {
            match deframer.next_frame() {
                Ok(Some(frame)) => {
                    if received.frames.fetch_add(1, Ordering::Relaxed) >= BUDGET.0 || bytes > BUDGET.1 {
                        break 'reading Event::Flood;
                    }
                    if events.send((id, Event::Frame(frame))).await.is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(unframed) => break 'reading Event::Unframed(unframed.what, unframed.bytes),
            }
        }
        if bytes > BUDGET.1 {
            break Event::Flood;
        }
    };
    let _nobody_listens = events.send((id, last)).await;
}

async fn write(mut writer: impl AsyncWrite + Unpin, mut queue: mpsc::UnboundedReceiver<Vec<u8>>) {
    while let Some(bytes) = queue.recv().await {
        let written = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if !matches!(tokio::time::timeout(WRITE_LIMIT, written).await, Ok(Ok(()))) {
            return;
        }
    }
    // Dropping the writer ends this side; a socket says so here already.
    let _ended = tokio::time::timeout(WRITE_LIMIT, writer.shutdown()).await;
}

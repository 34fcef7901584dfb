//! Connections as tasks: one reads always, one writes what it is given, so that neither waits for the other.
//!
//! What is read is bounded, whatever a target sends. In which pieces bytes travel is the [`Schedule`]'s to say. What they mean
//! is not looked at here.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duplex_vectors::Framing;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::schedule::Schedule;
use crate::wire::framing::Deframer;

/// Frames and bytes that one session may receive: several times what any session asks for, and little enough to keep.
const BUDGET: (u64, u64) = (300_000, 32 * 1024 * 1024);

/// Bytes of an unfinished frame that are shown.
const SHOWN: usize = 64;

/// How long one write may take. A target that does not read so long is not waited for.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Pieces that leave on their own go out so far apart, that a target which reads at once meets them one by one.
const APART: Duration = Duration::from_millis(1);

/// Pieces of one connection that are so kept apart, and bytes that go out one by one. What comes behind is not: a run ends.
const SPLIT: (usize, usize) = (40, 8 * 1024);

/// Bytes that a slow reader takes at a time, and how many such reads there are before it takes more.
const SLOW: (usize, usize) = (7, 40);

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
    /// All that was written before [`Link::ask_taken`] has left.
    Taken,
    /// The connection takes no bytes any more. What it still has to give comes all the same.
    Refused,
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
        let (pace, paced) = watch::channel(Pace::Free);
        let read = tokio::spawn(read(id, reader, framing, self.sender.clone(), Arc::clone(&received), paced)).abort_handle();
        let write = tokio::spawn(write(id, writer, queue, self.sender.clone())).abort_handle();
        Link { id, commands: Some(commands), pace, received, read, write }
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
    /// The first bytes of a frame that is not whole yet.
    unfinished: Mutex<Vec<u8>>,
}

impl Received {
    fn unfinished(&self, rest: &[u8]) {
        rest[..rest.len().min(SHOWN)].clone_into(&mut self.unfinished.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// How fast a connection is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Free,
    Slow,
    Paused,
}

#[derive(Debug)]
enum Command {
    Write(Vec<u8>, Schedule),
    AskTaken,
}

/// A connection. Dropping it ends it at once.
#[derive(Debug)]
pub struct Link {
    id: u64,
    commands: Option<mpsc::UnboundedSender<Command>>,
    pace: watch::Sender<Pace>,
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

    /// Writes bytes, flushed on their own, in the pieces that the schedule asks for.
    pub fn write(&self, bytes: Vec<u8>, schedule: Schedule) {
        self.command(Command::Write(bytes, schedule));
    }

    /// Asks for [`Event::Taken`] once everything that was written has left.
    pub fn ask_taken(&self) {
        self.command(Command::AskTaken);
    }

    fn command(&self, command: Command) {
        if let Some(commands) = &self.commands {
            // An error says that the connection is gone, which its reader tells.
            let _gone = commands.send(command);
        }
    }

    /// The first bytes of a frame that has begun to come and is not whole.
    #[must_use]
    pub fn unfinished(&self) -> Vec<u8> {
        self.received.unfinished.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops reading; what comes stays with the system, which holds little.
    pub fn pause(&self) {
        self.pace.send_replace(Pace::Paused);
    }

    /// Reads as fast as the schedule asks for.
    pub fn resume(&self, schedule: Schedule) {
        self.pace.send_replace(if schedule == Schedule::Slow { Pace::Slow } else { Pace::Free });
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
    mut pace: watch::Receiver<Pace>,
) {
    let mut deframer = Deframer::new(framing);
    let mut buffer = vec![0; 64 * 1024];
    let mut slow_reads = 0;
    let last = 'reading: loop {
        let now = *pace.borrow_and_update();
        let is_slow = now == Pace::Slow && slow_reads < SLOW.1;
        let most = if is_slow { SLOW.0 } else { buffer.len() };
        let read = tokio::select! {
            biased;
            changed = pace.changed() => match changed {
                Ok(()) => continue,
                // The link is gone, and nobody takes what would come.
                Err(_) => return,
            },
            read = reader.read(&mut buffer[..most]), if now != Pace::Paused => read,
        };
        // A reset is an end like any other.
        let count = read.unwrap_or(0);
        if count == 0 {
            break Event::Ended(deframer.rest()[..deframer.rest().len().min(SHOWN)].to_vec());
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
        received.unfinished(deframer.rest());
        if is_slow {
            slow_reads += 1;
            tokio::time::sleep(APART).await;
        }
    };
    let _nobody_listens = events.send((id, last)).await;
}

async fn write(
    id: u64,
    mut writer: impl AsyncWrite + Unpin,
    mut queue: mpsc::UnboundedReceiver<Command>,
    events: mpsc::Sender<(u64, Event)>,
) {
    let mut pieces = Pieces::default();
    while let Some(command) = queue.recv().await {
        let event = match command {
            Command::AskTaken => Event::Taken,
            Command::Write(bytes, schedule) => match pieces.write(&mut writer, &bytes, schedule).await {
                Ok(()) => continue,
                Err(_) => Event::Refused,
            },
        };
        let is_over = matches!(event, Event::Refused);
        if events.send((id, event)).await.is_err() || is_over {
            return;
        }
    }
    // Dropping the writer ends this side; a socket says so here already.
    let _ended = tokio::time::timeout(WRITE_LIMIT, writer.shutdown()).await;
}

/// What a connection has sent in pieces so far.
#[derive(Default)]
struct Pieces {
    apart: usize,
    single_bytes: usize,
}

impl Pieces {
    /// Writes bytes in the pieces of a schedule, each flushed.
    async fn write(&mut self, writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8], schedule: Schedule) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let first = match schedule {
                Schedule::Split(place) if rest.len() == bytes.len() => place.min(rest.len()),
                Schedule::Bytes if self.single_bytes < SPLIT.1 => 1,
                _ => rest.len(),
            };
            let (piece, others) = rest.split_at(first);
            let written = async {
                writer.write_all(piece).await?;
                writer.flush().await
            };
            tokio::time::timeout(WRITE_LIMIT, written).await??;
            rest = others;
            self.single_bytes += usize::from(schedule == Schedule::Bytes);
            if !rest.is_empty() && self.apart < SPLIT.0 {
                self.apart += 1;
                tokio::time::sleep(APART).await;
            }
        }
        Ok(())
    }
}

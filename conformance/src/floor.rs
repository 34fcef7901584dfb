//! The floor under a run: the frames that it exchanged, pumped once more through the same program with nobody looking.
//!
//! A relay between the harness and a target notes what passes; [`pump`] then plays the tester's part of the note by heart. It
//! decodes nothing, compares nothing and keeps nothing but the names of callbacks, which a target chooses anew. What a run costs
//! above it is the harness's own.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duplex_vectors::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use crate::wire::framing::Deframer;

/// How long a frame is waited for that came when it was noted.
const PATIENCE: Duration = Duration::from_secs(10);

/// What passed, in the order in which it did.
#[derive(Clone, Debug, Default)]
pub struct Note {
    entries: Vec<(usize, What)>,
}

#[derive(Clone, Debug)]
enum What {
    Opened,
    /// Bytes of the tester, and where the names of callbacks stand in them.
    Sent(Vec<u8>, Vec<usize>),
    /// The tester sends nothing more.
    SentEnd,
    /// One frame of the target, and the names of callbacks in it.
    Received(Vec<Name>),
    ReceivedEnd,
}

/// The name of a callback: `_callback.` and a UUID.
type Name = Vec<u8>;

const NAME_START: &[u8] = b"_callback.";
const NAME_LENGTH: usize = NAME_START.len() + 36;

/// Where names of callbacks stand in these bytes.
fn names(bytes: &[u8]) -> Vec<usize> {
    let windows = bytes.windows(NAME_LENGTH).enumerate();
    windows.filter(|(_, window)| window.starts_with(NAME_START)).map(|(place, _)| place).collect()
}

/// A relay to a target that waits for connections, and what passed through it. Dropped, it takes no further connection.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    note: Arc<Mutex<Note>>,
    task: AbortHandle,
}

impl Relay {
    /// A relay to this address.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub async fn to(target: SocketAddr, framing: Framing) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let note = Arc::new(Mutex::new(Note::default()));
        let task = tokio::spawn(relay(listener, target, framing, Arc::clone(&note))).abort_handle();
        Ok(Self { address, note, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed so far.
    #[must_use]
    pub fn note(&self) -> Note {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(listener: TcpListener, target: SocketAddr, framing: Framing, note: Arc<Mutex<Note>>) {
    let mut number = 0;
    while let Ok((here, _)) = listener.accept().await {
        let Ok(there) = TcpStream::connect(target).await else { continue };
        // A failure shows in the speed and nowhere else.
        _ = (here.set_nodelay(true), there.set_nodelay(true));
        let ((from_tester, to_tester), (from_target, to_target)) = (here.into_split(), there.into_split());
        let noting = Noting { note: Arc::clone(&note), connection: number };
        noting.push(What::Opened);
        tokio::spawn(noting.clone().tester(from_tester, to_target));
        tokio::spawn(noting.target(from_target, to_tester, Deframer::new(framing)));
        number += 1;
    }
}

#[derive(Clone)]
struct Noting {
    note: Arc<Mutex<Note>>,
    connection: usize,
}

impl Noting {
    fn push(&self, what: What) {
        self.note.lock().unwrap_or_else(PoisonError::into_inner).entries.push((self.connection, what));
    }

    async fn tester(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            self.push(What::Sent(buffer[..read].to_vec(), names(&buffer[..read])));
            if to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        self.push(What::SentEnd);
    }

    async fn target(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut deframer: Deframer) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            deframer.push(&buffer[..read]);
            // Noted before the tester can have seen it, so that what it sends then stands behind.
            while let Ok(Some(frame)) = deframer.next_frame() {
                let names = names(&frame).into_iter().map(|place| frame[place..place + NAME_LENGTH].to_vec());
                self.push(What::Received(names.collect()));
            }
            if to.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        self.push(What::ReceivedEnd);
    }
}

/// Plays the tester's part of a note to a target that has not heard it yet.
///
/// # Errors
/// When the target cannot be reached, or a frame that came before does not come.
pub async fn pump(note: &Note, target: SocketAddr, framing: Framing) -> io::Result<()> {
    let mut lines: BTreeMap<usize, Line> = BTreeMap::new();
    // What the names of the note are this time.
    let mut renamed: BTreeMap<&Name, Name> = BTreeMap::new();
    for (connection, what) in &note.entries {
        if matches!(what, What::Opened) {
            let stream = TcpStream::connect(target).await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            let line = Line { reader, writer: Some(writer), deframer: Deframer::new(framing), buffer: vec![0; 64 * 1024] };
            lines.insert(*connection, line);
            continue;
        }
        let Some(line) = lines.get_mut(connection) else { continue };
        let done = match what {
            What::Opened => Ok(()),
            What::Sent(bytes, places) if places.is_empty() => line.send(bytes).await,
            What::Sent(bytes, places) => {
                let mut bytes = bytes.clone();
                for &place in places {
                    let name = &mut bytes[place..place + NAME_LENGTH];
                    if let Some(now) = renamed.get(&name.to_vec()) {
                        name.copy_from_slice(now);
                    }
                }
                line.send(&bytes).await
            }
            What::SentEnd => {
                line.writer = None;
                Ok(())
            }
            What::Received(then) => line.frame().await.map(|frame| {
                for (then, place) in then.iter().zip(if then.is_empty() { Vec::new() } else { names(&frame) }) {
                    renamed.insert(then, frame[place..place + NAME_LENGTH].to_vec());
                }
            }),
            What::ReceivedEnd => {
                lines.remove(connection);
                Ok(())
            }
        };
        done.map_err(|error| io::Error::new(error.kind(), format!("connection {connection}: {error}")))?;
    }
    Ok(())
}

struct Line {
    reader: OwnedReadHalf,
    writer: Option<OwnedWriteHalf>,
    deframer: Deframer,
    buffer: Vec<u8>,
}

impl Line {
    /// Writes, and reads meanwhile: a target that cannot write may not read.
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut is_open = true;
        while !bytes.is_empty() {
            tokio::select! {
                biased;
                // A target that has closed takes no more, as in the run.
                written = writer.write(bytes) => match written {
                    Ok(written @ 1..) => bytes = &bytes[written..],
                    _ => break,
                },
                read = self.reader.read(&mut self.buffer), if is_open => match read {
                    Ok(read @ 1..) => self.deframer.push(&self.buffer[..read]),
                    _ => is_open = false,
                },
                () = tokio::time::sleep(PATIENCE) => break,
            }
        }
        Ok(())
    }

    /// The next frame; an empty one at the end.
    async fn frame(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Ok(Some(frame)) = self.deframer.next_frame() {
                return Ok(frame);
            }
            let read = tokio::time::timeout(PATIENCE, self.reader.read(&mut self.buffer)).await;
            match read.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "a frame does not come again"))? {
                Ok(read @ 1..) => self.deframer.push(&self.buffer[..read]),
                _ => return Ok(Vec::new()),
            }
        }
    }
}

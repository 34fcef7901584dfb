//! The two tasks of a connection: one reads and handles, one writes. Neither ever waits for a handler, nor for the other. How
//! writing goes stands in `link/outlet.rs`.

use std::future::poll_fn;
use std::sync::Arc;

use bytes::BytesMut;
use duplex_proto::{Connection, Deframer, Framing};
use tokio::task::AbortHandle;

use crate::connection::TransportKind;
use crate::link::{Link, Status};
use crate::transport::{FrameReader, Input};

/// Below what an allocator takes for large.
const READ_BUFFER: usize = 32 * 1024;
/// Frames that are read without giving way, where they have come already.
const FRAMES_A_TURN: usize = 128;
/// The same for their bytes: others want their turn, whatever the frames hold.
const BYTES_A_TURN: usize = 256 * 1024;
/// How many turns handlers get to answer before a connection closes for a frame that cannot be decoded.
const FLUSH_TURNS: usize = 64;
/// How long input is discarded after the end, so that a transport does not reset what the other peer has yet to read.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts both tasks.
pub(crate) fn start(link: &Arc<Link>, mut reader: Box<dyn FrameReader>, framing: Framing) {
    // Only a byte stream has two directions that end one by one.
    let has_halves = framing != Framing::Message;
    let writing = Writing(Arc::clone(link));
    let writer = tokio::spawn(async move { writing.0.write().await });
    let reading = Reading { link: Arc::clone(link), writer: writer.abort_handle() };
    tokio::spawn(async move {
        let Reading { link, .. } = &reading;
        let mut buffer = BytesMut::with_capacity(READ_BUFFER);
        let input_ended = read(link, &mut *reader, &mut buffer, Deframer::new(framing), has_halves).await;
        drop(buffer);
        end(link, &mut *reader, input_ended, writer).await;
    });
}

/// The connection as its writing task holds it. However the task ends, nothing more is written: it may have been dropped with its
/// runtime, or a transport of the program may have panicked.
struct Writing(Arc<Link>);

impl Drop for Writing {
    fn drop(&mut self) {
        let Self(link) = self;
        link.with(Connection::handle_transport_failure);
        link.drop_outlet();
        link.set_status(Status::Written);
    }
}

/// The same for the task that reads, with which the other ends.
struct Reading {
    link: Arc<Link>,
    writer: AbortHandle,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let Self { link, writer } = self;
        link.with(Connection::handle_transport_failure);
        writer.abort();
        link.drop_outlet();
        link.let_go();
    }
}

/// Reads until the input ends or the connection closes; says which.
async fn read(
    link: &Arc<Link>,
    reader: &mut dyn FrameReader,
    buffer: &mut BytesMut,
    mut deframer: Deframer,
    has_halves: bool,
) -> bool {
    let limits = link.rpc.settings().limits.clone();
    let greeting_time = tokio::time::sleep(limits.greeting_time);
    let closing = link.reached(Status::Closing);
    tokio::pin!(greeting_time, closing);
    let mut is_greeted = false;
    let (mut frames, mut bytes) = (0, 0);
    loop {
        buffer.reserve(READ_BUFFER / 2);
        tokio::select! {
            biased;
            () = &mut closing => return false,
            () = &mut greeting_time, if !is_greeted => link.with(|core| core.handle_greeting_timeout()),
            read = poll_fn(|cx| {
                let read = reader.poll_read(cx, buffer);
                // Who waits gives way.
                if read.is_pending() {
                    (frames, bytes) = (0, 0);
                } else {
                    link.hear();
                }
                read
            }) => match read {
                Ok(Input::End) => {
                    // r[framing.partial] What is left in the buffer is no frame.
                    link.with(|core| {
                        core.handle_end();
                        if !has_halves {
                            core.handle_closing_timeout();
                        }
                    });
                    return true;
                }
                Ok(Input::TooLong) => {
                    link.with(Connection::handle_oversized);
                    tokio::task::yield_now().await;
                    flush(link).await;
                }
                Ok(Input::Read) => loop {
                    let received = link.receive(buffer, &mut deframer);
                    frames += received.frames;
                    bytes += received.bytes;
                    if frames >= FRAMES_A_TURN || bytes >= BYTES_A_TURN {
                        // Before more is read, so that a burst of short calls does not pile up.
                        link.give_way().await;
                        (frames, bytes) = (0, 0);
                    }
                    link.write_answers();
                    flush(link).await;
                    link.let_readers_catch_up().await;
                    if received.is_all {
                        break;
                    }
                },
                Err(_) => {
                    link.with(|core| if has_halves { core.handle_end() } else { core.handle_transport_failure() });
                    return has_halves;
                }
            },
        }
        is_greeted = link.was_greeted();
    }
}

/// Lets handlers that can answer at once do so before a connection closes for what came in. r[message.undecodable.flush]
async fn flush(link: &Arc<Link>) {
    if !link.look(Connection::is_flushing) {
        return;
    }
    for _ in 0..FLUSH_TURNS {
        if link.look(Connection::incoming) == 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    link.with(|core| core.handle_flushed());
}

/// Sees a connection off: what is due is written, within the closing time.
async fn end(link: &Arc<Link>, reader: &mut dyn FrameReader, input_ended: bool, writer: tokio::task::JoinHandle<()>) {
    let closing_time = link.rpc.settings().limits.closing_time;
    if input_ended {
        // r[close.half]
        if tokio::time::timeout(closing_time, link.reached(Status::Closing)).await.is_err() {
            link.with(|core| core.handle_closing_timeout());
        }
    }
    let discard = async {
        let mut waste = BytesMut::with_capacity(4096);
        while let Ok(Input::Read | Input::TooLong) = poll_fn(|cx| reader.poll_read(cx, &mut waste)).await {
            waste.clear();
        }
    };
    let written = async {
        if tokio::time::timeout(closing_time, link.reached(Status::Written)).await.is_err() {
            writer.abort();
            link.drop_outlet();
        }
    };
    tokio::pin!(discard, written);
    let mut is_discarded = input_ended;
    loop {
        tokio::select! {
            () = &mut written => break,
            () = &mut discard, if !is_discarded => is_discarded = true,
        }
    }
    if !is_discarded && link.info().transport() == TransportKind::Child {
        // Whoever ends its program now would take the child's last words away.
        _ = tokio::time::timeout(LINGER, &mut discard).await;
        is_discarded = true;
    }
    link.let_go();
    if !is_discarded {
        _ = tokio::time::timeout(LINGER, discard).await;
    }
}

//! The two tasks of a connection: one reads and handles, one writes. Neither ever waits for a handler, nor for the other.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use duplex_proto::{Connection, Deframer};

use crate::link::{Link, Status};
use crate::transport::{Close, FrameReader, FrameWriter, Input, Transport};

const READ_BUFFER: usize = 64 * 1024;
/// How many turns handlers get to answer before a connection closes for a frame that cannot be decoded.
const FLUSH_TURNS: usize = 64;
/// How long input is discarded after the end, so that a transport does not reset what the other peer has yet to read.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts both tasks.
pub(crate) fn start(link: &Arc<Link>, transport: Transport) {
    let Transport { reader, writer, framing } = transport;
    // Only a byte stream has two directions that end one by one.
    let has_halves = framing != duplex_proto::Framing::Message;
    let writer = tokio::spawn(write(Arc::clone(link), writer));
    let link = Arc::clone(link);
    tokio::spawn(async move {
        let mut reader = reader;
        let mut buffer = BytesMut::with_capacity(READ_BUFFER);
        let input_ended = read(&link, &mut *reader, &mut buffer, Deframer::new(framing), has_halves).await;
        drop(buffer);
        end(&link, &mut *reader, input_ended, writer).await;
    });
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
    loop {
        buffer.reserve(READ_BUFFER / 4);
        tokio::select! {
            biased;
            () = &mut closing => return false,
            () = &mut greeting_time, if !is_greeted => link.with(|core| core.handle_greeting_timeout()),
            read = poll_fn(|cx| reader.poll_read(cx, buffer)) => match read {
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
                Ok(Input::Read) => {
                    link.receive(buffer, &mut deframer);
                    // Handlers get a turn before more is read, so that a burst of short calls does not pile up.
                    tokio::task::yield_now().await;
                    flush(link).await;
                }
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
    if !link.with(|core| core.is_flushing()) {
        return;
    }
    for _ in 0..FLUSH_TURNS {
        if link.with(|core| core.incoming()) == 0 {
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
        if tokio::time::timeout(closing_time, link.reached(Status::Over)).await.is_err() {
            writer.abort();
        }
    };
    tokio::pin!(discard, written);
    let mut is_discarded = false;
    loop {
        tokio::select! {
            () = &mut written => break,
            () = &mut discard, if !input_ended && !is_discarded => is_discarded = true,
        }
    }
    // Nothing is read any more, so that no hook sees a frame of this connection after it was told of its end.
    link.tell_disconnected();
    link.set_status(Status::Over);
    if link.was_greeted() {
        link.rpc.shared.connections.fetch_sub(1, Ordering::Relaxed);
    }
    if !input_ended && !is_discarded {
        _ = tokio::time::timeout(LINGER, discard).await;
    }
}

async fn write(link: Arc<Link>, mut writer: Box<dyn FrameWriter>) {
    // r[transport.websocket.greeting] The first frame of either side is the greeting or its answer.
    let mut is_greeting = true;
    loop {
        // One write for all frames that are due.
        let (bytes, is_text, is_over) = link.with(|core| (core.poll_transmit(), core.codec().is_text(), core.is_over()));
        match bytes {
            Some(mut bytes) => {
                let length = bytes.len();
                let is_text = std::mem::take(&mut is_greeting) || is_text;
                if poll_fn(|cx| writer.poll_write(cx, &mut bytes, is_text)).await.is_err() {
                    link.with(|core| core.handle_transport_failure());
                    break;
                }
                link.written(length);
            }
            None => {
                if poll_fn(|cx| writer.poll_flush(cx)).await.is_err() {
                    link.with(|core| core.handle_transport_failure());
                    break;
                }
                if is_over {
                    break;
                }
                link.output().await;
            }
        }
    }
    // The transport may be gone already; its end is all that is wanted.
    let close = link.with(|core| core.end_reason().map_or(Close::Normal, Close::of));
    _ = poll_fn(|cx| writer.poll_close(cx, close)).await;
    // A pipe ends when it is dropped.
    drop(writer);
    link.set_status(Status::Over);
}

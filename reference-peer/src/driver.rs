//! The two tasks of a connection: one reads and handles, one writes. Neither ever waits for a handler, nor for the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::BytesMut;
use duplex_proto::Deframer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::link::{Link, Status};
use crate::transport::Transport;

const READ_BUFFER: usize = 64 * 1024;
/// How many turns handlers get to answer before a connection closes for a frame that cannot be decoded.
const FLUSH_TURNS: usize = 64;
/// How long input is discarded after the end, so that a transport does not reset what the other peer has yet to read.
const LINGER: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts both tasks.
pub(crate) fn start(link: &Arc<Link>, transport: Transport) {
    let Transport { reader, writer, framing } = transport;
    let writer = tokio::spawn(write(Arc::clone(link), writer));
    let link = Arc::clone(link);
    tokio::spawn(async move {
        let mut reader = reader;
        let mut buffer = BytesMut::with_capacity(READ_BUFFER);
        let input_ended = read(&link, &mut reader, &mut buffer, Deframer::new(framing)).await;
        drop(buffer);
        end(&link, &mut reader, input_ended, writer).await;
    });
}

/// Reads until the input ends or the connection closes; says which.
async fn read(link: &Arc<Link>, reader: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut, mut deframer: Deframer) -> bool {
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
            read = reader.read_buf(buffer) => match read {
                Ok(0) => {
                    // r[framing.partial] What is left in the buffer is no frame.
                    link.with(|core| core.handle_end());
                    return true;
                }
                Ok(_) => {
                    link.receive(buffer, &mut deframer);
                    // Handlers get a turn before more is read, so that a burst of short calls does not pile up.
                    tokio::task::yield_now().await;
                    flush(link).await;
                }
                Err(_) => {
                    link.with(|core| core.handle_end());
                    return true;
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
async fn end(link: &Arc<Link>, reader: &mut (impl AsyncRead + Unpin), input_ended: bool, writer: tokio::task::JoinHandle<()>) {
    let closing_time = link.rpc.settings().limits.closing_time;
    if input_ended {
        // r[close.half]
        if tokio::time::timeout(closing_time, link.reached(Status::Closing)).await.is_err() {
            link.with(|core| core.handle_closing_timeout());
        }
    }
    let discard = async {
        let mut waste = [0; 4096];
        while !input_ended && reader.read(&mut waste).await.is_ok_and(|length| length > 0) {}
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
            () = &mut discard, if !is_discarded => is_discarded = true,
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

async fn write(link: Arc<Link>, mut writer: impl AsyncWrite + Unpin) {
    loop {
        // One write for all frames that are due.
        let (bytes, is_over) = link.with(|core| (core.poll_transmit(), core.is_over()));
        match bytes {
            Some(bytes) => {
                if writer.write_all(&bytes).await.is_err() {
                    link.with(|core| core.handle_transport_failure());
                    break;
                }
                link.written(bytes.len());
            }
            None => {
                if writer.flush().await.is_err() {
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
    _ = writer.shutdown().await;
    link.set_status(Status::Over);
}

//! The direction that goes out. Mostly the connection's writer drains it, many frames in one write; a sender that nobody can
//! be waiting beside does so itself, which saves the way to another thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, TryLockError};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use duplex_proto::Connection;

use super::Link;
use crate::transport::{Close, FrameWriter};

/// How often the writer lets others add to what it is about to write. Each time it goes on only if somebody did.
const TURNS: usize = 8;
/// Bytes from which on a write is worth its while.
const ENOUGH: usize = 16 * 1024;

/// A writer, and what it has taken and not written.
pub(super) struct Outlet {
    writer: Box<dyn FrameWriter>,
    rest: Option<Taken>,
    /// r[transport.websocket.greeting] The first frame of either side is the greeting or its answer.
    is_greeting: bool,
    is_flushed: bool,
    /// Whether the writer waits for the transport: only it may ask the transport then, or it would not be woken.
    is_waited_for: bool,
}

pub(super) struct Taken {
    /// What is left of it.
    pub(super) bytes: Bytes,
    pub(super) length: usize,
    is_text: bool,
}

impl Outlet {
    pub(super) fn new(writer: Box<dyn FrameWriter>) -> Self {
        Self { writer, rest: None, is_greeting: true, is_flushed: true, is_waited_for: false }
    }

    /// Writes until nothing is left; says whether the connection is over then.
    fn poll_drain(&mut self, link: &Link, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut written = None;
        loop {
            if self.rest.is_none() {
                let (bytes, is_text, is_over) = link.take_output(written.take());
                let Some(bytes) = bytes else {
                    if !self.is_flushed {
                        ready!(unpanicked(|| self.writer.poll_flush(cx)))?;
                        self.is_flushed = true;
                    }
                    return Poll::Ready(Ok(is_over));
                };
                let is_text = std::mem::take(&mut self.is_greeting) || is_text;
                self.rest = Some(Taken { length: bytes.len(), bytes, is_text });
            }
            if let Some(taken) = &mut self.rest {
                self.is_flushed = false;
                ready!(unpanicked(|| self.writer.poll_write(cx, &mut taken.bytes, taken.is_text)))?;
                written = self.rest.take();
            }
        }
    }
}

/// A transport of the program that panics has failed. Handlers and callers write too, and it is none of theirs.
fn unpanicked(write: impl FnOnce() -> Poll<io::Result<()>>) -> Poll<io::Result<()>> {
    catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| Poll::Ready(Err(io::Error::other("it panicked"))))
}

impl Link {
    /// Writes what is due, if nobody else is writing; leaves to the writer what the transport does not take at once.
    pub(super) fn write_now(&self) {
        let mut outlet = match self.outlet.try_lock() {
            Ok(outlet) => outlet,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever writes may have looked for output before there was some.
            Err(TryLockError::WouldBlock) => return self.output.notify_one(),
        };
        let is_done = match &mut *outlet {
            // The writer looks for more output before it rests.
            Some(outlet) if outlet.is_waited_for => return,
            Some(outlet) => matches!(outlet.poll_drain(self, &mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(false))),
            None => return,
        };
        drop(outlet);
        if !is_done {
            self.output.notify_one();
        }
    }

    /// Writes whenever something is due, up to the end of the connection.
    pub(crate) async fn write(self: &Arc<Self>) {
        loop {
            self.gather().await;
            let drained = std::future::poll_fn(|cx| {
                let mut outlet = self.outlet.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(outlet) = outlet.as_mut() else { return Poll::Ready(Ok(true)) };
                let drained = outlet.poll_drain(self, cx);
                outlet.is_waited_for = drained.is_pending();
                drained
            });
            match drained.await {
                Ok(false) => self.output.notified().await,
                Ok(true) => break,
                Err(_) => {
                    self.with(Connection::handle_transport_failure);
                    break;
                }
            }
        }
        // The transport may be gone already; its end is all that is wanted.
        let close = self.look(|core| core.end_reason().map_or(Close::Normal, Close::of));
        if let Some(mut outlet) = self.take_outlet() {
            _ = std::future::poll_fn(|cx| outlet.writer.poll_close(cx, close)).await;
            // A pipe ends when it is dropped.
        }
    }

    /// Lets go of a transport that does not take what is left.
    pub(crate) fn drop_outlet(&self) {
        drop(self.take_outlet());
    }

    fn take_outlet(&self) -> Option<Outlet> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Lets handlers and callers have their turn at what was read.
    pub(crate) async fn give_way(&self) {
        tokio::task::yield_now().await;
        self.gather().await;
    }

    /// Writes what has come already of what was read; what comes later, the writer is told of.
    pub(crate) fn write_answers(&self) {
        if self.end_reading() {
            self.write_now();
        }
    }

    /// Waits for more to write while calls are under way and more is coming.
    async fn gather(&self) {
        let mut before = 0;
        for _ in 0..TURNS {
            let (unwritten, is_alone) = self.look(|core| (core.unsent_bytes(), core.incoming() + core.outgoing() < 2));
            if is_alone || unwritten == before || unwritten >= ENOUGH {
                return;
            }
            before = unwritten;
            tokio::task::yield_now().await;
        }
    }
}

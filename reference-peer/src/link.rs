//! One connection as its tasks share it: the core behind a lock, and who waits for what.
//!
//! The lock is held for table work only: never while a hook or handler runs, never across an await. How frames pass the hooks
//! stands in `link/hooks.rs`.

mod hooks;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use duplex_proto::connection::{Read, Reply, ReplyFrame, SendError, ServeKey};
use duplex_proto::{Code, Connection, Deframer, Event, Ext, Format, Id, Raw, RemoteError};
use tokio::sync::{Notify, watch};

use crate::call::{Call, ConnectionId};
use crate::callback::CALLBACK_PREFIX;
use crate::channel;
use crate::handler::Handler;
use crate::hook::Hook;
use crate::rpc::Rpc;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    Greeting,
    Open,
    /// The other peer sends nothing more.
    InputEnded,
    /// Nothing is handled any more.
    Closing,
    /// Everything is written and the writing side has ended.
    Over,
}

pub(crate) struct Link {
    pub(crate) rpc: Rpc,
    state: Mutex<State>,
    status: watch::Sender<Status>,
    /// The writer has work.
    output: Notify,
    /// Senders that waited for room may look again.
    room: Notify,
    format: OnceLock<Format>,
    id: ConnectionId,
}

struct State {
    core: Connection,
    status: Status,
    args_readers: HashMap<ServeKey, Waker>,
    reply_readers: HashMap<Id, Waker>,
    callbacks: HashMap<Arc<str>, Arc<dyn Handler>>,
    /// What hooks know of served calls, for as long as their handlers hold them.
    served: HashMap<ServeKey, Arc<Call>>,
    /// What hooks know of calls of ours, up to their end, and the ext that they were made with.
    called: HashMap<Id, (Arc<Call>, Option<Ext>)>,
}

/// What is done once the lock is free.
enum Deferred {
    Wake(Waker),
    Start(ServeKey, Arc<dyn Handler>, Option<Arc<Call>>),
    Missing(ServeKey),
}

impl Link {
    pub(crate) fn new(rpc: Rpc, mut core: Connection) -> Arc<Self> {
        if !rpc.settings().hooks.is_empty() {
            core.leave_early_ends();
        }
        let state = State {
            core,
            status: Status::Greeting,
            args_readers: HashMap::new(),
            reply_readers: HashMap::new(),
            callbacks: HashMap::new(),
            served: HashMap::new(),
            called: HashMap::new(),
        };
        Arc::new(Self {
            rpc,
            state: Mutex::new(state),
            status: watch::Sender::new(Status::Greeting),
            output: Notify::new(),
            room: Notify::new(),
            format: OnceLock::new(),
            id: ConnectionId::next(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug of the core; what it left behind is still the best there is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the core, then whatever follows from it for the tasks.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Connection) -> R) -> R {
        let mut state = self.lock();
        let result = act(&mut state.core);
        self.settle(state);
        result
    }

    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let early = self.take_early_ends(&mut state);
        let ended = self.take_ended(&mut state);
        let status = if state.core.is_greeting() {
            Status::Greeting
        } else if state.core.is_closing() {
            Status::Closing
        } else if state.core.is_input_ended() {
            Status::InputEnded
        } else {
            Status::Open
        };
        if state.core.has_output() {
            self.output.notify_one();
        }
        if status <= state.status {
            drop(state);
            self.send_early_ends(early);
            return self.tell(ended);
        }
        state.status = status;
        let mut wakers: Vec<Waker> = Vec::new();
        if status > Status::Open {
            wakers.extend(state.args_readers.drain().map(|(_, waker)| waker));
            wakers.extend(state.reply_readers.drain().map(|(_, waker)| waker));
        }
        // r[close.forget]
        let callbacks = if status == Status::Closing { std::mem::take(&mut state.callbacks) } else { HashMap::new() };
        drop(state);
        self.send_early_ends(early);
        self.tell(ended);
        drop(callbacks);
        self.set_status(status);
        self.output.notify_one();
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    // ---- status ----

    pub(crate) fn set_status(&self, status: Status) {
        self.status.send_if_modified(|current| {
            let is_later = status > *current;
            *current = status.max(*current);
            is_later
        });
    }

    pub(crate) fn status(&self) -> Status {
        *self.status.borrow()
    }

    pub(crate) async fn reached(&self, status: Status) {
        // The sender lives as long as `self`: waiting cannot fail.
        _ = self.status.subscribe().wait_for(|current| *current >= status).await;
    }

    pub(crate) fn was_greeted(&self) -> bool {
        self.format.get().is_some()
    }

    pub(crate) fn format(&self) -> Format {
        self.format.get().copied().unwrap_or(Format::Json)
    }

    // ---- writing ----

    pub(crate) async fn output(&self) {
        self.output.notified().await;
    }

    pub(crate) fn written(&self, bytes: usize) {
        self.with(|core| core.handle_written(bytes));
        self.room.notify_waiters();
    }

    /// Waits until senders may send.
    pub(crate) async fn room(&self) {
        // A handler that sends and sends would otherwise never let go of its thread.
        tokio::task::coop::consume_budget().await;
        loop {
            {
                let state = self.lock();
                if !state.core.is_congested() || state.core.is_closing() {
                    return;
                }
            }
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            {
                let state = self.lock();
                if !state.core.is_congested() || state.core.is_closing() {
                    return;
                }
            }
            room.await;
        }
    }

    // ---- reading ----

    /// Handles every whole frame in the buffer. r[call.progress] No handler runs here.
    pub(crate) fn receive(self: &Arc<Self>, buffer: &mut bytes::BytesMut, deframer: &mut Deframer) {
        let mut deferred = Vec::new();
        let mut state = self.lock();
        while !state.core.is_closing() && !state.core.is_flushing() {
            match deframer.next_frame(buffer, state.core.frame_limit()) {
                Ok(Some(frame)) => state.core.handle_frame(frame),
                Ok(None) => break,
                Err(_) => state.core.handle_oversized(),
            }
            while let Some(event) = state.core.poll_event() {
                let passes_hooks = matches!(event, Event::Request { .. } | Event::Reply { .. }) && self.has_hooks();
                if !passes_hooks {
                    self.accept(&mut state, event, &mut deferred);
                    continue;
                }
                self.settle(state);
                let event = self.pass_inbound(event);
                state = self.lock();
                if let Some(event) = event {
                    self.accept(&mut state, event, &mut deferred);
                }
            }
        }
        self.settle(state);
        for action in deferred {
            match action {
                Deferred::Wake(waker) => waker.wake(),
                Deferred::Start(key, handler, call) => channel::serve(self, key, handler, call),
                // r[error.method-missing] r[middleware.missing]
                Deferred::Missing(key) => {
                    _ = self.reply(key, Reply::Error(RemoteError::of(Code::METHOD_NOT_FOUND)));
                    self.release(key);
                }
            }
        }
    }

    fn accept(&self, state: &mut State, event: Event, deferred: &mut Vec<Deferred>) {
        match event {
            Event::Request { key, first, frame } => {
                state.core.deliver_request(key, frame);
                deferred.extend(state.args_readers.remove(&key).map(Deferred::Wake));
                if first {
                    let handler = state.core.method(key).and_then(|method| {
                        // r[callback.scope] Only this connection's callbacks are looked at.
                        if method.starts_with(CALLBACK_PREFIX) {
                            state.callbacks.get(method).cloned()
                        } else {
                            self.rpc.method(method)
                        }
                    });
                    let call = state.served.get(&key).cloned();
                    deferred.push(handler.map_or(Deferred::Missing(key), |handler| Deferred::Start(key, handler, call)));
                }
            }
            Event::ArgsFailed { key } => deferred.extend(state.args_readers.remove(&key).map(Deferred::Wake)),
            Event::Reply { id, frame } => {
                state.core.deliver_reply(id, frame);
                deferred.extend(state.reply_readers.remove(&id).map(Deferred::Wake));
            }
            Event::Ready => {
                self.format.get_or_init(|| state.core.format());
                self.rpc.shared.connections.fetch_add(1, Ordering::Relaxed);
            }
            // The rest shows in the core's state.
            _ => {}
        }
    }

    pub(crate) fn poll_args(&self, key: ServeKey, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        match state.core.read_args(key) {
            Read::Pending => {
                state.args_readers.insert(key, cx.waker().clone());
                Poll::Pending
            }
            read => Poll::Ready(read),
        }
    }

    pub(crate) fn poll_reply(&self, id: Id, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        match state.core.read_reply(id) {
            Read::Pending => {
                state.reply_readers.insert(id, cx.waker().clone());
                Poll::Pending
            }
            read => Poll::Ready(read),
        }
    }

    /// A handler lets go of its call.
    pub(crate) fn release(&self, key: ServeKey) {
        let mut state = self.lock();
        state.args_readers.remove(&key);
        state.core.release(key);
        let ended = self.take_ended(&mut state);
        state.served.remove(&key);
        self.settle(state);
        self.tell(ended);
    }

    /// A caller lets go of its call.
    pub(crate) fn forget(&self, id: Id) {
        let mut state = self.lock();
        state.reply_readers.remove(&id);
        state.core.forget(id);
        self.settle(state);
    }

    // ---- callbacks ----

    pub(crate) fn add_callback(&self, name: Arc<str>, handler: Arc<dyn Handler>) {
        let mut state = self.lock();
        if !state.core.is_closing() {
            state.callbacks.insert(name, handler);
        }
    }

    pub(crate) fn remove_callback(&self, name: &str) {
        let removed = self.lock().callbacks.remove(name);
        // What the handler holds is dropped without the lock: it may hold callbacks of its own.
        drop(removed);
    }

    pub(crate) fn callbacks(&self) -> usize {
        self.lock().callbacks.len()
    }

    // ---- replies ----

    /// Sends a terminal reply through every hook.
    pub(crate) fn reply(&self, key: ServeKey, reply: Reply) -> Result<(), SendError> {
        self.reply_through(key, reply, self.hooks())
    }

    /// Sends an item through every hook.
    pub(crate) fn send_item(&self, key: ServeKey, item: Raw) -> Result<(), SendError> {
        if !self.has_hooks() {
            return self.with(|core| {
                let ext = core.ext(key).cloned();
                core.send_item(key, &item, ext.as_ref())
            });
        }
        self.send_through(key, ReplyFrame::Item(item), self.hooks())
    }

    fn reply_through(&self, key: ServeKey, reply: Reply, hooks: &[Arc<dyn Hook>]) -> Result<(), SendError> {
        if hooks.is_empty() {
            return self.with(|core| {
                // r[ext.reply] r[ext.none]
                let ext = core.ext(key).cloned();
                core.reply(key, &self.in_format(reply), ext.as_ref())
            });
        }
        let frame = match reply {
            Reply::Result(result) => ReplyFrame::Last(result),
            Reply::End => ReplyFrame::End,
            Reply::Error(error) => ReplyFrame::Error(error),
        };
        self.send_through(key, frame, hooks)
    }

    /// A reply whose error data is in the connection's format; data that has no such form is left out.
    fn in_format(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Error(error) => Reply::Error(self.error_in_format(error)),
            reply => reply,
        }
    }

    pub(crate) fn error_in_format(&self, mut error: RemoteError) -> RemoteError {
        error.data = error.data.and_then(|data| data.to_format(self.format()).ok());
        error
    }
}

//! One connection as its tasks share it: the core behind a lock, and who waits for what.
//!
//! The lock is held for table work only: never while a hook or handler runs, never across an await.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use duplex_proto::connection::{ArgFrame, Failure, Read, Reply, ReplyFrame, SendError, ServeKey};
use duplex_proto::{Code, Connection, Deframer, Event, Ext, Format, Id, Raw, RemoteError};
use tokio::sync::{Notify, watch};

use crate::callback::CALLBACK_PREFIX;
use crate::channel;
use crate::error::Error;
use crate::handler::Handler;
use crate::hook::{Hook, HookFrame, Verdict};
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
}

struct State {
    core: Connection,
    status: Status,
    args_readers: HashMap<ServeKey, Waker>,
    reply_readers: HashMap<Id, Waker>,
    callbacks: HashMap<Arc<str>, Arc<dyn Handler>>,
}

/// What is done once the lock is free.
enum Deferred {
    Wake(Waker),
    Start(ServeKey, Arc<dyn Handler>),
    Missing(ServeKey),
}

impl Link {
    pub(crate) fn new(rpc: Rpc, core: Connection) -> Arc<Self> {
        let state = State {
            core,
            status: Status::Greeting,
            args_readers: HashMap::new(),
            reply_readers: HashMap::new(),
            callbacks: HashMap::new(),
        };
        Arc::new(Self {
            rpc,
            state: Mutex::new(state),
            status: watch::Sender::new(Status::Greeting),
            output: Notify::new(),
            room: Notify::new(),
            format: OnceLock::new(),
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
            return;
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
        drop(callbacks);
        self.set_status(status);
        self.output.notify_one();
        self.room.notify_waiters();
        wakers.into_iter().for_each(Waker::wake);
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
                Deferred::Start(key, handler) => channel::serve(self, key, handler),
                // r[error.method-missing] r[middleware.missing]
                Deferred::Missing(key) => {
                    _ = self.reply(key, Reply::Error(RemoteError::of(Code::METHOD_NOT_FOUND)));
                    self.with(|core| core.release(key));
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
                    deferred.push(handler.map_or(Deferred::Missing(key), |handler| Deferred::Start(key, handler)));
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
        self.settle(state);
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

    // ---- hooks ----

    fn hooks(&self) -> &[Arc<dyn Hook>] {
        &self.rpc.settings().hooks
    }

    /// Passes an inbound frame through the hooks; `None` when one of them ended the call.
    fn pass_inbound(&self, event: Event) -> Option<Event> {
        match event {
            Event::Request { key, first, frame } => {
                self.pass_inbound_request(key, first, frame).map(|frame| Event::Request { key, first, frame })
            }
            // r[call.bad-reply] What is no reply passes no hook.
            Event::Reply { id, frame } if !matches!(frame, ReplyFrame::Bad(_)) => {
                self.pass_inbound_reply(id, frame).map(|frame| Event::Reply { id, frame })
            }
            event => Some(event),
        }
    }

    /// r[middleware.inbound]
    fn pass_inbound_request(&self, key: ServeKey, first: bool, frame: ArgFrame) -> Option<ArgFrame> {
        let (method, id, ext) = self.with(|core| {
            let method = core.method(key).cloned();
            (method, core.id(key), core.ext(key).cloned())
        });
        let mut frame = HookFrame::from_args(method?, id, self.format(), ext, frame);
        for (index, hook) in self.hooks().iter().enumerate() {
            let verdict = hook.inbound_request(&mut frame);
            let reply = match verdict {
                Ok(Verdict::Pass) => continue,
                Ok(Verdict::Answer(result)) => Reply::Result(result),
                // r[middleware.error]
                Ok(Verdict::AnswerError(error)) => Reply::Error(error),
                // r[middleware.fail] r[error.no-insides]
                Err(_) => Reply::Error(RemoteError::of(Code::FAILED)),
            };
            self.with(|core| {
                core.set_ext(key, frame.ext.take());
                // r[middleware.answer.midstream]
                core.fail_handler(key, Failure::Hook);
            });
            // r[middleware.answer] r[middleware.answer.reverse]
            _ = self.reply_through(key, reply, &self.hooks()[..index]);
            if first {
                self.with(|core| core.release(key));
            }
            let reader = self.lock().args_readers.remove(&key);
            reader.into_iter().for_each(Waker::wake);
            return None;
        }
        // r[middleware.ext]
        self.with(|core| core.set_ext(key, frame.ext.take()));
        Some(frame.into_args())
    }

    /// r[middleware.inbound-reply]
    fn pass_inbound_reply(&self, id: Id, frame: ReplyFrame) -> Option<ReplyFrame> {
        let (method, ext) = self.with(|core| (core.called_method(id).cloned(), core.reply_ext(id).cloned()));
        let mut frame = HookFrame::from_reply(method?, Some(id), self.format(), ext, frame);
        for hook in self.hooks().iter().rev() {
            match hook.inbound_reply(&mut frame) {
                Ok(Verdict::Pass) => {}
                Ok(verdict) => apply_verdict(&mut frame, verdict),
                // r[middleware.fail.caller]
                Err(_) => {
                    self.with(|core| core.fail_call(id, Failure::Hook));
                    self.wake_reply_reader(id);
                    return None;
                }
            }
        }
        let ext = frame.ext.take();
        let frame = frame.into_reply_frame();
        self.with(|core| {
            core.set_reply_ext(id, ext);
            if frame.is_terminal() {
                // A hook may have ended a stream that the provider goes on with: what still comes is late.
                core.complete_call(id, frame);
                None
            } else {
                Some(frame)
            }
        })
        .or_else(|| {
            self.wake_reply_reader(id);
            None
        })
    }

    pub(crate) fn wake_reply_reader(&self, id: Id) {
        let reader = self.lock().reply_readers.remove(&id);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Passes a request frame of ours through the hooks. `Ok(Err(reply))`: a hook answered in the provider's place.
    pub(crate) fn pass_outbound_request(&self, mut frame: HookFrame) -> Result<Result<HookFrame, ReplyFrame>, Error> {
        // r[middleware.outbound]
        for hook in self.hooks() {
            match hook.outbound_request(&mut frame) {
                Ok(Verdict::Pass) => {}
                Ok(Verdict::Answer(result)) => return Ok(Err(ReplyFrame::Last(result))),
                Ok(Verdict::AnswerError(error)) => return Ok(Err(ReplyFrame::Error(error))),
                Err(_) => return Err(Error::Hook),
            }
        }
        Ok(Ok(frame))
    }

    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks().is_empty()
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

    /// r[middleware.reverse]
    fn send_through(&self, key: ServeKey, frame: ReplyFrame, hooks: &[Arc<dyn Hook>]) -> Result<(), SendError> {
        let (method, id, ext, is_open) =
            self.with(|core| (core.method(key).cloned(), core.id(key), core.ext(key).cloned(), core.is_unanswered(key)));
        let Some(method) = method else { return Err(SendError::Ended) };
        // r[call.notification] There is no reply that hooks could see; after the terminal there is none either.
        if !is_open {
            return if id.is_none() { Ok(()) } else { Err(SendError::Ended) };
        }
        let channel_ext = ext.clone();
        let mut frame = HookFrame::from_reply(method, id, self.format(), ext, frame);
        for hook in hooks.iter().rev() {
            match hook.outbound_reply(&mut frame) {
                Ok(Verdict::Pass) => {}
                Ok(verdict) => apply_verdict(&mut frame, verdict),
                // r[middleware.fail.reply]
                Err(_) => {
                    let failed = Reply::Error(RemoteError::of(Code::FAILED));
                    return self.with(|core| core.reply(key, &failed, channel_ext.as_ref()));
                }
            }
        }
        let ext: Option<Ext> = frame.ext.take();
        match frame.into_reply() {
            Ok(reply) => self.with(|core| core.reply(key, &self.in_format(reply), ext.as_ref())),
            Err(item) => self.with(|core| core.send_item(key, &item, ext.as_ref())),
        }
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

fn apply_verdict(frame: &mut HookFrame, verdict: Verdict) {
    match verdict {
        Verdict::Pass => {}
        Verdict::Answer(result) => {
            frame.payload = result;
            frame.error = None;
            frame.part = crate::hook::Part::Last;
        }
        Verdict::AnswerError(error) => {
            frame.error = Some(error);
            frame.part = crate::hook::Part::Error;
        }
    }
}

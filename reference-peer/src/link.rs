//! One connection as its tasks share it: the core behind a lock, and who waits for what.
//!
//! The lock is held for table work only: never while a hook or handler runs, never across an await. How frames pass the hooks
//! stands in `link/hooks.rs`, how writing goes in `link/outlet.rs`, what becomes of readers that fall behind in `link/backlog.rs`.

mod backlog;
mod hooks;
mod outlet;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use duplex_proto::codec::{Message, Undecodable};
use duplex_proto::connection::{ArgFrame, Read, Reply, ReplyFrame, SendError, ServeKey};
use duplex_proto::{Code, Codec, Connection, Deframer, Event, Ext, Format, Id, Raw, RemoteError};
use foldhash::fast::RandomState;
use tokio::sync::{Notify, watch};

use crate::call::{Call, ConnectionId};
use crate::callback::CALLBACK_PREFIX;
use crate::channel;
use crate::connection::ConnectionInfo;
use crate::handler::{Handler, Method};
use crate::hook::Hook;
use crate::rpc::Rpc;
use crate::single::{self, Answered, Start};
use crate::transport::FrameWriter;
use backlog::Half;
use outlet::{Outlet, Taken};

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
    Written,
    /// Nothing is read any more either, and hooks were told.
    Over,
}

pub(crate) struct Link {
    pub(crate) rpc: Rpc,
    state: Mutex<State>,
    status: watch::Sender<Status>,
    /// Whether nobody reads any more.
    is_let_go: AtomicBool,
    /// The writer has work.
    output: Notify,
    outlet: Mutex<Option<Outlet>>,
    /// Senders that waited for room may look again.
    room: Notify,
    /// The reader that the connection waits for has caught up.
    caught_up: Notify,
    /// Whether senders have to wait.
    is_congested: AtomicBool,
    codec: OnceLock<Arc<dyn Codec>>,
    begun: tokio::time::Instant,
    /// When something came last, in milliseconds since then.
    heard: AtomicU64,
    id: ConnectionId,
    info: Arc<ConnectionInfo>,
}

/// How long output may wait for more of it before the next sender writes it.
pub(crate) const PATIENCE: Duration = Duration::from_micros(50);
/// Bytes of output that are worth a look at the clock.
const WORTHWHILE: usize = 1024;
/// The bytes of a small call.
const SMALL_FRAME: usize = 64;
/// Frames that are handled before their readers can have a turn: fewer than half of what may wait unread on a channel.
const FRAMES_AT_ONCE: usize = 256;
/// Bytes of them: a frame of many small values takes its time.
const BYTES_AT_ONCE: usize = 128 * 1024;
type Table<K, V> = HashMap<K, V, RandomState>;

struct State {
    core: Connection,
    status: Status,
    /// Since when output waits for the writer, and at how many bytes of it that is to be looked at next.
    output_since: Option<(Instant, usize)>,
    /// Whether the reader will write what its frames lead to.
    is_reading: bool,
    /// Calls that are likely to be made at once: whoever got a reply of the last read may well call again.
    expected: usize,
    /// Channels whose readers have fallen behind since frames were last handled, the one that is waited for last.
    crowded: Vec<Half>,
    /// Readers for whom something has come, and who were not woken yet.
    woken: Vec<Waker>,
    callbacks: HashMap<Arc<str>, Method>,
    /// What hooks know of served calls, for as long as their handlers hold them.
    served: Table<ServeKey, Arc<Call>>,
    /// What hooks know of calls of ours, up to their end, and the ext that they were made with.
    called: Table<Id, (Arc<Call>, Option<Ext>)>,
}

/// What was read at once.
pub(crate) struct Received {
    pub(crate) frames: usize,
    pub(crate) bytes: usize,
    /// Whether no whole frame is left.
    pub(crate) is_all: bool,
}

/// What is done once the lock is free.
#[derive(Default)]
struct Deferred {
    /// Most calls: those that need no channel.
    starts: Vec<Start>,
    others: Vec<Action>,
}

enum Action {
    Start(ServeKey, Arc<dyn Handler>, Option<Arc<Call>>),
    Missing(ServeKey),
}

impl State {
    /// Notes the readers for whom something has come; takes one of them.
    fn take_woken(&mut self) -> Option<Waker> {
        self.woken.append(&mut self.core.poll_woken());
        self.woken.pop()
    }
}

impl Link {
    pub(crate) fn new(rpc: Rpc, mut core: Connection, writer: Box<dyn FrameWriter>, info: Arc<ConnectionInfo>) -> Arc<Self> {
        if !rpc.settings().hooks.is_empty() {
            core.leave_early_ends();
        }
        let state = State {
            core,
            status: Status::Greeting,
            output_since: None,
            is_reading: false,
            expected: 0,
            crowded: Vec::new(),
            woken: Vec::new(),
            callbacks: HashMap::new(),
            served: Table::default(),
            called: Table::default(),
        };
        Arc::new(Self {
            rpc,
            state: Mutex::new(state),
            status: watch::Sender::new(Status::Greeting),
            is_let_go: AtomicBool::new(false),
            output: Notify::new(),
            outlet: Mutex::new(Some(Outlet::new(writer))),
            room: Notify::new(),
            caught_up: Notify::new(),
            is_congested: AtomicBool::new(false),
            codec: OnceLock::new(),
            begun: tokio::time::Instant::now(),
            heard: AtomicU64::new(0),
            id: info.id(),
            info,
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
        self.settle(state, false);
        result
    }

    /// Asks the core something that changes nothing.
    pub(crate) fn look<R>(&self, ask: impl FnOnce(&Connection) -> R) -> R {
        ask(&self.lock().core)
    }

    /// Does what follows from a change of the core. `is_lone`: what was put out is not worth waiting for more.
    fn settle(&self, mut state: MutexGuard<'_, State>, is_lone: bool) {
        let early = if self.has_hooks() { self.take_early_ends(&mut state) } else { Vec::new() };
        let ended = Self::take_ended(&mut state);
        let woken = state.core.poll_woken();
        let status = if state.core.is_greeting() {
            Status::Greeting
        } else if state.core.is_closing() {
            Status::Closing
        } else if state.core.is_input_ended() {
            Status::InputEnded
        } else {
            Status::Open
        };
        let is_due = self.look_after_output(&mut state, is_lone);
        if status <= state.status {
            drop(state);
            if is_due {
                self.write_now();
            }
            self.send_early_ends(early);
            woken.into_iter().for_each(Waker::wake);
            return self.tell(ended);
        }
        state.status = status;
        // r[close.forget]
        let callbacks = if status == Status::Closing { std::mem::take(&mut state.callbacks) } else { HashMap::new() };
        drop(state);
        self.send_early_ends(early);
        self.tell(ended);
        drop(callbacks);
        self.set_status(status);
        self.output.notify_one();
        self.room.notify_waiters();
        woken.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn info(&self) -> &Arc<ConnectionInfo> {
        &self.info
    }

    /// Sees to it that output is written; says whether the caller is to do it, once the lock is free.
    fn look_after_output(&self, state: &mut State, is_lone: bool) -> bool {
        if !state.core.has_output() {
            return false;
        }
        if state.core.is_congested() {
            self.is_congested.store(true, Ordering::Relaxed);
        }
        let unsent = state.core.unsent_bytes();
        match &mut state.output_since {
            _ if is_lone => true,
            Some((_, look_at)) if unsent < *look_at => false,
            Some((since, look_at)) => {
                *look_at = unsent + WORTHWHILE;
                since.elapsed() >= PATIENCE
            }
            None => {
                state.output_since = Some((Instant::now(), WORTHWHILE));
                if !state.is_reading {
                    self.output.notify_one();
                }
                false
            }
        }
    }

    /// Something has come from the other side.
    pub(crate) fn hear(&self) {
        self.heard.store(u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn silence(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
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

    /// Nothing is read any more, so that no hook sees a frame of this connection after it is told of its end.
    pub(crate) fn let_go(&self) {
        if self.is_let_go.swap(true, Ordering::Relaxed) {
            return;
        }
        self.tell_disconnected();
        self.rpc.shared.remove(self);
        self.set_status(Status::Over);
    }

    pub(crate) fn was_greeted(&self) -> bool {
        self.codec.get().is_some()
    }

    pub(crate) fn format(&self) -> Format {
        self.codec.get().map_or(Format::Json, |codec| codec.format())
    }

    // ---- writing ----

    /// Reports what was written and takes what is to be written next; says whether that is text, and whether the connection is
    /// over once all is written.
    fn take_output(&self, written: Option<Taken>) -> (Option<Bytes>, bool, bool) {
        let mut state = self.lock();
        if let Some(written) = written {
            state.core.handle_written(written.length);
            state.core.reuse(written.bytes);
        }
        let bytes = state.core.poll_transmit();
        state.output_since = None;
        let has_room = !state.core.is_congested();
        let taken = (bytes, state.core.codec().is_text(), state.core.is_over());
        // Under the lock, as its counterpart is: nobody begins to wait for room between the two.
        let has_waited = has_room && self.is_congested.swap(false, Ordering::Relaxed);
        drop(state);
        if has_waited {
            self.room.notify_waiters();
        }
        taken
    }

    /// Waits until senders may send.
    pub(crate) async fn room(&self) {
        // A handler that sends and sends would otherwise never let go of its thread.
        tokio::task::coop::consume_budget().await;
        if !self.has_room() {
            // Apart, so that calls stay small: there mostly is room.
            Box::pin(self.until_room()).await;
        }
    }

    fn has_room(&self) -> bool {
        !self.is_congested.load(Ordering::Relaxed) || self.look(|core| !core.is_congested() || core.is_closing())
    }

    /// The same for whoever lets go of its thread in another way.
    pub(crate) async fn until_room(&self) {
        while !self.has_room() {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if !self.has_room() {
                room.await;
            }
        }
    }

    /// Waits until no call of the other peer waits for its reply. Each reply is written, so that each write is time to look.
    pub(crate) async fn answered(&self) {
        loop {
            let written = self.room.notified();
            tokio::pin!(written);
            written.as_mut().enable();
            {
                let state = self.lock();
                if state.core.incoming() == 0 || state.core.is_closing() {
                    return;
                }
                // Whoever writes next is to say so, as to a sender that waits for room.
                self.is_congested.store(true, Ordering::Relaxed);
            }
            written.await;
        }
    }

    // ---- reading ----

    /// Handles whole frames in the buffer, if need be not all of them. r[call.progress] No handler runs here.
    pub(crate) fn receive(self: &Arc<Self>, buffer: &mut BytesMut, deframer: &mut Deframer) -> Received {
        let mut deferred = Deferred::default();
        let mut state = self.lock();
        while self.codec.get().is_none() && !state.core.is_closing() {
            match deframer.next_frame(buffer, state.core.frame_limit()) {
                Ok(Some(frame)) => state.core.handle_frame(frame),
                Ok(None) => break,
                Err(_) => state.core.handle_oversized(),
            }
            state = self.take_events(state, &mut deferred);
        }
        drop(state);
        let before = buffer.len();
        let (inputs, is_all) = self.decode(buffer, deframer);
        let received = Received { frames: inputs.len(), bytes: before - buffer.len(), is_all };
        let mut state = self.lock();
        state.is_reading = true;
        state.expected = 0;
        for input in inputs {
            match input {
                Some(message) => state.core.handle_message(message),
                None => state.core.handle_oversized(),
            }
            state = self.take_events(state, &mut deferred);
        }
        let first = state.take_woken();
        self.settle(state, false);
        self.wake_readers(first);
        for action in deferred.others {
            match action {
                Action::Start(key, handler, call) => channel::serve(self, key, handler, call),
                // r[error.method-missing] r[middleware.missing]
                Action::Missing(key) => {
                    _ = self.reply(key, Reply::Error(RemoteError::of(Code::METHOD_NOT_FOUND)));
                    self.release(key);
                }
            }
        }
        single::serve(self, deferred.starts);
        received
    }

    /// Wakes the readers for whom something has come, this one first. It may come before the others are woken, on this very
    /// processor: then it wakes them itself, and does not wait for each in turn.
    fn wake_readers(&self, first: Option<Waker>) {
        let Some(first) = first else { return };
        first.wake();
        let others = std::mem::take(&mut self.lock().woken);
        others.into_iter().for_each(Waker::wake);
    }

    /// From now on the writer is told of output again; says whether there is some.
    fn end_reading(&self) -> bool {
        let mut state = self.lock();
        state.is_reading = false;
        state.core.has_output()
    }

    /// Decodes whole frames in the buffer, while nobody waits for the lock, and says whether that was all of them; `None` for one that
    /// is too long. What comes behind one that ends the connection is not looked at.
    fn decode(&self, buffer: &mut BytesMut, deframer: &mut Deframer) -> (Vec<Option<Result<Message, Undecodable>>>, bool) {
        let Some(codec) = self.codec.get() else { return (Vec::new(), true) };
        let mut inputs = Vec::new();
        let limits = &self.rpc.settings().limits;
        let enough = buffer.len().saturating_sub(BYTES_AT_ONCE);
        loop {
            if inputs.len() == FRAMES_AT_ONCE || (buffer.len() < enough && !inputs.is_empty()) {
                return (inputs, false);
            }
            let Some(frame) = deframer.next_frame(buffer, limits.frame).transpose() else { break };
            if inputs.is_empty() {
                inputs.reserve((buffer.len() / SMALL_FRAME).min(FRAMES_AT_ONCE) + 1);
            }
            match frame {
                // r[framing.keepalive]
                Ok(frame) if frame.is_empty() => {}
                Ok(frame) => inputs.push(Some(codec.decode(frame, limits.depth))),
                Err(_) => inputs.push(None),
            }
            if matches!(inputs.last(), Some(None | Some(Err(_)))) {
                break;
            }
        }
        (inputs, true)
    }

    fn take_events<'a>(&'a self, mut state: MutexGuard<'a, State>, deferred: &mut Deferred) -> MutexGuard<'a, State> {
        while let Some(event) = state.core.poll_event() {
            let passes_hooks = matches!(event, Event::Request { .. } | Event::Reply { .. }) && self.has_hooks();
            if !passes_hooks {
                self.accept(&mut state, event, deferred);
                continue;
            }
            self.settle(state, false);
            let event = self.pass_inbound(event);
            state = self.lock();
            if let Some(event) = event {
                self.accept(&mut state, event, deferred);
            }
        }
        state
    }

    fn accept(&self, state: &mut State, event: Event, deferred: &mut Deferred) {
        match event {
            Event::Request { key, first: true, frame } => {
                let method = state.core.method(key).and_then(|method| {
                    // r[callback.scope] Only this connection's callbacks are looked at.
                    if method.starts_with(CALLBACK_PREFIX) {
                        state.callbacks.get(method).cloned()
                    } else {
                        self.rpc.method(method)
                    }
                });
                match (method, frame) {
                    (Some(Method::Value(handler)), ArgFrame::Last(argument)) if !self.has_hooks() => {
                        deferred.starts.push(Start { key, handler, argument });
                    }
                    (method, frame) => {
                        state.deliver_request(key, frame);
                        let call = state.served.get(&key).cloned();
                        let start = |method: Method| Action::Start(key, method.handler(), call);
                        deferred.others.push(method.map_or(Action::Missing(key), start));
                    }
                }
            }
            Event::Request { key, first: false, frame } => {
                state.deliver_request(key, frame);
            }
            Event::Reply { id, frame } => {
                state.expected += usize::from(frame.is_terminal());
                state.deliver_reply(id, frame);
            }
            Event::Ready => {
                self.codec.get_or_init(|| Arc::clone(state.core.codec()));
                self.info.set_codec(state.core.codec().name());
            }
            // The rest shows in the core's state.
            _ => {}
        }
    }

    pub(crate) fn poll_args(&self, key: ServeKey, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        match state.core.read_args(key) {
            Read::Pending => {
                let before = state.core.wait_for_args(key, cx.waker());
                pending(state, before)
            }
            read => {
                self.note_read(&state, Half::Args(key));
                Poll::Ready(read)
            }
        }
    }

    pub(crate) fn poll_reply(&self, id: Id, cx: &mut Context<'_>) -> Poll<Read> {
        let mut state = self.lock();
        match state.core.read_reply(id) {
            Read::Pending => {
                let before = state.core.wait_for_reply(id, cx.waker());
                pending(state, before)
            }
            read => {
                self.note_read(&state, Half::Results(id));
                Poll::Ready(read)
            }
        }
    }

    /// The one result of a call, and whether it is one of many; the call is let go with it.
    pub(crate) fn poll_result(&self, id: Id, cx: &mut Context<'_>) -> Poll<(Read, bool)> {
        let mut state = self.lock();
        match state.core.take_result(id) {
            None => {
                let before = state.core.wait_for_reply(id, cx.waker());
                pending(state, before)
            }
            Some(result) => {
                let others = std::mem::take(&mut state.woken);
                self.settle(state, false);
                others.into_iter().for_each(Waker::wake);
                Poll::Ready(result)
            }
        }
    }

    /// A handler has ended: its call gets the reply that it left out, and is let go. r[call.reply.default]
    pub(crate) fn finish(&self, key: ServeKey, has_returned: bool) {
        if has_returned && self.look(|core| core.is_unanswered(key) && !core.has_streamed(key)) {
            self.log(key, |method| tracing::warn!(method, "a handler returned and had sent nothing"));
        }
        let mut state = self.lock();
        if self.has_hooks() && state.core.is_unanswered(key) {
            let reply = left_out(&state.core, key, has_returned);
            drop(state);
            _ = self.reply(key, reply);
            return self.release(key);
        }
        if state.core.is_unanswered(key) {
            let reply = left_out(&state.core, key, has_returned);
            let ext = state.core.ext(key).cloned();
            _ = state.core.reply(key, &reply, ext.as_ref());
        }
        self.release_in(state, key);
    }

    /// Calls with one frame; whoever waits for the reply is woken when [`Link::poll_result`] has it.
    pub(crate) fn call_once(&self, method: &str, argument: &Raw, ext: Option<&Ext>, cx: &Context<'_>) -> Result<Id, SendError> {
        let mut state = self.lock();
        let id = state.core.call_once(method, argument, ext, cx.waker())?;
        // The last of a burst, as long as the one before.
        let is_lone = if state.expected == 0 { is_only_call(&state.core) } else { state.expected == 1 };
        state.expected = state.expected.saturating_sub(1);
        self.settle(state, is_lone);
        Ok(id)
    }

    /// Sends the replies of handlers that are done, and lets go of their calls.
    pub(crate) fn answer(&self, answered: &mut Vec<Answered>) {
        if answered.is_empty() {
            return;
        }
        let replies: Vec<(ServeKey, Option<Reply>)> = answered
            .drain(..)
            .map(|(key, result)| match result {
                Ok(result) => (key, Some(Reply::Result(result))),
                Err(error) => (key, channel::failure(error, self, key).map(|error| self.in_format(Reply::Error(error)))),
            })
            .collect();
        let mut state = self.lock();
        for (key, reply) in replies {
            match reply {
                // r[ext.reply] r[ext.none]
                Some(reply) => _ = state.core.answer(key, &reply),
                None => {
                    state.core.abandon(key);
                    state.core.release(key);
                }
            }
        }
        let is_lone = is_last_reply(&state.core);
        self.settle(state, is_lone);
    }

    /// A handler lets go of its call.
    pub(crate) fn release(&self, key: ServeKey) {
        self.release_in(self.lock(), key);
    }

    fn release_in(&self, mut state: MutexGuard<'_, State>, key: ServeKey) {
        // What hooks keep with a call is dropped without the lock: it may ask for the connection. So may a reader.
        let _reader = state.core.release(key);
        let ended = Self::take_ended(&mut state);
        let _served = state.served.remove(&key);
        let is_lone = is_last_reply(&state.core);
        self.settle(state, is_lone);
        self.tell(ended);
    }

    /// A caller lets go of its call.
    pub(crate) fn forget(&self, id: Id) {
        let mut state = self.lock();
        let _reader = state.core.forget(id);
        self.settle(state, false);
    }

    // ---- callbacks ----

    pub(crate) fn add_callback(&self, name: Arc<str>, method: Method) {
        let mut state = self.lock();
        if !state.core.is_closing() {
            state.callbacks.insert(name, method);
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
            let reply = self.in_format(reply);
            let mut state = self.lock();
            // r[ext.reply] r[ext.none]
            let ext = state.core.ext(key).cloned();
            let sent = state.core.reply(key, &reply, ext.as_ref());
            let is_lone = is_last_reply(&state.core);
            self.settle(state, is_lone);
            return sent;
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

/// Lets go of a reader that waited before without the lock: it may ask for the connection.
fn pending<T>(state: MutexGuard<'_, State>, before: Option<Waker>) -> Poll<T> {
    drop(state);
    drop(before);
    Poll::Pending
}

/// The reply of a handler that sent none: a stream that it just left has ended, everything else has failed.
fn left_out(core: &Connection, key: ServeKey, has_returned: bool) -> Reply {
    if has_returned && core.has_streamed(key) { Reply::End } else { Reply::Error(RemoteError::of(Code::FAILED)) }
}

/// Whether nothing else is under way that could add to the write of a call.
fn is_only_call(core: &Connection) -> bool {
    core.outgoing() < 2 && core.incoming() < 2
}

/// Whether no other reply is to be expected at once, so that one is not worth keeping for a common write.
fn is_last_reply(core: &Connection) -> bool {
    core.incoming() == 0 && core.outgoing() < 2
}

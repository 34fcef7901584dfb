//! One connection: the greeting, both tables of calls, and what each frame does to them.
//!
//! **After every `handle_*` call, take every event from [`Connection::poll_event`] before the next frame goes in, and answer each
//! [`Event::Request`] and [`Event::Reply`] with `deliver_*`, a terminal reply or a failure; then write what
//! [`Connection::poll_transmit`] gives until it gives nothing.**
//!
//! ```text
//! loop {
//!     connection.handle_frame(next frame)                     // or handle_end, handle_oversized, handle_*_timeout
//!     while let Some(event) = connection.poll_event() { … }   // run hooks, then deliver_request / reply / deliver_reply
//!     while let Some(bytes) = connection.poll_transmit() { write(bytes); connection.handle_written(bytes.len()) }
//!     while let Some(ended) = connection.poll_ended() { … }   // tell those that saw the call begin
//!     connection.poll_woken()                                 // wake those who waited for something to read
//!     if connection.is_over() { end the writing side }
//! }
//! ```
//!
//! Four families of methods: getters; `handle_*` (what came in); commands; `poll_*` (what goes out).
//! Hooks are not here: an event stands between a frame's effect on the tables and its delivery, and that is where they run.

mod caller;
mod commands;
mod frames;
mod inbox;
mod provider;
mod table;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::Waker;

use bytes::{BufMut, Bytes, BytesMut};
use duplex_spec::{Code, Id};

pub use self::commands::{Delivery, Reply, SendError};
pub use self::inbox::{Backlog, Failure, Read};
pub use self::provider::ServeKey;
use crate::codec::{Body, Codec, Message, Outgoing, Undecodable};
use crate::error::RemoteError;
use crate::ext::Ext;
use crate::framing::Framing;
use crate::greeting::{self, Refusal};
use crate::limits::Limits;
use crate::value::{Format, Raw};
use caller::Caller;
use provider::Provider;

/// A peer's part in the greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends the greeting.
    Initiator,
    /// Waits for it.
    Acceptor,
}

/// What a connection starts with.
#[derive(Clone, Debug)]
pub struct Config {
    /// The part in the greeting.
    pub role: Role,
    /// How frames lie in the byte stream.
    pub framing: Framing,
    /// An acceptor speaks all of these; an initiator offers the first. Must not be empty.
    pub codecs: Vec<Arc<dyn Codec>>,
    /// What is refused.
    pub limits: Limits,
}

/// What happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The greeting is through: calls can be made.
    Ready,
    /// The other peer's request, or a further frame of one. Run hooks, then [`Connection::deliver_request`], and start the
    /// handler if it is the first; or reply at once.
    Request {
        /// Names the call from now on.
        key: ServeKey,
        /// Whether a handler has to be started.
        first: bool,
        /// What the frame carries.
        frame: ArgFrame,
    },
    /// A further request frame was not valid: the call has been ended, and its handler is to look. No hook sees it.
    ArgsFailed {
        /// The call.
        key: ServeKey,
    },
    /// A frame of a reply to one of our calls. Run hooks, then [`Connection::deliver_reply`].
    Reply {
        /// The call.
        id: Id,
        /// What the frame carries.
        frame: ReplyFrame,
    },
    /// Something that was dropped, or that ended a call without its handler knowing. For people.
    Dropped(&'static str),
    /// The other peer sends nothing more. Handlers are to be told; complete calls can still be answered.
    InputEnded,
    /// The connection is over but for what is left to write. Nothing is handled any more.
    Closing(EndReason),
}

/// What a request frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgFrame {
    /// An argument, more follow.
    Item(Raw),
    /// The last or only argument.
    Last(Raw),
    /// The end of the arguments, without an item.
    End,
    /// The caller gave its arguments up.
    Aborted(Option<RemoteError>),
}

/// What a reply frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyFrame {
    /// An item, more follow.
    Item(Raw),
    /// The last item or only result.
    Last(Raw),
    /// The end of the results, without an item.
    End,
    /// An error.
    Error(RemoteError),
    /// Not a valid reply: no hook sees it.
    Bad(&'static str),
}

impl ReplyFrame {
    /// Whether the call is over with this frame.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        !matches!(self, Self::Item(_))
    }
}

/// A call that has ended, or a notification that its handler let go. Those that saw its first frame are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// One that this peer served: its terminal reply is decided.
    Served(ServeKey, CallEnd),
    /// One that this peer made: its terminal reply was delivered, or none will be.
    Called(Id, CallEnd),
}

/// The end of arguments that nobody sent: the reply came before, or the call was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EarlyEnd {
    /// The call.
    pub id: Id,
    /// Its method.
    pub method: Arc<str>,
    /// Whether the arguments are aborted; they just end otherwise, after a terminal reply.
    pub is_abort: bool,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEnd {
    /// With a result, the end of a stream, or, for a notification, with its handler.
    Result,
    /// With an error reply of this code.
    Error(Code),
    /// Without a reply that counts, by the caller's own doing: it gave up, a hook failed, the reply was none.
    Local,
    /// With the connection.
    Closed,
}

impl CallEnd {
    /// What a terminal reply ends a call with.
    #[must_use]
    pub fn of(reply: &Reply) -> Self {
        match reply {
            Reply::Result(_) | Reply::End => Self::Result,
            Reply::Error(error) => Self::Error(error.code),
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndReason {
    /// This peer closed it.
    Local,
    /// The other peer ended it.
    Remote,
    /// The other peer refused our greeting, with this answer.
    Refused(String),
    /// We refused the other peer's greeting.
    Refuses(Refusal),
    /// The greeting took too long.
    GreetingTimeout,
    /// A frame could not be decoded.
    Undecodable(String),
    /// A frame was over the limit, which is this many bytes.
    TooLong(usize),
    /// A limit of the connection was hit: its name.
    Limit(&'static str),
    /// The transport failed.
    Transport,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("closed by this peer"),
            Self::Remote => f.write_str("closed by the other peer"),
            Self::Refused(answer) => write!(f, "the other peer refused the greeting: {answer}"),
            Self::Refuses(refusal) => write!(f, "the other peer's greeting was refused: {refusal}"),
            Self::GreetingTimeout => f.write_str("the greeting took too long"),
            Self::Undecodable(why) => write!(f, "the other peer sent what is no message: {why}"),
            Self::TooLong(limit) => write!(f, "the other peer sent a frame over the limit of {limit} bytes"),
            Self::Limit(name) => write!(f, "the limit `{name}` was passed"),
            Self::Transport => f.write_str("the transport failed"),
        }
    }
}

/// Bytes that wait to be written, from which on senders wait.
const CONGESTED: usize = 256 * 1024;
/// Memory that is kept for later output at most.
const REUSED: usize = 32 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Greeting,
    Open,
    /// Flushes, handles nothing.
    Closing,
}

/// The state of one connection: plain data, so that a clone goes on by itself from where this one is.
#[derive(Clone, Debug)]
pub struct Connection {
    role: Role,
    framing: Framing,
    codecs: Vec<Arc<dyn Codec>>,
    codec: Arc<dyn Codec>,
    limits: Limits,
    phase: Phase,
    input_ended: bool,
    /// Why the connection closes as soon as the replies that are due are out.
    flushing: Option<EndReason>,
    reason: Option<EndReason>,
    out: BytesMut,
    /// Where the next output goes, once this is taken.
    spare: BytesMut,
    /// The lengths of the frames in `out`, where the transport has to be given one at a time.
    messages: VecDeque<usize>,
    /// Bytes handed out by `poll_transmit` and not reported written.
    in_flight: usize,
    events: VecDeque<Event>,
    provider: Provider,
    caller: Caller,
    buffered_bytes: usize,
    /// What the last request called.
    last_method: Arc<str>,
    /// Ends of arguments that are due, if they are left to the user of the connection.
    early_ends: Option<Vec<EarlyEnd>>,
}

impl Connection {
    /// A connection before its greeting. An initiator's greeting is ready to be written.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let codec = Arc::clone(config.codecs.first().expect("invariant: a peer speaks at least one codec"));
        let mut connection = Self {
            role: config.role,
            framing: config.framing,
            codecs: config.codecs,
            codec,
            limits: config.limits,
            phase: Phase::Greeting,
            input_ended: false,
            flushing: None,
            reason: None,
            out: BytesMut::new(),
            spare: BytesMut::new(),
            messages: VecDeque::new(),
            in_flight: 0,
            events: VecDeque::new(),
            provider: Provider::default(),
            caller: Caller::default(),
            buffered_bytes: 0,
            last_method: Arc::default(),
            early_ends: None,
        };
        if config.role == Role::Initiator {
            let offer = greeting::offer(connection.codec.name());
            connection.put_frame(|out| out.put_slice(offer.as_bytes()));
        }
        connection
    }

    // ---- getters ----

    /// The codec of the connection; before the greeting is through, the first of its own.
    #[must_use]
    pub fn codec(&self) -> &Arc<dyn Codec> {
        &self.codec
    }

    /// How values are encoded on this connection.
    #[must_use]
    pub fn format(&self) -> Format {
        self.codec.format()
    }

    /// The longest frame that may come next, in bytes.
    #[must_use]
    pub fn frame_limit(&self) -> usize {
        match (self.phase, self.role) {
            (Phase::Greeting, Role::Acceptor) => self.limits.greeting_frame,
            (Phase::Greeting, Role::Initiator) => greeting::MAX_ANSWER, // r[greeting.answer.size]
            _ => self.limits.frame,
        }
    }

    /// The limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the greeting is still under way.
    #[must_use]
    pub fn is_greeting(&self) -> bool {
        self.phase == Phase::Greeting
    }

    /// Why the connection is over, once it is.
    #[must_use]
    pub fn end_reason(&self) -> Option<&EndReason> {
        self.reason.as_ref()
    }

    /// Whether nothing is handled any more.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Whether the connection is about to close for what the other peer sent. Frames are ignored from then on; let handlers
    /// that can answer at once do so, then call [`Connection::handle_flushed`]. r[message.undecodable.flush]
    #[must_use]
    pub fn is_flushing(&self) -> bool {
        self.flushing.is_some()
    }

    /// Whether [`Connection::poll_transmit`] has something.
    #[must_use]
    pub fn has_output(&self) -> bool {
        !self.out.is_empty() || !self.messages.is_empty()
    }

    /// Whether the other peer has ended its side.
    #[must_use]
    pub fn is_input_ended(&self) -> bool {
        self.input_ended
    }

    /// Whether nothing is handled any more and all is written: the writing side can end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Closing && self.outbound_bytes() == 0 && self.messages.is_empty()
    }

    /// Bytes that [`Connection::poll_transmit`] would give.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.out.len()
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn outbound_bytes(&self) -> usize {
        self.out.len() + self.in_flight
    }

    /// Whether senders that can wait should: long before the limit, so that a reply does not queue behind a whole flood.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.outbound_bytes() >= (self.limits.outbound_bytes / 2).min(CONGESTED)
    }

    /// Calls of the other peer that wait for their reply.
    #[must_use]
    pub fn incoming(&self) -> usize {
        self.provider.unanswered()
    }

    /// Our calls that wait for their reply.
    #[must_use]
    pub fn outgoing(&self) -> usize {
        self.caller.pending()
    }

    /// Calls and notifications that a handler holds.
    #[must_use]
    pub fn handlers(&self) -> usize {
        self.provider.held()
    }

    /// Ids of answered calls whose frames are discarded up to the last.
    #[must_use]
    pub fn draining(&self) -> usize {
        self.provider.draining()
    }

    /// Bytes of items that came in and were not read.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    // ---- input ----

    /// One frame has come.
    pub fn handle_frame(&mut self, frame: Bytes) {
        // r[framing.keepalive]
        if frame.is_empty() || self.flushing.is_some() {
            return;
        }
        match (self.phase, self.role) {
            // r[close.local.after] r[greeting.refuse.close]
            (Phase::Closing, _) => {}
            (Phase::Greeting, Role::Acceptor) => self.greeted(&frame),
            (Phase::Greeting, Role::Initiator) => self.answered(&frame),
            (Phase::Open, _) => self.handle_message(self.codec.decode(frame, self.limits.depth)),
        }
    }

    /// One frame has come, and was decoded elsewhere: not empty, with [`Connection::codec`] and the depth of the limits, and
    /// only after the greeting.
    pub fn handle_message(&mut self, message: Result<Message, Undecodable>) {
        if self.flushing.is_some() || self.phase != Phase::Open {
            return;
        }
        match message {
            Ok(message) => self.message(message),
            // r[message.undecodable]
            Err(error) => self.begin_flushing(EndReason::Undecodable(error.0.into_owned())),
        }
    }

    /// A frame is longer than [`Connection::frame_limit`].
    pub fn handle_oversized(&mut self) {
        match (self.phase, self.role) {
            (Phase::Closing, _) => {}
            // r[greeting.refuse.size]
            (Phase::Greeting, Role::Acceptor) => self.refuse(Refusal::TooLong),
            (Phase::Greeting, Role::Initiator) => {
                self.begin_closing(EndReason::Refused("an answer that is longer than any should be".to_owned()));
            }
            // r[framing.size.over]
            (Phase::Open, _) => self.begin_flushing(EndReason::TooLong(self.limits.frame)),
        }
    }

    /// Handlers that could answer at once have had their turn since [`Connection::is_flushing`]: now the connection closes.
    pub fn handle_flushed(&mut self) {
        if let Some(reason) = self.flushing.take() {
            self.begin_closing(reason);
        }
    }

    /// The other peer has ended its side: every whole frame has been handled. r[close.before-end]
    pub fn handle_end(&mut self) {
        self.handle_flushed();
        if self.phase == Phase::Closing || self.input_ended {
            return;
        }
        self.input_ended = true;
        // r[close.pending] r[close.half.pending]
        self.fail_calls();
        // r[close.args] A call whose arguments will never be complete is not answered.
        for key in self.provider.keys() {
            let is_incomplete = self.provider.get(key).is_some_and(|serving| serving.args_open);
            if is_incomplete {
                self.fail_args(key, Failure::Closed);
                self.provider.end_args(key);
                self.provider.end_reply(key, CallEnd::Closed);
            }
        }
        self.provider.end_all_drains();
        self.events.push_back(Event::InputEnded);
        self.finish_half_closed();
    }

    /// The transport has failed: nothing can be written any more.
    pub fn handle_transport_failure(&mut self) {
        self.begin_closing(EndReason::Transport);
        self.out.clear();
        self.messages.clear();
        self.in_flight = 0;
    }

    /// The greeting time has passed. r[greeting.timeout]
    pub fn handle_greeting_timeout(&mut self) {
        if self.phase == Phase::Greeting {
            self.out.clear();
            self.messages.clear();
            self.begin_closing(EndReason::GreetingTimeout);
        }
    }

    /// The closing time has passed since the input ended: what is unanswered stays so.
    pub fn handle_closing_timeout(&mut self) {
        self.begin_closing(EndReason::Remote);
    }

    /// Bytes from [`Connection::poll_transmit`] have been written.
    pub fn handle_written(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    /// Takes back the memory of what has been written, for what is to be written next. Nothing depends on it but the time that it
    /// takes to ask for memory anew.
    pub fn reuse(&mut self, written: Bytes) {
        let Ok(mut memory) = written.try_into_mut() else { return };
        memory.clear();
        if !memory.try_reclaim(REUSED + 1) {
            // One is enough while nothing is put out as another is written.
            let has_memory = !self.out.is_empty() || self.out.try_reclaim(1);
            *(if has_memory { &mut self.spare } else { &mut self.out }) = memory;
        }
    }

    // ---- output ----

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next call that has ended, each once, in order for either side. r[middleware.end-once]
    pub fn poll_ended(&mut self) -> Option<Ended> {
        self.provider.next_ended().or_else(|| self.caller.next_ended())
    }

    /// The readers that waited, and for whom something has come since this was asked last. Whoever wakes them lets go of the
    /// connection first.
    pub fn poll_woken(&mut self) -> Vec<Waker> {
        let mut readers = std::mem::take(&mut self.caller.woken);
        readers.append(&mut self.provider.woken);
        readers
    }

    /// Ends of arguments that are due since this was asked last: pass each through the hooks, and give it to
    /// [`Connection::send_early_end`]. None unless [`Connection::leave_early_ends`] was called.
    pub fn poll_early_ends(&mut self) -> Vec<EarlyEnd> {
        self.early_ends.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Everything that is to be written now, whole frames only; with [`Framing::Message`] one frame, which can be empty.
    /// r[framing.atomic]
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = match self.framing {
            Framing::Message => self.messages.pop_front().map(|length| self.out.split_to(length).freeze())?,
            _ if self.out.is_empty() => return None,
            // Much is not kept, and what is left of its memory is used up first.
            _ if self.out.len() > REUSED => self.out.split().freeze(),
            _ => std::mem::replace(&mut self.out, std::mem::take(&mut self.spare)).freeze(),
        };
        self.in_flight += bytes.len();
        Some(bytes)
    }

    // ---- greeting ----

    fn greeted(&mut self, frame: &[u8]) {
        let codec = match greeting::parse(frame) {
            Ok(name) => self.codecs.iter().find(|codec| codec.name() == name).cloned(),
            Err(refusal) => return self.refuse(refusal),
        };
        // r[greeting.refuse.codec]
        let Some(codec) = codec.filter(|codec| greeting::can_carry(self.framing, codec.is_text())) else {
            return self.refuse(Refusal::Codec);
        };
        self.codec = codec;
        // r[greeting.accept] r[greeting.accept.first]
        self.put_frame(|out| out.put_slice(greeting::ACCEPTED));
        self.phase = Phase::Open;
        self.events.push_back(Event::Ready);
    }

    fn answered(&mut self, frame: &[u8]) {
        // r[greeting.accept.rest-ignored]
        if frame.first() == Some(&b'+') {
            self.phase = Phase::Open;
            self.events.push_back(Event::Ready);
        } else {
            // r[greeting.refused.initiator]
            self.begin_closing(EndReason::Refused(frame.escape_ascii().to_string()));
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.put_frame(|out| out.put_slice(refusal.frame()));
        self.begin_closing(EndReason::Refuses(refusal));
    }

    // ---- ending ----

    fn begin_flushing(&mut self, reason: EndReason) {
        self.flushing = Some(reason);
    }

    fn begin_closing(&mut self, reason: EndReason) {
        if self.phase == Phase::Closing {
            return;
        }
        self.phase = Phase::Closing;
        self.reason = Some(reason.clone());
        self.fail_calls();
        for key in self.provider.keys() {
            self.fail_args(key, Failure::Closed);
            self.provider.end_args(key);
            self.provider.end_reply(key, CallEnd::Closed);
        }
        self.provider.end_all_drains();
        self.events.push_back(Event::Closing(reason));
    }

    fn fail_calls(&mut self) {
        for id in self.caller.ids() {
            if self.caller.end_reply(id) {
                self.fail_reply(id, Failure::Closed);
                self.caller.tell(id, CallEnd::Closed);
            }
            if let Some(call) = self.caller.get_mut(id) {
                call.args_open = false;
            }
        }
    }

    /// After the end of the input a connection lives only for the replies that are due. r[close.half]
    fn finish_half_closed(&mut self) {
        if self.input_ended && self.provider.unanswered() == 0 {
            self.begin_closing(EndReason::Remote);
        }
    }

    // ---- writing ----

    /// Writes a frame that does not depend on a codec and is always short.
    fn put_frame(&mut self, write: impl FnOnce(&mut BytesMut)) {
        let start = self.out.len();
        self.framing.append(&mut self.out, usize::MAX, write).expect("invariant: greeting frames are short");
        self.note_message(start);
    }

    /// Encodes a message into the outbound buffer; the buffer is as before if the frame would be too long.
    fn put_message(&mut self, message: &Outgoing<'_>) -> Result<(), SendError> {
        let (codec, limit, start) = (&self.codec, self.limits.frame, self.out.len());
        self.framing.append(&mut self.out, limit, |out| codec.encode(message, out)).map_err(|_| SendError::TooLarge)?;
        self.note_message(start);
        Ok(())
    }

    /// Whether a message is no larger than frames may be.
    fn fits(&self, message: &Outgoing<'_>) -> bool {
        let mut bytes = BytesMut::new();
        self.codec.encode(message, &mut bytes);
        bytes.len() <= self.limits.frame
    }

    fn note_message(&mut self, start: usize) {
        if self.framing == Framing::Message {
            self.messages.push_back(self.out.len() - start);
        }
    }

    /// Writes a frame that nobody can wait for; closes the connection when even the outbound limit is passed.
    fn put_urgent(&mut self, message: &Outgoing<'_>) {
        // Such a frame holds nothing of anybody's choice that could be long, but for the ext, which matters less than the frame.
        if self.put_message(message).is_err() {
            _ = self.put_message(&Outgoing { ext: None, ..*message });
        }
        self.check_outbound();
    }

    /// r[limit.outbound-bytes] Whoever can wait has waited long before.
    fn check_outbound(&mut self) {
        if self.outbound_bytes() > self.limits.outbound_bytes.saturating_add(self.limits.frame) {
            self.begin_closing(EndReason::Limit("outbound_bytes"));
        }
    }

    /// An error reply that this connection makes itself.
    fn put_error(&mut self, id: Id, code: Code, ext: Option<&Ext>) {
        let error = RemoteError::of(code);
        self.put_urgent(&Outgoing { id: Some(id), body: Body::Error(&error), more: None, ext });
    }

    // ---- inboxes ----

    fn fail_args(&mut self, key: ServeKey, failure: Failure) {
        if let Some(serving) = self.provider.get_mut(key) {
            let reader = serving.inbox.end(Err(failure));
            self.provider.woken.extend(reader);
        }
    }

    fn fail_reply(&mut self, id: Id, failure: Failure) {
        if let Some(call) = self.caller.get_mut(id) {
            let reader = call.inbox.end(Err(failure));
            self.caller.woken.extend(reader);
        }
    }
}

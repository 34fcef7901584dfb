//! What the user of a connection makes it do: replies, calls, deliveries after hooks, closing.

use std::sync::Arc;
use std::task::Waker;

use duplex_spec::{Code, Id};

use super::caller::Calling;
use super::inbox::{Backlog, Inbox, Read};
use super::provider::ServeKey;
use super::{ArgFrame, CallEnd, Connection, EarlyEnd, EndReason, Failure, ReplyFrame};
use crate::codec::{Body, Outgoing};
use crate::error::RemoteError;
use crate::ext::Ext;
use crate::value::Raw;

/// A terminal reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The result, or the last item.
    Result(Raw),
    /// The end of a stream, without an item.
    End,
    /// An error.
    Error(RemoteError),
}

/// Why nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The connection is closed, or not yet greeted.
    #[error("the connection is closed")]
    Closed,
    /// This side of the call has ended.
    #[error("this side of the call has ended")]
    Ended,
    /// The frame would be over the limit.
    #[error("the frame would be larger than frames may be")]
    TooLarge,
}

/// What became of a frame that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It can be read.
    Delivered,
    /// It can be read, and its reader has come to be far behind: more than half of the items that may wait unread do, or a quarter
    /// of the bytes. Said once, until half of that is left. Whoever feeds the connection does well to let readers have their turn, and not to wait for one that does not read.
    Crowded,
    /// Nobody can read it any more.
    Ignored,
    /// It passed a limit, and the call is over. r[limit.buffered-items.over]
    Overflow,
}

impl Connection {
    // ---- the provider's side ----

    /// The method of a served call.
    #[must_use]
    pub fn method(&self, key: ServeKey) -> Option<&Arc<str>> {
        self.provider.get(key).map(|serving| &serving.method)
    }

    /// The id of a served call; `None` for a notification or a call that is let go.
    #[must_use]
    pub fn id(&self, key: ServeKey) -> Option<Id> {
        self.provider.get(key).and_then(|serving| serving.id)
    }

    /// The ext of a served call: of its newest request frame, as the hooks left it.
    #[must_use]
    pub fn ext(&self, key: ServeKey) -> Option<&Ext> {
        self.provider.get(key).and_then(|serving| serving.ext.as_deref())
    }

    /// Whether the terminal reply of a served call is still to come.
    #[must_use]
    pub fn is_unanswered(&self, key: ServeKey) -> bool {
        self.provider.get(key).is_some_and(|serving| serving.reply_open)
    }

    /// Whether the handler of a served call has streamed items.
    #[must_use]
    pub fn has_streamed(&self, key: ServeKey) -> bool {
        self.provider.get(key).is_some_and(|serving| serving.streamed)
    }

    /// Sets the ext of a served call. r[middleware.ext]
    pub fn set_ext(&mut self, key: ServeKey, ext: Option<Ext>) {
        if let Some(serving) = self.provider.get_mut(key) {
            serving.ext = ext.map(Box::new);
        }
    }

    /// Puts a request frame where the handler reads it.
    pub fn deliver_request(&mut self, key: ServeKey, frame: ArgFrame) -> Delivery {
        let (items, total) = (self.limits.buffered_items, self.limits.buffered_bytes);
        let buffered = self.buffered_bytes;
        let Some(serving) = self.provider.get_mut(key) else { return Delivery::Ignored };
        let (item, end) = match frame {
            ArgFrame::Item(item) => (Some(item), None),
            ArgFrame::Last(item) => (Some(item), Some(Ok(()))),
            ArgFrame::End => (None, Some(Ok(()))),
            ArgFrame::Aborted(error) => (None, Some(Err(Failure::Aborted(error)))),
        };
        let (before, mut reader) = (serving.inbox.bytes(), None);
        if let Some(item) = item {
            if serving.id.is_some() && !serving.reply_open {
                return Delivery::Ignored;
            }
            if serving.inbox.len() >= items || buffered.saturating_add(item.bytes().len()) > total {
                self.overflow(key, end.is_some());
                return Delivery::Overflow;
            }
            reader = serving.inbox.push(item);
        }
        let is_crowded = serving.inbox.begins_to_crowd(items, total);
        if let Some(end) = end {
            reader = serving.inbox.end(within(end, buffered, total)).or(reader);
        }
        self.buffered_bytes += serving.inbox.bytes() - before;
        self.provider.woken.extend(reader);
        if is_crowded { Delivery::Crowded } else { Delivery::Delivered }
    }

    /// A request frame that would not fit any more: the call ends, its arguments are discarded, and no hook has a say.
    /// r[limit.buffered-items.over] r[middleware.refused.reply]
    fn overflow(&mut self, key: ServeKey, is_complete: bool) {
        let Some(serving) = self.provider.get_mut(key) else { return };
        let reader = serving.inbox.end(Err(Failure::Overflow));
        serving.args_open = !is_complete;
        let (id, ext) = (serving.id.filter(|_| serving.reply_open), serving.ext.clone());
        self.provider.woken.extend(reader);
        self.provider.end_reply(key, CallEnd::Error(Code::OVERFLOW));
        if let Some(id) = id {
            self.put_error(id, Code::OVERFLOW, ext.as_deref());
        }
        self.check_draining();
    }

    /// Reads the arguments of a served call.
    pub fn read_args(&mut self, key: ServeKey) -> Read {
        let Some(serving) = self.provider.get_mut(key) else { return Read::Failed(Failure::Closed) };
        let before = serving.inbox.bytes();
        let read = serving.inbox.read();
        self.buffered_bytes -= before - serving.inbox.bytes();
        serving.inbox.look_again(self.limits.buffered_items, self.limits.buffered_bytes);
        read
    }

    /// Has this reader of a served call's arguments among [`Connection::poll_woken`] once there is something to read. Gives back
    /// one that waited before, which is not woken: like all wakers it is best dropped without a lock.
    pub fn wait_for_args(&mut self, key: ServeKey, reader: &Waker) -> Option<Waker> {
        self.provider.get_mut(key).and_then(|serving| serving.inbox.wait(reader))
    }

    /// What waits to be read of the arguments of a served call.
    #[must_use]
    pub fn unread_args(&self, key: ServeKey) -> Backlog {
        self.provider.get(key).map(|serving| serving.inbox.backlog()).unwrap_or_default()
    }

    /// Makes the arguments of a served call fail for its handler, as when a hook answered in its place.
    pub fn fail_handler(&mut self, key: ServeKey, failure: Failure) {
        if let Some(serving) = self.provider.get_mut(key) {
            let reader = serving.inbox.end(Err(failure));
            self.provider.woken.extend(reader);
        }
    }

    /// Sends an item of a result stream, with this ext. A notification's items go nowhere.
    ///
    /// # Errors
    /// [`SendError::Ended`] after the terminal reply. [`SendError::TooLarge`]: the call has been ended with -32603.
    pub fn send_item(&mut self, key: ServeKey, payload: &Raw, ext: Option<&Ext>) -> Result<(), SendError> {
        let Some(id) = self.replying(key)? else { return Ok(()) };
        let body = Body::Result(payload);
        // r[stream.result.more] r[call.reply.id]
        match self.put_message(&Outgoing { id: Some(id), body, more: Some(true), ext }) {
            Ok(()) => {
                if let Some(serving) = self.provider.get_mut(key) {
                    serving.streamed = true;
                }
                Ok(())
            }
            Err(error) => {
                self.end_unsendable(key, id, ext);
                Err(error)
            }
        }
    }

    /// Sends the terminal reply, with this ext. A notification's goes nowhere. Replies that nobody holds back while
    /// [`Connection::is_congested`] close the connection at the limit of outbound bytes.
    ///
    /// # Errors
    /// [`SendError::Ended`] after an earlier terminal reply. [`SendError::TooLarge`]: -32603 was sent instead.
    pub fn reply(&mut self, key: ServeKey, reply: &Reply, ext: Option<&Ext>) -> Result<(), SendError> {
        let Some(id) = self.replying(key)? else { return Ok(()) };
        match self.put_message(&terminal(id, reply, ext)) {
            // r[call.reply] r[call.reply.nothing-after]
            Ok(()) => {
                self.provider.end_reply(key, CallEnd::of(reply));
                self.check_draining();
                self.check_outbound();
                self.finish_half_closed();
                Ok(())
            }
            Err(error) => {
                self.end_unsendable(key, id, ext);
                Err(error)
            }
        }
    }

    /// Sends the terminal reply, with the ext of the call, and lets go of it: [`Connection::reply`] and [`Connection::release`] in
    /// one.
    ///
    /// # Errors
    /// As [`Connection::reply`].
    pub fn answer(&mut self, key: ServeKey, reply: &Reply) -> Result<(), SendError> {
        let complete = if self.is_closing() { None } else { self.provider.take_complete(key) };
        let Some((id, mut serving)) = complete else {
            let ext = self.ext(key).cloned();
            let sent = self.reply(key, reply, ext.as_ref());
            self.release(key);
            return sent;
        };
        self.provider.woken.extend(serving.inbox.take_reader());
        self.buffered_bytes -= serving.inbox.bytes();
        let sent = self.put_message(&terminal(id, reply, serving.ext.as_deref()));
        if sent.is_ok() {
            self.provider.put_ended(key, CallEnd::of(reply));
            self.check_outbound();
            self.finish_half_closed();
        } else {
            self.provider.put_ended(key, CallEnd::Error(Code::FAILED));
            self.end_unsendable(key, id, serving.ext.as_deref());
        }
        sent
    }

    /// Ends a served call without a reply: its handler gave up because the connection ended.
    pub fn abandon(&mut self, key: ServeKey) {
        self.provider.end_reply(key, CallEnd::Closed);
        self.finish_half_closed();
    }

    /// The handler lets go of a served call. One that is unanswered gets -32603. r[call.reply.default] Gives back a reader that
    /// waited, as [`Connection::wait_for_args`] does.
    pub fn release(&mut self, key: ServeKey) -> Option<Waker> {
        if let Some(serving) = self.provider.get(key)
            && serving.reply_open
            && !self.is_closing()
        {
            let ext = serving.ext.clone();
            _ = self.reply(key, &Reply::Error(RemoteError::of(Code::FAILED)), ext.as_deref());
        }
        let mut serving = self.provider.remove(key)?;
        self.buffered_bytes -= serving.inbox.bytes();
        serving.inbox.take_reader()
    }

    /// The id to reply to; `None` for a notification.
    fn replying(&self, key: ServeKey) -> Result<Option<Id>, SendError> {
        if self.is_closing() {
            return Err(SendError::Closed);
        }
        let Some(serving) = self.provider.get(key) else { return Err(SendError::Ended) };
        match serving.id {
            // r[call.notification]
            None => Ok(None),
            Some(id) if serving.reply_open => Ok(Some(id)),
            Some(_) => Err(SendError::Ended),
        }
    }

    /// r[error.unsendable]
    fn end_unsendable(&mut self, key: ServeKey, id: Id, ext: Option<&Ext>) {
        let ext = ext.filter(|ext| ext.raw().bytes().len() <= self.limits.ext);
        // Before the frame, which can close the connection.
        self.provider.end_reply(key, CallEnd::Error(Code::FAILED));
        self.put_error(id, Code::FAILED, ext);
        self.check_draining();
        self.finish_half_closed();
    }

    // ---- the caller's side ----

    /// Sends a notification. r[call.notify]
    ///
    /// # Errors
    /// When the connection is closed or the frame would be too large.
    pub fn notify(&mut self, method: &str, payload: &Raw, ext: Option<&Ext>) -> Result<(), SendError> {
        self.check_calling()?;
        self.put_message(&Outgoing { id: None, body: Body::Request(method, payload), more: None, ext })
    }

    /// Opens a call with its first frame: `more` says whether further arguments follow; no payload is an empty stream.
    ///
    /// # Errors
    /// When the connection is closed or the frame would be too large; nothing is sent then and no id is used.
    pub fn call(&mut self, method: &Arc<str>, payload: Option<&Raw>, more: bool, ext: Option<&Ext>) -> Result<Id, SendError> {
        self.check_calling()?;
        let more = more && payload.is_some();
        let id = self.caller.next_id().ok_or(SendError::Closed)?;
        let (body, member) = match payload {
            Some(payload) => (Body::Request(method, payload), more.then_some(true)),
            // r[stream.args.empty]
            None => (Body::RequestEnd(method), Some(false)),
        };
        // r[stream.abort.send] Arguments that could not be given up would leave the provider waiting.
        if more && !self.fits(&abort(id, method, &RemoteError::of(Code::ABORTED))) {
            return Err(SendError::TooLarge);
        }
        // r[call.send]
        self.put_message(&Outgoing { id: Some(id), body, more: member, ext })?;
        self.caller.open(id, Arc::clone(method), more, Inbox::default());
        Ok(id)
    }

    /// Calls with one frame, for this reader of the result. Nothing of the call is kept but that its reply is awaited: not its
    /// method either.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_once(&mut self, method: &str, payload: &Raw, ext: Option<&Ext>, reader: &Waker) -> Result<Id, SendError> {
        self.check_calling()?;
        let id = self.caller.next_id().ok_or(SendError::Closed)?;
        self.put_message(&Outgoing { id: Some(id), body: Body::Request(method, payload), more: None, ext })?;
        self.caller.open(id, Arc::default(), false, Inbox::of(reader));
        Ok(id)
    }

    /// Sends a further argument; the last if not `more`; no payload ends the arguments without one.
    ///
    /// # Errors
    /// When the arguments have ended, or the frame would be too large; the latter aborts the arguments and fails the call.
    pub fn send_arg(&mut self, id: Id, payload: Option<&Raw>, more: bool, ext: Option<&Ext>) -> Result<(), SendError> {
        let Some(call) = self.caller.get(id) else { return Err(SendError::Closed) };
        if !call.args_open {
            return Err(if self.is_closing() || self.input_ended { SendError::Closed } else { SendError::Ended });
        }
        let method = Arc::clone(&call.method);
        let body = payload.map_or(Body::RequestEnd(&method), |payload| Body::Request(&method, payload));
        let more = more && payload.is_some();
        // r[stream.args.more]
        match self.put_message(&Outgoing { id: Some(id), body, more: Some(more), ext }) {
            Ok(()) => {
                if let Some(call) = self.caller.get_mut(id) {
                    call.args_open = more;
                }
                Ok(())
            }
            Err(error) => {
                // r[call.unsendable]
                self.fail_call(id, Failure::Unsendable);
                Err(error)
            }
        }
    }

    /// Aborts the arguments of a call, with this ext. Its reply is still awaited. r[stream.abort.send]
    ///
    /// # Errors
    /// When the arguments have ended.
    pub fn abort(&mut self, id: Id, error: &RemoteError, ext: Option<&Ext>) -> Result<(), SendError> {
        let Some(call) = self.caller.get_mut(id) else { return Err(SendError::Closed) };
        if !std::mem::replace(&mut call.args_open, false) {
            return Err(SendError::Ended);
        }
        let method = Arc::clone(&call.method);
        match self.put_message(&Outgoing { ext, ..abort(id, &method, error) }) {
            // The end of the arguments matters more than what is said about it.
            Err(SendError::TooLarge) => self.put_message(&abort(id, &method, &RemoteError::of(Code::ABORTED))),
            sent => sent,
        }
    }

    /// Leaves the ends of arguments that nobody sent to [`Connection::poll_early_ends`], as they have to pass hooks first.
    pub fn leave_early_ends(&mut self) {
        self.early_ends.get_or_insert_default();
    }

    /// Sends the end of arguments that nobody sent, with this ext.
    pub fn send_early_end(&mut self, end: &EarlyEnd, ext: Option<&Ext>) {
        if !self.is_closing() {
            // What hooks say about it matters less than that it is sent.
            let ext = ext.filter(|ext| ext.raw().bytes().len() <= self.limits.ext);
            self.put_early_end(end, ext);
        }
    }

    /// The ext of the newest reply to a call.
    #[must_use]
    pub fn reply_ext(&self, id: Id) -> Option<&Ext> {
        self.caller.get(id).and_then(|call| call.reply_ext.as_deref())
    }

    /// Whether items of a stream have come in reply to a call, before its terminal reply.
    #[must_use]
    pub fn has_reply_streamed(&self, id: Id) -> bool {
        self.caller.get(id).is_some_and(|call| call.streamed)
    }

    /// Sets the ext that the user of a call is shown.
    pub fn set_reply_ext(&mut self, id: Id, ext: Option<Ext>) {
        if let Some(call) = self.caller.get_mut(id) {
            call.reply_ext = ext.map(Box::new);
        }
    }

    /// The method of a call.
    #[must_use]
    pub fn called_method(&self, id: Id) -> Option<&Arc<str>> {
        self.caller.get(id).map(|call| &call.method)
    }

    /// Puts a reply frame where the user of the call reads it.
    pub fn deliver_reply(&mut self, id: Id, frame: ReplyFrame) -> Delivery {
        let (items, total) = (self.limits.buffered_items, self.limits.buffered_bytes);
        let buffered = self.buffered_bytes;
        let told = match &frame {
            ReplyFrame::Error(error) => CallEnd::Error(error.code),
            ReplyFrame::Bad(_) => CallEnd::Local,
            _ => CallEnd::Result,
        };
        let Some(call) = self.caller.get_mut(id) else { return Delivery::Ignored };
        let (item, end) = match frame {
            ReplyFrame::Item(item) => (Some(item), None),
            ReplyFrame::Last(item) => (Some(item), Some(Ok(()))),
            ReplyFrame::End => (None, Some(Ok(()))),
            ReplyFrame::Error(error) => (None, Some(Err(Failure::Remote(error)))),
            ReplyFrame::Bad(why) => (None, Some(Err(Failure::BadReply(why)))),
        };
        let (before, mut reader) = (call.inbox.bytes(), None);
        if let Some(item) = item {
            if call.inbox.len() >= items || buffered.saturating_add(item.bytes().len()) > total {
                self.fail_call(id, Failure::Overflow);
                return Delivery::Overflow;
            }
            reader = call.inbox.push(item);
        }
        let is_crowded = call.inbox.begins_to_crowd(items, total);
        let is_end = end.is_some();
        if let Some(end) = end {
            reader = call.inbox.end(within(end, buffered, total)).or(reader);
        }
        self.buffered_bytes += call.inbox.bytes() - before;
        if is_end && call.begin_telling() {
            self.caller.put_ended(id, told);
        }
        self.caller.woken.extend(reader);
        if is_crowded { Delivery::Crowded } else { Delivery::Delivered }
    }

    /// Fails a call locally, as when a hook failed. The other peer hears of it only if arguments were open.
    pub fn fail_call(&mut self, id: Id, failure: Failure) {
        self.fail_reply(id, failure);
        self.caller.tell(id, CallEnd::Local);
        self.caller.end_reply(id);
        self.end_args_early(id, true);
    }

    /// Completes a call locally, as when a hook answered in the provider's place. Later replies are ignored.
    pub fn complete_call(&mut self, id: Id, frame: ReplyFrame) {
        self.deliver_reply(id, frame);
        self.caller.end_reply(id);
        self.end_args_early(id, true);
    }

    /// Reads the results of a call.
    pub fn read_reply(&mut self, id: Id) -> Read {
        let Some(call) = self.caller.get_mut(id) else { return Read::Failed(Failure::Closed) };
        let before = call.inbox.bytes();
        let read = call.inbox.read();
        self.buffered_bytes -= before - call.inbox.bytes();
        call.inbox.look_again(self.limits.buffered_items, self.limits.buffered_bytes);
        read
    }

    /// The same for the results of a call.
    pub fn wait_for_reply(&mut self, id: Id, reader: &Waker) -> Option<Waker> {
        self.caller.get_mut(id).and_then(|call| call.inbox.wait(reader))
    }

    /// What waits to be read of the results of a call.
    #[must_use]
    pub fn unread_results(&self, id: Id) -> Backlog {
        self.caller.get(id).map(|call| call.inbox.backlog()).unwrap_or_default()
    }

    /// Reads the one result of a call, says whether items of a stream came before it, and lets go of the call. `None`: nothing
    /// has come.
    pub fn take_result(&mut self, id: Id) -> Option<(Read, bool)> {
        if self.caller.get(id).is_some_and(|call| call.inbox.is_empty()) {
            return None;
        }
        let Some(mut call) = self.caller.remove(id) else { return Some((Read::Failed(Failure::Closed), false)) };
        let bytes = call.inbox.bytes();
        let read = call.inbox.read();
        self.buffered_bytes -= bytes - call.inbox.bytes();
        self.let_go(id, &call);
        Some((read, call.streamed))
    }

    /// The user lets go of a call. r[call.no-cancel] Only open arguments are worth a frame. Gives back a reader that waited, as
    /// [`Connection::wait_for_args`] does.
    pub fn forget(&mut self, id: Id) -> Option<Waker> {
        let mut call = self.caller.remove(id)?;
        self.let_go(id, &call);
        call.inbox.take_reader()
    }

    fn let_go(&mut self, id: Id, call: &Calling) {
        self.buffered_bytes -= call.inbox.bytes();
        if call.args_open {
            self.put_or_leave_early_end(EarlyEnd { id, method: Arc::clone(&call.method), is_abort: true });
        }
    }

    /// r[close.half.call]
    fn check_calling(&self) -> Result<(), SendError> {
        if self.is_closing() || self.input_ended || self.is_greeting() { Err(SendError::Closed) } else { Ok(()) }
    }

    // ---- the connection ----

    /// Closes the connection: what was accepted for sending is written, nothing more is handled. r[close.local]
    pub fn close(&mut self) {
        self.begin_closing(EndReason::Local);
    }

    /// Sends an empty frame, so that the other peer sees life. Never before the greeting is through. r[greeting.first]
    ///
    /// # Errors
    /// When the connection is closed or the greeting is not through.
    pub fn keepalive(&mut self) -> Result<(), SendError> {
        if self.is_closing() || self.is_greeting() {
            return Err(SendError::Closed);
        }
        self.put_frame(|_| {});
        Ok(())
    }
}

/// An end, without what the other side said of it where that is more than may wait unread. r[limit.buffered-bytes.over]
fn within(end: Result<(), Failure>, buffered: usize, limit: usize) -> Result<(), Failure> {
    match end {
        Err(failure) if buffered.saturating_add(failure.bytes()) > limit => Err(match failure {
            Failure::Aborted(_) => Failure::Aborted(None),
            _ => Failure::Overflow,
        }),
        end => end,
    }
}

/// The frame of a terminal reply.
fn terminal<'a>(id: Id, reply: &'a Reply, ext: Option<&'a Ext>) -> Outgoing<'a> {
    let body = match reply {
        Reply::Result(payload) => Body::Result(payload),
        Reply::End => Body::ResultEnd,
        Reply::Error(error) => Body::Error(error),
    };
    // r[message.more.false] r[message.more.error]
    let more = (!matches!(reply, Reply::Error(_))).then_some(false);
    Outgoing { id: Some(id), body, more, ext }
}

/// The frame that gives up the arguments of a call.
pub(super) fn abort<'a>(id: Id, method: &'a str, error: &'a RemoteError) -> Outgoing<'a> {
    Outgoing { id: Some(id), body: Body::RequestAbort(method, error), more: Some(false), ext: None }
}

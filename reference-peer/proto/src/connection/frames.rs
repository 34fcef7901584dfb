//! What each message does to the tables. The provider's side follows one table of states: free, arguments open, arguments
//! complete, draining.
//!
//! A frame changes the tables here, before any hook sees it; what hooks decide comes back as commands.

use std::borrow::Cow;
use std::sync::Arc;

use duplex_spec::{Code, Id};

use super::commands::abort;
use super::provider::{IdState, ServeKey};
use super::{ArgFrame, CallEnd, Connection, EarlyEnd, EndReason, Event, Failure, ReplyFrame};
use crate::codec::{Body, ErrorMember, IdMember, Kind, Message, More, Outgoing};
use crate::error::RemoteError;
use crate::ext::Ext;
use crate::value::{Format, Raw};

impl Connection {
    pub(super) fn message(&mut self, message: Message) {
        match message.kind {
            Kind::Request => match message.id {
                IdMember::Absent => self.notification(message),
                IdMember::Valid(id) => self.request(id, message),
                // r[message.id.invalid]
                IdMember::Invalid => self.dropped("a request whose id is no id"),
            },
            Kind::Reply => match message.id {
                IdMember::Valid(id) => self.reply_frame(id, message),
                // r[call.reply.unknown]
                IdMember::Absent | IdMember::Invalid => self.dropped("a reply without an id"),
            },
            // r[message.type.unknown]
            Kind::Unknown => self.dropped("a message of unknown type"),
        }
    }

    fn dropped(&mut self, what: &'static str) {
        self.events.push_back(Event::Dropped(what));
    }

    // ---- requests ----

    fn notification(&mut self, message: Message) {
        let Some(method) = self.method_of(&message) else {
            // r[message.invalid.notification] `error` is not looked at: r[message.error.notification]
            return self.dropped("a notification without a method");
        };
        // r[call.notification.more] r[ext.size.notification]
        if message.more != More::No || self.is_ext_too_large(&message) {
            return self.dropped("a notification that is not valid");
        }
        // r[limit.open-calls.over] There is nobody to tell.
        if self.is_full() {
            return self.dropped("a notification beyond the limit of open calls");
        }
        let frame = first_argument(message.more, message.end, message.payload);
        let key = self.provider.start(None, method, message.ext, false);
        self.events.push_back(Event::Request { key, first: true, frame });
    }

    fn request(&mut self, id: Id, message: Message) {
        match self.provider.id_state(id) {
            None => self.first_frame(id, message),
            Some(IdState::Draining) => self.drained_frame(id, &message),
            Some(IdState::Serving(key)) => {
                if self.provider.get(key).is_some_and(|serving| serving.args_open) {
                    self.continuation(id, key, message);
                } else {
                    // r[call.duplicate]
                    self.dropped("a request frame on an id whose arguments are complete");
                }
            }
        }
    }

    fn first_frame(&mut self, id: Id, message: Message) {
        // r[stream.abort.first] `error` is not looked at here.
        let method = self.method_of(&message);
        // r[message.method.invalid] r[message.more.invalid] r[ext.size]
        let Some(method) = method.filter(|_| message.more != More::Invalid && !self.is_ext_too_large(&message)) else {
            return self.reject(id, Code::INVALID_REQUEST, message.more != More::No);
        };
        // r[limit.open-calls.over]
        if self.is_full() {
            return self.reject(id, Code::TOO_MANY_CALLS, message.more == More::Yes);
        }
        let frame = first_argument(message.more, message.end, message.payload);
        let key = self.provider.start(Some(id), method, message.ext, message.more == More::Yes);
        self.events.push_back(Event::Request { key, first: true, frame });
    }

    /// Answers a call that never starts, past all hooks. r[stream.args.invalid-first] r[middleware.refused]
    fn reject(&mut self, id: Id, code: Code, is_open: bool) {
        if is_open {
            self.provider.drain(id);
        }
        self.put_error(id, code, None);
        self.check_draining();
    }

    fn drained_frame(&mut self, id: Id, message: &Message) {
        // An abort ends a stream whatever its `more` says; a malformed `more` ends nothing. r[stream.early]
        if message.more == More::No || message.error != ErrorMember::Absent {
            self.provider.end_drain(id);
        }
    }

    fn continuation(&mut self, id: Id, key: ServeKey, message: Message) {
        // r[stream.args.method] `method` is not looked at here.
        let is_itemless_end = message.is_itemless_end();
        let is_ext_too_large = self.is_ext_too_large(&message);
        let frame = match message.error {
            // r[stream.abort] r[stream.abort.wins]
            ErrorMember::Error(error) => ArgFrame::Aborted(Some(*error)),
            ErrorMember::Malformed => ArgFrame::Aborted(None),
            ErrorMember::Absent => {
                if message.more == More::Invalid || is_ext_too_large {
                    return self.invalid_continuation(id, key, message.more);
                }
                match message.more {
                    More::Yes => ArgFrame::Item(message.payload),
                    _ if is_itemless_end => ArgFrame::End,
                    _ => ArgFrame::Last(message.payload),
                }
            }
        };
        if let Some(serving) = self.provider.get_mut(key) {
            // r[ext.newest] r[ext.sticky] r[ext.size.abort]
            if let Some(ext) = message.ext.filter(|_| !is_ext_too_large) {
                serving.ext = Some(ext);
            }
            serving.args_open = matches!(frame, ArgFrame::Item(_));
        }
        self.events.push_back(Event::Request { key, first: false, frame });
    }

    /// r[stream.args.invalid]
    fn invalid_continuation(&mut self, id: Id, key: ServeKey, more: More) {
        self.fail_args(key, Failure::Invalid);
        // r[stream.args.invalid.ends]
        if more == More::No {
            self.provider.end_args(key);
        }
        self.provider.end_reply(key, CallEnd::Error(Code::INVALID_REQUEST));
        self.put_error(id, Code::INVALID_REQUEST, None);
        self.check_draining();
        self.events.push_back(Event::ArgsFailed { key });
    }

    /// The method that a message names. Most name the one that the last one did.
    fn method_of(&mut self, message: &Message) -> Option<Arc<str>> {
        let text = text(message.method.as_ref()?)?;
        if *self.last_method != *text {
            self.last_method = Arc::from(text.as_ref());
        }
        Some(Arc::clone(&self.last_method))
    }

    fn is_full(&self) -> bool {
        // Handlers that answered and run on count too, but only once they are many more than ever could be open.
        self.provider.open() >= self.limits.open_calls || self.provider.held() >= self.limits.open_calls.saturating_mul(4)
    }

    fn is_ext_too_large(&self, message: &Message) -> bool {
        message.ext.as_ref().is_some_and(|ext| ext.raw().bytes().len() > self.limits.ext)
    }

    /// r[limit.draining]
    pub(super) fn check_draining(&mut self) {
        if self.provider.draining() > self.limits.draining_ids {
            self.begin_closing(EndReason::Limit("draining_ids"));
        }
    }

    // ---- replies ----

    fn reply_frame(&mut self, id: Id, message: Message) {
        let is_itemless_end = message.is_itemless_end();
        let frame = match (message.error, message.more) {
            // r[error.wins]
            (ErrorMember::Error(error), _) => ReplyFrame::Error(*error),
            // r[call.bad-reply]
            (ErrorMember::Malformed, _) => ReplyFrame::Bad("`error` is no map of `code` and `message`"),
            (ErrorMember::Absent, More::Invalid) => ReplyFrame::Bad("`more` is neither true, false nor null"),
            (ErrorMember::Absent, More::Yes) => ReplyFrame::Item(message.payload),
            (ErrorMember::Absent, More::No) if is_itemless_end => ReplyFrame::End,
            (ErrorMember::Absent, More::No) => ReplyFrame::Last(message.payload),
        };
        // r[ext.size.reply]
        let ext = message.ext.filter(|ext| ext.raw().bytes().len() <= self.limits.ext);
        let Some(args_open) = self.caller.replied(id, frame.is_terminal(), ext) else {
            // r[call.reply.unknown] r[call.reply.late] r[call.reply.to-reply]
            return self.dropped("a reply to no open call");
        };
        if args_open && frame.is_terminal() {
            self.end_args_early(id, matches!(frame, ReplyFrame::Bad(_)));
        }
        self.events.push_back(Event::Reply { id, frame });
    }

    /// Ends the request side of a call that is over: `end` after the provider's terminal, an abort in every other case.
    pub(super) fn end_args_early(&mut self, id: Id, is_abort: bool) {
        let Some(call) = self.caller.get_mut(id) else { return };
        if !std::mem::replace(&mut call.args_open, false) {
            return;
        }
        let method = Arc::clone(&call.method);
        self.put_or_leave_early_end(EarlyEnd { id, method, is_abort });
    }

    pub(super) fn put_or_leave_early_end(&mut self, end: EarlyEnd) {
        if self.is_closing() {
            return;
        }
        match &mut self.early_ends {
            Some(due) => due.push(end),
            None => self.put_early_end(&end, None),
        }
    }

    pub(super) fn put_early_end(&mut self, end: &EarlyEnd, ext: Option<&Ext>) {
        let error = RemoteError::of(Code::ABORTED);
        // r[stream.early.caller] r[stream.abort.send]
        let mut frame = Outgoing { ext, ..abort(end.id, &end.method, &error) };
        if !end.is_abort {
            frame.body = Body::RequestEnd(&end.method);
        }
        self.put_urgent(&frame);
    }
}

/// What a first frame carries. `error` means nothing here, beside an `end` either. r[stream.abort.first]
fn first_argument(more: More, is_end: bool, payload: Raw) -> ArgFrame {
    if more == More::Yes {
        ArgFrame::Item(payload)
    } else if is_end && payload.is_null() {
        ArgFrame::End
    } else {
        ArgFrame::Last(payload)
    }
}

/// The text of an encoded string; `None` for any other value.
fn text(raw: &Raw) -> Option<Cow<'_, str>> {
    match raw.format() {
        Format::Json => crate::codec::json::string(raw.bytes()),
        Format::MessagePack => crate::codec::msgpack::string(raw.bytes()).map(Cow::Borrowed),
    }
}

//! How frames pass the hooks, and how hooks are told that a call has ended.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use duplex_proto::connection::{ArgFrame, CallEnd, EarlyEnd, Ended, Failure, Reply, ReplyFrame, SendError, ServeKey};
use duplex_proto::{Code, Event, Ext, Id, Raw, RemoteError};

use super::{Link, State, is_only_call};
use crate::call::{Call, Direction};
use crate::error::{BoxError, Error};
use crate::hook::{Hook, HookFrame, Part, Verdict};
use crate::middleware::CallSpan;

impl Link {
    pub(super) fn hooks(&self) -> &[Arc<dyn Hook>] {
        &self.rpc.settings().hooks
    }

    /// Passes an inbound frame through the hooks; `None` when one of them ended the call.
    pub(super) fn pass_inbound(&self, event: Event) -> Option<Event> {
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
        let method = method?;
        let call = if first { self.begin(key, &method) } else { self.call_served(key) };
        let Some(call) = call else {
            self.release(key);
            return None;
        };
        let mut frame = HookFrame::from_args(Arc::clone(&call), first, id, self.format(), ext, frame);
        for (index, hook) in self.hooks().iter().enumerate() {
            if first {
                call.see(index + 1);
            }
            let reply = match ask(&**hook, Hook::inbound_request, &mut frame) {
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
                self.release(key);
            }
            return None;
        }
        // r[middleware.ext]
        self.with(|core| core.set_ext(key, frame.ext.take()));
        Some(frame.into_args())
    }

    /// r[middleware.inbound-reply]
    fn pass_inbound_reply(&self, id: Id, frame: ReplyFrame) -> Option<ReplyFrame> {
        let (method, ext) = self.with(|core| (core.called_method(id).cloned(), core.reply_ext(id).cloned()));
        let method = method?;
        let call = self.call_made(id).unwrap_or_else(|| Call::new(self.id, Direction::Outbound, method));
        let mut frame = HookFrame::from_reply(call, Some(id), self.format(), ext, frame);
        for hook in self.hooks().iter().rev() {
            match ask(&**hook, Hook::inbound_reply, &mut frame) {
                Ok(Verdict::Pass) => {}
                Ok(verdict) => apply_verdict(&mut frame, verdict),
                // r[middleware.fail.caller]
                Err(_) => {
                    self.with(|core| core.fail_call(id, Failure::Hook));
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
    }

    /// Passes a request frame of ours through the hooks. `Ok(Err(reply))`: a hook answered in the provider's place.
    pub(crate) fn pass_outbound_request(&self, mut frame: HookFrame) -> Result<Result<HookFrame, ReplyFrame>, Error> {
        if frame.is_first() {
            frame.call.begin();
        }
        // r[middleware.outbound]
        for (index, hook) in self.hooks().iter().enumerate() {
            if frame.is_first() {
                frame.call.see(index + 1);
            }
            match ask(&**hook, Hook::outbound_request, &mut frame) {
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

    /// r[middleware.reverse]
    pub(super) fn send_through(&self, key: ServeKey, frame: ReplyFrame, hooks: &[Arc<dyn Hook>]) -> Result<(), SendError> {
        let (method, id, ext, is_open) =
            self.with(|core| (core.method(key).cloned(), core.id(key), core.ext(key).cloned(), core.is_unanswered(key)));
        let Some(method) = method else { return Err(SendError::Ended) };
        // r[call.notification] There is no reply that hooks could see; after the terminal there is none either.
        if !is_open {
            return if id.is_none() { Ok(()) } else { Err(SendError::Ended) };
        }
        let channel_ext = ext.clone();
        let call = self.call_served(key).unwrap_or_else(|| Call::new(self.id, Direction::Inbound, method));
        let mut frame = HookFrame::from_reply(call, id, self.format(), ext, frame);
        for hook in hooks.iter().rev() {
            match ask(&**hook, Hook::outbound_reply, &mut frame) {
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

    // ---- the end of a call ----

    /// A call of the other peer begins for the hooks. `None` when the connection closed meanwhile.
    fn begin(&self, key: ServeKey, method: &Arc<str>) -> Option<Arc<Call>> {
        let call = Call::new(self.id, Direction::Inbound, Arc::clone(method));
        let mut state = self.lock();
        // Its end would have been told before it began.
        if state.core.is_closing() {
            return None;
        }
        state.served.insert(key, Arc::clone(&call));
        Some(call)
    }

    /// A call of ours that hooks have seen is on its way: its end will be told.
    pub(crate) fn open_call(
        &self,
        call: &Arc<Call>,
        payload: Option<&Raw>,
        more: bool,
        ext: Option<&Ext>,
        own_ext: Option<&Ext>,
    ) -> Result<Id, SendError> {
        let mut state = self.lock();
        let opened = state.core.call(call.shared_method(), payload, more, ext);
        if let Ok(id) = opened
            && call.seen() > 0
        {
            state.called.insert(id, (Arc::clone(call), own_ext.cloned()));
        }
        let is_lone = !more && is_only_call(&state.core);
        self.settle(state, is_lone);
        opened
    }

    /// Writes to the log about a served call, by its method and inside its span.
    pub(crate) fn log(&self, key: ServeKey, write: impl FnOnce(&str)) {
        let method = self.look(|core| core.method(key).cloned()).unwrap_or_default();
        let span = self.call_served(key).and_then(|call| call.value::<CallSpan>());
        log(|| match span {
            Some(CallSpan(span)) => span.in_scope(|| write(&method)),
            None => write(&method),
        });
    }

    fn call_served(&self, key: ServeKey) -> Option<Arc<Call>> {
        self.lock().served.get(&key).cloned()
    }

    fn call_made(&self, id: Id) -> Option<Arc<Call>> {
        self.lock().called.get(&id).map(|(call, _)| Arc::clone(call))
    }

    /// The ends of arguments that are due, with what hooks know of their calls.
    pub(super) fn take_early_ends(&self, state: &mut State) -> Vec<(EarlyEnd, Arc<Call>, Option<Ext>)> {
        let due = state.core.poll_early_ends().into_iter();
        due.map(|end| {
            let known = state.called.get(&end.id).cloned();
            let (call, ext) = known.unwrap_or_else(|| (Call::new(self.id, Direction::Outbound, Arc::clone(&end.method)), None));
            (end, call, ext)
        })
        .collect()
    }

    /// Sends them through the outbound hooks. One that fails or answers has no say: the provider has to be told.
    /// r[middleware.outbound]
    pub(super) fn send_early_ends(&self, due: Vec<(EarlyEnd, Arc<Call>, Option<Ext>)>) {
        for (end, call, own_ext) in due {
            let args = if end.is_abort { ArgFrame::Aborted(Some(RemoteError::of(Code::ABORTED))) } else { ArgFrame::End };
            let frame = HookFrame::from_args(call, false, Some(end.id), self.format(), own_ext.clone(), args);
            let ext = match self.pass_outbound_request(frame) {
                Ok(Ok(frame)) => frame.ext,
                _ => own_ext,
            };
            self.with(|core| core.send_early_end(&end, ext.as_ref()));
        }
    }

    /// Those calls that have ended and that hooks are to be told of.
    pub(super) fn take_ended(state: &mut State) -> Vec<(Arc<Call>, CallEnd)> {
        let mut told = Vec::new();
        while let Some(ended) = state.core.poll_ended() {
            match ended {
                Ended::Served(key, end) if !state.served.is_empty() => {
                    told.extend(state.served.get(&key).map(|call| (Arc::clone(call), end)));
                }
                Ended::Called(id, end) if !state.called.is_empty() => {
                    told.extend(state.called.remove(&id).map(|(call, _)| (call, end)));
                }
                _ => {}
            }
        }
        told
    }

    pub(super) fn tell(&self, ended: Vec<(Arc<Call>, CallEnd)>) {
        for (call, end) in ended {
            self.tell_end(&call, end);
        }
    }

    /// Tells every hook that saw the first frame, the last one first. r[middleware.end-once]
    pub(crate) fn tell_end(&self, call: &Call, end: CallEnd) {
        if !call.is_untold() {
            return;
        }
        for hook in self.hooks().iter().take(call.seen()).rev() {
            tell(|| hook.ended(call, end));
        }
    }

    /// Tells every hook that the connection is over: no frame of it will pass any more.
    pub(crate) fn tell_disconnected(&self) {
        for hook in self.hooks().iter().rev() {
            tell(|| hook.disconnected(self.id));
        }
    }
}

/// Asks a hook about a frame. One that panics has failed: it runs where frames are read and handlers end, which has to go on. What
/// it failed with nobody is told but the log.
fn ask(
    hook: &dyn Hook,
    point: fn(&dyn Hook, &mut HookFrame) -> Result<Verdict, BoxError>,
    frame: &mut HookFrame,
) -> Result<Verdict, BoxError> {
    let verdict = catch_unwind(AssertUnwindSafe(|| point(hook, frame))).unwrap_or_else(|_| Err("it panicked".into()));
    if let Err(error) = &verdict {
        log(|| tracing::warn!(method = frame.method(), error = &**error as &dyn std::error::Error, "a hook failed"));
    }
    verdict
}

/// Tells a hook something. Nobody waits for what it makes of it.
fn tell(what: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(what)).is_err() {
        log(|| tracing::warn!("a hook that was told of an end panicked"));
    }
}

/// Whatever writes the log of the program, or the error that is written, may panic: that is no reason for a call to hang.
fn log(write: impl FnOnce()) {
    _ = catch_unwind(AssertUnwindSafe(write));
}

fn apply_verdict(frame: &mut HookFrame, verdict: Verdict) {
    match verdict {
        Verdict::Pass => {}
        Verdict::Answer(result) => {
            frame.payload = result;
            frame.error = None;
            frame.part = Part::Last;
        }
        Verdict::AnswerError(error) => {
            frame.error = Some(error);
            frame.part = Part::Error;
        }
    }
}

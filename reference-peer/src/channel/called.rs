//! The caller's side of a channel: what is sent for a call of ours, and what ends it before its reply does.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duplex_proto::connection::{ArgFrame, CallEnd, Failure, Read, ReplyFrame};
use duplex_proto::{Code, Ext, Id, RemoteError};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::call::{Call, Direction};
use crate::error::Error;
use crate::hook::HookFrame;
use crate::link::{Link, Status};

/// A call of ours; dropping the last reference gives it up.
pub(super) struct Called {
    pub(super) link: Arc<Link>,
    pub(super) call: Arc<Call>,
    pub(super) ext: Option<Ext>,
    /// When nobody waits any more.
    deadline: Option<Instant>,
    stage: Mutex<Stage>,
    opened: Notify,
    /// Held from a frame's first hook until it is written: of several tasks that send, one opens the call, and the order of
    /// frames is the order in which hooks saw them.
    turn: Mutex<()>,
}

enum Stage {
    /// Nothing was sent.
    Unopened,
    /// The first frame was sent.
    Open(Id),
    /// Nothing was sent, because a hook answered or failed, or the time was over.
    Local(VecDeque<Read>),
}

impl Called {
    pub(super) fn new(link: Arc<Link>, method: Arc<str>, ext: Option<Ext>, deadline: Option<Instant>) -> Self {
        let call = Call::new(link.id(), Direction::Outbound, method);
        Self { link, call, ext, deadline, stage: Mutex::new(Stage::Unopened), opened: Notify::new(), turn: Mutex::default() }
    }

    /// Does it before the deadline of the call, which is given up if it passes first.
    pub(super) async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        let Some(deadline) = self.deadline else { return Ok(work.await) };
        tokio::time::timeout_at(deadline, work).await.map_err(|_| {
            self.fail_locally(Failure::Timeout);
            Error::Timeout
        })
    }

    /// The next result.
    pub(super) async fn read(&self) -> Result<Read, Error> {
        self.in_time(self.next_result()).await
    }

    async fn next_result(&self) -> Read {
        let id = loop {
            let opened = self.opened.notified();
            match &mut *self.stage() {
                Stage::Open(id) => break *id,
                // A failure is read again and again, as one that the core noted.
                Stage::Local(reads) => match reads.front() {
                    Some(Read::Failed(failure)) => return Read::Failed(failure.clone()),
                    _ => return reads.pop_front().unwrap_or(Read::End),
                },
                // r[close.pending] Nothing can be opened any more.
                Stage::Unopened if self.link.status() >= Status::InputEnded => return Read::Failed(Failure::Closed),
                Stage::Unopened => {}
            }
            tokio::select! {
                () = opened => {}
                () = self.link.reached(Status::InputEnded) => {}
            }
        };
        poll_fn(|cx| self.link.poll_reply(id, cx)).await
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> Option<Id> {
        match &*self.stage() {
            Stage::Open(id) => Some(*id),
            Stage::Unopened | Stage::Local(_) => None,
        }
    }

    pub(super) fn send(&self, frame: ArgFrame) -> Result<(), Error> {
        // A hook that panics leaves nothing half done here.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_open()?;
        let id = self.id();
        let (frame, ext) = match self.pass_hooks(id.is_none(), id, frame) {
            Ok(Ok(passed)) => passed,
            Ok(Err(reply)) => return self.end_locally(id, reply),
            Err(error) => {
                self.fail_locally(Failure::Hook);
                return Err(error);
            }
        };
        let (payload, more) = match &frame {
            ArgFrame::Item(item) => (Some(item), true),
            ArgFrame::Last(item) => (Some(item), false),
            _ => (None, false),
        };
        let mut stage = self.stage();
        match (&*stage, &frame) {
            (Stage::Open(id), ArgFrame::Aborted(error)) => {
                let error = error.clone().unwrap_or_else(|| RemoteError::of(Code::ABORTED));
                Ok(self.link.with(|core| core.abort(*id, &error, ext.as_ref()))?)
            }
            (Stage::Open(id), _) => Ok(self.link.with(|core| core.send_arg(*id, payload, more, ext.as_ref()))?),
            (Stage::Local(_), _) | (Stage::Unopened, ArgFrame::Aborted(_)) => Err(Error::Ended),
            (Stage::Unopened, _) => match self.link.open_call(&self.call, payload, more, ext.as_ref(), self.ext.as_ref()) {
                Ok(id) => {
                    *stage = Stage::Open(id);
                    drop(stage);
                    self.opened.notify_waiters();
                    Ok(())
                }
                Err(error) => {
                    drop(stage);
                    // Nothing was sent; a further attempt is a call of its own to nobody but the user.
                    self.link.tell_end(&self.call, CallEnd::Local);
                    Err(error.into())
                }
            },
        }
    }

    /// Whether there is anything left that hooks could see.
    pub(super) fn check_open(&self) -> Result<(), Error> {
        match &*self.stage() {
            Stage::Local(_) => Err(Error::Ended),
            _ if self.link.status() >= Status::InputEnded => Err(Error::Closed),
            _ => Ok(()),
        }
    }

    pub(super) fn pass_hooks(
        &self,
        is_first: bool,
        id: Option<Id>,
        frame: ArgFrame,
    ) -> Result<Result<(ArgFrame, Option<Ext>), ReplyFrame>, Error> {
        if !self.link.has_hooks() {
            return Ok(Ok((frame, self.ext.clone())));
        }
        let frame = HookFrame::from_args(Arc::clone(&self.call), is_first, id, self.link.format(), self.ext.clone(), frame);
        Ok(self.link.pass_outbound_request(frame)?.map(|mut frame| {
            let ext = frame.ext.take();
            (frame.into_args(), ext)
        }))
    }

    /// A hook answered in the provider's place.
    fn end_locally(&self, id: Option<Id>, reply: ReplyFrame) -> Result<(), Error> {
        if let Some(id) = id {
            self.link.with(|core| core.complete_call(id, reply));
        } else {
            let (read, end) = match reply {
                ReplyFrame::Last(result) => (Read::Item(result), CallEnd::Result),
                ReplyFrame::Error(error) => {
                    let end = CallEnd::Error(error.code);
                    (Read::Failed(Failure::Remote(error)), end)
                }
                _ => (Read::End, CallEnd::Result),
            };
            self.link.tell_end(&self.call, end);
            *self.stage() = Stage::Local(VecDeque::from([read]));
            self.opened.notify_waiters();
        }
        Ok(())
    }

    /// An argument has no encoding. Before the first frame there is no call yet that could fail.
    pub(super) fn fail_unsendable(&self) {
        if let Some(id) = self.id() {
            self.link.with(|core| core.fail_call(id, Failure::Unsendable));
        }
    }

    /// The call fails for a reason on this side. One that has ended stays as it is: the first end holds.
    fn fail_locally(&self, failure: Failure) {
        let mut stage = self.stage();
        match &*stage {
            Stage::Open(id) => {
                let id = *id;
                drop(stage);
                self.link.with(|core| core.fail_call(id, failure));
            }
            Stage::Unopened => {
                *stage = Stage::Local(VecDeque::from([Read::Failed(failure)]));
                drop(stage);
                self.link.tell_end(&self.call, CallEnd::Local);
                self.opened.notify_waiters();
            }
            Stage::Local(_) => {}
        }
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some(id) = self.id() {
            self.link.forget(id);
        }
    }
}

//! The calls that the other peer makes: what an id means on the wire, and what the handler still holds.
//!
//! Two tables, because the two live differently: an id is free again once both sides ended, while a handler may run on
//! after its reply; and a new call may take the id meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use duplex_spec::Id;

use super::inbox::{Failure, Inbox};
use super::table::Table;
use super::{CallEnd, Ended};
use crate::ext::Ext;

/// Names one served call or notification, for as long as its handler holds it. Never used twice on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServeKey(u64);

/// What an id stands for. An absent id is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdState {
    /// A call whose terminal reply was not sent.
    Serving(ServeKey),
    /// The terminal reply was sent, the arguments have not ended: frames are discarded up to the last.
    Draining,
}

/// One served call or notification, until its handler lets go.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    /// `None`: a notification.
    pub(crate) id: Option<Id>,
    pub(crate) method: Arc<str>,
    pub(crate) ext: Option<Box<Ext>>,
    pub(crate) args_open: bool,
    /// Whether the terminal reply can still be sent. A notification has none from the start.
    pub(crate) reply_open: bool,
    /// Whether results were streamed.
    pub(crate) streamed: bool,
    pub(crate) inbox: Inbox,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Provider {
    ids: Table<Id, IdState>,
    /// In memory of their own, as the caller's.
    serving: Table<ServeKey, Box<Serving>>,
    draining: usize,
    notifications: usize,
    last: u64,
    /// Calls that have ended, and notifications that were let go, in order.
    ended: VecDeque<Ended>,
    /// Readers that waited and can read now.
    pub(crate) woken: Vec<Waker>,
}

impl Provider {
    pub(crate) fn id_state(&self, id: Id) -> Option<IdState> {
        self.ids.get(&id).copied()
    }

    pub(crate) fn get(&self, key: ServeKey) -> Option<&Serving> {
        self.serving.get(&key).map(|serving| &**serving)
    }

    pub(crate) fn get_mut(&mut self, key: ServeKey) -> Option<&mut Serving> {
        self.serving.get_mut(&key).map(|serving| &mut **serving)
    }

    /// Calls that wait for their reply, and notifications whose handler runs. r[limit.open-calls.running] r[limit.open-calls.draining]
    pub(crate) fn open(&self) -> usize {
        self.unanswered() + self.notifications
    }

    /// Calls that wait for their reply.
    pub(crate) fn unanswered(&self) -> usize {
        self.ids.len() - self.draining
    }

    /// What handlers hold: calls and notifications, those answered already included.
    pub(crate) fn held(&self) -> usize {
        self.serving.len()
    }

    pub(crate) fn draining(&self) -> usize {
        self.draining
    }

    pub(crate) fn start(&mut self, id: Option<Id>, method: Arc<str>, ext: Option<Box<Ext>>, args_open: bool) -> ServeKey {
        self.last += 1;
        let key = ServeKey(self.last);
        match id {
            Some(id) => _ = self.ids.insert(id, IdState::Serving(key)),
            None => self.notifications += 1,
        }
        let inbox = Inbox::default();
        let serving = Serving { id, method, ext, args_open, reply_open: id.is_some(), streamed: false, inbox };
        self.serving.insert(key, Box::new(serving));
        key
    }

    /// The arguments are complete, or failed.
    pub(crate) fn end_args(&mut self, key: ServeKey) {
        if let Some(serving) = self.serving.get_mut(&key) {
            serving.args_open = false;
        }
    }

    /// The terminal reply is decided: the id is free, or drains while the arguments are open. r[stream.early]
    pub(crate) fn end_reply(&mut self, key: ServeKey, end: CallEnd) {
        let Some(serving) = self.serving.get_mut(&key) else { return };
        let Some(id) = serving.id.filter(|_| serving.reply_open) else { return };
        serving.reply_open = false;
        let args_open = std::mem::replace(&mut serving.args_open, false);
        // Even if the arguments are complete: a hook may hold the last of them.
        let reader = serving.inbox.end(Err(Failure::Answered));
        self.woken.extend(reader);
        if args_open {
            self.drain(id);
        } else {
            self.ids.remove(&id);
        }
        self.put_ended(key, end);
    }

    /// Discards what comes on this id, up to its last frame.
    pub(crate) fn drain(&mut self, id: Id) {
        if self.ids.insert(id, IdState::Draining) != Some(IdState::Draining) {
            self.draining += 1;
        }
    }

    /// The last frame of a discarded stream has come. r[stream.early.reuse]
    pub(crate) fn end_drain(&mut self, id: Id) {
        if self.ids.remove(&id) == Some(IdState::Draining) {
            self.draining -= 1;
        }
    }

    /// Nothing comes in any more: no discarded stream will end. r[close.forget]
    pub(crate) fn end_all_drains(&mut self) {
        if self.draining > 0 {
            self.ids.retain(|_, state| *state != IdState::Draining);
            self.draining = 0;
        }
    }

    /// Takes out a call whose arguments have ended and whose reply has not been sent: its handler answers and lets go at once.
    pub(crate) fn take_complete(&mut self, key: ServeKey) -> Option<(Id, Box<Serving>)> {
        let id = self.get(key).filter(|serving| serving.reply_open && !serving.args_open)?.id?;
        self.ids.remove(&id);
        self.serving.remove(&key).map(|serving| (id, serving))
    }

    /// The handler lets go. What it left unanswered must have been answered before.
    pub(crate) fn remove(&mut self, key: ServeKey) -> Option<Box<Serving>> {
        self.end_reply(key, CallEnd::Closed);
        let serving = self.serving.remove(&key)?;
        if serving.id.is_none() {
            self.notifications -= 1;
            self.put_ended(key, CallEnd::Result);
        }
        Some(serving)
    }

    /// Puts the end of a call among those that hooks are told.
    pub(crate) fn put_ended(&mut self, key: ServeKey, end: CallEnd) {
        self.ended.push_back(Ended::Served(key, end));
    }

    /// The next that has ended and was not told.
    pub(crate) fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    /// Everything that a handler holds, in the order in which it came.
    pub(crate) fn keys(&self) -> Vec<ServeKey> {
        self.serving.in_order()
    }
}

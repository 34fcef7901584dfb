//! The calls that this peer makes: one table, by id.
//!
//! An entry stays until its user lets go of it, so that results can be read after the call has ended on the wire.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use duplex_spec::Id;

use super::inbox::Inbox;
use super::table::Table;
use super::{CallEnd, Ended};
use crate::ext::Ext;

/// One call, from its first frame until its user lets go.
#[derive(Clone, Debug)]
pub(crate) struct Calling {
    pub(crate) method: Arc<str>,
    /// Whether the arguments can still be sent.
    pub(crate) args_open: bool,
    /// Whether a reply is still awaited on the wire.
    pub(crate) reply_open: bool,
    /// Whether the end of the call was put among those that hooks are told.
    is_told: bool,
    /// Whether items came before the terminal reply.
    pub(crate) streamed: bool,
    /// Results and how they ended, as the user reads them.
    pub(crate) inbox: Inbox,
    /// The ext of the newest reply.
    pub(crate) reply_ext: Option<Box<Ext>>,
}

impl Calling {
    /// Whether the end of the call is still to be told. It is not from now on.
    pub(crate) fn begin_telling(&mut self) -> bool {
        !std::mem::replace(&mut self.is_told, true)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// In memory of their own: a table of many is looked up in less of it, and entries are not moved.
    calls: Table<Id, Box<Calling>>,
    last: u64,
    /// How many await a reply.
    pending: usize,
    /// Calls that have ended for their user, in order.
    ended: VecDeque<Ended>,
    /// Readers that waited and can read now.
    pub(crate) woken: Vec<Waker>,
}

impl Caller {
    /// The id of the next call. `None` when the connection has used up its ids.
    pub(crate) fn next_id(&self) -> Option<Id> {
        // r[call.id.count] r[call.id.unique] One up from 1, never again.
        Id::new(self.last + 1)
    }

    /// Opens a call under the next id: its first frame is on the way.
    pub(crate) fn open(&mut self, id: Id, method: Arc<str>, args_open: bool, inbox: Inbox) {
        self.last = id.number();
        self.pending += 1;
        self.calls.insert(
            id,
            Box::new(Calling { method, args_open, reply_open: true, is_told: false, streamed: false, inbox, reply_ext: None }),
        );
    }

    pub(crate) fn get(&self, id: Id) -> Option<&Calling> {
        self.calls.get(&id).map(|call| &**call)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut Calling> {
        self.calls.get_mut(&id).map(|call| &mut **call)
    }

    /// A reply frame has come; says whether the arguments of its call are open. `None` where none is awaited.
    pub(crate) fn replied(&mut self, id: Id, is_terminal: bool, ext: Option<Box<Ext>>) -> Option<bool> {
        let call = self.calls.get_mut(&id).filter(|call| call.reply_open)?;
        call.reply_ext = ext;
        if is_terminal {
            call.reply_open = false;
            self.pending -= 1;
        } else {
            call.streamed = true;
        }
        Some(call.args_open)
    }

    /// Ends the reply side on the wire; says whether it was open.
    pub(crate) fn end_reply(&mut self, id: Id) -> bool {
        let Some(call) = self.get_mut(id).filter(|call| call.reply_open) else { return false };
        call.reply_open = false;
        self.pending -= 1;
        true
    }

    /// The call has ended for its user: its terminal reply has passed the hooks, or will never come.
    pub(crate) fn tell(&mut self, id: Id, end: CallEnd) {
        if self.get_mut(id).is_some_and(Calling::begin_telling) {
            self.put_ended(id, end);
        }
    }

    /// Puts the end of a call among those that hooks are told, once [`Calling::begin_telling`] has said yes.
    pub(crate) fn put_ended(&mut self, id: Id, end: CallEnd) {
        self.ended.push_back(Ended::Called(id, end));
    }

    /// The next that has ended and was not told.
    pub(crate) fn next_ended(&mut self) -> Option<Ended> {
        self.ended.pop_front()
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<Box<Calling>> {
        let call = self.calls.remove(&id)?;
        self.pending -= usize::from(call.reply_open);
        if !call.is_told {
            self.put_ended(id, CallEnd::Local);
        }
        Some(call)
    }

    /// Calls that await a reply or still send arguments.
    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Every call, in the order in which they were made.
    pub(crate) fn ids(&self) -> Vec<Id> {
        self.calls.in_order()
    }
}

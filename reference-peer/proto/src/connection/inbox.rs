//! What has come in on one channel and was not read yet: items, then how they ended.
//!
//! Bounded by its user: an inbox counts, and the connection decides at the limit.

use std::collections::VecDeque;
use std::task::Waker;

use crate::error::RemoteError;
use crate::value::Raw;

/// What reading a channel gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// An item, or the result.
    Item(Raw),
    /// The other side sent its last.
    End,
    /// The items ended otherwise. Every further read says so again.
    Failed(Failure),
    /// Nothing yet.
    Pending,
}

/// Why a channel's items ended before their time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The connection ended.
    Closed,
    /// The provider replied with an error.
    Remote(RemoteError),
    /// The caller aborted its arguments, with this error if it was well formed.
    Aborted(Option<RemoteError>),
    /// A later frame of the request was not valid.
    Invalid,
    /// The reply was not valid.
    BadReply(&'static str),
    /// More came than the limits let wait unread.
    Overflow,
    /// The handler's own reply has ended the call, and nothing more is read for it.
    Answered,
    /// A hook failed, or answered in the other side's place.
    Hook,
    /// An argument has no encoding, or does not fit a frame.
    Unsendable,
    /// The user waits no longer.
    Timeout,
}

impl Failure {
    /// The bytes of what the other side said of it, where that is worth counting.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = match self {
            Self::Remote(error) | Self::Aborted(Some(error)) => {
                error.message.len() + error.data.as_ref().map_or(0, |data| data.bytes().len())
            }
            _ => 0,
        };
        if bytes > SMALL { bytes } else { 0 }
    }
}

/// What waits unread on a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Items.
    pub items: usize,
    /// Whether the reader has fallen far behind, and not caught up by half since: [`Delivery::Crowded`](super::Delivery::Crowded).
    pub is_crowded: bool,
}

/// Items up to this many bytes are copied when they have to wait behind others: each would keep all that was read with it. Errors
/// up to this long are not counted: there is one for each call.
const SMALL: usize = 4096;

/// Unread items of one channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inbox {
    /// The first item, if no other came before it that is unread: most channels never have two.
    first: Option<Raw>,
    /// Those behind it: apart, as the failure.
    #[expect(clippy::box_collection, reason = "most channels have none, and every channel has room for it")]
    items: Option<Box<VecDeque<Raw>>>,
    /// Of the items, and of what an error of the other side says.
    bytes: usize,
    /// Whether its reader is far behind.
    is_crowded: bool,
    /// The reader, while it waits for something to read.
    reader: Option<Waker>,
    /// The failure apart: few channels have one, and every channel has room for it.
    end: Option<Result<(), Box<Failure>>>,
}

impl Inbox {
    /// An empty one whose reader waits already.
    pub(crate) fn of(reader: &Waker) -> Self {
        Self { reader: Some(reader.clone()), ..Self::default() }
    }

    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.items.as_ref().map_or(0, |items| items.len()) + usize::from(self.first.is_some())
    }

    /// Whether there is nothing to read, not even the end.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.end.is_none()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Who finds nothing to read waits. Gives back whoever waited before, if that was another.
    pub(crate) fn wait(&mut self, reader: &Waker) -> Option<Waker> {
        let is_the_same = self.reader.as_ref().is_some_and(|waiting| waiting.will_wake(reader));
        if is_the_same { None } else { self.reader.replace(reader.clone()) }
    }

    /// The reader, which waits no more.
    pub(crate) fn take_reader(&mut self) -> Option<Waker> {
        self.reader.take()
    }

    /// Gives back the reader if it waits, now that there is something to read.
    #[must_use]
    pub(crate) fn push(&mut self, item: Raw) -> Option<Waker> {
        if self.end.is_none() {
            self.bytes += item.bytes().len();
            if self.is_empty() {
                self.first = Some(item);
            } else {
                let item = if item.bytes().len() <= SMALL { item.detached() } else { item };
                self.items.get_or_insert_default().push_back(item);
            }
        }
        self.reader.take()
    }

    pub(crate) fn backlog(&self) -> Backlog {
        Backlog { items: self.len(), is_crowded: self.is_crowded }
    }

    /// Looks how far behind the reader is, given the limits of items and of bytes, which all channels have in common; says whether
    /// it is far behind from now on.
    pub(crate) fn begins_to_crowd(&mut self, items: usize, bytes: usize) -> bool {
        let was_crowded = self.is_crowded;
        self.is_crowded |= self.len() > items / 2 || self.bytes > bytes / 4;
        self.is_crowded && !was_crowded
    }

    /// Looks whether the reader has caught up, given the same limits.
    pub(crate) fn look_again(&mut self, items: usize, bytes: usize) {
        self.is_crowded &= self.len() > items / 4 || self.bytes > bytes / 8;
    }

    /// The first end holds. Gives back the reader if it waits, now that there is something to read.
    #[must_use]
    pub(crate) fn end(&mut self, end: Result<(), Failure>) -> Option<Waker> {
        if self.end.is_none() {
            self.bytes += end.as_ref().err().map_or(0, Failure::bytes);
            self.end = Some(end.map_err(Box::new));
        }
        self.reader.take()
    }

    /// The next item or the end; an item's bytes no longer count.
    pub(crate) fn read(&mut self) -> Read {
        if let Some(item) = self.first.take().or_else(|| self.items.as_mut()?.pop_front()) {
            self.bytes -= item.bytes().len();
            return Read::Item(item);
        }
        match &self.end {
            None => Read::Pending,
            Some(Ok(())) => Read::End,
            Some(Err(failure)) => {
                // It is read from now on; said again, it is the same.
                self.bytes = 0;
                Read::Failed(Failure::clone(failure))
            }
        }
    }
}

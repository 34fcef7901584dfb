//! Readers that fall behind: what comes for them waits unread, up to the limits. Reading pauses for one that is catching up, and for
//! no other.

use std::time::Duration;

use duplex_proto::Id;
use duplex_proto::connection::{ArgFrame, Backlog, Delivery, ReplyFrame, ServeKey};
use tokio::time::{Instant, timeout};

use super::{Link, State, Status};

/// How long one reader that is behind is waited for, if it reads; and how long it may take for its next item. It may be waiting to
/// send, and so for a reader on the other side.
const CATCH_UP: Duration = Duration::from_secs(1);
const NEXT_ITEM: Duration = Duration::from_millis(100);

/// What one side of a channel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Half {
    Args(ServeKey),
    Results(Id),
}

impl State {
    pub(super) fn deliver_request(&mut self, key: ServeKey, frame: ArgFrame) {
        if self.core.deliver_request(key, frame) == Delivery::Crowded {
            self.crowded.push(Half::Args(key));
        }
    }

    pub(super) fn deliver_reply(&mut self, id: Id, frame: ReplyFrame) {
        if self.core.deliver_reply(id, frame) == Delivery::Crowded {
            self.crowded.push(Half::Results(id));
        }
    }

    fn unread(&self, half: Half) -> Backlog {
        match half {
            Half::Args(key) => self.core.unread_args(key),
            Half::Results(id) => self.core.unread_results(id),
        }
    }
}

impl Link {
    /// Tells the connection if this is the reader that it waits for, and if it has caught up.
    pub(super) fn note_read(&self, state: &State, half: Half) {
        if state.crowded.last() == Some(&half) && !state.unread(half).is_crowded {
            self.caught_up.notify_one();
        }
    }

    /// Gives readers that have fallen behind the time to catch up, for as long as they do read. Nothing else is read meanwhile, so
    /// one that does not read is not waited for: the frame that it waits for may be behind. r[limit.buffered-items.over]
    pub(crate) async fn let_readers_catch_up(&self) {
        while let Some((half, mut before)) = self.first_behind() {
            let end = Instant::now() + CATCH_UP;
            while before.is_crowded {
                let was_told = timeout(NEXT_ITEM, self.caught_up.notified()).await.is_ok();
                let now = self.lock().unread(half);
                let is_late = now.items >= before.items || Instant::now() >= end;
                if !was_told && (is_late || self.status() >= Status::Closing) {
                    break;
                }
                before = now;
            }
            self.lock().crowded.retain(|other| *other != half);
        }
    }

    fn first_behind(&self) -> Option<(Half, Backlog)> {
        let state = self.lock();
        state.crowded.last().map(|half| (*half, state.unread(*half)))
    }
}

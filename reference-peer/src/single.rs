//! Calls of one value for one value, where no hook has to see them: most calls, and they need no channel.
//!
//! The caller's side waits on the connection's table itself. On the provider's side the handlers of all calls that were read
//! at once start in one task; only one that has to wait gets a task of its own. Everything else goes through `channel`.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Instant;

use duplex_proto::connection::{Read, ServeKey};
use duplex_proto::{Ext, Id, Raw};

use crate::error::{BoxError, Error};
use crate::handler::{Answer, ValueHandler};
use crate::link::{Link, PATIENCE};

/// Replies that are put out together at most.
const TOGETHER: usize = 32;
/// Bytes of them; a part of the limit of outbound bytes, where that is small.
const TOGETHER_BYTES: usize = 64 * 1024;
/// Handlers that are polled between two looks at the clock: most need less time than it does.
const UNTIMED: usize = 4;

/// Calls, and waits for the reply. Dropped before that, it gives the call up.
pub(crate) async fn call(link: &Arc<Link>, method: &str, argument: &Raw, ext: Option<&Ext>) -> Result<Raw, Error> {
    link.room().await;
    let mut pending = Pending { link, id: None };
    let (read, has_streamed) = poll_fn(|cx| match pending.id {
        Some(id) => link.poll_result(id, cx).map(Ok),
        None => match link.call_once(method, argument, ext, cx) {
            Ok(id) => {
                pending.id = Some(id);
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        },
    })
    .await?;
    // The link has let go of it.
    pending.id = None;
    match read {
        Read::Failed(failure) => Err(failure.into()),
        _ if has_streamed => Err(Error::Stream),
        Read::Item(item) => Ok(item),
        // r[stream.end.single]
        Read::End | Read::Pending => Ok(Raw::null(link.format())),
    }
}

struct Pending<'a> {
    link: &'a Link,
    id: Option<Id>,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.link.forget(id);
        }
    }
}

/// A call to be answered: its argument has come.
pub(crate) struct Start {
    pub(crate) key: ServeKey,
    pub(crate) handler: Arc<dyn ValueHandler>,
    pub(crate) argument: Raw,
}

/// What a handler made of a call.
pub(crate) type Answered = (ServeKey, Result<Raw, BoxError>);

/// Starts handlers. r[call.progress] None of them runs here.
pub(crate) fn serve(link: &Arc<Link>, mut starts: Vec<Start>) {
    if starts.len() < 2 {
        if let Some(Start { key, handler, argument }) = starts.pop() {
            tokio::spawn(finish(Unanswered::new(link, key), handler.answer(argument)));
        }
        return;
    }
    run_together(link, &Arc::new(Mutex::new(starts.into_iter())));
}

/// Calls whose handlers were not polled yet, for all tasks that do so.
type Starts = Arc<Mutex<std::vec::IntoIter<Start>>>;

fn run_together(link: &Arc<Link>, starts: &Starts) {
    tokio::spawn(run(Arc::clone(link), Arc::clone(starts)));
}

/// Polls each handler once, and leaves those that have to wait to tasks of their own. Mostly that is done sooner than another
/// thread could help; where it is not, one is asked to, which asks the next.
async fn run(link: Arc<Link>, starts: Starts) {
    let mut answered: Vec<Answered> = Vec::with_capacity(TOGETHER);
    let enough = TOGETHER_BYTES.min(link.rpc.settings().limits.outbound_bytes / 4);
    let mut bytes = 0;
    let mut since = Instant::now();
    let mut has_help = false;
    for polled in 1_usize.. {
        let next = starts.lock().unwrap_or_else(PoisonError::into_inner).next();
        let Some(Start { key, handler, argument }) = next else { break };
        let mut answer = handler.answer(argument);
        let once = poll_fn(|cx| Poll::Ready(catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))))).await;
        match once {
            Ok(Poll::Ready(result)) => {
                bytes += result.as_ref().map_or(0, |result| result.bytes().len());
                answered.push((key, result));
            }
            Ok(Poll::Pending) => drop(tokio::spawn(finish(Unanswered::new(&link, key), answer))),
            // r[error.handler-failed] As if the task of this call alone had ended.
            Err(_) => link.finish(key, false),
        }
        let is_late = polled.is_multiple_of(UNTIMED) && since.elapsed() >= PATIENCE;
        if is_late && !std::mem::replace(&mut has_help, true) {
            run_together(&link, &starts);
        }
        let is_spent = !tokio::task::coop::has_budget_remaining();
        if is_late || is_spent || answered.len() == TOGETHER || bytes >= enough {
            put_out(&link, &mut answered).await;
            (bytes, since) = (0, Instant::now());
        }
        if is_spent {
            tokio::task::yield_now().await;
        }
    }
    put_out(&link, &mut answered).await;
}

/// Answers, once there is room: calls stay open up to then, so that there are no more of them than may be.
async fn put_out(link: &Link, answered: &mut Vec<Answered>) {
    if !answered.is_empty() {
        link.until_room().await;
        link.answer(answered);
    }
}

async fn finish(unanswered: Unanswered, answer: Answer) {
    let result = answer.await;
    unanswered.link.until_room().await;
    unanswered.answer(result);
}

/// A call that gets its error if this is dropped.
struct Unanswered {
    link: Arc<Link>,
    key: ServeKey,
    is_answered: bool,
}

impl Unanswered {
    fn new(link: &Arc<Link>, key: ServeKey) -> Self {
        Self { link: Arc::clone(link), key, is_answered: false }
    }

    fn answer(mut self, result: Result<Raw, BoxError>) {
        self.is_answered = true;
        self.link.answer(&mut vec![(self.key, result)]);
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.is_answered {
            self.link.finish(self.key, false);
        }
    }
}

//! Deadlines: work that nobody waits for any more is not begun, and, if asked for, not gone on with.
//!
//! How a caller sets one stands in `request`: it is a key of ext, and needs no hook.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duplex_proto::{Code, Ext, RemoteError};
use tokio::time::Instant;

use crate::error::BoxError;
use crate::hook::{Hook, HookFrame, Verdict};

/// The key of ext that holds a deadline: milliseconds since 1970-01-01 UTC.
pub const DEADLINE: &str = "deadline";

/// A hook that answers -32005 to inbound calls whose deadline has passed.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use duplex_peer::middleware::Deadlines;
/// use duplex_peer::{BoxError, Framing, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new().with_hook(Deadlines::new().ending_calls());
/// server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// let minute = SystemTime::now() + Duration::from_secs(60);
/// let sum: i64 = client.request("add").deadline(minute)?.call(&(1, 2)).await?;
/// assert_eq!(sum, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Deadlines {
    tolerance: Duration,
    ends_calls: bool,
}

/// When a handler is ended: kept with its call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunUntil(pub(crate) Instant);

impl Deadlines {
    /// Refuses what comes too late, to the millisecond, and lets run what runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows so much for clocks that differ.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Ends running calls too, with -32005, when their deadline passes; their handlers are dropped. r[deadline.running]
    #[must_use]
    pub fn ending_calls(mut self) -> Self {
        self.ends_calls = true;
        self
    }
}

impl Hook for Deadlines {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        let ext = frame.ext.as_ref().filter(|_| frame.is_first());
        let Some(deadline) = ext.and_then(deadline_of) else { return Ok(Verdict::Pass) };
        let left = deadline.saturating_add(millis(self.tolerance)).saturating_sub(now());
        if left <= 0 {
            // r[deadline.passed]
            return Ok(Verdict::AnswerError(RemoteError::of(Code::DEADLINE_PASSED)));
        }
        let left = Duration::from_millis(left.unsigned_abs());
        if self.ends_calls
            && let Some(end) = Instant::now().checked_add(left)
        {
            frame.call().insert(RunUntil(end));
        }
        Ok(Verdict::Pass)
    }
}

/// The deadline in an ext. r[deadline.invalid] What is no integer is as absent.
pub(crate) fn deadline_of(ext: &Ext) -> Option<i64> {
    if let Some(Ok(deadline)) = ext.value::<i64>(DEADLINE) {
        return Some(deadline);
    }
    // An integer all the same, later than any clock shows.
    matches!(ext.value::<u64>(DEADLINE), Some(Ok(_))).then_some(i64::MAX)
}

/// A time as a deadline. r[deadline.form] One before 1970 has passed as well as 1970 has.
pub(crate) fn as_deadline(time: SystemTime) -> i64 {
    millis(time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn now() -> i64 {
    as_deadline(SystemTime::now())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

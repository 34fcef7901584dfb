//! One call as hooks and its handler share it: which call it is, and what they have to say to each other about it.
//!
//! Nothing of it is ever sent: what the other peer is to see belongs into ext.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crate::values::Values;

/// A call, from the first frame that a hook saw to its end.
pub struct Call {
    connection: ConnectionId,
    direction: Direction,
    method: Arc<str>,
    values: Values,
    /// How many hooks, from the head of their list, saw the first frame.
    seen: AtomicUsize,
    is_told: AtomicBool,
}

/// Names a connection of this process; never used twice. [`ConnectionId::info`] tells more of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u64);

/// Who called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The other peer; this one serves.
    Inbound,
    /// This peer.
    Outbound,
}

impl Call {
    pub(crate) fn new(connection: ConnectionId, direction: Direction, method: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            connection,
            direction,
            method,
            values: Values::default(),
            seen: AtomicUsize::new(0),
            is_told: AtomicBool::new(false),
        })
    }

    /// The connection that the call is on. What is known of that: `call.connection().info()`.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Who called.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The method, as on the first frame.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    pub(crate) fn shared_method(&self) -> &Arc<str> {
        &self.method
    }

    /// Keeps a value of this type with the call, in place of an earlier one, which is returned.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<T> {
        self.values.insert(value)
    }

    /// A copy of the value of this type, if one is kept.
    #[must_use]
    pub fn value<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.values.value()
    }

    /// Takes the value of this type away.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<T> {
        self.values.remove()
    }

    /// A first frame is about to pass the hooks. Where an earlier one could not be sent, this is another call to them.
    pub(crate) fn begin(&self) {
        self.seen.store(0, Ordering::Relaxed);
        self.is_told.store(false, Ordering::Relaxed);
    }

    /// A hook is about to see the first frame.
    pub(crate) fn see(&self, hooks: usize) {
        self.seen.fetch_max(hooks, Ordering::Relaxed);
    }

    /// Whether this is the first time that somebody wants to tell the end.
    pub(crate) fn is_untold(&self) -> bool {
        !self.is_told.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }
}

impl ConnectionId {
    pub(crate) fn next() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("connection", &self.connection)
            .field("direction", &self.direction)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

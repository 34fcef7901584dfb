//! Transactions: calls that name the same unit of work find the same value, until one of them ends it or the connection does.
//!
//! What a unit is, and what a commit or a failure means, the user says. How a caller names a unit stands in `request`: it is a
//! key of ext, and needs no hook.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duplex_proto::{Code, RemoteError};
use uuid::Uuid;

use crate::call::ConnectionId;
use crate::error::BoxError;
use crate::hook::{Hook, HookFrame, Verdict};

/// The key of ext that names a unit of work.
pub const TRANSACTION: &str = "transaction";
/// Units that one connection may begin; an ended one is remembered as long as its connection lives. A call that would begin
/// one more is answered -32000.
const MAX_UNITS: usize = 65_536;
/// Bytes of their names in all. The same holds for them.
const MAX_NAMES: usize = 4 << 20;

/// A hook that finds, for each inbound call that names one, its unit of work.
///
/// `T` is what the application keeps for a unit, such as a database's transaction; `begin` makes it at the first call that
/// names the unit. A handler gets it as [`Unit`], works with it, and ends it:
///
/// ```
/// use duplex_peer::middleware::{Transactions, Unit, UnitName};
/// use duplex_peer::{BoxError, Channel, Framing, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new().with_hook(Transactions::new(|_name| Vec::<i64>::new()));
/// let unit = |channel: &Channel| channel.shared().and_then(|call| call.value::<Unit<Vec<i64>>>()).ok_or("no unit");
/// server.register("put", move |mut channel: Channel| async move {
///     let number: i64 = channel.argument().await?;
///     unit(&channel)?.with(|numbers| numbers.push(number)).ok_or("it has ended")?;
///     Ok(channel.send_last(&()).await?)
/// })?;
/// server.register("commit", move |channel: Channel| async move {
///     let numbers = unit(&channel)?.end().ok_or("it has ended")?;
///     Ok(channel.send_last(&numbers).await?)
/// })?;
///
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// let name = UnitName::new();
/// for number in [1, 2] {
///     client.request("put").transaction(&name)?.call::<_, ()>(&number).await?;
/// }
/// let numbers: Vec<i64> = client.request("commit").transaction(&name)?.call(&()).await?;
/// assert_eq!(numbers, [1, 2]);
/// // The unit has ended: whoever names it now is refused.
/// assert!(client.request("put").transaction(&name)?.call::<_, ()>(&3).await.is_err());
/// # Ok(())
/// # }
/// ```
pub struct Transactions<T> {
    begin: Box<dyn Fn(&str) -> T + Send + Sync>,
    lose: Box<dyn Fn(T) + Send + Sync>,
    /// Of each connection its units by name, those that have ended too. r[transaction.scope]
    units: Mutex<HashMap<ConnectionId, Units<T>>>,
}

/// A unit of work, as a handler holds it: kept with the call.
pub struct Unit<T> {
    /// None once it has ended.
    value: Arc<Mutex<Option<T>>>,
}

/// A name for a unit of work that a caller begins: never one that was used before. r[transaction.unique]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnitName(String);

impl<T: Send + 'static> Transactions<T> {
    /// Units that begin so. One that its connection leaves open is dropped.
    pub fn new(begin: impl Fn(&str) -> T + Send + Sync + 'static) -> Self {
        Self { begin: Box::new(begin), lose: Box::new(drop), units: Mutex::default() }
    }

    /// Hands units that are still open when their connection ends to this function, which is to end them in failure. It must
    /// not wait.
    #[must_use]
    pub fn on_lost(mut self, lose: impl Fn(T) + Send + Sync + 'static) -> Self {
        self.lose = Box::new(lose);
        self
    }

    /// The unit of that name; begun if there is none. `None`: there are too many.
    fn unit(&self, connection: ConnectionId, name: &str) -> Option<Unit<T>> {
        let mut units = lock(&self.units);
        let units = units.entry(connection).or_insert_with(|| Units { by_name: HashMap::new(), bytes: 0 });
        if let Some(unit) = units.by_name.get(name) {
            return Some(unit.clone());
        }
        if units.by_name.len() >= MAX_UNITS || units.bytes + name.len() > MAX_NAMES {
            return None;
        }
        let unit = Unit { value: Arc::new(Mutex::new(Some((self.begin)(name)))) };
        units.by_name.insert(name.to_owned(), unit.clone());
        units.bytes += name.len();
        Some(unit)
    }
}

/// The units of one connection.
struct Units<T> {
    by_name: HashMap<String, Unit<T>>,
    /// Of their names.
    bytes: usize,
}

impl<T: Send + 'static> Hook for Transactions<T> {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        let ext = frame.ext.as_ref().filter(|_| frame.is_first());
        let name = ext.and_then(|ext| ext.value::<String>(TRANSACTION)).and_then(Result::ok);
        let Some(name) = name else { return Ok(Verdict::Pass) };
        let Some(unit) = self.unit(frame.call().connection(), &name) else {
            return Ok(Verdict::AnswerError(RemoteError::of(Code::TOO_MANY_CALLS)));
        };
        if unit.is_ended() {
            // r[transaction.ended]
            return Ok(Verdict::AnswerError(RemoteError::new(Code::FAILED.0, "The unit of work has ended.")));
        }
        frame.call().insert(unit);
        Ok(Verdict::Pass)
    }

    fn disconnected(&self, connection: ConnectionId) {
        let units = lock(&self.units).remove(&connection);
        // r[transaction.lost] A handler that still holds one finds that it has ended.
        let units = units.into_iter().flat_map(|units| units.by_name);
        units.filter_map(|(_, unit)| unit.end()).for_each(&self.lose);
    }
}

impl<T> Unit<T> {
    /// Works with what the application keeps for the unit. `None` if it has ended. Calls of one unit may run side by side:
    /// others wait meanwhile, so that the work should be short.
    pub fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        lock(&self.value).as_mut().map(work)
    }

    /// Ends the unit and gives what was kept for it: to be committed, or not. `None` if it has ended before.
    #[must_use = "what is dropped here is neither committed nor rolled back, unless its drop does so"]
    pub fn end(&self) -> Option<T> {
        lock(&self.value).take()
    }

    /// Whether the unit has ended.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        lock(&self.value).is_none()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the application did under the lock before it panicked is its own to judge.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UnitName {
    /// A new name.
    #[must_use]
    pub fn new() -> Self {
        Self(Uuid::new_v4().hyphenated().to_string())
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for UnitName {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Unit<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value) }
    }
}

impl<T> fmt::Debug for Unit<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unit").field("is_ended", &self.is_ended()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Transactions<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transactions").finish_non_exhaustive()
    }
}

//! Callbacks: methods under generated names, bound to one connection.

use std::fmt;
use std::sync::{Arc, Weak};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::handler::Method;
use crate::link::Link;

/// What the names of callbacks start with; nobody may register such a name.
pub(crate) const CALLBACK_PREFIX: &str = "_callback.";

/// A callback that the other peer can call, until this value is dropped or the connection ends.
///
/// It serializes as its name: put it into a payload to hand it out. Calling it is calling a method of that name.
///
/// ```
/// use duplex_peer::{BoxError, Channel, Code, Framing, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new();
/// server.register("apply", |mut channel: Channel| async move {
///     let (callback, number): (String, i64) = channel.argument().await?;
///     let result: i64 = channel.call(&callback, &number).await?;
///     Ok(channel.send_last(&result).await?)
/// })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
///
/// let double = client.callback_fn(|number: i64| async move { Ok::<_, BoxError>(2 * number) });
/// assert_eq!(client.call::<_, i64>("apply", &(&double, 21)).await?, 42);
/// // Dropped, it is no method any more, whoever still has its name.
/// let name = double.name().to_owned();
/// drop(double);
/// let gone = served.call::<_, i64>(&name, &1).await.unwrap_err();
/// assert_eq!(gone.code(), Some(Code::METHOD_NOT_FOUND));
/// # Ok(())
/// # }
/// ```
pub struct Callback {
    name: Arc<str>,
    link: Weak<Link>,
}

impl Callback {
    pub(crate) fn new(link: &Arc<Link>, method: Method) -> Self {
        // The system's cryptographic source: a name is all that it takes to call. r[callback.name] r[callback.name.unique]
        let name: Arc<str> = format!("{CALLBACK_PREFIX}{}", Uuid::new_v4().hyphenated()).into();
        link.add_callback(Arc::clone(&name), method);
        Self { name, link: Arc::downgrade(link) }
    }

    /// The name that the other peer calls.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Releases the callback: from now on it is a missing method. Calls that run already are not touched. r[callback.release]
    pub fn release(self) {}

    /// Keeps the callback until the connection ends.
    pub fn keep(mut self) {
        self.link = Weak::new();
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade() {
            link.remove_callback(&self.name);
        }
    }
}

impl Serialize for Callback {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callback").field(&self.name).finish()
    }
}

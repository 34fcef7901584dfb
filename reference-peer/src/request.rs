//! A call before it is made: its ext, its time limit, and what kind of call it becomes.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use duplex_proto::{EncodeError, Ext, Raw};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::channel::Channel;
use crate::error::Error;
use crate::link::Link;
use crate::middleware::{DEADLINE, TRANSACTION, UnitName, as_deadline, deadline_of};
use crate::single;

/// A call to be made.
#[must_use = "a request does nothing before `call`, `open`, `notify` or `detach`"]
pub struct Request {
    link: Arc<Link>,
    method: Arc<str>,
    ext: Option<Ext>,
    timeout: Option<Duration>,
}

impl Request {
    pub(crate) fn new(link: &Arc<Link>, method: &str, ext: Option<Ext>) -> Self {
        Self { link: Arc::clone(link), method: method.into(), ext, timeout: None }
    }

    /// Sets a key of ext; a key that was inherited is replaced. r[ext.inherit]
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub fn ext<T: Serialize + ?Sized>(mut self, key: &str, value: &T) -> Result<Self, EncodeError> {
        self.ext.get_or_insert_with(|| Ext::new(self.link.format())).set(key, value)?;
        Ok(self)
    }

    /// Sets all keys of another ext.
    pub fn ext_map(mut self, ext: &Ext) -> Self {
        self.ext.get_or_insert_with(|| Ext::new(self.link.format())).merge(ext);
        self
    }

    /// Sets the time after which nobody waits for the reply any more: it is sent along, and [`Request::call`] gives up then by
    /// itself. A call from inside another one never gets a later one than that has. r[deadline.form] r[deadline.nested]
    ///
    /// # Errors
    /// When the ext cannot be encoded.
    pub fn deadline(self, deadline: SystemTime) -> Result<Self, EncodeError> {
        let wanted = as_deadline(deadline);
        let inherited = self.ext.as_ref().and_then(deadline_of);
        let deadline = inherited.map_or(wanted, |inherited| inherited.min(wanted));
        let left = Duration::from_millis(u64::try_from(deadline.saturating_sub(as_deadline(SystemTime::now()))).unwrap_or(0));
        let timeout = self.timeout.map_or(left, |timeout| timeout.min(left));
        self.timeout(timeout).ext(DEADLINE, &deadline)
    }

    /// Makes the call part of a unit of work, which begins with the first call that is. r[transaction.form]
    ///
    /// # Errors
    /// When the ext cannot be encoded.
    pub fn transaction(self, unit: &UnitName) -> Result<Self, EncodeError> {
        self.ext(TRANSACTION, unit.as_str())
    }

    /// Limits the time of the call, from when it is made or opened: what waits for its reply, its next item or room to send
    /// one then fails with [`Error::Timeout`], and the call is given up. The handler hears nothing of it and runs on, and counts among
    /// the calls that the other peer has open; [`Request::deadline`] tells it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Calls with one value and waits for the one that comes back. Dropping the future gives the call up.
    ///
    /// # Errors
    /// [`Error::Remote`] is the other peer's error; all others are local.
    pub async fn call<A, R>(self, argument: &A) -> Result<R, Error>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let argument = Raw::encode(self.link.format(), argument)?;
        Ok(self.call_raw(&argument).await?.decode()?)
    }

    /// Like [`Request::call`], with values that are encoded already and stay so.
    ///
    /// # Errors
    /// As [`Request::call`].
    pub async fn call_raw(mut self, argument: &Raw) -> Result<Raw, Error> {
        let timeout = self.timeout.take();
        let reply = pin!(self.reply_to(argument));
        match timeout {
            None => reply.await,
            Some(timeout) => tokio::time::timeout(timeout, reply).await.map_err(|_| Error::Timeout)?,
        }
    }

    async fn reply_to(self, argument: &Raw) -> Result<Raw, Error> {
        if !self.link.has_hooks() {
            let argument = argument.to_format(self.link.format())?;
            return single::call(&self.link, &self.method, &argument, self.ext.as_ref()).await;
        }
        let channel = async {
            let mut channel = self.open();
            channel.send_raw(argument, false).await?;
            channel.result().await
        };
        // Apart, so that calls without hooks stay small.
        Box::pin(channel).await
    }

    /// Opens a call whose arguments or results are streamed. Nothing is sent before the first argument.
    #[must_use]
    pub fn open(self) -> Channel {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Channel::caller(self.link, self.method, self.ext, deadline)
    }

    /// Sends a request without an id: no reply is wanted, and a peer that follows the book sends none. Published peers crash
    /// or misbehave where the method replies; [`Request::detach`] is safe with all.
    ///
    /// # Errors
    /// When the connection is closed or the argument cannot be sent.
    pub async fn notify<A: Serialize + ?Sized>(self, argument: &A) -> Result<(), Error> {
        let argument = Raw::encode(self.link.format(), argument)?;
        self.notify_raw(&argument).await
    }

    /// Like [`Request::notify`], with a value that is encoded already.
    ///
    /// # Errors
    /// As [`Request::notify`].
    pub async fn notify_raw(self, argument: &Raw) -> Result<(), Error> {
        self.open().notify(argument).await
    }

    /// Calls and forgets: the reply is dropped when it comes.
    ///
    /// # Errors
    /// When the connection is closed or the argument cannot be sent.
    pub async fn detach<A: Serialize + ?Sized>(self, argument: &A) -> Result<(), Error> {
        let argument = Raw::encode(self.link.format(), argument)?;
        self.open().send_raw(&argument, false).await
    }
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("ext", &self.ext).finish_non_exhaustive()
    }
}

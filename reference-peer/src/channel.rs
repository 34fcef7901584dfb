//! A channel: one call, seen from either side. Items are received in order and sent in order; both at once if need be.
//!
//! What a handler leaves undone is decided here: the last holder of a served call ends it.

mod called;

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use duplex_proto::connection::{ArgFrame, CallEnd, Read, Reply, ServeKey};
use duplex_proto::{Code, DecodeError, Ext, Format, Raw, RemoteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::Instrument;

use crate::call::Call;
use crate::callback::Callback;
use crate::error::{BoxError, Error};
use crate::handler::{Handler, Method};
use crate::link::{Link, Status};
use crate::middleware::{CallSpan, RunUntil};
use crate::peer::Peer;
use crate::request::Request;
use crate::stream::{ItemSink, Items};
use crate::tunnel::Tunnel;
use called::Called;

/// One call: a handler's, to read arguments and send results; or a caller's, the other way round.
///
/// Dropping a caller's channel, and every [`Sender`] of it, gives the call up. A handler's call ends when its handler does.
pub struct Channel {
    sender: Sender,
}

/// The sending half of a [`Channel`], for another task. Cheap to clone.
#[derive(Clone)]
pub struct Sender {
    side: Side,
}

#[derive(Clone)]
enum Side {
    Provider(Arc<Served>),
    Caller(Arc<Called>),
}

/// A served call; dropping the last reference ends it.
struct Served {
    link: Arc<Link>,
    key: ServeKey,
    /// What hooks know of the call; none without hooks.
    call: Option<Arc<Call>>,
    /// Whether the handler returned, and neither failed nor panicked.
    has_returned: AtomicBool,
}

/// Runs a handler for a call.
pub(crate) fn serve(link: &Arc<Link>, key: ServeKey, handler: Arc<dyn Handler>, call: Option<Arc<Call>>) {
    let served = Arc::new(Served { link: Arc::clone(link), key, call, has_returned: AtomicBool::new(false) });
    tokio::spawn(async move {
        let channel = Channel { sender: Sender { side: Side::Provider(Arc::clone(&served)) } };
        match run(handler.serve(channel), served.call.as_deref()).await {
            Some(result) => {
                served.has_returned.store(result.is_ok(), Ordering::Relaxed);
                if let Err(error) = result {
                    served.link.room().await;
                    served.fail(error);
                }
            }
            // r[deadline.running] Answered already means that it was in time.
            None => _ = served.link.reply(served.key, Reply::Error(RemoteError::of(Code::DEADLINE_PASSED))),
        }
    });
}

/// Runs a handler inside the span of its call, up to its deadline. `None`: that came first.
async fn run<F: Future>(handler: F, call: Option<&Call>) -> Option<F::Output> {
    let span = call.and_then(Call::value::<CallSpan>).map_or_else(tracing::Span::none, |CallSpan(span)| span);
    let handler = handler.instrument(span);
    match call.and_then(Call::value::<RunUntil>) {
        None => Some(handler.await),
        Some(RunUntil(deadline)) => tokio::time::timeout_at(deadline, handler).await.ok(),
    }
}

impl Channel {
    /// A call of ours, which is given up when `deadline` passes.
    pub(crate) fn caller(link: Arc<Link>, method: Arc<str>, ext: Option<Ext>, deadline: Option<Instant>) -> Self {
        Self { sender: Sender { side: Side::Caller(Arc::new(Called::new(link, method, ext, deadline))) } }
    }

    // ---- receiving ----

    /// The next item; `None` after the last. Where the future is dropped, in a `select!` say, no item is lost; the same holds for
    /// all that receives or sends on a channel: what was not sent by then is not.
    ///
    /// # Errors
    /// [`Error::Remote`] when the provider ended its results with an error, [`Error::Aborted`] when the caller gave its
    /// arguments up, [`Error::Ended`] in a handler that has replied for good, [`Error::Closed`] when the connection ended first.
    pub async fn recv<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        self.recv_raw().await?.map(|item| item.decode()).transpose().map_err(self.unfit())
    }

    /// Like [`Channel::recv`], with the item as it came.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub async fn recv_raw(&mut self) -> Result<Option<Raw>, Error> {
        match self.read().await? {
            Read::Item(item) => Ok(Some(item)),
            Read::End => Ok(None),
            Read::Failed(failure) => Err(failure.into()),
            Read::Pending => unreachable!("invariant: reading waits"),
        }
    }

    /// The argument of a handler that takes a single value: the first item, or null if there is none. r[stream.args.single]
    ///
    /// # Errors
    /// As [`Channel::recv`], and when the value does not fit the type.
    pub async fn argument<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        self.argument_raw().await?.decode().map_err(self.unfit())
    }

    /// Like [`Channel::argument`], with the value as it came.
    ///
    /// # Errors
    /// As [`Channel::recv`].
    pub async fn argument_raw(&mut self) -> Result<Raw, Error> {
        Ok(self.recv_raw().await?.unwrap_or_else(|| Raw::null(self.format())))
    }

    /// The single result of a call of ours; null for a stream without items. r[stream.end.single]
    ///
    /// # Errors
    /// As [`Channel::recv`]; [`Error::Stream`] when items came before the last one.
    pub async fn result(&mut self) -> Result<Raw, Error> {
        let result = self.argument_raw().await?;
        if let Side::Caller(called) = &self.sender.side
            && let Some(id) = called.id()
            && called.link.look(|core| core.has_reply_streamed(id))
        {
            return Err(Error::Stream);
        }
        Ok(result)
    }

    /// What an item is that does not fit the type asked for.
    pub(crate) fn unfit(&self) -> fn(DecodeError) -> Error {
        match &self.sender.side {
            Side::Provider(_) => Error::Argument,
            Side::Caller(_) => Error::Decode,
        }
    }

    async fn read(&mut self) -> Result<Read, Error> {
        match &self.sender.side {
            Side::Provider(served) => Ok(poll_fn(|cx| served.link.poll_args(served.key, cx)).await),
            Side::Caller(called) => called.read().await,
        }
    }

    // ---- sending ----

    /// Sends an item; more follow. Waits while too much waits to be written.
    ///
    /// # Errors
    /// When the item cannot be sent, or this side has ended: [`Error::Ended`] where the other side has answered for good. What it
    /// answered, an error say, is received.
    pub async fn send<T: Serialize + ?Sized>(&self, item: &T) -> Result<(), Error> {
        self.sender.send(item).await
    }

    /// Sends the last item, or the only result.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send_last<T: Serialize + ?Sized>(&self, item: &T) -> Result<(), Error> {
        self.sender.send_last(item).await
    }

    /// Sends an item that is encoded already.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send_raw(&self, item: &Raw, more: bool) -> Result<(), Error> {
        self.sender.send_raw(item, more).await
    }

    /// Ends this side without an item: the end of a stream whose last item was not known to be the last, and of one that had none.
    /// A handler that streamed may leave it out; one that may have sent nothing may not.
    ///
    /// # Errors
    /// When this side has ended, or the connection.
    pub async fn finish(&self) -> Result<(), Error> {
        self.sender.finish().await
    }

    /// Ends this side with an error: a handler's call fails with it; a caller's arguments are aborted.
    ///
    /// # Errors
    /// When this side has ended, or the connection.
    pub async fn send_err(&self, error: RemoteError) -> Result<(), Error> {
        self.sender.send_err(error).await
    }

    /// The items as a stream, which ends after the first error. Send through a [`Channel::sender`] that was taken before.
    pub fn into_stream<T: DeserializeOwned>(self) -> Items<T> {
        Items::new(self)
    }

    /// The channel as bytes in both directions.
    #[must_use]
    pub fn into_tunnel(self) -> Tunnel {
        Tunnel::new(self)
    }

    /// The sending half, for another task.
    #[must_use]
    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    pub(crate) async fn notify(&self, argument: &Raw) -> Result<(), Error> {
        let Side::Caller(called) = &self.sender.side else { return Err(Error::Ended) };
        called.in_time(called.link.room()).await?;
        called.check_open()?;
        let argument = argument.to_format(called.link.format())?;
        let sent = match called.pass_hooks(true, None, ArgFrame::Last(argument)) {
            Ok(Ok((ArgFrame::Last(argument), ext))) => {
                called.link.with(|core| core.notify(called.call.method(), &argument, ext.as_ref())).map_err(Error::from)
            }
            // A hook answered: there is nobody to tell.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        let end = if sent.is_ok() { CallEnd::Result } else { CallEnd::Local };
        called.link.tell_end(&called.call, end);
        sent
    }

    // ---- around the call ----

    /// The method.
    #[must_use]
    pub fn method(&self) -> Arc<str> {
        match &self.sender.side {
            Side::Provider(served) => {
                served.link.look(|core| core.method(served.key).cloned()).expect("invariant: a held call is in the table")
            }
            Side::Caller(called) => Arc::clone(called.call.shared_method()),
        }
    }

    /// What hooks and the handler share about this call. `None` in a handler of a peer without hooks.
    #[must_use]
    pub fn shared(&self) -> Option<&Call> {
        match &self.sender.side {
            Side::Provider(served) => served.call.as_deref(),
            Side::Caller(called) => Some(&called.call),
        }
    }

    pub(crate) fn shared_call(&self) -> Option<Arc<Call>> {
        match &self.sender.side {
            Side::Provider(served) => served.call.clone(),
            Side::Caller(called) => Some(Arc::clone(&called.call)),
        }
    }

    /// Whether a handler serves a notification: what it sends goes nowhere.
    #[must_use]
    pub fn is_notification(&self) -> bool {
        match &self.sender.side {
            Side::Provider(served) => served.link.look(|core| core.id(served.key)).is_none(),
            Side::Caller(_) => false,
        }
    }

    /// A handler's channel: the ext of the newest request frame. A caller's: that of the newest reply.
    #[must_use]
    pub fn ext(&self) -> Option<Ext> {
        match &self.sender.side {
            Side::Provider(served) => served.link.look(|core| core.ext(served.key).cloned()),
            Side::Caller(called) => called.id().and_then(|id| called.link.look(|core| core.reply_ext(id).cloned())),
        }
    }

    /// Sets the ext that a handler's replies carry from now on.
    pub fn set_ext(&self, ext: Option<Ext>) {
        if let Side::Provider(served) = &self.sender.side {
            served.link.with(|core| core.set_ext(served.key, ext));
        }
    }

    /// Calls a method of the other peer from inside this call: with a copy of its ext. r[ext.inherit] `call::<_, ()>` where it
    /// returns nothing.
    ///
    /// # Errors
    /// [`Error::Remote`] is the other peer's error; all others are local. A handler that fails with either is answered -32603: what
    /// was said to it was not said to its caller.
    pub async fn call<A, R>(&self, method: &str, argument: &A) -> Result<R, Error>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        self.request(method).call(argument).await
    }

    /// Prepares a call from inside this one: it starts with a copy of its ext.
    pub fn request(&self, method: &str) -> Request {
        let ext = match &self.sender.side {
            Side::Provider(_) => self.ext(),
            // r[ext.reply.ignored]
            Side::Caller(called) => called.ext.clone(),
        };
        Request::new(self.link(), method, ext)
    }

    /// Opens a streaming call from inside this one.
    #[must_use]
    pub fn open(&self, method: &str) -> Self {
        self.request(method).open()
    }

    /// Makes a callback of a handler, for this connection only.
    #[must_use]
    pub fn callback(&self, handler: impl Handler) -> Callback {
        self.peer().callback(handler)
    }

    /// Makes a callback of a function of one value that returns one value.
    #[must_use]
    pub fn callback_fn<A, R, E, F, Fut>(&self, function: F) -> Callback
    where
        A: DeserializeOwned + Send + 'static,
        R: Serialize + Send + Sync + 'static,
        E: Into<BoxError> + Send + 'static,
        F: Fn(A) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        Callback::new(self.link(), Method::of_value(function))
    }

    /// The connection that this call is on.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer { link: Arc::clone(self.link()) }
    }

    /// Waits until the other peer has ended the connection, or this one has: nothing more will come. A handler may still be
    /// able to reply. r[close.handlers]
    pub async fn closed(&self) {
        self.link().reached(Status::InputEnded).await;
    }

    /// How values are encoded on this connection.
    #[must_use]
    pub fn format(&self) -> Format {
        self.link().format()
    }

    fn link(&self) -> &Arc<Link> {
        self.sender.link()
    }
}

impl Sender {
    /// The sending half as a sink of items; closing it ends this side without a further item.
    pub fn into_sink<T: Serialize>(self) -> ItemSink<T> {
        ItemSink::new(self)
    }

    pub(crate) fn format(&self) -> Format {
        self.link().format()
    }

    /// As [`Channel::send`].
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send<T: Serialize + ?Sized>(&self, item: &T) -> Result<(), Error> {
        let item = self.encode(item)?;
        self.send_owned(item, true).await
    }

    /// As [`Channel::send_last`].
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send_last<T: Serialize + ?Sized>(&self, item: &T) -> Result<(), Error> {
        let item = self.encode(item)?;
        self.send_owned(item, false).await
    }

    /// As [`Channel::send_raw`].
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub async fn send_raw(&self, item: &Raw, more: bool) -> Result<(), Error> {
        self.send_owned(item.to_format(self.format())?, more).await
    }

    /// Sends an item in the format of the connection.
    async fn send_owned(&self, item: Raw, more: bool) -> Result<(), Error> {
        let link = self.link();
        self.room().await?;
        match &self.side {
            Side::Provider(served) if more => Ok(link.send_item(served.key, item)?),
            Side::Provider(served) => Ok(link.reply(served.key, Reply::Result(item))?),
            Side::Caller(called) => called.send(if more { ArgFrame::Item(item) } else { ArgFrame::Last(item) }),
        }
    }

    /// As [`Channel::finish`].
    ///
    /// # Errors
    /// As [`Channel::finish`].
    pub async fn finish(&self) -> Result<(), Error> {
        self.room().await?;
        match &self.side {
            Side::Provider(served) => Ok(served.link.reply(served.key, Reply::End)?),
            Side::Caller(called) => called.send(ArgFrame::End),
        }
    }

    /// As [`Channel::send_err`].
    ///
    /// # Errors
    /// As [`Channel::send_err`].
    pub async fn send_err(&self, error: RemoteError) -> Result<(), Error> {
        match &self.side {
            Side::Provider(served) => Ok(served.link.reply(served.key, Reply::Error(error))?),
            Side::Caller(called) => {
                called.id().ok_or(Error::Ended)?;
                called.send(ArgFrame::Aborted(Some(called.link.error_in_format(error))))
            }
        }
    }

    /// Waits while too much waits to be written.
    async fn room(&self) -> Result<(), Error> {
        match &self.side {
            Side::Provider(served) => {
                served.link.room().await;
                Ok(())
            }
            Side::Caller(called) => called.in_time(called.link.room()).await,
        }
    }

    /// Encodes an item for this connection. An item without encoding fails the call, for both sides of it.
    pub(crate) fn encode<T: Serialize + ?Sized>(&self, item: &T) -> Result<Raw, Error> {
        Raw::encode(self.link().format(), item).map_err(|error| {
            match &self.side {
                // r[error.unsendable] Ended already, or about to be told: there is nobody else to report to.
                Side::Provider(served) => _ = served.link.reply(served.key, Reply::Error(RemoteError::of(Code::FAILED))),
                // r[call.unsendable]
                Side::Caller(called) => called.fail_unsendable(),
            }
            error.into()
        })
    }

    fn link(&self) -> &Arc<Link> {
        match &self.side {
            Side::Provider(served) => &served.link,
            Side::Caller(called) => &called.link,
        }
    }
}

impl Served {
    /// The handler failed with this. r[error.handler-failed] r[error.no-insides] r[error.application]
    fn fail(&self, error: BoxError) {
        match failure(error, &self.link, self.key) {
            // A handler that fails after its terminal reply has failed for itself alone. r[call.reply.nothing-after]
            Some(reply) => _ = self.link.reply(self.key, Reply::Error(reply)),
            None => self.link.with(|core| core.abandon(self.key)),
        }
    }
}

/// The reply of a handler that failed. `None`: it gave up because the connection ended, and a reply would say nothing that the
/// caller does not know. r[error.no-insides] What the reply does not say, the log does.
pub(crate) fn failure(error: BoxError, link: &Link, key: ServeKey) -> Option<RemoteError> {
    // An error of the program may panic where it is shown or dropped, and other calls are answered here, too.
    catch_unwind(AssertUnwindSafe(|| told(error, link, key))).unwrap_or_else(|_| Some(RemoteError::of(Code::FAILED)))
}

fn told(error: BoxError, link: &Link, key: ServeKey) -> Option<RemoteError> {
    let error = match error.downcast::<RemoteError>() {
        Ok(error) => return Some(*error),
        Err(error) => error,
    };
    match error.downcast_ref::<Error>() {
        Some(Error::Closed) if link.status() >= Status::InputEnded => None,
        // r[stream.abort.reply]
        Some(Error::Aborted(_)) => Some(RemoteError::of(Code::ABORTED)),
        // r[error.payload-unfit]
        Some(Error::Argument(unfit)) => {
            link.log(key, |method| tracing::debug!(method, error = unfit as &dyn std::error::Error, "an argument does not fit"));
            Some(RemoteError::of(Code::INVALID_PAYLOAD))
        }
        _ => {
            link.log(key, |method| tracing::warn!(method, error = &*error as &dyn std::error::Error, "a handler failed"));
            Some(RemoteError::of(Code::FAILED))
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.link.finish(self.key, self.has_returned.load(Ordering::Relaxed));
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.sender.fmt(f)
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.side {
            Side::Provider(served) => f.debug_struct("Served").field("key", &served.key).finish_non_exhaustive(),
            Side::Caller(called) => f.debug_struct("Called").field("method", &called.call.method()).finish_non_exhaustive(),
        }
    }
}

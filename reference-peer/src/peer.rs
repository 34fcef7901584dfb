//! A connection to another peer, greeted: calls go out through it, and it serves the methods of its `Rpc`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use duplex_proto::{Config, Connection, EndReason, Format, Raw, Role};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::callback::Callback;
use crate::channel::Channel;
use crate::connection::ConnectionInfo;
use crate::driver;
use crate::error::{BoxError, Error};
use crate::handler::{Handler, Method};
use crate::link::{Link, Status};
use crate::request::Request;
use crate::rpc::Rpc;
use crate::service::PeerService;
use crate::single;
use crate::transport::Transport;

/// A connection. Cheap to clone; it lives until either side closes it, not until the last clone is dropped.
///
/// Its end is an event like any other, to be waited for beside the rest:
///
/// ```
/// use duplex_peer::{Blame, BoxError, Framing, Peer, Rpc, Transport};
///
/// async fn watch(peer: Peer) -> Option<Blame> {
///     peer.closed().await;
///     let reason = peer.end_reason()?;
///     eprintln!("{} is over: {reason}", peer.info());
///     Some(Blame::from(&reason))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let (one, other) = (Rpc::new(), Rpc::new());
/// let (ours, theirs) = tokio::try_join!(one.handshake(here), other.accept(there))?;
/// let watching = tokio::spawn(watch(theirs));
/// ours.close();
/// assert_eq!(watching.await?, Some(Blame::ConnectionGone));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Peer {
    pub(crate) link: Arc<Link>,
}

/// What a connection holds at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls of the other peer that wait for their reply.
    pub incoming: usize,
    /// Our calls that wait for their reply.
    pub outgoing: usize,
    /// Calls and notifications whose handler runs.
    pub handlers: usize,
    /// Callbacks that the other peer can call.
    pub callbacks: usize,
}

impl Peer {
    pub(crate) async fn start(rpc: Rpc, mut transport: Transport, role: Role) -> Result<Self, Error> {
        // A runtime without a timer is a mistake to be told here: in a task of the connection nobody would see it.
        drop(tokio::time::sleep(Duration::ZERO));
        let settings = rpc.settings();
        let offered = settings.codecs.first().expect("invariant: `with_codecs` takes no empty list");
        let info = ConnectionInfo::new(role, transport.framing, offered.name(), std::mem::take(&mut transport.origin));
        let config =
            Config { role, framing: transport.framing, codecs: settings.codecs.clone(), limits: settings.limits.clone() };
        let Transport { reader, writer, framing, .. } = transport;
        let link = Link::new(rpc.clone(), Connection::new(config), writer, info);
        rpc.shared.add(&link);
        driver::start(&link, reader, framing);
        let mut greeting = Greeting { link: &link, is_over: false };
        link.reached(Status::Open).await;
        if link.was_greeted() {
            greeting.is_over = true;
            return Ok(Self { link: Arc::clone(&link) });
        }
        // The refusal is on its way: whoever ends the process now must not cut it off.
        link.reached(Status::Over).await;
        Err(match link.look(|core| core.end_reason().cloned()) {
            Some(EndReason::Refused(answer)) => Error::Refused(answer),
            Some(reason) => Error::Greeting(reason),
            None => Error::Closed,
        })
    }

    /// Calls a method with one value and waits for the one that it returns: `call::<_, ()>` where that is none.
    ///
    /// # Errors
    /// [`Error::Remote`] is the other peer's error; all others are local.
    pub async fn call<A, R>(&self, method: &str, argument: &A) -> Result<R, Error>
    where
        A: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        if self.link.has_hooks() {
            // Apart, so that the calls of a peer without hooks stay small enough to be moved about.
            return Box::pin(self.request(method).call(argument)).await;
        }
        let argument = Raw::encode(self.link.format(), argument)?;
        Ok(single::call(&self.link, method, &argument, None).await?.decode()?)
    }

    /// The connection as a `tower` service, to put layers around its calls.
    #[must_use]
    pub fn service(&self) -> PeerService {
        PeerService::new(self.clone())
    }

    /// What is known of the connection: codec, transport, who is at the other end. Values can be kept with it.
    #[must_use]
    pub fn info(&self) -> Arc<ConnectionInfo> {
        Arc::clone(self.link.info())
    }

    /// Whether calls can be made.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.status() == Status::Open
    }

    /// Prepares a call: with ext, with a time limit, as a notification, as a stream.
    pub fn request(&self, method: &str) -> Request {
        Request::new(&self.link, method, None)
    }

    /// Opens a call whose arguments or results are streamed. Nothing is sent before the first argument.
    #[must_use]
    pub fn open(&self, method: &str) -> Channel {
        self.request(method).open()
    }

    /// Sends a request that no reply is wanted for. Published peers die of it where the method replies: see
    /// [`Request::detach`].
    ///
    /// # Errors
    /// When the connection is closed or the argument cannot be sent.
    pub async fn notify<A: Serialize + ?Sized>(&self, method: &str, argument: &A) -> Result<(), Error> {
        self.request(method).notify(argument).await
    }

    /// Makes a callback of a handler, for this connection only.
    #[must_use]
    pub fn callback(&self, handler: impl Handler) -> Callback {
        Callback::new(&self.link, Method::of(handler))
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
        Callback::new(&self.link, Method::of_value(function))
    }

    /// Closes the connection: what was sent before is still written, nothing that comes in is handled any more. May be called
    /// anywhere, any number of times; waits for nothing, [`Peer::closed`] does. To let running calls end first, see
    /// [`Peer::shutdown`]. r[close.local]
    pub fn close(&self) {
        self.link.with(Connection::close);
    }

    /// Closes the connection gracefully: once every call of the other peer is answered, or when `limit` has passed. Returns when
    /// all is written, which takes as long again as [`Limits::closing_time`](crate::Limits) at most. A handler that awaits this
    /// on its own connection waits for itself, up to the limit.
    ///
    /// Calls that come meanwhile are served too, since there is no way to say that none are wanted; our own are the program's to
    /// wait for. [`Rpc::shutdown`] does this to every connection.
    pub async fn shutdown(&self, limit: Duration) {
        // Past the limit the rest is not answered.
        _ = tokio::time::timeout(limit, self.link.answered()).await;
        self.close();
        self.closed().await;
    }

    /// Waits until the other peer sends nothing more, or this one has closed.
    pub async fn input_ended(&self) {
        self.link.reached(Status::InputEnded).await;
    }

    /// Waits until the connection is over and all is written.
    pub async fn closed(&self) {
        self.link.reached(Status::Over).await;
    }

    /// Why the connection is over, once it is. Who is to blame for it: [`Blame::from(&reason)`](crate::Blame).
    #[must_use]
    pub fn end_reason(&self) -> Option<EndReason> {
        self.link.look(|core| core.end_reason().cloned())
    }

    /// How long nothing has come from the other side, to the millisecond. A transport does not always tell that the other side is
    /// gone, as TCP does not when a cable is cut; whoever must know sends keepalives and hears them. r[transport.silence]
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use duplex_peer::{Error, Peer};
    ///
    /// /// Both sides do so.
    /// async fn watch(peer: Peer) -> Result<(), Error> {
    ///     while peer.silence() < Duration::from_secs(60) {
    ///         peer.keepalive()?;
    ///         tokio::time::sleep(Duration::from_secs(20)).await;
    ///     }
    ///     peer.close();
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.link.silence()
    }

    /// Sends an empty frame, which the other peer ignores. It is heard: see [`Peer::silence`].
    ///
    /// # Errors
    /// When the connection is closed.
    pub fn keepalive(&self) -> Result<(), Error> {
        Ok(self.link.with(Connection::keepalive)?)
    }

    /// What the connection holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let callbacks = self.link.callbacks();
        self.link.with(|core| Counts {
            incoming: core.incoming(),
            outgoing: core.outgoing(),
            handlers: core.handlers(),
            callbacks,
        })
    }

    /// How values are encoded on this connection.
    #[must_use]
    pub fn format(&self) -> Format {
        self.link.format()
    }
}

/// A greeting that somebody waits for. Given up, it leaves no connection that nobody knows of.
struct Greeting<'a> {
    link: &'a Link,
    is_over: bool,
}

impl Drop for Greeting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.link.with(Connection::close);
        }
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("info", self.link.info()).field("status", &self.link.status()).finish_non_exhaustive()
    }
}

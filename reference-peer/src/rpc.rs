//! What peers share: methods, hooks, codecs, limits. One `Rpc` serves any number of connections.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use duplex_proto::greeting;
use duplex_proto::{Codec, EndReason, Framing, Json, Limits, MessagePack, Raw, Role};
use foldhash::fast::RandomState;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use tower_service::Service;

use crate::address::{Address, ConnectError, Incoming, Listener};
use crate::call::ConnectionId;
use crate::callback::CALLBACK_PREFIX;
use crate::error::{BoxError, Error, RegisterError};
use crate::handler::{Handler, Method};
use crate::hook::Hook;
use crate::link::Link;
use crate::peer::Peer;
use crate::service::{self, ServedCall};
use crate::transport::Transport;

/// How long a listener rests that could not take a connection.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Methods and settings for connections. Cheap to clone: clones share their methods.
///
/// One `Rpc` serves any number of connections, dialled and taken ones alike, and a method can be registered and taken away while
/// they are open. What begins with `with_` makes another `Rpc` of the same methods, for connections made from then on:
///
/// ```
/// use duplex_peer::middleware::Tracing;
/// use duplex_peer::{BoxError, Framing, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let rpc = Rpc::new();
/// rpc.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
/// let traced = rpc.clone().with_hook(Tracing::new());
///
/// let mut clients = Vec::new();
/// for server in [&rpc, &traced] {
///     let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
///     let (client, _served) = tokio::try_join!(rpc.handshake(here), server.accept(there))?;
///     clients.push(client);
/// }
/// // Both ends of both.
/// assert_eq!(rpc.connections(), 4);
/// rpc.register_fn("sub", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a - b) })?;
/// for client in &clients {
///     assert_eq!(client.call::<_, i64>("sub", &(3, 2)).await?, 1);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Rpc {
    pub(crate) shared: Arc<Shared>,
    settings: Arc<Settings>,
}

pub(crate) struct Shared {
    methods: RwLock<HashMap<String, Method, RandomState>>,
    links: Mutex<BTreeMap<ConnectionId, Weak<Link>>>,
}

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) hooks: Vec<Arc<dyn Hook>>,
    pub(crate) codecs: Vec<Arc<dyn Codec>>,
    pub(crate) limits: Limits,
}

impl Rpc {
    /// No methods, no hooks; JSON and MessagePack, of which an initiator offers JSON; the protocol's limits.
    #[must_use]
    pub fn new() -> Self {
        let settings =
            Settings { hooks: Vec::new(), codecs: vec![Arc::new(Json), Arc::new(MessagePack)], limits: Limits::default() };
        Self { shared: Arc::new(Shared { methods: RwLock::default(), links: Mutex::default() }), settings: Arc::new(settings) }
    }

    /// The same methods with one more hook, behind the others, for connections made from now on.
    #[must_use]
    pub fn with_hook(self, hook: impl Hook) -> Self {
        self.with(|settings| settings.hooks.push(Arc::new(hook)))
    }

    /// The same methods with these codecs. An acceptor speaks all, an initiator offers the first.
    ///
    /// # Panics
    /// When there is none, or one whose name cannot stand in a greeting: see [`Codec::name`].
    #[must_use]
    pub fn with_codecs(self, codecs: Vec<Arc<dyn Codec>>) -> Self {
        assert!(!codecs.is_empty(), "a peer needs at least one codec");
        for name in codecs.iter().map(|codec| codec.name()) {
            let is_offered = greeting::parse(greeting::offer(name).as_bytes()) == Ok(name);
            assert!(is_offered, "`{name}` is no name of a codec: it has to be like `x-acme.zjson`, and at most 20 bytes long");
        }
        self.with(|settings| settings.codecs = codecs)
    }

    /// The same methods with these limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        self.with(|settings| settings.limits = limits)
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.settings));
        self
    }

    /// Registers a method.
    ///
    /// # Errors
    /// When the name is taken, or starts with `_callback.`. r[callback.reserved]
    pub fn register(&self, name: &str, handler: impl Handler) -> Result<(), RegisterError> {
        self.register_method(name, Method::of(handler))
    }

    fn register_method(&self, name: &str, method: Method) -> Result<(), RegisterError> {
        if name.starts_with(CALLBACK_PREFIX) {
            return Err(RegisterError::Reserved(name.to_owned()));
        }
        let mut methods = self.shared.methods.write().unwrap_or_else(PoisonError::into_inner);
        match methods.entry(name.to_owned()) {
            Entry::Occupied(taken) => Err(RegisterError::Taken(taken.key().clone())),
            Entry::Vacant(free) => {
                free.insert(method);
                Ok(())
            }
        }
    }

    /// Registers a function of one value that returns one value. It sees nothing else of the call: for who calls, for ext or to
    /// call back, take [`Rpc::register`].
    ///
    /// # Errors
    /// As [`Rpc::register`].
    pub fn register_fn<A, R, E, F, Fut>(&self, name: &str, function: F) -> Result<(), RegisterError>
    where
        A: DeserializeOwned + Send + 'static,
        R: Serialize + Send + Sync + 'static,
        E: Into<BoxError> + Send + 'static,
        F: Fn(A) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        self.register_method(name, Method::of_value(function))
    }

    /// Registers a `tower` service that takes one value and gives one. Each call gets a clone of it, once that is ready; what its
    /// layers refuse with is answered like any handler's error: a [`RemoteError`](crate::RemoteError) as it is, all else as -32603.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use duplex_peer::{BoxError, Framing, Raw, RemoteError, Rpc, ServedCall, Transport};
    /// use tower::{BoxError as TowerError, ServiceBuilder, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let echo = service_fn(|call: ServedCall| async move { Ok::<Raw, Infallible>(call.argument) });
    /// let guarded = ServiceBuilder::new()
    ///     .map_err(|_: TowerError| RemoteError::new(503, "busy"))
    ///     .load_shed()
    ///     .concurrency_limit(64)
    ///     .service(echo);
    /// let server = Rpc::new();
    /// server.register_service("echo", guarded)?;
    /// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
    /// let caller = Rpc::new();
    /// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
    /// assert_eq!(client.call::<_, String>("echo", "hello").await?, "hello");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Rpc::register`].
    pub fn register_service<S>(&self, name: &str, service: S) -> Result<(), RegisterError>
    where
        S: Service<ServedCall, Response = Raw> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
    {
        self.register(name, service::handler(service))
    }

    /// Takes a method away; says whether it was there. Calls that run already are not touched. r[stream.args.lookup-once]
    pub fn unregister(&self, name: &str) -> bool {
        let removed = self.shared.methods.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        // What the handler holds is dropped without the lock: a callback asks its connection, and that asks for methods.
        removed.is_some()
    }

    /// Connects to a peer and greets it: [`Address::connect`], then [`Rpc::handshake`], each within the limit of time for the
    /// greeting.
    ///
    /// # Errors
    /// When nobody can be reached there, and as [`Rpc::handshake`].
    ///
    /// # Panics
    /// As [`Rpc::handshake`].
    pub async fn connect(&self, address: &Address, framing: Framing) -> Result<Peer, Error> {
        let connecting = address.connect_for(framing, &self.settings.limits);
        self.handshake(self.in_greeting_time(connecting).await?).await
    }

    /// Takes the connections of a listener, each in a task of its own, and tells of each whether it was greeted or what was
    /// wrong with it. This future never ends: drop it to take no more. Connections that were told of live on by themselves, up to
    /// [`Rpc::shutdown`].
    ///
    /// ```
    /// use duplex_peer::{Address, BoxError, Framing, Rpc};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let server = Rpc::new();
    /// server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
    /// let listener = "tcp://127.0.0.1:0".parse::<Address>()?.listen().await?;
    /// let address = listener.address().clone();
    /// tokio::spawn(server.serve(listener, Framing::Length, |taken| match taken {
    ///     Ok(peer) => eprintln!("{}", peer.info()),
    ///     Err(error) => eprintln!("a connection was not taken: {error}"),
    /// }));
    /// let peer = Rpc::new().connect(&address, Framing::Length).await?;
    /// assert_eq!(peer.call::<_, i64>("add", &(1, 2)).await?, 3);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve<F>(self, listener: Listener, framing: Framing, tell: F)
    where
        F: Fn(Result<Peer, Error>) + Send + Sync + 'static,
    {
        let tell = Arc::new(tell);
        let mut greeting = JoinSet::new();
        loop {
            let incoming = tokio::select! {
                incoming = listener.accept() => incoming,
                Some(_) = greeting.join_next() => continue,
            };
            match incoming {
                Ok(incoming) => {
                    let (rpc, tell) = (self.clone(), Arc::clone(&tell));
                    greeting.spawn(async move { tell(rpc.take(incoming, framing).await) });
                }
                Err(error) => {
                    tell(Err(ConnectError::Io(listener.address().clone(), error).into()));
                    // Such as no file descriptor left: asking again at once would only keep the processor busy.
                    tokio::time::sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    async fn take(&self, incoming: Incoming, framing: Framing) -> Result<Peer, Error> {
        let opening = incoming.open_for(framing, &self.settings.limits);
        self.accept(self.in_greeting_time(opening).await?).await
    }

    /// Whoever connects and says nothing is not waited for.
    async fn in_greeting_time(&self, opening: impl Future<Output = Result<Transport, ConnectError>>) -> Result<Transport, Error> {
        match tokio::time::timeout(self.settings.limits.greeting_time, opening).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(Error::Greeting(EndReason::GreetingTimeout)),
        }
    }

    /// Greets the other peer, offering the first codec, and waits for its answer. Dropped before that, it ends the connection.
    ///
    /// # Errors
    /// When the other peer refuses, or does not answer in time.
    ///
    /// # Panics
    /// When the tokio runtime has no timer.
    pub async fn handshake(&self, transport: Transport) -> Result<Peer, Error> {
        Peer::start(self.clone(), transport, Role::Initiator).await
    }

    /// Waits for the other peer's greeting and answers it. Dropped before that, it ends the connection.
    ///
    /// # Errors
    /// When the greeting is refused, or does not come in time.
    ///
    /// # Panics
    /// When the tokio runtime has no timer.
    pub async fn accept(&self, transport: Transport) -> Result<Peer, Error> {
        Peer::start(self.clone(), transport, Role::Acceptor).await
    }

    /// How many connections are greeted and not over, those of clones included.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.links().iter().filter(|link| link.was_greeted()).count()
    }

    /// The connections that are greeted and not over, those of clones included, the oldest first.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.shared.links().into_iter().filter(|link| link.was_greeted()).map(|link| Peer { link }).collect()
    }

    /// Closes every connection gracefully, those of clones included, as [`Peer::shutdown`] does for one, all at once. Returns when
    /// there is none any more. A server drops the future of [`Rpc::serve`] first, which takes new ones; and it tells handlers that
    /// stream without an end to return, or waits the whole limit for them:
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use duplex_peer::{Address, BoxError, Framing, Rpc};
    ///
    /// # async fn told_to_end() {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let server = Rpc::new();
    /// let listener = "tcp://127.0.0.1:0".parse::<Address>()?.listen().await?;
    /// tokio::select! {
    ///     () = server.clone().serve(listener, Framing::Length, |_| {}) => {}
    ///     () = told_to_end() => {}
    /// }
    /// server.shutdown(Duration::from_secs(10)).await;
    /// assert_eq!(server.connections(), 0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn shutdown(&self, limit: Duration) {
        loop {
            let mut closing = JoinSet::new();
            for link in self.shared.links() {
                closing.spawn(async move { Peer { link }.shutdown(limit).await });
            }
            if closing.is_empty() {
                return;
            }
            closing.join_all().await;
        }
    }

    pub(crate) fn method(&self, name: &str) -> Option<Method> {
        self.shared.methods.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl Shared {
    pub(crate) fn add(&self, link: &Arc<Link>) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).insert(link.id(), Arc::downgrade(link));
    }

    pub(crate) fn remove(&self, link: &Link) {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).remove(&link.id());
    }

    /// The connections that are not over, the oldest first.
    fn links(&self) -> Vec<Arc<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect()
    }
}

impl Default for Rpc {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Rpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rpc").field("limits", &self.settings.limits).finish_non_exhaustive()
    }
}

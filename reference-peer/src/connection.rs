//! What is known of a connection: for logs, and for hooks that judge by who is at the other end.
//!
//! A table of the process finds it by its id, so that a call carries the id alone. What the protocol keeps of a connection is
//! the core's, and not here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, Weak};

use duplex_proto::{Framing, Role};

use crate::call::ConnectionId;
use crate::values::Values;

/// The connections of the process whose `ConnectionInfo` somebody holds.
static KNOWN: RwLock<BTreeMap<ConnectionId, Weak<ConnectionInfo>>> = RwLock::new(BTreeMap::new());

/// What is known of a connection, and what a program keeps with it.
///
/// A program has it from [`Peer::info`](crate::Peer::info), a handler from `channel.peer().info()`, and a hook from
/// [`frame.call().connection().info()`](ConnectionId::info). It prints as a line for a log:
///
/// ```
/// use duplex_peer::{BoxError, Framing, Role, Rpc, Transport, TransportKind};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let address = listener.local_addr()?;
/// let dialled = async { Ok::<_, BoxError>(Rpc::new().handshake(Transport::connect(address, Framing::Length).await?).await?) };
/// let taken = async { Ok(Rpc::new().accept(Transport::tcp(listener.accept().await?.0, Framing::Length)).await?) };
/// let (client, served) = tokio::try_join!(dialled, taken)?;
///
/// let info = served.info();
/// assert_eq!((info.role(), info.codec(), info.transport()), (Role::Acceptor, "json", TransportKind::Tcp));
/// assert_eq!(info.remote(), client.info().local());
/// let line = format!("connection {}: json over tcp, from {}", info.id(), info.remote().ok_or("no address")?);
/// assert_eq!(info.to_string(), line);
/// # Ok(())
/// # }
/// ```
///
/// Values are found by their type, as those of a [`Call`](crate::Call) are. They are how an identity lasts as long as a
/// connection: a certificate that the transport has seen ([`Transport::with_value`](crate::Transport::with_value)), or a call
/// that logs in. The judge of an [`Authentication`](crate::middleware::Authentication) then asks the connection, and no
/// further call has to say who it is:
///
/// ```
/// use duplex_peer::middleware::{Authentication, Identity};
/// use duplex_peer::{BoxError, Call, Channel, Framing, Raw, RemoteError, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// #[derive(Clone)]
/// struct User(String);
///
/// let server = Rpc::new().with_hook(Authentication::new(|_: Option<&Raw>, call: &Call| {
///     let user = call.connection().info().and_then(|info| info.value::<User>());
///     // Whoever is not known may log in, and nothing else.
///     if user.is_none() && call.method() != "login" { None } else { Some(user.map(|User(name)| name)) }
/// }));
/// server.register("login", |mut channel: Channel| async move {
///     let (name, proof): (String, String) = channel.argument().await?;
///     if proof != "3f9a" {
///         return Err(RemoteError::new(1, "that is not the word").into());
///     }
///     channel.peer().info().insert(User(name));
///     Ok(channel.send_last(&()).await?)
/// })?;
/// server.register("whoami", |channel: Channel| async move {
///     let who = channel.shared().and_then(|call| call.value::<Identity<Option<String>>>());
///     Ok(channel.send_last(&who.and_then(|Identity(who)| who)).await?)
/// })?;
///
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// assert!(client.call::<_, String>("whoami", &()).await.is_err());
/// client.call::<_, ()>("login", &("ada", "3f9a")).await?;
/// assert_eq!(client.call::<_, String>("whoami", &()).await?, "ada");
/// # Ok(())
/// # }
/// ```
pub struct ConnectionInfo {
    id: ConnectionId,
    role: Role,
    framing: Framing,
    /// The first of this peer's own.
    offered: Box<str>,
    /// The one that the greeting settled on.
    codec: OnceLock<Box<str>>,
    origin: Origin,
}

/// What carries the frames of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransportKind {
    /// A TCP connection.
    Tcp,
    /// A WebSocket.
    WebSocket,
    /// A Unix socket.
    Unix,
    /// The standard streams of a program that this one has started.
    Child,
    /// This program's own standard streams.
    Stdio,
    /// Memory of this process.
    Memory,
    /// Something else, by the name that whoever made the transport gave it.
    Other(&'static str),
}

/// What a transport knows of where it leads.
pub(crate) struct Origin {
    pub(crate) kind: TransportKind,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) process: Option<u32>,
    #[cfg(unix)]
    pub(crate) credentials: Option<tokio::net::unix::UCred>,
    pub(crate) values: Values,
}

impl Default for Origin {
    fn default() -> Self {
        Self {
            kind: TransportKind::Other("custom"),
            local: None,
            remote: None,
            process: None,
            #[cfg(unix)]
            credentials: None,
            values: Values::default(),
        }
    }
}

impl ConnectionInfo {
    pub(crate) fn new(role: Role, framing: Framing, offered: &str, origin: Origin) -> Arc<Self> {
        let info = Self { id: ConnectionId::next(), role, framing, offered: offered.into(), codec: OnceLock::new(), origin };
        let info = Arc::new(info);
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).insert(info.id, Arc::downgrade(&info));
        info
    }

    pub(crate) fn set_codec(&self, name: &str) {
        self.codec.get_or_init(|| name.into());
    }

    /// The name of the connection in this process.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Which side sent the greeting, and so, usually, which one dialled.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// The name of the codec. Of a connection that was never greeted, the one that this peer would have offered.
    #[must_use]
    pub fn codec(&self) -> &str {
        self.codec.get().unwrap_or(&self.offered)
    }

    /// How frames lie in the transport.
    #[must_use]
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What carries the frames.
    #[must_use]
    pub fn transport(&self) -> TransportKind {
        self.origin.kind
    }

    /// The address of the other side, if the transport has one.
    #[must_use]
    pub fn remote(&self) -> Option<SocketAddr> {
        self.origin.remote
    }

    /// The address of this side, if the transport has one.
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.origin.local
    }

    /// The process at the other end, if it is a child, or if the system tells who has a Unix socket.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.origin.process
    }

    /// The user at the other end of a Unix socket, as the system says and not as the other side does.
    #[cfg(unix)]
    #[must_use]
    pub fn credentials(&self) -> Option<tokio::net::unix::UCred> {
        self.origin.credentials
    }

    /// Keeps a value of this type with the connection, in place of an earlier one, which is returned.
    pub fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<T> {
        self.origin.values.insert(value)
    }

    /// A copy of the value of this type, if one is kept.
    #[must_use]
    pub fn value<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.origin.values.value()
    }

    /// Takes the value of this type away.
    pub fn remove<T: Send + Sync + 'static>(&self) -> Option<T> {
        self.origin.values.remove()
    }
}

impl Drop for ConnectionInfo {
    fn drop(&mut self) {
        KNOWN.write().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl ConnectionId {
    /// What is known of the connection: always there inside a hook, `None` when the connection is over and nobody holds its peer
    /// any more.
    #[must_use]
    pub fn info(self) -> Option<Arc<ConnectionInfo>> {
        KNOWN.read().unwrap_or_else(PoisonError::into_inner).get(&self)?.upgrade()
    }
}

impl fmt::Display for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.role == Role::Initiator { "to" } else { "from" };
        write!(f, "connection {}: {} over {}, {way} ", self.id, self.codec(), self.origin.kind)?;
        match (self.origin.remote, self.origin.process) {
            (Some(address), _) => write!(f, "{address}"),
            (None, Some(process)) => write!(f, "process {process}"),
            (None, None) => f.write_str("the other side"),
        }
    }
}

impl fmt::Display for TransportKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::Unix => "unix",
            Self::Child => "child",
            Self::Stdio => "stdio",
            Self::Memory => "memory",
            Self::Other(name) => name,
        })
    }
}

impl fmt::Debug for ConnectionInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionInfo")
            .field("id", &self.id)
            .field("role", &self.role)
            .field("codec", &self.codec())
            .field("framing", &self.framing)
            .field("transport", &self.origin.kind)
            .field("local", &self.origin.local)
            .field("remote", &self.origin.remote)
            .field("process", &self.origin.process)
            .finish_non_exhaustive()
    }
}

//! Where a peer is, as one word that people can write: parsing it, connecting to it, listening on it.
//!
//! No TLS: `wss` and its like need certificates, which are the program's affair; `Transport` takes any stream.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::str::FromStr;

use duplex_proto::{Framing, Limits};
use tokio::net::{TcpListener, TcpStream};

#[cfg(feature = "websocket")]
use crate::transport::Addresses;
use crate::transport::{ChildEnd, Transport};

/// Where a peer is.
///
/// ```
/// use duplex_peer::Address;
///
/// assert!(matches!("tcp://localhost:7000".parse(), Ok(Address::Tcp(_))));
/// assert!(matches!("ws://localhost:7000/rpc".parse(), Ok(Address::WebSocket(_))));
/// assert!(matches!("unix:/run/door.sock".parse(), Ok(Address::Unix(_))));
/// assert_eq!("exec:node 'my service.js'".parse(), Ok(Address::Exec(vec!["node".into(), "my service.js".into()])));
/// assert_eq!("http://localhost".parse::<Address>().unwrap_err().address(), "http://localhost");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `tcp://host:port`: host and port.
    Tcp(String),
    /// `ws://host:port/path`: the whole URL. A listener takes its path alone; without one, every path.
    WebSocket(String),
    /// `unix:path`: the path of a socket.
    Unix(PathBuf),
    /// `exec:command …`: a program and its arguments, to be talked to over its standard streams.
    Exec(Vec<String>),
    /// `stdio:`: this process's standard streams.
    Stdio,
}

/// A text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is no address: {problem}")]
pub struct AddressError {
    address: String,
    problem: &'static str,
}

/// Nobody can be reached, or nobody can reach us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The system says no.
    #[error("{0}: {1}")]
    Io(Address, #[source] io::Error),
    /// The other side takes or opens no WebSocket.
    #[cfg(feature = "websocket")]
    #[error("{0}: {1}")]
    WebSocket(Address, #[source] crate::WebSocketError),
    /// An address of a kind that this build or system does not have, or that cannot be listened on.
    #[error("{0}: {1}")]
    Unsupported(Address, &'static str),
}

impl AddressError {
    /// The text.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

const FORMS: &str = "it has to be tcp://host:port, ws://host:port/path, unix:path, exec:command or stdio:";

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |problem| AddressError { address: text.to_owned(), problem };
        let (scheme, rest) = text.split_once(':').ok_or_else(|| fail(FORMS))?;
        match scheme {
            "tcp" => {
                let host = rest.strip_prefix("//").ok_or_else(|| fail("it has to be tcp://host:port"))?;
                check_host(host.trim_end_matches('/')).map_err(fail)?;
                Ok(Self::Tcp(host.trim_end_matches('/').to_owned()))
            }
            "ws" => {
                let host = rest.strip_prefix("//").ok_or_else(|| fail("it has to be ws://host:port/path"))?;
                let host = host.split(['/', '?']).next().unwrap_or_default();
                if host.contains(':') { check_host(host) } else { check_host(&format!("{host}:80")) }.map_err(fail)?;
                Ok(Self::WebSocket(text.to_owned()))
            }
            "wss" => Err(fail("there is no TLS here: give `ws` and put TLS in front, or open the stream in a program")),
            "unix" if rest.is_empty() => Err(fail("the path of the socket is missing")),
            "unix" => Ok(Self::Unix(rest.strip_prefix("//").unwrap_or(rest).into())),
            "exec" => {
                let words = words(rest).ok_or_else(|| fail("a quotation mark is not closed"))?;
                if words.is_empty() { Err(fail("the command is missing")) } else { Ok(Self::Exec(words)) }
            }
            "stdio" if rest.is_empty() => Ok(Self::Stdio),
            _ => Err(fail(FORMS)),
        }
    }
}

fn check_host(text: &str) -> Result<(), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an IPv6 host stands in brackets: [::1]:7000");
    }
    port.parse::<u16>().map(drop).map_err(|_| "the port is no number up to 65535")
}

/// The words of a command line: split at white space, but not inside quotation marks or after a backslash. No variables, no
/// patterns: nothing is started but the command.
fn words(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().push(letters.next()?),
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) => write!(f, "tcp://{host}"),
            Self::WebSocket(url) => f.write_str(url),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Exec(command) => write!(f, "exec:{}", command.join(" ")),
            Self::Stdio => f.write_str("stdio:"),
        }
    }
}

impl Address {
    /// Connects, for as long as that takes. WebSocket needs no framing and ignores it.
    ///
    /// # Errors
    /// When nobody can be reached there, or the program cannot be started.
    pub async fn connect(&self, framing: Framing) -> Result<Transport, ConnectError> {
        self.connect_for(framing, &Limits::default()).await
    }

    /// The same for a peer with these limits.
    #[cfg_attr(not(feature = "websocket"), expect(unused_variables, reason = "only WebSocket knows of frames"))]
    pub(crate) async fn connect_for(&self, framing: Framing, limits: &Limits) -> Result<Transport, ConnectError> {
        let fail = |error| ConnectError::Io(self.clone(), error);
        match self {
            Self::Tcp(host) => Transport::connect(host, framing).await.map_err(fail),
            #[cfg(feature = "websocket")]
            Self::WebSocket(url) => {
                let stream = TcpStream::connect(websocket_host(url)).await.map_err(fail)?;
                _ = stream.set_nodelay(true);
                let addresses = Addresses::of(&stream);
                let options = crate::WebSocketOptions::default().or_frame_limit(limits.frame);
                let opened = Transport::open_websocket(stream, url, &options).await;
                opened
                    .map(|transport| transport.with_addresses(addresses))
                    .map_err(|error| ConnectError::WebSocket(self.clone(), error))
            }
            #[cfg(not(feature = "websocket"))]
            Self::WebSocket(_) => Err(ConnectError::Unsupported(self.clone(), "the feature `websocket` is off in this build")),
            #[cfg(unix)]
            Self::Unix(path) => Ok(Transport::unix(tokio::net::UnixStream::connect(path).await.map_err(fail)?, framing)),
            #[cfg(not(unix))]
            Self::Unix(_) => Err(ConnectError::Unsupported(self.clone(), "this system has no Unix sockets")),
            Self::Exec(words) => {
                let (program, arguments) = words.split_first().ok_or(ConnectError::Unsupported(self.clone(), "no command"))?;
                let mut command = tokio::process::Command::new(program);
                command.args(arguments);
                Transport::child(command, ChildEnd::Kill, framing).map_err(fail)
            }
            Self::Stdio => Ok(Transport::stdio(framing)),
        }
    }

    /// Listens. A Unix socket must not be there yet, and stays when the listener is dropped: remove its file then.
    ///
    /// # Errors
    /// When the address is in use or not this machine's, or of a kind on which nobody can listen.
    pub async fn listen(&self) -> Result<Listener, ConnectError> {
        let fail = |error| ConnectError::Io(self.clone(), error);
        let (host, url): (String, Option<String>) = match self {
            Self::Tcp(host) => (host.clone(), None),
            #[cfg(feature = "websocket")]
            Self::WebSocket(url) => (websocket_host(url), Some(url.clone())),
            #[cfg(unix)]
            Self::Unix(path) => {
                return Ok(Listener::new(self.clone(), Inner::Unix(tokio::net::UnixListener::bind(path).map_err(fail)?)));
            }
            _ => return Err(ConnectError::Unsupported(self.clone(), "nobody can listen on an address of this kind")),
        };
        let listener = TcpListener::bind(&host).await.map_err(fail)?;
        let local = listener.local_addr().map_err(fail)?.to_string();
        let address = url.map_or_else(|| Self::Tcp(local.clone()), |url| Self::WebSocket(url.replacen(&host, &local, 1)));
        Ok(Listener::new(address, Inner::Tcp(listener)))
    }
}

/// Host and port of a WebSocket URL that was parsed.
#[cfg(feature = "websocket")]
fn websocket_host(url: &str) -> String {
    let host = url.trim_start_matches("ws://").split(['/', '?']).next().unwrap_or_default();
    if host.contains(':') { host.to_owned() } else { format!("{host}:80") }
}

/// The path of a WebSocket URL that was parsed, unless it is that of the whole host.
#[cfg(feature = "websocket")]
fn websocket_path(url: &str) -> Option<String> {
    let (_, path) = url.trim_start_matches("ws://").split_once('/')?;
    let path = path.split('?').next().filter(|path| !path.is_empty())?;
    Some(format!("/{path}"))
}

/// Takes connections on an address.
#[derive(Debug)]
pub struct Listener {
    address: Address,
    inner: Inner,
    #[cfg(feature = "websocket")]
    websocket: crate::WebSocketOptions,
}

#[derive(Debug)]
enum Inner {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(tokio::net::UnixListener),
}

/// A connection that was taken, and not yet spoken to.
#[derive(Debug)]
pub struct Incoming {
    address: Address,
    stream: Stream,
    #[cfg(feature = "websocket")]
    websocket: crate::WebSocketOptions,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(tokio::net::UnixStream),
}

impl Listener {
    fn new(address: Address, inner: Inner) -> Self {
        Self {
            address,
            inner,
            #[cfg(feature = "websocket")]
            websocket: crate::WebSocketOptions::default(),
        }
    }

    /// Takes WebSockets with these options: by default no page of a browser is let in.
    #[cfg(feature = "websocket")]
    #[must_use]
    pub fn with_websocket(mut self, options: crate::WebSocketOptions) -> Self {
        self.websocket = options;
        self
    }

    /// The address, with the port that port 0 became.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Takes the next connection; says nothing on it yet, so that a slow one holds up no other.
    ///
    /// # Errors
    /// When the system cannot take it.
    pub async fn accept(&self) -> io::Result<Incoming> {
        let stream = match &self.inner {
            Inner::Tcp(listener) => Stream::Tcp(listener.accept().await?.0),
            #[cfg(unix)]
            Inner::Unix(listener) => Stream::Unix(listener.accept().await?.0),
        };
        Ok(Incoming {
            address: self.address.clone(),
            stream,
            #[cfg(feature = "websocket")]
            websocket: self.websocket.clone(),
        })
    }
}

impl Incoming {
    /// The address that the connection was taken on.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Makes a transport of the connection. WebSocket is shaken hands on first, for as long as that takes, and needs no framing.
    ///
    /// # Errors
    /// When what comes is no WebSocket, or a page of an origin that [`Listener::with_websocket`] does not let in.
    pub async fn open(self, framing: Framing) -> Result<Transport, ConnectError> {
        self.open_for(framing, &Limits::default()).await
    }

    /// The same for a peer with these limits.
    #[cfg_attr(not(feature = "websocket"), expect(unused_variables, reason = "only WebSocket knows of frames"))]
    pub(crate) async fn open_for(self, framing: Framing, limits: &Limits) -> Result<Transport, ConnectError> {
        match (self.stream, self.address) {
            #[cfg(feature = "websocket")]
            (Stream::Tcp(stream), Address::WebSocket(url)) => {
                _ = stream.set_nodelay(true);
                let addresses = Addresses::of(&stream);
                let options = self.websocket.or_frame_limit(limits.frame).with_path(websocket_path(&url));
                let taken = Transport::accept_websocket(stream, &options).await;
                taken
                    .map(|transport| transport.with_addresses(addresses))
                    .map_err(|error| ConnectError::WebSocket(Address::WebSocket(url), error))
            }
            (Stream::Tcp(stream), _) => Ok(Transport::tcp(stream, framing)),
            #[cfg(unix)]
            (Stream::Unix(stream), _) => Ok(Transport::unix(stream, framing)),
        }
    }
}

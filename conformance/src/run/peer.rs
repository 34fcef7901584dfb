//! A target that runs: how it was started, and how connections to it are had.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use duplex_vectors::{Role, Transport};
use rustix::net::sockopt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::ChildStdout;

use crate::event::Configuration;
use crate::machine::{Exit, Unserved};
use crate::process::{Process, SpawnError, is_ours};
use crate::target::{Target, TargetKind};
use crate::transport::{Hub, Link};

/// Bytes of stdout before the `listening` line.
const MAX_PREAMBLE: usize = 1024 * 1024;

/// Bytes that the system reads ahead on a socket, and that it holds in a pipe, where little is wanted. With less than a few
/// packets of the loopback a socket is not slow but stands still.
const TIGHT: (usize, usize) = (128 * 1024, 16 * 1024);

/// Exit status of a target that does not implement the configuration. r[target.not-implemented]
pub(crate) const NOT_IMPLEMENTED: i32 = 89;

/// Why a target is not up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotUp {
    #[error("{0}")]
    Spawn(#[from] SpawnError),
    #[error("the process ended before it was up: {}", .0.text)]
    Exited(Exit, Vec<String>),
    #[error("{0}")]
    NoListening(String, Vec<String>),
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl NotUp {
    /// Whether it is the harness that has no room for it.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Spawn(error) => error.is_ours,
            Self::Io(error) => is_ours(error),
            Self::Exited(..) | Self::NoListening(..) => false,
        }
    }

    pub(crate) fn stderr(&self) -> Vec<String> {
        match self {
            Self::Exited(_, lines) | Self::NoListening(_, lines) => lines.clone(),
            Self::Spawn(_) | Self::Io(_) => Vec::new(),
        }
    }
}

/// Why there is no connection, and how that shows.
pub(crate) type NoLink = (String, Unserved);

fn refused(why: impl ToString) -> NoLink {
    (why.to_string(), Unserved::Refused)
}

fn failed(error: std::io::Error) -> NoLink {
    let unserved = match error.kind() {
        _ if is_ours(&error) => Unserved::Ours,
        // There was a connection, and it is over before anything could be made of it.
        ErrorKind::ConnectionReset | ErrorKind::NotConnected | ErrorKind::InvalidInput => Unserved::Reset,
        _ => Unserved::Refused,
    };
    (error.to_string(), unserved)
}

/// A target that is up.
pub(crate) struct Peer {
    pub(crate) configuration: Configuration,
    pub(crate) process: Option<Process>,
    reach: Reach,
    /// How long the first dial of an initiator may take, until it has come: its process starts meanwhile.
    start: Option<Duration>,
}

enum Reach {
    Pipes,
    Dial(SocketAddr),
    Listen(Arc<TcpListener>),
}

impl Peer {
    /// Starts the target in this configuration, and waits until it can be reached.
    pub(crate) async fn start(target: &Target, configuration: Configuration, limit: Duration) -> Result<Self, NotUp> {
        let (command, folder) = match &target.kind {
            TargetKind::Address(address) => return Ok(Self::new(configuration, None, Reach::Dial(*address))),
            TargetKind::Command { command, folder } => (command, folder),
        };
        let mut variables = variables(configuration);
        let start = |variables: &[(&str, String)]| Process::start(command, folder, variables);
        match (configuration.transport, configuration.role) {
            (Transport::Stdio, _) => Ok(Self::new(configuration, Some(start(&variables)?), Reach::Pipes)),
            (Transport::Tcp, Role::Acceptor) => {
                variables.push(("DUPLEX_LISTEN", "127.0.0.1:0".to_owned()));
                let mut process = start(&variables)?;
                let address = listening(&mut process, limit).await?;
                Ok(Self::new(configuration, Some(process), Reach::Dial(address)))
            }
            (Transport::Tcp, Role::Initiator) => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
                variables.push(("DUPLEX_CONNECT", listener.local_addr()?.to_string()));
                let mut process = start(&variables)?;
                if let Some(stdout) = process.take_stdout() {
                    process.discard(stdout);
                }
                let peer = Self::new(configuration, Some(process), Reach::Listen(Arc::new(listener)));
                Ok(Self { start: Some(limit), ..peer })
            }
        }
    }

    fn new(configuration: Configuration, process: Option<Process>, reach: Reach) -> Self {
        Self { configuration, process, reach, start: None }
    }

    /// Where it waits for connections, if it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self.reach {
            Reach::Dial(address) => Some(address),
            Reach::Pipes | Reach::Listen(_) => None,
        }
    }

    /// A new connection. Fails when the process ends before there is one. With a tight one the system reads little ahead.
    pub(crate) async fn connect(&mut self, hub: &mut Hub, limit: Duration, is_tight: bool) -> Result<Link, NoLink> {
        let framing = self.configuration.framing;
        let stream = match &self.reach {
            Reach::Pipes => {
                let pipes = self.process.as_mut().and_then(Process::take_pipes);
                let (stdin, stdout) = pipes.ok_or_else(|| refused("a process has only one standard input"))?;
                if is_tight {
                    tighten(&stdin);
                    tighten(&stdout);
                }
                return Ok(hub.link(stdout, stdin, framing));
            }
            Reach::Dial(address) => {
                let address = *address;
                self.or_exit(TcpStream::connect(address), limit).await?
            }
            Reach::Listen(listener) => {
                let listener = Arc::clone(listener);
                let limit = self.start.take().unwrap_or(limit);
                self.or_exit(async move { listener.accept().await.map(|(stream, _)| stream) }, limit).await?
            }
        };
        // Pieces of a frame are to leave as the pieces that they are.
        stream.set_nodelay(true).map_err(failed)?;
        if is_tight {
            sockopt::set_socket_recv_buffer_size(&stream, TIGHT.0).map_err(|error| failed(error.into()))?;
        }
        let (reader, writer) = stream.into_split();
        Ok(hub.link(reader, writer, framing))
    }

    async fn or_exit(
        &mut self,
        stream: impl Future<Output = std::io::Result<TcpStream>>,
        limit: Duration,
    ) -> Result<TcpStream, NoLink> {
        tokio::select! {
            biased;
            stream = stream => stream.map_err(failed),
            exit = ended(&mut self.process) => Err(refused(format!("the process ended: {}", exit.text))),
            () = tokio::time::sleep(limit) => Err((format!("none within {} ms", limit.as_millis()), Unserved::Silent)),
        }
    }

    /// The last lines of its process on stderr.
    pub(crate) async fn last_words(&self, has_ended: bool) -> Vec<String> {
        match &self.process {
            Some(process) => process.last_words(has_ended).await,
            None => Vec::new(),
        }
    }

    /// Ends the process, politely at first.
    pub(crate) async fn stop(mut self) -> Option<Exit> {
        self.process.as_mut()?.stop().await
    }
}

/// Waits for the end of a process; for ever, if there is none.
pub(crate) async fn ended(process: &mut Option<Process>) -> Exit {
    match process {
        Some(process) => process.wait().await,
        None => std::future::pending().await,
    }
}

/// The variables that configure a target.
pub(crate) fn variables(configuration: Configuration) -> Vec<(&'static str, String)> {
    vec![
        ("DUPLEX_TRANSPORT", configuration.transport.to_string()),
        ("DUPLEX_ROLE", configuration.role.to_string()),
        ("DUPLEX_FRAMING", configuration.framing.to_string()),
        ("DUPLEX_CODEC", configuration.codec.to_string()),
    ]
}

/// Reads stdout up to the line `listening <address>`; what follows is log, and is thrown away.
async fn listening(process: &mut Process, limit: Duration) -> Result<SocketAddr, NotUp> {
    let Some(mut stdout) = process.take_stdout() else {
        return Err(NotUp::NoListening("the process has no stdout".into(), Vec::new()));
    };
    let found = tokio::select! {
        biased;
        found = find_listening(&mut stdout) => found,
        () = ended_for_good(process) => Err("the process ended".to_owned()),
        () = tokio::time::sleep(limit) => Err(format!("no line `listening <address>` on stdout within {} ms", limit.as_millis())),
    };
    match found {
        Ok(address) => {
            process.discard(stdout);
            Ok(address)
        }
        Err(why) => match tokio::time::timeout(Duration::from_millis(500), process.wait()).await {
            Ok(exit) => Err(NotUp::Exited(exit, process.last_words(true).await)),
            Err(_) => Err(NotUp::NoListening(why, process.stderr())),
        },
    }
}

/// The process ended, and whoever it started had time to say what it did not.
async fn ended_for_good(process: &mut Process) {
    process.wait().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
}

async fn find_listening(stdout: &mut ChildStdout) -> Result<SocketAddr, String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        let count = stdout.read(&mut buffer).await.map_err(|error| error.to_string())?;
        total += count;
        text.extend_from_slice(&buffer[..count]);
        let mut lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        let open = lines.pop().unwrap_or_default();
        for line in lines {
            let line = String::from_utf8_lossy(line);
            if let Some(address) = line.strip_prefix("listening ") {
                let address = address.trim();
                return address.parse().map_err(|_| format!("`listening {address}` names no address such as 127.0.0.1:4000"));
            }
        }
        if count == 0 {
            return Err("stdout ended without a line `listening <address>`".into());
        }
        if total > MAX_PREAMBLE {
            return Err(format!("{MAX_PREAMBLE} bytes on stdout and no line `listening <address>`"));
        }
        let keep = open.len();
        text.drain(..text.len() - keep);
    }
}

/// Gives a pipe as little room as the system allows. Where it cannot be asked for, a pipe is small enough.
fn tighten(_pipe: impl AsFd) {
    #[cfg(target_os = "linux")]
    let _has_its_size = rustix::pipe::fcntl_setpipe_size(_pipe, TIGHT.1);
}

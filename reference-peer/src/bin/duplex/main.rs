//! The command `duplex`: calls, serves, watches and describes peers from a shell.
//!
//! Each subcommand is a file; this one holds what they share: the options of the wire, and what exit codes mean.

mod call;
mod describe;
mod serve;
mod shell;
mod trace;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use duplex_peer::{
    Address, Codec, ConnectError, EndReason, Error, Format, Framing, Json, MessagePack, Peer, Raw, RemoteError, Request, Rpc,
};

const EXAMPLES: &str = "\
Addresses:
  tcp://localhost:7000        a TCP connection
  ws://localhost:7000/rpc     a WebSocket
  unix:/run/door.sock         a Unix socket
  exec:node service.js        a program, talked to over its standard input and output
  stdio:                      the standard streams of this command

Try it:
  duplex serve tcp://127.0.0.1:7000 &
  duplex call tcp://127.0.0.1:7000 add '[1, 2]'
  duplex call 'exec:duplex serve stdio:' count 3

Exit codes:
  0  all is well
  1  the other peer replied with an error, which is printed as JSON to standard error
  2  the command line is wrong
  3  nobody can be reached, or the greeting was refused
  4  the connection was lost, or something else failed on this side
  130, 143  it was interrupted, or told to end; a server ends with 0 then";

/// Talks to Duplex peers.
#[derive(Parser)]
#[command(name = "duplex", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Call(call::Options),
    Serve(serve::Options),
    Trace(trace::Options),
    Describe(describe::Options),
}

/// How the wire is spoken.
#[derive(Args, Clone, Copy)]
struct Wire {
    /// How messages are encoded
    #[arg(long, value_enum, default_value_t = CodecName::Json)]
    codec: CodecName,
    /// How frames lie in a byte stream; WebSocket needs none
    #[arg(long, value_enum, default_value_t = FramingName::Length)]
    framing: FramingName,
}

/// What goes with calls.
#[derive(Args)]
struct Metadata {
    /// Metadata that goes with the call: a JSON object
    #[arg(long, value_name = "JSON")]
    ext: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Json,
    Msgpack,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FramingName {
    /// Four bytes of length before each frame
    Length,
    /// One frame a line; for JSON only
    Newline,
}

/// How long tasks have to end when the command does.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// What is added to 128 for the exit code, as shells do.
const SIGINT: u8 = 2;
#[cfg(unix)]
const SIGTERM: u8 = 15;

/// Why a command fails; each has its exit code.
enum Failure {
    Usage(String),
    Unreachable(String),
    Remote(RemoteError),
    /// The connection ended first.
    Closed,
    Local(String),
    /// Whoever read our output does not any more, as `head` does: nothing to complain of.
    Unread,
}

impl Failure {
    /// What is to be said of it.
    fn text(&self) -> String {
        match self {
            Self::Usage(text) | Self::Unreachable(text) | Self::Local(text) => text.clone(),
            Self::Remote(error) => error.to_string(),
            Self::Closed => Error::Closed.to_string(),
            Self::Unread => "nobody reads this any more".to_owned(),
        }
    }
}

impl From<FramingName> for Framing {
    fn from(name: FramingName) -> Self {
        match name {
            FramingName::Length => Self::Length,
            FramingName::Newline => Self::Newline,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Remote(error) => Self::Remote(error),
            Error::Closed => Self::Closed,
            error => Self::Local(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::Local(error.to_string()),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unsupported(..) => Self::Usage(error.to_string()),
            error => Self::Unreachable(error.to_string()),
        }
    }
}

impl Wire {
    /// Connects and greets.
    async fn connect(self, rpc: &Rpc, address: &Address) -> Result<Peer, Failure> {
        if self.codec == CodecName::Msgpack && self.framing == FramingName::Newline {
            return Err(Failure::Usage(
                "newline framing carries text only: use --framing length with --codec msgpack".to_owned(),
            ));
        }
        let codec: Arc<dyn Codec> = match self.codec {
            CodecName::Json => Arc::new(Json),
            CodecName::Msgpack => Arc::new(MessagePack),
        };
        rpc.clone().with_codecs(vec![codec]).connect(address, self.framing.into()).await.map_err(|error| match error {
            Error::Connect(error) => error.into(),
            Error::Greeting(reason @ (EndReason::GreetingTimeout | EndReason::Remote | EndReason::Transport)) => {
                Failure::Unreachable(format!("{address}: no answer to the greeting, {reason}: is --framing right?"))
            }
            error => Failure::Unreachable(format!("{address}: {error}")),
        })
    }
}

impl Metadata {
    fn parse(&self) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
        serde_json::from_str(self.ext.as_deref().unwrap_or("{}")).map_err(|error| {
            Failure::Usage(format!("--ext has to be a JSON object, such as '{{\"auth\": \"Bearer 3f9a\"}}': {error}"))
        })
    }
}

fn with_ext(request: Request, ext: &serde_json::Map<String, serde_json::Value>) -> Result<Request, Failure> {
    Ok(ext.iter().try_fold(request, |request, (key, value)| request.ext(key, value)).map_err(Error::from)?)
}

/// A value as one line of JSON.
fn json_line(value: &Raw) -> Result<String, Failure> {
    let json = value.to_format(Format::Json).map_err(|error| Failure::Local(format!("a value has no form in JSON: {error}")))?;
    // A raw line break in JSON is white space between tokens.
    Ok(String::from_utf8_lossy(json.bytes()).replace(['\n', '\r'], " "))
}

fn print_line(line: &str) -> Result<(), Failure> {
    print(&format!("{line}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn error_json(error: &RemoteError) -> serde_json::Value {
    let mut json = serde_json::json!({ "code": error.code.0, "message": error.message });
    if let Some(data) = &error.data {
        json["data"] = data.decode().unwrap_or_else(|_| "(no form in JSON)".into());
    }
    json
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Failure::Local(error.to_string())),
    };
    let ended = runtime.block_on(async {
        let told = match told_to_end() {
            Ok(told) => told,
            Err(error) => return report(error.into()),
        };
        match cli.command {
            Command::Call(options) => unless(told, call::run(options)).await,
            Command::Serve(options) => ended(serve::run(options, told).await),
            Command::Trace(options) => unless(told, trace::run(options)).await,
            Command::Describe(options) => unless(told, describe::run(options)).await,
        }
    });
    // With its tasks end the programs that were started. Nobody is waited for who waits for standard input.
    runtime.shutdown_timeout(LAST_WORDS);
    ended
}

/// From here on a signal that tells this process to end gives its number, and does no more.
fn told_to_end() -> std::io::Result<impl Future<Output = u8>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupted = signal(SignalKind::interrupt())?;
        let mut terminated = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupted.recv() => SIGINT,
                _ = terminated.recv() => SIGTERM,
            }
        })
    }
    #[cfg(windows)]
    {
        let mut interrupted = tokio::signal::windows::ctrl_c()?;
        Ok(async move {
            _ = interrupted.recv().await;
            SIGINT
        })
    }
}

/// Runs a command, unless it is told to end first.
async fn unless(told: impl Future<Output = u8>, run: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    tokio::select! {
        biased;
        done = run => ended(done),
        signal = told => ExitCode::from(128 + signal),
    }
}

fn ended(done: Result<(), Failure>) -> ExitCode {
    done.map_or_else(report, |()| ExitCode::SUCCESS)
}

fn report(failure: Failure) -> ExitCode {
    let code = match &failure {
        Failure::Remote(error) => {
            // Nobody listens to standard error: the exit code says it.
            _ = writeln!(anstream::stderr(), "{}", error_json(error));
            return ExitCode::from(1);
        }
        Failure::Unread => return ExitCode::SUCCESS,
        Failure::Usage(_) => 2,
        Failure::Unreachable(_) => 3,
        Failure::Closed | Failure::Local(_) => 4,
    };
    let style = anstyle::AnsiColor::Red.on_default().bold();
    _ = writeln!(anstream::stderr(), "{style}error:{style:#} {}", failure.text());
    ExitCode::from(code)
}

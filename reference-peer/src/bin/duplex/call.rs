//! `duplex call`: one call or notification. Arguments are JSON, results are lines of JSON.

use std::time::Duration;

use clap::Args;
use duplex_peer::{Address, BoxError, Channel, Code, Error, Peer, RemoteError, Rpc, Sender};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Failure, Metadata, Wire, json_line, print, print_line, with_ext};

const EXAMPLES: &str = "\
Examples:
  duplex call tcp://localhost:7000 add '[1, 2]'
  duplex call ws://localhost:7000 echo '\"a\"' '\"b\"'         two arguments: they are streamed
  seq 3 | duplex call unix:/run/door.sock echo -           one argument a line, as they come
  duplex call --ext '{\"auth\": \"Bearer 3f9a\"}' exec:./service whoami
  duplex call --terminal tcp://localhost:7000 shell
  duplex call --callback tcp://localhost:7000 alarm '{\"after\": 1, \"call\": \"@callback\"}'

A string needs its own quotation marks, inside those of the shell: '\"text\"'.";

/// Calls a method and prints each result as a line of JSON
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Where the peer is
    address: Address,
    /// The method
    method: String,
    /// The arguments, as JSON: none is null, several are streamed, `-` streams the lines of standard input
    #[arg(value_name = "JSON", allow_negative_numbers = true)]
    arguments: Vec<String>,
    /// Send a notification: no result is waited for
    #[arg(long)]
    notify: bool,
    #[command(flatten)]
    metadata: Metadata,
    /// Give up after so many seconds, connecting included
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    timeout: Option<Duration>,
    /// Replace the string "@callback" in arguments by a callback, and print each call of it as {"callback": …}
    #[arg(long, conflicts_with = "notify")]
    callback: bool,
    /// Talk to a terminal: the size of the window is sent first and whenever it changes, and each line of standard input as keys;
    /// text is printed as it comes
    #[arg(long, conflicts_with_all = ["arguments", "notify", "callback"])]
    terminal: bool,
    #[command(flatten)]
    wire: Wire,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "it has to be a number of seconds that is not negative, such as 2.5".to_owned())
}

/// How long results may still come once the arguments were given up.
const REST: Duration = Duration::from_secs(1);

/// What is sent.
struct Arguments {
    values: Vec<Value>,
    and_lines: Option<Lines>,
}

/// What a line of standard input is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Json,
    Keys,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let arguments = if options.terminal { Arguments::terminal() } else { Arguments::parse(&options.arguments)? };
    if options.notify && (arguments.and_lines.is_some() || arguments.values.len() > 1) {
        return Err(Failure::Usage("a notification takes at most one argument".to_owned()));
    }
    let ext = options.metadata.parse()?;
    // One that is too far for the clock is none.
    let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let rpc = Rpc::new();
    let connecting = options.wire.connect(&rpc, &options.address);
    let no_greeting = || Failure::Unreachable(format!("{}: no connection and no greeting within the time", options.address));
    let peer = within(deadline, connecting).await.unwrap_or_else(|| Err(no_greeting()))?;
    let called = within(deadline, call(&peer, &options, arguments, ext)).await;
    let called = called.unwrap_or_else(|| Err(Error::Timeout.into()));
    // What says why a call was given up is still sent.
    peer.close();
    peer.closed().await;
    called.map_err(|failure| match (failure, peer.end_reason()) {
        (failure @ Failure::Closed, Some(reason)) => Failure::Local(format!("{}: {reason}", failure.text())),
        (failure, _) => failure,
    })
}

/// What comes of it before a deadline; `None` if that passes first.
async fn within<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        None => Some(future.await),
        Some(deadline) => timeout_at(deadline, future).await.ok(),
    }
}

async fn call(peer: &Peer, options: &Options, mut arguments: Arguments, ext: Map<String, Value>) -> Result<(), Failure> {
    if options.callback {
        arguments.put_callback(peer);
    }
    let request = with_ext(peer.request(&options.method), &ext)?;
    if options.notify {
        return Ok(request.notify(&arguments.values.pop().unwrap_or_default()).await?);
    }
    stream(request.open(), arguments).await
}

/// Sends and receives at the same time, up to the last result.
async fn stream(channel: Channel, arguments: Arguments) -> Result<(), Failure> {
    let aborting = channel.sender();
    let is_terminal = arguments.and_lines == Some(Lines::Keys);
    let sending = send(channel.sender(), arguments);
    let receiving = receive(channel, is_terminal);
    tokio::pin!(receiving);
    let sent = tokio::select! {
        // What has come goes first: arguments from a file could be sent for ever.
        biased;
        received = &mut receiving => return received,
        sent = sending => sent,
    };
    let Err(failure) = sent else { return receiving.await };
    // The other side sees the call end; what it made of it so far is still printed.
    _ = aborting.send_err(RemoteError::of(Code::ABORTED)).await;
    _ = timeout(REST, receiving).await;
    Err(failure)
}

async fn receive(mut channel: Channel, is_terminal: bool) -> Result<(), Failure> {
    while let Some(result) = channel.recv_raw().await? {
        match result.decode::<String>() {
            Ok(text) if is_terminal => print(&text)?,
            _ => print_line(&json_line(&result)?)?,
        }
    }
    Ok(())
}

async fn send(sender: Sender, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { mut values, and_lines } = arguments;
    let last = if and_lines.is_some() { None } else { values.pop().or(Some(Value::Null)) };
    for value in values {
        still_open(sender.send(&value).await)?;
    }
    match and_lines {
        Some(Lines::Json) => send_json(&sender).await?,
        Some(Lines::Keys) => send_keys(&sender).await?,
        None => {}
    }
    still_open(match last {
        Some(last) => sender.send_last(&last).await,
        None => sender.finish().await,
    })
}

/// The lines of standard input, each an argument.
async fn send_json(sender: &Sender) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    for number in 1_u64.. {
        let Some(line) = lines.next_line().await? else { break };
        if !line.trim().is_empty() {
            let value = parse(&format!("line {number} of standard input"), &line)?;
            still_open(sender.send(&value).await)?;
        }
    }
    Ok(())
}

/// The lines of standard input as keys, and the size of the window whenever it is another.
async fn send_keys(sender: &Sender) -> Result<(), Failure> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    #[cfg(unix)]
    let mut resized = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change())?;
    loop {
        #[cfg(unix)]
        let resized = resized.recv();
        #[cfg(not(unix))]
        let resized = std::future::pending::<Option<()>>();
        let typed = tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => json!({ "keys": line + "\n" }),
                None => return Ok(()),
            },
            _ = resized => window(),
        };
        still_open(sender.send(&typed).await)?;
    }
}

/// The size of the window, or a usual one where there is none.
fn window() -> Value {
    let (cols, rows) = terminal_size::terminal_size().map_or((80, 24), |(cols, rows)| (cols.0, rows.0));
    json!({ "rows": rows, "cols": cols })
}

/// A call that was answered takes no more arguments, and that is no fault.
fn still_open(sent: Result<(), Error>) -> Result<(), Failure> {
    match sent {
        Err(Error::Ended) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn parse(what: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::Usage(format!(
            "{what} is no JSON: {error}\n  it is: {text}\n  a string is written '\"text\"', with both kinds of marks"
        ))
    })
}

impl Arguments {
    fn parse(texts: &[String]) -> Result<Self, Failure> {
        let (texts, and_lines) = match texts.split_last() {
            Some((last, rest)) if last == "-" => (rest, Some(Lines::Json)),
            _ => (texts, None),
        };
        if texts.iter().any(|text| text == "-") {
            return Err(Failure::Usage("`-`, for the lines of standard input, has to be the last argument".to_owned()));
        }
        let values = texts.iter().enumerate().map(|(at, text)| parse(&format!("argument {}", at + 1), text));
        Ok(Self { values: values.collect::<Result<_, _>>()?, and_lines })
    }

    /// What a terminal begins with; its keys follow.
    fn terminal() -> Self {
        Self { values: vec![window()], and_lines: Some(Lines::Keys) }
    }

    fn put_callback(&mut self, peer: &Peer) {
        let callback = peer.callback_fn(|payload: Value| async move {
            print_line(&json!({ "callback": payload }).to_string()).map_err(|_| BoxError::from("no output"))
        });
        let name = Value::from(callback.name());
        self.values.iter_mut().for_each(|value| replace(value, &name));
        callback.keep();
    }
}

fn replace(value: &mut Value, name: &Value) {
    match value {
        Value::String(text) if text == "@callback" => *value = name.clone(),
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, name)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, name)),
        _ => {}
    }
}

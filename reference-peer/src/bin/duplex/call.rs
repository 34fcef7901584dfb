//! `duplex call`: one call or notification. Arguments are JSON, results are lines of JSON.

use std::time::Duration;

use clap::Args;
use duplex_peer::{Address, BoxError, Channel, Error, Ext, Peer, Raw, Rpc, Sender};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::{Failure, Wire, json_line, print, print_line};

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
    /// Metadata that goes with the call: a JSON object
    #[arg(long, value_name = "JSON")]
    ext: Option<String>,
    /// Give up after so many seconds, connecting included
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Replace the string "@callback" in arguments by a callback, and print each call of it as {"callback": …}
    #[arg(long)]
    callback: bool,
    /// Talk to a terminal: the size of the window is sent first, then each line of standard input as keys; text is printed as it
    /// comes
    #[arg(long, conflicts_with_all = ["arguments", "notify", "callback"])]
    terminal: bool,
    #[command(flatten)]
    wire: Wire,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it has to be a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

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
    let ext = options.ext.as_deref().map(|text| parse("--ext", text)).transpose()?;
    if ext.as_ref().is_some_and(|ext| !ext.is_object()) {
        return Err(Failure::Usage("--ext has to be a JSON object, such as '{\"auth\": \"Bearer 3f9a\"}'".to_owned()));
    }
    let timeout = options.timeout;
    let called = call(options, arguments, ext);
    match timeout {
        None => called.await,
        Some(timeout) => {
            tokio::time::timeout(timeout, called).await.unwrap_or_else(|_| Err(Failure::Local(Error::Timeout.to_string())))
        }
    }
}

async fn call(options: Options, mut arguments: Arguments, ext: Option<Value>) -> Result<(), Failure> {
    let peer = options.wire.connect(&Rpc::new(), &options.address).await?;
    if options.callback {
        arguments.put_callback(&peer);
    }
    let mut request = peer.request(&options.method);
    if let Some(ext) = ext {
        let ext = Raw::encode(peer.format(), &ext).map_err(Error::from)?;
        request = Ext::from_raw(ext).into_iter().fold(request, |request, ext| request.ext_map(&ext));
    }
    if options.notify {
        request.notify(&arguments.values.pop().unwrap_or_default()).await?;
    } else {
        let done = stream(request.open(), arguments).await;
        // What says why a call was given up is still sent.
        peer.close();
        peer.closed().await;
        return done;
    }
    peer.close();
    peer.closed().await;
    Ok(())
}

/// Sends and receives at the same time, up to the last result.
async fn stream(mut channel: Channel, arguments: Arguments) -> Result<(), Failure> {
    let is_terminal = arguments.and_lines == Some(Lines::Keys);
    let sending = send(channel.sender(), arguments);
    tokio::pin!(sending);
    let mut is_sent = false;
    loop {
        tokio::select! {
            // What has come goes first: arguments from a file could be sent for ever.
            biased;
            result = channel.recv_raw() => match result? {
                Some(result) => match result.decode::<String>() {
                    Ok(text) if is_terminal => print(&text)?,
                    _ => print_line(&json_line(&result)?)?,
                },
                None => return Ok(()),
            },
            sent = &mut sending, if !is_sent => {
                is_sent = true;
                sent?;
            }
        }
    }
}

async fn send(sender: Sender, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { mut values, and_lines } = arguments;
    let last = if and_lines.is_some() { None } else { values.pop().or(Some(Value::Null)) };
    for value in values {
        still_open(sender.send(&value).await)?;
    }
    if let Some(last) = last {
        return still_open(sender.send_last(&last).await);
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut number = 0;
    while let Some(line) = lines.next_line().await? {
        number += 1;
        if and_lines == Some(Lines::Keys) {
            still_open(sender.send(&json!({ "keys": line + "\n" })).await)?;
            continue;
        }
        if line.trim().is_empty() {
            continue;
        }
        match parse(&format!("line {number} of standard input"), &line) {
            Ok(value) => still_open(sender.send(&value).await)?,
            Err(failure) => {
                // The receiving side sees the call end; what is wrong is said when it has.
                _ = sender.send_err(duplex_peer::RemoteError::of(duplex_peer::Code::ABORTED)).await;
                return Err(failure);
            }
        }
    }
    still_open(sender.finish().await)
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
        let values = texts.iter().enumerate().map(|(at, text)| parse(&format!("argument {}", at + 1), text));
        Ok(Self { values: values.collect::<Result<_, _>>()?, and_lines })
    }

    /// What a terminal begins with; its keys follow.
    fn terminal() -> Self {
        let (cols, rows) = terminal_size::terminal_size().map_or((80, 24), |(cols, rows)| (cols.0, rows.0));
        Self { values: vec![json!({ "rows": rows, "cols": cols })], and_lines: Some(Lines::Keys) }
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

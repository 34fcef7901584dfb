//! `duplex serve`: a peer to try things on, with one method for each kind of call.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::Args;
use duplex_peer::{
    Address, BoxError, Channel, Error, Framing, Peer, RegisterError, RemoteError, Rpc, Transport, WebSocketOptions,
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::{Failure, FramingName, shell};

const EXAMPLES: &str = "\
Methods:
  add [a, b]                             the sum of two numbers
  count n                                the numbers from 1 to n, streamed
  echo …                                 each argument, as it comes
  alarm {\"after\": s, \"call\": callback}   calls back after so many seconds, then replies
  shell                                  an interactive terminal: `duplex call --terminal ADDRESS shell`
  todo.follow                            a list: the whole first, then each change
  todo.add \"x\", todo.remove \"x\"          change that list
  reflect.methods, reflect.describe m    what is served

Examples:
  duplex serve tcp://127.0.0.1:7000
  duplex serve ws://127.0.0.1:0/rpc        port 0 becomes a free one, which is printed
  duplex call 'exec:duplex serve stdio:' add '[1, 2]'";

/// How long calls that run are waited for at the end.
const LAST_CALLS: Duration = Duration::from_secs(1);

/// Serves methods to try calls on, until it is interrupted; calls that run have a second to be answered then
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Options {
    /// Where to listen
    address: Address,
    /// How frames lie in a byte stream; every codec is spoken
    #[arg(long, value_enum, default_value_t = FramingName::Length)]
    framing: FramingName,
    /// Take WebSockets of pages of this origin, such as https://example.org; `*` is any. None are taken otherwise
    #[arg(long, value_name = "ORIGIN")]
    origin: Vec<String>,
}

pub(crate) async fn run(options: Options, told: impl Future<Output = u8>) -> Result<(), Failure> {
    let rpc = Rpc::new();
    register(&rpc).map_err(|error| Failure::Local(error.to_string()))?;
    let framing = options.framing.into();
    if options.address == Address::Stdio {
        return tokio::select! {
            served = serve_caller(&rpc, framing) => served,
            _ = told => Ok(()),
        };
    }
    let listener = options.address.listen().await?;
    writeln!(anstream::stderr(), "listening on {}", listener.address())?;
    let websocket = options.origin.iter().fold(WebSocketOptions::default(), |websocket, origin| match origin.as_str() {
        "*" => websocket.allow_any_origin(),
        origin => websocket.allow_origin(origin),
    });
    let listener = listener.with_websocket(websocket);
    let refused = |taken: Result<Peer, Error>| {
        if let Err(error) = taken {
            _ = writeln!(anstream::stderr(), "a connection was not taken: {error}");
        }
    };
    tokio::select! {
        () = rpc.clone().serve(listener, framing, refused) => {}
        _ = told => {}
    }
    rpc.shutdown(LAST_CALLS).await;
    // A socket that is left behind would be in the way of the next one.
    if let Address::Unix(path) = &options.address {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Serves who started this command, for as long as they stay.
async fn serve_caller(rpc: &Rpc, framing: Framing) -> Result<(), Failure> {
    let peer = rpc.accept(Transport::stdio(framing)).await.map_err(|error| Failure::Unreachable(error.to_string()))?;
    peer.closed().await;
    Ok(())
}

/// What `reflect.describe` tells of each method: a JSON Schema for what is taken and given, and whether either is streamed.
fn descriptions() -> Value {
    let (number, text) = (json!({ "type": "number" }), json!({ "type": "string" }));
    let (one, results, both) = (
        json!({ "arguments": false, "results": false }),
        json!({ "arguments": false, "results": true }),
        json!({ "arguments": true, "results": true }),
    );
    let change = json!({ "type": "object", "properties": { "at": { "type": "integer" } }, "required": ["at"] });
    json!({
        "add": {
            "doc": "The sum of two numbers.",
            "takes": { "type": "array", "items": number, "minItems": 2, "maxItems": 2 },
            "gives": number,
            "streams": one,
        },
        "alarm": {
            "doc": "Calls `call` after `after` seconds with `text`, then replies.",
            "takes": {
                "type": "object",
                "properties": { "after": { "type": "number", "minimum": 0 }, "call": text, "text": true },
                "required": ["after", "call"],
            },
            "gives": { "type": "object", "properties": { "answered": true }, "required": ["answered"] },
            "streams": one,
        },
        "count": {
            "doc": "The numbers from 1 to the one that is given.",
            "takes": { "type": "integer", "minimum": 0 },
            "gives": { "type": "integer" },
            "streams": results,
        },
        "echo": { "doc": "Each argument, as it comes.", "takes": true, "gives": true, "streams": both },
        "reflect.describe": { "doc": "What a method does.", "takes": text, "gives": { "type": "object" }, "streams": one },
        "reflect.methods": { "doc": "The methods.", "takes": true, "gives": { "type": "array", "items": text }, "streams": one },
        "shell": {
            "doc": "An interactive terminal: the size of the window, then keys or a new size; output, then the status.",
            "takes": { "anyOf": [
                { "type": "object", "properties": { "keys": text }, "required": ["keys"] },
                {
                    "type": "object",
                    "properties": { "rows": { "type": "integer" }, "cols": { "type": "integer" } },
                    "required": ["rows", "cols"],
                },
            ] },
            "gives": { "anyOf": [
                text,
                { "type": "object", "properties": { "status": { "type": "integer" } }, "required": ["status"] },
            ] },
            "streams": both,
        },
        "todo.add": { "doc": "Adds to the list.", "takes": text, "gives": change, "streams": one },
        "todo.follow": { "doc": "The list, then each change of it.", "takes": true, "gives": change, "streams": results },
        "todo.remove": { "doc": "Removes from the list.", "takes": text, "gives": change, "streams": one },
    })
}

#[derive(Deserialize)]
struct Alarm {
    after: f64,
    call: String,
    #[serde(default)]
    text: Value,
}

fn register(rpc: &Rpc) -> Result<(), RegisterError> {
    rpc.register_fn("add", |(a, b): (f64, f64)| async move { Ok::<_, BoxError>(number(a + b)) })?;
    rpc.register("count", |mut channel: Channel| async move {
        let to: u64 = channel.argument().await?;
        for n in 1..=to {
            channel.send(&n).await?;
        }
        Ok(channel.finish().await?)
    })?;
    rpc.register("echo", |mut channel: Channel| async move {
        while let Some(item) = channel.recv_raw().await? {
            channel.send_raw(&item, true).await?;
        }
        Ok(channel.finish().await?)
    })?;
    rpc.register("alarm", |mut channel: Channel| async move {
        let Alarm { after, call, text } = channel.argument().await?;
        let after = Duration::try_from_secs_f64(after).map_err(|error| RemoteError::new(1, error.to_string()))?;
        tokio::time::sleep(after).await;
        let answer: Value = channel.call(&call, &text).await?;
        Ok(channel.send_last(&json!({ "answered": answer })).await?)
    })?;
    rpc.register_fn("reflect.methods", |_: Value| async {
        let names = descriptions().as_object().map(|methods| methods.keys().cloned().collect::<Vec<_>>());
        Ok::<_, BoxError>(names)
    })?;
    rpc.register_fn("reflect.describe", |name: String| async move {
        let description = descriptions().get(&name).cloned();
        description.ok_or_else(|| RemoteError::new(1, format!("there is no method `{name}`")))
    })?;
    shell::register(rpc)?;
    register_todo(rpc)
}

/// Whole numbers stay whole.
fn number(sum: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and within the range in which a float is exact")]
    if sum.fract() == 0.0 && sum.abs() < EXACT { json!(sum as i64) } else { json!(sum) }
}

/// A list that can be followed.
struct Todo {
    list: Mutex<(u64, Vec<String>)>,
    changes: broadcast::Sender<Value>,
}

impl Todo {
    fn list(&self) -> MutexGuard<'_, (u64, Vec<String>)> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole, and every change after it.
    fn follow(&self) -> (Value, broadcast::Receiver<Value>) {
        let list = self.list();
        (json!({ "at": list.0, "whole": list.1 }), self.changes.subscribe())
    }

    fn change(&self, kind: &str, item: String) -> u64 {
        let mut list = self.list();
        list.0 += 1;
        // Nobody following is no fault.
        _ = self.changes.send(json!({ "at": list.0, kind: &item }));
        match kind {
            "add" => list.1.push(item),
            _ => list.1.retain(|kept| *kept != item),
        }
        list.0
    }
}

fn register_todo(rpc: &Rpc) -> Result<(), RegisterError> {
    let todo = Arc::new(Todo { list: Mutex::default(), changes: broadcast::Sender::new(256) });
    for kind in ["add", "remove"] {
        let todo = Arc::clone(&todo);
        rpc.register_fn(&format!("todo.{kind}"), move |item: String| {
            let at = todo.change(kind, item);
            async move { Ok::<_, BoxError>(json!({ "at": at })) }
        })?;
    }
    rpc.register("todo.follow", move |channel: Channel| {
        let todo = Arc::clone(&todo);
        async move {
            let (whole, mut changes) = todo.follow();
            channel.send(&whole).await?;
            loop {
                tokio::select! {
                    () = channel.closed() => return Ok(()),
                    change = changes.recv() => match change {
                        Ok(change) => channel.send(&change).await?,
                        // Too slow for single changes: the whole again.
                        Err(_) => {
                            let (whole, newer) = todo.follow();
                            changes = newer;
                            channel.send(&whole).await?;
                        }
                    },
                }
            }
        }
    })
}

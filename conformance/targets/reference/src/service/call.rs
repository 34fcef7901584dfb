//! `conformance.call`: the target calls the tester, and says what its API showed, event by event.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use duplex_peer::middleware::UnitName;
use duplex_peer::{BoxError, Channel, Code, Error, Ext, Format, Raw, RemoteError, Request, Sender};
use rmpv::Value;
use serde::Deserialize;

use crate::state::State;

#[derive(Clone, Deserialize)]
struct Call {
    method: String,
    #[serde(default = "one_null")]
    args: Vec<Value>,
    /// Another argument: a text of so many `x`.
    fill: Option<usize>,
    /// Whether the arguments end with a frame without an item.
    #[serde(default)]
    end: bool,
    /// The arguments are given up after so many items.
    abort: Option<usize>,
    /// The key of the tokens that pace the arguments.
    pace: Option<String>,
    ext: Option<Value>,
    #[serde(default)]
    notify: bool,
    #[serde(default)]
    when: When,
    #[serde(default = "once")]
    times: usize,
    trace: Option<String>,
    /// Whether it is a call of a single value.
    #[serde(default)]
    single: bool,
    /// The key of the tokens that pace the reading of results.
    read: Option<String>,
    /// Milliseconds from now to the deadline.
    within: Option<u64>,
    /// Whether each call is in a unit of work of its own.
    #[serde(default)]
    unit: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum When {
    #[default]
    During,
    After,
}

fn one_null() -> Vec<Value> {
    vec![Value::Nil]
}

fn once() -> usize {
    1
}

pub(super) async fn call(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let mut call: Call = channel.argument().await?;
    call.args.extend(call.fill.map(|length| Value::from("x".repeat(length))));
    if call.when == When::After {
        channel.send_last(&()).await?;
    }
    let mut events = Events { state: Arc::clone(&state), trace: call.trace.clone(), seen: Vec::new() };
    for _ in 0..call.times {
        let mut request = channel.request(&call.method);
        if let Some(ext) = &call.ext {
            request = with_ext(request, ext, channel.format())?;
        }
        if let Some(within) = call.within {
            request = request.deadline(SystemTime::now() + Duration::from_millis(within))?;
        }
        if call.unit {
            request = request.transaction(&UnitName::new())?;
        }
        if call.notify {
            notify(request, &call, &mut events).await;
        } else if call.single {
            single(request, &call, &mut events).await;
        } else {
            stream(request.open(), &call, &state, &mut events).await;
        }
    }
    if call.when == When::During {
        channel.send_last(&events.seen).await?;
    }
    Ok(())
}

fn with_ext(request: Request, ext: &Value, format: Format) -> Result<Request, BoxError> {
    let ext = Ext::from_raw(Raw::encode(format, ext)?).ok_or_else(|| RemoteError::of(Code::INVALID_PAYLOAD))?;
    Ok(request.ext_map(&ext))
}

async fn notify(request: Request, call: &Call, events: &mut Events) {
    let argument = call.args.first().unwrap_or(&Value::Nil);
    if let Err(error) = request.notify(argument).await {
        events.see(error_event(&error));
    }
}

/// One call of a single value, with the API's own word for it: the value is an item, and the end.
async fn single(request: Request, call: &Call, events: &mut Events) {
    match request.call::<_, Value>(call.args.first().unwrap_or(&Value::Nil)).await {
        Ok(value) => {
            events.see(event("item", value));
            events.see(event("end", true));
        }
        Err(error) => events.see(error_event(&error)),
    }
}

/// One call: its arguments go out while its results come in.
async fn stream(mut channel: Channel, call: &Call, state: &State, events: &mut Events) {
    let sender = channel.sender();
    // Until something was sent there is no call that could be answered.
    if let Err(error) = send_first(&sender, call).await {
        return events.see(error_event(&error));
    }
    let sending = async {
        // A call that ended meanwhile takes no more arguments, which the results show.
        _ = send_rest(&sender, call, state).await;
    };
    let receiving = async {
        loop {
            if let Some(key) = &call.read {
                tokio::select! {
                    () = state.take(key) => {}
                    () = channel.closed() => {}
                }
            }
            match channel.recv::<Value>().await {
                Ok(Some(item)) => events.see(event("item", item)),
                Ok(None) => break events.see(event("end", true)),
                Err(error) => break events.see(error_event(&error)),
            }
        }
        if let Some(ext) = channel.ext()
            && let Ok(ext) = ext.raw().decode::<Value>()
        {
            events.see(event("ext", ext));
        }
    };
    tokio::pin!(sending, receiving);
    // The results decide when the call is over.
    tokio::select! {
        () = &mut receiving => {}
        () = &mut sending => receiving.await,
    }
}

async fn send_first(sender: &Sender, call: &Call) -> Result<(), Error> {
    match call.args.split_first() {
        None => sender.finish().await,
        Some((only, [])) if !call.end && call.abort.is_none() => sender.send_last(only).await,
        Some((first, _)) => sender.send(first).await,
    }
}

async fn send_rest(sender: &Sender, call: &Call, state: &State) -> Result<(), Error> {
    let Some((_, rest)) = call.args.split_first() else { return Ok(()) };
    for (index, item) in rest.iter().enumerate() {
        if call.abort == Some(index + 1) {
            break;
        }
        if let Some(key) = &call.pace {
            state.take(key).await;
        }
        if index + 1 == rest.len() && !call.end && call.abort.is_none() {
            return sender.send_last(item).await;
        }
        sender.send(item).await?;
    }
    if call.abort.is_some() {
        sender.send_err(RemoteError::of(Code::ABORTED)).await
    } else if call.end {
        sender.finish().await
    } else {
        Ok(())
    }
}

struct Events {
    state: Arc<State>,
    trace: Option<String>,
    seen: Vec<Value>,
}

impl Events {
    fn see(&mut self, event: Value) {
        if let Some(key) = &self.trace {
            self.state.sink(key, event.clone());
        }
        self.seen.push(event);
    }
}

/// An event of the contract: a map of one entry.
pub(super) fn event(name: &str, value: impl Into<Value>) -> Value {
    Value::Map(vec![(name.into(), value.into())])
}

/// What the API shows as an error.
pub(super) fn error_event(error: &Error) -> Value {
    match error {
        Error::Remote(error) | Error::Aborted(Some(error)) => {
            let mut shown: Vec<(Value, Value)> =
                vec![("code".into(), error.code.0.into()), ("message".into(), error.message.as_str().into())];
            if let Some(data) = &error.data {
                shown.push(("data".into(), data.decode().unwrap_or(Value::Nil)));
            }
            event("error", Value::Map(shown))
        }
        Error::Closed => event("closed", true),
        _ => event("failed", true),
    }
}

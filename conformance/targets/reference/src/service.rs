//! The conformance service, contract 1: what each method does. How the caller's side is driven stands in `service/call.rs`.

mod call;

use std::sync::Arc;
use std::time::Duration;

use duplex_peer::{BoxError, Channel, Code, Error, Limits, RegisterError, RemoteError, Rpc};
use rmpv::Value;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::hooks::TestHook;
use crate::settings::Settings;
use crate::standard;
use crate::state::State;

/// How long a held call may still get its token after the end of the input: it can be answered, and who gives the token may
/// be on another connection. On TCP nothing tells the end of one side from the end of both.
const LAST_TOKEN: Duration = Duration::from_millis(300);

/// The defaults, but for the ids that may drain: a run that has to pass that limit need not be long.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.draining_ids = 1024;
    limits
}

/// The service, on a peer with the standard middlewares and both test hooks.
pub(crate) fn rpc(settings: &Settings) -> Rpc {
    let state = State::new();
    let mut rpc = standard::with_hooks(Rpc::new().with_codecs(settings.codecs.clone()).with_limits(limits()), &state);
    for name in ["a", "b"] {
        rpc = rpc.with_hook(TestHook { name, state: Arc::clone(&state) });
    }
    register(&rpc, &state)
        .and_then(|()| standard::register(&rpc, &state))
        .expect("invariant: no two methods of the service have one name, and none a reserved one");
    rpc
}

fn register(rpc: &Rpc, state: &Arc<State>) -> Result<(), RegisterError> {
    rpc.register("conformance.describe", describe)?;
    rpc.register("conformance.echo", echo)?;
    rpc.register("conformance.sum", sum)?;
    rpc.register("conformance.pipe", pipe)?;
    rpc.register("conformance.count", count)?;
    rpc.register("conformance.fail", fail_after)?;
    rpc.register("conformance.fail_after", fail_after)?;
    rpc.register("conformance.crash", crash)?;
    rpc.register("conformance.close", close)?;
    with_state(rpc, state, "conformance.take", take)?;
    with_state(rpc, state, "conformance.hold", hold)?;
    with_state(rpc, state, "conformance.release", release)?;
    with_state(rpc, state, "conformance.sink", sink)?;
    with_state(rpc, state, "conformance.sunk", sunk)?;
    with_state(rpc, state, "conformance.call", call::call)?;
    with_state(rpc, state, "conformance.offer", offer)?;
    let inspected = rpc.clone();
    rpc.register("conformance.inspect", move |channel| inspect(inspected.clone(), channel))?;
    let registry = rpc.clone();
    rpc.register("conformance.register", move |channel| register_echo(registry.clone(), channel))?;
    let registry = rpc.clone();
    with_state(rpc, state, "conformance.unregister", move |state, channel| unregister(registry.clone(), state, channel))
}

pub(crate) fn with_state<F, Fut>(rpc: &Rpc, state: &Arc<State>, name: &str, serve: F) -> Result<(), RegisterError>
where
    F: Fn(Arc<State>, Channel) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let state = Arc::clone(state);
    rpc.register(name, move |channel| serve(Arc::clone(&state), channel))
}

async fn describe(channel: Channel) -> Result<(), BoxError> {
    let limits = limits();
    let description = json!({
        "contract": 1,
        "name": "reference",
        "version": env!("CARGO_PKG_VERSION"),
        "language": "rust",
        "homepage": null,
        "issues": null,
        "profiles": [
            "core", "caller", "streaming", "callbacks", "middleware", "inspect",
            "tracing", "authentication", "policy", "deadline", "transactions",
        ],
        "codecs": ["json", "msgpack"],
        "framings": ["length", "newline"],
        "transports": ["stdio", "tcp"],
        "roles": ["acceptor", "initiator"],
        "limits": {
            "frame": limits.frame,
            "greeting_frame": limits.greeting_frame,
            "greeting_time": limits.greeting_time.as_secs(),
            "depth": limits.depth,
            "open_calls": limits.open_calls,
            "draining_ids": limits.draining_ids,
            "buffered_items": limits.buffered_items,
            "buffered_bytes": limits.buffered_bytes,
            "outbound_bytes": limits.outbound_bytes,
            "ext": limits.ext,
            "closing_time": limits.closing_time.as_secs(),
        },
        "lacks": {},
    });
    Ok(channel.send_last(&description).await?)
}

/// The bytes of the payload go back as they came.
async fn echo(mut channel: Channel) -> Result<(), BoxError> {
    let payload = channel.argument_raw().await?;
    Ok(channel.send_raw(&payload, false).await?)
}

async fn sum(mut channel: Channel) -> Result<(), BoxError> {
    let (mut whole, mut fraction) = (0_i64, None::<f64>);
    while let Some(number) = channel.recv::<Value>().await? {
        match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => whole = whole.checked_add(number).ok_or("the total is too large")?,
            (None, Some(number)) => fraction = Some(fraction.unwrap_or_default() + number),
            (None, None) => return Err(unfit()),
        }
    }
    match fraction {
        None => Ok(channel.send_last(&whole).await?),
        #[expect(clippy::cast_precision_loss, reason = "a sum with a fraction in it is a double")]
        Some(fraction) => Ok(channel.send_last(&(whole as f64 + fraction)).await?),
    }
}

async fn pipe(mut channel: Channel) -> Result<(), BoxError> {
    while let Some(item) = channel.recv_raw().await? {
        channel.send_raw(&item, true).await?;
    }
    Ok(channel.finish().await?)
}

#[derive(Deserialize)]
struct Take {
    n: usize,
    trace: Option<String>,
}

async fn take(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let Take { n, trace } = channel.argument().await?;
    let trace = |event: Value| {
        if let Some(key) = &trace {
            state.sink(key, event);
        }
    };
    let mut taken: Vec<Value> = Vec::new();
    while taken.len() < n {
        match channel.recv::<Value>().await {
            Ok(Some(item)) => {
                trace(call::event("item", item.clone()));
                taken.push(item);
            }
            Ok(None) => {
                trace(call::event("end", true));
                break;
            }
            Err(error) => {
                trace(call::error_event(&error));
                return Err(error.into());
            }
        }
    }
    Ok(channel.send_last(&taken).await?)
}

#[derive(Deserialize)]
struct Count {
    n: u64,
}

async fn count(mut channel: Channel) -> Result<(), BoxError> {
    let Count { n } = channel.argument().await?;
    for number in 1..n {
        channel.send(&number).await?;
    }
    if n == 0 { Ok(channel.finish().await?) } else { Ok(channel.send_last(&n).await?) }
}

#[derive(Deserialize)]
struct Fail {
    code: i64,
    message: String,
    /// Told apart from an absent one by `Some(Nil)`.
    #[serde(default, deserialize_with = "present")]
    data: Option<Value>,
    #[serde(default)]
    n: u64,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

async fn fail_after(mut channel: Channel) -> Result<(), BoxError> {
    let Fail { code, message, data, n } = channel.argument().await?;
    for number in 1..=n {
        channel.send(&number).await?;
    }
    let error = RemoteError::new(code, message);
    Err(match data {
        Some(data) => error.with_data(&data)?,
        None => error,
    }
    .into())
}

#[derive(Deserialize)]
struct Crash {
    text: String,
    #[serde(default)]
    after: u64,
}

async fn crash(mut channel: Channel) -> Result<(), BoxError> {
    let Crash { text, after } = channel.argument().await?;
    for number in 1..=after {
        channel.send(&number).await?;
    }
    panic!("{text}");
}

async fn hold(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let key: String = channel.argument().await?;
    let token = state.take(&key);
    tokio::pin!(token);
    let is_held = tokio::select! {
        biased;
        () = &mut token => true,
        () = over(&channel) => false,
    };
    if is_held {
        return Ok(channel.send_last(&key).await?);
    }
    state.sink(&key, "closed".into());
    Err(Error::Closed.into())
}

/// Waits until nobody can be answered any more, or the time after the end of the input has passed. r[close.half]
async fn over(channel: &Channel) {
    let half_closed = async {
        channel.closed().await;
        tokio::time::sleep(LAST_TOKEN).await;
    };
    let peer = channel.peer();
    tokio::select! {
        () = half_closed => {}
        () = peer.closed() => {}
    }
}

async fn release(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let key: String = channel.argument().await?;
    state.release(&key);
    Ok(channel.send_last(&()).await?)
}

#[derive(Deserialize)]
struct Sink {
    key: String,
    value: Value,
}

async fn sink(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let Sink { key, value } = channel.argument().await?;
    state.sink(&key, value);
    Ok(channel.send_last(&()).await?)
}

#[derive(Deserialize)]
struct Sunk {
    key: String,
    n: usize,
}

async fn sunk(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let Sunk { key, n } = channel.argument().await?;
    let values = tokio::select! {
        values = state.sunk(&key, n) => values,
        () = channel.closed() => return Err(Error::Closed.into()),
    };
    Ok(channel.send_last(&values).await?)
}

#[derive(Deserialize)]
struct Offer {
    #[serde(rename = "as")]
    kind: Offered,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Offered {
    Echo,
    Call,
}

async fn offer(state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let Offer { kind } = channel.argument().await?;
    let callback = match kind {
        Offered::Echo => channel.callback(echo),
        Offered::Call => {
            let state = Arc::clone(&state);
            channel.callback(move |channel| call::call(Arc::clone(&state), channel))
        }
    };
    let name = callback.name().to_owned();
    state.keep(callback);
    Ok(channel.send_last(&name).await?)
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

async fn register_echo(rpc: Rpc, mut channel: Channel) -> Result<(), BoxError> {
    let Named { name } = channel.argument().await?;
    match rpc.register(&name, echo) {
        // It echoes already, or it is a method of the service, which stays what it is.
        Ok(()) | Err(RegisterError::Taken(_)) => {}
        Err(_) => return Err(unfit()),
    }
    Ok(channel.send_last(&()).await?)
}

async fn unregister(rpc: Rpc, state: Arc<State>, mut channel: Channel) -> Result<(), BoxError> {
    let Named { name } = channel.argument().await?;
    rpc.unregister(&name);
    state.release_callback(&name);
    Ok(channel.send_last(&()).await?)
}

#[derive(Serialize)]
struct Inspection {
    incoming: usize,
    outgoing: usize,
    handlers: usize,
    callbacks: usize,
    connections: usize,
}

async fn inspect(rpc: Rpc, channel: Channel) -> Result<(), BoxError> {
    let counts = channel.peer().counts();
    // This very call does not count.
    let inspection = Inspection {
        incoming: counts.incoming.saturating_sub(1),
        outgoing: counts.outgoing,
        handlers: counts.handlers.saturating_sub(1),
        callbacks: counts.callbacks,
        connections: rpc.connections(),
    };
    Ok(channel.send_last(&inspection).await?)
}

async fn close(channel: Channel) -> Result<(), BoxError> {
    channel.send_last(&()).await?;
    channel.peer().close();
    Ok(())
}

fn unfit() -> BoxError {
    RemoteError::of(Code::INVALID_PAYLOAD).into()
}

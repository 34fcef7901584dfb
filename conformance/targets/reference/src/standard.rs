//! The standard middlewares with the conventions of the contract, each asleep until a call wakes it; and the methods that come
//! with them.

use std::collections::BTreeSet;
use std::sync::Arc;

use duplex_peer::middleware::{Authentication, Deadlines, Identity, Policy, Tracing, Transactions, Unit};
use duplex_peer::{BoxError, Call, CallEnd, Channel, ConnectionId, Hook, HookFrame, Raw, RegisterError, Rpc, Verdict};
use rmpv::Value;

use crate::service::with_state;
use crate::state::State;

/// The key of ext that wakes middlewares: a list of their names.
const USE: &str = "dev.duplex.conformance.use";
/// How a unit of work can end.
const COMMITTED: &str = "committed";
const ROLLED_BACK: &str = "rolled back";
const LOST: &str = "lost";

/// The sinks that are told how a unit ended.
type Enlisted = Vec<String>;

/// The same peer with the five middlewares, in the book's order.
pub(crate) fn with_hooks(rpc: Rpc, state: &Arc<State>) -> Rpc {
    let lost = Arc::clone(state);
    rpc.with_hook(Asleep { name: "tracing", hook: Tracing::new() })
        .with_hook(Asleep { name: "authentication", hook: Authentication::new(judge) })
        .with_hook(Asleep { name: "policy", hook: Policy::new(allows) })
        .with_hook(Asleep { name: "deadline", hook: Deadlines::new() })
        .with_hook(Asleep {
            name: "transactions",
            hook: Transactions::new(|_| Enlisted::new()).on_lost(move |enlisted| tell(&lost, enlisted, LOST)),
        })
}

/// Registers their methods.
pub(crate) fn register(rpc: &Rpc, state: &Arc<State>) -> Result<(), RegisterError> {
    rpc.register("conformance.whoami", whoami)?;
    rpc.register("conformance.enlist", enlist)?;
    with_state(rpc, state, "conformance.commit", |state, channel| end(state, channel, COMMITTED))?;
    with_state(rpc, state, "conformance.rollback", |state, channel| end(state, channel, ROLLED_BACK))
}

fn judge(credential: Option<&Raw>, _: &Call) -> Option<String> {
    credential?.decode::<String>().ok()?.strip_prefix("valid:").map(str::to_owned)
}

fn allows(frame: &HookFrame) -> bool {
    let method = frame.method();
    let is_private = method.starts_with("conformance.private");
    let is_ada = || frame.call().value::<Identity<String>>().is_some_and(|Identity(name)| name == "ada");
    let is_forbidden_item = method != "conformance.echo" && is_forbidden(&frame.payload);
    !method.starts_with("conformance.forbidden") && (!is_private || is_ada()) && !is_forbidden_item
}

fn is_forbidden(item: &Raw) -> bool {
    let Ok(Value::Map(members)) = item.decode::<Value>() else { return false };
    members.iter().any(|(name, value)| name.as_str() == Some("forbidden") && value.as_bool() == Some(true))
}

async fn whoami(mut channel: Channel) -> Result<(), BoxError> {
    while channel.recv_raw().await?.is_some() {}
    let identity = channel.shared().and_then(|call| call.value::<Identity<String>>());
    Ok(channel.send_last(&identity.map(|Identity(name)| name)).await?)
}

async fn enlist(mut channel: Channel) -> Result<(), BoxError> {
    let key: String = channel.argument().await?;
    unit(&channel)?.with(|enlisted| enlisted.push(key)).ok_or("the unit has ended")?;
    Ok(channel.send_last(&()).await?)
}

async fn end(state: Arc<State>, channel: Channel, how: &str) -> Result<(), BoxError> {
    let enlisted = unit(&channel)?.end().ok_or("the unit has ended")?;
    tell(&state, enlisted, how);
    Ok(channel.send_last(&()).await?)
}

fn unit(channel: &Channel) -> Result<Unit<Enlisted>, BoxError> {
    Ok(channel.shared().and_then(|call| call.value::<Unit<Enlisted>>()).ok_or("the call names no unit")?)
}

fn tell(state: &State, enlisted: Enlisted, how: &str) {
    for key in enlisted {
        state.sink(&key, how.into());
    }
}

/// A hook that sees only the calls whose first frame names it.
struct Asleep<H> {
    name: &'static str,
    hook: H,
}

/// The hooks that a call has woken: kept with the call.
#[derive(Clone, Default)]
struct Awake(BTreeSet<&'static str>);

impl<H: Hook> Asleep<H> {
    fn wake(&self, frame: &HookFrame) {
        let names = frame.ext.as_ref().and_then(|ext| ext.value::<Vec<String>>(USE)).and_then(Result::ok).unwrap_or_default();
        if frame.is_first() && names.iter().any(|name| name == self.name) {
            let Awake(mut names) = frame.call().value().unwrap_or_default();
            names.insert(self.name);
            frame.call().insert(Awake(names));
        }
    }

    fn is_awake(&self, call: &Call) -> bool {
        call.value::<Awake>().is_some_and(|Awake(names)| names.contains(self.name))
    }
}

impl<H: Hook> Hook for Asleep<H> {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.wake(frame);
        if self.is_awake(frame.call()) { self.hook.outbound_request(frame) } else { Ok(Verdict::Pass) }
    }

    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.wake(frame);
        if self.is_awake(frame.call()) { self.hook.inbound_request(frame) } else { Ok(Verdict::Pass) }
    }

    fn outbound_reply(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        if self.is_awake(frame.call()) { self.hook.outbound_reply(frame) } else { Ok(Verdict::Pass) }
    }

    fn inbound_reply(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        if self.is_awake(frame.call()) { self.hook.inbound_reply(frame) } else { Ok(Verdict::Pass) }
    }

    fn ended(&self, call: &Call, end: CallEnd) {
        if self.is_awake(call) {
            self.hook.ended(call, end);
        }
    }

    fn disconnected(&self, connection: ConnectionId) {
        self.hook.disconnected(connection);
    }
}

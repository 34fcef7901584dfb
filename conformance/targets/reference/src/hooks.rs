//! The two test hooks, `a` and `b`: inert unless a frame's ext tells them what to do.

use std::collections::BTreeMap;
use std::sync::Arc;

use duplex_peer::{BoxError, Call, CallEnd, Hook, HookFrame, RemoteError, Verdict};
use rmpv::Value;
use serde::{Deserialize, Deserializer, Serialize};

use crate::state::State;

/// The key of ext that wakes the hooks.
const KEY: &str = "dev.duplex.conformance";

/// A test hook of this name.
pub(crate) struct TestHook {
    pub(crate) name: &'static str,
    pub(crate) state: Arc<State>,
}

#[derive(Deserialize, Serialize)]
struct Orders {
    #[serde(rename = "do", default)]
    orders: BTreeMap<String, Order>,
    #[serde(default)]
    marks: Vec<String>,
}

#[derive(Clone, Deserialize, Serialize)]
struct Order {
    #[serde(flatten)]
    act: Act,
    /// The only frame of the call, counted at the hook's point from 1, at which it is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nth: Option<usize>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Act {
    Answer(Value),
    Fail(String),
    Error(OrderedError),
    Payload(Value),
    Sink(String),
}

#[derive(Clone, Deserialize, Serialize)]
struct OrderedError {
    code: i64,
    message: String,
    /// Told apart from an absent one by `Some(Nil)`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What both hooks keep with a call.
#[derive(Clone, Default)]
struct Kept {
    /// How many frames each hook saw at each of its points.
    frames: BTreeMap<String, usize>,
    /// The sinks that are told the end.
    ends: BTreeMap<&'static str, String>,
}

impl TestHook {
    fn at(&self, point: &str, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        let mark = format!("{}.{point}", self.name);
        let mut kept = frame.call().value::<Kept>().unwrap_or_default();
        let seen = kept.frames.entry(mark.clone()).or_default();
        *seen += 1;
        let nth = *seen;
        let orders = frame.ext.as_ref().and_then(|ext| ext.value::<Orders>(KEY)).and_then(Result::ok);
        if let Some(Order { act: Act::Sink(key), .. }) = orders.as_ref().and_then(|orders| orders.orders.get(&self.end_point()))
            && frame.is_first()
        {
            kept.ends.insert(self.name, key.clone());
        }
        frame.call().insert(kept);
        let Some(mut orders) = orders else { return Ok(Verdict::Pass) };
        let order = orders.orders.get(&mark).filter(|order| order.nth.is_none_or(|only| only == nth)).cloned();
        orders.marks.push(mark.clone());
        frame.ext_mut().set(KEY, &orders)?;
        match order.map(|order| order.act) {
            None => Ok(Verdict::Pass),
            Some(Act::Answer(result)) => Ok(Verdict::Answer(frame.encode(&result)?)),
            Some(Act::Fail(text)) => Err(text.into()),
            Some(Act::Error(error)) => {
                let answer = RemoteError::new(error.code, error.message);
                Ok(Verdict::AnswerError(match error.data {
                    Some(data) => answer.with_data(&data)?,
                    None => answer,
                }))
            }
            Some(Act::Payload(payload)) => {
                frame.payload = frame.encode(&payload)?;
                Ok(Verdict::Pass)
            }
            Some(Act::Sink(key)) => {
                self.state.sink(&key, mark.into());
                Ok(Verdict::Pass)
            }
        }
    }

    fn end_point(&self) -> String {
        format!("{}.end", self.name)
    }
}

impl Hook for TestHook {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.at("outbound_request", frame)
    }

    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.at("inbound_request", frame)
    }

    fn outbound_reply(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.at("outbound_reply", frame)
    }

    fn inbound_reply(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.at("inbound_reply", frame)
    }

    fn ended(&self, call: &Call, _: CallEnd) {
        if let Some(key) = call.value::<Kept>().unwrap_or_default().ends.get(self.name) {
            self.state.sink(key, self.end_point().into());
        }
    }
}

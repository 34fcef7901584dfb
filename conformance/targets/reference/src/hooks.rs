//! The two test hooks, `a` and `b`: inert unless a frame's ext tells them what to do.

use std::collections::BTreeMap;

use duplex_peer::{BoxError, Hook, HookFrame, RemoteError, Verdict};
use rmpv::Value;
use serde::{Deserialize, Serialize};

/// The key of ext that wakes the hooks.
const KEY: &str = "dev.duplex.conformance";

/// A test hook of this name.
pub(crate) struct TestHook(pub(crate) &'static str);

#[derive(Deserialize, Serialize)]
struct Orders {
    #[serde(rename = "do", default)]
    orders: BTreeMap<String, Order>,
    #[serde(default)]
    marks: Vec<String>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    Answer(Value),
    Fail(String),
    Error(OrderedError),
    Payload(Value),
}

#[derive(Clone, Deserialize, Serialize)]
struct OrderedError {
    code: i64,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<Value>,
}

impl TestHook {
    fn at(&self, point: &str, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        let Some(Ok(mut orders)) = frame.ext.as_ref().and_then(|ext| ext.value::<Orders>(KEY)) else {
            return Ok(Verdict::Pass);
        };
        let mark = format!("{}.{point}", self.0);
        let order = orders.orders.get(&mark).cloned();
        orders.marks.push(mark);
        frame.ext_mut().set(KEY, &orders)?;
        match order {
            None => Ok(Verdict::Pass),
            Some(Order::Answer(result)) => Ok(Verdict::Answer(frame.encode(&result)?)),
            Some(Order::Fail(text)) => Err(text.into()),
            Some(Order::Error(error)) => {
                let answer = RemoteError::new(error.code, error.message);
                Ok(Verdict::AnswerError(match error.data {
                    Some(data) => answer.with_data(&data)?,
                    None => answer,
                }))
            }
            Some(Order::Payload(payload)) => {
                frame.payload = frame.encode(&payload)?;
                Ok(Verdict::Pass)
            }
        }
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
}

//! What a mutant knows of the calls on a connection. It sees frames before they are changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Direction;
use crate::wire::Value;

/// Calls that are remembered, and bytes of a request whose argument is.
const REMEMBERED: (usize, usize) = (16_384, 4096);

/// The state of a call, as its provider sees it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Its id was not seen before.
    New,
    /// Arguments and replies may come.
    Open,
    /// The arguments are complete, the terminal reply has not come.
    Complete,
    /// The terminal reply came before the arguments ended.
    Draining,
    /// Both sides have ended.
    Finished,
}

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// The method of its first frame.
    pub(super) method: String,
    /// The payload of its first frame.
    pub(super) argument: Value,
    pub(super) state: State,
}

/// The calls of a connection, by the direction of the request and its id.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: BTreeMap<(Direction, i128), Call>,
}

impl Calls {
    /// The call of a message, and its state before it. A first frame is a call already; a notification is one too.
    pub(super) fn of(&self, direction: Direction, message: &Value, length: usize) -> Option<Call> {
        let id = message.member("id").and_then(Value::as_int);
        if is_reply(message) {
            return self.calls.get(&(direction.other(), id?)).cloned();
        }
        let known = id.and_then(|id| self.calls.get(&(direction, id)));
        if let Some(call) = known.filter(|call| call.state != State::Finished) {
            return Some(call.clone());
        }
        let method = message.member("method").and_then(Value::as_str).unwrap_or_default().to_owned();
        let argument = message.member("payload").filter(|_| length <= REMEMBERED.1).cloned().unwrap_or(Value::Null);
        Some(Call { method, argument, state: known.map_or(State::New, |call| call.state) })
    }

    /// Notes a message; `call` is what [`Calls::of`] said of it.
    pub(super) fn note(&mut self, direction: Direction, message: &Value, call: Option<&Call>) {
        let (Some(call), Some(id)) = (call, message.member("id").and_then(Value::as_int)) else { return };
        let goes_on = message.member("more") == Some(&Value::Bool(true));
        let has_error = message.member("error").is_some_and(|error| *error != Value::Null);
        let (key, state) = if is_reply(message) {
            let state = match call.state {
                state if goes_on && !has_error => state,
                State::Open => State::Draining,
                State::Complete => State::Finished,
                state => state,
            };
            ((direction.other(), id), state)
        } else {
            let state = match call.state {
                State::New | State::Finished if goes_on => State::Open,
                State::New | State::Finished => State::Complete,
                state if goes_on && !has_error => state,
                State::Open => State::Complete,
                State::Draining => State::Finished,
                State::Complete => State::Complete,
            };
            ((direction, id), state)
        };
        if self.calls.len() < REMEMBERED.0 || self.calls.contains_key(&key) {
            self.calls.insert(key, Call { state, ..call.clone() });
        }
    }
}

impl Direction {
    pub(super) fn other(self) -> Self {
        match self {
            Self::ToTarget => Self::FromTarget,
            Self::FromTarget => Self::ToTarget,
        }
    }
}

fn is_reply(message: &Value) -> bool {
    message.member("type").and_then(Value::as_str) == Some("rep")
}

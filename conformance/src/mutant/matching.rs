//! Whether a change is for a frame.

use std::ops::Range;

use regex::Regex;
use serde_json::Value as Json;

use super::memory::Call;
use super::{Direction, Match, Thing};
use crate::machine::FIRST_FENCE;
use crate::wire::{Value, plain_json};

/// Ids that the harness gives its own questions.
const QUESTIONS: Range<i128> = FIRST_FENCE..1 << 31;

/// A frame with what is known of it.
pub(super) struct Seen<'s> {
    pub(super) connection: &'s str,
    pub(super) direction: Direction,
    pub(super) thing: Thing,
    pub(super) bytes: Vec<u8>,
    pub(super) message: Option<Value>,
    pub(super) call: Option<Call>,
}

impl Seen<'_> {
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        self.message.as_ref()?.member(name).filter(|value| **value != Value::Null)
    }

    fn is_question(&self) -> bool {
        self.member("id").and_then(Value::as_int).is_some_and(|id| QUESTIONS.contains(&id))
    }
}

/// A [`Match`] made ready. What it counts and remembers is the filter's.
#[derive(Debug)]
pub(super) struct Matcher {
    matching: Match,
    text: Option<Regex>,
    not: Option<Box<Matcher>>,
}

impl Matcher {
    pub(super) fn new(matching: &Match) -> Self {
        Self {
            text: matching.text.as_deref().and_then(|text| Regex::new(text).ok()),
            not: matching.not.as_deref().map(|not| Box::new(Self::new(not))),
            matching: matching.clone(),
        }
    }

    /// Whether all holds that can be told from the frame and its call alone.
    pub(super) fn matches(&self, seen: &Seen<'_>) -> bool {
        let matching = &self.matching;
        matching.thing == seen.thing
            && (matching.questions || !seen.is_question())
            && matching.connection.as_deref().is_none_or(|name| name == seen.connection)
            && (!matching.undecodable || is_undecodable(seen))
            && self.is_about_message(seen)
            && self.is_about_call(seen)
            && (matching.text.is_none()
                || self.text.as_ref().is_some_and(|text| text.is_match(&String::from_utf8_lossy(&seen.bytes))))
            && matching.length.is_none_or(|length| seen.bytes.len() == length)
            && matching.at_least.is_none_or(|length| seen.bytes.len() >= length)
            && !self.not.as_ref().is_some_and(|not| not.matches(seen))
    }

    fn is_about_message(&self, seen: &Seen<'_>) -> bool {
        let Match { kind, members, has, lacks, writes, id_above, .. } = &self.matching;
        let asks = kind.is_some() || id_above.is_some() || !members.is_empty();
        let asks = asks || !has.is_empty() || !lacks.is_empty() || !writes.is_empty();
        (!asks || seen.message.is_some())
            && kind.as_deref().is_none_or(|kind| seen.member("type").and_then(Value::as_str) == Some(kind))
            && id_above.is_none_or(|least| seen.member("id").and_then(Value::as_int).is_some_and(|id| id > i128::from(least)))
            && members
                .iter()
                .all(|(name, value)| seen.member(name).map_or(value.is_null(), |actual| is_like(&plain_json(actual), value)))
            && has.iter().all(|name| seen.member(name).is_some())
            && lacks.iter().all(|name| seen.member(name).is_none())
            && writes.iter().all(|name| seen.message.as_ref().is_some_and(|message| message.member(name).is_some()))
    }

    fn is_about_call(&self, seen: &Seen<'_>) -> bool {
        let Match { method, argument, state, .. } = &self.matching;
        let call = seen.call.as_ref();
        let names = |pattern: &str, method: &str| match pattern.strip_suffix('*') {
            Some(prefix) => method.starts_with(prefix),
            None => method == pattern,
        };
        method.as_deref().is_none_or(|pattern| call.is_some_and(|call| names(pattern, &call.method)))
            && argument.as_ref().is_none_or(|like| call.is_some_and(|call| is_like(&plain_json(&call.argument), like)))
            && (state.is_empty() || call.is_some_and(|call| state.contains(&call.state)))
    }
}

fn is_undecodable(seen: &Seen<'_>) -> bool {
    let is_greeting = [&b"SIMPLEX/"[..], b"+", b"-"].iter().any(|start| seen.bytes.starts_with(start));
    seen.message.is_none() && !seen.bytes.is_empty() && !is_greeting
}

/// Whether a value is the pattern; of a map the members that the pattern has.
fn is_like(value: &Json, pattern: &Json) -> bool {
    match (value, pattern) {
        (Json::Object(members), Json::Object(like)) => {
            like.iter().all(|(name, like)| members.get(name).map_or(like == "$null", |member| is_like(member, like)))
        }
        (value, Json::String(like)) if like == "$null" => value.is_null(),
        _ => value == pattern,
    }
}

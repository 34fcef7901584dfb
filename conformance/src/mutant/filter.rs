//! A mutant at work on one connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use duplex_vectors::Codec;
use regex::Regex;
use serde_json::Value as Json;

use super::{Act, Change, Direction, Match, Mutant};
use crate::machine::FIRST_FENCE;
use crate::wire::{self, Value, plain_json};

/// Calls that are remembered, and bytes of a request whose argument is.
const REMEMBERED: (usize, usize) = (4096, 4096);

/// What comes out of a filter, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A frame passes.
    Frame(Direction, Vec<u8>),
    /// The connection ends.
    Close,
}

/// The state of a mutant on one connection.
#[derive(Debug)]
pub struct Filter {
    mutant: Arc<Mutant>,
    codec: Codec,
    /// Each change's regular expression, how often it matched, and whether its `after` held.
    states: Vec<(Option<Regex>, usize, bool)>,
    /// Methods and arguments of calls, by the direction of the request and its id.
    calls: BTreeMap<(bool, i128), (String, Value)>,
    held: Vec<(Direction, usize, Vec<u8>)>,
}

/// A frame with what it says.
struct Seen {
    direction: Direction,
    bytes: Vec<u8>,
    message: Option<Value>,
    /// For a reply, the method and the argument of the call.
    answers: Option<(String, Value)>,
}

impl Filter {
    pub(super) fn new(mutant: Arc<Mutant>, codec: Codec) -> Self {
        let regex = |change: &Change| change.matching.text.as_deref().and_then(|text| Regex::new(text).ok());
        let states = mutant.changes.iter().map(|change| (regex(change), 0, change.matching.after.is_none())).collect();
        Self { mutant, codec, states, calls: BTreeMap::new(), held: Vec::new() }
    }

    /// What becomes of a frame.
    pub fn pass(&mut self, direction: Direction, frame: Vec<u8>) -> Vec<Effect> {
        let seen = self.see(direction, frame);
        let mutant = Arc::clone(&self.mutant);
        let mut chosen = None;
        for (index, change) in mutant.changes.iter().enumerate() {
            if chosen.is_none()
                && change.direction == direction
                && self.states[index].2
                && self.holds(index, &change.matching, &seen)
            {
                chosen = Some(&change.act);
            }
            if let Some(after) = &change.matching.after {
                self.states[index].2 |= matches(after, None, &seen);
            }
        }
        let mut effects = match chosen {
            Some(act) => self.act(act, &seen),
            None => vec![Effect::Frame(direction, seen.bytes)],
        };
        self.release(direction, &mut effects);
        effects
    }

    fn see(&mut self, direction: Direction, bytes: Vec<u8>) -> Seen {
        let message = wire::decode(self.codec, &bytes).ok().filter(|value| matches!(value, Value::Map(_)));
        let to_target = direction == Direction::ToTarget;
        let mut answers = None;
        if let Some(message) = &message
            && let Some(id) = message.member("id").and_then(Value::as_int)
        {
            if message.member("type").and_then(Value::as_str) == Some("rep") {
                answers = self.calls.get(&(!to_target, id)).cloned();
            } else if let Some(method) = message.member("method").and_then(Value::as_str)
                && self.calls.len() < REMEMBERED.0
            {
                let argument = message.member("payload").filter(|_| bytes.len() <= REMEMBERED.1).cloned().unwrap_or(Value::Null);
                self.calls.insert((to_target, id), (method.to_owned(), argument));
            }
        }
        Seen { direction, bytes, message, answers }
    }

    fn holds(&mut self, index: usize, matching: &Match, seen: &Seen) -> bool {
        let (regex, count, _) = &mut self.states[index];
        if !matches(matching, regex.as_ref(), seen) {
            return false;
        }
        *count += 1;
        matching.nth.is_none_or(|nth| *count == nth) && matching.from.is_none_or(|from| *count >= from)
    }

    fn act(&mut self, act: &Act, seen: &Seen) -> Vec<Effect> {
        let there = |bytes: Vec<u8>| Effect::Frame(seen.direction, bytes);
        let back = |bytes: Vec<u8>| Effect::Frame(other(seen.direction), bytes);
        let same = || there(seen.bytes.clone());
        match act {
            Act::Drop(_) => Vec::new(),
            Act::Repeat(times) => vec![same(); *times],
            Act::Set(_) | Act::Remove(_) | Act::Rename(_) => vec![there(self.edited(act, seen))],
            Act::Delay(frames) => {
                self.held.push((seen.direction, frames + 1, seen.bytes.clone()));
                Vec::new()
            }
            Act::Close(_) => vec![Effect::Close],
            Act::CloseAfter(_) => vec![same(), Effect::Close],
            Act::Replace(message) => vec![there(self.written(message, seen))],
            Act::Text(text) => vec![there(text.clone().into_bytes())],
            Act::Damage { cut, prefix, suffix } => {
                let mut bytes = hex::decode(prefix).unwrap_or_default();
                bytes.extend_from_slice(&seen.bytes[..seen.bytes.len().saturating_sub(*cut)]);
                bytes.extend(hex::decode(suffix).unwrap_or_default());
                vec![there(bytes)]
            }
            Act::Answer(message) => vec![back(self.written(message, seen))],
            Act::AlsoAnswer(message) => vec![same(), back(self.written(message, seen))],
            Act::Also(message) => vec![same(), there(self.written(message, seen))],
        }
    }

    fn edited(&self, act: &Act, seen: &Seen) -> Vec<u8> {
        let Some(mut message) = seen.message.clone() else { return seen.bytes.clone() };
        match act {
            Act::Set(members) => {
                for (name, template) in members {
                    message.set(name, filled(template, seen));
                }
            }
            Act::Remove(names) => {
                for name in names {
                    message.remove(name);
                }
            }
            Act::Rename(names) => {
                for (name, new) in names {
                    if let Some(value) = message.remove(name) {
                        message.set(new, value);
                    }
                }
            }
            _ => {}
        }
        wire::encode(self.codec, &message).unwrap_or_else(|_| seen.bytes.clone())
    }

    fn written(&self, template: &Json, seen: &Seen) -> Vec<u8> {
        wire::encode(self.codec, &filled(template, seen)).unwrap_or_else(|_| seen.bytes.clone())
    }

    /// Lets delayed frames go whose time has come.
    fn release(&mut self, direction: Direction, effects: &mut Vec<Effect>) {
        for held in self.held.iter_mut().filter(|held| held.0 == direction) {
            held.1 -= 1;
        }
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(|held| held.1 == 0);
        self.held = held;
        let due: Vec<(Direction, usize, Vec<u8>)> = due;
        effects.extend(due.into_iter().map(|(direction, _, bytes)| Effect::Frame(direction, bytes)));
    }
}

fn other(direction: Direction) -> Direction {
    match direction {
        Direction::ToTarget => Direction::FromTarget,
        Direction::FromTarget => Direction::ToTarget,
    }
}

fn matches(matching: &Match, regex: Option<&Regex>, seen: &Seen) -> bool {
    let member =
        |name: &str| seen.message.as_ref().and_then(|message| message.member(name)).filter(|value| **value != Value::Null);
    let is_question = member("id").and_then(Value::as_int).is_some_and(|id| id >= FIRST_FENCE);
    let names_method = |pattern: &str, method: &str| match pattern.strip_suffix('*') {
        Some(prefix) => method.starts_with(prefix),
        None => method == pattern,
    };
    let about_messages = !matching.members.is_empty() || !matching.has.is_empty() || !matching.lacks.is_empty();
    (matching.questions || !is_question)
        && (!about_messages || seen.message.is_some())
        && matching
            .members
            .iter()
            .all(|(name, value)| member(name).map_or(value.is_null(), |actual| plain_json(actual) == *value))
        && matching.has.iter().all(|name| member(name).is_some())
        && matching.lacks.iter().all(|name| member(name).is_none())
        && matching
            .answers
            .as_ref()
            .is_none_or(|pattern| seen.answers.as_ref().is_some_and(|(method, _)| names_method(pattern, method)))
        && matching.method_prefix.as_ref().is_none_or(|prefix| {
            member("method").and_then(Value::as_str).is_some_and(|method| method.starts_with(prefix.as_str()))
        })
        && (matching.text.is_none() || regex.is_some_and(|regex| regex.is_match(&String::from_utf8_lossy(&seen.bytes))))
        && matching.length.is_none_or(|length| seen.bytes.len() == length)
        && matching.at_least.is_none_or(|length| seen.bytes.len() >= length)
}

/// A value of a mutant's file, with what [`Act::Set`] says that names stand for.
fn filled(template: &Json, seen: &Seen) -> Value {
    let own = |name: &str| seen.message.as_ref().and_then(|message| message.member(name)).cloned().unwrap_or(Value::Null);
    match template {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number.as_i128().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Int),
        Json::String(text) => match text.as_str() {
            "$id" => own("id"),
            "$method" => own("method"),
            "$payload" => own("payload"),
            "$argument" => seen.answers.as_ref().map_or(Value::Null, |(_, argument)| argument.clone()),
            "$null" => Value::Null,
            text => text.into(),
        },
        Json::Array(items) => Value::Array(items.iter().map(|item| filled(item, seen)).collect()),
        Json::Object(members) => {
            Value::Map(members.iter().map(|(name, item)| (Value::Str(name.clone()), filled(item, seen))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        let text = format!("rule = \"a.b\"\ntitle = \"t\"\nprofile = \"core\"\n{text}");
        Arc::new(Mutant::parse("a.b.c", &text).expect("parses")).filter(Codec::Json)
    }

    fn from_target(filter: &mut Filter, frame: &str) -> Vec<String> {
        let effects = filter.pass(Direction::FromTarget, frame.as_bytes().to_vec());
        let show = |effect: Effect| match effect {
            Effect::Frame(direction, bytes) => {
                let arrow = if direction == Direction::FromTarget { "" } else { "back " };
                format!("{arrow}{}", String::from_utf8_lossy(&bytes))
            }
            Effect::Close => "close".to_owned(),
        };
        effects.into_iter().map(show).collect()
    }

    #[test]
    fn changes_only_what_matches() {
        for (change, frame, after) in [
            ("do = { drop = true }", r#"{"id":1}"#, vec![]),
            ("do = { drop = true }", r#"{"id":900000001}"#, vec![r#"{"id":900000001}"#]),
            ("match = { questions = true }\ndo = { drop = true }", r#"{"id":900000001}"#, vec![]),
            ("match = { has = [\"error\"] }\ndo = { drop = true }", r#"{"id":1}"#, vec![r#"{"id":1}"#]),
            (
                "match = { members = { type = \"rep\" } }\ndo = { set = { id = 7 } }",
                r#"{"type":"rep","id":1}"#,
                vec![r#"{"type":"rep","id":7}"#],
            ),
            ("do = { remove = [\"payload\"] }", r#"{"id":1,"payload":2}"#, vec![r#"{"id":1}"#]),
            ("do = { rename = { more = \"More\" } }", r#"{"more":true}"#, vec![r#"{"More":true}"#]),
            ("do = { repeat = 2 }", "x", vec!["x", "x"]),
            ("match = { text = \"^\\\\+\" }\ndo = { text = \"OK\" }", "+OK", vec!["OK"]),
            ("do = { damage = { cut = 1, suffix = \"20\" } }", "ab", vec!["a "]),
            ("do = { answer = { type = \"rep\", id = \"$id\" } }", r#"{"id":4}"#, vec![r#"back {"id":4,"type":"rep"}"#]),
            ("do = { close-after = true }", "x", vec!["x", "close"]),
        ] {
            let mut filter = filter(&format!("[[change]]\ndirection = \"from-target\"\n{change}"));
            let mut got = from_target(&mut filter, frame);
            // Members of a mutant's file have no order.
            for text in &mut got {
                if text.starts_with("back {\"type\"") {
                    *text = r#"back {"id":4,"type":"rep"}"#.to_owned();
                }
            }
            assert_eq!(got, after, "{change}");
        }
    }

    #[test]
    fn a_delayed_frame_comes_behind_the_next() {
        let mut filter = filter("[[change]]\ndirection = \"from-target\"\nmatch = { nth = 1 }\ndo = { delay = 1 }");
        assert_eq!(from_target(&mut filter, "a"), Vec::<String>::new());
        assert_eq!(from_target(&mut filter, "b"), ["b", "a"]);
        assert_eq!(from_target(&mut filter, "c"), ["c"]);
    }

    #[test]
    fn replies_are_known_by_the_method_they_answer() {
        let mut filter =
            filter("[[change]]\ndirection = \"from-target\"\nmatch = { answers = \"conformance.e*\" }\ndo = { drop = true }");
        filter.pass(Direction::ToTarget, br#"{"type":"req","id":1,"method":"conformance.echo"}"#.to_vec());
        filter.pass(Direction::ToTarget, br#"{"type":"req","id":2,"method":"conformance.fail"}"#.to_vec());
        assert!(from_target(&mut filter, r#"{"type":"rep","id":1}"#).is_empty());
        assert_eq!(from_target(&mut filter, r#"{"type":"rep","id":2}"#).len(), 1);
    }
}

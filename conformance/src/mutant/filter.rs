//! A mutant at work on one connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use duplex_vectors::Codec;
use regex::bytes::Regex;
use serde_json::Value as Json;

use super::matching::{Matcher, Seen};
use super::memory::Calls;
use super::{Act, Change, Direction, Mutant, Thing};
use crate::wire::{self, Value};

/// What comes out of a filter, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A frame passes.
    Frame(Direction, Vec<u8>),
    /// Bytes pass below the framing, to the target.
    Bytes(Vec<u8>),
    /// The tester gets bytes that are no frame.
    Unframed(Vec<u8>),
    /// The end of what a side sends passes.
    End(Direction),
    /// The connection ends.
    Close,
    /// Every other connection ends.
    CloseOthers,
}

/// The state of a mutant on one connection.
#[derive(Debug)]
pub struct Filter {
    mutant: Arc<Mutant>,
    codec: Codec,
    connection: String,
    states: Vec<ChangeState>,
    calls: Calls,
    held: Vec<Held>,
}

#[derive(Debug)]
struct ChangeState {
    matcher: Matcher,
    /// How often it matched, by call where it counts so.
    counts: BTreeMap<Option<i128>, usize>,
    after: Option<Matcher>,
    /// The latest message for which `after` held; `Some(None)` for what is no message.
    held_for: Option<Option<Value>>,
}

/// A frame that comes later.
#[derive(Debug)]
struct Held {
    direction: Direction,
    bytes: Vec<u8>,
    until: Until,
}

#[derive(Debug)]
enum Until {
    Frames(usize),
    Sight(Box<Matcher>),
}

impl Filter {
    pub(super) fn new(mutant: Arc<Mutant>, codec: Codec) -> Self {
        let state = |change: &Change| ChangeState {
            matcher: Matcher::new(&change.matching),
            counts: BTreeMap::new(),
            after: change.matching.after.as_deref().map(Matcher::new),
            held_for: None,
        };
        let states = mutant.changes.iter().map(state).collect();
        Self { mutant, codec, connection: "a".to_owned(), states, calls: Calls::default(), held: Vec::new() }
    }

    /// The same filter for the connection with this name.
    #[must_use]
    pub fn on(mut self, connection: &str) -> Self {
        connection.clone_into(&mut self.connection);
        self
    }

    /// What becomes of a frame.
    pub fn frame(&mut self, direction: Direction, frame: Vec<u8>) -> Vec<Effect> {
        self.pass(direction, Thing::Frame, frame)
    }

    /// What becomes of bytes that the tester writes below the framing.
    pub fn bytes(&mut self, bytes: Vec<u8>) -> Vec<Effect> {
        self.pass(Direction::ToTarget, Thing::Bytes, bytes)
    }

    /// What becomes of the end of what a side sends.
    pub fn end(&mut self, direction: Direction) -> Vec<Effect> {
        self.pass(direction, Thing::End, Vec::new())
    }

    fn pass(&mut self, direction: Direction, thing: Thing, bytes: Vec<u8>) -> Vec<Effect> {
        let is_frame = thing == Thing::Frame;
        let decoded = is_frame.then(|| wire::decode(self.codec, &bytes).ok()).flatten();
        let message = decoded.filter(|value| matches!(value, Value::Map(_)));
        let call = message.as_ref().and_then(|message| self.calls.of(direction, message, bytes.len()));
        let connection = self.connection.clone();
        let seen = Seen { connection: &connection, direction, thing, bytes, message, call };
        let mutant = Arc::clone(&self.mutant);
        let mut chosen = None;
        for (index, change) in mutant.changes.iter().enumerate() {
            if chosen.is_none() && change.direction == direction && self.holds(index, change, &seen) {
                chosen = Some((index, &change.act));
            }
        }
        let mut effects = match chosen {
            Some((index, act)) => self.act(index, act, &seen),
            None => vec![same(&seen)],
        };
        for state in &mut self.states {
            if state.after.as_ref().is_some_and(|after| after.matches(&seen)) {
                state.held_for = Some(seen.message.clone());
            }
        }
        if let Some(message) = &seen.message {
            self.calls.note(direction, message, seen.call.as_ref());
        }
        self.release(&seen, &mut effects);
        effects
    }

    fn holds(&mut self, index: usize, change: &Change, seen: &Seen<'_>) -> bool {
        let state = &mut self.states[index];
        if (state.after.is_some() && state.held_for.is_none()) || !state.matcher.matches(seen) {
            return false;
        }
        let call = seen.member("id").and_then(Value::as_int).filter(|_| change.matching.per_call);
        let count = state.counts.entry(call).or_default();
        *count += 1;
        change.matching.nth.is_none_or(|nth| *count == nth) && change.matching.from.is_none_or(|from| *count >= from)
    }

    fn act(&mut self, index: usize, act: &Act, seen: &Seen<'_>) -> Vec<Effect> {
        let direction = seen.direction;
        let there = |bytes: Vec<u8>| Effect::Frame(direction, bytes);
        let written = |direction: Direction, messages: &super::Messages| {
            let frames = messages.as_slice().iter().map(|message| self.written(index, message, seen));
            frames.map(|bytes| Effect::Frame(direction, bytes)).collect::<Vec<_>>()
        };
        match act {
            Act::Drop => Vec::new(),
            Act::Pass => vec![same(seen)],
            Act::Repeat(times) => vec![same(seen); *times],
            Act::Set(_) | Act::Remove(_) | Act::Rename(_) => vec![there(self.edited(index, act, seen))],
            Act::Delay(frames) => self.hold(seen, Until::Frames(frames + 1)),
            Act::Wait(until) => self.hold(seen, Until::Sight(Box::new(Matcher::new(until)))),
            Act::Close => vec![Effect::Close],
            Act::CloseAfter => vec![same(seen), Effect::Close],
            Act::CloseOthers => vec![same(seen), Effect::CloseOthers],
            Act::Replace(message) => vec![there(self.written(index, message, seen))],
            Act::Text(text) => vec![there(text.clone().into_bytes())],
            Act::Substitute { pattern, with } => {
                let replaced = Regex::new(pattern).map(|regex| regex.replace_all(&seen.bytes, with.as_bytes()).into_owned());
                vec![of_kind(seen, replaced.unwrap_or_else(|_| seen.bytes.clone()))]
            }
            Act::Damage { cut, prefix, suffix } => {
                let mut bytes = hex::decode(prefix).unwrap_or_default();
                bytes.extend_from_slice(&seen.bytes[..seen.bytes.len().saturating_sub(*cut)]);
                bytes.extend(hex::decode(suffix).unwrap_or_default());
                vec![of_kind(seen, bytes)]
            }
            Act::Answer(messages) => written(direction.other(), messages),
            Act::AlsoAnswer(messages) => [vec![same(seen)], written(direction.other(), messages)].concat(),
            Act::Also(messages) => [vec![same(seen)], written(direction, messages)].concat(),
            Act::Before(messages) => [written(direction, messages), vec![same(seen)]].concat(),
            Act::Unframed => vec![Effect::Unframed(seen.bytes.clone())],
        }
    }

    fn hold(&mut self, seen: &Seen<'_>, until: Until) -> Vec<Effect> {
        self.held.push(Held { direction: seen.direction, bytes: seen.bytes.clone(), until });
        Vec::new()
    }

    fn edited(&self, index: usize, act: &Act, seen: &Seen<'_>) -> Vec<u8> {
        let Some(mut message) = seen.message.clone() else { return seen.bytes.clone() };
        match act {
            Act::Set(members) => {
                for (path, template) in members {
                    put(&mut message, path, self.filled(index, template, seen));
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

    fn written(&self, index: usize, template: &Json, seen: &Seen<'_>) -> Vec<u8> {
        wire::encode(self.codec, &self.filled(index, template, seen)).unwrap_or_else(|_| seen.bytes.clone())
    }

    /// A value of a mutant's file, with what [`Act`] says that names stand for.
    fn filled(&self, index: usize, template: &Json, seen: &Seen<'_>) -> Value {
        let member = |message: Option<&Value>, name: &str| message.and_then(|message| message.member(name)).cloned();
        match template {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => {
                number.as_i128().map_or_else(|| Value::Float(number.as_f64().unwrap_or(f64::NAN)), Value::Int)
            }
            Json::String(text) => match text.strip_prefix('$') {
                None => text.as_str().into(),
                Some("null") => Value::Null,
                Some("argument") => seen.call.as_ref().map_or(Value::Null, |call| call.argument.clone()),
                Some("method") => seen.call.as_ref().map_or(Value::Null, |call| call.method.as_str().into()),
                Some(name) => match name.strip_prefix("after.") {
                    Some(name) => member(self.states[index].held_for.as_ref().and_then(Option::as_ref), name),
                    None => member(seen.message.as_ref(), name),
                }
                .unwrap_or(Value::Null),
            },
            Json::Array(items) => Value::Array(items.iter().map(|item| self.filled(index, item, seen)).collect()),
            Json::Object(members) => {
                let member = |(name, item): (&String, &Json)| (Value::Str(name.clone()), self.filled(index, item, seen));
                Value::Map(members.iter().map(member).collect())
            }
        }
    }

    /// Lets held frames go whose time has come.
    fn release(&mut self, seen: &Seen<'_>, effects: &mut Vec<Effect>) {
        let (due, held) = std::mem::take(&mut self.held).into_iter().partition(|held| match &held.until {
            Until::Frames(frames) => *frames == 1 && held.direction == seen.direction,
            // Not for what is held itself.
            Until::Sight(matcher) => matcher.matches(seen) && held.bytes != seen.bytes,
        });
        self.held = held;
        for held in self.held.iter_mut().filter(|held| held.direction == seen.direction) {
            if let Until::Frames(frames) = &mut held.until {
                *frames -= 1;
            }
        }
        let due: Vec<Held> = due;
        effects.extend(due.into_iter().map(|held| Effect::Frame(held.direction, held.bytes)));
    }
}

fn same(seen: &Seen<'_>) -> Effect {
    of_kind(seen, seen.bytes.clone())
}

fn of_kind(seen: &Seen<'_>, bytes: Vec<u8>) -> Effect {
    match seen.thing {
        Thing::Frame => Effect::Frame(seen.direction, bytes),
        Thing::Bytes => Effect::Bytes(bytes),
        Thing::End => Effect::End(seen.direction),
    }
}

/// Sets a member, or with a dot a member of a member.
fn put(message: &mut Value, path: &str, value: Value) {
    match path.split_once('.') {
        None => message.set(path, value),
        Some((outer, inner)) => {
            let mut within = message.member(outer).filter(|value| matches!(value, Value::Map(_))).cloned();
            let within = within.get_or_insert_with(|| Value::Map(Vec::new()));
            put(within, inner, value);
            message.set(outer, within.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(change: &str) -> Filter {
        let text = format!("[[mutant]]\nrule = \"a.b\"\ntitle = \"t\"\nchange = [{{ {change} }}]");
        let mutant = Mutant::parse("a", &text).expect("parses").remove(0);
        Arc::new(mutant).filter(Codec::Json)
    }

    fn show(effects: Vec<Effect>) -> Vec<String> {
        let show = |effect: Effect| match effect {
            Effect::Frame(direction, bytes) => {
                let arrow = if direction == Direction::FromTarget { "" } else { "back " };
                format!("{arrow}{}", String::from_utf8_lossy(&bytes))
            }
            other => format!("{other:?}").to_lowercase(),
        };
        effects.into_iter().map(show).collect()
    }

    fn from_target(filter: &mut Filter, frame: &str) -> Vec<String> {
        show(filter.frame(Direction::FromTarget, frame.as_bytes().to_vec()))
    }

    #[test]
    fn changes_only_what_matches() {
        for (change, frame, after) in [
            ("do = 'drop'", r#"{"id":1}"#, vec![]),
            ("do = 'drop'", r#"{"id":900000001}"#, vec![r#"{"id":900000001}"#]),
            ("if = { questions = true }, do = 'drop'", r#"{"id":900000001}"#, vec![]),
            ("if = { has = ['error'] }, do = 'drop'", r#"{"id":1}"#, vec![r#"{"id":1}"#]),
            ("if = { type = 'rep' }, do = { set = { id = 7 } }", r#"{"type":"rep","id":1}"#, vec![r#"{"type":"rep","id":7}"#]),
            ("if = { members = { error = { code = 1 } } }, do = 'drop'", r#"{"error":{"code":1,"message":""}}"#, vec![]),
            ("do = { set = { 'error.code' = 2 } }", r#"{"error":{"code":1}}"#, vec![r#"{"error":{"code":2}}"#]),
            ("do = { remove = ['payload'] }", r#"{"id":1,"payload":2}"#, vec![r#"{"id":1}"#]),
            ("do = { rename = { more = 'More' } }", r#"{"more":true}"#, vec![r#"{"More":true}"#]),
            ("do = { repeat = 2 }", "x", vec!["x", "x"]),
            ("if = { text = '^\\+' }, do = { text = 'OK' }", "+OK", vec!["OK"]),
            ("do = { damage = { cut = 1, suffix = '20' } }", "ab", vec!["a "]),
            ("do = { substitute = { pattern = '^a', with = 'c' } }", "aba", vec!["cba"]),
            ("do = { answer = { id = '$id' } }", r#"{"id":4}"#, vec![r#"back {"id":4}"#]),
            ("do = 'close-after'", "x", vec!["x", "close"]),
        ] {
            let mut filter = filter(&format!("from = 'target', {change}"));
            assert_eq!(from_target(&mut filter, frame), after, "{change}");
        }
    }

    #[test]
    fn a_delayed_frame_comes_behind_the_next() {
        let mut filter = filter("from = 'target', if = { nth = 1 }, do = { delay = 1 }");
        assert_eq!(from_target(&mut filter, "a"), Vec::<String>::new());
        assert_eq!(from_target(&mut filter, "b"), ["b", "a"]);
        assert_eq!(from_target(&mut filter, "c"), ["c"]);
    }

    #[test]
    fn a_waiting_frame_comes_behind_what_it_waits_for() {
        let mut filter = filter("from = 'target', if = { members = { id = 1 } }, do = { wait = { members = { id = 2 } } }");
        assert_eq!(from_target(&mut filter, r#"{"id":1}"#), Vec::<String>::new());
        assert_eq!(from_target(&mut filter, r#"{"id":3}"#), [r#"{"id":3}"#]);
        assert_eq!(from_target(&mut filter, r#"{"id":2}"#), [r#"{"id":2}"#, r#"{"id":1}"#]);
    }

    #[test]
    fn replies_are_known_by_the_method_they_answer() {
        let mut filter = filter("from = 'target', if = { method = 'conformance.e*' }, do = 'drop'");
        filter.frame(Direction::ToTarget, br#"{"type":"req","id":1,"method":"conformance.echo"}"#.to_vec());
        filter.frame(Direction::ToTarget, br#"{"type":"req","id":2,"method":"conformance.fail"}"#.to_vec());
        assert!(from_target(&mut filter, r#"{"type":"rep","id":1}"#).is_empty());
        assert_eq!(from_target(&mut filter, r#"{"type":"rep","id":2}"#).len(), 1);
    }

    #[test]
    fn what_came_before_can_be_put_into_what_comes_after() {
        let mut filter = filter("from = 'target', if = { after = { has = ['ext'] } }, do = { set = { ext = '$after.ext' } }");
        assert_eq!(from_target(&mut filter, r#"{"id":1,"ext":5}"#), [r#"{"id":1,"ext":5}"#]);
        assert_eq!(from_target(&mut filter, r#"{"id":2}"#), [r#"{"id":2,"ext":5}"#]);
    }

    #[test]
    fn a_call_goes_through_its_states() {
        let mut filter = filter("from = 'tester', if = { state = ['draining', 'complete'] }, do = 'drop'");
        let mut request =
            |frame: &str| filter.frame(Direction::ToTarget, format!("{{\"type\":\"req\",{frame}}}").into_bytes()).len();
        assert_eq!(request(r#""id":1,"method":"m","more":true"#), 1);
        assert_eq!(request(r#""id":1,"more":true"#), 1);
        assert_eq!(request(r#""id":1"#), 1);
        assert_eq!(request(r#""id":1"#), 0);
        assert_eq!(request(r#""id":2,"method":"m","more":true"#), 1);
        filter.frame(Direction::FromTarget, br#"{"type":"rep","id":1}"#.to_vec());
        filter.frame(Direction::FromTarget, br#"{"type":"rep","id":2}"#.to_vec());
        let mut request =
            |frame: &str| filter.frame(Direction::ToTarget, format!("{{\"type\":\"req\",{frame}}}").into_bytes()).len();
        assert_eq!(request(r#""id":1,"method":"m""#), 1, "a finished id is free");
        assert_eq!(request(r#""id":2"#), 0);
        assert_eq!(request(r#""id":2,"method":"m""#), 1);
    }
}

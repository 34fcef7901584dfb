//! Whole messages: normalised, then compared member by member.

use serde_json::Value as Json;

use super::compare::differs;
use super::template::form;
use super::{Bindings, Divergence, Scope, TemplateError};
use crate::wire::Value;

/// The members of a message, with what each is when absent.
const MEMBERS: [&str; 8] = ["type", "id", "method", "payload", "error", "more", "end", "ext"];

/// The greatest id.
const MAX_ID: i128 = (1 << 53) - 1;

/// A received message as sessions see it: absent is `null` (`more` and `end`: `false`), `method` on a reply and unknown
/// members are dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Normal {
    raw: Value,
    members: Value,
}

impl Normal {
    /// Normalises a value; nothing if it is no map.
    #[must_use]
    pub fn new(raw: Value) -> Option<Self> {
        if !matches!(raw, Value::Map(_)) {
            return None;
        }
        let is_reply = raw.member("type").and_then(Value::as_str) == Some("rep");
        let members = MEMBERS.map(|name| {
            let value = raw.member(name).filter(|_| !(is_reply && name == "method")).cloned().unwrap_or(Value::Null);
            let value = if value == Value::Null { absent(name) } else { value };
            (name, value)
        });
        Some(Self { raw, members: Value::map(members) })
    }

    /// A member after normalising.
    #[must_use]
    pub fn member(&self, name: &str) -> &Value {
        self.members.member(name).unwrap_or(&Value::Null)
    }

    /// The message as it came.
    #[must_use]
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// Whether this is a reply to this id.
    #[must_use]
    pub fn is_reply_to(&self, id: i128) -> bool {
        self.member("type").as_str() == Some("rep") && self.member("id").as_int() == Some(id)
    }
}

fn absent(member: &str) -> Value {
    if matches!(member, "more" | "end") { Value::Bool(false) } else { Value::Null }
}

impl Scope {
    /// Compares a whole message with a pattern; what the pattern binds, if it matched.
    pub fn matches(&self, pattern: &Json, message: &Normal) -> Result<Bindings, Divergence> {
        self.matches_with(pattern, message, Bindings::new())
    }

    /// The same where these names are bound already; they come back with the others.
    pub fn matches_with(&self, pattern: &Json, message: &Normal, mut bound: Bindings) -> Result<Bindings, Divergence> {
        self.compare_message(pattern, message, &mut bound)?;
        Ok(bound)
    }

    fn compare_message(&self, pattern: &Json, message: &Normal, bound: &mut Bindings) -> Result<(), Divergence> {
        match form(pattern) {
            Some(("$all", argument)) => {
                let wrong = || TemplateError::Argument("$all".into(), argument.to_string());
                argument.as_array().ok_or_else(wrong)?.iter().try_for_each(|p| self.compare_message(p, message, bound))
            }
            Some(("$bind", argument)) => {
                let wrong = || TemplateError::Argument("$bind".into(), argument.to_string());
                let inner = argument.get(1).ok_or_else(wrong)?;
                let name = argument.get(0).and_then(Json::as_str).ok_or_else(wrong)?;
                self.compare_message(inner, message, bound)?;
                self.compare(&Json::String(format!("${name}")), &message.members, "", bound)
            }
            Some(("$without", _)) => self.compare(pattern, &message.raw, "", bound),
            Some(_) => self.compare(pattern, &message.members, "", bound),
            None => {
                let Some(members) = pattern.as_object() else {
                    return self.compare(pattern, &message.members, "", bound);
                };
                MEMBERS.iter().try_for_each(|name| self.compare_member(name, members.get(*name), pattern, message, bound))
            }
        }
    }

    fn compare_member(
        &self,
        name: &str,
        pattern: Option<&Json>,
        whole: &Json,
        message: &Normal,
        bound: &mut Bindings,
    ) -> Result<(), Divergence> {
        let value = message.member(name);
        let Some(pattern) = pattern else {
            let absent = absent(name);
            return if *value == absent { Ok(()) } else { Err(differs(name, absent, value)) };
        };
        match name {
            "id" => self.compare_id(pattern, whole, value, bound),
            "error" => self.compare_error(pattern, value, bound),
            "more" | "end" if pattern.is_null() && *value == Value::Bool(false) => Ok(()),
            _ => self.compare(pattern, value, name, bound),
        }
    }

    /// Compares an id; only a valid one can be captured.
    pub(crate) fn compare_id(&self, pattern: &Json, whole: &Json, value: &Value, bound: &mut Bindings) -> Result<(), Divergence> {
        let is_reply = whole.get("type").and_then(Json::as_str) == Some("rep");
        if is_reply && let Some(moved) = self.moved(pattern) {
            return if super::compare::same(self.codec, &moved, value) { Ok(()) } else { Err(differs("id", moved, value)) };
        }
        let before = bound.len();
        self.compare(pattern, value, "id", bound)?;
        if bound.len() > before && !value.as_int().is_some_and(|id| (1..=MAX_ID).contains(&id)) {
            return Err(differs("id", "an integer from 1 to 2^53-1", value));
        }
        Ok(())
    }

    /// Inside `error`, a `message` and `data` that the pattern does not name may be anything.
    fn compare_error(&self, pattern: &Json, value: &Value, bound: &mut Bindings) -> Result<(), Divergence> {
        let Some(members) = pattern.as_object().filter(|_| form(pattern).is_none()) else {
            return self.compare(pattern, value, "error", bound);
        };
        if !matches!(value, Value::Map(_)) {
            return Err(differs("error", pattern, value));
        }
        for (name, pattern) in members {
            let actual = value.member(name).unwrap_or(&Value::Null);
            self.compare(pattern, actual, &format!("error.{name}"), bound)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use duplex_vectors::{Codec, Limits};
    use serde_json::json;

    use super::*;
    use crate::wire::json;

    fn scope() -> Scope {
        Scope {
            codec: Codec::Json,
            bindings: Bindings::from([("known".to_owned(), Value::Int(7))]),
            nonce: "n1".into(),
            limits: Limits::new(),
            shift: 1000,
            round: 0,
        }
    }

    fn message(text: &str) -> Normal {
        Normal::new(json::decode(text.as_bytes()).expect("JSON")).expect("a map")
    }

    #[test]
    fn matches_the_whole_message_after_normalising() {
        for (pattern, text) in [
            (
                json!({"type": "rep", "id": 1, "payload": 2}),
                r#"{"type":"rep","id":1001,"payload":2,"method":"m","x":1,"more":null}"#,
            ),
            (json!({"type": "rep", "id": 1}), r#"{"payload":null,"id":1001.0,"type":"rep","end":false,"error":null,"ext":null}"#),
            (json!({"type": "rep", "id": 5000, "payload": 2.0}), r#"{"type":"rep","id":5000,"payload":2}"#),
            (json!({"type": "req", "id": 1, "method": "m"}), r#"{"type":"req","id":1,"method":"m"}"#),
            (
                json!({"type": "rep", "id": 1, "error": {"code": -1}}),
                r#"{"type":"rep","id":1001,"error":{"code":-1,"message":"m","data":1}}"#,
            ),
            (
                json!({"type": "rep", "id": 1, "payload": {"a": {"$any": true}, "b": 1}}),
                r#"{"type":"rep","id":1001,"payload":{"b":1,"a":[]}}"#,
            ),
            (
                json!({"type": "req", "id": "$known", "method": {"$match": "^_c"}}),
                r#"{"type":"req","id":7,"method":"_callback.x"}"#,
            ),
            (json!({"type": "rep", "id": 1, "payload": {"$type": "array"}}), r#"{"type":"rep","id":1001,"payload":[]}"#),
            (
                json!({"type": "rep", "id": 1, "payload": {"$has": {"a": 1}}}),
                r#"{"type":"rep","id":1001,"payload":{"a":1,"b":2}}"#,
            ),
            (json!({"$all": [{"type": "rep", "id": 1}, {"$without": "s3"}]}), r#"{"type":"rep","id":1001,"y":"s4"}"#),
            (json!({"type": "rep", "id": 1, "payload": "$nonce.k"}), r#"{"type":"rep","id":1001,"payload":"n1.k"}"#),
            (json!({"type": "rep", "id": 1, "payload": "$$k"}), r#"{"type":"rep","id":1001,"payload":"$k"}"#),
            (json!({"$has": {"id": 5}}), r#"{"type":"rep","id":5,"payload":"$k"}"#),
        ] {
            assert_eq!(scope().matches(&pattern, &message(text)), Ok(Bindings::new()), "{pattern}");
        }
    }

    #[test]
    fn tells_the_first_place_that_differs() {
        for (pattern, text, place) in [
            (json!({"type": "rep", "id": 1}), r#"{"type":"rep","id":1}"#, "`id`: expected 1001, got 1"),
            (json!({"type": "rep", "id": 1}), r#"{"type":"rep","id":"1001"}"#, "`id`: expected 1001, got \"1001\""),
            (json!({"type": "rep", "id": 1}), r#"{"type":"rep","id":1001,"ext":0}"#, "`ext`: expected null, got 0"),
            (json!({"type": "rep", "id": 1}), r#"{"type":"rep","id":1001,"more":true}"#, "`more`: expected false, got true"),
            (
                json!({"type": "rep", "id": 1, "payload": {"a": 1}}),
                r#"{"type":"rep","id":1001,"payload":{}}"#,
                "`payload.a`: expected 1, got \"nothing\"",
            ),
            (
                json!({"type": "rep", "id": 1, "payload": [1, {"b": 2}]}),
                r#"{"type":"rep","id":1001,"payload":[1,{"b":3}]}"#,
                "`payload[1].b`: expected 2, got 3",
            ),
            (
                json!({"$all": [{"type": "rep", "id": 1}, {"$without": "s3"}]}),
                r#"{"type":"rep","id":1001,"y":["s3"]}"#,
                "expected {\"$without\":\"s3\"}, got {\"type\":\"rep\",\"id\":1001,\"y\":[\"s3\"]}",
            ),
            (
                json!({"type": "req", "id": "$new", "method": "m"}),
                r#"{"type":"req","id":"x","method":"m"}"#,
                "`id`: expected an integer from 1 to 2^53-1, got \"x\"",
            ),
            (
                json!({"type": "rep", "id": 1, "error": {"code": 1}}),
                r#"{"type":"rep","id":1001,"payload":1}"#,
                "`payload`: expected null, got 1",
            ),
        ] {
            assert_eq!(scope().matches(&pattern, &message(text)).expect_err("differs").to_string(), place, "{pattern}");
        }
    }

    #[test]
    fn names_are_bound_only_by_a_whole_match() {
        let pattern = json!({"type": "req", "id": "$id", "method": "m", "payload": ["$a", "$a"]});
        let bound =
            scope().matches(&pattern, &message(r#"{"type":"req","id":4,"method":"m","payload":[1,1]}"#)).expect("matches");
        assert_eq!(bound, Bindings::from([("a".to_owned(), Value::Int(1)), ("id".to_owned(), Value::Int(4))]));
        assert!(scope().matches(&pattern, &message(r#"{"type":"req","id":4,"method":"m","payload":[1,2]}"#)).is_err());
    }

    #[test]
    fn one_and_one_point_zero_differ_where_the_codec_can_tell() {
        let scope = Scope { codec: Codec::Msgpack, ..scope() };
        let value = Value::map([("type", "rep".into()), ("id", Value::Int(1001)), ("payload", Value::Float(1.0))]);
        let message = Normal::new(value).expect("a map");
        assert!(scope.matches(&json!({"type": "rep", "id": 1, "payload": 1}), &message).is_err());
        assert!(scope.matches(&json!({"type": "rep", "id": 1, "payload": {"$float": "1.0"}}), &message).is_ok());
    }
}

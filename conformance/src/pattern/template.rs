//! Templates: JSON with forms, made into values to send.

use duplex_vectors::{Codec, Limits};
use serde_json::Value as Json;

use super::Bindings;
use crate::wire::{Value, plain_json};

/// Ids of a session's own calls; higher ones are never moved.
const MOVABLE_IDS: std::ops::RangeInclusive<i128> = 1..=999;

/// What templates and patterns are read against.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The codec of the run: it decides whether 1 and 1.0 are one.
    pub codec: Codec,
    /// What `$name` stands for.
    pub bindings: Bindings,
    /// What `$nonce` stands for.
    pub nonce: String,
    /// What the target states as its limits.
    pub limits: Limits,
    /// How far the ids of the session's own calls are moved.
    pub shift: i128,
    /// The round of the innermost loop.
    pub round: u64,
}

/// A template that stands for nothing: a fault of the vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A name that nothing has bound.
    #[error("`${0}` is bound by nothing before")]
    Unbound(String),
    /// A form with arguments that it does not take.
    #[error("`{0}` does not take {1}")]
    Argument(String, String),
    /// A form that only patterns have.
    #[error("`{0}` is a pattern, and stands where a value is sent")]
    PatternForm(String),
    /// A limit that the target does not state.
    #[error("the target states no limit `{0}`")]
    NoLimit(String),
    /// A regular expression that is none.
    #[error("`{0}` is no regular expression")]
    Regex(String),
}

/// A form's name and argument: a map with one member whose name starts with `$`.
pub(super) fn form(template: &Json) -> Option<(&str, &Json)> {
    let members = template.as_object().filter(|members| members.len() == 1)?;
    members.iter().next().filter(|(name, _)| name.starts_with('$')).map(|(name, argument)| (name.as_str(), argument))
}

impl Scope {
    /// The value that a template stands for.
    pub fn resolve(&self, template: &Json) -> Result<Value, TemplateError> {
        if let Some((name, argument)) = form(template) {
            return self.resolve_form(name, argument);
        }
        Ok(match template {
            Json::Null => Value::Null,
            Json::Bool(truth) => Value::Bool(*truth),
            Json::Number(number) => number
                .as_i128()
                .map(Value::Int)
                .or_else(|| number.as_f64().map(Value::Float))
                .ok_or_else(|| TemplateError::Argument("a number".into(), number.to_string()))?,
            Json::String(text) => self.resolve_text(text)?,
            Json::Array(items) => Value::Array(items.iter().map(|item| self.resolve(item)).collect::<Result<_, _>>()?),
            Json::Object(members) => Value::Map(
                members
                    .iter()
                    .map(|(name, item)| Ok((Value::Str(name.clone()), self.resolve(item)?)))
                    .collect::<Result<_, TemplateError>>()?,
            ),
        })
    }

    /// The value of a message to send: as [`Self::resolve`], with the ids of the tester's own calls moved.
    pub fn resolve_message(&self, template: &Json) -> Result<Value, TemplateError> {
        let mut value = self.resolve(template)?;
        if let Some(id) = template.get("id")
            && value.member("type").and_then(Value::as_str) != Some("rep")
            && let Some(moved) = self.moved(id)
        {
            value.set("id", moved);
        }
        Ok(value)
    }

    /// An id of the tester's own, moved; nothing if this one is not moved.
    pub(super) fn moved(&self, id: &Json) -> Option<Value> {
        if let Some(("$i", base)) = form(id) {
            return Some(Value::Int(as_int(base)? + i128::from(self.round) + self.shift));
        }
        as_int(id).filter(|id| MOVABLE_IDS.contains(id)).map(|id| Value::Int(id + self.shift))
    }

    /// A number, or a form that stands for one, as a count.
    pub fn count(&self, template: &Json) -> Result<usize, TemplateError> {
        let value = self.resolve(template)?;
        let count = value.as_int().and_then(|number| usize::try_from(number).ok());
        count.ok_or_else(|| TemplateError::Argument("a count".into(), template.to_string()))
    }

    pub(super) fn resolve_text(&self, text: &str) -> Result<Value, TemplateError> {
        let Some(name) = text.strip_prefix('$') else { return Ok(Value::Str(text.to_owned())) };
        if name.starts_with('$') {
            return Ok(Value::Str(name.to_owned()));
        }
        if let Some(nonce) = self.nonce_text(name) {
            return Ok(Value::Str(nonce));
        }
        self.bindings.get(name).cloned().ok_or_else(|| TemplateError::Unbound(name.to_owned()))
    }

    pub(super) fn nonce_text(&self, name: &str) -> Option<String> {
        match name.strip_prefix("nonce")? {
            "" => Some(self.nonce.clone()),
            rest => rest.starts_with('.').then(|| format!("{}{rest}", self.nonce)),
        }
    }

    /// A pattern for people: with what its names, limits and counters stand for. Names that nothing bound yet stay.
    #[must_use]
    pub fn shown(&self, pattern: &Json) -> Json {
        if let Some((name, argument)) = form(pattern) {
            let stands_for_more = !matches!(name, "$limit" | "$i" | "$int");
            let value = if stands_for_more { None } else { self.resolve(pattern).ok() };
            return value.map_or_else(
                || Json::Object([(name.to_owned(), self.shown(argument))].into_iter().collect()),
                |value| plain_json(&value),
            );
        }
        match pattern {
            Json::String(text) => self.resolve_text(text).map_or_else(|_| pattern.clone(), |value| plain_json(&value)),
            Json::Array(items) => items.iter().map(|item| self.shown(item)).collect(),
            Json::Object(members) => {
                Json::Object(members.iter().map(|(name, member)| (name.clone(), self.shown(member))).collect())
            }
            other => other.clone(),
        }
    }

    /// The pattern of a whole message for people: as [`Self::shown`], with the ids of the tester's own calls moved.
    #[must_use]
    pub fn shown_message(&self, pattern: &Json) -> Json {
        let mut shown = self.shown(pattern);
        if form(pattern).is_none()
            && pattern.get("type").is_some_and(|kind| kind == "rep")
            && let Some(id) = pattern.get("id")
        {
            shown["id"] = self.shown_id(id);
        }
        shown
    }

    /// The id of a reply for people.
    #[must_use]
    pub fn shown_id(&self, id: &Json) -> Json {
        self.moved(id).map_or_else(|| self.shown(id), |moved| plain_json(&moved))
    }

    fn resolve_form(&self, name: &str, argument: &Json) -> Result<Value, TemplateError> {
        let wrong = || TemplateError::Argument(name.to_owned(), argument.to_string());
        match name {
            "$repeat" => {
                let [text, count] = argument.as_array().map(Vec::as_slice).unwrap_or_default() else { return Err(wrong()) };
                let text = self.resolve(text)?;
                Ok(Value::Str(text.as_str().ok_or_else(wrong)?.repeat(self.count(count)?)))
            }
            "$upper" => Ok(Value::Str(self.resolve(argument)?.as_str().ok_or_else(wrong)?.to_uppercase())),
            "$nest" => Ok(Value::Nest(self.count(argument)?)),
            "$limit" => self.limit(argument).map(Value::Int),
            "$bin" => argument.as_str().and_then(|digits| hex::decode(digits).ok()).map(Value::Bin).ok_or_else(wrong),
            "$int" => argument.as_str().and_then(|digits| digits.parse().ok()).map(Value::Int).ok_or_else(wrong),
            "$float" => argument.as_str().and_then(|digits| digits.parse().ok()).map(Value::Float).ok_or_else(wrong),
            "$pairs" => {
                let pairs = argument.as_array().ok_or_else(wrong)?;
                let pair = |pair: &Json| match pair.as_array().map(Vec::as_slice) {
                    Some([key, item]) => Ok((self.resolve(key)?, self.resolve(item)?)),
                    _ => Err(wrong()),
                };
                Ok(Value::Map(pairs.iter().map(pair).collect::<Result<_, _>>()?))
            }
            "$i" => as_int(argument).map(|base| Value::Int(base + i128::from(self.round))).ok_or_else(wrong),
            "$any" | "$type" | "$match" | "$without" | "$has" | "$all" | "$bind" => {
                Err(TemplateError::PatternForm(name.to_owned()))
            }
            // Any other name is an ordinary member.
            _ => Ok(Value::Map(vec![(Value::Str(name.to_owned()), self.resolve(argument)?)])),
        }
    }

    fn limit(&self, argument: &Json) -> Result<i128, TemplateError> {
        let wrong = || TemplateError::Argument("$limit".into(), argument.to_string());
        let name = argument.get("name").and_then(Json::as_str).ok_or_else(wrong)?;
        let plus = argument.get("plus").map_or(Some(0), as_int).ok_or_else(wrong)?;
        let limit = self.limits.get(name).copied().flatten().ok_or_else(|| TemplateError::NoLimit(name.to_owned()))?;
        let each = argument.get("each").map_or(Some(1), as_int).filter(|&each| each > 0).ok_or_else(wrong)?;
        let sum = i128::from(limit) + plus;
        Ok(if each == 1 { sum } else { (sum + each - 1).div_euclid(each) })
    }
}

/// The number, if it is written as an integer.
fn as_int(number: &Json) -> Option<i128> {
    number.as_number().and_then(serde_json::Number::as_i128)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::pattern) fn scope() -> Scope {
        Scope {
            codec: Codec::Json,
            bindings: Bindings::from([("x".to_owned(), Value::Int(7))]),
            nonce: "n1".into(),
            limits: Limits::from([("depth".to_owned(), Some(64)), ("ext".to_owned(), None)]),
            shift: 2000,
            round: 3,
        }
    }

    #[test]
    fn forms_stand_for_values() {
        for (template, value) in [
            (json!("$x"), Value::Int(7)),
            (json!("$$x"), "$x".into()),
            (json!("$nonce"), "n1".into()),
            (json!("$nonce.k"), "n1.k".into()),
            (json!({"$repeat": ["ab", 3]}), "ababab".into()),
            (json!({"$upper": "$nonce"}), "N1".into()),
            (json!({"$repeat": ["a", {"$limit": {"name": "depth", "plus": -62}}]}), "aa".into()),
            (json!({"$nest": {"$limit": {"name": "depth", "plus": 1}}}), Value::Nest(65)),
            (json!({"$limit": {"name": "depth", "each": 10}}), Value::Int(7)),
            (json!({"$limit": {"name": "depth", "plus": -4, "each": 10}}), Value::Int(6)),
            (json!({"$bin": "00ff"}), Value::Bin(vec![0, 255])),
            (json!({"$int": "9007199254740993"}), Value::Int(9_007_199_254_740_993)),
            (json!({"$float": "1.0"}), Value::Float(1.0)),
            (
                json!({"$pairs": [["a", 1], ["a", {"$i": 10}]]}),
                Value::Map(vec![("a".into(), Value::Int(1)), ("a".into(), Value::Int(13))]),
            ),
            (json!({"$ref": 1}), Value::map([("$ref", Value::Int(1))])),
        ] {
            assert_eq!(scope().resolve(&template), Ok(value), "{template}");
        }
    }

    #[test]
    fn templates_that_stand_for_nothing_are_errors() {
        for template in [
            json!("$y"),
            json!({"$any": true}),
            json!({"$limit": {"name": "ext"}}),
            json!({"$limit": {"name": "frame"}}),
            json!({"$limit": {"name": "depth", "each": 0}}),
            json!({"$bin": "0"}),
            json!({"$upper": "$x"}),
            json!({"$repeat": "ab"}),
            json!([{"$pairs": [1]}]),
        ] {
            assert!(scope().resolve(&template).is_err(), "{template}");
        }
    }

    #[test]
    fn only_ids_of_own_calls_move() {
        for (template, id) in [
            (json!({"type": "req", "id": 1}), Some(Value::Int(2001))),
            (json!({"type": "req", "id": 999}), Some(Value::Int(2999))),
            (json!({"type": "req", "id": 1000}), Some(Value::Int(1000))),
            (json!({"type": "req", "id": {"$i": 5000}}), Some(Value::Int(7003))),
            (json!({"type": "rep", "id": 1}), Some(Value::Int(1))),
            (json!({"id": 1}), Some(Value::Int(2001))),
            (json!({"type": "req", "id": "abc"}), Some("abc".into())),
            (json!({"type": "req", "id": 0}), Some(Value::Int(0))),
            (json!({"type": "req", "payload": {"id": 1}}), None),
        ] {
            assert_eq!(scope().resolve_message(&template).expect("resolves").member("id"), id.as_ref(), "{template}");
        }
    }
}

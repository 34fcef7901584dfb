//! Patterns: whether a received value is what a pattern asks for, and where it is not.

use std::fmt;

use duplex_vectors::Codec;
use regex::Regex;
use serde_json::Value as Json;

use super::template::form;
use super::{Bindings, Scope, TemplateError};
use crate::wire::{Value, plain_json};

/// The first place where a value is not what its pattern asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// The value differs.
    Differs {
        /// The way from the message to the place: `payload[2].name`.
        path: String,
        /// What the pattern asks for there.
        expected: String,
        /// What stands there.
        actual: String,
    },
    /// The pattern itself is at fault.
    Vector(TemplateError),
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Differs { path, expected, actual } if path.is_empty() => write!(f, "expected {expected}, got {actual}"),
            Self::Differs { path, expected, actual } => write!(f, "`{path}`: expected {expected}, got {actual}"),
            Self::Vector(error) => write!(f, "{error}"),
        }
    }
}

impl From<TemplateError> for Divergence {
    fn from(error: TemplateError) -> Self {
        Self::Vector(error)
    }
}

pub(super) fn differs(path: &str, expected: impl fmt::Display, actual: &Value) -> Divergence {
    Divergence::Differs {
        path: path.to_owned(),
        expected: cut(&expected.to_string()),
        actual: cut(&plain_json(actual).to_string()),
    }
}

/// A text of at most some 200 characters.
fn cut(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

impl Scope {
    /// Compares a value with a pattern. Names that it binds are added to `bound`, also when it fails further on: a caller
    /// that wants all or nothing keeps `bound` apart until the whole message matched.
    pub fn compare(&self, pattern: &Json, value: &Value, path: &str, bound: &mut Bindings) -> Result<(), Divergence> {
        if let Some((name, argument)) = form(pattern) {
            return self.compare_form(name, argument, pattern, value, path, bound);
        }
        match (pattern, value) {
            (Json::String(text), _) => self.compare_text(text, value, path, bound),
            (Json::Array(patterns), Value::Array(items)) => {
                if patterns.len() != items.len() {
                    return Err(differs(path, format_args!("{} items: {}", patterns.len(), self.shown(pattern)), value));
                }
                for (index, (pattern, item)) in patterns.iter().zip(items).enumerate() {
                    self.compare(pattern, item, &format!("{path}[{index}]"), bound)?;
                }
                Ok(())
            }
            (Json::Object(members), Value::Map(pairs)) => {
                for (name, pattern) in members {
                    let place = join(path, name);
                    let item =
                        value.member(name).ok_or_else(|| differs(&place, self.shown(pattern), &Value::Str("nothing".into())))?;
                    self.compare(pattern, item, &place, bound)?;
                }
                if members.len() == pairs.len() { Ok(()) } else { Err(differs(path, self.shown(pattern), value)) }
            }
            _ => self.compare_same(&self.resolve(pattern)?, value, pattern, path),
        }
    }

    fn compare_same(&self, expected: &Value, value: &Value, shown: &Json, path: &str) -> Result<(), Divergence> {
        if same(self.codec, expected, value) { Ok(()) } else { Err(differs(path, self.shown(shown), value)) }
    }

    fn compare_text(&self, text: &str, value: &Value, path: &str, bound: &mut Bindings) -> Result<(), Divergence> {
        if let Some(name) = text.strip_prefix('$').filter(|name| !name.starts_with('$'))
            && self.nonce_text(name).is_none()
        {
            return match bound.get(name).or_else(|| self.bindings.get(name)) {
                Some(known) if same(self.codec, known, value) => Ok(()),
                Some(known) => Err(differs(path, format_args!("{known} (`{text}`)"), value)),
                None => {
                    bound.insert(name.to_owned(), value.clone());
                    Ok(())
                }
            };
        }
        let expected = self.resolve_text(text)?;
        if same(self.codec, &expected, value) { Ok(()) } else { Err(differs(path, &expected, value)) }
    }

    fn compare_form(
        &self,
        name: &str,
        argument: &Json,
        pattern: &Json,
        value: &Value,
        path: &str,
        bound: &mut Bindings,
    ) -> Result<(), Divergence> {
        let wrong = || Divergence::Vector(TemplateError::Argument(name.to_owned(), argument.to_string()));
        let holds = |holds: bool| if holds { Ok(()) } else { Err(differs(path, self.shown(pattern), value)) };
        match name {
            "$any" => Ok(()),
            "$type" => holds(self.is_type(argument.as_str().ok_or_else(wrong)?, value).ok_or_else(wrong)?),
            "$match" => {
                let text = argument.as_str().ok_or_else(wrong)?;
                let regex = Regex::new(text).map_err(|_| TemplateError::Regex(text.to_owned()))?;
                holds(value.as_str().is_some_and(|text| regex.is_match(text)))
            }
            "$without" => {
                let text = self.resolve(argument)?;
                holds(!contains(value, text.as_str().ok_or_else(wrong)?))
            }
            "$has" => {
                let members = argument.as_object().ok_or_else(wrong)?;
                for (name, pattern) in members {
                    let place = join(path, name);
                    let item =
                        value.member(name).ok_or_else(|| differs(&place, self.shown(pattern), &Value::Str("nothing".into())))?;
                    self.compare(pattern, item, &place, bound)?;
                }
                holds(matches!(value, Value::Map(_)))
            }
            "$all" => argument.as_array().ok_or_else(wrong)?.iter().try_for_each(|p| self.compare(p, value, path, bound)),
            "$bind" => {
                let Some([Json::String(name), inner]) = argument.as_array().map(Vec::as_slice) else { return Err(wrong()) };
                self.compare(inner, value, path, bound)?;
                self.compare_text(&format!("${name}"), value, path, bound)
            }
            "$repeat" | "$upper" | "$nest" | "$limit" | "$bin" | "$int" | "$float" | "$pairs" | "$i" => {
                self.compare_same(&self.resolve(pattern)?, value, pattern, path)
            }
            _ => {
                let item = value.member(name).ok_or_else(|| differs(path, self.shown(pattern), value))?;
                self.compare(argument, item, &join(path, name), bound)?;
                holds(matches!(value, Value::Map(pairs) if pairs.len() == 1))
            }
        }
    }

    fn is_type(&self, kind: &str, value: &Value) -> Option<bool> {
        Some(match kind {
            "null" => matches!(value, Value::Null),
            "boolean" => matches!(value, Value::Bool(_)),
            "integer" => match value {
                Value::Float(number) => self.codec == Codec::Json && number.fract() == 0.0,
                other => matches!(other, Value::Int(_)),
            },
            // What is out of range reads as infinite.
            "number" => matches!(value, Value::Int(_)) || matches!(value, Value::Float(number) if number.is_finite()),
            "string" => matches!(value, Value::Str(_)),
            "array" => matches!(value, Value::Array(_)),
            "map" => matches!(value, Value::Map(_)),
            "bin" => matches!(value, Value::Bin(_)),
            _ => return None,
        })
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether two values are the same: numbers by value, maps whatever their order. 1 and 1.0 are one only in JSON, which many
/// languages read into one type.
pub(crate) fn same(codec: Codec, left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Nest(depth), other) | (other, Value::Nest(depth)) => is_nest(*depth, other),
        (Value::Float(a), Value::Float(b)) => a == b || a.is_nan() && b.is_nan(),
        #[expect(clippy::cast_precision_loss, reason = "That a JSON tool may have rounded is the point.")]
        (Value::Int(a), Value::Float(b)) | (Value::Float(b), Value::Int(a)) => {
            codec == Codec::Json && b.fract() == 0.0 && *a as f64 == *b && a.unsigned_abs() < 1 << 53
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(codec, a, b)),
        (Value::Map(a), Value::Map(b)) => {
            let mut free: Vec<_> = b.iter().collect();
            a.len() == b.len()
                && a.iter().all(|(key, item)| {
                    let found = free.iter().position(|(k, v)| same(codec, key, k) && same(codec, item, v));
                    found.map(|index| free.remove(index)).is_some()
                })
        }
        (a, b) => a == b,
    }
}

fn is_nest(mut depth: usize, mut value: &Value) -> bool {
    loop {
        match value {
            Value::Nest(other) => return *other == depth,
            Value::Array(items) if depth == 1 => return items.is_empty(),
            Value::Array(items) if items.len() == 1 && depth > 1 => {
                depth -= 1;
                value = &items[0];
            }
            _ => return false,
        }
    }
}

/// Whether a text occurs anywhere inside, in keys and strings.
fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::Str(inner) => inner.contains(text),
        Value::Int(number) => number.to_string().contains(text),
        Value::Bin(bytes) | Value::Ext(_, bytes) => String::from_utf8_lossy(bytes).contains(text),
        Value::Array(items) => items.iter().any(|item| contains(item, text)),
        Value::Map(pairs) => pairs.iter().any(|(key, item)| contains(key, text) || contains(item, text)),
        _ => false,
    }
}

//! Values and bytes for people: compact JSON with the forms of the vectors for what JSON cannot say.

use std::fmt;

use super::Value;

/// How many bytes of a frame a report keeps.
const SHOWN_BYTES: usize = 4096;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", plain_json(self))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

/// The value in JSON; `$bin`, `$int`, `$float` and `$pairs` stand for what JSON cannot say, as in the vectors.
#[must_use]
pub fn plain_json(value: &Value) -> serde_json::Value {
    use serde_json::{Map, Number, Value as Json, json};
    match value {
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) => Number::from_i128(*number).map_or_else(|| json!({ "$int": number.to_string() }), Json::Number),
        Value::Float(number) => Number::from_f64(*number).map_or_else(|| json!({ "$float": number.to_string() }), Json::Number),
        Value::Str(text) => Json::String(text.clone()),
        Value::Bin(bytes) => json!({ "$bin": hex::encode(bytes) }),
        Value::Ext(kind, bytes) => json!({ "$ext": [kind, hex::encode(bytes)] }),
        Value::Array(items) => Json::Array(items.iter().map(plain_json).collect()),
        Value::Map(pairs) => {
            let mut members = Map::new();
            for (key, item) in pairs {
                let fresh = key.as_str().filter(|name| !members.contains_key(*name)).map(str::to_owned);
                let Some(name) = fresh else {
                    return json!({ "$pairs": pairs.iter().map(|(k, v)| json!([plain_json(k), plain_json(v)])).collect::<Vec<_>>() });
                };
                members.insert(name, plain_json(item));
            }
            Json::Object(members)
        }
        Value::Nest(depth) => json!({ "$nest": depth }),
    }
}

/// Hexadecimal digits of the first 4 KiB.
#[must_use]
pub fn hex_cut(bytes: &[u8]) -> String {
    hex::encode(&bytes[..bytes.len().min(SHOWN_BYTES)])
}

//! The JSON decoder against `serde_json`, which does not decode this way: it is asked for text that is well formed, and for values.

use bytes::Bytes;
use duplex_proto::codec::{ErrorMember, IdMember, Kind, Message, More};
use duplex_proto::{Codec, Json};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::allocation::bounded;
use crate::message::survives;

/// Containers inside each other. Less than what `serde_json` takes for a value.
const DEPTH: usize = 60;

pub(crate) fn run(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let decoded = bounded(data.len(), 64, || Json.decode(frame, DEPTH));
    assert_eq!(decoded.is_ok(), is_message(data), "{decoded:?}");
    let Ok(message) = decoded else { return };
    survives(&Json, &message, DEPTH);
    // Lone surrogates and numbers beyond every range are text that is well formed, and no value to `serde_json`.
    if let Ok(value) = serde_json::from_slice::<Value>(data) {
        means(&message, &value);
    }
}

/// Whether this is one well-formed map that nests no deeper than it may.
fn is_message(data: &[u8]) -> bool {
    let Ok(text) = serde_json::from_slice::<&RawValue>(data) else { return false };
    text.get().starts_with('{') && depth(text.get().as_bytes()) <= DEPTH
}

/// How deep a well-formed text nests.
fn depth(text: &[u8]) -> usize {
    let (mut open, mut deepest, mut at) = (0_usize, 0, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => {
                at += 1;
                while text[at] != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => open += 1,
            b'}' | b']' => open -= 1,
            _ => {}
        }
        deepest = deepest.max(open);
        at += 1;
    }
    deepest
}

/// The message means what the value does.
fn means(message: &Message, value: &Value) {
    let kind = match value["type"].as_str() {
        Some("req") => Kind::Request,
        Some("rep") => Kind::Reply,
        _ => Kind::Unknown,
    };
    assert_eq!(message.kind, kind);
    let id = match &value["id"] {
        Value::Null => IdMember::Absent,
        id => match id.as_u64() {
            Some(0) => IdMember::Absent,
            Some(number) => duplex_proto::Id::new(number).map_or(IdMember::Invalid, IdMember::Valid),
            None => IdMember::Invalid,
        },
    };
    assert_eq!(message.id, id);
    let more = match &value["more"] {
        Value::Bool(true) => More::Yes,
        Value::Bool(false) | Value::Null => More::No,
        _ => More::Invalid,
    };
    assert_eq!(message.more, more);
    assert_eq!(message.end, value["end"] == Value::Bool(true));
    let method: Option<String> = message.method.as_ref().and_then(|method| method.decode().ok());
    assert_eq!(method.as_deref(), value["method"].as_str());
    assert_eq!(message.payload.decode::<Value>().expect("it is one"), value["payload"]);
    let ext = message.ext.as_ref().map(|ext| ext.raw().decode::<Value>().expect("it is one"));
    assert_eq!(ext.as_ref(), Some(&value["ext"]).filter(|ext| ext.is_object()));
    error_means(&message.error, &value["error"]);
}

fn error_means(error: &ErrorMember, value: &Value) {
    // Minus nought is a float to one and an integer to the other.
    if value["code"].as_f64().is_some_and(|code| code == 0.0) {
        return;
    }
    let expected = match (value["code"].as_i64(), value["message"].as_str()) {
        (Some(code), Some(message)) if value.is_object() => Some((code, message)),
        _ => None,
    };
    match error {
        ErrorMember::Absent => assert!(value.is_null()),
        ErrorMember::Malformed => assert!(!value.is_null() && expected.is_none(), "{value}"),
        ErrorMember::Error(error) => {
            assert_eq!(expected, Some((error.code.0, error.message.as_str())));
            let data = error.data.as_ref().map(|data| data.decode::<Value>().expect("it is one"));
            assert_eq!(data.as_ref(), value.get("data"));
        }
    }
}

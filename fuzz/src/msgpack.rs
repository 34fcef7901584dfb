//! The MessagePack decoder against `rmpv`.

use bytes::Bytes;
use duplex_proto::codec::{IdMember, Kind, Message, More};
use duplex_proto::{Codec, MessagePack};
use rmpv::Value;

use crate::allocation::bounded;
use crate::message::survives;

/// Containers inside each other.
const DEPTH: usize = 60;
/// More than any text of an input nests.
const DEEPER: usize = 500;

pub(crate) fn run(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let decoded = bounded(data.len(), 64, || MessagePack.decode(frame, DEPTH));
    let value = read(data).filter(|value| !has_unused_byte(data, value));
    assert_eq!(decoded.is_ok(), value.as_ref().is_some_and(is_message), "{decoded:?}, {value:?}");
    let (Ok(message), Some(value)) = (decoded, value) else { return };
    means(&message, &value);
    survives(&MessagePack, &message, DEPTH);
}

/// The one value that these bytes are.
fn read(mut data: &[u8]) -> Option<Value> {
    rmpv::decode::read_value_with_max_depth(&mut data, DEEPER).ok().filter(|_| data.is_empty())
}

/// One encoding for each value; values themselves do not compare, since NaN is unlike itself.
fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, value).expect("memory takes every value");
    out
}

/// The value with the last entry of each key, whatever its width.
fn each_key_once(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(each_key_once).collect()),
        Value::Map(entries) => {
            let entries: Vec<_> = entries.iter().map(|(key, value)| (each_key_once(key), each_key_once(value))).collect();
            let keys: Vec<_> = entries.iter().map(|(key, _)| encoded(key)).collect();
            let is_last = |index: usize| !keys[index + 1..].contains(&keys[index]);
            Value::Map(entries.into_iter().enumerate().filter(|(index, _)| is_last(*index)).map(|(_, entry)| entry).collect())
        }
        other => other.clone(),
    }
}

fn has_each_text_once(value: &Value) -> bool {
    let texts: Vec<_> = value.as_map().into_iter().flatten().filter_map(|(key, _)| key.as_str()).collect();
    let is_once = texts.iter().enumerate().all(|(index, text)| !texts[index + 1..].contains(text));
    is_once && children(value).into_iter().all(has_each_text_once)
}

/// Whether the byte that MessagePack does not use stands where a value begins. `rmpv` takes it for nil: it is one of those if
/// nil in its place is the same value, as it is not inside a number or a text.
fn has_unused_byte(data: &[u8], value: &Value) -> bool {
    let places = data.iter().enumerate().filter(|(_, byte)| **byte == 0xc1);
    places.map(|(place, _)| place).any(|place| {
        let mut other = data.to_vec();
        other[place] = 0xc0;
        read(&other).is_some_and(|other| encoded(&other) == encoded(value))
    })
}

fn is_message(value: &Value) -> bool {
    let Value::Map(entries) = value else { return false };
    entries.iter().all(|(key, _)| key.is_str()) && depth(value) <= DEPTH && is_text_valid(value)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
        _ => Vec::new(),
    }
}

fn depth(value: &Value) -> usize {
    let inner = children(value).into_iter().map(depth).max().unwrap_or_default();
    inner + usize::from(matches!(value, Value::Array(_) | Value::Map(_)))
}

fn is_text_valid(value: &Value) -> bool {
    let is_valid = !matches!(value, Value::String(text) if text.is_err());
    is_valid && children(value).into_iter().all(is_text_valid)
}

/// The last of duplicate members.
fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    let entries = value.as_map().expect("a message is a map");
    entries.iter().rev().find(|(key, _)| key.as_str() == Some(name)).map_or(&Value::Nil, |(_, value)| value)
}

/// The message means what the value does.
fn means(message: &Message, value: &Value) {
    let kind = match member(value, "type").as_str() {
        Some("req") => Kind::Request,
        Some("rep") => Kind::Reply,
        _ => Kind::Unknown,
    };
    assert_eq!(message.kind, kind);
    let id = match member(value, "id") {
        Value::Nil => IdMember::Absent,
        id => match id.as_u64() {
            Some(0) => IdMember::Absent,
            Some(number) => duplex_proto::Id::new(number).map_or(IdMember::Invalid, IdMember::Valid),
            None => IdMember::Invalid,
        },
    };
    assert_eq!(message.id, id);
    let more = match member(value, "more") {
        Value::Boolean(true) => More::Yes,
        Value::Boolean(false) | Value::Nil => More::No,
        _ => More::Invalid,
    };
    assert_eq!(message.more, more);
    assert_eq!(message.end, *member(value, "end") == Value::Boolean(true));
    let ext = member(value, "ext").as_map();
    assert_eq!(message.ext.is_some(), ext.is_some_and(|ext| ext.iter().all(|(key, _)| key.is_str())));
    let payload = read(message.payload.bytes()).expect("it is one");
    assert_eq!(encoded(&each_key_once(&payload)), encoded(&each_key_once(member(value, "payload"))));
    assert!(has_each_text_once(&payload), "{payload:?}");
}

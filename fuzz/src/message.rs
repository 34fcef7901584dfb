//! What both codecs have in common: a message that was decoded can be encoded, and then means the same.

use bytes::{Bytes, BytesMut};
use duplex_proto::codec::{Body, ErrorMember, IdMember, Kind, Message, More, Outgoing};
use duplex_proto::{Codec, Id, Raw};

/// Encodes what such a message says, if a sender could say it.
fn encoded(codec: &dyn Codec, message: &Message) -> Option<Bytes> {
    let id: Option<Id> = match message.id {
        IdMember::Valid(id) => Some(id),
        IdMember::Absent => None,
        IdMember::Invalid => return None,
    };
    let more = match message.more {
        More::Yes => Some(true),
        More::No => Some(false),
        More::Invalid => return None,
    };
    let method: Option<String> = message.method.as_ref().and_then(|method| method.decode().ok());
    let is_end = message.is_itemless_end();
    let body = match (message.kind, &message.error, method.as_deref()) {
        (Kind::Request, ErrorMember::Error(error), Some(method)) => Body::RequestAbort(method, error),
        (Kind::Request, ErrorMember::Absent, Some(method)) if is_end => Body::RequestEnd(method),
        (Kind::Request, ErrorMember::Absent, Some(method)) => Body::Request(method, &message.payload),
        (Kind::Reply, ErrorMember::Error(error), _) => Body::Error(error),
        (Kind::Reply, ErrorMember::Absent, _) if is_end => Body::ResultEnd,
        (Kind::Reply, ErrorMember::Absent, _) => Body::Result(&message.payload),
        _ => return None,
    };
    let mut out = BytesMut::new();
    codec.encode(&Outgoing { id, body, more, ext: message.ext.as_deref() }, &mut out);
    Some(out.freeze())
}

/// Sees that what is encoded is decoded as it was, whatever its first encoding.
pub(crate) fn survives(codec: &dyn Codec, message: &Message, depth: usize) {
    let Some(first) = encoded(codec, message) else { return };
    let again = codec.decode(first.clone(), depth).expect("what was encoded can be decoded");
    assert_eq!(encoded(codec, &again), Some(first), "{message:?}, then {again:?}");
    passes_on(&message.payload);
    if let Some(ext) = &message.ext {
        let mut copy = ext.clone();
        copy.set("fuzz", &1).expect("a number has an encoding");
        copy.merge(ext);
        copy.remove("fuzz");
        assert!(copy.value::<u8>("fuzz").is_none());
        passes_on(copy.raw());
    }
}

/// A value is turned into other formats, or it is said that it cannot.
fn passes_on(value: &Raw) {
    use duplex_proto::Format::{Json, MessagePack};
    for format in [Json, MessagePack] {
        if let Ok(other) = value.to_format(format) {
            // Where it has been once, it can go again.
            let back = other.to_format(value.format()).expect("what JSON has, both have");
            let same = |raw: &Raw| raw.decode::<serde_json::Value>().ok();
            if let (Some(there), Some(back)) = (same(&other), same(&back)) {
                assert!(there == back || has_float(&there), "{value:?}: {other:?}");
            }
        }
    }
}

/// Floats of MessagePack that JSON has not, and the digits of others, are allowed to differ.
fn has_float(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Number(number) => number.is_f64(),
        serde_json::Value::Array(items) => items.iter().any(has_float),
        serde_json::Value::Object(entries) => entries.values().any(has_float),
        _ => false,
    }
}

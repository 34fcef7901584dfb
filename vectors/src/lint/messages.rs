//! Message vectors: valid ones are whole, invalid ones have one fault and a twin.

use serde_json::Value;

use super::File;
use super::forms::{self, Position};
use crate::corpus::Corpus;
use crate::message::{Class, MessageVector};
use crate::session::Codec;

/// Bytes of a place in which a fault stands.
const PLACE: usize = 10;

/// The rule of frames that hold something else than a message.
const NO_MAP: &str = "message.not-a-map";

pub(super) fn lint(vector: &MessageVector, corpus: &Corpus, file: &mut File<'_>) {
    encodings(vector, file);
    if let Some(message) = &vector.message {
        forms::lint(message, Position::Message, "message", file);
    }
    if vector.valid {
        valid(vector, file);
    } else {
        invalid(vector, corpus, file);
    }
}

fn encodings(vector: &MessageVector, file: &mut File<'_>) {
    if vector.json.is_some() && vector.json_hex.is_some() {
        file.problem("json_hex", "it stands instead of `json`, not beside it");
    }
    if vector.json.is_none() && vector.json_hex.is_none() && vector.msgpack.is_none() {
        file.problem("json", "a vector has bytes in at least one codec");
    }
    if vector.json.is_none() && !vector.accept.json.is_empty() {
        file.problem("accept.json", "other encodings stand beside a canonical one");
    }
    if vector.msgpack.is_none() && !vector.accept.msgpack.is_empty() {
        file.problem("accept.msgpack", "other encodings stand beside a canonical one");
    }
    for (codec, field) in [(Codec::Json, "accept.json"), (Codec::Msgpack, "accept.msgpack")] {
        match vector.frames(codec) {
            Err(error) => file.problem(field, error.to_string()),
            Ok(frames) => {
                for (index, frame) in frames.iter().enumerate() {
                    if frames[..index].contains(frame) {
                        file.problem(format!("{field}[{}]", index - 1), "the same bytes stand there already");
                    }
                }
            }
        }
    }
}

fn valid(vector: &MessageVector, file: &mut File<'_>) {
    if vector.message.is_none() {
        file.problem("message", "a valid vector says what its bytes mean");
    }
    for (field, stands) in [("fault", vector.fault.is_some()), ("class", vector.class.is_some()), ("twin", vector.twin.is_some())]
    {
        if stands {
            file.problem(field, "only an invalid vector has one");
        }
    }
}

fn invalid(vector: &MessageVector, corpus: &Corpus, file: &mut File<'_>) {
    if vector.fault.as_deref().is_none_or(|fault| fault.trim().is_empty()) {
        file.problem("fault", "an invalid vector names its one fault");
    }
    if !vector.accept.json.is_empty() || !vector.accept.msgpack.is_empty() {
        file.problem("accept", "nobody takes other encodings of an invalid message: make each a vector of its own");
    }
    match vector.class {
        None => file.problem("class", "an invalid vector says what a receiver does"),
        Some(class) => of_class(vector, class, file),
    }
    let Some(twin) = &vector.twin else {
        file.problem("twin", "an invalid vector names the valid one that differs in the fault alone");
        return;
    };
    match corpus.message(twin) {
        None => file.problem("twin", format!("there is no message vector `{twin}`")),
        Some(other) if !other.valid => file.problem("twin", format!("`{twin}` is invalid itself")),
        Some(other) => {
            one_fault(vector, other, file);
            one_place(vector, other, file);
        }
    }
}

fn of_class(vector: &MessageVector, class: Class, file: &mut File<'_>) {
    let Some(message) = &vector.message else {
        if class != Class::Undecodable {
            file.problem("message", format!("what can be decoded means something, and `{class}` can"));
        }
        return;
    };
    let kind = message.get("type").and_then(Value::as_str);
    let id = message.get("id").and_then(Value::as_u64);
    match class {
        Class::Undecodable => file.problem("message", "what cannot be decoded means nothing"),
        Class::Invalid if kind != Some("req") || id != Some(1) => {
            file.problem("message.id", "only a request with an id is answered -32600; the vector's id is 1");
        }
        Class::BadReply if kind != Some("rep") || id != Some(1) => {
            file.problem("message.id", "a bad reply is a reply to a call that is open; the vector's id is 1");
        }
        Class::Invalid | Class::BadReply | Class::Dropped => {}
    }
}

/// What cannot be decoded has bytes only, and they differ from the twin's in one place: a small one, unless the fault is what
/// the frame is as a whole.
fn one_place(vector: &MessageVector, twin: &MessageVector, file: &mut File<'_>) {
    if vector.class != Some(Class::Undecodable) {
        return;
    }
    for codec in [Codec::Json, Codec::Msgpack] {
        let (Ok(frames), Ok(others)) = (vector.frames(codec), twin.frames(codec)) else { continue };
        for frame in &frames {
            let differences = others.iter().map(|other| difference(frame, other));
            let Some((ours, theirs)) = differences.min_by_key(|(ours, theirs)| ours + theirs) else { continue };
            let is_small = ours <= PLACE && theirs <= PLACE;
            // Nothing in common, one of them inside the other, or no map at all.
            let is_whole = ours == frame.len() || ours == 0 || theirs == 0 || vector.rules.iter().any(|rule| rule == NO_MAP);
            if !is_small && !is_whole {
                file.problem("twin", format!("in {codec}, {ours} bytes stand in the place of {theirs} of `{}`", twin.id));
            }
        }
    }
}

/// How many bytes of each differ, between what both start with and what both end with.
fn difference(one: &[u8], other: &[u8]) -> (usize, usize) {
    let start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[start..], &other[start..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    (one.len() - end, other.len() - end)
}

/// One member of the message differs from the twin's.
fn one_fault(vector: &MessageVector, twin: &MessageVector, file: &mut File<'_>) {
    let (Some(Value::Object(message)), Some(Value::Object(other))) = (&vector.message, &twin.message) else { return };
    let mut names: Vec<&String> = message.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    let lower = |name: &str| name.to_lowercase();
    let mut differing: Vec<String> =
        names.into_iter().filter(|name| message.get(*name) != other.get(*name)).map(|name| lower(name)).collect();
    // A member in another case is one fault: it is missing under its own name.
    differing.dedup();
    differing.sort();
    differing.dedup();
    if differing.len() != 1 {
        file.problem(
            "twin",
            format!("`{}` differs in {} members ({}), not in one", twin.id, differing.len(), differing.join(", ")),
        );
    }
}

//! JSON. Well-formedness of the whole frame is checked; values are sliced out of it, not built.
//!
//! Numbers are not range-checked here: a payload that is only passed on keeps the digits that it came with.

mod scan;
mod write;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use duplex_spec::Id;
use memchr::memchr;

use self::scan::{Member, Scan};
use self::write::put_string;
pub(crate) use self::write::write;
use super::{Codec, ErrorMember, IdMember, Kind, Message, More, Outgoing, Undecodable};
use crate::error::RemoteError;
use crate::ext::Ext;
use crate::value::{Format, Raw};

/// The codec `json`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Codec for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn is_text(&self) -> bool {
        true
    }

    fn decode(&self, frame: Bytes, depth: usize) -> Result<Message, Undecodable> {
        // r[codec.json.reject]
        std::str::from_utf8(&frame).map_err(|error| Undecodable(error.to_string().into()))?;
        let frame = repair_surrogates(frame);
        // r[codec.depth.over]
        let mut found = Scan::of(&frame, depth)?;
        if found.superseded.is_empty() {
            let message = message(&frame, &found);
            found.done();
            return Ok(message);
        }
        let frame = without(&mut found.superseded, &frame);
        Ok(message(&frame, &Scan::of(&frame, depth)?))
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        let method = message.body.method();
        out.put_slice(if method.is_some() { br#"{"type":"req""# } else { br#"{"type":"rep""# });
        if let Some(id) = message.id {
            out.put_slice(b",\"id\":");
            put_integer(out, id.number());
        }
        if let Some(method) = method {
            out.put_slice(b",\"method\":");
            put_string(out, method);
        }
        if let Some(payload) = message.body.payload() {
            out.put_slice(b",\"payload\":");
            out.put_slice(payload.map_or(b"null", |raw| raw.bytes()));
        }
        if let Some(error) = message.body.error() {
            out.put_slice(b",\"error\":{\"code\":");
            put_integer(out, error.code.0);
            out.put_slice(b",\"message\":");
            put_string(out, &error.message);
            if let Some(data) = &error.data {
                out.put_slice(b",\"data\":");
                out.put_slice(data.bytes());
            }
            out.put_u8(b'}');
        }
        if let Some(more) = message.more {
            out.put_slice(if more { b",\"more\":true" } else { b",\"more\":false" });
        }
        if message.body.is_itemless_end() {
            out.put_slice(b",\"end\":true");
        }
        if let Some(ext) = message.ext {
            out.put_slice(b",\"ext\":");
            out.put_slice(ext.raw().bytes());
        }
        out.put_u8(b'}');
    }
}

/// The message that a scanned frame holds. r[message.order] r[message.unknown-members] r[message.case]
fn message(frame: &Bytes, found: &Scan) -> Message {
    let raw = |value: &Range<usize>| Raw::checked(Format::Json, frame.slice(value.clone()));
    let mut message = Message::empty(Format::Json);
    for (key, value) in &found.members {
        let (name, here) = (&frame[key.start + 1..key.end - 1], &frame[value.clone()]);
        match &*if found.has_escapes { Cow::Owned(spelled(&frame[key.clone()])) } else { Cow::Borrowed(name) } {
            b"type" => message.kind = kind(here),
            b"id" => message.id = id(here),
            b"method" => message.method = Some(raw(value)),
            b"payload" => message.payload = raw(value),
            b"more" => message.more = more(here),
            b"end" => message.end = here == b"true",
            b"error" => message.error = error(&raw(value)),
            b"ext" => message.ext = Ext::from_raw(raw(value)),
            _ => {}
        }
    }
    message
}

/// A key, with its quotes, as it reads: escapes that differ may spell one key.
fn spelled(key: &[u8]) -> Vec<u8> {
    string(key).map_or_else(|| key.to_vec(), |text| text.into_owned().into_bytes())
}

fn kind(text: &[u8]) -> Kind {
    match string(text).as_deref() {
        Some("req") => Kind::Request,
        Some("rep") => Kind::Reply,
        _ => Kind::Unknown,
    }
}

fn id(text: &[u8]) -> IdMember {
    match text {
        b"null" | b"0" => IdMember::Absent,
        // Digits only: a fraction or exponent is no id here. r[message.id.form]
        digits if digits.iter().all(u8::is_ascii_digit) => {
            number(digits).and_then(|number: u64| Id::new(number)).map_or(IdMember::Invalid, IdMember::Valid)
        }
        _ => IdMember::Invalid,
    }
}

fn number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn more(text: &[u8]) -> More {
    match text {
        b"true" => More::Yes,
        b"false" | b"null" => More::No,
        _ => More::Invalid,
    }
}

fn error(value: &Raw) -> ErrorMember {
    if value.is_null() {
        return ErrorMember::Absent;
    }
    let (mut code, mut message, mut data) = (None, None, None);
    for (key, value) in entries(value.bytes()) {
        let text = value.bytes();
        match key.as_str() {
            "code" => code = number::<i64>(text),
            "message" => message = string(text).map(Cow::into_owned),
            "data" => data = Some(value),
            _ => {}
        }
    }
    match (code, message) {
        (Some(code), Some(message)) => ErrorMember::Error(Box::new(RemoteError { code: duplex_spec::Code(code), message, data })),
        _ => ErrorMember::Malformed,
    }
}

/// The text of a JSON string that was checked; `None` for any other value.
pub(crate) fn string(text: &[u8]) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    match memchr(b'\\', inner) {
        None => std::str::from_utf8(inner).ok().map(Cow::Borrowed),
        Some(_) => serde_json::from_slice(text).ok().map(Cow::Owned),
    }
}

/// The text without the entries that are superseded: a value that is passed on has each key once.
/// r[codec.json.duplicate-keys.send]
fn without(superseded: &mut [Range<usize>], text: &Bytes) -> Bytes {
    // Outer before inner where both begin at one place; an inner one then lies behind the end of the outer.
    superseded.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut kept = BytesMut::with_capacity(text.len());
    let mut at = 0;
    for range in superseded {
        if range.start >= at {
            kept.put_slice(&text[at..range.start]);
            at = range.end;
        }
    }
    kept.put_slice(&text[at..]);
    kept.freeze()
}

/// Replaces each lone surrogate escape by the escape of U+FFFD, so that everybody who looks at the message sees the same
/// decodable text. r[codec.json.surrogate]
fn repair_surrogates(frame: Bytes) -> Bytes {
    let mut repaired: Option<BytesMut> = None;
    let mut at = 0;
    while let Some(found) = frame.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        let Some(unit) = escaped_unit(&frame[at..]) else {
            at += 2;
            continue;
        };
        let is_pair = is_high(unit) && frame.get(at + 6..).and_then(escaped_unit).is_some_and(is_low);
        if is_pair {
            at += 12;
            continue;
        }
        if is_high(unit) || is_low(unit) {
            let target = repaired.get_or_insert_with(|| BytesMut::from(frame.as_ref()));
            target[at..at + 6].copy_from_slice(b"\\ufffd");
        }
        at += 6;
    }
    repaired.map_or(frame, BytesMut::freeze)
}

/// The UTF-16 unit of a `\uXXXX` escape at the start of `text`.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn is_high(unit: u16) -> bool {
    (0xd800..0xdc00).contains(&unit)
}

fn is_low(unit: u16) -> bool {
    (0xdc00..0xe000).contains(&unit)
}

pub(crate) fn entries(bytes: &Bytes) -> Vec<(String, Raw)> {
    // No map is no entries. How deep it may nest was decided when its frame came.
    let Ok(found) = Scan::of(bytes, usize::MAX) else { return Vec::new() };
    let entry = |(key, value): Member| {
        let name = string(&bytes[key]).unwrap_or_default().into_owned();
        (name, Raw::checked(Format::Json, bytes.slice(value)))
    };
    found.members.into_iter().map(entry).collect()
}

pub(crate) fn map(entries: &[(String, Raw)]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(b'{');
    for (index, (key, value)) in entries.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        put_string(&mut out, key);
        out.put_u8(b':');
        out.put_slice(value.bytes());
    }
    out.put_u8(b'}');
    out.freeze()
}

fn put_integer(out: &mut BytesMut, number: impl itoa::Integer) {
    out.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

//! JSON. Well-formedness of the whole frame is checked; values are sliced out of it, not built.
//!
//! Numbers are not range-checked here: a payload that is only passed on keeps the digits that it came with.

mod read;
mod scan;
mod shortcut;
mod write;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use duplex_spec::Id;
use memchr::memchr;

pub(crate) use self::read::read;
use self::scan::scan;
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
        let mut frame = repair_surrogates(frame);
        if let Some(message) = shortcut::read(&frame, depth) {
            return Ok(message);
        }
        let mut members = Members::default();
        let mut superseded = members.find(&frame, depth)?;
        if !superseded.is_empty() {
            frame = without(&mut superseded, &frame);
            members.find(&frame, depth)?;
        }
        Ok(members.message(&frame))
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

/// Where the values of a frame's members are; nothing is, where one is absent. r[message.order] r[message.unknown-members]
/// r[message.case]
#[derive(Default)]
struct Members {
    kind: Range<usize>,
    id: Range<usize>,
    method: Range<usize>,
    payload: Range<usize>,
    more: Range<usize>,
    end: Range<usize>,
    error: Range<usize>,
    ext: Range<usize>,
}

impl Members {
    /// Looks for them, and returns what is superseded inside them.
    fn find(&mut self, frame: &[u8], depth: usize) -> Result<Vec<Range<usize>>, Undecodable> {
        // Of duplicate members the last wins here by itself. r[codec.json.duplicate-keys] r[codec.depth.over]
        scan(frame, depth, |key, value| {
            match &*if key.has_escapes { Cow::Owned(spelled(key.text)) } else { Cow::Borrowed(unquoted(key.text)) } {
                b"type" => self.kind = value,
                b"id" => self.id = value,
                b"method" => self.method = value,
                b"payload" => self.payload = value,
                b"more" => self.more = value,
                b"end" => self.end = value,
                b"error" => self.error = value,
                b"ext" => self.ext = value,
                _ => {}
            }
        })
    }

    #[inline]
    fn message(self, frame: &Bytes) -> Message {
        let raw = |value: Range<usize>| (!value.is_empty()).then(|| Raw::part(Format::Json, frame, value));
        Message {
            kind: kind(&frame[self.kind]),
            id: id(&frame[self.id]),
            method: raw(self.method),
            payload: raw(self.payload).unwrap_or_else(|| Raw::null(Format::Json)),
            more: more(&frame[self.more]),
            end: &frame[self.end] == b"true",
            error: error(&frame.slice(self.error)),
            ext: raw(self.ext).and_then(Ext::from_raw).map(Box::new),
        }
    }
}

/// What stands between the quotes of a string that was checked.
fn unquoted(string: &[u8]) -> &[u8] {
    &string[1..string.len() - 1]
}

/// A key, with its quotes, as it reads: escapes that differ may spell one key.
fn spelled(key: &[u8]) -> Vec<u8> {
    string(key).map_or_else(|| key.to_vec(), |text| text.into_owned().into_bytes())
}

fn kind(text: &[u8]) -> Kind {
    match text {
        br#""req""# => Kind::Request,
        br#""rep""# => Kind::Reply,
        // One that is spelled with escapes.
        _ => match string(text).as_deref() {
            Some("req") => Kind::Request,
            Some("rep") => Kind::Reply,
            _ => Kind::Unknown,
        },
    }
}

fn id(text: &[u8]) -> IdMember {
    match text {
        b"" | b"null" | b"0" => IdMember::Absent,
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
        b"" | b"false" | b"null" => More::No,
        _ => More::Invalid,
    }
}

fn error(value: &Bytes) -> ErrorMember {
    if value.is_empty() || value.as_ref() == b"null" {
        return ErrorMember::Absent;
    }
    let (mut code, mut message, mut data) = (None, None, None);
    for (key, value) in entries(value) {
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
    let mut all = Vec::new();
    // How deep it may nest was decided when its frame came.
    let read = scan(bytes, usize::MAX, |key, value| {
        all.push((string(key.text).unwrap_or_default().into_owned(), Raw::part(Format::Json, bytes, value)));
    });
    // No map is no entries.
    if read.is_ok() { all } else { Vec::new() }
}

pub(crate) fn entry(bytes: &Bytes, key: &str) -> Option<Raw> {
    let mut found = None;
    let read = scan(bytes, usize::MAX, |name, value| {
        if string(name.text).is_some_and(|name| name == key) {
            found = Some(value);
        }
    });
    found.filter(|_| read.is_ok()).map(|value| Raw::part(Format::Json, bytes, value))
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

//! JSON. Well-formedness of the whole frame is checked; values are sliced out of it, not built.
//!
//! Numbers are not range-checked here: a payload that is only passed on keeps the digits that it came with.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};
use duplex_spec::Id;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

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
        let survey = Survey::of(&frame);
        // r[codec.depth.over] Before any parser sees the frame.
        if survey.depth > depth {
            return Err(Undecodable(format!("more than {depth} containers inside each other").into()));
        }
        let mut message = decode_members(repair_surrogates(frame.clone()))?;
        // Only now is it certain that the frame is well formed, and that what is left out was.
        if !survey.superseded.is_empty() {
            message = decode_members(repair_surrogates(survey.without_superseded(&frame)))?;
        }
        Ok(message)
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        let method = message.body.method();
        out.put_slice(if method.is_some() { br#"{"type":"req""# } else { br#"{"type":"rep""# });
        if let Some(id) = message.id {
            out.put_slice(b",\"id\":");
            put_integer(out, i128::from(id.number()));
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
            put_integer(out, i128::from(error.code.0));
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

fn decode_members(frame: Bytes) -> Result<Message, Undecodable> {
    let text = std::str::from_utf8(&frame).expect("invariant: the frame was checked, and changed at ASCII characters only");
    let raw = |value: &RawValue| Raw::checked(Format::Json, frame.slice_ref(value.get().as_bytes()));
    let mut message = Message::empty(Format::Json);
    // r[message.order] r[message.unknown-members] r[message.case]
    for_each_entry(text, |key, value| match key {
        "type" => message.kind = kind(value.get()),
        "id" => message.id = id(value.get()),
        "method" => message.method = Some(raw(value)),
        "payload" => message.payload = raw(value),
        "more" => message.more = more(value.get()),
        "end" => message.end = value.get() == "true",
        "error" => message.error = error(value, &raw),
        "ext" => message.ext = Ext::from_raw(raw(value)),
        _ => {}
    })
    .map_err(|error| Undecodable(error.to_string().into()))?;
    Ok(message)
}

fn kind(text: &str) -> Kind {
    match string(text).as_deref() {
        Some("req") => Kind::Request,
        Some("rep") => Kind::Reply,
        _ => Kind::Unknown,
    }
}

fn id(text: &str) -> IdMember {
    match text {
        "null" | "0" => IdMember::Absent,
        // Digits only: a fraction or exponent is no id here. r[message.id.form]
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().and_then(Id::new).map_or(IdMember::Invalid, IdMember::Valid)
        }
        _ => IdMember::Invalid,
    }
}

fn more(text: &str) -> More {
    match text {
        "true" => More::Yes,
        "false" | "null" => More::No,
        _ => More::Invalid,
    }
}

fn error<'a>(value: &'a RawValue, raw: &impl Fn(&'a RawValue) -> Raw) -> ErrorMember {
    if value.get() == "null" {
        return ErrorMember::Absent;
    }
    let (mut code, mut message, mut data) = (None, None, None);
    let entries = for_each_entry(value.get(), |key, value| match key {
        "code" => code = value.get().parse::<i64>().ok(),
        "message" => message = string(value.get()),
        "data" => data = Some(raw(value)),
        _ => {}
    });
    match (entries, code, message) {
        (Ok(()), Some(code), Some(message)) => {
            ErrorMember::Error(RemoteError { code: duplex_spec::Code(code), message: message.into_owned(), data })
        }
        _ => ErrorMember::Malformed,
    }
}

/// The text of a JSON string; `None` for any other value.
pub(crate) fn string(text: &str) -> Option<Cow<'_, str>> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') { serde_json::from_str(text).ok().map(Cow::Owned) } else { Some(Cow::Borrowed(inner)) }
}

/// Calls `each` with the entries of the map that is the whole of `text`.
fn for_each_entry<'a>(text: &'a str, each: impl FnMut(&str, &'a RawValue)) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.deserialize_map(Entries(each))?;
    deserializer.end()
}

struct Entries<F>(F);

impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let value = map.next_value()?;
            (self.0)(&key, value);
        }
        Ok(())
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

/// What one pass over a text tells: how deep it nests, and which entries of maps a later duplicate supersedes.
///
/// Iterative, so that no nesting can exhaust a stack. On text that is not well formed it says something, and never panics.
#[derive(Default)]
struct Survey {
    depth: usize,
    /// From the start of a superseded key to the start of the next one: the entry and its comma.
    superseded: Vec<Range<usize>>,
}

impl Survey {
    fn of(text: &[u8]) -> Self {
        let mut survey = Self::default();
        // The open containers: where the keys of a map begin in `keys`; none for a list.
        let mut open: Vec<Option<usize>> = Vec::new();
        let mut keys: Vec<Range<usize>> = Vec::new();
        let mut expects_key = false;
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            match byte {
                b'"' => {
                    let end = string_end(text, at);
                    if std::mem::take(&mut expects_key) {
                        keys.push(at..end);
                    }
                    at = end;
                    continue;
                }
                b'{' | b'[' => {
                    expects_key = byte == b'{';
                    open.push(expects_key.then_some(keys.len()));
                    survey.depth = survey.depth.max(open.len());
                }
                b'}' | b']' => {
                    expects_key = false;
                    if let Some(Some(first)) = open.pop() {
                        survey.supersede(text, &keys[first.min(keys.len())..]);
                        keys.truncate(first);
                    }
                }
                b',' => expects_key = matches!(open.last(), Some(Some(_))),
                _ => {}
            }
            at += 1;
        }
        survey
    }

    /// Notes which of a map's keys, in order, come again later. r[codec.json.duplicate-keys]
    fn supersede(&mut self, text: &[u8], keys: &[Range<usize>]) {
        // Most maps are small, and looking is cheaper there than hashing.
        const FEW: usize = 12;
        let has_escapes = || keys.iter().any(|key| text[key.clone()].contains(&b'\\'));
        if keys.len() < 2 {
            return;
        }
        if keys.len() <= FEW && !has_escapes() {
            let is_again = |(index, key): (usize, &Range<usize>)| {
                keys[index + 1..].iter().any(|later| text[later.clone()] == text[key.clone()]).then_some(index)
            };
            let again: Vec<usize> = keys.iter().enumerate().filter_map(is_again).collect();
            return again.into_iter().for_each(|index| self.superseded.push(keys[index].start..keys[index + 1].start));
        }
        let mut last = HashMap::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            if let Some(earlier) = last.insert(unescaped(&text[key.clone()]), index) {
                self.superseded.push(keys[earlier].start..keys[earlier + 1].start);
            }
        }
    }

    /// The text without the entries that are superseded: a value that is passed on has each key once.
    /// r[codec.json.duplicate-keys.send]
    fn without_superseded(mut self, text: &Bytes) -> Bytes {
        // Outer before inner where both begin at one place; an inner one then lies behind the end of the outer.
        self.superseded.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
        let mut kept = BytesMut::with_capacity(text.len());
        let mut at = 0;
        for range in self.superseded {
            if range.start >= at {
                kept.put_slice(&text[at..range.start]);
                at = range.end;
            }
        }
        kept.put_slice(&text[at..]);
        kept.freeze()
    }
}

/// Where the string that begins at `start` ends: behind its closing quote, or at the end of the text.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    loop {
        match text.get(at) {
            None => return text.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// A key as it reads: escapes that differ may spell one key.
fn unescaped(key: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(key);
    match &text {
        Cow::Borrowed(borrowed) => string(borrowed).unwrap_or(text),
        Cow::Owned(_) => text,
    }
}

/// Replaces each lone surrogate escape by the escape of U+FFFD, so that everybody who looks at the message sees the same
/// decodable text. r[codec.json.surrogate]
fn repair_surrogates(frame: Bytes) -> Bytes {
    if !frame.windows(3).any(|window| matches!(window, [b'\\', b'u', b'd' | b'D'])) {
        return frame;
    }
    let mut repaired: Option<BytesMut> = None;
    let mut at = 0;
    while at < frame.len() {
        if frame[at] != b'\\' {
            at += 1;
            continue;
        }
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
    let text = std::str::from_utf8(bytes).expect("invariant: a raw JSON value is UTF-8");
    let read = for_each_entry(text, |key, value| {
        all.push((key.to_owned(), Raw::checked(Format::Json, bytes.slice_ref(value.get().as_bytes()))));
    });
    if read.is_ok() { all } else { Vec::new() }
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

fn put_string(out: &mut BytesMut, text: &str) {
    serde_json::to_writer(out.writer(), text).expect("invariant: a string can always be written to memory");
}

fn put_integer(out: &mut BytesMut, number: i128) {
    fmt::Write::write_fmt(out, format_args!("{number}")).expect("invariant: memory takes every number");
}

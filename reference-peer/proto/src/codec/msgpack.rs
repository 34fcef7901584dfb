//! MessagePack. An iterative scanner finds where values end and rejects what is no message; values are sliced, not built.
//!
//! Strings are checked for UTF-8 wherever they stand; otherwise a payload that is only passed on goes on as it came.

mod once;

use bytes::{BufMut, Bytes, BytesMut};
use duplex_spec::{Code, Id};

use super::{Codec, ErrorMember, IdMember, Kind, Message, More, Outgoing, Undecodable};
use crate::error::RemoteError;
use crate::ext::Ext;
use crate::value::{Format, Raw, kept};
use once::each_key_once;

/// The codec `msgpack`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessagePack;

const NIL: u8 = 0xc0;
const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;

impl Codec for MessagePack {
    fn name(&self) -> &'static str {
        "msgpack"
    }

    fn format(&self) -> Format {
        Format::MessagePack
    }

    fn is_text(&self) -> bool {
        false
    }

    fn decode(&self, frame: Bytes, depth: usize) -> Result<Message, Undecodable> {
        let mut message = Message::empty(Format::MessagePack);
        // r[message.order] r[message.unknown-members] r[message.case]
        let end = for_each_entry(&frame, depth, |key, value| match key {
            b"type" => message.kind = kind(&value),
            b"id" => message.id = id(&value),
            b"method" => message.method = Some(raw(kept(&frame, value))),
            b"payload" => message.payload = raw(each_key_once(kept(&frame, value))),
            b"more" => message.more = more(&value),
            b"end" => message.end = value.as_ref() == [TRUE],
            b"error" => message.error = error(&kept(&frame, value)),
            b"ext" => message.ext = Ext::from_raw(raw(each_key_once(kept(&frame, value)))).map(Box::new),
            _ => {}
        })?;
        // r[codec.msgpack.reject]
        if end == frame.len() { Ok(message) } else { Err(Undecodable("bytes behind the message".into())) }
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        let body = &message.body;
        let method = body.method();
        let members = 1
            + u32::from(message.id.is_some())
            + u32::from(method.is_some())
            + u32::from(body.payload().is_some())
            + u32::from(body.error().is_some())
            + u32::from(message.more.is_some())
            + u32::from(body.is_itemless_end())
            + u32::from(message.ext.is_some());
        put_map_head(out, members);
        put_string(out, "type");
        put_string(out, if method.is_some() { "req" } else { "rep" });
        if let Some(id) = message.id {
            put_string(out, "id");
            put_value(out, &id.number());
        }
        if let Some(method) = method {
            put_string(out, "method");
            put_string(out, method);
        }
        if let Some(payload) = body.payload() {
            put_string(out, "payload");
            out.put_slice(payload.map_or(&[NIL], |raw| raw.bytes()));
        }
        if let Some(error) = body.error() {
            put_string(out, "error");
            put_map_head(out, 2 + u32::from(error.data.is_some()));
            put_string(out, "code");
            put_value(out, &error.code.0);
            put_string(out, "message");
            put_string(out, &error.message);
            if let Some(data) = &error.data {
                put_string(out, "data");
                out.put_slice(data.bytes());
            }
        }
        if let Some(more) = message.more {
            put_string(out, "more");
            out.put_u8(if more { TRUE } else { FALSE });
        }
        if body.is_itemless_end() {
            put_string(out, "end");
            out.put_u8(TRUE);
        }
        if let Some(ext) = message.ext {
            put_string(out, "ext");
            out.put_slice(ext.raw().bytes());
        }
    }
}

fn raw(value: Bytes) -> Raw {
    Raw::checked(Format::MessagePack, value)
}

fn kind(value: &[u8]) -> Kind {
    match string(value) {
        Some("req") => Kind::Request,
        Some("rep") => Kind::Reply,
        _ => Kind::Unknown,
    }
}

fn id(value: &[u8]) -> IdMember {
    if value == [NIL] {
        return IdMember::Absent;
    }
    match integer(value) {
        Some(0) => IdMember::Absent,
        Some(number) => u64::try_from(number).ok().and_then(Id::new).map_or(IdMember::Invalid, IdMember::Valid),
        None => IdMember::Invalid,
    }
}

fn more(value: &[u8]) -> More {
    match value {
        [TRUE] => More::Yes,
        [FALSE | NIL] => More::No,
        _ => More::Invalid,
    }
}

fn error(value: &Bytes) -> ErrorMember {
    if value.as_ref() == [NIL] {
        return ErrorMember::Absent;
    }
    let (mut code, mut message, mut data) = (None, None, None);
    // The frame's scan has judged the depth already.
    let entries = for_each_entry(value, usize::MAX, |key, value| match key {
        b"code" => code = integer(&value).and_then(|number| i64::try_from(number).ok()),
        b"message" => message = string(&value).map(str::to_owned),
        b"data" => data = Some(raw(each_key_once(value))),
        _ => {}
    });
    match (entries, code, message) {
        (Ok(_), Some(code), Some(message)) => ErrorMember::Error(Box::new(RemoteError { code: Code(code), message, data })),
        _ => ErrorMember::Malformed,
    }
}

/// The text of a `str` that is valid UTF-8; `None` for any other value. r[codec.msgpack.strings]
pub(crate) fn string(value: &[u8]) -> Option<&str> {
    let Ok(Head { kind: HeadKind::String(length), size }) = head(value) else { return None };
    std::str::from_utf8(value.get(size..size.checked_add(length)?)?).ok()
}

/// An integer in any width. r[codec.msgpack.integers]
fn integer(value: &[u8]) -> Option<i128> {
    let (&first, rest) = value.split_first()?;
    Some(match first {
        0x00..=0x7f => i128::from(first),
        0xe0..=0xff => i128::from(i8::from_be_bytes([first])),
        0xcc => i128::from(u8::from_be_bytes(rest.try_into().ok()?)),
        0xcd => i128::from(u16::from_be_bytes(rest.try_into().ok()?)),
        0xce => i128::from(u32::from_be_bytes(rest.try_into().ok()?)),
        0xcf => i128::from(u64::from_be_bytes(rest.try_into().ok()?)),
        0xd0 => i128::from(i8::from_be_bytes(rest.try_into().ok()?)),
        0xd1 => i128::from(i16::from_be_bytes(rest.try_into().ok()?)),
        0xd2 => i128::from(i32::from_be_bytes(rest.try_into().ok()?)),
        0xd3 => i128::from(i64::from_be_bytes(rest.try_into().ok()?)),
        _ => return None,
    })
}

/// Calls `each` with the entries of the map at the start of `bytes`; returns where the map ends.
fn for_each_entry(bytes: &Bytes, depth: usize, mut each: impl FnMut(&[u8], Bytes)) -> Result<usize, Undecodable> {
    let head = head(bytes)?;
    let HeadKind::Map(entries) = head.kind else { return Err(Undecodable("no map".into())) };
    let mut at = head.size;
    for _ in 0..entries {
        let key_end = skip(bytes, at, 0)?;
        // r[codec.msgpack.form] r[codec.msgpack.keys]
        let key = string(&bytes[at..key_end]).ok_or(Undecodable("a member name is no string".into()))?;
        let value_end = skip(bytes, key_end, depth.saturating_sub(1))?;
        each(key.as_bytes(), bytes.slice(key_end..value_end));
        at = value_end;
    }
    Ok(at)
}

/// Where the value at `at` ends, if it is whole and nests no deeper than `depth` containers.
fn skip(bytes: &[u8], mut at: usize, depth: usize) -> Result<usize, Undecodable> {
    // How many values each open container still lacks. Its length is the nesting: bounded by `depth` and by the frame's size.
    let mut open: Vec<u64> = Vec::new();
    let mut left = 1_u64;
    loop {
        while left == 0 {
            let Some(outer) = open.pop() else { return Ok(at) };
            left = outer;
        }
        left -= 1;
        let head = head(bytes.get(at..).unwrap_or_default())?;
        at += head.size;
        let children = match head.kind {
            HeadKind::Scalar(length) | HeadKind::String(length) => {
                let end = at.checked_add(length).filter(|&end| end <= bytes.len()).ok_or_else(truncated)?;
                // r[codec.msgpack.reject]
                if matches!(head.kind, HeadKind::String(_)) && std::str::from_utf8(&bytes[at..end]).is_err() {
                    return Err(Undecodable("a string is not valid UTF-8".into()));
                }
                at = end;
                continue;
            }
            HeadKind::Array(items) => u64::from(items),
            HeadKind::Map(entries) => 2 * u64::from(entries),
        };
        // r[codec.depth.over]
        if open.len() >= depth {
            return Err(Undecodable("too many containers inside each other".into()));
        }
        open.push(left);
        left = children;
    }
}

struct Head {
    kind: HeadKind,
    /// Bytes of marker and length.
    size: usize,
}

enum HeadKind {
    /// So many bytes follow that hold no further value.
    Scalar(usize),
    String(usize),
    Array(u32),
    Map(u32),
}

fn head(bytes: &[u8]) -> Result<Head, Undecodable> {
    use HeadKind::{Array, Map, Scalar, String};
    let (&first, rest) = bytes.split_first().ok_or_else(truncated)?;
    let number = |width: usize| -> Result<u32, Undecodable> {
        let digits = rest.get(..width).ok_or_else(truncated)?;
        Ok(digits.iter().fold(0, |number, &digit| number << 8 | u32::from(digit)))
    };
    let length = |width: usize| number(width).map(|number| number as usize);
    let (kind, width) = match first {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (Scalar(0), 0),
        0x80..=0x8f => (Map(u32::from(first & 0x0f)), 0),
        0x90..=0x9f => (Array(u32::from(first & 0x0f)), 0),
        0xa0..=0xbf => (String(usize::from(first & 0x1f)), 0),
        // r[codec.msgpack.reject]
        0xc1 => return Err(Undecodable("the byte 0xc1, which MessagePack does not use".into())),
        // r[codec.msgpack.bin]
        0xc4 => (Scalar(length(1)?), 1),
        0xc5 => (Scalar(length(2)?), 2),
        0xc6 => (Scalar(length(4)?), 4),
        0xc7 => (Scalar(length(1)?.saturating_add(1)), 1),
        0xc8 => (Scalar(length(2)?.saturating_add(1)), 2),
        0xc9 => (Scalar(length(4)?.saturating_add(1)), 4),
        0xcc | 0xd0 => (Scalar(1), 0),
        0xcd | 0xd1 => (Scalar(2), 0),
        0xca | 0xce | 0xd2 => (Scalar(4), 0),
        0xcb | 0xcf | 0xd3 => (Scalar(8), 0),
        0xd4 => (Scalar(2), 0),
        0xd5 => (Scalar(3), 0),
        0xd6 => (Scalar(5), 0),
        0xd7 => (Scalar(9), 0),
        0xd8 => (Scalar(17), 0),
        0xd9 => (String(length(1)?), 1),
        0xda => (String(length(2)?), 2),
        0xdb => (String(length(4)?), 4),
        0xdc => (Array(number(2)?), 2),
        0xdd => (Array(number(4)?), 4),
        0xde => (Map(number(2)?), 2),
        0xdf => (Map(number(4)?), 4),
    };
    Ok(Head { kind, size: 1 + width })
}

fn truncated() -> Undecodable {
    Undecodable("the message is cut short".into())
}

pub(crate) fn is_map(first: u8) -> bool {
    matches!(first, 0x80..=0x8f | 0xde | 0xdf)
}

pub(crate) fn entries(bytes: &Bytes) -> Vec<(String, Raw)> {
    let mut all = Vec::new();
    let read = for_each_entry(bytes, usize::MAX, |key, value| {
        all.push((String::from_utf8_lossy(key).into_owned(), raw(value)));
    });
    if read.is_ok() { all } else { Vec::new() }
}

pub(crate) fn entry(bytes: &Bytes, key: &str) -> Option<Raw> {
    let mut found = None;
    let read = for_each_entry(bytes, usize::MAX, |name, value| {
        if name == key.as_bytes() {
            found = Some(value);
        }
    });
    found.filter(|_| read.is_ok()).map(raw)
}

pub(crate) fn has_string_keys(bytes: &Bytes) -> bool {
    for_each_entry(bytes, usize::MAX, |_, _| {}).is_ok()
}

pub(crate) fn map(entries: &[(String, Raw)]) -> Bytes {
    let mut out = BytesMut::new();
    put_map_head(&mut out, u32::try_from(entries.len()).expect("invariant: a map in memory has fewer than 2^32 entries"));
    for (key, value) in entries {
        put_string(&mut out, key);
        out.put_slice(value.bytes());
    }
    out.freeze()
}

fn put_map_head(out: &mut BytesMut, entries: u32) {
    if let Some(small) = u8::try_from(entries).ok().filter(|&entries| entries < 16) {
        out.put_u8(0x80 | small);
    } else {
        out.put_u8(0xdf);
        out.put_u32(entries);
    }
}

fn put_string(out: &mut BytesMut, text: &str) {
    put_value(out, text);
}

fn put_value<T: serde::Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    rmp_serde::encode::write(&mut out.writer(), value).expect("invariant: memory takes every string and integer");
}

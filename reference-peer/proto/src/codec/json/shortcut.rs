//! Messages that carry a payload, spelled as this codec spells them itself: read from front to back, which takes about half the
//! time of looking for members. Every other spelling means the same, and is read that other way.

use std::ops::Range;

use bytes::Bytes;
use duplex_spec::Id;

use super::scan::value_length;
use crate::codec::{ErrorMember, IdMember, Kind, Message, More};
use crate::ext::Ext;
use crate::value::{Format, Raw};

/// Digits of an id that cannot be too large.
const DIGITS: usize = 15;

/// Reads a text that is valid UTF-8; `None` says nothing about it.
pub(super) fn read(frame: &Bytes, depth: usize) -> Option<Message> {
    let mut rest = Rest { text: frame, at: 0, depth };
    let kind = if rest.passes(br#"{"type":"req","id":"#) {
        Kind::Request
    } else if rest.passes(br#"{"type":"rep","id":"#) {
        Kind::Reply
    } else {
        return None;
    };
    let id = rest.id()?;
    let method = if kind == Kind::Request { rest.member(br#","method":"#)? } else { 0..0 };
    let payload = rest.member(br#","payload":"#)?;
    let more = if rest.passes(br#","more":true"#) {
        More::Yes
    } else {
        rest.passes(br#","more":false"#);
        More::No
    };
    let ext = if rest.is(b"}") { 0..0 } else { rest.member(br#","ext":"#)? };
    if !rest.is(b"}") {
        return None;
    }
    let raw = |value| Raw::part(Format::Json, frame, value);
    Some(Message {
        kind,
        id: IdMember::Valid(id),
        method: (!method.is_empty()).then(|| raw(method)),
        payload: raw(payload),
        more,
        end: false,
        error: ErrorMember::Absent,
        ext: if ext.is_empty() { None } else { Ext::from_raw(raw(ext)).map(Box::new) },
    })
}

/// What was not read yet. Its functions are inlined by force: they are so small that calling them would cost as much again.
struct Rest<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Rest<'_> {
    #[inline(always)]
    fn is(&self, text: &[u8]) -> bool {
        &self.text[self.at..] == text
    }

    /// Passes this text, if it is next.
    #[inline(always)]
    fn passes(&mut self, text: &[u8]) -> bool {
        let is_next = self.text[self.at..].starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    /// Passes the member that begins with this; says where its value is.
    #[inline(always)]
    fn member(&mut self, name: &[u8]) -> Option<Range<usize>> {
        if !self.passes(name) {
            return None;
        }
        let start = self.at;
        self.at += value_length(&self.text[start..], self.depth)?;
        Some(start..self.at)
    }

    #[inline(always)]
    fn id(&mut self) -> Option<Id> {
        let digits = self.text[self.at..].iter().take(DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
        let id = &self.text[self.at..self.at + digits];
        self.at += digits;
        let number = id.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
        Id::new(number).filter(|_| id[0] != b'0')
    }
}

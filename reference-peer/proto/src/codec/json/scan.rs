//! One pass over the text of a frame: whether it is one well-formed map that nests no deeper than it may, where its members
//! are, and which entries of maps a later duplicate supersedes.
//!
//! Iterative, so that no nesting can exhaust a stack. Values are found and not built; numbers keep their digits.

use std::cell::Cell;
use std::collections::HashMap;
use std::ops::Range;

use super::spelled;
use crate::codec::Undecodable;

/// Most maps are small, and looking is cheaper there than hashing.
const FEW: usize = 12;
/// Bytes of a string that are looked at in one step.
const STEP: usize = 32;

/// Where a member is: its key with the quotes, and its value, as bytes of the text.
pub(super) type Member = (Range<usize>, Range<usize>);

/// What the pass found.
#[derive(Default)]
pub(super) struct Scan {
    /// Of the outermost map.
    pub(super) members: Vec<Member>,
    /// From the start of a superseded key to the start of the next one: the entry and its comma.
    pub(super) superseded: Vec<Range<usize>>,
    /// The open containers: where the keys of a map begin in `keys`; none for a list.
    open: Vec<Option<usize>>,
    /// The keys of all open maps, outer ones first.
    keys: Vec<Range<usize>>,
    /// Whether a key has an escape: two that differ may spell one then.
    pub(super) has_escapes: bool,
}

thread_local! {
    /// The last scan's memory, for the next one.
    static SPARE: Cell<Scan> = const {
        Cell::new(Scan { members: Vec::new(), superseded: Vec::new(), open: Vec::new(), keys: Vec::new(), has_escapes: false })
    };
}

/// Memory for so many entries is kept for the next scan.
const KEPT: usize = 1024;

impl Scan {
    /// Scans a text that is valid UTF-8.
    pub(super) fn of(text: &[u8], depth: usize) -> Result<Self, Undecodable> {
        let mut found = SPARE.take();
        found.members.clear();
        found.superseded.clear();
        found.open.clear();
        found.keys.clear();
        found.has_escapes = false;
        Pass { text, at: 0, depth, found }.run()
    }

    /// Lets the next scan have the memory.
    pub(super) fn done(self) {
        if self.members.capacity().max(self.keys.capacity()).max(self.open.capacity()) <= KEPT {
            SPARE.set(self);
        }
    }
}

struct Pass<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    found: Scan,
}

impl Pass<'_> {
    fn run(mut self) -> Result<Scan, Undecodable> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return Err(Undecodable("not a map".into()));
        }
        loop {
            if self.value()? {
                continue;
            }
            // Behind a value: on to the next one, or out of as many containers as end here.
            while !self.next_entry()? {
                if self.found.open.is_empty() {
                    self.skip_space();
                    return if self.at == self.text.len() { Ok(self.found) } else { Err(self.unexpected()) };
                }
            }
        }
    }

    /// Passes a scalar, an empty container, or the head of another one; says whether a value is due next.
    fn value(&mut self) -> Result<bool, Undecodable> {
        let first = self.peek().ok_or_else(|| self.unexpected())?;
        match first {
            b'{' | b'[' => {
                // r[codec.depth.over]
                if self.found.open.len() >= self.depth {
                    return Err(Undecodable(format!("more than {} containers inside each other", self.depth).into()));
                }
                let is_map = first == b'{';
                self.found.open.push(is_map.then_some(self.found.keys.len()));
                self.at += 1;
                self.skip_space();
                if self.peek() == Some(if is_map { b'}' } else { b']' }) {
                    self.at += 1;
                    self.close();
                    return Ok(false);
                }
                if is_map {
                    self.key()?;
                }
                return Ok(true);
            }
            b'"' => self.at = self.string_end()?,
            b'-' | b'0'..=b'9' => self.number()?,
            b't' => self.literal(b"true")?,
            b'f' => self.literal(b"false")?,
            b'n' => self.literal(b"null")?,
            _ => return Err(self.unexpected()),
        }
        Ok(false)
    }

    /// Behind a value: passes the comma and, in a map, the next key, and says yes; or passes the end of the container.
    fn next_entry(&mut self) -> Result<bool, Undecodable> {
        if let ([_], Some((_, value))) = (self.found.open.as_slice(), self.found.members.last_mut()) {
            value.end = self.at;
        }
        let Some(container) = self.found.open.last() else { return Ok(false) };
        let is_map = container.is_some();
        self.skip_space();
        match (self.peek(), is_map) {
            (Some(b','), _) => {
                self.at += 1;
                self.skip_space();
                if is_map {
                    self.key()?;
                }
                Ok(true)
            }
            (Some(b'}'), true) | (Some(b']'), false) => {
                self.at += 1;
                self.close();
                Ok(false)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The innermost container ends.
    fn close(&mut self) {
        if let Some(Some(first)) = self.found.open.pop() {
            supersede(self.text, &self.found.keys[first..], self.found.has_escapes, &mut self.found.superseded);
            self.found.keys.truncate(first);
        }
    }

    /// Passes a key and its colon.
    fn key(&mut self) -> Result<(), Undecodable> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let key = self.at..self.string_end()?;
        self.found.has_escapes |= self.text[key.clone()].contains(&b'\\');
        self.at = key.end;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.skip_space();
        if self.found.open.len() == 1 {
            self.found.members.push((key.clone(), self.at..self.at));
        }
        self.found.keys.push(key);
        Ok(())
    }

    /// Where the string that begins here ends: behind its closing quote.
    fn string_end(&self) -> Result<usize, Undecodable> {
        let mut at = self.at + 1;
        loop {
            at += plain_length(&self.text[at..]);
            at += match self.text.get(at) {
                Some(b'"') => return Ok(at + 1),
                Some(b'\\') => self.escape_length(at)?,
                // A control character.
                Some(_) => return Err(self.unexpected()),
                None => return Err(Undecodable("a string without an end".into())),
            };
        }
    }

    fn escape_length(&self, at: usize) -> Result<usize, Undecodable> {
        match self.text.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') if self.text.get(at + 2..at + 6).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)) => Ok(6),
            _ => Err(Undecodable("an escape that JSON does not have".into())),
        }
    }

    fn number(&mut self) -> Result<(), Undecodable> {
        self.at += usize::from(self.peek() == Some(b'-'));
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(())
    }

    /// Passes one digit or more.
    fn digits(&mut self) -> Result<(), Undecodable> {
        let from = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > from { Ok(()) } else { Err(self.unexpected()) }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), Undecodable> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.unexpected());
        }
        self.at += word.len();
        Ok(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> Undecodable {
        let what = match self.peek() {
            Some(byte) => format!("`{}` at byte {} is not JSON there", byte.escape_ascii(), self.at),
            None => "the text ends too early".to_owned(),
        };
        Undecodable(what.into())
    }
}

/// How many bytes of a text come before the first that a JSON string cannot hold as it is: a quote, a backslash, a control
/// character.
pub(super) fn plain_length(text: &[u8]) -> usize {
    let is_special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    // Without a way out of a step, so that a processor can look at all of its bytes at once.
    let is_plain = |step: &&[u8; STEP]| !step.iter().fold(false, |is_special_yet, &byte| is_special_yet | is_special(byte));
    let plain = text.as_chunks().0.iter().take_while(is_plain).count() * STEP;
    plain + text[plain..].iter().take_while(|&&byte| !is_special(byte)).count()
}

/// Notes which of a map's keys, in order, come again later. r[codec.json.duplicate-keys]
fn supersede(text: &[u8], keys: &[Range<usize>], has_escapes: bool, superseded: &mut Vec<Range<usize>>) {
    if keys.len() <= FEW && !has_escapes {
        for (index, key) in keys.iter().enumerate() {
            if keys[index + 1..].iter().any(|later| text[later.clone()] == text[key.clone()]) {
                superseded.push(key.start..keys[index + 1].start);
            }
        }
        return;
    }
    let mut last = HashMap::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        if let Some(earlier) = last.insert(spelled(&text[key.clone()]), index) {
            superseded.push(keys[earlier].start..keys[earlier + 1].start);
        }
    }
}

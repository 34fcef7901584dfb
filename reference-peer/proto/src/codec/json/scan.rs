//! One pass over the text of a frame: whether it is one well-formed map that nests no deeper than it may, where its members
//! are, and which entries of the maps inside a later duplicate supersedes.
//!
//! Iterative, so that no nesting can exhaust a stack. Values are found and not built; numbers keep their digits.

use std::collections::HashMap;
use std::ops::Range;

use smallvec::SmallVec;

use super::spelled;
use crate::codec::Undecodable;

/// Most maps are small, and looking is cheaper there than hashing.
const FEW: usize = 12;
/// Bytes of a string that are looked at in one step.
const STEP: usize = 32;

/// A key of the outermost map, with its quotes.
pub(super) struct Key<'a> {
    pub(super) text: &'a [u8],
    /// Whether it is spelled otherwise than it reads.
    pub(super) has_escapes: bool,
}

/// Passes over a text that is valid UTF-8. Hands over each member of the outermost map, and where its value is; returns which
/// entries of the maps inside are superseded.
pub(super) fn scan<'a>(
    text: &'a [u8],
    depth: usize,
    member: impl FnMut(Key<'a>, Range<usize>),
) -> Result<Vec<Range<usize>>, Undecodable> {
    let mut pass = Pass::new(text, depth);
    pass.run(member)?;
    Ok(pass.superseded)
}

/// The bytes of the value that a text begins with, inside an outermost map; `None` if it is not well formed, nests too deep, or has
/// superseded entries.
#[inline]
pub(super) fn value_length(text: &[u8], depth: usize) -> Option<usize> {
    let mut pass = Pass::new(text, depth);
    pass.value().ok().filter(|()| depth > 0 && pass.superseded.is_empty())?;
    Some(pass.at)
}

struct Pass<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// The open containers inside the outermost map: where the keys of a map begin in `keys`; none for a list.
    open: SmallVec<[Option<usize>; 4]>,
    /// The keys of all these maps, outer ones first.
    keys: SmallVec<[Range<usize>; 8]>,
    /// Whether one of these has an escape: two that differ may spell one key then.
    has_escapes: bool,
    /// From the start of a superseded key to the start of the next one: the entry and its comma.
    superseded: Vec<Range<usize>>,
}

impl<'a> Pass<'a> {
    #[inline]
    fn new(text: &'a [u8], depth: usize) -> Self {
        let (open, keys) = (SmallVec::new(), SmallVec::new());
        Self { text, at: 0, depth, open, keys, has_escapes: false, superseded: Vec::new() }
    }

    fn run(&mut self, mut member: impl FnMut(Key<'a>, Range<usize>)) -> Result<(), Undecodable> {
        self.skip_space();
        if self.peek() != Some(b'{') {
            return Err(Undecodable("not a map".into()));
        }
        if self.depth == 0 {
            return Err(self.too_deep());
        }
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
        } else {
            loop {
                let (key, has_escapes) = self.key()?;
                let start = self.at;
                self.value()?;
                member(Key { text: &self.text[key], has_escapes }, start..self.at);
                if !self.next_entry(b'}')? {
                    break;
                }
            }
        }
        self.skip_space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.unexpected()) }
    }

    /// Passes a value with all that is in it.
    #[inline]
    fn value(&mut self) -> Result<(), Undecodable> {
        loop {
            if self.head()? {
                continue;
            }
            // Behind a value: on to the next one, or out of as many containers as end here.
            loop {
                let Some(container) = self.open.last() else { return Ok(()) };
                let is_map = container.is_some();
                if self.next_entry(if is_map { b'}' } else { b']' })? {
                    if is_map {
                        self.inner_key()?;
                    }
                    break;
                }
                self.close();
            }
        }
    }

    /// Passes a scalar, an empty container, or the head of another one; says whether a value is due next.
    #[inline]
    fn head(&mut self) -> Result<bool, Undecodable> {
        match self.peek() {
            Some(b'"') => self.at = self.string_end()?.0,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.literal(b"true")?,
            Some(b'f') => self.literal(b"false")?,
            Some(b'n') => self.literal(b"null")?,
            Some(first @ (b'{' | b'[')) => {
                // r[codec.depth.over] The outermost map is open too.
                if self.open.len() + 1 >= self.depth {
                    return Err(self.too_deep());
                }
                let is_map = first == b'{';
                self.at += 1;
                self.skip_space();
                if self.peek() == Some(if is_map { b'}' } else { b']' }) {
                    self.at += 1;
                    return Ok(false);
                }
                self.open.push(is_map.then_some(self.keys.len()));
                if is_map {
                    self.inner_key()?;
                }
                return Ok(true);
            }
            _ => return Err(self.unexpected()),
        }
        Ok(false)
    }

    /// Behind a value: passes the comma and says yes, or passes the end of the container.
    #[inline]
    fn next_entry(&mut self, end: u8) -> Result<bool, Undecodable> {
        self.skip_space();
        let next = self.peek();
        if next != Some(b',') && next != Some(end) {
            return Err(self.unexpected());
        }
        self.at += 1;
        if next == Some(end) {
            return Ok(false);
        }
        self.skip_space();
        Ok(true)
    }

    /// The innermost container ends.
    fn close(&mut self) {
        if let Some(Some(first)) = self.open.pop() {
            supersede(self.text, &self.keys[first..], self.has_escapes, &mut self.superseded);
            self.keys.truncate(first);
        }
    }

    fn inner_key(&mut self) -> Result<(), Undecodable> {
        let (key, has_escapes) = self.key()?;
        self.has_escapes |= has_escapes;
        self.keys.push(key);
        Ok(())
    }

    /// Passes a key and its colon; says where the key is, with its quotes, and whether it has escapes.
    #[inline]
    fn key(&mut self) -> Result<(Range<usize>, bool), Undecodable> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let (end, has_escapes) = self.string_end()?;
        let key = self.at..end;
        self.at = end;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.skip_space();
        Ok((key, has_escapes))
    }

    /// Where the string that begins here ends: behind its closing quote. And whether it has escapes.
    #[inline]
    fn string_end(&self) -> Result<(usize, bool), Undecodable> {
        let from = self.at + 1;
        // Most strings are short and plain.
        if let Some(&word) = self.text.get(from..).and_then(<[u8]>::first_chunk) {
            let at = from + first_special(word);
            if at < from + WORD && self.text[at] == b'"' {
                return Ok((at + 1, false));
            }
        }
        self.long_string_end(from)
    }

    fn long_string_end(&self, from: usize) -> Result<(usize, bool), Undecodable> {
        let mut at = from;
        let mut has_escapes = false;
        loop {
            at += plain_length(&self.text[at..]);
            at += match self.text.get(at) {
                Some(b'"') => return Ok((at + 1, has_escapes)),
                Some(b'\\') => self.escape_length(at)?,
                // A control character.
                Some(_) => return Err(self.unexpected()),
                None => return Err(Undecodable("a string without an end".into())),
            };
            has_escapes = true;
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

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    #[cold]
    fn too_deep(&self) -> Undecodable {
        Undecodable(format!("more than {} containers inside each other", self.depth).into())
    }

    #[cold]
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
    // Without a way out of a step, so that a processor can look at all of its bytes at once.
    let is_plain = |step: &&[u8; STEP]| step.iter().fold(0, |specials, &byte| specials | special(byte)) == 0;
    let plain = text.as_chunks().0.iter().take_while(is_plain).count() * STEP;
    plain + text[plain..].iter().take_while(|&&byte| !is_special(byte)).count()
}

fn is_special(byte: u8) -> bool {
    special(byte) != 0
}

/// A number, since that is what becomes of it where many bytes are looked at in one step: truth values take twice the time.
fn special(byte: u8) -> u8 {
    u8::from(byte < 0x20) | u8::from(byte == b'"') | u8::from(byte == b'\\')
}

const WORD: usize = size_of::<u64>();

/// Where the first byte is that is special; the length of the word if none is.
#[inline]
fn first_special(word: [u8; WORD]) -> usize {
    const EACH: u64 = u64::from_le_bytes([1; WORD]);
    const HIGHEST: u64 = u64::from_le_bytes([0x80; WORD]);
    let word = u64::from_le_bytes(word);
    // Sets the highest bit of the first byte that is less, and of none before it; one that is borrows from those behind it.
    let less = |word: u64, than: u8| word.wrapping_sub(EACH * u64::from(than)) & !word & HIGHEST;
    let equal = |byte: u8| less(word ^ (EACH * u64::from(byte)), 1);
    let special = less(word, 0x20) | equal(b'"') | equal(b'\\');
    special.trailing_zeros() as usize / 8
}

/// Notes which of a map's keys, in order, come again later. r[codec.json.duplicate-keys]
fn supersede(text: &[u8], keys: &[Range<usize>], has_escapes: bool, superseded: &mut Vec<Range<usize>>) {
    if keys.len() < 2 {
        return;
    }
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

#[cfg(test)]
mod tests {
    use super::{WORD, first_special, is_special, plain_length};

    /// However bytes lie before and behind it, the first that is special is found, by words as by steps.
    #[test]
    fn the_first_special_byte_is_found() {
        for byte in 0..=u8::MAX {
            for (at, behind) in (0..WORD).flat_map(|at| [b'x', b'"', b'\\', 0, 0x1f, 0x7f, 0x80, 0xff].map(|behind| (at, behind)))
            {
                let mut word = [b'x'; WORD];
                word[at..].fill(behind);
                word[at] = byte;
                let first = word.iter().position(|&byte| is_special(byte)).unwrap_or(WORD);
                assert_eq!(first_special(word), first, "{word:?}");
                let text = [[0x80; 5 * WORD].as_slice(), &word].concat();
                assert_eq!(plain_length(&text), 5 * WORD + first, "{text:?}");
            }
        }
    }
}

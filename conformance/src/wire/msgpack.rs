//! MessagePack, read and written without recursion limits and without the claims of a length being believed.

use super::{Builder, DecodeError, EncodeError, Open, Value};
use duplex_vectors::Codec;

/// Decodes exactly one MessagePack value.
pub fn decode(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut reader = Reader { bytes, at: 0 };
    let value = reader.value()?;
    if reader.at == bytes.len() {
        Ok(value)
    } else {
        Err(DecodeError { what: "more bytes behind the MessagePack value", at: reader.at })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

enum Item {
    Whole(Value),
    Array(usize),
    Map(usize),
}

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], DecodeError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(DecodeError { what: "the bytes end inside a value", at: self.bytes.len() })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn uint(&mut self, width: usize) -> Result<u64, DecodeError> {
        Ok(self.take(width)?.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn length(&mut self, width: usize) -> Result<usize, DecodeError> {
        let at = self.at;
        self.uint(width).and_then(|length| usize::try_from(length).map_err(|_| DecodeError { what: "a length is too large", at }))
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        let mut builder = Builder::default();
        // How many items each open container still lacks.
        let mut missing: Vec<usize> = Vec::new();
        loop {
            let at = self.at;
            let (open, count) = match self.item()? {
                Item::Whole(value) => {
                    if let Some(whole) = builder.add(value) {
                        return Ok(whole);
                    }
                    if let Some(last) = missing.last_mut() {
                        *last -= 1;
                    }
                    if let Some(whole) = Self::close_full(&mut builder, &mut missing) {
                        return Ok(whole);
                    }
                    continue;
                }
                Item::Array(count) => (Open::Array(Vec::new()), count),
                Item::Map(count) => (Open::Map(Vec::new(), None), count.saturating_mul(2)),
            };
            builder.push(open, at)?;
            missing.push(count);
            if let Some(whole) = Self::close_full(&mut builder, &mut missing) {
                return Ok(whole);
            }
        }
    }

    fn close_full(builder: &mut Builder, missing: &mut Vec<usize>) -> Option<Value> {
        while missing.last() == Some(&0) {
            missing.pop();
            let value = builder.close()?;
            if let Some(whole) = builder.add(value) {
                return Some(whole);
            }
            if let Some(last) = missing.last_mut() {
                *last -= 1;
            }
        }
        None
    }

    #[expect(clippy::cast_possible_wrap, reason = "MessagePack's signed numbers are the same bits.")]
    fn item(&mut self) -> Result<Item, DecodeError> {
        let at = self.at;
        let mark = self.uint(1)? as u8;
        let small = |bits: u8| usize::from(mark & bits);
        Ok(Item::Whole(match mark {
            0x00..=0x7f => Value::Int(mark.into()),
            0x80..=0x8f => return Ok(Item::Map(small(0x0f))),
            0x90..=0x9f => return Ok(Item::Array(small(0x0f))),
            0xa0..=0xbf => self.text(small(0x1f))?,
            0xc0 => Value::Null,
            0xc1 => return Err(DecodeError { what: "the byte c1 is never used", at }),
            0xc2 => Value::Bool(false),
            0xc3 => Value::Bool(true),
            0xc4..=0xc6 => {
                let length = self.length(1 << (mark - 0xc4))?;
                Value::Bin(self.take(length)?.to_vec())
            }
            0xc7..=0xc9 => {
                let length = self.length(1 << (mark - 0xc7))?;
                self.extension(length)?
            }
            0xca => Value::Float(f32::from_bits(self.uint(4)? as u32).into()),
            0xcb => Value::Float(f64::from_bits(self.uint(8)?)),
            0xcc..=0xcf => Value::Int(self.uint(1 << (mark - 0xcc))?.into()),
            0xd0 => Value::Int((self.uint(1)? as u8 as i8).into()),
            0xd1 => Value::Int((self.uint(2)? as u16 as i16).into()),
            0xd2 => Value::Int((self.uint(4)? as u32 as i32).into()),
            0xd3 => Value::Int((self.uint(8)? as i64).into()),
            0xd4..=0xd8 => self.extension(1 << (mark - 0xd4))?,
            0xd9..=0xdb => {
                let length = self.length(1 << (mark - 0xd9))?;
                self.text(length)?
            }
            0xdc | 0xdd => return Ok(Item::Array(self.length(2 << (mark - 0xdc))?)),
            0xde | 0xdf => return Ok(Item::Map(self.length(2 << (mark - 0xde))?)),
            0xe0..=0xff => Value::Int((mark as i8).into()),
        }))
    }

    fn text(&mut self, length: usize) -> Result<Value, DecodeError> {
        let at = self.at;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes)
            .map(|text| Value::Str(text.to_owned()))
            .map_err(|error| DecodeError { what: "a str is not UTF-8", at: at + error.valid_up_to() })
    }

    #[expect(clippy::cast_possible_wrap, reason = "The type of an ext is a signed byte.")]
    fn extension(&mut self, length: usize) -> Result<Value, DecodeError> {
        let kind = self.uint(1)? as u8 as i8;
        Ok(Value::Ext(kind, self.take(length)?.to_vec()))
    }
}

/// Writes a value, each part in its narrowest form.
pub fn encode(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match value {
        Value::Null => out.push(0xc0),
        Value::Bool(truth) => out.push(0xc2 + u8::from(*truth)),
        Value::Int(number) => integer(*number, out)?,
        Value::Float(number) => {
            out.push(0xcb);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Str(text) => {
            let short = (text.len() < 32).then_some(0xa0);
            head(out, text.len(), short, Some(0xd9), 0xda);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Bin(bytes) => {
            head(out, bytes.len(), None, Some(0xc4), 0xc5);
            out.extend_from_slice(bytes);
        }
        Value::Ext(kind, bytes) => {
            match bytes.len() {
                size @ (1 | 2 | 4 | 8 | 16) => out.push(0xd4 + size.trailing_zeros() as u8),
                size => head(out, size, None, Some(0xc7), 0xc8),
            }
            out.extend_from_slice(&kind.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Value::Array(items) => {
            head(out, items.len(), (items.len() < 16).then_some(0x90), None, 0xdc);
            for item in items {
                encode(item, out)?;
            }
        }
        Value::Map(pairs) => {
            head(out, pairs.len(), (pairs.len() < 16).then_some(0x80), None, 0xde);
            for (key, item) in pairs {
                encode(key, out)?;
                encode(item, out)?;
            }
        }
        Value::Nest(depth) => {
            out.resize(out.len() + depth.saturating_sub(1), 0x91);
            out.push(0x90);
        }
    }
    Ok(())
}

/// A head with a length: in the mark itself, in one byte, in two, in four.
fn head(out: &mut Vec<u8>, length: usize, short: Option<u8>, byte: Option<u8>, wide: u8) {
    if let Some(mark) = short {
        out.push(mark | length as u8);
    } else if let (Some(mark), Ok(length)) = (byte, u8::try_from(length)) {
        out.extend_from_slice(&[mark, length]);
    } else if let Ok(length) = u16::try_from(length) {
        out.push(wide);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(wide + 1);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

fn integer(number: i128, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let too_wide = EncodeError { codec: Codec::Msgpack, what: "an integer of more than 64 bits" };
    if let Ok(number) = u64::try_from(number) {
        match number {
            0..=0x7f => out.push(number as u8),
            0x80..=0xff => out.extend_from_slice(&[0xcc, number as u8]),
            0x100..=0xffff => {
                out.push(0xcd);
                out.extend_from_slice(&(number as u16).to_be_bytes());
            }
            0x1_0000..=0xffff_ffff => {
                out.push(0xce);
                out.extend_from_slice(&(number as u32).to_be_bytes());
            }
            _ => {
                out.push(0xcf);
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        return Ok(());
    }
    let number = i64::try_from(number).map_err(|_| too_wide)?;
    if number >= -32 {
        out.extend_from_slice(&(number as i8).to_be_bytes());
    } else if let Ok(number) = i8::try_from(number) {
        out.push(0xd0);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xd1);
        out.extend_from_slice(&number.to_be_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(0xd2);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&number.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_take_their_narrowest_form() {
        for (number, digits) in [
            (0, "00"),
            (127, "7f"),
            (128, "cc80"),
            (256, "cd0100"),
            (65536, "ce00010000"),
            (1 << 32, "cf0000000100000000"),
            (-1, "ff"),
            (-32, "e0"),
            (-33, "d0df"),
            (-129, "d1ff7f"),
            (-40000, "d2ffff63c0"),
            (-(1 << 40), "d3ffffff0000000000"),
        ] {
            let mut out = Vec::new();
            encode(&Value::Int(number), &mut out).expect("encodes");
            assert_eq!(hex::encode(&out), digits, "{number}");
            assert_eq!(decode(&out), Ok(Value::Int(number)));
        }
    }

    #[test]
    fn claims_that_the_bytes_do_not_keep_are_errors() {
        for digits in
            ["", "c1", "a1", "a1ff", "91", "81a161", "dbffffffff", "ddffffffff", "dfffffffff", "c0c0", "c6ffffffff00", "c8ffff01"]
        {
            assert!(decode(&hex::decode(digits).expect("digits")).is_err(), "{digits}");
        }
    }
}

//! Frames and values as the harness sees them: generic, lossless, and able to lie.
//!
//! The codecs here are the harness's own and share nothing with any peer. They keep what a peer's codec hides: duplicate
//! keys, keys that are no strings, the difference between `1` and `1.0`. They do not judge: a [`Value`] need not be a message.

pub mod framing;
pub mod json;
pub mod msgpack;
mod show;

use duplex_vectors::Codec;

pub use show::{hex_cut, plain_json};

/// How deep a received value may nest. Deeper ones are not read: no rule asks for so much.
pub const MAX_DEPTH: usize = 2048;

/// Any value of any codec.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`, nil.
    Null,
    /// A boolean.
    Bool(bool),
    /// A number written without fraction and exponent.
    Int(i128),
    /// Any other number.
    Float(f64),
    /// Text. A lone surrogate became U+FFFD, as in many peers.
    Str(String),
    /// MessagePack `bin`.
    Bin(Vec<u8>),
    /// MessagePack `ext`: type and bytes.
    Ext(i8, Vec<u8>),
    /// An array.
    Array(Vec<Value>),
    /// A map: pairs in the order of the bytes, duplicates included.
    Map(Vec<(Value, Value)>),
    /// So many arrays, each the only item of the one around it. Only sent, never received.
    Nest(usize),
}

impl Value {
    /// The member with this name, if this is a map that has it. Of duplicates the last one, as most decoders do.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Self> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().rev().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    /// The text, if this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is written as an integer.
    #[must_use]
    pub fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// A map with these members.
    #[must_use]
    pub fn map<const N: usize>(members: [(&str, Self); N]) -> Self {
        Self::Map(members.into_iter().map(|(name, value)| (Self::Str(name.to_owned()), value)).collect())
    }

    /// Sets or adds a member; does nothing to what is no map.
    pub fn set(&mut self, name: &str, value: Self) {
        let Self::Map(pairs) = self else { return };
        match pairs.iter_mut().rev().find(|(key, _)| key.as_str() == Some(name)) {
            Some((_, old)) => *old = value,
            None => pairs.push((Self::Str(name.to_owned()), value)),
        }
    }

    /// Removes a member and gives it back; does nothing to what is no map.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        let Self::Map(pairs) = self else { return None };
        let index = pairs.iter().position(|(key, _)| key.as_str() == Some(name))?;
        Some(pairs.remove(index).1)
    }
}

/// Bytes that are no value of the codec.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at byte {at}")]
pub struct DecodeError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, in bytes from the start.
    pub at: usize,
}

/// Decodes exactly one value.
pub fn decode(codec: Codec, bytes: &[u8]) -> Result<Value, DecodeError> {
    match codec {
        Codec::Json => json::decode(bytes),
        Codec::Msgpack => msgpack::decode(bytes),
    }
}

/// A value that a codec cannot write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{codec} cannot write {what}")]
pub struct EncodeError {
    codec: Codec,
    what: &'static str,
}

/// Encodes a value. JSON has no `bin`, no `nan` and no keys but strings; MessagePack no integers beyond 64 bits.
pub fn encode(codec: Codec, value: &Value) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    match codec {
        Codec::Json => json::encode(value, &mut out)?,
        Codec::Msgpack => msgpack::encode(value, &mut out)?,
    }
    Ok(out)
}

/// Puts decoded items into the containers around them, without recursion.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
}

enum Open {
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>, Option<Value>),
}

impl Builder {
    fn push(&mut self, open: Open, at: usize) -> Result<(), DecodeError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(DecodeError { what: "nested deeper than the harness reads", at });
        }
        self.open.push(open);
        Ok(())
    }

    /// Adds a finished value to the innermost container; the value itself if there is none.
    fn add(&mut self, value: Value) -> Option<Value> {
        match self.open.last_mut() {
            None => return Some(value),
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Map(pairs, key)) => match key.take() {
                None => *key = Some(value),
                Some(key) => pairs.push((key, value)),
            },
        }
        None
    }

    /// Ends the innermost container.
    fn close(&mut self) -> Option<Value> {
        Some(match self.open.pop()? {
            Open::Array(items) => Value::Array(items),
            Open::Map(pairs, _) => Value::Map(pairs),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codecs_give_back_what_they_wrote() {
        let value = Value::Map(vec![
            (Value::Str("a\n\"\\\u{1}é😀".into()), Value::Array(vec![Value::Null, Value::Bool(true), Value::Int(-129)])),
            (Value::Str("b".into()), Value::Float(1.0)),
            (Value::Str("b".into()), Value::Float(-2.5e300)),
            (Value::Str("c".into()), Value::Map(vec![])),
            (Value::Str("d".into()), Value::Int(9_007_199_254_740_993)),
            (Value::Str("e".into()), Value::Str("x".repeat(300))),
        ]);
        for codec in Codec::all() {
            let bytes = encode(codec, &value).expect("encodes");
            assert_eq!(decode(codec, &bytes), Ok(value.clone()), "{codec}");
        }
    }

    #[test]
    fn nesting_costs_no_stack() {
        for codec in Codec::all() {
            let deep = encode(codec, &Value::Nest(200_000)).expect("encodes");
            assert_eq!(decode(codec, &deep).expect_err("too deep").what, "nested deeper than the harness reads", "{codec}");
            let fair = decode(codec, &encode(codec, &Value::Nest(3)).expect("encodes")).expect("decodes");
            assert_eq!(fair, Value::Array(vec![Value::Array(vec![Value::Array(vec![])])]), "{codec}");
        }
    }

    #[test]
    fn what_a_codec_cannot_write_is_an_error() {
        assert!(encode(Codec::Json, &Value::Bin(vec![0])).is_err());
        assert!(encode(Codec::Json, &Value::Float(f64::NAN)).is_err());
        assert!(encode(Codec::Json, &Value::Map(vec![(Value::Int(1), Value::Null)])).is_err());
        assert!(encode(Codec::Msgpack, &Value::Int(i128::MAX)).is_err());
    }
}

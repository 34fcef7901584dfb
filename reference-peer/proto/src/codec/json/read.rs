//! Values out of JSON text, as `serde_json` reads them.
//!
//! A long string without escapes is taken as it stands. `serde_json` looks for escapes eight bytes at a time, which is most of the
//! work where a payload is mostly text.

use std::borrow::Cow;

use serde::de::{DeserializeOwned, Deserializer, Visitor};
use serde_json::Error;
use serde_json::de::SliceRead;

use super::string;

/// Bytes from which on looking at a string before `serde_json` does pays.
const LONG: usize = 256;

/// Reads the value that a text is, which a codec has checked.
pub(crate) fn read<T: DeserializeOwned>(text: &[u8]) -> Result<T, Error> {
    let mut json = serde_json::Deserializer::from_slice(text);
    // How deep a frame may be its codec has judged, by the peer's own limit.
    json.disable_recursion_limit();
    if text.len() >= LONG
        && let Some(Cow::Borrowed(plain)) = string(text)
    {
        return T::deserialize(Plain { text: plain, json });
    }
    let value = T::deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// A string that is spelled as it reads.
struct Plain<'a> {
    text: &'a str,
    /// For whoever wants something else than a string.
    json: serde_json::Deserializer<SliceRead<'a>>,
}

macro_rules! leave {
    ($($method:ident($($name:ident: $type:ty),*))*) => {
        $(fn $method<V: Visitor<'a>>(mut self, $($name: $type,)* visitor: V) -> Result<V::Value, Error> {
            self.json.$method($($name,)* visitor)
        })*
    };
}

impl<'a> Deserializer<'a> for Plain<'a> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    leave! {
        deserialize_bool() deserialize_char() deserialize_f32() deserialize_f64()
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64() deserialize_i128()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64() deserialize_u128()
        deserialize_bytes() deserialize_byte_buf() deserialize_seq() deserialize_map()
        deserialize_unit() deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(length: usize)
        deserialize_tuple_struct(name: &'static str, length: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::{LONG, read};

    #[derive(Debug, PartialEq, Deserialize)]
    struct Name(String);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(Option<Name>),
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Letter {
        A,
    }

    fn read_alike<T: DeserializeOwned + Debug + PartialEq>(text: &str) {
        assert_eq!(read::<T>(text.as_bytes()).ok(), serde_json::from_str(text).ok(), "{text}");
    }

    /// A long string is for every type what `serde_json` makes of it, escapes or not.
    #[test]
    fn reads_as_serde_json_does() {
        for length in [0, 1, LONG - 3, LONG - 2, LONG - 1, LONG, 5 * LONG] {
            for end in ["", "x", "ä", r"\u00e4", r#"\""#, r"\\"] {
                let text = format!("\"{}{end}\"", "x".repeat(length));
                read_alike::<String>(&text);
                read_alike::<Box<str>>(&text);
                read_alike::<Option<String>>(&text);
                read_alike::<Name>(&text);
                read_alike::<Option<Name>>(&text);
                read_alike::<Either>(&text);
                read_alike::<Value>(&text);
                read_alike::<std::path::PathBuf>(&text);
                read_alike::<()>(&text);
                read_alike::<u64>(&text);
                read_alike::<f64>(&text);
                read_alike::<bool>(&text);
                read_alike::<char>(&text);
                read_alike::<Vec<u8>>(&text);
                read_alike::<(u8, u8)>(&text);
                read_alike::<Letter>(&text);
                read_alike::<std::ffi::CString>(&text);
                read_alike::<std::collections::BTreeMap<String, u8>>(&text);
                let raw: Box<RawValue> = read(text.as_bytes()).expect("JSON");
                assert_eq!(raw.get(), text);
            }
        }
    }
}

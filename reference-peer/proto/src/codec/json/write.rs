//! Values as JSON text, in the forms that serde's users know from `serde_json`.
//!
//! An encoder of our own, for two things: NaN and the infinities, which JSON does not have, are errors and not null, since nobody
//! would be told that the number is lost; and strings are looked through many bytes at a time, since a large payload is mostly
//! text. Numbers are still written by `serde_json`.

use bytes::BufMut;
use serde::ser::{self, Error as _, Serialize};
use serde_json::Error;

use super::scan::plain_length;

/// Room beside a string for its quotes, and for what little mostly follows a long one.
const BESIDE: usize = 64;
/// How the names begin under which `serde_json` passes text that is JSON already.
const AS_IT_IS: &str = "$serde_json::private::";

/// Appends a value.
pub(crate) fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(&mut Writer { out })
}

/// Appends a string with its quotes.
pub(super) fn put_string(out: &mut impl BufMut, text: &str) {
    let mut rest = text.as_bytes();
    out.put_u8(b'"');
    loop {
        let plain = plain_length(rest);
        out.put_slice(&rest[..plain]);
        let Some(&special) = rest.get(plain) else { break };
        match special {
            b'"' | b'\\' => out.put_slice(&[b'\\', special]),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            0x08 => out.put_slice(b"\\b"),
            0x0c => out.put_slice(b"\\f"),
            _ => out.put_slice(format!("\\u{special:04x}").as_bytes()),
        }
        rest = &rest[plain + 1..];
    }
    out.put_u8(b'"');
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    fn put(&mut self, text: &[u8]) -> Result<(), Error> {
        self.out.put_slice(text);
        Ok(())
    }

    /// Begins a list or a map; `close` ends it.
    fn entries<'w>(&'w mut self, open: &[u8], close: &'static [u8]) -> Result<Entries<'w, 'a>, Error> {
        self.put(open)?;
        Ok(Entries { writer: self, close, is_first: true })
    }

    /// Begins a map of one entry, whose value is a list or a map.
    fn variant<'w>(&'w mut self, name: &str, open: &[u8], close: &'static [u8]) -> Result<Entries<'w, 'a>, Error> {
        self.put(b"{")?;
        put_string(self.out, name);
        self.put(b":")?;
        self.entries(open, close)
    }

    /// What is no string in Rust and has a text nevertheless becomes one.
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        let at = self.out.len();
        key.serialize(&mut *self)?;
        match self.out[at] {
            b'"' => {}
            b'-' | b'0'..=b'9' | b't' | b'f' => {
                self.out.insert(at, b'"');
                self.out.push(b'"');
            }
            _ => return Err(Error::custom("a key of a map is no string")),
        }
        Ok(())
    }

    /// Writes a string's text without quotes and escapes.
    fn text<T: Serialize + ?Sized>(&mut self, string: &T) -> Result<(), Error> {
        let at = self.out.len();
        string.serialize(&mut *self)?;
        let text: String = serde_json::from_slice(&self.out[at..])?;
        self.out.truncate(at);
        self.put(text.as_bytes())
    }
}

/// The types that `serde_json` writes as they are.
macro_rules! plain {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<(), Error> {
            serde_json::to_writer(&mut *self.out, &value)
        })*
    };
}

impl<'w, 'a> ser::Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Entries<'w, 'a>;
    type SerializeTuple = Entries<'w, 'a>;
    type SerializeTupleStruct = Entries<'w, 'a>;
    type SerializeTupleVariant = Entries<'w, 'a>;
    type SerializeMap = Entries<'w, 'a>;
    type SerializeStruct = Entries<'w, 'a>;
    type SerializeStructVariant = Entries<'w, 'a>;

    plain!(serialize_bool: bool, serialize_char: char);
    plain!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128);
    plain!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128);

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        if value.is_finite() { serde_json::to_writer(&mut *self.out, &value) } else { Err(not_finite()) }
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        if value.is_finite() { serde_json::to_writer(&mut *self.out, &value) } else { Err(not_finite()) }
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        self.out.reserve(value.len() + BESIDE);
        put_string(self.out, value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.put(b"null")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.put(b"null")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Error> {
        self.put(b"null")
    }

    fn serialize_unit_variant(self, _name: &'static str, _index: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _name: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let entry = self.variant(variant, b"", b"}")?;
        value.serialize(&mut *entry.writer)?;
        entry.end()
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<Entries<'w, 'a>, Error> {
        self.entries(b"[", b"]")
    }

    fn serialize_tuple(self, _length: usize) -> Result<Entries<'w, 'a>, Error> {
        self.entries(b"[", b"]")
    }

    fn serialize_tuple_struct(self, _name: &'static str, _length: usize) -> Result<Entries<'w, 'a>, Error> {
        self.entries(b"[", b"]")
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Entries<'w, 'a>, Error> {
        self.variant(variant, b"[", b"]}")
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Entries<'w, 'a>, Error> {
        self.entries(b"{", b"}")
    }

    fn serialize_struct(self, name: &'static str, _length: usize) -> Result<Entries<'w, 'a>, Error> {
        if name.starts_with(AS_IT_IS) { self.entries(b"", b"") } else { self.entries(b"{", b"}") }
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<Entries<'w, 'a>, Error> {
        self.variant(variant, b"{", b"}}")
    }
}

fn not_finite() -> Error {
    Error::custom("JSON has no NaN and no infinity")
}

/// A list or a map that is open.
struct Entries<'w, 'a> {
    writer: &'w mut Writer<'a>,
    close: &'static [u8],
    is_first: bool,
}

impl Entries<'_, '_> {
    fn comma(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.is_first) { Ok(()) } else { self.writer.put(b",") }
    }

    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.comma()?;
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
        if self.close.is_empty() {
            return self.writer.text(value);
        }
        self.comma()?;
        put_string(self.writer.out, name);
        self.writer.put(b":")?;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        self.writer.put(self.close)
    }
}

/// The kinds of containers that serde tells apart and JSON does not.
macro_rules! containers {
    ($($container:ident: $method:ident($($name:ident: $text:ty)?) by $entry:ident),*) => {
        $(impl ser::$container for Entries<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $text,)? value: &T) -> Result<(), Error> {
                self.$entry($($name,)? value)
            }

            fn end(self) -> Result<(), Error> {
                Entries::end(self)
            }
        })*
    };
}

containers!(
    SerializeSeq: serialize_element() by item,
    SerializeTuple: serialize_element() by item,
    SerializeTupleStruct: serialize_field() by item,
    SerializeTupleVariant: serialize_field() by item,
    SerializeStruct: serialize_field(name: &'static str) by field,
    SerializeStructVariant: serialize_field(name: &'static str) by field
);

impl ser::SerializeMap for Entries<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.comma()?;
        self.writer.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.writer.put(b":")?;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Error> {
        Entries::end(self)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::write;

    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(u8),
        Tuple(i64, f32),
        Struct { a: Option<bool>, b: () },
    }

    fn written<T: Serialize + ?Sized>(value: &T) -> Result<String, String> {
        let mut out = Vec::new();
        write(&mut out, value).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out).expect("JSON is text"))
    }

    /// Every kind of value looks as `serde_json` writes it.
    #[test]
    fn looks_as_serde_json_writes_it() {
        let same = |value: &dyn Fn() -> (Result<String, String>, String)| {
            let (ours, theirs) = value();
            assert_eq!(ours.as_deref(), Ok(theirs.as_str()));
        };
        macro_rules! same {
            ($($value:expr),* $(,)?) => {
                $(same(&|| (written(&$value), serde_json::to_string(&$value).expect("a value that JSON has")));)*
            };
        }
        let every_character: String = (0..0x250u32).filter_map(char::from_u32).collect();
        let raw = RawValue::from_string(r#" {"a" : 1e3} "#.to_owned()).expect("JSON");
        same!(
            [Shape::Unit, Shape::Newtype(7), Shape::Tuple(-3, 0.1), Shape::Struct { a: None, b: () }],
            Shape::Struct { a: Some(true), b: () },
            (u64::MAX, i128::MIN, u128::MAX, 1e300, -0.0, 1.0f32, f64::MIN_POSITIVE, 'ä', '\u{1f600}', '"'),
            every_character,
            every_character.repeat(3),
            "x".repeat(31),
            "x".repeat(32) + "\"" + &"y".repeat(64) + "\u{1f}",
            "",
            [(); 0],
            BTreeMap::<u8, u8>::new(),
            BTreeMap::from([(-1, "a"), (20, "b")]),
            BTreeMap::from([(true, BTreeMap::from([('"', vec![1, 2])]))]),
            BTreeMap::from([(Some("\n"), raw.clone())]),
            vec![raw.clone(), raw.clone()],
            serde_json::json!({"a": [null, 1, -2, 0.5, {"b": {}}, []], "ü\\": "\t"}),
            std::ffi::CString::new([1, 200]).expect("no zero"),
        );
    }

    #[test]
    fn refuses_what_json_does_not_have() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            written(&Some([number])).unwrap_err();
            written(&(number as f32)).unwrap_err();
        }
        written(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
        written(&BTreeMap::from([((), 3)])).unwrap_err();
        written(&BTreeMap::from([(None::<u8>, 3)])).unwrap_err();
    }
}

//! `ext`: the map of metadata beside a payload, for middleware.
//!
//! Kept encoded until a hook or handler looks; unknown keys keep the very bytes that they came in.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::value::{DecodeError, EncodeError, Format, Raw};

/// Metadata of a channel or frame: string keys, any values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ext(Raw);

impl Ext {
    /// An empty map.
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self(Raw::map(format, &[]))
    }

    /// Takes an encoded value as ext, if it is a map with string keys.
    #[must_use]
    pub fn from_raw(raw: Raw) -> Option<Self> {
        (raw.is_map() && raw.has_string_keys()).then_some(Self(raw))
    }

    /// The whole map, encoded.
    #[must_use]
    pub fn raw(&self) -> &Raw {
        &self.0
    }

    /// The value of a key. `None` if there is none.
    ///
    /// # Errors
    /// The value has another shape than the type.
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Option<Result<T, DecodeError>> {
        // The last of duplicate keys wins, as everywhere. r[codec.json.duplicate-keys]
        self.raw_value(key).map(|value| value.decode())
    }

    /// The value of a key, as it came. `None` if there is none.
    #[must_use]
    pub fn raw_value(&self, key: &str) -> Option<Raw> {
        self.0.entry(key)
    }

    /// The keys, in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.0.entries().into_iter().map(|(name, _)| name).collect()
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub fn set<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), EncodeError> {
        let value = Raw::encode(self.0.format(), value)?;
        self.put(key, value);
        Ok(())
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        let mut entries = self.0.entries();
        entries.retain(|(name, _)| name != key);
        self.0 = Raw::map(self.0.format(), &entries);
    }

    /// Takes over the keys of another ext; where both have one, the other's value wins.
    pub fn merge(&mut self, other: &Self) {
        for (key, value) in other.0.entries() {
            if let Ok(value) = value.to_format(self.0.format()) {
                self.put(&key, value);
            }
        }
    }

    fn put(&mut self, key: &str, value: Raw) {
        let mut entries = self.0.entries();
        match entries.iter_mut().find(|(name, _)| name == key) {
            Some(entry) => entry.1 = value,
            None => entries.push((key.to_owned(), value)),
        }
        self.0 = Raw::map(self.0.format(), &entries);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Whoever looks for a key and whoever passes the whole on must see the same.
    #[test]
    fn only_a_map_with_string_keys_is_ext() {
        let ext = |bytes: &'static [u8]| Ext::from_raw(Raw::checked(Format::MessagePack, Bytes::from_static(bytes)));
        let text = ext(b"\x82\xa1a\x01\xa4auth\xa1x").expect("a map");
        assert_eq!(text.value::<String>("auth").expect("a key").expect("a string"), "x");
        for none in [&b"\x82\xa4auth\xa1x\x01\x02"[..], b"\x82\x01\x02\xa4auth\xa1x", b"\x81\xc4\x01a\x01", b"\x05", b"\xc0"] {
            assert!(ext(none).is_none(), "{}", none.escape_ascii());
        }
    }

    #[test]
    fn the_last_of_duplicate_keys_is_the_one() {
        let ext = Ext::from_raw(Raw::checked(Format::Json, Bytes::from_static(br#"{"a":1,"\u0061":2,"b":[{"a":3}]}"#)));
        let ext = ext.expect("a map");
        assert_eq!(ext.value::<u8>("a").expect("a key").expect("a number"), 2);
        assert!(ext.value::<u8>("c").is_none());
    }
}

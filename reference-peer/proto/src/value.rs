//! Values kept as the bytes that they came in, and decoded only when somebody asks.
//!
//! A payload that is only passed on is never parsed beyond the check that its frame was one well-formed message.

use std::cell::Cell;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{json, msgpack};

/// How a value is encoded. A codec names the format of the values in its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// RFC 8259 text.
    Json,
    /// MessagePack.
    MessagePack,
}

thread_local! {
    /// Where values are encoded, since their length is not known before.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes of a value that are cheaper to copy than to grow a vector for.
const FEW: usize = 4096;

/// One encoded value: well formed in its format, cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    format: Format,
    bytes: Bytes,
}

/// A value does not have the shape that was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the value does not fit the type asked for: {0}")]
pub struct DecodeError(String);

/// A value cannot be encoded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the value cannot be encoded: {0}")]
pub struct EncodeError(String);

impl Raw {
    /// Takes bytes that a codec has checked.
    pub(crate) fn checked(format: Format, bytes: Bytes) -> Self {
        Self { format, bytes }
    }

    /// The same value in memory of its own, which keeps nothing else alive.
    pub(crate) fn detached(&self) -> Self {
        Self { format: self.format, bytes: Bytes::copy_from_slice(&self.bytes) }
    }

    /// The null of a format.
    #[must_use]
    pub fn null(format: Format) -> Self {
        let bytes: &'static [u8] = match format {
            Format::Json => b"null",
            Format::MessagePack => &[0xc0],
        };
        Self { format, bytes: Bytes::from_static(bytes) }
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// When the value has no encoding in the format, such as a JSON map whose keys are no strings, or NaN in JSON.
    pub fn encode<T: Serialize + ?Sized>(format: Format, value: &T) -> Result<Self, EncodeError> {
        let mut bytes = SCRATCH.take();
        bytes.clear();
        let encoded = encode_into(&mut bytes, format, value);
        let raw = if bytes.len() > FEW { Bytes::from(bytes) } else { exact(bytes) };
        encoded.map(|()| Self { format, bytes: raw })
    }

    /// Decodes the value as a type.
    ///
    /// # Errors
    /// When the value has another shape than the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self.format {
            Format::Json => {
                let mut deserializer = serde_json::Deserializer::from_slice(&self.bytes);
                // How deep a frame may be its codec has judged, by the peer's own limit.
                deserializer.disable_recursion_limit();
                let value = T::deserialize(&mut deserializer).map_err(|error| DecodeError(error.to_string()))?;
                deserializer.end().map_err(|error| DecodeError(error.to_string()))?;
                Ok(value)
            }
            Format::MessagePack => {
                let mut deserializer = rmp_serde::Deserializer::from_read_ref(&self.bytes).with_human_readable();
                T::deserialize(&mut deserializer).map_err(|error| DecodeError(error.to_string()))
            }
        }
    }

    /// The format of the bytes.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The encoded value.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the value is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match self.format {
            Format::Json => self.bytes.as_ref() == b"null",
            Format::MessagePack => self.bytes.as_ref() == [0xc0],
        }
    }

    /// Whether the value is a map.
    #[must_use]
    pub fn is_map(&self) -> bool {
        let first = self.bytes.first().copied().unwrap_or_default();
        match self.format {
            Format::Json => first == b'{',
            Format::MessagePack => msgpack::is_map(first),
        }
    }

    /// The same value in another format. Free where the format is the same already.
    ///
    /// # Errors
    /// When the other format has no such value: MessagePack's `bin` and non-string keys have no JSON.
    pub fn to_format(&self, format: Format) -> Result<Self, EncodeError> {
        self.clone().into_format(format)
    }

    /// As [`Raw::to_format`], for a value that is not needed any more.
    ///
    /// # Errors
    /// As [`Raw::to_format`].
    pub fn into_format(self, format: Format) -> Result<Self, EncodeError> {
        if self.format == format {
            return Ok(self);
        }
        let value: serde_json::Value = self.decode().map_err(|error| EncodeError(error.to_string()))?;
        Self::encode(format, &value)
    }

    /// The entries of a map, in order, later duplicates last; none if this is no map.
    pub(crate) fn entries(&self) -> Vec<(String, Self)> {
        match self.format {
            Format::Json => json::entries(&self.bytes),
            Format::MessagePack => msgpack::entries(&self.bytes),
        }
    }

    /// A map of these entries.
    pub(crate) fn map(format: Format, entries: &[(String, Self)]) -> Self {
        let bytes = match format {
            Format::Json => json::map(entries),
            Format::MessagePack => msgpack::map(entries),
        };
        Self { format, bytes }
    }
}

/// The bytes in an allocation of their own; the vector is kept for the next value.
fn exact(bytes: Vec<u8>) -> Bytes {
    let exact = Bytes::copy_from_slice(&bytes);
    SCRATCH.set(bytes);
    exact
}

fn encode_into<T: Serialize + ?Sized>(bytes: &mut Vec<u8>, format: Format, value: &T) -> Result<(), EncodeError> {
    match format {
        Format::Json => {
            // r[error.unsendable]
            json::write(bytes, value).map_err(|error| EncodeError(error.to_string()))?;
        }
        Format::MessagePack => {
            // A type that looks different for people, such as a UUID, looks the same in every codec.
            let mut serializer = rmp_serde::Serializer::new(bytes).with_struct_map().with_human_readable();
            value.serialize(&mut serializer).map_err(|error| EncodeError(error.to_string()))?;
        }
    }
    Ok(())
}

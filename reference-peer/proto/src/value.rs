//! Values kept as the bytes that they came in, and decoded only when somebody asks.
//!
//! A payload that is only passed on is never parsed beyond the check that its frame was one well-formed message.

use std::cell::Cell;
use std::fmt;
use std::ops::Range;

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

/// A part of a frame, to be kept. One that is small beside it is copied: it would keep the whole, and nobody counts that.
pub(crate) fn kept(frame: &Bytes, part: Bytes) -> Bytes {
    if frame.len() > LARGE && part.len() < frame.len() / 4 { Bytes::copy_from_slice(&part) } else { part }
}

/// Bytes of a frame that is not kept for a small part of it.
const LARGE: usize = 4096;
/// Bytes of a value that are cheaper to copy than to grow a vector for.
const FEW: usize = 4096;

/// One encoded value: well formed in its format, cheap to clone.
#[derive(Clone)]
pub struct Raw {
    format: Format,
    /// The length of a short value.
    short: u8,
    stored: Stored,
}

/// Most arguments and results are short. One that is lies in the value itself: no memory is asked for, and none is shared with
/// another thread.
#[derive(Clone)]
enum Stored {
    Short([u8; SHORT]),
    Long(Bytes),
}

/// What fits where the parts of a [`Bytes`] would be.
const SHORT: usize = 24;

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
        let (short, stored) = short(&bytes).unwrap_or((0, Stored::Long(bytes)));
        Self { format, short, stored }
    }

    /// Takes a part of a text that a codec has checked.
    pub(crate) fn part(format: Format, text: &Bytes, part: Range<usize>) -> Self {
        let (short, stored) = match (u8::try_from(part.len()), text[part.start..].first_chunk()) {
            // What comes behind the part is copied with it: so many bytes at once are less work than just the right ones.
            (Ok(length), Some(&bytes)) if part.len() <= SHORT => (length, Stored::Short(bytes)),
            _ => short(&text[part.clone()]).unwrap_or_else(|| (0, Stored::Long(kept(text, text.slice(part))))),
        };
        Self { format, short, stored }
    }

    /// The same value in memory of its own, which keeps nothing else alive.
    pub(crate) fn detached(&self) -> Self {
        Self::copied(self.format, self.bytes())
    }

    fn copied(format: Format, bytes: &[u8]) -> Self {
        let (short, stored) = short(bytes).unwrap_or_else(|| (0, Stored::Long(Bytes::copy_from_slice(bytes))));
        Self { format, short, stored }
    }

    /// The null of a format.
    #[must_use]
    pub fn null(format: Format) -> Self {
        let bytes: &[u8] = match format {
            Format::Json => b"null",
            Format::MessagePack => &[0xc0],
        };
        Self::copied(format, bytes)
    }

    /// Encodes a value.
    ///
    /// # Errors
    /// When the value has no encoding in the format, such as a JSON map whose keys are no strings, or NaN in JSON.
    pub fn encode<T: Serialize + ?Sized>(format: Format, value: &T) -> Result<Self, EncodeError> {
        let mut bytes = SCRATCH.take();
        bytes.clear();
        encode_into(&mut bytes, format, value)?;
        if bytes.len() > FEW {
            return Ok(Self::checked(format, Bytes::from(bytes)));
        }
        let copied = Self::copied(format, &bytes);
        // For the next value.
        SCRATCH.set(bytes);
        Ok(copied)
    }

    /// Decodes the value as a type.
    ///
    /// # Errors
    /// When the value has another shape than the type.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match self.format {
            Format::Json => json::read(self.bytes()).map_err(|error| DecodeError(error.to_string())),
            Format::MessagePack => {
                let mut deserializer = rmp_serde::Deserializer::from_read_ref(self.bytes()).with_human_readable();
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
    pub fn bytes(&self) -> &[u8] {
        match &self.stored {
            Stored::Short(bytes) => &bytes[..usize::from(self.short).min(SHORT)],
            Stored::Long(bytes) => bytes,
        }
    }

    fn shared_bytes(&self) -> Bytes {
        match &self.stored {
            Stored::Short(_) => Bytes::copy_from_slice(self.bytes()),
            Stored::Long(bytes) => bytes.clone(),
        }
    }

    /// Whether the value is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        match self.format {
            Format::Json => self.bytes() == b"null",
            Format::MessagePack => self.bytes() == [0xc0],
        }
    }

    /// Whether the value is a map.
    #[must_use]
    pub fn is_map(&self) -> bool {
        let first = self.bytes().first().copied().unwrap_or_default();
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
            Format::Json => json::entries(&self.shared_bytes()),
            Format::MessagePack => msgpack::entries(&self.shared_bytes()),
        }
    }

    /// The value of a key of a map with string keys: the last, where there are several.
    pub(crate) fn entry(&self, key: &str) -> Option<Self> {
        match self.format {
            Format::Json => json::entry(&self.shared_bytes(), key),
            Format::MessagePack => msgpack::entry(&self.shared_bytes(), key),
        }
    }

    /// Whether every key of a map is a string: always so in JSON.
    pub(crate) fn has_string_keys(&self) -> bool {
        self.format == Format::Json || msgpack::has_string_keys(&self.shared_bytes())
    }

    /// A map of these entries.
    pub(crate) fn map(format: Format, entries: &[(String, Self)]) -> Self {
        let bytes = match format {
            Format::Json => json::map(entries),
            Format::MessagePack => msgpack::map(entries),
        };
        Self::checked(format, bytes)
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        self.format == other.format && self.bytes() == other.bytes()
    }
}

impl Eq for Raw {}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}(b\"{}\")", self.format, self.bytes().escape_ascii())
    }
}

/// The bytes in the value itself, if they fit, and how many they are.
fn short(text: &[u8]) -> Option<(u8, Stored)> {
    let mut bytes = [0; SHORT];
    bytes.get_mut(..text.len())?.copy_from_slice(text);
    Some((u8::try_from(text.len()).ok()?, Stored::Short(bytes)))
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{LARGE, kept};

    #[test]
    fn a_small_part_does_not_keep_a_large_frame() {
        let frame = Bytes::from(vec![b'x'; 8 * LARGE]);
        for (length, is_copied) in [(8, true), (2 * LARGE - 1, true), (2 * LARGE, false), (8 * LARGE, false)] {
            let part = kept(&frame, frame.slice(..length));
            assert_eq!((part.len(), part.as_ptr() != frame.as_ptr()), (length, is_copied));
        }
        let small = Bytes::from(vec![b'x'; LARGE]);
        assert_eq!(kept(&small, small.slice(..8)).as_ptr(), small.as_ptr());
    }
}

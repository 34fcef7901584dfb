//! Message vectors: bytes and what they mean, one message each. These types are the format; `schema/message-vector.schema.json`
//! is generated from them.
//!
//! Nothing here encodes or decodes: the bytes stand in the files, so that no encoder of ours can bless its own mistakes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::session::{Codec, Template};

/// One message as bytes, valid or with exactly one fault.
///
/// Lives in `messages/<area>/<name>.json` and has the id `<area>.<name>`.
///
/// Most need no dialogue to be played to a peer, on a connection of their own: a valid request with an id calls
/// `conformance.echo`, whose reply carries the payload and the ext; a valid request without one calls it too, and nothing
/// comes; a valid reply answers no open call, and nothing comes; an invalid vector's `class` says what comes. The requests of
/// the area `stream` belong into a stream, and are there to be decoded.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageVector {
    /// The JSON Schema of this file, for editors.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// `<area>.<name>`, unique among the message vectors.
    pub id: String,
    /// What is shown, in the present tense, without "should".
    pub title: String,
    /// The rules that a receiver of these bytes shows that it keeps, or that their sender breaks. The first one is the
    /// principal one.
    pub rules: Vec<String>,
    /// Whether a sender may send this. A receiver takes valid ones as they are; what it does with others, `class` says.
    pub valid: bool,
    /// What the bytes mean, member by member in the order of the canonical encoding. `$bin`, `$int`, `$float` and `$pairs`
    /// stand for what JSON cannot say, as in a session's templates. Absent where the bytes cannot be decoded.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub message: Option<Template>,
    /// The canonical JSON text: no white space, raw UTF-8, members in the order of `message`. Absent together with
    /// `json_hex`: this codec has no such form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<String>,
    /// Instead of `json`, hexadecimal digits: for bytes that are not UTF-8 or that an editor would spoil.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_hex: Option<String>,
    /// The canonical MessagePack bytes in hexadecimal digits: every value in the narrowest form, members in the order of
    /// `message`. Absent: this codec has no such form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msgpack: Option<String>,
    /// Other encodings of the same meaning.
    #[serde(default, skip_serializing_if = "Accept::is_empty")]
    pub accept: Accept,
    /// Invalid ones: the one fault, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// Invalid ones: what a receiver does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// Invalid ones: the id of the valid vector that differs in the fault alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// Why the vector is as it is, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

impl MessageVector {
    /// The bytes in this codec: the canonical encoding first, then the others. Empty where the codec has no such form.
    /// A frame that holds a line end cannot be sent in the framing `newline`.
    ///
    /// The error names the vector and the field whose hexadecimal digits are none.
    pub fn frames(&self, codec: Codec) -> Result<Vec<Vec<u8>>, FrameError> {
        let text = |text: &String| Ok(text.clone().into_bytes());
        match codec {
            Codec::Json => {
                let canonical = self.json.as_ref().map(text);
                let canonical = canonical.or_else(|| self.json_hex.as_ref().map(|digits| self.bytes("json_hex", digits)));
                canonical.into_iter().chain(self.accept.json.iter().map(text)).collect()
            }
            Codec::Msgpack => {
                let canonical = self.msgpack.as_ref().map(|digits| self.bytes("msgpack", digits));
                canonical
                    .into_iter()
                    .chain(self.accept.msgpack.iter().map(|digits| self.bytes("accept.msgpack", digits)))
                    .collect()
            }
        }
    }

    /// Whether a session can carry the message to a peer and tell what became of it: any invalid one, and a valid one if it is
    /// a whole call of the echo. Valid ones of the area `stream` belong into a stream. The others are for codecs alone.
    #[must_use]
    pub fn is_carried(&self) -> bool {
        if self.class.is_some() {
            return true;
        }
        let is_alone = self.valid && !self.id.starts_with("stream.");
        let Some(message) = self.message.as_ref().filter(|_| is_alone) else { return false };
        message["type"] == "req"
            && message.get("id").is_some_and(|id| !id.is_null() && id != 0)
            && message["method"] == "conformance.echo"
            && message["more"] != serde_json::Value::Bool(true)
    }

    fn bytes(&self, field: &'static str, digits: &str) -> Result<Vec<u8>, FrameError> {
        hex::decode(digits).map_err(|source| FrameError { id: self.id.clone(), field, source })
    }
}

/// Other encodings that mean the same, which a receiver takes and a sender need not write.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Accept {
    /// JSON texts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub json: Vec<String>,
    /// MessagePack bytes, in hexadecimal digits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub msgpack: Vec<String>,
}

impl Accept {
    fn is_empty(&self) -> bool {
        self.json.is_empty() && self.msgpack.is_empty()
    }
}

/// What a receiver does with an invalid message.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub enum Class {
    /// It closes the connection and answers nothing.
    Undecodable,
    /// It answers -32600 to the message's id and goes on serving.
    Invalid,
    /// It answers nothing and goes on serving.
    Dropped,
    /// It fails the pending call locally, answers nothing and goes on serving. The vector's `id` is 1 and stands for the
    /// pending call's.
    BadReply,
}

impl Class {
    /// The class as it stands in vectors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Invalid => "invalid",
            Self::Dropped => "dropped",
            Self::BadReply => "bad-reply",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A vector's hexadecimal digits are none.
#[derive(Clone, Debug, thiserror::Error)]
#[error("messages: `{id}`: `{field}` is not hexadecimal: {source}")]
pub struct FrameError {
    id: String,
    field: &'static str,
    source: hex::FromHexError,
}

/// Keeps `"message": null` apart from an absent `message`.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Template>, D::Error> {
    Template::deserialize(deserializer).map(Some)
}

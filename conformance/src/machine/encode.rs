//! Steps that send: from templates to bytes, lies and damage included.

use duplex_vectors::{BytesPart, Codec, Damaged, FrameSource, RawFrame};
use serde_json::Value as Json;

use super::{FIRST_FENCE, Machine};
use crate::pattern::TemplateError;
use crate::wire::{self, Value, framing};

impl Machine<'_> {
    pub(super) fn message_bytes(&mut self, template: &Json) -> Result<Vec<u8>, StepError> {
        let message = self.scope.resolve_message(template)?;
        if message.member("type").and_then(Value::as_str) != Some("rep")
            && let Some(id) = message.member("id").and_then(Value::as_int)
            && id < FIRST_FENCE
        {
            self.highest_id = self.highest_id.max(id);
        }
        Ok(wire::encode(self.setup.configuration.codec, &message)?)
    }

    pub(super) fn frame_bytes(&mut self, source: &FrameSource) -> Result<Vec<u8>, StepError> {
        let codec = self.setup.configuration.codec;
        match source {
            FrameSource::Raw(raw) => raw_bytes(raw, codec),
            FrameSource::PerCodec(frames) => {
                let raw = if codec == Codec::Json { &frames.json } else { &frames.msgpack };
                raw_bytes(raw.as_ref().ok_or(StepError::NoFrame(codec))?, codec)
            }
            FrameSource::Damaged(Damaged { of, cut, prefix, suffix, times }) => {
                let message = self.message_bytes(of)?;
                let mut one = hex::decode(prefix)?;
                one.extend_from_slice(&message[..message.len().saturating_sub(*cut)]);
                one.extend(hex::decode(suffix)?);
                Ok(one.repeat(*times))
            }
        }
    }

    pub(super) fn part_bytes(&mut self, part: &BytesPart) -> Result<Vec<u8>, StepError> {
        let framing = self.setup.configuration.framing;
        let codec = self.setup.configuration.codec;
        Ok(match part {
            BytesPart::Text(text) => with_codec(text, codec).into_bytes(),
            BytesPart::Hex(digits) => hex::decode(digits)?,
            BytesPart::Frame(message) => framing::frame(framing, &self.message_bytes(message)?),
            BytesPart::Start(message, count) => {
                let framed = framing::frame(framing, &self.message_bytes(message)?);
                framed[..framed.len().min(*count)].to_vec()
            }
            BytesPart::Rest(message, count) => {
                let framed = framing::frame(framing, &self.message_bytes(message)?);
                framed[framed.len().min(*count)..].to_vec()
            }
            BytesPart::Repeat(text, times) => text.repeat(self.scope.count(times)?).into_bytes(),
        })
    }
}

/// A step that cannot be carried out: a fault of the vector or of the plan, never of the target.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    #[error("{0}")]
    Template(#[from] TemplateError),
    #[error("{0}")]
    Encode(#[from] wire::EncodeError),
    #[error("hexadecimal digits: {0}")]
    Hex(#[from] hex::FromHexError),
    #[error("it has no frame for the codec `{0}`")]
    NoFrame(Codec),
    #[error("there is no connection `{0}`")]
    NoConnection(String),
    #[error("connection `{0}` is not read now: `resume_reading` comes before what expects anything")]
    Paused(String),
    #[error("`{0}` is no regular expression")]
    Regex(String),
}

fn raw_bytes(raw: &RawFrame, codec: Codec) -> Result<Vec<u8>, StepError> {
    Ok(match raw {
        RawFrame::Text(text) => with_codec(text, codec).into_bytes(),
        RawFrame::Hex(digits) => hex::decode(digits)?,
    })
}

/// Texts below the codec name it as `{codec}`.
fn with_codec(text: &str, codec: Codec) -> String {
    text.replace("{codec}", codec.as_str())
}

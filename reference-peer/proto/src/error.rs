//! Errors as they travel: code, message, data.

use std::fmt;

use duplex_spec::Code;
use serde::Serialize;

use crate::value::{EncodeError, Format, Raw};

/// An error that one peer sends to the other: the terminal reply of a call that failed, or the reason of an abort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteError {
    /// What went wrong, for programs. Applications choose codes outside -32768..=-32000.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
    /// Anything more, if the sender gave it.
    pub data: Option<Raw>,
}

impl RemoteError {
    /// An error without data.
    #[must_use]
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code: Code(code), message: message.into(), data: None }
    }

    /// The protocol's own error of this code; its message is the code's sentence.
    #[must_use]
    pub fn of(code: Code) -> Self {
        Self { code, message: code.info().map_or_else(String::new, |info| info.sentence.to_owned()), data: None }
    }

    /// The same error with data.
    ///
    /// # Errors
    /// When the value cannot be encoded.
    pub fn with_data<T: Serialize + ?Sized>(mut self, data: &T) -> Result<Self, EncodeError> {
        // The richer format: what JSON cannot hold is lost only where JSON is spoken.
        self.data = Some(Raw::encode(Format::MessagePack, data)?);
        Ok(self)
    }
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for RemoteError {}

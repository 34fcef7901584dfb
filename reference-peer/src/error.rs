//! What can go wrong, sorted by who is to blame. Local errors have names and no code: they cannot be mistaken for the peer's.

use duplex_proto::connection::{Failure, SendError};
use duplex_proto::{DecodeError, EncodeError, RemoteError};

/// What a handler or hook fails with: anything. A [`RemoteError`] in it goes to the caller as it is, everything else as
/// -32603 without a word of what it says.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation on a peer or channel failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The other peer replied with an error: its code, message and data as they came. r[error.remote]
    #[error("the other peer replied with an error: {0}")]
    Remote(RemoteError),
    /// The caller gave up its arguments, with this error if it sent a well-formed one.
    #[error("the caller aborted its arguments")]
    Aborted(Option<RemoteError>),
    /// The other peer sent a reply that is not valid.
    #[error("the other peer sent a bad reply: {0}")]
    BadReply(&'static str),
    /// The other peer sent a request frame that is not valid on this call.
    #[error("the other peer sent an invalid frame on this call")]
    BadRequest,
    /// The other peer refused our greeting, with this answer.
    #[error("the other peer refused the greeting: {0}")]
    Refused(String),
    /// The greeting failed for another reason.
    #[error("the greeting failed: {0}")]
    Greeting(String),
    /// The connection is closed.
    #[error("the connection is closed")]
    Closed,
    /// The time that the caller set has passed.
    #[error("no reply within the time set for the call")]
    Timeout,
    /// More came than was read.
    #[error("more items came than the limits let wait unread")]
    Overflow,
    /// The frame would be larger than frames may be.
    #[error("the frame would be larger than frames may be")]
    TooLarge,
    /// An earlier argument of the call could not be sent, so that the call is over.
    #[error("an argument of the call could not be sent")]
    Unsendable,
    /// A hook of this peer failed, or answered.
    #[error("a hook ended the call")]
    Hook,
    /// This side of the call has ended already.
    #[error("this side of the call has ended")]
    Ended,
    /// A single value was asked for, and a stream came.
    #[error("a single value was asked for, and the other peer sent a stream")]
    Stream,
    /// What came does not fit the type asked for.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// What was to be sent has no encoding.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Ended => Self::Ended,
            SendError::TooLarge => Self::TooLarge,
            _ => Self::Closed,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Remote(error) => Self::Remote(error),
            Failure::Aborted(error) => Self::Aborted(error),
            Failure::Invalid => Self::BadRequest,
            Failure::BadReply(why) => Self::BadReply(why),
            Failure::Overflow => Self::Overflow,
            Failure::Hook => Self::Hook,
            Failure::Unsendable => Self::Unsendable,
            _ => Self::Closed,
        }
    }
}

/// Why a method cannot be registered under a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// Names that start with `_callback.` are made by the peer.
    #[error("`{0}` cannot be registered: names that start with `_callback.` are made by `callback`")]
    Reserved(String),
    /// There is such a method already.
    #[error("`{0}` is registered already: unregister it first")]
    Taken(String),
}

//! What can go wrong, sorted by who is to blame. Local errors have names and no code: they cannot be mistaken for the peer's.

use duplex_proto::connection::{Failure, SendError};
use duplex_proto::greeting::Refusal;
use duplex_proto::{Code, DecodeError, EncodeError, EndReason, RemoteError};

use crate::address::ConnectError;

/// What a handler or hook fails with: anything. A [`RemoteError`] in it goes to the caller as it is, [`Error::Argument`] as -32602,
/// everything else as -32603 without a word of what it says. The words are in the log, as an event of the crate `tracing`.
///
/// What the other side of a call inside the handler replied with is an [`Error::Remote`], and everything else in this sense: it was
/// not meant for this caller. A handler that means it to be returns the [`RemoteError`] in it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation on a peer or channel failed.
///
/// | [`blame`](Error::blame) | errors | what to do |
/// |---|---|---|
/// | [`Remote`](Blame::Remote) | [`Remote`](Error::Remote), [`Aborted`](Error::Aborted) | look at the code, which the two sides have agreed on |
/// | [`PeerMisbehaved`](Blame::PeerMisbehaved) | [`BadReply`](Error::BadReply), [`BadRequest`](Error::BadRequest), some of [`Greeting`](Error::Greeting) | tell its authors: it breaks a rule of the protocol |
/// | [`PeerIncompatible`](Blame::PeerIncompatible) | [`Refused`](Error::Refused), [`Decode`](Error::Decode), [`Argument`](Error::Argument), [`Stream`](Error::Stream), some of [`Greeting`](Error::Greeting) and [`Connect`](Error::Connect) | bring the two sides to one codec, one type, one kind of call |
/// | [`ConnectionGone`](Blame::ConnectionGone) | [`Closed`](Error::Closed), [`Timeout`](Error::Timeout), most of [`Greeting`](Error::Greeting) and [`Connect`](Error::Connect) | connect again, call again, if the call may run twice |
/// | [`Caller`](Blame::Caller) | [`Encode`](Error::Encode), [`TooLarge`](Error::TooLarge), [`Unsendable`](Error::Unsendable), [`Ended`](Error::Ended), [`Overflow`](Error::Overflow), [`Hook`](Error::Hook) | mend this program |
///
/// ```
/// use duplex_peer::{Blame, Error, Peer};
///
/// async fn sum(peer: &Peer) -> Result<Option<i64>, Error> {
///     match peer.call("add", &(1, 2)).await {
///         Ok(sum) => Ok(Some(sum)),
///         // One that a program expects is told by its code.
///         Err(error) if error.code().is_some_and(|code| code.0 == 1404) => Ok(None),
///         Err(error) => {
///             if error.blame() == Blame::PeerMisbehaved {
///                 eprintln!("{}: {error}", peer.info());
///             }
///             Err(error)
///         }
///     }
/// }
/// ```
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
    /// Nobody could be reached, or what came was no transport.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The other peer refused our greeting, with this answer.
    #[error("the other peer refused the greeting: {0}")]
    Refused(String),
    /// The greeting failed for another reason: why the connection is over.
    #[error("the greeting failed: {0}")]
    Greeting(EndReason),
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
    /// This side of the call has ended already: it has sent its last, or the other side has answered for good. What it answered, a
    /// caller [receives](crate::Channel::recv).
    #[error("this side of the call has ended")]
    Ended,
    /// A single value was asked for, and a stream came.
    #[error("a single value was asked for, and the other peer sent a stream")]
    Stream,
    /// What came does not fit the type asked for.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The same for an argument that a handler reads. A handler that fails with it is answered -32602. r[error.payload-unfit]
    #[error(transparent)]
    Argument(DecodeError),
    /// What was to be sent has no encoding.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Who is to blame for an [`Error`], or for the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// Nobody: the other side's program said no.
    Remote,
    /// The other peer, which broke a rule of the protocol.
    PeerMisbehaved,
    /// Both, or neither: the two sides do not mean the same.
    PeerIncompatible,
    /// The way between them: no answer will come.
    ConnectionGone,
    /// This side's program.
    Caller,
}

impl Error {
    /// Who is to blame. The table of [`Error`] has all of them.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::Remote(_) | Self::Aborted(_) => Blame::Remote,
            Self::BadReply(_) | Self::BadRequest => Blame::PeerMisbehaved,
            Self::Refused(_) | Self::Decode(_) | Self::Argument(_) | Self::Stream => Blame::PeerIncompatible,
            Self::Closed | Self::Timeout | Self::Connect(ConnectError::Io(..)) => Blame::ConnectionGone,
            #[cfg(feature = "websocket")]
            Self::Connect(ConnectError::WebSocket(..)) => Blame::PeerIncompatible,
            Self::Connect(ConnectError::Unsupported(..)) => Blame::Caller,
            Self::Greeting(reason) => Blame::from(reason),
            Self::Encode(_) | Self::TooLarge | Self::Unsendable | Self::Ended | Self::Overflow | Self::Hook => Blame::Caller,
        }
    }

    /// The error that the other side's program replied with, if it is one.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteError> {
        match self {
            Self::Remote(error) => Some(error),
            _ => None,
        }
    }

    /// The code of the error that the other side's program replied with, if it is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.remote().map(|error| error.code)
    }
}

impl From<&EndReason> for Blame {
    fn from(reason: &EndReason) -> Self {
        match reason {
            EndReason::Local => Self::Caller,
            EndReason::Refused(_) | EndReason::Refuses(Refusal::Name | Refusal::Version | Refusal::Codec) => {
                Self::PeerIncompatible
            }
            EndReason::Refuses(_) | EndReason::Undecodable(_) | EndReason::TooLong(_) | EndReason::Limit(_) => {
                Self::PeerMisbehaved
            }
            _ => Self::ConnectionGone,
        }
    }
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
            Failure::Answered => Self::Ended,
            Failure::Hook => Self::Hook,
            Failure::Unsendable => Self::Unsendable,
            Failure::Timeout => Self::Timeout,
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

#[cfg(test)]
mod tests {
    use duplex_proto::{Format, Raw};

    use super::*;
    use crate::address::Address;

    #[test]
    fn every_error_has_somebody_to_blame() {
        let remote = RemoteError::new(7, "no");
        let null = Raw::null(Format::Json);
        let cases = [
            (Error::Remote(remote.clone()), Blame::Remote),
            (Error::Aborted(Some(remote)), Blame::Remote),
            (Error::BadReply("no code"), Blame::PeerMisbehaved),
            (Error::BadRequest, Blame::PeerMisbehaved),
            (Error::Greeting(EndReason::Refuses(Refusal::Malformed)), Blame::PeerMisbehaved),
            (Error::Greeting(EndReason::Undecodable("no map".to_owned())), Blame::PeerMisbehaved),
            (Error::Refused("-ERR".to_owned()), Blame::PeerIncompatible),
            (Error::Greeting(EndReason::Refuses(Refusal::Codec)), Blame::PeerIncompatible),
            (Error::Decode(null.decode::<u8>().expect_err("null is no number")), Blame::PeerIncompatible),
            (Error::Argument(null.decode::<u8>().expect_err("null is no number")), Blame::PeerIncompatible),
            (Error::Stream, Blame::PeerIncompatible),
            (Error::Closed, Blame::ConnectionGone),
            (ConnectError::Io(Address::Stdio, std::io::ErrorKind::ConnectionRefused.into()).into(), Blame::ConnectionGone),
            (ConnectError::Unsupported(Address::Stdio, "nobody can listen there").into(), Blame::Caller),
            (Error::Timeout, Blame::ConnectionGone),
            (Error::Greeting(EndReason::GreetingTimeout), Blame::ConnectionGone),
            (Error::Greeting(EndReason::Remote), Blame::ConnectionGone),
            (Error::Encode(Raw::encode(Format::Json, &f64::NAN).expect_err("JSON has no NaN")), Blame::Caller),
            (Error::TooLarge, Blame::Caller),
            (Error::Unsendable, Blame::Caller),
            (Error::Ended, Blame::Caller),
            (Error::Overflow, Blame::Caller),
            (Error::Hook, Blame::Caller),
        ];
        for (error, blame) in cases {
            assert_eq!(error.blame(), blame, "{error}");
            assert_eq!(error.code().is_some(), matches!(error, Error::Remote(_)), "{error}");
        }
        assert_eq!(Blame::from(&EndReason::Local), Blame::Caller);
        assert_eq!(Blame::from(&EndReason::Limit("outbound_bytes")), Blame::PeerMisbehaved);
    }
}

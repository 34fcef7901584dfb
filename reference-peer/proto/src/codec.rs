//! Codecs: how a message becomes the bytes of a frame and back.
//!
//! Decoding is lenient where the protocol is: a member of the wrong kind is a value here (`Invalid`, `Malformed`), and what
//! follows from it is the connection's decision.

pub mod json;
pub mod msgpack;

use std::borrow::Cow;
use std::fmt;

use bytes::{Bytes, BytesMut};
use duplex_spec::Id;

pub use json::Json;
pub use msgpack::MessagePack;

use crate::error::RemoteError;
use crate::ext::Ext;
use crate::value::{Format, Raw};

/// A way to write messages. `Json` and `MessagePack` come with this crate.
///
/// A codec of one's own wraps one of these, to compress or to sign, or lays out its members anew: [`Message`] is made of its
/// members, [`Outgoing`] and [`Body`] say what to write. The values inside stay in one of the formats that there are. Both functions
/// are pure, since a frame that is dropped must not break the next one.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// The name in the greeting: `[a-z0-9][a-z0-9._-]*`, at most 20 bytes.
    fn name(&self) -> &str;

    /// How payloads, ext and error data are encoded in this codec's messages.
    fn format(&self) -> Format;

    /// Whether frames are text, so that newline framing can carry them.
    fn is_text(&self) -> bool;

    /// Reads one message. `depth` is how many containers may stand inside each other, the message's own map being 1.
    ///
    /// # Errors
    /// When the frame is not one well-formed map, or nests too deep. r[message.not-a-map]
    fn decode(&self, frame: Bytes, depth: usize) -> Result<Message, Undecodable>;

    /// Writes one message. Every value in it is in [`Codec::format`].
    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut);
}

/// A frame is no message at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame cannot be decoded: {0}")]
pub struct Undecodable(pub Cow<'static, str>);

/// A decoded message: every known member, looked at only as far as every receiver has to.
#[derive(Clone, Debug)]
pub struct Message {
    /// `type`.
    pub kind: Kind,
    /// `id`.
    pub id: IdMember,
    /// `method`, undecoded.
    pub method: Option<Raw>,
    /// `payload`; null if absent. r[message.payload.absent]
    pub payload: Raw,
    /// `more`.
    pub more: More,
    /// Whether `end` is exactly `true`.
    pub end: bool,
    /// `error`.
    pub error: ErrorMember,
    /// `ext`, if it is a map; apart, since most messages have none. r[message.ext.invalid]
    pub ext: Option<Box<Ext>>,
}

impl Message {
    /// A message without any member: where a decoder begins.
    #[must_use]
    pub fn empty(format: Format) -> Self {
        Self {
            kind: Kind::Unknown,
            id: IdMember::Absent,
            method: None,
            payload: Raw::null(format),
            more: More::No,
            end: false,
            error: ErrorMember::Absent,
            ext: None,
        }
    }

    /// Whether the frame is the itemless end of a stream. r[message.end.misplaced]
    #[must_use]
    pub fn is_itemless_end(&self) -> bool {
        self.end && self.more != More::Yes && self.payload.is_null() && self.error == ErrorMember::Absent
    }
}

/// What `type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"req"`.
    Request,
    /// `"rep"`.
    Reply,
    /// Absent, no string, or another string.
    Unknown,
}

/// What `id` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdMember {
    /// Absent, null or 0: a notification. r[message.id.none]
    Absent,
    /// An id.
    Valid(Id),
    /// Anything else. r[message.id.no-coercion]
    Invalid,
}

/// What `more` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// Absent, null or false. r[message.more.absent]
    No,
    /// True.
    Yes,
    /// Anything else.
    Invalid,
}

/// What `error` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorMember {
    /// Absent or null. r[message.error.null]
    Absent,
    /// A map with an integer `code` and a string `message`.
    Error(Box<RemoteError>),
    /// Anything else.
    Malformed,
}

/// A message to write.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// `None`: a notification.
    pub id: Option<Id>,
    /// What the frame is.
    pub body: Body<'a>,
    /// `more`: `None` leaves the member out.
    pub more: Option<bool>,
    /// The ext, if any.
    pub ext: Option<&'a Ext>,
}

/// What a frame to write carries.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// A request with an item.
    Request(&'a str, &'a Raw),
    /// A request frame that ends the arguments without an item.
    RequestEnd(&'a str),
    /// A request frame that aborts the arguments.
    RequestAbort(&'a str, &'a RemoteError),
    /// A reply with an item or the result.
    Result(&'a Raw),
    /// A reply that ends the results without an item.
    ResultEnd,
    /// An error reply.
    Error(&'a RemoteError),
}

impl<'a> Body<'a> {
    /// The method to write; `None`: the frame is a reply.
    #[must_use]
    pub fn method(&self) -> Option<&'a str> {
        match self {
            Self::Request(method, _) | Self::RequestEnd(method) | Self::RequestAbort(method, _) => Some(method),
            Self::Result(_) | Self::ResultEnd | Self::Error(_) => None,
        }
    }

    /// The payload to write, if the frame has one: `Some(None)` is null. r[message.payload.present]
    #[must_use]
    pub fn payload(&self) -> Option<Option<&'a Raw>> {
        match self {
            Self::Request(_, payload) | Self::Result(payload) => Some(Some(payload)),
            Self::RequestEnd(_) | Self::RequestAbort(..) | Self::ResultEnd => Some(None),
            Self::Error(_) => None,
        }
    }

    /// The error to write, if the frame has one.
    #[must_use]
    pub fn error(&self) -> Option<&'a RemoteError> {
        match self {
            Self::RequestAbort(_, error) | Self::Error(error) => Some(error),
            Self::Request(..) | Self::RequestEnd(_) | Self::Result(_) | Self::ResultEnd => None,
        }
    }

    /// Whether `end` is to be written.
    #[must_use]
    pub fn is_itemless_end(&self) -> bool {
        matches!(self, Self::RequestEnd(_) | Self::ResultEnd)
    }
}

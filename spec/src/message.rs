//! Messages as types: what a sender writes ([`Request`], [`ResultReply`], [`ErrorReply`]) and what a receiver takes
//! ([`accept`]). The JSON Schemas are generated from them.
//!
//! They describe a single frame. What depends on the frames before it, such as which id is open, is no type's matter, and
//! neither are values beyond what `serde_json` holds: codecs of peers and testers have value types of their own.
//!
//! `x-rule` on a member is the rule that a sender breaks (or a receiver applies) when the member has another form, and
//! `x-rule-required` the one for its absence, where that is another; see [`crate::schema`].

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::code::Code;

/// The id of a call: an integer from 1 to 2^53-1. r[message.id.form]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Id(u64);

impl Id {
    /// 2^53-1, the largest integer that a double holds without gaps below it.
    pub const MAX: u64 = (1 << 53) - 1;

    /// The id of this number, if it is one.
    #[must_use]
    pub fn new(number: u64) -> Option<Self> {
        (1..=Self::MAX).contains(&number).then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for Id {
    type Error = InvalidId;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        Self::new(number).ok_or(InvalidId(number))
    }
}

impl From<Id> for u64 {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// A number that is no id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId(u64);

impl std::fmt::Display for InvalidId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is no id: ids are integers from 1 to {}", self.0, Id::MAX)
    }
}

impl std::error::Error for InvalidId {}

impl JsonSchema for Id {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Id".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MAX })
    }
}

/// A request frame: a call, a notification, or a frame of a stream of arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// Absent on a notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "message.id.form"))]
    pub id: Option<Id>,
    /// On every frame.
    #[schemars(extend("x-rule" = "message.method"))]
    pub method: String,
    /// Any value, `null` included.
    #[schemars(extend("x-rule" = "message.payload.present"))]
    pub payload: Value,
    /// Whether another frame of the stream follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "stream.args.more"))]
    pub more: Option<bool>,
    /// Whether the stream ends here without an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "stream.early.caller"))]
    pub end: Option<bool>,
    /// Aborts a stream of arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "message.error.form"))]
    pub error: Option<ErrorObject>,
    /// Metadata for middleware.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "message.ext.form"))]
    pub ext: Option<Map<String, Value>>,
}

/// A reply frame that carries a result, an item, or the end of a stream of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ResultReply {
    /// The id of the request that is answered.
    #[schemars(extend("x-rule" = "message.id.form", "x-rule-required" = "call.reply.id"))]
    pub id: Id,
    /// Any value, `null` included.
    #[schemars(extend("x-rule" = "message.payload.present"))]
    pub payload: Value,
    /// Whether another frame of the stream follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "stream.result.more"))]
    pub more: Option<bool>,
    /// Whether the stream ends here without an item.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "stream.result.last"))]
    pub end: Option<bool>,
    /// The channel's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "message.ext.form"))]
    pub ext: Option<Map<String, Value>>,
}

/// A reply frame that ends its call with an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReply {
    /// The id of the request that is answered.
    #[schemars(extend("x-rule" = "message.id.form", "x-rule-required" = "call.reply.id"))]
    pub id: Id,
    /// What went wrong.
    #[schemars(extend("x-rule" = "message.error.form"))]
    pub error: ErrorObject,
    /// The channel's metadata.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-rule" = "message.ext.form"))]
    pub ext: Option<Map<String, Value>>,
}

/// An error, as a program and a person read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorObject {
    /// For programs.
    #[schemars(extend("x-rule" = "message.error.form"))]
    pub code: Code,
    /// For people.
    #[schemars(extend("x-rule" = "message.error.form"))]
    pub message: String,
    /// Whatever else a program needs to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

/// What a receiver takes without objection. A frame is judged as the first one of its call.
pub mod accept {
    use super::{JsonSchema, Schema, SchemaGenerator, Value, json_schema};
    use crate::code::Code;

    /// A request: a call, or without an id a notification.
    #[derive(Clone, Debug, PartialEq, JsonSchema)]
    pub struct Request {
        /// Absent, `null` and 0 make a notification.
        #[schemars(extend("x-rule" = "message.id.invalid"))]
        pub id: Option<RequestId>,
        /// Ignored on the later frames of a stream.
        #[schemars(extend("x-rule" = "message.method.invalid"))]
        pub method: String,
        /// Absent is `null`.
        pub payload: Option<Value>,
        /// Absent and `null` are `false`.
        #[schemars(extend("x-rule" = "message.more.invalid"))]
        pub more: Option<bool>,
    }

    /// A reply. What its id is not open for is ignored, whatever it holds.
    #[derive(Clone, Debug, PartialEq, JsonSchema)]
    pub struct Reply {
        /// The id of an open call.
        #[schemars(extend("x-rule" = "call.reply.unknown"))]
        pub id: super::Id,
        /// Absent is `null`.
        pub payload: Option<Value>,
    }

    /// A non-null `error` of a reply to an open call.
    #[derive(Clone, Debug, PartialEq, JsonSchema)]
    pub struct ErrorObject {
        /// Any integer, reserved or not, known or not.
        #[schemars(extend("x-rule" = "call.bad-reply"))]
        pub code: Code,
        /// For people.
        #[schemars(extend("x-rule" = "call.bad-reply"))]
        pub message: String,
        /// Absent is `null`.
        pub data: Option<Value>,
    }

    /// 0 for none, or an id.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RequestId(pub u64);

    impl JsonSchema for RequestId {
        fn inline_schema() -> bool {
            true
        }

        fn schema_name() -> std::borrow::Cow<'static, str> {
            "RequestId".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({ "type": "integer", "minimum": 0, "maximum": super::Id::MAX })
        }
    }
}

//! Error codes: one table, from which constants, names and sentences come.
//!
//! A code that stands in no row is a code like any other: applications choose their own, and nobody judges them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The `code` of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub i64);

/// What the protocol knows about one of its codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeInfo {
    /// The number on the wire.
    pub code: Code,
    /// Lower-case words joined by dashes.
    pub name: &'static str,
    /// When it is sent, as a sentence.
    pub sentence: &'static str,
    /// The rule that asks for it.
    pub rule: &'static str,
}

macro_rules! codes {
    ($($constant:ident = $number:literal, $name:literal, $rule:literal, $sentence:literal;)+) => {
        impl Code {
            $(#[doc = $sentence] pub const $constant: Self = Self($number);)+

            /// Every code that the protocol assigns, in the order of the book's table.
            pub const ALL: &'static [CodeInfo] = &[
                $(CodeInfo { code: Self::$constant, name: $name, sentence: $sentence, rule: $rule }),+
            ];
        }
    };
}

codes! {
    INVALID_REQUEST = -32600, "invalid-request", "error.invalid-request", "A request with a valid id has a member that is not valid.";
    METHOD_NOT_FOUND = -32601, "method-not-found", "error.method-missing", "The method is not registered.";
    INVALID_PAYLOAD = -32602, "invalid-payload", "error.payload-unfit", "The handler cannot take the payload.";
    FAILED = -32603, "failed", "error.handler-failed", "The handler or a hook failed, or its result cannot be sent.";
    TOO_MANY_CALLS = -32000, "too-many-calls", "limit.open-calls.over", "More calls are open than the provider's limit.";
    OVERFLOW = -32001, "overflow", "limit.buffered-items.over", "More unread items wait on the channel than the provider's limit.";
    UNAUTHENTICATED = -32002, "unauthenticated", "auth.refuse", "Who calls is not known.";
    FORBIDDEN = -32003, "forbidden", "policy.refuse", "Who calls may not do this.";
    ABORTED = -32004, "aborted", "stream.abort.send", "The caller gave up before its arguments were complete.";
    DEADLINE_PASSED = -32005, "deadline-passed", "deadline.passed", "The call's deadline has passed.";
}

impl Code {
    /// The first of the codes that applications leave alone. r[error.reserved]
    pub const RESERVED_FIRST: Self = Self(-32768);
    /// The last of them.
    pub const RESERVED_LAST: Self = Self(-32000);

    /// What the protocol says about this code, if it assigns it.
    #[must_use]
    pub fn info(self) -> Option<&'static CodeInfo> {
        Self::ALL.iter().find(|info| info.code == self)
    }

    /// Whether the code is in the range that applications leave alone.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        (Self::RESERVED_FIRST..=Self::RESERVED_LAST).contains(&self)
    }
}

impl fmt::Display for Code {
    /// The number, and the name of a code that the protocol assigns: `-32601 (method-not-found)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.info() {
            Some(info) => write!(f, "{} ({})", self.0, info.name),
            None => write!(f, "{}", self.0),
        }
    }
}

impl JsonSchema for Code {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer" })
    }
}

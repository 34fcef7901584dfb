//! Limits: one table of what a peer may refuse to hold, with units and the least that every peer takes.
//!
//! Values only. Who counts, and when, is the peer's affair.

use std::fmt;

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Containers inside each other, the message's own map counted as 1.
    Containers,
    /// Calls, ids or items.
    Count,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Containers => "containers",
            Self::Count => "count",
        })
    }
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// As in `conformance.describe` and in a vector's `$limit`.
    pub name: &'static str,
    /// What is counted, as a sentence.
    pub sentence: &'static str,
    /// The unit of the numbers.
    pub unit: Unit,
    /// What a peer starts with.
    pub default: u64,
    /// The least that a peer may set it to.
    pub minimum: u64,
    /// What happens to what is over it, as a sentence.
    pub over: &'static str,
    /// The rules about the minimum and about what is over.
    pub rules: &'static [&'static str],
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Every limit, in the order of the book's table.
pub const LIMITS: &[Limit] = &[
    Limit {
        name: "frame",
        sentence: "A frame, without length prefix or line end.",
        unit: Unit::Bytes,
        default: MIB,
        minimum: MIB,
        over: "The connection is closed.",
        rules: &["framing.size.accept", "framing.size.over"],
    },
    Limit {
        name: "greeting_frame",
        sentence: "The first frame that an acceptor takes.",
        unit: Unit::Bytes,
        default: 32,
        minimum: 32,
        over: "The greeting is refused.",
        rules: &["greeting.size", "greeting.refuse.size"],
    },
    Limit {
        name: "greeting_time",
        sentence: "The time until the greeting is through.",
        unit: Unit::Seconds,
        default: 10,
        minimum: 1,
        over: "The connection is closed without a word.",
        rules: &["greeting.timeout"],
    },
    Limit {
        name: "depth",
        sentence: "Containers inside each other in one frame.",
        unit: Unit::Containers,
        default: 512,
        minimum: 64,
        over: "The connection is closed.",
        rules: &["codec.depth.accept", "codec.depth.over"],
    },
    Limit {
        name: "open_calls",
        sentence: "Calls that a peer serves at once on a connection.",
        unit: Unit::Count,
        default: 1024,
        minimum: 128,
        over: "A new call is answered -32000; a notification is dropped.",
        rules: &["limit.open-calls", "limit.open-calls.over", "limit.open-calls.notification"],
    },
    Limit {
        name: "draining_ids",
        sentence: "Ids on a connection whose frames are discarded up to the last.",
        unit: Unit::Count,
        default: 65_536,
        minimum: 1024,
        over: "The connection is closed.",
        rules: &["limit.draining"],
    },
    Limit {
        name: "buffered_items",
        sentence: "Items on one channel that nobody has read yet.",
        unit: Unit::Count,
        default: 1024,
        minimum: 1024,
        over: "A provider ends the call with -32001; a caller fails it locally.",
        rules: &["limit.buffered-items", "limit.buffered-items.over", "limit.buffered-items.caller"],
    },
    Limit {
        name: "buffered_bytes",
        sentence: "Bytes of unread items on one connection.",
        unit: Unit::Bytes,
        default: 16 * MIB,
        minimum: MIB,
        over: "The call whose item hits it ends, for a provider with -32001, for a caller locally.",
        rules: &["limit.buffered-bytes", "limit.buffered-bytes.over"],
    },
    Limit {
        name: "outbound_bytes",
        sentence: "Bytes that wait to be written on one connection.",
        unit: Unit::Bytes,
        default: 16 * MIB,
        minimum: MIB,
        over: "Senders wait; when frames that cannot wait pass it, the connection is closed.",
        rules: &["limit.outbound-bytes"],
    },
    Limit {
        name: "ext",
        sentence: "The ext of one frame, in encoded bytes.",
        unit: Unit::Bytes,
        default: 16 * KIB,
        minimum: 4 * KIB,
        over: "A request is answered -32600 without that ext, a notification is dropped; a reply is taken without it.",
        rules: &["limit.ext", "ext.size"],
    },
    Limit {
        name: "closing_time",
        sentence: "The time in which a closing peer writes what it still has to write.",
        unit: Unit::Seconds,
        default: 5,
        minimum: 0,
        over: "What is left is cut off.",
        rules: &["close.local.time"],
    },
];

/// The limit of this name.
#[must_use]
pub fn limit(name: &str) -> Option<&'static Limit> {
    LIMITS.iter().find(|limit| limit.name == name)
}

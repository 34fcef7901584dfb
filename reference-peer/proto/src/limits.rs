//! The limits of one connection. Defaults come from the protocol's table; what happens at each limit is decided where it is counted.

use std::time::Duration;

/// What a peer refuses to hold. [`Limits::default`] is the protocol's table of defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one frame, in either direction. Over it inbound: the connection is closed. Default: 1 MiB.
    pub frame: usize,
    /// Bytes of the first frame that an acceptor takes. Over it: the greeting is refused. Default: 32.
    pub greeting_frame: usize,
    /// How long the greeting may take. Over it: the connection is closed without a word. Default: 10 s.
    pub greeting_time: Duration,
    /// Containers inside each other in one frame, the message's own map counted as 1. Over it: the connection is closed.
    /// What is that deep is decoded on the stack: mind it before a limit of many thousands. Default: 512.
    pub depth: usize,
    /// Calls served at once on the connection. Over it: -32000, and a notification is dropped. Default: 1024.
    pub open_calls: usize,
    /// Ids whose frames are discarded up to the last. Over it: the connection is closed. Default: 65,536.
    pub draining_ids: usize,
    /// Unread items on one channel. Over it: the call ends with -32001, or with a local overflow on the caller's side.
    /// Default: 1024.
    pub buffered_items: usize,
    /// Bytes of unread items on the connection. Over it: as `buffered_items`, for the channel that hits it. Default: 16 MiB.
    pub buffered_bytes: usize,
    /// Bytes that wait to be written. At it senders wait; frames that cannot wait close the connection. Default: 16 MiB.
    pub outbound_bytes: usize,
    /// Encoded bytes of a request's ext. Over it: -32600. Default: 16 KiB.
    pub ext: usize,
    /// How long a connection that ends may take to write what is due. Default: 5 s.
    pub closing_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let size = |name| usize::try_from(table(name)).expect("invariant: the table's defaults fit a usize");
        let time = |name| Duration::from_secs(table(name));
        Self {
            frame: size("frame"),
            greeting_frame: size("greeting_frame"),
            greeting_time: time("greeting_time"),
            depth: size("depth"),
            open_calls: size("open_calls"),
            draining_ids: size("draining_ids"),
            buffered_items: size("buffered_items"),
            buffered_bytes: size("buffered_bytes"),
            outbound_bytes: size("outbound_bytes"),
            ext: size("ext"),
            closing_time: time("closing_time"),
        }
    }
}

fn table(name: &str) -> u64 {
    duplex_spec::limit(name).expect("invariant: the protocol's table has every limit").default
}

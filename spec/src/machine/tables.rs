//! The three machines: a connection, the provider's side of a call, the caller's side of a call.
//!
//! The rules are in the chapters; a cell here is their sum for one state and one event.

use super::Cell::{Never, Stay, To};
use super::{Event, Machine};

const fn event(name: &'static str, short: &'static str) -> Event {
    Event { name, short }
}

/// A connection, seen from one of its sides.
pub const CONNECTION: Machine = Machine {
    name: "connection",
    title: "The states of a connection: greeting, open, input ended, closing, closed",
    states: &["greeting", "open", "input ended", "closing", "closed"],
    events: &[
        event("greeting answered with `+`", "+"),
        event("greeting refused or malformed", "refused"),
        event("greeting time over", "time over"),
        event("message", "message"),
        event("empty frame", "empty frame"),
        event("frame undecodable or too large", "undecodable"),
        event("end of the input alone", "end of input"),
        event("`close` called", "close()"),
        event("all that was due is written", "all written"),
        event("closing time over", "time over"),
        event("a limit of the connection passed", "limit"),
        event("transport breaks, or ends both ways at once", "breaks"),
    ],
    cells: &[
        &[To("", 1), Never, Never, Never, Never],
        &[To("acceptor answers `-`, initiator reports it", 4), Never, Never, Never, Never],
        &[To("without a word", 4), Never, Never, Never, Never],
        &[To("a malformed greeting or a refusal", 4), Stay("handled"), Never, Stay("dropped unread"), Stay("dropped unread")],
        &[Stay("ignored"), Stay("ignored"), Never, Stay("dropped"), Stay("dropped")],
        &[
            To("a malformed greeting or a refusal", 4),
            To("own calls and handlers are told", 3),
            Never,
            Stay("dropped unread"),
            Stay("dropped unread"),
        ],
        &[
            To("reported", 4),
            To("own calls and open arguments fail; complete calls are still answered", 2),
            Never,
            Stay("nothing"),
            Stay("nothing"),
        ],
        &[
            To("", 4),
            To("own calls and open arguments fail, handlers are told", 3),
            To("handlers are told", 3),
            Stay("nothing"),
            Stay("nothing"),
        ],
        &[Never, Stay("nothing"), To("once no call is left to answer", 4), To("", 4), Never],
        &[Never, Never, To("the rest is cut off", 4), To("the rest is cut off", 4), Never],
        &[Never, To("own calls and handlers are told", 3), To("handlers are told", 3), Stay("nothing"), Never],
        &[
            To("reported", 4),
            To("own calls and open arguments fail, handlers are told", 4),
            To("handlers are told", 4),
            To("", 4),
            Stay("nothing"),
        ],
    ],
};

/// One id, seen from the provider.
pub const PROVIDER: Machine = Machine {
    name: "provider",
    title: "The states of an id on the provider's side: none, both open, arguments complete, draining",
    states: &["none", "both open", "arguments complete", "draining"],
    events: &[
        event("frame with `more: true`", "more"),
        event("last frame, with an item or `end`", "last"),
        event("abort frame", "abort"),
        event("invalid frame; `more` absent, null or false", "invalid last"),
        event("invalid frame; `more` true or malformed", "invalid more"),
        event("terminal reply sent", "reply"),
        event("connection ends", "connection ends"),
    ],
    cells: &[
        &[To("start", 1), Stay("item"), Stay("dropped"), Stay("dropped")],
        &[To("start", 2), To("item or end", 2), Stay("dropped"), To("dropped", 0)],
        &[Never, To("arguments fail", 2), Stay("dropped"), To("dropped", 0)],
        &[Stay("-32600"), To("-32600, arguments fail", 0), Stay("dropped"), To("dropped", 0)],
        &[To("-32600", 3), To("-32600, arguments fail", 3), Stay("dropped"), Stay("dropped")],
        &[Never, To("", 3), To("", 0), Never],
        &[Never, To("arguments fail, the handler is told", 0), To("the handler is told", 0), To("", 0)],
    ],
};

/// One id, seen from the caller.
pub const CALLER: Machine = Machine {
    name: "caller",
    title: "The states of an id on the caller's side: unsent, both open, waiting, forgotten",
    states: &["unsent", "both open", "waiting", "forgotten"],
    events: &[
        event("the user sends an item, and more will follow", "item"),
        event("the user sends the last item, or ends", "last"),
        event("reply with `more: true`", "reply, more"),
        event("terminal reply", "terminal reply"),
        event("bad reply", "bad reply"),
        event("the user aborts the arguments", "abort"),
        event("an outbound hook answers", "hook answers"),
        event("an inbound hook answers an item", "reply hook answers"),
        event("given up: timeout, dropped channel, overflow, failed hook, unsendable item", "given up"),
        event("connection ends", "connection ends"),
    ],
    cells: &[
        &[To("frame with `more: true`", 1), Stay("frame with `more: true`"), Stay("local error"), Stay("local error")],
        &[To("last frame", 2), To("last frame", 2), Stay("local error"), Stay("local error")],
        &[Stay("ignored"), Stay("handed on"), Stay("handed on"), Stay("ignored")],
        &[Stay("ignored"), To("handed on; one `end` frame goes out", 3), To("handed on", 3), Stay("ignored")],
        &[Stay("ignored"), To("local error; one abort frame goes out", 3), To("local error", 3), Stay("ignored")],
        &[To("local error; nothing is sent", 3), To("one abort frame goes out", 2), Stay("local error"), Stay("local error")],
        &[To("answer handed on; nothing is sent", 3), To("answer handed on; one abort frame goes out", 3), Never, Never],
        &[Never, To("answer handed on; one abort frame goes out", 3), To("answer handed on", 3), Never],
        &[
            To("local error; nothing is sent", 3),
            To("local error; one abort frame goes out", 3),
            To("local error; nothing is sent", 3),
            Stay("nothing"),
        ],
        &[To("local error", 3), To("local error", 3), To("local error", 3), Stay("nothing")],
    ],
};

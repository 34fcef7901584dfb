//! Session vectors: dialogues as data. These types are the grammar; `schema/session.schema.json` is generated from them.
//!
//! Nothing here runs a session. Values stay templates: what `$name` or `$any` mean is decided by whoever runs them,
//! and the meaning is written at [`Template`] and [`Pattern`].

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A dialogue between a tester and a target, with the rules that it decides.
///
/// Lives in `sessions/<area>/<name>.json` and has the id `<area>.<name>`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The JSON Schema of this file, for editors.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// `<area>.<name>`, unique among all vectors.
    pub id: String,
    /// What is shown, in the present tense, without "should".
    pub title: String,
    /// The rules that this session decides. The first one is the principal one: its level makes a failure a fail or a warning.
    pub rules: Vec<String>,
    /// What a target must claim for this session to apply.
    pub profile: Profile,
    /// The target's role. Both by default.
    #[serde(default = "Role::all")]
    pub roles: Vec<Role>,
    /// Where the session makes sense. All by default.
    #[serde(default = "Transport::all")]
    pub transports: Vec<Transport>,
    /// Where the session makes sense. All by default.
    #[serde(default = "Framing::all")]
    pub framings: Vec<Framing>,
    /// Where the session makes sense. All by default.
    #[serde(default = "Codec::all")]
    pub codecs: Vec<Codec>,
    /// Who greets: the runner, or the steps themselves.
    #[serde(default)]
    pub greeting: Greeting,
    /// Whether the session needs a connection of its own, on which no id was used before. Its ids are never shifted.
    #[serde(default)]
    pub fresh: bool,
    /// Sessions that this one builds on: if one of them fails, this one is blocked.
    #[serde(default)]
    pub after: Vec<String>,
    /// Of a session that expects a refusal: one in which the valid twin of what is refused is accepted. It comes before this
    /// one, as those in `after` do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<String>,
    /// Of a session that asks at its end what is left: the ways in which calls ended in it, of those that the tables of states
    /// know, as machine, state and event: `provider/draining/abort`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<String>,
    /// Why the session is as it is, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// The dialogue.
    pub steps: Vec<Step>,
}

/// What a target claims, in `conformance.describe`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Profile {
    /// Greeting, framing, messages, calls, errors: the provider's side.
    Core,
    /// The calling side, driven by `conformance.call` and `conformance.offer`.
    Caller,
    /// Streamed arguments and results.
    Streaming,
    /// Callbacks.
    Callbacks,
    /// Hooks, driven by the inert test hooks `a` and `b`.
    Middleware,
    /// `conformance.inspect`: leaks become visible.
    Inspect,
    /// The standard middleware that traces, as all five asleep until a call wakes it.
    Tracing,
    /// The standard middleware that knows who calls.
    Authentication,
    /// The standard middleware that refuses what may not run.
    Policy,
    /// The standard middleware that keeps deadlines.
    Deadline,
    /// The standard middleware that keeps units of work.
    Transactions,
}

macro_rules! axis {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[serde(rename_all = "lowercase")]
        #[schemars(inline)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of a run.
            #[must_use]
            pub fn all() -> Vec<Self> {
                vec![$(Self::$variant),+]
            }

            /// The value as it stands in vectors, in `target.toml` and in the environment of a target.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

axis! {
    /// The target's role in the greeting.
    Role {
        /// Waits for the greeting.
        Acceptor = "acceptor",
        /// Sends the greeting.
        Initiator = "initiator",
    }
}
axis! {
    /// What carries the bytes.
    Transport {
        /// A listening or dialling socket.
        Tcp = "tcp",
        /// The target's standard input and output.
        Stdio = "stdio",
    }
}
axis! {
    /// How bytes are cut into frames.
    Framing {
        /// Four bytes of length, big-endian.
        Length = "length",
        /// One frame a line.
        Newline = "newline",
    }
}
axis! {
    /// How messages become bytes.
    Codec {
        /// RFC 8259.
        Json = "json",
        /// MessagePack.
        Msgpack = "msgpack",
    }
}

/// Who greets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Greeting {
    /// The runner greets before the first step.
    #[default]
    Auto,
    /// The steps greet, or do not.
    Manual,
}

/// One step: exactly one action, and the connection that it is on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
pub struct Step {
    /// The connection, if not the first: a name that a `connect` gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// A word to the reader of the dialogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What is done.
    #[serde(flatten)]
    pub action: Action,
}

/// A value to send. JSON, in which these forms stand for something else:
///
/// | form | is |
/// |---|---|
/// | `"$name"` | what an expectation bound to `name` |
/// | `"$nonce"`, `"$nonce.x"` | a string that no other session uses |
/// | `"$$text"` | the string `$text` |
/// | `{"$repeat": ["ab", 3]}` | the string `ababab` |
/// | `{"$upper": "$name"}` | that string in upper case |
/// | `{"$nest": 3}` | `[[[]]]`: so many containers |
/// | `{"$limit": {"name": "depth", "plus": 1}}` | the target's stated limit, as a number |
/// | `{"$limit": {"name": "buffered_bytes", "plus": 1, "each": 1000}}` | how many things of 1000 bytes it takes to reach that |
/// | `{"$bin": "00ff"}` | MessagePack `bin`; a vector that uses it is for `msgpack` only |
/// | `{"$int": "9007199254740993"}` | an integer that JSON tools would round |
/// | `{"$float": "1.0"}` | a float: `nan`, `inf`, or a number that is written with a fraction |
/// | `{"$pairs": [["a", 1], ["a", 2]]}` | a map, in order, duplicate and non-string keys included |
/// | `{"$i": 10}` | inside `repeat`: 10 plus the number of the round, from 0 |
///
/// Where `$repeat`, `$nest`, the step `repeat` and the bytes of a `repeat` count, a `$limit` may stand for the number.
pub type Template = Value;

/// What a received value must be. A [`Template`], in which these forms match more than one value:
///
/// | form | matches |
/// |---|---|
/// | `"$name"` | anything the first time, and binds it once the whole message matched; the same value afterwards |
/// | `{"$any": true}` | anything |
/// | `{"$type": "string"}` | that type: `null`, `boolean`, `integer`, `number`, `string`, `array`, `map`, `bin` |
/// | `{"$match": "^a+$"}` | a string in which the regular expression is found |
/// | `{"$without": "text"}` | anything that has this text nowhere inside |
/// | `{"$has": {"a": 1}}` | a map with at least these members |
/// | `{"$all": [p, q]}` | what every pattern in the list matches |
/// | `{"$bind": ["name", p]}` | what `p` matches, and binds it |
///
/// A message pattern is the whole message after normalising: absent members are `null` (`more` and `end`: `false`),
/// `method` on a reply and unknown members are dropped. Inside `error`, a `message` or `data` that the pattern does
/// not name may be anything: error texts are compared only where a vector gives them.
pub type Pattern = Value;

/// What a step does.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Sends one message, in the codec of the run. Any value: lies need no raw bytes.
    Send(Template),
    /// Sends one frame that need not be a message.
    SendFrame(FrameSource),
    /// Sends bytes below the framing.
    SendBytes(BytesSource),
    /// The next message matches.
    Expect(Pattern),
    /// The next messages match these in any interleaving; an inner list is a sequence that keeps its order.
    ExpectAll(Vec<Pattern>),
    /// The next messages are a whole stream on one id, in either form of last frame.
    ExpectStream(StreamPattern),
    /// The next message matches one of these; an inner list is a sequence of messages that can come in its place.
    ExpectOneOf(Vec<Pattern>),
    /// The next frame, as text, matches this regular expression. For the greeting.
    ExpectFrame(String),
    /// The target ends the connection: cleanly, and without another frame.
    ExpectClose(Unit),
    /// Asks an echo with an unused id and waits for its answer: what was sent before has been read, and the target lives.
    Fence(Unit),
    /// Asks `conformance.inspect` until no handler runs, then fences. Without `inspect`: a fence.
    Settle(Unit),
    /// Asks until the result matches, or fails at the time limit.
    Eventually(Eventually),
    /// Opens another connection under this name: at once to an acceptor; from an initiator, its next dial.
    Connect(String),
    /// Ends the connection.
    Close(Unit),
    /// Ends the tester's side only.
    HalfClose(Unit),
    /// Reads the connection no more: what the target sends piles up on its side. No step can expect anything from it then.
    PauseReading(Unit),
    /// Reads it again.
    ResumeReading(Unit),
    /// The target takes all that was sent, whether or not what it sends is read.
    ExpectTaken(Unit),
    /// The target ends the connection although what it sent is not read: it takes no bytes any more, not even an empty frame.
    ExpectRefused(Unit),
    /// Runs the steps so many times.
    Repeat(Repeat),
}

impl Action {
    /// Whether the step needs what the target sends.
    #[must_use]
    pub fn waits_for_frames(&self) -> bool {
        matches!(
            self,
            Self::Expect(_)
                | Self::ExpectAll(_)
                | Self::ExpectStream(_)
                | Self::ExpectOneOf(_)
                | Self::ExpectFrame(_)
                | Self::ExpectClose(_)
                | Self::Fence(_)
                | Self::Settle(_)
                | Self::Eventually(_)
        )
    }
}

/// The argument of an action that needs none: `true`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(try_from = "bool", into = "bool")]
pub struct Unit(bool);

impl JsonSchema for Unit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Unit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "const": true })
    }
}

impl TryFrom<bool> for Unit {
    type Error = &'static str;

    fn try_from(value: bool) -> Result<Self, Self::Error> {
        if value { Ok(Self(true)) } else { Err("only `true` can stand here") }
    }
}

impl From<Unit> for bool {
    fn from(unit: Unit) -> Self {
        unit.0
    }
}

/// One frame.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum FrameSource {
    /// Bytes that are the same in every codec.
    Raw(RawFrame),
    /// A frame for each codec; a codec without one makes the session not applicable there.
    PerCodec(PerCodec),
    /// A message in the codec of the run, then damaged.
    Damaged(Damaged),
}

/// Bytes, written as text or as hexadecimal digits.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RawFrame {
    /// UTF-8 text. `$nonce` is not replaced in it.
    Text(String),
    /// Hexadecimal digits.
    Hex(String),
}

/// A frame for each codec.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PerCodec {
    /// The frame where the codec is `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<RawFrame>,
    /// The frame where the codec is `msgpack`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msgpack: Option<RawFrame>,
}

/// A message in the codec of the run, then damaged: `cut`, then `prefix` and `suffix`, then the whole `times` over.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Damaged {
    /// The message.
    pub of: Template,
    /// Bytes to drop at the end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cut: usize,
    /// Hexadecimal digits of bytes to put in front.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefix: String,
    /// Hexadecimal digits of bytes to put behind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suffix: String,
    /// How many copies, one behind the other, make the frame.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub times: usize,
}

/// Bytes below the framing, for each framing that the session applies to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BytesSource {
    /// What goes out where the framing is `length`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub length: Vec<BytesPart>,
    /// What goes out where the framing is `newline`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newline: Vec<BytesPart>,
}

/// A piece of a byte string. Pieces are written and flushed one by one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BytesPart {
    /// UTF-8 text.
    Text(String),
    /// Hexadecimal digits.
    Hex(String),
    /// A whole frame: the message in the codec of the run, framed.
    Frame(Template),
    /// The first bytes of such a framed message: `[message, how many]`.
    Start(Template, usize),
    /// What [`BytesPart::Start`] left out: `[message, how many]`.
    Rest(Template, usize),
    /// A text, so many times: `[text, count]`. The count is a number, or a `$limit`.
    Repeat(String, Template),
}

/// A whole stream on one id.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamPattern {
    /// `"rep"` for results, `"req"` for arguments that the target streams.
    #[serde(rename = "type")]
    pub kind: String,
    /// The id, as in a message pattern.
    pub id: Pattern,
    /// Requests only: the method on every frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Pattern>,
    /// The items, one pattern each; the last may stand on the last frame or before an itemless one.
    pub items: Vec<Pattern>,
    /// The ext of every frame. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ext: Option<Pattern>,
}

/// A question asked again and again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Eventually {
    /// What to call.
    pub method: String,
    /// With what.
    #[serde(default)]
    pub payload: Template,
    /// What the result must be in the end.
    pub result: Pattern,
}

/// A loop.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// How many rounds: a number, or a `$limit`.
    pub times: Template,
    /// The steps of a round; `{"$i": base}` counts.
    pub steps: Vec<Step>,
}

/// The names that the target's description gives its limits, with their values; `None` is "no limit".
pub type Limits = BTreeMap<String, Option<u64>>;

fn one() -> usize {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference.")]
fn is_one(n: &usize) -> bool {
    *n == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

//! What a session needs, read off its steps: methods to call, codecs and framings in which every step has bytes.
//!
//! Whether a target has these is a planner's question, not this module's.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::session::{Action, BytesPart, Codec, FrameSource, Framing, RawFrame, Session, Step};

impl Session {
    /// The `conformance.` methods that the steps call, [`Action::Fence`] and [`Action::Settle`] left out.
    #[must_use]
    pub fn methods(&self) -> BTreeSet<String> {
        let mut methods = BTreeSet::new();
        for step in self.walk() {
            match &step.action {
                Action::Eventually(eventually) => collect_method(&eventually.method, &mut methods),
                action => {
                    for message in messages(action) {
                        let called = message.get("method").and_then(Value::as_str);
                        if let Some(method) = called.filter(|_| message.get("type").is_none_or(|kind| kind != "rep")) {
                            collect_method(method, &mut methods);
                        }
                    }
                }
            }
        }
        methods
    }

    /// The codecs in which every step has bytes, among those that the session names.
    #[must_use]
    pub fn applicable_codecs(&self) -> Vec<Codec> {
        let steps = self.walk();
        self.codecs.iter().copied().filter(|&codec| steps.iter().all(|step| has_codec(&step.action, codec))).collect()
    }

    /// The framings in which every step has bytes and that carry this codec, among those that the session names.
    #[must_use]
    pub fn applicable_framings(&self, codec: Codec) -> Vec<Framing> {
        let steps = self.walk();
        self.framings
            .iter()
            .copied()
            .filter(|&framing| framing.carries(codec) && steps.iter().all(|step| has_framing(&step.action, framing)))
            .collect()
    }

    /// The sessions that come before this one, and block it when they fail.
    pub fn prerequisites(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.after.iter().chain(&self.twin).map(String::as_str)
    }

    /// Every step in the order of the file, those inside `repeat` behind it.
    #[must_use]
    pub fn walk(&self) -> Vec<&Step> {
        fn collect<'a>(steps: &'a [Step], all: &mut Vec<&'a Step>) {
            for step in steps {
                all.push(step);
                if let Action::Repeat(repeat) = &step.action {
                    collect(&repeat.steps, all);
                }
            }
        }
        let mut all = Vec::new();
        collect(&self.steps, &mut all);
        all
    }
}

impl Framing {
    /// Whether this framing can carry the codec: a binary one may hold a newline anywhere. r[framing.newline.text]
    #[must_use]
    pub fn carries(self, codec: Codec) -> bool {
        (self, codec) != (Self::Newline, Codec::Msgpack)
    }
}

/// The messages that an action sends as templates. Frames given as text are no templates.
pub(crate) fn messages(action: &Action) -> Vec<&Value> {
    match action {
        Action::Send(message) => vec![message],
        Action::SendFrame(FrameSource::Damaged(damaged)) => vec![&damaged.of],
        Action::SendBytes(bytes) => bytes
            .length
            .iter()
            .chain(&bytes.newline)
            .filter_map(|part| match part {
                BytesPart::Frame(message) | BytesPart::Start(message, _) | BytesPart::Rest(message, _) => Some(message),
                BytesPart::Text(_) | BytesPart::Hex(_) | BytesPart::Repeat(..) => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn collect_method(method: &str, methods: &mut BTreeSet<String>) {
    if method.starts_with("conformance.") {
        methods.insert(method.to_owned());
    }
}

fn has_codec(action: &Action, codec: Codec) -> bool {
    if let Action::SendFrame(FrameSource::PerCodec(frames)) = action {
        let frame: &Option<RawFrame> = match codec {
            Codec::Json => &frames.json,
            Codec::Msgpack => &frames.msgpack,
        };
        return frame.is_some();
    }
    codec == Codec::Msgpack || !values(action).iter().any(|value| is_binary_only(value))
}

fn has_framing(action: &Action, framing: Framing) -> bool {
    match action {
        Action::SendBytes(bytes) => match framing {
            Framing::Length => !bytes.length.is_empty(),
            Framing::Newline => !bytes.newline.is_empty(),
        },
        _ => true,
    }
}

/// Templates and patterns of an action, in which a form can stand that JSON cannot say.
fn values(action: &Action) -> Vec<&Value> {
    match action {
        Action::Expect(pattern) => vec![pattern],
        Action::ExpectAll(patterns) | Action::ExpectOneOf(patterns) => patterns.iter().collect(),
        Action::ExpectStream(stream) => stream.items.iter().chain(&stream.ext).collect(),
        Action::Eventually(eventually) => vec![&eventually.payload, &eventually.result],
        other => messages(other),
    }
}

/// Whether a value holds a form that only MessagePack can write: `$bin`, `nan` and `inf`, keys that are no strings.
fn is_binary_only(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(is_binary_only),
        Value::Object(members) => {
            let form = |name: &str| members.get(name).filter(|_| members.len() == 1);
            form("$bin").is_some()
                || form("$type").is_some_and(|kind| kind == "bin")
                || form("$float").and_then(Value::as_str).is_some_and(|text| text.parse::<f64>().is_ok_and(|f| !f.is_finite()))
                || form("$pairs").is_some_and(has_other_key)
                || members.values().any(is_binary_only)
        }
        _ => false,
    }
}

fn has_other_key(pairs: &Value) -> bool {
    pairs.as_array().is_some_and(|pairs| pairs.iter().any(|pair| !pair[0].is_string()))
}

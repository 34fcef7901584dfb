//! Sessions: every name leads somewhere, and every step means something where it stands.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::File;
use super::forms::{self, Names, Position};
use crate::applies::messages;
use crate::corpus::Corpus;
use crate::session::{Action, BytesPart, BytesSource, FrameSource, Framing, Greeting, RawFrame, Session, Step};

/// Methods of the conformance service that are asked and never notified: their replies are what a session waits for.
const CONTROL: &[&str] = &["describe", "release", "sunk", "register", "unregister", "inspect", "offer", "close"];

/// The largest id in a session that shares its connection: the runner moves a session's ids up by whole thousands.
const SHARED_ID_MAX: u64 = 999;

pub(super) fn lint(session: &Session, corpus: &Corpus, file: &mut File<'_>) {
    if session.steps.is_empty() {
        file.problem("steps", "a session has steps");
    }
    prerequisites(session, corpus, file);
    applies(session, file);
    greeting(session, file);
    let mut dialogue =
        Dialogue { file, names: BTreeMap::new(), connections: BTreeSet::new(), paused: BTreeSet::new(), shared: !session.fresh };
    dialogue.steps(&session.steps, "steps", &Round::default());
    for (name, (uses, field)) in std::mem::take(&mut dialogue.names) {
        if uses == 1 {
            dialogue.file.problem(field, format!("`${name}` stands only here: say `{{\"$any\": true}}`, or use it"));
        }
    }
}

fn prerequisites(session: &Session, corpus: &Corpus, file: &mut File<'_>) {
    if session.twin.as_ref().is_some_and(|twin| reaches(corpus, twin, &session.id)) {
        file.problem("twin", format!("it comes after `{}` itself", session.id));
    }
    for (index, id) in session.after.iter().enumerate() {
        let field = format!("after[{index}]");
        if session.after[..index].contains(id) {
            file.problem(&field, format!("`{id}` stands there already"));
        }
        if corpus.session(id).is_none() {
            file.problem(&field, format!("there is no session `{id}`"));
        } else if reaches(corpus, id, &session.id) {
            file.problem(&field, format!("`{id}` comes after `{}` itself", session.id));
        }
    }
}

/// Whether following what comes before leads from one session to the other.
fn reaches(corpus: &Corpus, from: &str, to: &str) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if id == to {
            return true;
        }
        if seen.insert(id) {
            open.extend(corpus.session(id).iter().flat_map(|session| session.prerequisites()));
        }
    }
    false
}

fn applies(session: &Session, file: &mut File<'_>) {
    for (field, empty) in [("roles", session.roles.is_empty()), ("transports", session.transports.is_empty())] {
        if empty {
            file.problem(field, "a session that applies nowhere decides nothing");
        }
    }
    let codecs = session.applicable_codecs();
    if codecs.iter().all(|&codec| session.applicable_framings(codec).is_empty()) {
        file.problem("codecs", "no codec and framing has bytes for every step");
    }
}

fn greeting(session: &Session, file: &mut File<'_>) {
    let steps = session.walk();
    let raw = |step: &&&Step| {
        matches!(
            step.action,
            Action::SendFrame(FrameSource::Raw(_)) | Action::SendBytes(_) | Action::ExpectFrame(_) | Action::ExpectClose(_)
        )
    };
    if session.greeting == Greeting::Manual && steps.iter().find(raw).is_none() {
        file.problem("greeting", "a session that greets by hand sends or expects a greeting, or a close");
    }
    if session.greeting == Greeting::Auto && steps.iter().any(|step| matches!(step.action, Action::ExpectFrame(_))) {
        file.problem("greeting", "`expect_frame` is for greetings: the session greets by hand, `\"greeting\": \"manual\"`");
    }
}

/// The loop around a step.
#[derive(Clone, Copy, Default)]
struct Round {
    /// How many rounds, if that is a plain number.
    times: Option<u64>,
    inside: bool,
}

/// What is known at a step, and where problems go.
struct Dialogue<'a, 'f> {
    file: &'a mut File<'f>,
    /// Names, with how often each was used and where first.
    names: BTreeMap<String, (usize, String)>,
    connections: BTreeSet<String>,
    /// The connections that are not read; nothing is the first one.
    paused: BTreeSet<Option<String>>,
    shared: bool,
}

impl Dialogue<'_, '_> {
    fn steps(&mut self, steps: &[Step], field: &str, round: &Round) {
        for (index, step) in steps.iter().enumerate() {
            let field = format!("{field}[{index}]");
            if let Some(name) = step.on.as_ref().filter(|name| !self.connections.contains(*name)) {
                self.file.problem(format!("{field}.on"), format!("no step before connects `{name}`"));
            }
            self.reading(step, &field);
            self.step(&step.action, &field, round);
        }
    }

    /// What is not read cannot be expected.
    fn reading(&mut self, step: &Step, field: &str) {
        let is_paused = self.paused.contains(&step.on);
        match step.action {
            Action::PauseReading(_) if is_paused => self.file.problem(field, "the connection is not read already"),
            Action::PauseReading(_) => {
                self.paused.insert(step.on.clone());
            }
            Action::ResumeReading(_) if !is_paused => self.file.problem(field, "the connection is read already"),
            // An end that was expected leaves nothing to read.
            Action::ResumeReading(_) | Action::ExpectRefused(_) => {
                self.paused.remove(&step.on);
            }
            _ if is_paused && step.action.waits_for_frames() => {
                self.file
                    .problem(field, "nothing can be expected of a connection that is not read: `resume_reading` comes before");
            }
            _ => {}
        }
    }

    fn step(&mut self, action: &Action, field: &str, round: &Round) {
        match action {
            Action::Connect(name) => {
                if !self.connections.insert(name.clone()) {
                    self.file.problem(format!("{field}.connect"), format!("`{name}` is connected already"));
                }
            }
            Action::Repeat(repeat) => {
                self.used(&repeat.times, &format!("{field}.repeat.times"), round);
                let round = Round { times: repeat.times.as_u64(), inside: true };
                self.steps(&repeat.steps, &format!("{field}.repeat.steps"), &round);
            }
            Action::Expect(pattern) => self.bound(pattern, &format!("{field}.expect"), round),
            Action::ExpectAll(patterns) => {
                for (index, pattern) in patterns.iter().enumerate() {
                    self.bound(pattern, &format!("{field}.expect_all[{index}]"), round);
                }
            }
            Action::ExpectOneOf(patterns) => {
                for (index, pattern) in patterns.iter().enumerate() {
                    self.bound(pattern, &format!("{field}.expect_one_of[{index}]"), round);
                }
            }
            Action::ExpectStream(stream) => {
                let parts = [&stream.id].into_iter().chain(&stream.method).chain(&stream.items).chain(&stream.ext);
                for pattern in parts {
                    self.bound(pattern, &format!("{field}.expect_stream"), round);
                }
                if !["req", "rep"].contains(&stream.kind.as_str()) {
                    self.file.problem(format!("{field}.expect_stream.type"), "a stream is of `req` or of `rep`");
                }
            }
            Action::Eventually(question) => {
                self.used(&question.payload, &format!("{field}.eventually.payload"), round);
                self.bound(&question.result, &format!("{field}.eventually.result"), round);
            }
            Action::Send(message) => self.sent(message, &format!("{field}.send"), round),
            Action::SendFrame(source) => self.frame(source, &format!("{field}.send_frame")),
            Action::SendBytes(bytes) => self.bytes(bytes, &format!("{field}.send_bytes")),
            Action::ExpectFrame(_)
            | Action::ExpectClose(_)
            | Action::Fence(_)
            | Action::Settle(_)
            | Action::Close(_)
            | Action::HalfClose(_)
            | Action::PauseReading(_)
            | Action::ResumeReading(_)
            | Action::ExpectTaken(_)
            | Action::ExpectRefused(_) => {}
        }
        if let Action::SendFrame(FrameSource::Damaged(_)) | Action::SendBytes(_) = action {
            for message in messages(action) {
                self.used(message, field, round);
            }
        }
    }

    fn frame(&mut self, source: &FrameSource, field: &str) {
        match source {
            FrameSource::Raw(frame) => self.raw(frame, field),
            FrameSource::PerCodec(frames) => {
                if frames.json.is_none() && frames.msgpack.is_none() {
                    self.file.problem(field, "a frame stands there in at least one codec");
                }
                frames.json.iter().chain(&frames.msgpack).for_each(|frame| self.raw(frame, field));
            }
            FrameSource::Damaged(damaged) => {
                for (name, digits) in [("prefix", &damaged.prefix), ("suffix", &damaged.suffix)] {
                    self.hex(digits, &format!("{field}.{name}"));
                }
            }
        }
    }

    fn raw(&mut self, frame: &RawFrame, field: &str) {
        if let RawFrame::Hex(digits) = frame {
            self.hex(digits, field);
        }
    }

    fn bytes(&mut self, bytes: &BytesSource, field: &str) {
        for (framing, parts) in [(Framing::Length, &bytes.length), (Framing::Newline, &bytes.newline)] {
            for (index, part) in parts.iter().enumerate() {
                let field = format!("{field}.{framing}[{index}]");
                match part {
                    BytesPart::Hex(digits) => self.hex(digits, &field),
                    BytesPart::Repeat(_, times) if !forms::is_count(times) => {
                        self.file.problem(format!("{field}.repeat[1]"), "`repeat` takes a string and how many times");
                    }
                    _ => {}
                }
            }
        }
    }

    fn hex(&mut self, digits: &str, field: &str) {
        if let Err(error) = hex::decode(digits) {
            self.file.problem(field, format!("`{digits}` is not hexadecimal: {error}"));
        }
    }

    /// A message goes out: its names are bound, its id fits, and a control call asks for an answer.
    fn sent(&mut self, message: &Value, field: &str, round: &Round) {
        self.used(message, field, round);
        if message.get("type").and_then(Value::as_str) != Some("req") {
            return;
        }
        let id = message.get("id");
        let none = id.is_none_or(|id| id.is_null() || *id == 0);
        let method = message.get("method").and_then(Value::as_str).unwrap_or_default();
        if none && method.strip_prefix("conformance.").is_some_and(|name| CONTROL.contains(&name)) {
            self.file.problem(format!("{field}.id"), format!("`{method}` is asked with an id: its answer orders what follows"));
        }
        let last = match id {
            Some(Value::Object(form)) => form.get("$i").and_then(Value::as_u64).map(|base| base + round.times.unwrap_or(1) - 1),
            other => other.and_then(Value::as_u64),
        };
        if let Some(last) = last.filter(|&last| self.shared && last > SHARED_ID_MAX) {
            self.file.problem(
                format!("{field}.id"),
                format!(
                    "{last} is over {SHARED_ID_MAX}: a session that shares its connection stays within, or is `\"fresh\": true`"
                ),
            );
        }
    }

    fn used(&mut self, value: &Value, field: &str, round: &Round) {
        for (name, times) in forms::lint(value, Position::Template, field, self.file) {
            if !self.names.contains_key(&name) {
                self.file.problem(field, format!("`${name}` is sent before an expectation binds it"));
            }
            self.count(name, times, field, round);
        }
    }

    fn bound(&mut self, pattern: &Value, field: &str, round: &Round) {
        let names: Names = forms::lint(pattern, Position::Pattern, field, self.file);
        for (name, times) in names {
            self.count(name, times, field, round);
        }
    }

    /// A name inside a loop is used once a round.
    fn count(&mut self, name: String, times: usize, field: &str, round: &Round) {
        let times = if round.inside { times * 2 } else { times };
        self.names.entry(name).or_insert_with(|| (0, field.to_owned())).0 += times;
    }
}

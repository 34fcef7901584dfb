//! Steps that wait for the target: what is legal next, and what silence means.

use std::collections::VecDeque;

use duplex_vectors::{Action, StreamPattern};
use regex::Regex;
use serde_json::Value as Json;

use super::encode::StepError;
use super::transcript::{self, Raw};
use super::ways::{Took, Ways, interleavings, sequence};
use super::{Came, Conn, Machine, Received, State};
use crate::event::{Finding, FindingKind};
use crate::pattern::{Bindings, Divergence, Normal};
use crate::wire::{self, Value, plain_json};

/// Answered questions that prove that nothing more comes.
const PROBES: u8 = 3;

/// How long an answer to a question is waited for that only tells deaf from silent, in milliseconds.
const PROBE_PATIENCE: u64 = 1000;

/// An expectation in progress.
pub(super) struct Expect<'a> {
    pub(super) conn: String,
    legal: Legal<'a>,
    since: u64,
    last: u64,
    answered: u8,
    probe: Option<(i128, u64)>,
    /// In how many ways the step can be met.
    ways: u64,
    /// The patterns that were met, in the order of their messages.
    met: Vec<&'a Json>,
}

enum Legal<'a> {
    /// Any of these.
    One(Ways<'a>),
    /// The heads of these sequences, until all are used up.
    All(Vec<VecDeque<&'a Json>>),
    Stream(&'a StreamPattern, usize),
    Frame(Box<Regex>),
    Close,
}

impl<'a> Expect<'a> {
    pub(super) fn new(conn: String, action: &'a Action, now: u64) -> Result<Self, StepError> {
        let mut ways = 1;
        let legal = match action {
            Action::Expect(pattern) => Legal::One(Ways::new(std::iter::once(pattern))),
            Action::ExpectOneOf(patterns) => {
                ways = patterns.len() as u64;
                Legal::One(Ways::new(patterns.iter()))
            }
            Action::ExpectAll(patterns) => {
                let sequences: Vec<VecDeque<&Json>> = patterns.iter().map(sequence).collect();
                ways = interleavings(sequences.iter().map(VecDeque::len));
                Legal::All(sequences)
            }
            Action::ExpectStream(stream) => Legal::Stream(stream, 0),
            Action::ExpectFrame(text) => Legal::Frame(Box::new(Regex::new(text).map_err(|_| StepError::Regex(text.clone()))?)),
            _ => Legal::Close,
        };
        Ok(Self { conn, legal, since: now, last: now, answered: 0, probe: None, ways, met: Vec::new() })
    }
}

/// What a message did to an expectation.
enum Step {
    More,
    Done,
}

impl<'a> Machine<'a> {
    pub(super) fn expect_deadline(&self, expect: &Expect<'a>) -> u64 {
        let limit = self.setup.pace.limit;
        if let Some((_, at)) = expect.probe {
            return match self.setup.pace.silence {
                Some(_) => at.max(expect.since) + limit,
                None => at + PROBE_PATIENCE.min(limit),
            };
        }
        match self.setup.pace.silence {
            Some(silence) if self.conns.get(&expect.conn).is_some_and(Conn::can_ask) => expect.last + silence.min(limit),
            _ => expect.since + limit,
        }
    }

    pub(super) fn go_on_expecting(&mut self) -> bool {
        let State::Expecting(mut expect) = std::mem::replace(&mut self.state, State::Ready) else { return false };
        if let Legal::All(sequences) = &expect.legal
            && sequences.iter().all(VecDeque::is_empty)
        {
            return true;
        }
        let Some(conn) = self.conns.get_mut(&expect.conn) else { return true };
        if let Some(received) = conn.inbox.pop_front() {
            match self.take(&mut expect, received) {
                Ok(Step::Done) => self.choices.note(self.step, expect.ways, &expect.met),
                Ok(Step::More) => {
                    (expect.since, expect.last, expect.answered) = (self.now, self.now, 0);
                    self.state = State::Expecting(expect);
                }
                Err(finding) => self.fail(*finding),
            }
            return true;
        }
        if conn.ended.is_some() {
            self.expect_ended(&expect);
            return true;
        }
        if let Some((id, _)) = expect.probe
            && let Some(Some(_)) = conn.answers.get(&id)
        {
            conn.answers.remove(&id);
            expect.probe = None;
            expect.answered += 1;
            expect.last = self.now;
            // After the whole limit one answer is enough.
            if self.setup.pace.silence.is_none() {
                self.expect_unanswered(&expect);
                return true;
            }
            self.state = State::Expecting(expect);
            return true;
        }
        self.state = State::Expecting(expect);
        false
    }

    /// The deadline of an expectation passed: ask, or give up.
    pub(super) fn expect_late(&mut self) {
        let State::Expecting(mut expect) = std::mem::replace(&mut self.state, State::Ready) else { return };
        let can_ask = self.conns.get(&expect.conn).is_some_and(Conn::can_ask);
        if expect.probe.is_some() || !can_ask {
            self.expect_silent(&expect, FindingKind::Hang);
        } else if expect.answered >= PROBES {
            self.expect_unanswered(&expect);
        } else {
            let id = self.ask_alive(&expect.conn);
            expect.probe = Some((id, self.now));
            self.state = State::Expecting(expect);
        }
    }

    fn expect_unanswered(&mut self, expect: &Expect<'a>) {
        self.expect_silent(expect, FindingKind::Unanswered);
    }

    fn expect_silent(&mut self, expect: &Expect<'a>, kind: FindingKind) {
        let (kind, summary) = match (&expect.legal, kind) {
            (Legal::Close, _) => (FindingKind::NotClosed, "The target keeps the connection open where it has to end it."),
            (_, FindingKind::Unanswered) => (kind, "Nothing comes, although the target lives and answers other calls."),
            _ if expect.probe.is_some() => (kind, "Nothing comes any more, not even an answer to another call."),
            _ => (kind, "Nothing comes within the time limit."),
        };
        let mut finding = self.finding(kind, summary);
        finding.expected = self.expected(expect);
        self.silent(&mut finding);
        self.fail(finding);
    }

    /// Notes the silence that a finding is about.
    pub(super) fn silent(&mut self, finding: &mut Finding) {
        let since = match &self.state {
            State::Connecting { since, .. } | State::Greeting { since, .. } | State::Draining { since } => *since,
            State::Taking(taking) => taking.since,
            _ => self.transcript_last(),
        };
        let begun = self.conns.iter().find(|(_, conn)| !conn.unfinished.is_empty());
        let begun = begun.map(|(name, conn)| (name.clone(), conn.unfinished.clone()));
        let begun = begun.map(|(name, bytes)| self.transcript.push(&name, Raw::Received(bytes), self.step, self.now));
        if begun.is_some() {
            finding.summary.push_str(" A frame has begun, and does not become whole.");
        }
        let silence = self.transcript.push(super::FIRST, Raw::Silent(self.now.saturating_sub(since)), self.step, self.now);
        finding.divergence = begun.or(Some(silence));
    }

    fn transcript_last(&self) -> u64 {
        self.transcript.last_from_target()
    }

    fn expect_ended(&mut self, expect: &Expect<'a>) {
        if matches!(expect.legal, Legal::Close) {
            self.closed_as_asked(&expect.conn);
            return;
        }
        let is_inside = self.conns.get(&expect.conn).is_some_and(|conn| conn.ended.as_ref().is_some_and(|rest| !rest.is_empty()));
        let place = if is_inside { "in the middle of a frame" } else { "where an answer was due" };
        let mut finding = self.finding(FindingKind::Closed, format!("The target ended the connection {place}."));
        finding.expected = self.expected(expect);
        self.ended_early(finding);
    }

    fn take(&mut self, expect: &mut Expect<'a>, received: Received) -> Result<Step, Box<Finding>> {
        let record = received.record;
        match (&expect.legal, &received.what) {
            (Legal::Frame(_) | Legal::Close, Came::Frame(bytes)) => return self.take_frame(expect, bytes, record),
            // What is a message is a frame too.
            (Legal::Frame(_), Came::Message(_)) => {
                let bytes = self.transcript.frame(record).map(<[u8]>::to_vec).unwrap_or_default();
                return self.take_frame(expect, &bytes, record);
            }
            _ => {}
        }
        let message = match self.message(received) {
            Ok(message) => message,
            Err(received) => {
                let mut finding = self.unreadable(received);
                finding.expected = self.expected(expect);
                return Err(Box::new(finding));
            }
        };
        let result = match &mut expect.legal {
            Legal::One(ways) => ways.take(&self.scope, &message).map(|took| match took {
                Took::Done(met, bound) => {
                    expect.met = met;
                    (Step::Done, bound)
                }
                Took::More => (Step::More, Bindings::new()),
            }),
            Legal::All(sequences) => {
                let heads: Vec<(usize, &Json)> = sequences
                    .iter()
                    .enumerate()
                    .filter_map(|(index, sequence)| sequence.front().map(|head| (index, *head)))
                    .collect();
                self.first_match(heads.iter().map(|(_, head)| *head), &message).map(|(index, bound)| {
                    expect.met.extend(sequences[heads[index].0].pop_front());
                    (if sequences.iter().all(VecDeque::is_empty) { Step::Done } else { Step::More }, bound)
                })
            }
            Legal::Stream(stream, index) => self.stream_frame(stream, index, &message),
            Legal::Frame(_) | Legal::Close => Err(None),
        };
        match result {
            Ok((step, bound)) => {
                self.scope.bindings.extend(bound);
                Ok(step)
            }
            Err(Some(Divergence::Vector(error))) => {
                Err(Box::new(self.finding(FindingKind::Harness, format!("Step {} cannot run: {error}.", self.step))))
            }
            Err(why) => {
                let summary = match (&expect.legal, why) {
                    (Legal::Close, _) => "A frame comes where the target has to end the connection.".to_owned(),
                    (_, Some(why)) => format!("Another message came than the one that is due: {why}."),
                    _ => "The message that came is none of those that were legal.".to_owned(),
                };
                let mut finding = self.finding(FindingKind::Mismatch, summary);
                finding.expected = self.expected(expect);
                finding.actual = Some(plain_json(message.raw()).to_string());
                finding.divergence = Some(record);
                Err(Box::new(finding))
            }
        }
    }

    fn take_frame(&mut self, expect: &mut Expect<'a>, bytes: &[u8], record: usize) -> Result<Step, Box<Finding>> {
        if let Legal::Frame(regex) = &expect.legal
            && regex.is_match(&String::from_utf8_lossy(bytes))
        {
            return Ok(Step::Done);
        }
        let summary = match expect.legal {
            Legal::Close => "A frame comes where the target has to end the connection.",
            _ => "Another frame came than the one that is due.",
        };
        let mut finding = self.finding(FindingKind::Mismatch, summary);
        finding.expected = self.expected(expect);
        finding.actual = Some(transcript::text(bytes));
        finding.divergence = Some(record);
        Err(Box::new(finding))
    }

    /// The first pattern that matches, with what it binds. Of several that do not, no reason is the reason.
    fn first_match<'p>(
        &self,
        patterns: impl ExactSizeIterator<Item = &'p Json>,
        message: &Normal,
    ) -> Result<(usize, Bindings), Option<Divergence>> {
        let alone = patterns.len() == 1;
        let mut last = None;
        for (index, pattern) in patterns.enumerate() {
            match self.scope.matches(pattern, message) {
                Ok(bound) => return Ok((index, bound)),
                Err(why @ Divergence::Vector(_)) => return Err(Some(why)),
                Err(why) => last = Some(why),
            }
        }
        Err(last.filter(|_| alone))
    }

    /// One frame of a stream: an item under way, the last item on the last frame, or an end without one.
    fn stream_frame(
        &self,
        stream: &StreamPattern,
        index: &mut usize,
        message: &Normal,
    ) -> Result<(Step, Bindings), Option<Divergence>> {
        let more = *message.member("more") == Value::Bool(true);
        let bare = !more && *message.member("end") == Value::Bool(true) && *message.member("payload") == Value::Null;
        let mut pattern = serde_json::Map::new();
        pattern.insert("type".into(), Json::String(stream.kind.clone()));
        pattern.insert("id".into(), stream.id.clone());
        if let Some(method) = stream.method.as_ref().filter(|_| stream.kind == "req") {
            pattern.insert("method".into(), method.clone());
        }
        if let Some(ext) = &stream.ext {
            pattern.insert("ext".into(), ext.clone());
        }
        pattern.insert("more".into(), Json::Bool(more));
        let complete = if bare {
            pattern.insert("end".into(), Json::Bool(true));
            *index == stream.items.len()
        } else {
            let Some(item) = stream.items.get(*index) else {
                return Err(Some(Divergence::Differs {
                    path: "payload".into(),
                    expected: format!("the end of the stream after {} items", stream.items.len()),
                    actual: plain_json(message.member("payload")).to_string(),
                }));
            };
            pattern.insert("payload".into(), item.clone());
            *index += 1;
            *index == stream.items.len()
        };
        let bound = self.scope.matches(&Json::Object(pattern), message).map_err(Some)?;
        if more {
            return Ok((Step::More, bound));
        }
        if complete {
            return Ok((Step::Done, bound));
        }
        Err(Some(Divergence::Differs {
            path: "more".into(),
            expected: format!("{} more items", stream.items.len() - *index),
            actual: "the end of the stream".into(),
        }))
    }

    /// The message that came, or what came back if it is none.
    pub(super) fn message(&self, received: Received) -> Result<Normal, Received> {
        let Received { what, record } = received;
        match what {
            Came::Message(message) => Ok(message),
            Came::Frame(bytes) => match wire::decode(self.setup.configuration.codec, &bytes).ok().and_then(Normal::new) {
                Some(message) => Ok(message),
                None => Err(Received { what: Came::Frame(bytes), record }),
            },
            what => Err(Received { what, record }),
        }
    }

    /// A finding for bytes that are no message.
    pub(super) fn unreadable(&self, received: Received) -> Finding {
        let codec = self.setup.configuration.codec;
        let mut finding = match received.what {
            Came::Flood => self.finding(FindingKind::Flood, "Frames come without end."),
            Came::Unframed(what) => self.finding(FindingKind::Garbage, format!("The bytes that came make no frame: {what}.")),
            Came::Message(message) => {
                let mut finding = self.finding(FindingKind::Stray, "A message came that nothing had asked for.");
                finding.actual = Some(plain_json(message.raw()).to_string());
                finding
            }
            Came::Frame(bytes) => {
                let summary = match wire::decode(codec, &bytes) {
                    Ok(_) => "A frame came that holds no map.".to_owned(),
                    Err(why) => format!("A frame came that is not {codec}: {why}."),
                };
                let mut finding = self.finding(FindingKind::Garbage, summary);
                finding.actual = Some(transcript::text(&bytes));
                finding
            }
        };
        finding.divergence = Some(received.record);
        finding
    }

    /// What is legal, for people.
    fn expected(&self, expect: &Expect<'a>) -> Vec<String> {
        match &expect.legal {
            Legal::One(ways) => ways.next().map(|pattern| self.scope.shown_message(pattern).to_string()).collect(),
            Legal::All(sequences) => {
                let heads = sequences.iter().filter_map(VecDeque::front);
                heads.map(|pattern| self.scope.shown_message(pattern).to_string()).collect()
            }
            Legal::Stream(stream, index) => {
                let what = match stream.items.get(*index) {
                    Some(item) => format!("item {} of a stream: {}", index + 1, self.scope.shown(item)),
                    None => "the end of a stream".to_owned(),
                };
                let is_reply = stream.kind == "rep";
                let id = if is_reply { self.scope.shown_id(&stream.id) } else { self.scope.shown(&stream.id) };
                vec![format!("{what} (type {}, id {id})", stream.kind)]
            }
            Legal::Frame(regex) => vec![format!("a frame that matches `{regex}`")],
            Legal::Close => vec!["the end of the connection".to_owned()],
        }
    }
}

//! The session machine: runs the steps of one session without any IO and without a clock.
//!
//! **Whoever drives it calls [`Machine::handle`] with what happened, then carries out every [`Output`] until
//! [`Machine::poll`] gives none, and calls [`Machine::handle`] with [`Input::Late`] at [`Machine::deadline`], until there is
//! an [`Machine::outcome`].** Times are milliseconds since the session's start. It ends whatever the target does: every
//! state but the last has a deadline.
//!
//! How a finding becomes a verdict is not decided here, nor is whether a failed session runs again.

mod arrivals;
mod control;
mod encode;
mod ending;
mod expect;
mod greeting;
mod reading;
#[cfg(test)]
mod tests;
mod transcript;
mod ways;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use duplex_vectors::{Action, Framing, Greeting, Limits, Role, Session, Step, Transport};

use crate::event::{Configuration, Finding, FindingKind, Seen};
use crate::judge;
use crate::pattern::{Bindings, Normal, Scope};
use crate::wire::framing::Deframer;

use control::Control;
use encode::StepError;
use ending::{After, Alive};
use expect::Expect;
use reading::{Taking, Until};
use transcript::{Raw, Transcript};
use ways::Choices;

/// The first id of the machine's own questions. Sessions stay below.
pub const FIRST_FENCE: i128 = 900_000_001;

/// The first connection's name.
pub const FIRST: &str = "a";

/// How long the machine waits, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// For anything that is due.
    pub limit: u64,
    /// For the greeting of a process that has just been started.
    pub start: u64,
    /// Silence after which it asks whether the target lives. Nothing: only after the limit.
    pub silence: Option<u64>,
    /// For the end of a connection whose other side has ended.
    pub drain: u64,
}

/// How the first connection comes, and what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection {
    /// Opened for the session, and ended with it.
    Own,
    /// Opened for the session, and kept for the next one.
    First,
    /// Open and greeted already, and kept for the next session.
    Chained,
}

/// All that a session needs to run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where it runs.
    pub configuration: Configuration,
    /// The target's limits.
    pub limits: Limits,
    /// Whether `conformance.inspect` can be asked.
    pub has_inspect: bool,
    /// What `$nonce` stands for.
    pub nonce: String,
    /// How far the ids of the session's own calls are moved.
    pub shift: i128,
    /// The first unused id for questions of the machine.
    pub fence: i128,
    /// How long to wait.
    pub pace: Pace,
    /// How the first connection comes.
    pub connection: Connection,
    /// Whether there is a process whose end can be seen.
    pub has_process: bool,
}

/// What the driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Opens a connection: dials an acceptor, takes the next dial of an initiator.
    Connect(String),
    /// Writes one frame.
    Frame(String, Vec<u8>),
    /// Writes bytes below the framing.
    Bytes(String, Vec<u8>),
    /// Reads no more.
    PauseReading(String),
    /// Reads again.
    ResumeReading(String),
    /// Tells of it once everything that was written before has left.
    AskTaken(String),
    /// Ends the tester's side.
    HalfClose(String),
    /// Ends the connection.
    Close(String),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A connection is open.
    Connected(String),
    /// A connection cannot be had: why, and how that shows.
    NotConnected(String, String, Unserved),
    /// A frame came.
    Frame(String, Vec<u8>),
    /// Bytes came that make no frame: what is wrong, and the first of them. Nothing more comes from this connection.
    Unframed(String, String, Vec<u8>),
    /// So much of a frame has come that is not whole yet, perhaps nothing.
    Unfinished(String, Vec<u8>),
    /// The connection ended, with these bytes of an unfinished frame.
    Ended(String, Vec<u8>),
    /// More came than a session can need. Nothing more comes from this connection.
    Flood(String),
    /// Everything has left that was written before it was asked for.
    Taken(String),
    /// The connection takes no bytes any more.
    Refused(String),
    /// The process ended.
    Exited(Exit),
    /// The deadline passed.
    Late,
}

/// How it shows that a connection is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// It is refused.
    Refused,
    /// It is ended as soon as it is there.
    Reset,
    /// Nothing comes.
    Silent,
    /// The harness itself has no room for it.
    Ours,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The status, unless a signal ended it.
    pub code: Option<i32>,
    /// `exit status 1`, `signal 9 (SIGKILL)`.
    pub text: String,
}

/// What came of a session.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What is wrong.
    pub finding: Option<Finding>,
    /// The greatest id that the session used for its own calls; the next session's lie above.
    pub highest_id: i128,
    /// The next unused id for questions of the machine.
    pub fence: i128,
    /// Whether the target left the connection open after the tester had ended its side.
    pub lingers: bool,
    /// What the target did where the session allows more than one thing.
    pub seen: Vec<Seen>,
}

/// A session in progress.
pub struct Machine<'a> {
    session: &'a Session,
    setup: Setup,
    scope: Scope,
    blocks: Vec<Block<'a>>,
    step: usize,
    conns: BTreeMap<String, Conn>,
    state: State<'a>,
    outputs: VecDeque<Output>,
    transcript: Transcript,
    exit: Option<Exit>,
    fence: i128,
    /// Ids of questions that only asked whether the target lives.
    alive: BTreeSet<i128>,
    highest_id: i128,
    choices: Choices,
    now: u64,
    /// Whether the steps are done and the last fence was asked.
    ending: bool,
    outcome: Option<Outcome>,
}

/// Steps in progress: the session's own, or those of a loop.
struct Block<'a> {
    steps: &'a [Step],
    next: usize,
    round: u64,
    rounds: u64,
}

enum State<'a> {
    Ready,
    Connecting { conn: String, since: u64 },
    Greeting { conn: String, since: u64 },
    Expecting(Expect<'a>),
    Asking(Control<'a>),
    Taking(Taking),
    Alive(Alive),
    Draining { since: u64 },
    Exiting { since: u64, after: After },
    Over,
}

/// A connection as the machine sees it.
struct Conn {
    inbox: VecDeque<Received>,
    connected: bool,
    greeted: bool,
    /// The first bytes of a frame that is not whole, as of the last time that this was told.
    unfinished: Vec<u8>,
    ended: Option<Vec<u8>>,
    write_ended: bool,
    /// Whether the tester does not read.
    paused: bool,
    /// How many answers to [`Output::AskTaken`] are due.
    leaving: usize,
    /// Whether it takes no bytes any more.
    refused: bool,
    /// What was sent, to know whether a frame is under way.
    sent: Deframer,
    /// Replies to the machine's own questions, taken out of the stream wherever they come.
    answers: BTreeMap<i128, Option<Normal>>,
}

struct Received {
    what: Came,
    /// Where it stands in the transcript.
    record: usize,
}

enum Came {
    Frame(Vec<u8>),
    Message(Normal),
    Unframed(String),
    Flood,
}

impl<'a> Machine<'a> {
    /// A session at its start.
    #[must_use]
    pub fn new(session: &'a Session, setup: Setup) -> Self {
        let scope = Scope {
            codec: setup.configuration.codec,
            bindings: Bindings::new(),
            nonce: setup.nonce.clone(),
            limits: setup.limits.clone(),
            shift: setup.shift,
            round: 0,
        };
        let mut machine = Self {
            session,
            scope,
            blocks: vec![Block { steps: &session.steps, next: 0, round: 0, rounds: 1 }],
            step: 0,
            conns: BTreeMap::new(),
            state: State::Ready,
            outputs: VecDeque::new(),
            transcript: Transcript::new(setup.configuration.codec),
            exit: None,
            fence: setup.fence,
            alive: BTreeSet::new(),
            highest_id: setup.shift,
            choices: Choices::default(),
            now: 0,
            ending: false,
            outcome: None,
            setup,
        };
        match machine.setup.connection {
            Connection::Own | Connection::First => machine.connect(FIRST),
            Connection::Chained => {
                let mut conn = Conn::new(machine.setup.configuration.framing);
                conn.connected = true;
                conn.greeted = true;
                machine.conns.insert(FIRST.to_owned(), conn);
            }
        }
        machine.advance();
        machine
    }

    /// What to do next, one thing at a time.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Late`] is due, unless something comes before.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let limit = self.setup.pace.limit;
        match &self.state {
            State::Ready | State::Over => None,
            // Over stdio the process starts with its connection.
            State::Greeting { since, .. } if self.is_stdio() => Some(since + self.setup.pace.start),
            State::Connecting { since, .. } | State::Greeting { since, .. } => Some(since + limit),
            State::Draining { since } => Some(since + self.setup.pace.drain),
            State::Exiting { since, after } => Some(since + after.patience(limit)),
            State::Expecting(expect) => Some(self.expect_deadline(expect)),
            State::Asking(control) => Some(control.deadline(limit)),
            State::Taking(taking) => Some(taking.deadline(limit)),
            State::Alive(alive) => Some(alive.since + limit),
        }
    }

    /// What came of it, once it is over.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// Takes what happened at this time.
    pub fn handle(&mut self, input: Input, now: u64) {
        self.now = now;
        match input {
            Input::Connected(name) => {
                self.record(&name, Raw::Connected);
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.connected = true;
                }
            }
            Input::NotConnected(name, why, unserved) => self.not_connected(&name, &why, unserved),
            Input::Frame(name, bytes) => self.frame_came(&name, bytes),
            Input::Unframed(name, what, bytes) => {
                let record = self.record(&name, Raw::Received(bytes));
                self.receive(&name, Came::Unframed(what), record);
            }
            Input::Flood(name) => {
                let record = self.transcript.next();
                self.receive(&name, Came::Flood, record);
            }
            Input::Unfinished(name, bytes) => {
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.unfinished = bytes;
                }
            }
            Input::Ended(name, rest) => {
                if !rest.is_empty() {
                    self.record(&name, Raw::Received(rest.clone()));
                }
                self.record(&name, Raw::Ended);
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.ended = Some(rest);
                }
            }
            Input::Taken(name) => {
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.leaving = conn.leaving.saturating_sub(1);
                }
            }
            Input::Refused(name) => {
                if let Some(conn) = self.conns.get_mut(&name) {
                    conn.refused = true;
                }
            }
            Input::Exited(exit) => {
                self.record(FIRST, Raw::Exited(exit.text.clone()));
                self.exit = Some(exit);
            }
            Input::Late => self.late(),
        }
        self.advance();
    }

    /// What the session's names stand for.
    #[must_use]
    pub fn bindings(&self) -> &Bindings {
        &self.scope.bindings
    }

    /// Every message that the target sent, with its connection, for standing checks.
    pub fn received(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.transcript.messages()
    }

    /// Goes on as far as possible without anything new.
    fn advance(&mut self) {
        while self.outcome.is_none() {
            let went_on = match &self.state {
                State::Ready => self.next_step(),
                State::Connecting { .. } => self.go_on_connecting(),
                State::Greeting { .. } => self.go_on_greeting(),
                State::Expecting(_) => self.go_on_expecting(),
                State::Asking(_) => self.go_on_asking(),
                State::Taking(_) => self.go_on_taking(),
                State::Alive(_) => self.go_on_alive(),
                State::Draining { .. } => self.go_on_draining(),
                State::Exiting { .. } => self.go_on_exiting(),
                State::Over => false,
            };
            if !went_on {
                break;
            }
        }
    }

    /// Starts the next step; always goes on.
    fn next_step(&mut self) -> bool {
        let Some(block) = self.blocks.last_mut() else {
            self.end();
            return true;
        };
        if block.next == block.steps.len() || block.round >= block.rounds {
            block.next = 0;
            block.round += 1;
            if block.round >= block.rounds {
                self.blocks.pop();
            }
            return true;
        }
        let step = &block.steps[block.next];
        block.next += 1;
        self.scope.round = block.round;
        self.step += 1;
        if let Err(error) = self.start(step) {
            self.vector_fault(&error.to_string());
        }
        true
    }

    fn start(&mut self, step: &'a Step) -> Result<(), StepError> {
        let on = step.on.as_deref().unwrap_or(FIRST).to_owned();
        if !matches!(step.action, Action::Connect(_) | Action::Repeat(_)) && !self.conns.contains_key(&on) {
            return Err(StepError::NoConnection(on));
        }
        let is_paused = self.conns.get(&on).is_some_and(|conn| conn.paused);
        if is_paused && step.action.waits_for_frames() {
            return Err(StepError::Paused(on));
        }
        match &step.action {
            Action::Send(template) => {
                let bytes = self.message_bytes(template)?;
                self.send(&on, bytes);
            }
            Action::SendFrame(source) => {
                let bytes = self.frame_bytes(source)?;
                self.send(&on, bytes);
            }
            Action::SendBytes(source) => {
                let parts = match self.setup.configuration.framing {
                    Framing::Length => &source.length,
                    Framing::Newline => &source.newline,
                };
                for part in parts {
                    let bytes = self.part_bytes(part)?;
                    self.send_bytes(&on, bytes);
                }
            }
            Action::Expect(_)
            | Action::ExpectAll(_)
            | Action::ExpectStream(_)
            | Action::ExpectOneOf(_)
            | Action::ExpectFrame(_)
            | Action::ExpectClose(_) => self.state = State::Expecting(Expect::new(on, &step.action, self.now)?),
            Action::ExpectTaken(_) => self.start_taking(on, Until::Taken),
            Action::ExpectRefused(_) => self.start_taking(on, Until::Refused),
            Action::Fence(_) => self.ask_fence(&on),
            Action::Settle(_) => self.ask_settle(&on),
            Action::Eventually(eventually) => self.ask_eventually(&on, eventually)?,
            Action::Connect(name) => self.connect(name),
            Action::Close(_) => {
                self.record(&on, Raw::TesterClosed);
                self.outputs.push_back(Output::Close(on.clone()));
                self.conns.remove(&on);
            }
            Action::HalfClose(_) => self.half_close(&on),
            Action::PauseReading(_) => self.pause(&on, true),
            Action::ResumeReading(_) => self.pause(&on, false),
            Action::Repeat(repeat) => {
                let rounds = self.scope.count(&repeat.times)? as u64;
                self.blocks.push(Block { steps: &repeat.steps, next: 0, round: 0, rounds });
            }
        }
        Ok(())
    }

    fn connect(&mut self, name: &str) {
        self.conns.insert(name.to_owned(), Conn::new(self.setup.configuration.framing));
        self.outputs.push_back(Output::Connect(name.to_owned()));
        self.state = State::Connecting { conn: name.to_owned(), since: self.now };
    }

    fn go_on_connecting(&mut self) -> bool {
        let State::Connecting { conn, .. } = &self.state else { return false };
        let conn = conn.clone();
        if !self.conns.get(&conn).is_some_and(|conn| conn.connected) {
            return false;
        }
        if self.session.greeting == Greeting::Manual {
            self.state = State::Ready;
        } else {
            self.greet(&conn);
            self.state = State::Greeting { conn, since: self.now };
        }
        true
    }

    /// Notes what happened on a connection. That of the machine itself is no part of the dialogue.
    fn record(&mut self, name: &str, raw: Raw) -> usize {
        let record = self.transcript.push(name, raw, self.step, self.now);
        if name == ending::PROBE {
            self.transcript.set_aside(record);
        }
        record
    }

    fn send(&mut self, name: &str, bytes: Vec<u8>) {
        self.record(name, Raw::Sent(bytes.clone(), self.conns.get(name).is_some_and(|conn| conn.greeted)));
        if self.setup.configuration.role == Role::Initiator
            && bytes.first() == Some(&b'+')
            && let Some(conn) = self.conns.get_mut(name)
        {
            conn.greeted = true;
        }
        self.outputs.push_back(Output::Frame(name.to_owned(), bytes));
    }

    fn send_bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.record(name, Raw::SentBytes(bytes.clone()));
        if let Some(conn) = self.conns.get_mut(name) {
            conn.sent.push(&bytes);
            while let Ok(Some(_)) = conn.sent.next_frame() {}
        }
        self.outputs.push_back(Output::Bytes(name.to_owned(), bytes));
    }

    fn half_close(&mut self, name: &str) {
        let Some(conn) = self.conns.get_mut(name) else { return };
        if !conn.write_ended {
            conn.write_ended = true;
            self.record(name, Raw::HalfClosed);
            self.outputs.push_back(Output::HalfClose(name.to_owned()));
        }
    }

    /// A finding of the session's principal rule, with the dialogue so far.
    fn finding(&self, kind: FindingKind, summary: impl Into<String>) -> Finding {
        judge::finding(kind, self.session.rules.first().map_or("", String::as_str), summary)
    }

    fn vector_fault(&mut self, what: &str) {
        let mut finding = self.finding(FindingKind::Harness, format!("Step {} cannot run: {what}.", self.step));
        finding.divergence = Some(self.transcript.next());
        self.fail(finding);
    }

    /// Ends the session with a finding.
    fn fail(&mut self, mut finding: Finding) {
        // Asking whether the target lives belongs only to findings that rest on the answer.
        let rests_on_asking = matches!(
            finding.kind,
            FindingKind::Unanswered | FindingKind::Hang | FindingKind::NotClosed | FindingKind::NotStarted
        );
        finding.dialogue = self.transcript.exchanges(&mut finding.divergence, rests_on_asking);
        if finding.exit.is_none() {
            finding.exit = self.exit.as_ref().map(|exit| exit.text.clone());
        }
        self.over(Some(finding), false);
    }

    fn over(&mut self, finding: Option<Finding>, lingers: bool) {
        self.state = State::Over;
        let seen = self.choices.take();
        self.outcome = Some(Outcome { finding, highest_id: self.highest_id, fence: self.fence, lingers, seen });
    }

    fn is_stdio(&self) -> bool {
        self.setup.configuration.transport == Transport::Stdio
    }
}

impl Conn {
    fn new(framing: Framing) -> Self {
        Self {
            inbox: VecDeque::new(),
            connected: false,
            greeted: false,
            unfinished: Vec::new(),
            ended: None,
            write_ended: false,
            paused: false,
            leaving: 0,
            refused: false,
            sent: Deframer::new(framing),
            answers: BTreeMap::new(),
        }
    }

    /// Whether a question would reach the target as one.
    fn can_ask(&self) -> bool {
        self.greeted && !self.write_ended && self.ended.is_none() && self.sent.rest().is_empty()
    }
}

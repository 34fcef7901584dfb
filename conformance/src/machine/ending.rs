//! Ends: of a connection that was asked for or not, of a session, of the process. A close is no crash and no hang, and which
//! of them it is, is asked for: with the exit status over stdio, with a new connection over TCP.

use duplex_vectors::Role;

use super::{Came, Conn, Connection, FIRST, Machine, Received, State, Unserved};
use crate::event::{Finding, FindingKind};

/// The connection on which the machine asks whether the process lives.
pub(super) const PROBE: &str = "probe";

/// How long the end of a process is waited for that ought to be there already, in milliseconds.
const EXIT_GRACE: u64 = 1000;

/// What follows once it is known what the end of a connection was.
pub(super) enum After {
    /// The session goes on: the close was asked for.
    GoOn,
    /// This is what is wrong, unless the process crashed.
    Fail(Box<Finding>),
    /// The session is over.
    Over,
}

impl After {
    pub(super) fn patience(&self, limit: u64) -> u64 {
        match self {
            Self::Fail(_) => EXIT_GRACE.min(limit),
            Self::GoOn | Self::Over => limit,
        }
    }
}

/// Asking over TCP whether the process lives.
pub(super) struct Alive {
    pub(super) since: u64,
    stage: Stage,
    after: After,
}

enum Stage {
    Connecting,
    Greeting,
    Echo(i128),
}

impl Machine<'_> {
    /// The connection ended as a step asked for.
    pub(super) fn closed_as_asked(&mut self, conn: &str) {
        let rest = self.conns.get(conn).and_then(|conn| conn.ended.clone()).unwrap_or_default();
        if rest.is_empty() {
            self.find_out(After::GoOn);
        } else {
            let mut finding = self.finding(FindingKind::Garbage, "The connection ends inside a frame.");
            finding.divergence = Some(self.transcript.next().saturating_sub(2));
            self.fail(finding);
        }
    }

    /// The connection ended, or never came, where something was due.
    pub(super) fn ended_early(&mut self, mut finding: Finding) {
        if !matches!(finding.kind, FindingKind::Closed | FindingKind::NotStarted) {
            self.fail(finding);
            return;
        }
        finding.divergence = Some(self.transcript.next().saturating_sub(1));
        self.find_out(After::Fail(Box::new(finding)));
    }

    fn find_out(&mut self, after: After) {
        if self.is_stdio() {
            self.state = State::Exiting { since: self.now, after };
            return;
        }
        // A connection that cannot be had is not asked for again.
        if matches!(&after, After::Fail(finding) if finding.kind == FindingKind::NotStarted) {
            self.state = State::Exiting { since: self.now, after };
            return;
        }
        self.conns.insert(PROBE.to_owned(), Conn::new(self.setup.configuration.framing));
        self.outputs.push_back(super::Output::Connect(PROBE.to_owned()));
        self.state = State::Alive(Alive { since: self.now, stage: Stage::Connecting, after });
    }

    pub(super) fn go_on_alive(&mut self) -> bool {
        if self.exit.is_some() {
            let State::Alive(alive) = std::mem::replace(&mut self.state, State::Ready) else { return false };
            self.close_probe();
            self.state = State::Exiting { since: self.now, after: alive.after };
            return true;
        }
        let State::Alive(alive) = &mut self.state else { return false };
        let Some(conn) = self.conns.get_mut(PROBE) else { return false };
        match alive.stage {
            Stage::Connecting if conn.connected => {
                alive.stage = Stage::Greeting;
                self.greet(PROBE);
                true
            }
            Stage::Greeting => match self.take_greeting(PROBE) {
                None => false,
                Some(Ok(())) => {
                    let id = self.ask_alive(PROBE);
                    if let State::Alive(alive) = &mut self.state {
                        alive.stage = Stage::Echo(id);
                    }
                    true
                }
                Some(Err(_)) => {
                    self.not_alive("a new connection is not greeted", Unserved::Refused);
                    true
                }
            },
            Stage::Echo(id) => {
                if matches!(conn.answers.get(&id), Some(Some(_))) {
                    let State::Alive(alive) = std::mem::replace(&mut self.state, State::Ready) else { return false };
                    self.close_probe();
                    self.resolve_end(alive.after);
                    true
                } else if conn.ended.is_some() {
                    self.not_alive("a new connection ends without an answer", Unserved::Refused);
                    true
                } else {
                    false
                }
            }
            Stage::Connecting => false,
        }
    }

    fn close_probe(&mut self) {
        if self.conns.remove(PROBE).is_some() {
            self.outputs.push_back(super::Output::Close(PROBE.to_owned()));
        }
    }

    /// The process does not serve a new connection: it is deaf, or ends every one.
    pub(super) fn not_alive(&mut self, why: &str, unserved: Unserved) {
        let State::Alive(alive) = std::mem::replace(&mut self.state, State::Ready) else { return };
        self.close_probe();
        let finding = match alive.after {
            After::Fail(finding) => *finding,
            After::GoOn | After::Over => {
                self.finding(FindingKind::Closed, "The target ended the connection, and then serves no other.")
            }
        };
        let mut finding = finding;
        match unserved {
            Unserved::Refused | Unserved::Reset => {}
            Unserved::Silent => finding.kind = FindingKind::Hang,
            Unserved::Ours => finding.kind = FindingKind::Harness,
        }
        finding.summary = format!("{} After it the process serves no new connection: {why}.", finding.summary);
        self.state = State::Exiting { since: self.now, after: After::Fail(Box::new(finding)) };
    }

    /// The end of the connection was no crash.
    fn resolve_end(&mut self, after: After) {
        match after {
            After::GoOn => self.state = State::Ready,
            After::Fail(finding) => self.fail(*finding),
            After::Over => self.over(None, false),
        }
    }

    /// The steps are done: ends the session, in which nothing more may come.
    pub(super) fn end(&mut self) {
        if self.setup.connection != Connection::Own {
            // The last block ended the steps; the fence's answer brings us here again.
            self.end_chained();
            return;
        }
        let open: Vec<String> = self.conns.keys().cloned().collect();
        for conn in open {
            if self.conns.get(&conn).is_some_and(|conn| conn.ended.is_none()) {
                self.pause(&conn, false);
                self.half_close(&conn);
            }
        }
        self.state = State::Draining { since: self.now };
    }

    fn end_chained(&mut self) {
        if !self.ending {
            self.ending = true;
            self.ask_fence(FIRST);
            return;
        }
        if !self.stray() {
            self.over(None, false);
        }
    }

    /// Fails if a frame is left that no step took.
    fn stray(&mut self) -> bool {
        let is_keepalive = |received: &Received| matches!(&received.what, Came::Frame(bytes) if bytes.is_empty());
        let stray = self.conns.values_mut().find_map(|conn| {
            conn.inbox.retain(|received| !is_keepalive(received));
            conn.inbox.pop_front()
        });
        let Some(stray) = stray else { return false };
        let finding = self.stray_finding(stray);
        self.fail(finding);
        true
    }

    fn stray_finding(&self, received: Received) -> Finding {
        let record = received.record;
        let mut finding = match self.message(received) {
            Ok(message) => self.unreadable(Received { what: Came::Message(message), record }),
            Err(received) => self.unreadable(received),
        };
        finding.expected = vec!["nothing more".to_owned()];
        finding
    }

    pub(super) fn go_on_draining(&mut self) -> bool {
        if self.stray() {
            return true;
        }
        if self.conns.values().any(|conn| conn.connected && conn.ended.is_none()) {
            return false;
        }
        if self.conns.values().any(|conn| conn.ended.as_ref().is_some_and(|rest| !rest.is_empty())) {
            let mut finding = self.finding(FindingKind::Garbage, "The connection ends inside a frame.");
            finding.expected = vec!["nothing more".to_owned()];
            finding.divergence = Some(self.transcript.next().saturating_sub(2));
            self.fail(finding);
            return true;
        }
        self.state = State::Exiting { since: self.now, after: After::Over };
        true
    }

    pub(super) fn draining_late(&mut self) {
        let mut finding =
            self.finding(FindingKind::NotClosed, "The target does not end its side after the tester has ended its own.");
        finding.rule = "target.exit".to_owned();
        finding.expected = vec!["the end of the connection".to_owned()];
        self.silent(&mut finding);
        self.fail(finding);
        if let Some(outcome) = &mut self.outcome {
            outcome.lingers = true;
        }
    }

    pub(super) fn go_on_exiting(&mut self) -> bool {
        let State::Exiting { after, .. } = &self.state else { return false };
        // Over TCP the process stays; only its death is news.
        let waits = self.setup.has_process && (self.is_stdio() || matches!(after, After::Fail(_)));
        let exit = self.exit.clone();
        if exit.is_none() && waits {
            return false;
        }
        let State::Exiting { after, .. } = std::mem::replace(&mut self.state, State::Ready) else { return false };
        match exit {
            Some(exit) if !self.may_exit(exit.code) => {
                let finding = match after {
                    After::Fail(finding) => *finding,
                    After::GoOn | After::Over => {
                        let mut finding = self.finding(FindingKind::Crash, "");
                        if matches!(after, After::Over) {
                            finding.expected = vec!["exit status 0".to_owned()];
                        }
                        finding
                    }
                };
                let mut finding = Finding { kind: FindingKind::Crash, ..finding };
                finding.summary = format!("The process died: {}.", exit.text);
                finding.actual = Some(exit.text.clone());
                finding.divergence = self.transcript.last_exit();
                self.fail(finding);
            }
            _ => self.resolve_end(after),
        }
        true
    }

    /// Whether the process may end like this: 0 over stdio, and for an initiator that serves one session a process.
    fn may_exit(&self, code: Option<i32>) -> bool {
        code == Some(0) && (self.is_stdio() || self.setup.configuration.role == Role::Initiator)
    }

    pub(super) fn exiting_late(&mut self) {
        let State::Exiting { after, .. } = std::mem::replace(&mut self.state, State::Ready) else { return };
        match after {
            After::Fail(finding) => self.fail(*finding),
            After::GoOn | After::Over => {
                let mut finding = self.finding(FindingKind::NotClosed, "The process does not exit after its session is over.");
                finding.rule = "target.exit".to_owned();
                finding.expected = vec!["exit status 0".to_owned()];
                self.silent(&mut finding);
                self.fail(finding);
            }
        }
    }
}

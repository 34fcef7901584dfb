//! Not reading: what a peer does whose frames nobody takes. Its own frames cannot tell, so what it takes has to.

use super::transcript::Raw;
use super::{Machine, Output, State};
use crate::event::FindingKind;

/// Milliseconds between two empty frames that ask whether a connection still takes bytes.
const ASK: u64 = 50;

/// Waiting for what becomes of bytes that were sent.
pub(super) struct Taking {
    conn: String,
    until: Until,
    pub(super) since: u64,
    /// When it was asked last.
    asked: u64,
}

/// What is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// All of them have left.
    Taken,
    /// None is taken any more.
    Refused,
}

impl Taking {
    pub(super) fn deadline(&self, limit: u64) -> u64 {
        match self.until {
            Until::Taken => self.since + limit,
            Until::Refused => (self.asked + ASK).min(self.since + limit),
        }
    }
}

impl Machine<'_> {
    /// Stops reading a connection, or goes on with it.
    pub(super) fn pause(&mut self, name: &str, paused: bool) {
        let Some(conn) = self.conns.get_mut(name).filter(|conn| conn.paused != paused) else { return };
        conn.paused = paused;
        self.record(name, if paused { Raw::Paused } else { Raw::Resumed });
        let name = name.to_owned();
        self.outputs.push_back(if paused { Output::PauseReading(name) } else { Output::ResumeReading(name) });
    }

    pub(super) fn start_taking(&mut self, on: String, until: Until) {
        if until == Until::Taken
            && let Some(conn) = self.conns.get_mut(&on)
        {
            conn.leaving += 1;
            self.outputs.push_back(Output::AskTaken(on.clone()));
        }
        self.state = State::Taking(Taking { conn: on, until, since: self.now, asked: self.now });
    }

    pub(super) fn go_on_taking(&mut self) -> bool {
        let State::Taking(taking) = &self.state else { return false };
        let Some(conn) = self.conns.get_mut(&taking.conn) else { return false };
        let is_over = conn.refused || conn.ended.is_some();
        match taking.until {
            Until::Taken if is_over => {
                let mut finding =
                    self.finding(FindingKind::Closed, "The target ended the connection while it was to take what is sent.");
                finding.expected = vec!["all that was sent is taken".to_owned()];
                self.ended_early(finding);
                true
            }
            Until::Taken if conn.leaving == 0 => {
                self.state = State::Ready;
                true
            }
            Until::Refused if is_over => {
                let name = taking.conn.clone();
                // What it had to say before is not looked at: nobody could tell what of it got away.
                conn.ended = Some(Vec::new());
                conn.inbox.clear();
                self.record(&name, Raw::Ended);
                self.outputs.push_back(Output::Close(name.clone()));
                self.closed_as_asked(&name);
                true
            }
            Until::Taken | Until::Refused => false,
        }
    }

    pub(super) fn taking_late(&mut self) {
        let limit = self.setup.pace.limit;
        let State::Taking(taking) = &mut self.state else { return };
        let is_at_end = self.now >= taking.since + limit;
        let mut finding = match taking.until {
            Until::Refused if !is_at_end => {
                taking.asked = self.now;
                let name = taking.conn.clone();
                self.send(&name, Vec::new());
                self.transcript.set_aside(self.transcript.next().saturating_sub(1));
                return;
            }
            Until::Refused => {
                let mut finding = self.finding(
                    FindingKind::NotClosed,
                    "The target keeps the connection open, however much of what it sends is not read.",
                );
                finding.expected = vec!["the end of the connection".to_owned()];
                finding
            }
            Until::Taken => {
                let mut finding =
                    self.finding(FindingKind::Hang, "The target takes no more bytes while nothing that it sends is read.");
                finding.expected = vec!["all that was sent is taken".to_owned()];
                finding
            }
        };
        self.silent(&mut finding);
        self.fail(finding);
    }
}

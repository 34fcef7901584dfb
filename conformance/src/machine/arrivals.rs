//! What arrives, or does not: frames, told from answers to the machine's own questions, connections that cannot be had, and
//! deadlines.

use duplex_vectors::Role;

use super::transcript::Raw;
use super::{Came, Machine, Received, State, Unserved};
use crate::event::FindingKind;
use crate::pattern::Normal;
use crate::wire;

/// Frames that may wait until a step takes them.
const UNREAD: usize = 10_000;

/// Bytes of a frame that waits behind others as the message that it is. A longer one waits as it came: decoded it can be many
/// times as large.
const KEPT_DECODED: usize = 64 * 1024;

impl Machine<'_> {
    pub(super) fn frame_came(&mut self, name: &str, bytes: Vec<u8>) {
        let Some(greeted) = self.conns.get(name).map(|conn| conn.greeted) else { return };
        let record = self.record(name, Raw::Frame(bytes.clone(), greeted));
        let Some(conn) = self.conns.get_mut(name) else { return };
        if !conn.greeted {
            conn.greeted = self.setup.configuration.role == Role::Acceptor && bytes.first() == Some(&b'+');
            self.receive(name, Came::Frame(bytes), record);
            return;
        }
        // A keepalive.
        if bytes.is_empty() {
            return;
        }
        let Some(message) = wire::decode(self.setup.configuration.codec, &bytes).ok().and_then(Normal::new) else {
            self.receive(name, Came::Frame(bytes), record);
            return;
        };
        let id = message.member("id").as_int().filter(|_| message.member("type").as_str() == Some("rep"));
        match id.and_then(|id| conn.answers.get_mut(&id)) {
            Some(answer @ None) => {
                *answer = Some(message);
                if id.is_some_and(|id| self.alive.contains(&id)) {
                    self.transcript.set_aside(record);
                }
            }
            _ if conn.inbox.is_empty() || bytes.len() <= KEPT_DECODED => self.receive(name, Came::Message(message), record),
            _ => self.receive(name, Came::Frame(bytes), record),
        }
    }

    pub(super) fn receive(&mut self, name: &str, what: Came, record: usize) {
        let Some(conn) = self.conns.get_mut(name).filter(|_| self.outcome.is_none()) else { return };
        // What a step waits for is taken at once. What piles up beside a question, no step asked for.
        if matches!(what, Came::Flood) || conn.inbox.len() >= UNREAD {
            let finding = self.unreadable(Received { what: Came::Flood, record });
            self.fail(finding);
        } else {
            conn.inbox.push_back(Received { what, record });
        }
    }

    pub(super) fn not_connected(&mut self, name: &str, why: &str, unserved: Unserved) {
        match &self.state {
            State::Alive(_) => self.not_alive(why, unserved),
            _ => {
                let kind = match unserved {
                    Unserved::Refused | Unserved::Silent => FindingKind::NotStarted,
                    // Whether a reset comes before the system calls the connection open, or behind that, is a matter of luck.
                    Unserved::Reset => return self.ended_early(self.greeting_cut(true)),
                    Unserved::Ours => FindingKind::Harness,
                };
                let mut finding = self.finding(kind, format!("Connection `{name}` cannot be opened: {why}."));
                finding.rule = "target.exit".to_owned();
                self.ended_early(finding);
            }
        }
    }

    pub(super) fn late(&mut self) {
        if self.is_stdio() && self.exit.is_some() && self.end_orphaned() {
            return;
        }
        match &self.state {
            State::Ready | State::Over => {}
            State::Connecting { conn, .. } => {
                let conn = conn.clone();
                self.not_connected(&conn, "nothing within the time limit", Unserved::Silent);
            }
            State::Greeting { .. } => {
                let mut finding = self.finding(FindingKind::Hang, "The greeting is not answered.");
                finding.rule = self.greeting_rule().to_owned();
                self.silent(&mut finding);
                self.fail(finding);
            }
            State::Expecting(_) => self.expect_late(),
            State::Asking(_) => self.asking_late(),
            State::Taking(_) => self.taking_late(),
            State::Alive(_) => self.not_alive("a new connection gets no answer within the time limit", Unserved::Silent),
            State::Draining { .. } => self.draining_late(),
            State::Exiting { .. } => self.exiting_late(),
        }
    }

    /// Takes a connection for ended whose process is gone, whoever still holds its pipes. Says whether there was one.
    fn end_orphaned(&mut self) -> bool {
        let orphaned = self.conns.iter().filter(|(_, conn)| conn.connected && conn.ended.is_none());
        let orphaned: Vec<String> = orphaned.map(|(name, _)| name.clone()).collect();
        for name in &orphaned {
            self.record(name, Raw::Ended);
            if let Some(conn) = self.conns.get_mut(name) {
                conn.ended = Some(std::mem::take(&mut conn.unfinished));
            }
        }
        !orphaned.is_empty()
    }
}

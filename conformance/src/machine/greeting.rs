//! The greeting: what the tester says first, and what it takes for an answer.

use duplex_vectors::Role;

use super::{Came, Machine, Received, State, transcript};
use crate::event::{Finding, FindingKind};

impl Machine<'_> {
    /// The first words of the tester, if it has them: an initiator of its own greets first.
    pub(super) fn greet(&mut self, conn: &str) {
        if self.setup.configuration.role == Role::Acceptor {
            self.send(conn, self.offer().into_bytes());
        }
    }

    /// The rule of the target's part in the greeting.
    pub(super) fn greeting_rule(&self) -> &'static str {
        if self.setup.configuration.role == Role::Acceptor { "greeting.accept" } else { "greeting.form" }
    }

    fn offer(&self) -> String {
        format!("SIMPLEX/1.0;{}", self.setup.configuration.codec)
    }

    pub(super) fn go_on_greeting(&mut self) -> bool {
        let State::Greeting { conn, .. } = &self.state else { return false };
        let conn = conn.clone();
        match self.take_greeting(&conn) {
            None => false,
            Some(Ok(())) => {
                self.state = State::Ready;
                true
            }
            Some(Err(finding)) => {
                self.ended_early(*finding);
                true
            }
        }
    }

    /// Reads the greeting or the answer to it. Nothing: it has not come.
    pub(super) fn take_greeting(&mut self, name: &str) -> Option<Result<(), Box<Finding>>> {
        let acceptor = self.setup.configuration.role == Role::Acceptor;
        let received = loop {
            let conn = self.conns.get_mut(name)?;
            match conn.inbox.pop_front() {
                Some(Received { what: Came::Frame(bytes), .. }) if bytes.is_empty() => {}
                other => break other,
            }
        };
        let mut finding = match received {
            Some(Received { what: Came::Frame(bytes), record }) => {
                let offer = self.offer();
                let good = if acceptor {
                    bytes.first() == Some(&b'+')
                } else {
                    bytes.strip_prefix(offer.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b';')
                };
                if good {
                    if !acceptor {
                        self.send(name, b"+OK".to_vec());
                    }
                    return Some(Ok(()));
                }
                let mut finding = self.finding(FindingKind::Mismatch, "The greeting is not what it must be.");
                finding.actual = Some(transcript::text(&bytes));
                finding.divergence = Some(record);
                finding
            }
            Some(other) => self.unreadable(other),
            None => {
                let rest = self.conns.get(name)?.ended.as_ref()?;
                return Some(Err(Box::new(self.greeting_cut(rest.is_empty()))));
            }
        };
        self.blame_greeting(&mut finding);
        Some(Err(Box::new(finding)))
    }

    /// The connection is over before the greeting is, between two frames or inside one.
    pub(super) fn greeting_cut(&self, between_frames: bool) -> Finding {
        let place = if between_frames { "during the greeting" } else { "in the middle of a frame of the greeting" };
        let mut finding = self.finding(FindingKind::Closed, format!("The target ended the connection {place}."));
        self.blame_greeting(&mut finding);
        finding
    }

    fn blame_greeting(&self, finding: &mut Finding) {
        finding.rule = self.greeting_rule().to_owned();
        finding.expected = vec![match self.setup.configuration.role {
            Role::Acceptor => "a frame that starts with `+`".to_owned(),
            Role::Initiator => format!("the frame `{}`", self.offer()),
        }];
    }
}

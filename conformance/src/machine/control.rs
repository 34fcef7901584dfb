//! The machine's own questions: fences, settling, asking until something holds.

use duplex_vectors::Eventually;

use super::encode::StepError;
use super::{Machine, State};
use crate::event::FindingKind;
use crate::pattern::{Bindings, Divergence, Normal};
use crate::wire::{self, Value, plain_json};

/// Milliseconds between two questions of the same kind: the first pause, doubled each time, and the longest.
const PAUSE: (u64, u64) = (5, 200);

/// A question in progress.
pub(super) struct Control<'a> {
    conn: String,
    why: Why<'a>,
    /// When the first question of this step was asked.
    since: u64,
    pause: u64,
    phase: Phase,
}

enum Phase {
    Asked { id: i128, at: u64 },
    Pausing { until: u64 },
}

#[derive(Clone)]
enum Why<'a> {
    /// A fence; the echoed text.
    Fence(String),
    Settle,
    Eventually(&'a Eventually, Value),
}

impl Control<'_> {
    pub(super) fn deadline(&self, limit: u64) -> u64 {
        match self.phase {
            Phase::Asked { at, .. } => at + limit,
            Phase::Pausing { until } => until,
        }
    }
}

impl<'a> Machine<'a> {
    /// Sends a call of the machine's own and gives its id. The answer is kept apart from the session's messages.
    pub(super) fn question(&mut self, conn: &str, method: &str, payload: Value) -> i128 {
        let id = self.fence;
        self.fence += 1;
        let message =
            Value::map([("type", "req".into()), ("id", Value::Int(id)), ("method", method.into()), ("payload", payload)]);
        if let Some(conn) = self.conns.get_mut(conn) {
            conn.answers.insert(id, None);
        }
        match wire::encode(self.setup.configuration.codec, &message) {
            Ok(bytes) => self.send(conn, bytes),
            Err(error) => self.vector_fault(&error.to_string()),
        }
        id
    }

    /// Asks whether the target lives, and gives the id of the question.
    pub(super) fn ask_alive(&mut self, conn: &str) -> i128 {
        let id = self.question(conn, "conformance.echo", Value::Str(format!("{}.alive", self.setup.nonce)));
        self.alive.insert(id);
        self.transcript.set_aside(self.transcript.next().saturating_sub(1));
        id
    }

    pub(super) fn ask_fence(&mut self, conn: &str) {
        let text = format!("{}.fence.{}", self.setup.nonce, self.fence);
        self.ask(conn, Why::Fence(text), self.now, PAUSE.0);
    }

    pub(super) fn ask_settle(&mut self, conn: &str) {
        if self.setup.has_inspect {
            self.ask(conn, Why::Settle, self.now, PAUSE.0);
        } else {
            self.ask_fence(conn);
        }
    }

    pub(super) fn ask_eventually(&mut self, conn: &str, eventually: &'a Eventually) -> Result<(), StepError> {
        let payload = self.scope.resolve(&eventually.payload)?;
        self.ask(conn, Why::Eventually(eventually, payload), self.now, PAUSE.0);
        Ok(())
    }

    fn ask(&mut self, conn: &str, why: Why<'a>, since: u64, pause: u64) {
        let (method, payload) = match &why {
            Why::Fence(text) => ("conformance.echo", Value::Str(text.clone())),
            Why::Settle => ("conformance.inspect", Value::Null),
            Why::Eventually(eventually, payload) => (eventually.method.as_str(), payload.clone()),
        };
        let id = self.question(conn, method, payload);
        if self.outcome.is_none() {
            self.state =
                State::Asking(Control { conn: conn.to_owned(), why, since, pause, phase: Phase::Asked { id, at: self.now } });
        }
    }

    pub(super) fn go_on_asking(&mut self) -> bool {
        let State::Asking(control) = &self.state else { return false };
        let Phase::Asked { id, .. } = control.phase else { return false };
        let Some(conn) = self.conns.get_mut(&control.conn) else { return false };
        if let Some(Some(_)) = conn.answers.get(&id) {
            let answer = conn.answers.remove(&id).flatten();
            let State::Asking(control) = std::mem::replace(&mut self.state, State::Ready) else { return false };
            if let Some(answer) = answer {
                self.answered(control, &answer);
            }
            return true;
        }
        if conn.ended.is_some() {
            let mut finding = self.finding(FindingKind::Closed, "The target ended the connection while it was asked a question.");
            finding.expected = vec!["an answer to the question".to_owned()];
            self.ended_early(finding);
            return true;
        }
        false
    }

    fn answered(&mut self, control: Control<'a>, answer: &Normal) {
        let plain = *answer.member("error") == Value::Null && *answer.member("more") == Value::Bool(false);
        let payload = answer.member("payload");
        match &control.why {
            Why::Fence(text) if plain && payload.as_str() == Some(text) => {}
            Why::Fence(text) => self.wrong_answer(answer, &format!("the payload {text:?} back, in one reply")),
            Why::Settle => match payload.member("handlers") {
                Some(Value::Int(0) | Value::Null) if plain => self.ask_fence(&control.conn),
                Some(Value::Int(_)) if plain => self.again(control, answer, "no running handler"),
                _ => self.wrong_answer(answer, "counts, `handlers` among them"),
            },
            Why::Eventually(eventually, _) => {
                let mut bound = Bindings::new();
                match self.scope.compare(&eventually.result, payload, "payload", &mut bound) {
                    Ok(()) if plain => self.scope.bindings.extend(bound),
                    Err(Divergence::Vector(error)) => self.vector_fault(&error.to_string()),
                    _ => {
                        let expected = format!("in the end, the result {}", self.scope.shown(&eventually.result));
                        self.again(control, answer, &expected);
                    }
                }
            }
        }
    }

    /// Asks again after a pause, unless the limit is reached.
    fn again(&mut self, control: Control<'a>, answer: &Normal, expected: &str) {
        if self.now >= control.since + self.setup.pace.limit {
            self.wrong_answer(answer, expected);
            return;
        }
        let pause = control.pause;
        let phase = Phase::Pausing { until: self.now + pause };
        self.state = State::Asking(Control { pause: (pause * 2).min(PAUSE.1), phase, ..control });
    }

    fn wrong_answer(&mut self, answer: &Normal, expected: &str) {
        let mut finding = self.finding(FindingKind::Mismatch, "A question of the harness is not answered as it must be.");
        finding.expected = vec![expected.to_owned()];
        finding.actual = Some(plain_json(answer.raw()).to_string());
        finding.divergence = Some(self.transcript.next().saturating_sub(1));
        self.fail(finding);
    }

    pub(super) fn asking_late(&mut self) {
        let State::Asking(control) = std::mem::replace(&mut self.state, State::Ready) else { return };
        if let Phase::Pausing { .. } = control.phase {
            self.ask(&control.conn.clone(), control.why, control.since, control.pause);
            return;
        }
        let mut finding = self.finding(FindingKind::Hang, "The target does not answer a question of the harness.");
        finding.expected = vec!["an answer to the question".to_owned()];
        self.silent(&mut finding);
        self.fail(finding);
    }
}

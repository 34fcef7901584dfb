//! Which case runs next: the first one whose prerequisites are decided.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use crate::event::{CaseFinished, Verdict};
use crate::plan::Case;

/// The cases of a configuration, shared by its workers.
pub(super) struct Queue {
    cases: Vec<Case>,
    /// The prerequisites of each case that run in this configuration.
    after: Vec<Vec<usize>>,
    state: Mutex<State>,
    changed: Notify,
    results: mpsc::UnboundedSender<(usize, CaseFinished)>,
}

struct State {
    pending: Vec<usize>,
    running: usize,
    verdicts: Vec<Option<Verdict>>,
}

/// What a worker does next.
pub(super) enum Next {
    Run(usize, Case),
    /// A prerequisite failed: its id.
    Blocked(usize, Case, String),
}

impl Queue {
    /// All of these, in order; with `blocks`, what builds on a case that failed does not run.
    pub(super) fn new(cases: &[Case], blocks: bool) -> (Self, mpsc::UnboundedReceiver<(usize, CaseFinished)>) {
        let by_id: BTreeMap<String, usize> = cases.iter().enumerate().map(|(index, case)| (case.id(), index)).collect();
        let after = cases.iter().map(|case| match case {
            Case::Session(session) if blocks => session.prerequisites().filter_map(|id| by_id.get(id).copied()).collect(),
            _ => Vec::new(),
        });
        let (results, receiver) = mpsc::unbounded_channel();
        let state = State { pending: (0..cases.len()).collect(), running: 0, verdicts: vec![None; cases.len()] };
        (
            Self { cases: cases.to_vec(), after: after.collect(), state: Mutex::new(state), changed: Notify::new(), results },
            receiver,
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next case, as soon as there is one.
    pub(super) async fn next(&self) -> Option<Next> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut state = self.lock();
                if state.pending.is_empty() {
                    return None;
                }
                let is_ready =
                    |state: &State, index: usize| self.after[index].iter().all(|&before| state.verdicts[before].is_some());
                let ready = state.pending.iter().position(|&index| is_ready(&state, index));
                // With nobody at work only a circle of prerequisites can be left; it is cut.
                let place = ready.or((state.running == 0).then_some(0));
                if let Some(place) = place {
                    let index = state.pending.remove(place);
                    state.running += 1;
                    let failed = |before: &&usize| matches!(state.verdicts[**before], Some(Verdict::Fail | Verdict::Blocked));
                    let case = self.cases[index].clone();
                    return Some(match self.after[index].iter().find(failed) {
                        Some(&before) => Next::Blocked(index, case, self.cases[before].id()),
                        None => Next::Run(index, case),
                    });
                }
            }
            changed.await;
        }
    }

    /// Notes the end of a case and passes it on.
    pub(super) fn finish(&self, index: usize, result: CaseFinished) {
        {
            let mut state = self.lock();
            state.running -= 1;
            state.verdicts[index] = Some(result.verdict);
        }
        // An error says that the run was given up.
        let _given_up = self.results.send((index, result));
        self.changed.notify_waiters();
    }
}

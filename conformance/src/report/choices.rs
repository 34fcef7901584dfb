//! What a target did where a session allows more than one order or answer, counted over the configurations of a run. None of
//! it is right or wrong: a race that is never seen from one side is a race that is not checked from there.

use std::collections::BTreeMap;

use crate::event::CaseFinished;

/// Counts ways.
#[derive(Debug, Default)]
pub(super) struct Choices {
    /// By case and step: how many ways are allowed, and how often each was seen.
    steps: BTreeMap<(String, usize), (u64, BTreeMap<String, usize>)>,
}

/// A way that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) case: String,
    pub(super) step: usize,
    /// The messages, in their order.
    pub(super) came: String,
    /// How often.
    pub(super) times: usize,
    /// How often the step was met at all.
    pub(super) of: usize,
    /// How many ways were seen there, and how many are allowed.
    pub(super) ways: (usize, u64),
}

impl Choices {
    pub(super) fn add(&mut self, finished: &CaseFinished) {
        for seen in &finished.seen {
            let (ways, came) = self.steps.entry((finished.case.clone(), seen.step)).or_default();
            *ways = seen.ways;
            *came.entry(seen.came.join(", ")).or_default() += 1;
        }
    }

    /// Every way that was seen, by case and step.
    pub(super) fn all(&self) -> Vec<Choice> {
        let mut all = Vec::new();
        for ((case, step), (ways, came)) in &self.steps {
            let of = came.values().sum();
            all.extend(came.iter().map(|(way, &times)| Choice {
                case: case.clone(),
                step: *step,
                came: way.clone(),
                times,
                of,
                ways: (came.len(), *ways),
            }));
        }
        all
    }
}

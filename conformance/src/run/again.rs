//! The second pass of a thorough run: what held is run again while its bytes travel in other pieces.
//!
//! A rule that stops to hold then is not at fault: the framing's is, that bytes may come in any pieces. So a verdict that
//! differs is a finding of its own, which names the schedule.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use duplex_vectors::Session;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::worker::{Shared, Worker, rests_on_silence, run_alone};
use super::{finished, judge, message};
use crate::event::{CaseFinished, Event, Finding, FindingKind};
use crate::plan::Case;
use crate::schedule::{Family, Schedule, is_cheap, is_free};

/// Cases that do not hold in a kind of schedule, after which no other is tried in it: a target that minds how bytes come
/// minds it everywhere, and each case costs time limits.
const ENOUGH: usize = 3;

/// Workers for each of the run's: a run in pieces is mostly waiting.
const WORKERS: usize = 4;

/// A case that held, with what its sessions wrote.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) index: usize,
    pub(super) longest_write: usize,
    pub(super) writes: usize,
}

/// What the workers of this pass share.
struct Pass {
    shared: Arc<Shared>,
    cases: Vec<(Case, Held)>,
    next: AtomicUsize,
    differ: Mutex<BTreeMap<Family, usize>>,
}

/// Runs cases again in every kind of schedule, with an event for each case and kind.
pub(super) async fn run_again(shared: &Arc<Shared>, cases: &[Case], held: Vec<Held>, jobs: usize, sink: &mut dyn FnMut(Event)) {
    let is_meant = |case: &Case| !matches!(case, Case::Session(session) if !is_free(session));
    let cases: Vec<(Case, Held)> =
        held.into_iter().map(|held| (cases[held.index].clone(), held)).filter(|(case, _)| is_meant(case)).collect();
    if cases.is_empty() {
        return;
    }
    let doing = format!("running {} cases again in other schedules on {}", cases.len(), shared.configuration);
    sink(Event::Progress { doing });
    let (results, mut receiver) = mpsc::unbounded_channel();
    let workers = (jobs.max(1) * WORKERS).min(cases.len());
    let pass = Arc::new(Pass { shared: Arc::clone(shared), cases, next: AtomicUsize::new(0), differ: Mutex::default() });
    let mut tasks = JoinSet::new();
    for number in 0..workers {
        let worker = Worker::new(Arc::clone(shared), 1_000_000 + number);
        tasks.spawn(Arc::clone(&pass).work(worker, results.clone()));
    }
    drop(results);
    // In the order of the plan, however the workers finish.
    let mut early: BTreeMap<usize, Vec<CaseFinished>> = BTreeMap::new();
    let mut next = 0;
    while let Some((place, finished)) = receiver.recv().await {
        early.insert(place, finished);
        while let Some(finished) = early.remove(&next) {
            finished.into_iter().for_each(|one| sink(Event::CaseFinished(one)));
            next += 1;
        }
    }
    while tasks.join_next().await.is_some() {}
    // A worker that panicked takes its case with it: the harness's fault.
    for (place, (case, _)) in pass.cases.iter().enumerate().skip(next) {
        let lost = early.remove(&place).unwrap_or_else(|| {
            let what = "The harness failed while it ran this case again in another schedule.";
            let finding = judge::finding(FindingKind::Harness, &case.rules()[0], what);
            vec![finished(case, shared.configuration, Some(finding), Duration::ZERO)]
        });
        lost.into_iter().for_each(|one| sink(Event::CaseFinished(one)));
    }
}

impl Pass {
    async fn work(self: Arc<Self>, mut worker: Worker, results: mpsc::UnboundedSender<(usize, Vec<CaseFinished>)>) {
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((case, held)) = self.cases.get(place) else { break };
            let mut all = Vec::new();
            for family in Family::ALL {
                all.push(self.family(&mut worker, case, held, family).await);
            }
            // An error says that the run was given up.
            if results.send((place, all)).is_err() {
                break;
            }
        }
        worker.stop().await;
    }

    fn differ(&self, family: Family) -> usize {
        self.differ.lock().unwrap_or_else(PoisonError::into_inner).get(&family).copied().unwrap_or_default()
    }

    /// Runs a case in the schedules of a kind, up to the first in which it does not hold.
    async fn family(&self, worker: &mut Worker, case: &Case, held: &Held, family: Family) -> CaseFinished {
        let started = Instant::now();
        let shared = &self.shared;
        let verdict = |finding: Option<Finding>, schedule: String| CaseFinished {
            schedule: Some(schedule),
            ..finished(case, shared.configuration, finding, started.elapsed())
        };
        if self.differ(family) >= ENOUGH {
            let why = format!("{ENOUGH} other cases do not hold in schedules of the kind `{family}`; this one was not tried.");
            return verdict(Some(judge::finding(FindingKind::Blocked, RULE, why)), family.to_string());
        }
        // Every place of a message vector would say the same as one: its class runs as a session that is split everywhere.
        let is_cheap = is_cheap(shared.configuration.transport) && matches!(case, Case::Session(_));
        for schedule in family.schedules(held.longest_write, held.writes, is_cheap) {
            let sessions = match message::sessions(case, shared.configuration.codec, &|_| true) {
                Ok(sessions) => sessions,
                Err(error) => {
                    let finding = judge::finding(FindingKind::Harness, &case.rules()[0], format!("{error}."));
                    return verdict(Some(finding), schedule.to_string());
                }
            };
            for session in &sessions {
                if let Some(finding) = self.differs(worker, session, schedule).await {
                    *self.differ.lock().unwrap_or_else(PoisonError::into_inner).entry(family).or_default() += 1;
                    return verdict(Some(finding), schedule.to_string());
                }
            }
        }
        verdict(None, family.to_string())
    }

    /// What is wrong with a session in this schedule, if it holds in the plain one.
    async fn differs(&self, worker: &mut Worker, session: &Session, schedule: Schedule) -> Option<Finding> {
        let finding = worker.run_once(session, schedule).await?;
        if finding.kind == FindingKind::Harness {
            return Some(finding);
        }
        let id = &session.id;
        let what = schedule.describe();
        let Some(again) = run_alone(&self.shared, session, schedule, true).await.finding else {
            // Silence is only proved by the full limit, and was not.
            if rests_on_silence(&finding) {
                return None;
            }
            let summary = format!(
                "In the schedule `{schedule}` ({what}) `{id}` did not hold once, and held when it was repeated. There: {}",
                finding.summary
            );
            return Some(Finding { kind: FindingKind::DependsOnEarlier, rule: rule(&finding, schedule), summary, ..finding });
        };
        // One that fails now and then in any schedule says nothing about this one.
        if let Some(plain) = run_alone(&self.shared, session, Schedule::Plain, true).await.finding {
            let summary = format!("`{id}` held before, and does not when it is repeated. There: {}", plain.summary);
            return Some(Finding { kind: FindingKind::DependsOnEarlier, summary, ..plain });
        }
        let summary = format!(
            "In the schedule `{schedule}` ({what}) `{id}` does not hold, although it does in the plain one. There: {}",
            again.summary
        );
        Some(Finding { rule: rule(&again, schedule), summary, ..again })
    }
}

/// The rule that says that bytes may come in any pieces.
const RULE: &str = "framing.boundaries";

/// The rule that does not hold: how the tester's bytes come is the receiver's matter, how they are read the sender's.
fn rule(finding: &Finding, schedule: Schedule) -> String {
    let is_silent = matches!(finding.kind, FindingKind::Hang | FindingKind::Unanswered | FindingKind::NotClosed);
    match schedule {
        Schedule::Slow if is_silent => "limit.reading",
        Schedule::Slow => "framing.atomic",
        _ => RULE,
    }
    .to_owned()
}

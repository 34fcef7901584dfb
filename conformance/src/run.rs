//! Executing a plan: processes, connections, who runs beside whom, and what runs again alone.
//!
//! What a session means is the machine's business, what a finding means the judge's. A run always ends, and nothing that it
//! started outlives the future that it is.

mod again;
mod describe;
mod message;
pub(crate) mod peer;
mod queue;
mod session;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use duplex_vectors::{Action, Session};
use serde_json::json;
use tokio::task::JoinSet;

pub use describe::{Attempt, StartFailure, describe};
pub(crate) use message::own;
pub(crate) use worker::{Alone, Shared, run_alone};

use crate::event::{CaseFinished, Configuration, Description, Event, Finding, FindingKind};
use crate::judge;
use crate::mutant::Mutant;
use crate::plan::{Case, ConfigurationPlan, Plan};
use crate::schedule::Schedule;
use crate::target::Target;

use again::Held;
use queue::Queue;
use worker::Worker;

/// How to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// How many processes of the target run at once.
    pub jobs: usize,
    /// How long to wait for anything that is due.
    pub timeout: Duration,
    /// A process for each session.
    pub isolate: bool,
    /// In which pieces bytes travel.
    pub schedule: Schedule,
    /// Whether what held runs again in every kind of schedule.
    pub is_thorough: bool,
    /// A fault to put between the two sides.
    pub mutant: Option<Mutant>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            jobs: 2,
            timeout: Duration::from_secs(5),
            isolate: false,
            schedule: Schedule::Plain,
            is_thorough: false,
            mutant: None,
        }
    }
}

/// Runs every case of a plan and emits one [`Event::CaseFinished`] for each, in the order of the plan, and one for each
/// standing check. Dropping the future ends the run, and every process that it started.
pub async fn run(target: &Target, description: &Description, plan: &Plan, options: &RunOptions, sink: &mut dyn FnMut(Event)) {
    for configuration in plan.configurations.iter().filter(|one| !one.cases.is_empty()) {
        run_configuration(target, description, configuration, options, sink).await;
    }
}

async fn run_configuration(
    target: &Target,
    description: &Description,
    plan: &ConfigurationPlan,
    options: &RunOptions,
    sink: &mut dyn FnMut(Event),
) {
    let configuration = plan.configuration;
    sink(Event::Progress { doing: format!("running {} cases on {configuration}", plan.cases.len()) });
    let shared = Arc::new(Shared::new(target, description, configuration, options));
    let Alone { finding, duration, .. } = run_alone(&shared, &smoke(), Schedule::Plain, true).await;
    if let Some(finding) = finding {
        not_up(plan, finding, duration, sink);
        return;
    }
    sink(Event::CaseFinished(smoked(configuration, None, duration)));
    // What a mutant breaks is each case's own to see, whatever else it breaks.
    let (queue, mut results) = Queue::new(&plan.cases, options.mutant.is_none());
    let queue = Arc::new(queue);
    let mut workers = JoinSet::new();
    for number in 0..options.jobs.max(1).min(plan.cases.len()) {
        let worker = Worker::new(Arc::clone(&shared), number);
        workers.spawn(worker.work(Arc::clone(&queue)));
    }
    drop(queue);
    // In the order of the plan, however the workers finish.
    let mut early: Vec<Option<CaseFinished>> = vec![None; plan.cases.len()];
    let mut next = 0;
    while let Some((index, result)) = results.recv().await {
        early[index] = Some(result);
        while let Some(result) = early.get_mut(next).and_then(Option::take) {
            sink(Event::CaseFinished(result));
            next += 1;
        }
    }
    while workers.join_next().await.is_some() {}
    // A worker that panicked takes its case with it: the harness's fault, and the run goes on.
    for (index, result) in early.into_iter().enumerate().skip(next) {
        let lost =
            || judge::finding(FindingKind::Harness, &plan.cases[index].rules()[0], "The harness failed while it ran this case.");
        sink(Event::CaseFinished(
            result.unwrap_or_else(|| finished(&plan.cases[index], configuration, Some(lost()), Duration::ZERO)),
        ));
    }
    if options.is_thorough {
        again::run_again(&shared, &plan.cases, shared.held(), options.jobs, sink).await;
    }
    for observed in shared.observed() {
        sink(Event::CaseFinished(observed));
    }
}

/// Tells that the target does not come up in a configuration: one failure, and all the rest builds on it.
pub fn not_up(plan: &ConfigurationPlan, finding: Finding, duration: Duration, sink: &mut dyn FnMut(Event)) {
    sink(Event::CaseFinished(smoked(plan.configuration, Some(finding), duration)));
    for case in &plan.cases {
        let why = "The target does not come up in this configuration: `target:smoke` failed.";
        sink(Event::CaseFinished(finished(case, plan.configuration, Some(blocked(case.rules(), why)), Duration::ZERO)));
    }
}

fn smoked(configuration: Configuration, finding: Option<Finding>, duration: Duration) -> CaseFinished {
    let smoke = smoke();
    CaseFinished {
        case: smoke.id,
        title: smoke.title,
        rules: smoke.rules,
        configuration: Some(configuration),
        schedule: None,
        verdict: judge::verdict(finding.as_ref()),
        known: None,
        finding,
        seen: Vec::new(),
        duration_ms: milliseconds(duration),
    }
}

/// Greeting, description and echo: what everything else builds on.
fn smoke() -> Session {
    own(
        "target:smoke",
        "the target greets, describes itself and echoes",
        &["target.describe"],
        vec![
            Action::Send(json!({"type": "req", "id": 1, "method": "conformance.describe", "payload": null})),
            Action::Expect(json!({"type": "rep", "id": 1, "payload": {"$has": {"contract": 1}}})),
            Action::Send(json!({"type": "req", "id": 2, "method": "conformance.echo", "payload": "$nonce"})),
            Action::Expect(json!({"type": "rep", "id": 2, "payload": "$nonce"})),
        ],
    )
}

fn blocked(rules: &[String], why: &str) -> Finding {
    judge::finding(FindingKind::Blocked, rules.first().map_or("", String::as_str), why)
}

fn finished(case: &Case, configuration: Configuration, finding: Option<Finding>, duration: Duration) -> CaseFinished {
    CaseFinished {
        case: case.id(),
        title: case.title().to_owned(),
        rules: case.rules().to_vec(),
        configuration: Some(configuration),
        schedule: None,
        verdict: judge::verdict(finding.as_ref()),
        known: None,
        finding,
        seen: Vec::new(),
        duration_ms: milliseconds(duration),
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

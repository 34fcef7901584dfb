//! The hunt: whether some check that names a mutant's rule sees the mutant.
//!
//! A mutant is killed when a case or a standing check whose `rules` have the mutant's rule fails or warns, and holds without
//! the mutant. What is blocked, or the harness's own fault, kills nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use duplex_vectors::{Codec, Corpus, Framing, Profile, Role, Transport};

use super::Mutant;
use crate::contract;
use crate::event::{CaseFinished, Configuration, Description, Event, Verdict};
use crate::plan::{Case, ConfigurationPlan, Plan, plan};
use crate::run::{RunOptions, run};
use crate::select::Selection;
use crate::target::{Target, TargetKind};

/// How often a mutant is tried whose target does not come up.
const ATTEMPTS: usize = 3;
/// The fault of a hunt that never began.
const NOT_UP: &str = "the target does not come up";

/// Runs mutants of one target.
pub struct Hunter {
    target: Target,
    description: Description,
    options: RunOptions,
    /// Everything that can run, the best configuration first.
    plans: Vec<ConfigurationPlan>,
    /// Cases that do not hold without a mutant.
    broken: BTreeSet<(Configuration, String)>,
    is_quick: bool,
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Its name.
    pub mutant: String,
    /// The rule that it breaks.
    pub rule: String,
    /// What it does wrong.
    pub title: String,
    /// Where it ran: nowhere, if no case that names its rule can run on this target.
    pub configuration: Option<Configuration>,
    /// How many cases ran that name its rule.
    pub ran: usize,
    /// Checks that name its rule and see it.
    pub killers: Vec<String>,
    /// Other checks that see it.
    pub others: Vec<String>,
    /// Cases in which the harness was at fault, with what it says.
    pub faults: Vec<String>,
    /// How long it took.
    pub duration: Duration,
}

impl Hunt {
    /// Whether a check that names its rule sees it.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        !self.killers.is_empty()
    }
}

impl Hunter {
    /// A hunter of mutants of this target. A quick one runs only the cases that name a mutant's rule, others also the rest of
    /// their profiles.
    #[must_use]
    pub fn new(corpus: &'static Corpus, target: Target, description: Description, timeout: Duration, is_quick: bool) -> Self {
        let plans = configurations().into_iter().flat_map(|one| {
            let selection = Selection {
                transports: vec![one.transport],
                roles: vec![one.role],
                framings: vec![one.framing],
                codecs: vec![one.codec],
                ..Selection::default()
            };
            plan(corpus, &description, &selection).plan.configurations
        });
        let plans = plans.collect();
        let options = RunOptions { jobs: 1, timeout, ..RunOptions::default() };
        Self { target, description, options, plans, broken: BTreeSet::new(), is_quick }
    }

    /// Every case that can run on this target.
    #[must_use]
    pub fn cases(&self) -> BTreeSet<String> {
        self.plans.iter().flat_map(|plan| plan.cases.iter().map(Case::id)).collect()
    }

    /// Runs, without any mutant, what would be run for these, and remembers what does not hold: it kills nothing. The ids of
    /// those cases come back.
    pub async fn rule_out(&mut self, mutants: &[Mutant], jobs: usize) -> Vec<String> {
        let mut wanted: BTreeMap<Configuration, BTreeSet<String>> = BTreeMap::new();
        for plan in mutants.iter().flat_map(|mutant| self.plan(mutant)) {
            wanted.entry(plan.configuration).or_default().extend(plan.cases.iter().map(Case::id));
        }
        let configurations = self.plans.iter().filter_map(|plan| {
            let ids = wanted.get(&plan.configuration)?;
            let cases = plan.cases.iter().filter(|case| ids.contains(&case.id())).cloned().collect();
            Some(ConfigurationPlan { cases, ..plan.clone() })
        });
        let plan = Plan { configurations: configurations.collect(), not_claimed: Vec::new() };
        // What holds is not to depend on how busy the machine is.
        let options = RunOptions { jobs, ..RunOptions::default() };
        let broken = self.finished(&plan, &options).await.into_iter().filter(|one| one.verdict != Verdict::Pass);
        self.broken = broken.filter_map(|one| Some((one.configuration?, one.case))).collect();
        self.broken.iter().map(|(_, case)| case.clone()).collect()
    }

    /// Runs a mutant.
    pub async fn hunt(&self, mutant: &Mutant) -> Hunt {
        // No mutant keeps a target from coming up: where it does not, the machine was too busy.
        for _ in 1..ATTEMPTS {
            let hunt = self.hunt_once(mutant).await;
            if hunt.faults.iter().all(|fault| fault != NOT_UP) {
                return hunt;
            }
        }
        self.hunt_once(mutant).await
    }

    async fn hunt_once(&self, mutant: &Mutant) -> Hunt {
        let mut hunt = Hunt {
            mutant: mutant.name(),
            rule: mutant.rule.clone(),
            title: mutant.title.clone(),
            configuration: None,
            ran: 0,
            killers: Vec::new(),
            others: Vec::new(),
            faults: Vec::new(),
            duration: Duration::ZERO,
        };
        let started = Instant::now();
        if mutant.is_process() {
            self.probe(mutant, &mut hunt).await;
            hunt.duration = started.elapsed();
            return hunt;
        }
        let configurations = self.plan(mutant);
        let Some(first) = configurations.first() else { return hunt };
        hunt.configuration = Some(first.configuration);
        let cases = configurations.iter().flat_map(|one| &one.cases);
        hunt.ran = cases.filter(|case| case.rules().contains(&mutant.rule)).count();
        let options = RunOptions { mutant: Some(mutant.clone()), ..self.options.clone() };
        let plan = Plan { configurations, not_claimed: Vec::new() };
        for finished in self.finished(&plan, &options).await {
            let is_broken =
                finished.configuration.is_some_and(|configuration| self.broken.contains(&(configuration, finished.case.clone())));
            match finished.verdict {
                Verdict::Fail | Verdict::Warn if finished.case == "target:smoke" => {
                    hunt.faults.push(NOT_UP.to_owned());
                }
                Verdict::Fail | Verdict::Warn if is_broken => {}
                Verdict::Fail | Verdict::Warn if finished.rules.contains(&mutant.rule) => hunt.killers.push(finished.case),
                Verdict::Fail | Verdict::Warn => hunt.others.push(finished.case),
                Verdict::HarnessFault => {
                    let said = finished.finding.map(|finding| finding.summary).unwrap_or_default();
                    hunt.faults.push(format!("{}: {said}", finished.case));
                }
                Verdict::Pass | Verdict::Blocked => {}
            }
        }
        hunt.duration = started.elapsed();
        hunt
    }

    /// Probes a target that is wrong as a process.
    async fn probe(&self, mutant: &Mutant, hunt: &mut Hunt) {
        let mut target = self.target.clone();
        let TargetKind::Command { command, .. } = &mut target.kind else { return };
        if let Some(program) = &mutant.program {
            let start = ["sh", "-c", program.as_str(), "sh"].map(str::to_owned);
            command.splice(0..0, start);
        }
        let Some(description) = self.described(mutant) else {
            hunt.faults.push("its `description` is none".to_owned());
            return;
        };
        hunt.configuration = self.plans.first().map(|plan| plan.configuration);
        let mut sink = |event| {
            let Event::CaseFinished(probe) = event else { return };
            let is_killer = probe.rules.contains(&mutant.rule);
            hunt.ran += usize::from(is_killer);
            if probe.verdict != Verdict::Pass {
                if is_killer { hunt.killers.push(probe.case) } else { hunt.others.push(probe.case) }
            }
        };
        contract::probe(&target, &description, &self.options, &mut sink).await;
    }

    /// What the target says of itself, with what the mutant says instead.
    fn described(&self, mutant: &Mutant) -> Option<Description> {
        let mut description = serde_json::to_value(&self.description).ok()?;
        for (name, value) in &mutant.description {
            description.as_object_mut()?.insert(name.clone(), value.clone());
        }
        serde_json::from_value(description).ok()
    }

    async fn finished(&self, plan: &Plan, options: &RunOptions) -> Vec<CaseFinished> {
        let mut finished = Vec::new();
        let mut sink = |event| {
            if let Event::CaseFinished(one) = event {
                finished.push(one);
            }
        };
        run(&self.target, &self.description, plan, options, &mut sink).await;
        finished
    }

    /// The configuration in which most cases that name the mutant's rule apply, with what is run there; then others, for the
    /// cases that apply in none before. A rule that only a standing check decides is seen in the cases that the mutant names.
    fn plan(&self, mutant: &Mutant) -> Vec<ConfigurationPlan> {
        let names_rule = |case: &&Case| case.rules().contains(&mutant.rule) || mutant.through.contains(&case.id());
        let mut planned: Vec<ConfigurationPlan> = Vec::new();
        let mut covered: BTreeSet<String> = BTreeSet::new();
        loop {
            let is_new = |case: &&Case| names_rule(case) && !covered.contains(&case.id());
            let count = |plan: &ConfigurationPlan| plan.cases.iter().filter(is_new).count();
            let possible = self.plans.iter().filter(|plan| mutant.applies_in(plan.configuration) && count(plan) > 0);
            // Of several the first.
            let Some(best) = possible.rev().max_by_key(|plan| count(plan)) else { return planned };
            let profiles: BTreeSet<Profile> = best.cases.iter().filter(names_rule).map(Case::profile).collect();
            let is_rest = |case: &&Case| planned.is_empty() && !self.is_quick && profiles.contains(&case.profile());
            let cases: Vec<Case> = best.cases.iter().filter(|case| is_new(case) || is_rest(case)).cloned().collect();
            covered.extend(cases.iter().map(Case::id));
            planned.push(ConfigurationPlan { cases, ..best.clone() });
        }
    }
}

/// Every configuration, the fastest and most ordinary first.
fn configurations() -> Vec<Configuration> {
    let mut all = Vec::new();
    for transport in [Transport::Tcp, Transport::Stdio] {
        for role in [Role::Acceptor, Role::Initiator] {
            for (framing, codec) in
                [(Framing::Length, Codec::Json), (Framing::Newline, Codec::Json), (Framing::Length, Codec::Msgpack)]
            {
                all.push(Configuration { transport, role, framing, codec });
            }
        }
    }
    all
}

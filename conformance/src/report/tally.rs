//! A whole run, counted rule by rule: what the reports that are files are made of. Nothing is written here.
//!
//! A case decides several rules, and a failure says which one of them does not hold: that one fails, and the others are
//! undecided there, which counts as blocked. A rule that no case of the run decides is told as such.

use std::collections::{BTreeMap, BTreeSet};

use duplex_spec::Rule;
use serde::Serialize;

use crate::event::{CaseFinished, Description, Event, Excluded, LeftOut, NotClaimed, PlannedCase, PlannedConfiguration, Verdict};
use crate::plan::profile_name;
use crate::report::choices::Choices;
use crate::report::group::Groups;
use crate::report::summary::{Ended, conclusion};

/// How a case or a rule came out over a whole run, from what weighs least to what weighs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It applies to nothing that the target offers.
    LeftOut,
    /// The target does not claim what it needs.
    NotClaimed,
    /// It holds wherever it ran.
    Held,
    /// It could not be decided, since something else failed before.
    Blocked,
    /// A SHOULD that does not hold.
    Warned,
    /// It does not hold, and the target's known failures say so.
    Known,
    /// It does not hold.
    Failed,
    /// The harness is at fault.
    Fault,
}

impl Outcome {
    /// Every outcome, from the best to what says nothing.
    pub(super) const ALL: [Self; 8] =
        [Self::Held, Self::Failed, Self::Known, Self::Warned, Self::Blocked, Self::NotClaimed, Self::LeftOut, Self::Fault];

    /// In a table.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::LeftOut => "left out",
            Self::NotClaimed => "not claimed",
            Self::Held => "holds",
            Self::Blocked => "blocked",
            Self::Warned => "warned",
            Self::Known => "known failure",
            Self::Failed => "fails",
            Self::Fault => "harness fault",
        }
    }

    /// As a name for styles and programs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LeftOut => "left-out",
            Self::NotClaimed => "not-claimed",
            Self::Held => "held",
            Self::Blocked => "blocked",
            Self::Warned => "warned",
            Self::Known => "known",
            Self::Failed => "failed",
            Self::Fault => "fault",
        }
    }

    /// Of a whole case.
    pub(super) fn of(finished: &CaseFinished) -> Self {
        match finished.verdict {
            Verdict::Pass => Self::Held,
            Verdict::Blocked => Self::Blocked,
            Verdict::HarnessFault => Self::Fault,
            _ if finished.known.is_some() => Self::Known,
            Verdict::Fail => Self::Failed,
            Verdict::Warn => Self::Warned,
        }
    }
}

/// The rule that does not hold, of a case that fails: what its finding says, and else its principal one.
pub(super) fn broken(finished: &CaseFinished) -> &str {
    let said = finished.finding.as_ref().map(|finding| finding.rule.as_str()).filter(|rule| !rule.is_empty());
    said.or(finished.rules.first().map(String::as_str)).unwrap_or_default()
}

/// A rule with the cases of a run that are about it.
#[derive(Debug, Default)]
pub(super) struct RuleTally {
    cases: BTreeMap<String, Outcome>,
}

impl RuleTally {
    fn add(&mut self, case: &str, outcome: Outcome) {
        let worst = self.cases.entry(case.to_owned()).or_insert(outcome);
        *worst = outcome.max(*worst);
    }

    /// How the rule came out: as the case that weighs most.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.cases.values().max().copied()
    }

    /// How many cases came out so.
    pub(super) fn count(&self, outcome: Outcome) -> usize {
        self.cases.values().filter(|one| **one == outcome).count()
    }

    /// How many cases are about it: the denominator.
    pub(super) fn total(&self) -> usize {
        self.cases.len()
    }
}

/// A run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// What `--target` said.
    pub(super) target: String,
    /// The harness's version.
    pub(super) harness: String,
    /// Which vectors ran.
    pub(super) suite: String,
    /// Who the target is.
    pub(super) description: Option<Description>,
    /// Where it ran.
    pub(super) configurations: Vec<PlannedConfiguration>,
    /// What it does not claim.
    pub(super) not_claimed: Vec<NotClaimed>,
    /// What else did not run.
    pub(super) left_out: Vec<LeftOut>,
    /// Cases of the selection.
    pub(super) selected: usize,
    /// What did not pass, told once for all configurations.
    pub(super) groups: Groups,
    /// What was seen where more than one thing is allowed.
    pub(super) choices: Choices,
    /// The end, once it has come.
    pub(super) ended: Option<Ended>,
    /// Every verdict, in order.
    pub(super) finished: Vec<CaseFinished>,
    /// The cases of the selection that run nowhere.
    pub(super) excluded: Vec<Excluded>,
    planned: Vec<PlannedCase>,
    cases: BTreeMap<String, Outcome>,
    rules: BTreeMap<String, RuleTally>,
}

impl Tally {
    /// Takes the next event.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { harness, suite, target, .. } => {
                (self.harness, self.suite, self.target) = (harness.clone(), suite.clone(), target.clone());
            }
            Event::Progress { .. } => {}
            Event::TargetDescribed { description } => self.description = Some(description.clone()),
            Event::Planned { configurations, not_claimed, cases, left_out, excluded, selected } => {
                self.configurations.clone_from(configurations);
                self.not_claimed.clone_from(not_claimed);
                self.left_out.clone_from(left_out);
                self.planned.clone_from(cases);
                self.excluded.clone_from(excluded);
                self.selected = *selected;
                for one in excluded {
                    let outcome = if one.is_claim { Outcome::NotClaimed } else { Outcome::LeftOut };
                    for rule in &one.rules {
                        self.rules.entry(rule.clone()).or_default().add(&one.case, outcome);
                    }
                }
            }
            Event::CaseFinished(finished) => self.finished(finished),
            Event::RunFinished { stale_known, exit, duration_ms, .. } => {
                self.ended = Some(Ended { stale: stale_known.clone(), exit: *exit, duration_ms: *duration_ms });
            }
        }
    }

    fn finished(&mut self, finished: &CaseFinished) {
        let outcome = Outcome::of(finished);
        let guilty = broken(finished);
        let is_guilt = matches!(outcome, Outcome::Failed | Outcome::Known | Outcome::Warned);
        for rule in finished.rules.iter().map(String::as_str).chain(Some(guilty).filter(|rule| is_guilt && !rule.is_empty())) {
            let outcome = if is_guilt && guilty != rule { Outcome::Blocked } else { outcome };
            self.rules.entry(rule.to_owned()).or_default().add(&finished.case, outcome);
        }
        let worst = self.cases.entry(finished.case.clone()).or_insert(outcome);
        *worst = outcome.max(*worst);
        self.groups.add(finished);
        self.choices.add(finished);
        self.finished.push(finished.clone());
    }

    /// What is known of a rule; nothing if no case of the run is about it.
    pub(super) fn rule(&self, id: &str) -> Option<&RuleTally> {
        self.rules.get(id)
    }

    /// The rules of the book that nobody scores left away, chapter by chapter, in the order of the book.
    pub(super) fn chapters() -> Vec<(&'static str, Vec<&'static Rule>)> {
        let mut chapters: Vec<(&str, Vec<&Rule>)> = Vec::new();
        for rule in duplex_spec::registry().iter().filter(|rule| !rule.id.starts_with("api.")) {
            match chapters.last_mut().filter(|(chapter, _)| *chapter == rule.chapter) {
                Some((_, rules)) => rules.push(rule),
                None => chapters.push((&rule.chapter, vec![rule])),
            }
        }
        chapters
    }

    /// How many of these rules came out so.
    pub(super) fn count(&self, rules: &[&Rule], outcome: Outcome) -> usize {
        rules.iter().filter(|rule| self.rule(&rule.id).and_then(RuleTally::outcome) == Some(outcome)).count()
    }

    /// How many of these rules no case of the run is about.
    pub(super) fn without_case(&self, rules: &[&Rule]) -> usize {
        rules.iter().filter(|rule| self.rule(&rule.id).is_none()).count()
    }

    /// Every rule of the book that somebody scores.
    pub(super) fn all_rules() -> Vec<&'static Rule> {
        Self::chapters().into_iter().flat_map(|(_, rules)| rules).collect()
    }

    /// How many planned cases, standing checks and probes came out so.
    pub(super) fn cases(&self, outcome: Outcome) -> usize {
        self.cases.values().filter(|one| **one == outcome).count()
    }

    /// Each profile with how many of its planned cases hold wherever they ran, and how many there are.
    pub(super) fn profiles(&self) -> Vec<(&'static str, usize, usize)> {
        let mut all: BTreeMap<_, (usize, usize)> = BTreeMap::new();
        for case in &self.planned {
            let (hold, total) = all.entry(case.profile).or_default();
            *total += 1;
            *hold += usize::from(self.cases.get(&case.case) == Some(&Outcome::Held));
        }
        all.into_iter().map(|(profile, (hold, total))| (profile_name(profile), hold, total)).collect()
    }

    /// Each configuration with how many of its cases passed, and how many there are.
    pub(super) fn passed(&self) -> Vec<(&PlannedConfiguration, usize)> {
        let passed = |planned: &PlannedConfiguration| {
            let here = |one: &&CaseFinished| one.configuration == Some(planned.configuration) && one.is_planned();
            self.finished.iter().filter(here).filter(|one| one.verdict == Verdict::Pass).count()
        };
        self.configurations.iter().map(|planned| (planned, passed(planned))).collect()
    }

    /// Name and version of the implementation, or what `--target` said.
    pub(super) fn name(&self) -> String {
        let named =
            |one: &Description| one.version.as_ref().map_or(one.name.clone(), |version| format!("{} {version}", one.name));
        self.description.as_ref().map_or_else(|| self.target.clone(), named)
    }

    /// The run in one sentence, and whether it held.
    pub(super) fn sentence(&self) -> (String, bool) {
        let Some(ended) = &self.ended else { return ("The run did not come to its end.".to_owned(), false) };
        let failing: BTreeSet<&str> =
            self.groups.with(Verdict::Fail, false).iter().map(|group| group.first.case.as_str()).collect();
        let of = |outcome| self.finished.iter().filter(|one| Outcome::of(one) == outcome).count();
        let sentence = conclusion(ended, failing.len(), of(Outcome::Known), of(Outcome::Warned));
        (sentence, ended.exit == crate::exit::HELD)
    }
}

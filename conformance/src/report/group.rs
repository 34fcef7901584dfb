//! The same failure of one case in many configurations, told once.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{CaseFinished, Configuration, FindingKind, Verdict};

/// A case that does not pass, with every configuration in which it went the same way.
#[derive(Debug)]
pub(super) struct Group {
    /// The first of them, which is shown.
    pub(super) first: CaseFinished,
    /// Where it happened. Contract probes have no configuration.
    pub(super) at: Vec<Configuration>,
}

/// Collects cases and groups the ones that do not pass.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Vec<Group>,
    by_key: BTreeMap<Key, usize>,
    ran: BTreeMap<String, BTreeSet<Configuration>>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    case: String,
    schedule: Option<String>,
    verdict: Verdict,
    known: Option<String>,
    finding: Option<(FindingKind, String)>,
}

impl Groups {
    pub(super) fn add(&mut self, finished: &CaseFinished) {
        self.ran.entry(finished.case.clone()).or_default().extend(finished.configuration);
        if finished.verdict == Verdict::Pass {
            return;
        }
        let key = Key {
            case: finished.case.clone(),
            verdict: finished.verdict,
            known: finished.known.clone(),
            schedule: finished.schedule.clone(),
            finding: finished.finding.as_ref().map(|finding| (finding.kind, finding.rule.clone())),
        };
        let index = *self.by_key.entry(key).or_insert(self.groups.len());
        match self.groups.get_mut(index) {
            Some(group) => group.at.extend(finished.configuration),
            None => self.groups.push(Group { first: finished.clone(), at: finished.configuration.into_iter().collect() }),
        }
    }

    /// Groups with this verdict, known failures or the others, in the order in which they came.
    pub(super) fn with(&self, verdict: Verdict, is_known: bool) -> Vec<&Group> {
        self.groups.iter().filter(|group| group.first.verdict == verdict && group.first.known.is_some() == is_known).collect()
    }

    /// Everything that does not hold, known or not, warnings among it.
    pub(super) fn failed(&self) -> Vec<&Group> {
        self.groups.iter().filter(|group| matches!(group.first.verdict, Verdict::Fail | Verdict::Warn)).collect()
    }

    /// Known failures, warnings among them.
    pub(super) fn known(&self) -> Vec<&Group> {
        self.groups.iter().filter(|group| group.first.known.is_some()).collect()
    }

    /// Where a group happened, in few words: `in all 12 configurations`, `in 6 of 12 configurations: tcp`.
    pub(super) fn places(&self, group: &Group) -> String {
        let Some(ran) = self.ran.get(&group.first.case).filter(|ran| !ran.is_empty()) else {
            return "before the first session".to_owned();
        };
        let at: BTreeSet<Configuration> = group.at.iter().copied().collect();
        match (at.len(), ran.len()) {
            (1, 1) => format!("in {}", group.at[0]),
            (failing, all) if failing == all => format!("in {all} of {all} configurations"),
            (1, all) => format!("in 1 of {all} configurations: {}", group.at[0]),
            (failing, all) => format!("in {failing} of {all} configurations: {}", narrowed(&at, ran)),
        }
    }
}

/// The values that tell the failing configurations from the others, if they do so alone; else a list.
fn narrowed(at: &BTreeSet<Configuration>, ran: &BTreeSet<Configuration>) -> String {
    let words = |configuration: &Configuration| -> [&'static str; 4] {
        let Configuration { transport, role, framing, codec } = configuration;
        [transport.as_str(), role.as_str(), framing.as_str(), codec.as_str()]
    };
    let shared: Vec<&str> = (0..4)
        .filter_map(|axis| {
            let values: BTreeSet<&str> = at.iter().map(|configuration| words(configuration)[axis]).collect();
            let all: BTreeSet<&str> = ran.iter().map(|configuration| words(configuration)[axis]).collect();
            values.first().copied().filter(|_| values.len() == 1 && all.len() > 1)
        })
        .collect();
    let explained = ran.iter().filter(|configuration| shared.iter().all(|word| words(configuration).contains(word))).count();
    if !shared.is_empty() && explained == at.len() {
        return format!("all that are {}", shared.join(" "));
    }
    let mut list: Vec<String> = at.iter().take(3).map(ToString::to_string).collect();
    if at.len() > list.len() {
        list.push(format!("{} more", at.len() - list.len()));
    }
    list.join(", ")
}

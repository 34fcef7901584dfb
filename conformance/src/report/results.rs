//! A run in JSON, small and with nothing in it that differs between two runs of the same: what the book lays side by side.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::report::tally::{Outcome, Tally, broken};

/// The version of the form.
const FORMAT: u32 = 1;

#[derive(Serialize)]
struct Results<'a> {
    format: u32,
    target: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
    harness: &'a str,
    suite: &'a str,
    selected: usize,
    configurations: Vec<String>,
    profiles: BTreeMap<&'static str, Held>,
    not_claimed: Vec<NotClaimed<'a>>,
    rules: BTreeMap<&'a str, BTreeMap<&'static str, usize>>,
    failures: Vec<Failure<'a>>,
}

#[derive(Serialize)]
struct Held {
    held: usize,
    cases: usize,
}

#[derive(Serialize)]
struct NotClaimed<'a> {
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    cases: usize,
}

/// Cases that broke a rule in one way. Why is what the target's known failures say, and else what was seen.
#[derive(Serialize)]
struct Failure<'a> {
    rule: &'a str,
    outcome: &'static str,
    why: &'a str,
    cases: BTreeSet<&'a str>,
}

/// The run as one JSON object.
pub(super) fn render(tally: &Tally) -> String {
    let about = tally.description.as_ref();
    let mut rules = BTreeMap::new();
    for rule in Tally::all_rules() {
        let Some(of_rule) = tally.rule(&rule.id) else { continue };
        let counts = Outcome::ALL.into_iter().map(|outcome| (outcome.name(), of_rule.count(outcome)));
        rules.insert(rule.id.as_str(), counts.filter(|(_, count)| *count > 0).collect());
    }
    let results = Results {
        format: FORMAT,
        target: &tally.target,
        name: about.map_or(&tally.target, |about| &about.name),
        version: about.and_then(|about| about.version.as_deref()),
        language: about.and_then(|about| about.language.as_deref()),
        homepage: about.and_then(|about| about.homepage.as_deref()),
        harness: &tally.harness,
        suite: &tally.suite,
        selected: tally.selected,
        configurations: tally.configurations.iter().map(|one| one.configuration.to_string()).collect(),
        profiles: tally.profiles().into_iter().map(|(name, held, cases)| (name, Held { held, cases })).collect(),
        not_claimed: tally
            .not_claimed
            .iter()
            .map(|one| NotClaimed { what: &one.what, reason: one.reason.as_deref(), cases: one.cases })
            .collect(),
        rules,
        failures: failures(tally),
    };
    let text = serde_json::to_string_pretty(&results).expect("invariant: counts and texts are JSON");
    format!("{text}\n")
}

fn failures(tally: &Tally) -> Vec<Failure<'_>> {
    let mut all: BTreeMap<(&str, &'static str, &str), BTreeSet<&str>> = BTreeMap::new();
    for group in tally.groups.failed() {
        let case = &group.first;
        let seen = case.finding.as_ref().map_or("", |finding| finding.summary.as_str());
        let why = case.known.as_deref().unwrap_or(seen);
        all.entry((broken(case), Outcome::of(case).name(), why)).or_default().insert(&case.case);
    }
    all.into_iter().map(|((rule, outcome, why), cases)| Failure { rule, outcome, why, cases }).collect()
}

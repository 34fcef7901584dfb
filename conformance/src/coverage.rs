//! Coverage of the book: which checks decide each rule, and which mutants prove those checks. Pure: nothing runs.
//!
//! A check is a session, a message that a session can carry to a peer, a standing check of every frame, or a probe of the
//! target contract. `api` rules are advice to libraries: nobody scores them.

use std::collections::{BTreeMap, BTreeSet};

use duplex_spec::{Level, Registry};
use serde::Serialize;

use crate::mutant::Mutant;
use crate::plan::Case;
use crate::{contract, observe};

/// What covers the book.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// Every rule, in the order of the book.
    pub rules: Vec<Covered>,
    /// What must not be.
    pub faults: Vec<Fault>,
}

/// A rule with what covers it.
#[derive(Clone, Debug, Serialize)]
pub struct Covered {
    /// Its id.
    pub rule: String,
    /// How binding it is.
    pub level: Level,
    /// Where it stands.
    pub chapter: String,
    /// Why no check can decide it, where none can.
    pub untestable: Option<String>,
    /// Sessions.
    pub sessions: Vec<String>,
    /// Message vectors that a session can carry.
    pub messages: Vec<String>,
    /// Standing checks.
    pub observers: Vec<String>,
    /// Probes of the target contract.
    pub probes: Vec<String>,
    /// Mutants.
    pub mutants: Vec<String>,
}

impl Covered {
    /// How many checks decide it.
    #[must_use]
    pub fn checks(&self) -> usize {
        self.sessions.len() + self.messages.len() + self.observers.len() + self.probes.len()
    }

    /// Whether it is advice that nobody scores.
    #[must_use]
    pub fn is_advice(&self) -> bool {
        self.rule.starts_with("api.")
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.sessions.iter().chain(&self.messages).chain(&self.observers).chain(&self.probes)
    }
}

/// What must not be.
#[derive(Clone, Debug, Serialize, PartialEq, Eq, thiserror::Error)]
#[serde(rename_all = "kebab-case", tag = "fault")]
pub enum Fault {
    /// A MUST or a SHOULD that nothing decides.
    #[error("{level} {rule}: no check decides it, and {chapter} does not say that none can")]
    Uncovered {
        /// The rule.
        rule: String,
        /// Its level.
        level: Level,
        /// Where it stands.
        chapter: String,
    },
    /// Something cites a rule that the book does not have.
    #[error("{by} names the rule `{rule}`, which the book does not have")]
    NoSuchRule {
        /// What cites it.
        by: String,
        /// The id.
        rule: String,
    },
    /// The book says that no check can decide a rule, and one does.
    #[error("{rule}: the book calls it untestable, and {by} decides it")]
    Decided {
        /// The rule.
        rule: String,
        /// A check that decides it.
        by: String,
    },
    /// A rule that a check decides, and that no mutant breaks.
    #[error("{rule}: {by} decides it, and no mutant shows that it can fail")]
    Unproved {
        /// The rule.
        rule: String,
        /// A check that decides it.
        by: String,
    },
}

/// Puts rules, checks and mutants side by side.
#[must_use]
pub fn coverage(rules: &Registry, suite: &[Case], mutants: &[Mutant]) -> Coverage {
    let mut by_rule: BTreeMap<String, Checks> = BTreeMap::new();
    for case in suite {
        for rule in case.rules().iter().collect::<BTreeSet<_>>() {
            let checks = by_rule.entry(rule.clone()).or_default();
            match case {
                Case::Session(_) => checks.sessions.push(case.id()),
                Case::Message(_) => checks.messages.push(case.id()),
            }
        }
    }
    for rule in observe::rules() {
        by_rule.entry(rule.clone()).or_default().observers.push(format!("observe:{rule}"));
    }
    for (probe, rule) in contract::PROBES {
        by_rule.entry(rule.to_owned()).or_default().probes.push(probe.to_owned());
    }
    for mutant in mutants {
        by_rule.entry(mutant.rule.clone()).or_default().mutants.push(mutant.name());
    }
    let covered = rules.iter().map(|rule| {
        let checks = by_rule.remove(&rule.id).unwrap_or_default();
        Covered {
            rule: rule.id.clone(),
            level: rule.level,
            chapter: rule.chapter.clone(),
            untestable: rule.untestable.clone(),
            sessions: checks.sessions,
            messages: checks.messages,
            observers: checks.observers,
            probes: checks.probes,
            mutants: checks.mutants,
        }
    });
    let rules: Vec<Covered> = covered.collect();
    let mut faults: Vec<Fault> = rules.iter().filter_map(fault).collect();
    for (rule, checks) in by_rule {
        let names = [checks.sessions, checks.messages, checks.observers, checks.probes].concat();
        let mutants = checks.mutants.into_iter().map(|mutant| format!("the mutant {mutant}"));
        faults.extend(names.into_iter().chain(mutants).map(|by| Fault::NoSuchRule { by, rule: rule.clone() }));
    }
    Coverage { rules, faults }
}

#[derive(Default)]
struct Checks {
    sessions: Vec<String>,
    messages: Vec<String>,
    observers: Vec<String>,
    probes: Vec<String>,
    mutants: Vec<String>,
}

fn fault(covered: &Covered) -> Option<Fault> {
    let rule = covered.rule.clone();
    if covered.untestable.is_some() {
        return covered.names().next().map(|by| Fault::Decided { rule, by: by.clone() });
    }
    if covered.mutants.is_empty()
        && let Some(by) = covered.names().next()
    {
        return Some(Fault::Unproved { rule, by: by.clone() });
    }
    let is_owed = covered.level != Level::May && !covered.is_advice() && covered.checks() == 0;
    is_owed.then(|| Fault::Uncovered { rule, level: covered.level, chapter: covered.chapter.clone() })
}

#[cfg(test)]
mod tests {
    use duplex_spec::Rule;

    use super::*;

    #[test]
    fn what_must_not_be_is_found() {
        let rule = |id: &str, level, untestable: Option<&str>| Rule {
            id: id.to_owned(),
            level,
            text: "…".to_owned(),
            chapter: "c.md".to_owned(),
            anchor: String::new(),
            untestable: untestable.map(str::to_owned),
        };
        let rules = Registry::new(vec![
            rule("a.must", Level::Must, None),
            rule("a.may", Level::May, None),
            rule("a.hidden", Level::Must, Some("nobody sees it")),
            rule("api.advice", Level::Should, None),
            rule("call.id.unique", Level::Must, Some("but a standing check sees it")),
        ])
        .expect("rules");
        let mutants = Mutant::parse("b", "[[mutant]]\nrule = 'b.gone'\ntitle = 't'\nchange = [{ from = 'target', do = 'drop' }]");
        let faults = coverage(&rules, &[], &mutants.expect("parses")).faults;
        assert!(faults.contains(&Fault::Uncovered { rule: "a.must".into(), level: Level::Must, chapter: "c.md".into() }));
        assert!(faults.contains(&Fault::NoSuchRule { by: "the mutant b.gone".into(), rule: "b.gone".into() }));
        assert!(faults.contains(&Fault::Decided { rule: "call.id.unique".into(), by: "observe:call.id.unique".into() }));
        let about = |id: &str| faults.iter().filter(|fault| fault.to_string().contains(id)).count();
        assert_eq!((about("a.may"), about("a.hidden"), about("api.advice")), (0, 0, 0));
    }
}

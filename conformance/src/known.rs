//! Known failures: the file beside a target that says which cases fail and why, so that a run can hold in spite of them.
//!
//! An entry hides nothing. Its cases run like all others; what it buys is that they are told apart from new failures, and
//! it is an error as soon as nothing fails any more that it speaks of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use duplex_vectors::{Codec, Framing, Role, Transport};
use serde::Deserialize;

use crate::event::{CaseFinished, Configuration, Verdict};
use crate::select::{Selection, nearest};
use crate::toml_file::{self, TomlError};

/// The entries of one known-failures file, with what the run has shown of each.
#[derive(Debug, Default)]
pub struct KnownFailures {
    path: PathBuf,
    entries: Vec<Tally>,
}

/// One entry: which failures it knows, and why they are there.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The id of a case.
    case: Option<String>,
    /// The id of a rule: every case that decides it.
    rule: Option<String>,
    /// Only over this transport.
    transport: Option<Transport>,
    /// Only in this role.
    role: Option<Role>,
    /// Only in this framing.
    framing: Option<Framing>,
    /// Only in this codec.
    codec: Option<Codec>,
    /// Why it fails, for people.
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownFile {
    #[serde(default)]
    known: Vec<Entry>,
}

#[derive(Debug)]
struct Tally {
    entry: Entry,
    ran: usize,
    failed: usize,
}

impl KnownFailures {
    /// Reads the file; one that does not exist has no entries.
    pub fn read(path: &Path) -> Result<Self, KnownError> {
        if !path.exists() {
            return Ok(Self { path: path.to_path_buf(), entries: Vec::new() });
        }
        Self::new(path, toml_file::read::<KnownFile>(path)?.known)
    }

    /// Reads a file's text; `path` is where it stands.
    pub fn parse(path: &Path, text: &str) -> Result<Self, KnownError> {
        Self::new(path, toml_file::parse::<KnownFile>(path, text)?.known)
    }

    fn new(path: &Path, entries: Vec<Entry>) -> Result<Self, KnownError> {
        let mut seen = BTreeSet::new();
        for (index, entry) in entries.iter().enumerate() {
            let fault = |what: String| KnownError::Entry { path: path.to_path_buf(), number: index + 1, what };
            let id = match (&entry.case, &entry.rule) {
                (Some(id), None) | (None, Some(id)) => id,
                _ => return Err(fault("has to name either a `case` or a `rule`".to_owned())),
            };
            if id.contains(['*', '?']) {
                return Err(fault(format!("`{id}`: a pattern would hide new failures; name one case or one rule")));
            }
            if entry.reason.trim().is_empty() {
                return Err(fault(format!("`{id}` needs a `reason`")));
            }
            if !seen.insert(entry.place()) {
                return Err(fault(format!("`{id}` stands twice")));
            }
        }
        let entries = entries.into_iter().map(|entry| Tally { entry, ran: 0, failed: 0 }).collect();
        Ok(Self { path: path.to_path_buf(), entries })
    }

    /// Where the file stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a verdict into account, and gives it the reason if it is a known failure.
    pub fn judge(&mut self, finished: &mut CaseFinished) {
        if matches!(finished.verdict, Verdict::Blocked | Verdict::HarnessFault) {
            return;
        }
        let has_failed = finished.verdict != Verdict::Pass;
        let mut reason = None;
        for tally in self.entries.iter_mut().filter(|tally| tally.entry.speaks_of(finished)) {
            tally.ran += 1;
            tally.failed += usize::from(has_failed);
            reason = reason.or_else(|| has_failed.then(|| tally.entry.reason.clone()));
        }
        finished.known = reason;
    }

    /// Entries that have to go: what they speak of does not fail any more, or does not exist.
    ///
    /// An entry whose cases this selection may have left out is not judged.
    #[must_use]
    pub fn stale(&self, selection: &Selection, suite: &Suite) -> Vec<String> {
        self.entries.iter().filter_map(|tally| tally.stale(selection, suite)).collect()
    }

    /// The file's text after this run: entries that still hold keep their reason, stale ones go, and every failure that
    /// no entry knew gets one, with the finding's summary as its reason.
    #[must_use]
    pub fn blessed(&self, finished: &[CaseFinished], selection: &Selection, suite: &Suite) -> String {
        let kept = self.entries.iter().filter(|tally| tally.stale(selection, suite).is_none()).map(|tally| tally.entry.clone());
        let mut entries: Vec<Entry> = kept.collect();
        let mut by_case: BTreeMap<&str, (Vec<&CaseFinished>, Vec<Configuration>)> = BTreeMap::new();
        for one in finished {
            let (failing, passing) = by_case.entry(&one.case).or_default();
            match one.verdict {
                Verdict::Fail if one.known.is_none() => failing.push(one),
                Verdict::Pass => passing.extend(one.configuration),
                _ => {}
            }
        }
        for (case, (failing, passing)) in by_case {
            if let Some(first) = failing.first() {
                let reason = first.finding.as_ref().map_or_else(|| first.title.clone(), |finding| finding.summary.clone());
                let failing: Vec<Configuration> = failing.iter().filter_map(|one| one.configuration).collect();
                entries.push(Entry::narrowed(case, &failing, &passing, reason));
            }
        }
        entries.sort();
        let mut text = String::from(
            "# Failures that are known, with the reason. They still run; an entry that no longer fails is an error.\n\
             # `--bless` adds and removes entries and keeps reasons: edit those.\n",
        );
        for entry in &entries {
            entry.write(&mut text);
        }
        text
    }
}

impl Tally {
    fn stale(&self, selection: &Selection, suite: &Suite) -> Option<String> {
        let entry = &self.entry;
        let what = entry.place();
        if let Some(near) = suite.misses(entry) {
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Some(format!("{what}: the suite has no such {}{near}", entry.kind()));
        }
        // What a rule entry or a standing check speaks of may lie in the cases that a narrowed run leaves out.
        let spans_cases = entry.case.as_ref().is_none_or(|case| case.starts_with("observe:"));
        let is_judged = !(spans_cases && selection.narrows_cases()) && entry.covers_axes_of(selection);
        (is_judged && self.ran > 0 && self.failed == 0).then(|| format!("{what}: holds now in all {} runs of it", self.ran))
    }
}

impl Entry {
    fn speaks_of(&self, finished: &CaseFinished) -> bool {
        let is_named = self.case.as_ref().is_some_and(|case| *case == finished.case)
            || self.rule.as_ref().is_some_and(|rule| {
                finished.finding.as_ref().is_some_and(|finding| finding.rule == *rule) || finished.rules.contains(rule)
            });
        let Some(at) = finished.configuration else {
            return is_named && self.transport.is_none() && self.role.is_none() && self.framing.is_none() && self.codec.is_none();
        };
        is_named
            && self.transport.is_none_or(|wanted| wanted == at.transport)
            && self.role.is_none_or(|wanted| wanted == at.role)
            && self.framing.is_none_or(|wanted| wanted == at.framing)
            && self.codec.is_none_or(|wanted| wanted == at.codec)
    }

    /// Whether a run that was narrowed like this has seen all that the entry speaks of.
    fn covers_axes_of(&self, selection: &Selection) -> bool {
        (selection.transports.is_empty() || self.transport.is_some())
            && (selection.roles.is_empty() || self.role.is_some())
            && (selection.framings.is_empty() || self.framing.is_some())
            && (selection.codecs.is_empty() || self.codec.is_some())
    }

    /// An entry for a case, narrowed to one value of an axis if that tells the failing configurations from the others.
    fn narrowed(case: &str, failing: &[Configuration], passing: &[Configuration], reason: String) -> Self {
        let mut entry =
            Self { case: Some(case.to_owned()), rule: None, transport: None, role: None, framing: None, codec: None, reason };
        if passing.is_empty() {
            return entry;
        }
        entry.transport = telling(failing, passing, |at| at.transport);
        if entry.transport.is_none() {
            entry.role = telling(failing, passing, |at| at.role);
        }
        if entry.transport.is_none() && entry.role.is_none() {
            entry.framing = telling(failing, passing, |at| at.framing);
        }
        if entry.transport.is_none() && entry.role.is_none() && entry.framing.is_none() {
            entry.codec = telling(failing, passing, |at| at.codec);
        }
        entry
    }

    fn kind(&self) -> &'static str {
        if self.case.is_some() { "case" } else { "rule" }
    }

    fn id(&self) -> &str {
        self.case.as_deref().or(self.rule.as_deref()).unwrap_or_default()
    }

    /// What the entry is about: `case call.echo (transport stdio)`.
    fn place(&self) -> String {
        let narrow: Vec<String> = self.narrowing().into_iter().map(|(key, value)| format!("{key} {value}")).collect();
        let narrow = if narrow.is_empty() { String::new() } else { format!(" ({})", narrow.join(", ")) };
        format!("{} {}{narrow}", self.kind(), self.id())
    }

    fn narrowing(&self) -> Vec<(&'static str, &'static str)> {
        let axes = [
            ("transport", self.transport.map(Transport::as_str)),
            ("role", self.role.map(Role::as_str)),
            ("framing", self.framing.map(Framing::as_str)),
            ("codec", self.codec.map(Codec::as_str)),
        ];
        axes.into_iter().filter_map(|(key, value)| value.map(|value| (key, value))).collect()
    }

    fn write(&self, text: &mut String) {
        text.push_str("\n[[known]]\n");
        let narrowing = self.narrowing();
        for (key, value) in [(self.kind(), self.id())].into_iter().chain(narrowing).chain([("reason", self.reason.as_str())]) {
            writeln!(text, "{key} = {}", toml::Value::from(value)).expect("invariant: writing to a string cannot fail");
        }
    }
}

/// The value that all failing configurations share and no passing one has.
fn telling<T: PartialEq + Copy>(
    failing: &[Configuration],
    passing: &[Configuration],
    axis: impl Fn(&Configuration) -> T,
) -> Option<T> {
    let first = axis(failing.first()?);
    (failing.iter().all(|at| axis(at) == first) && passing.iter().all(|at| axis(at) != first)).then_some(first)
}

/// The ids that entries can name.
#[derive(Clone, Debug, Default)]
pub struct Suite {
    /// Ids of cases: sessions, and messages as `message:<id>`.
    pub cases: BTreeSet<String>,
    /// Ids of rules.
    pub rules: BTreeSet<String>,
}

impl Suite {
    /// The nearest id, if any, for an entry that names none of the suite's.
    fn misses(&self, entry: &Entry) -> Option<Option<String>> {
        let (ids, id) = match (&entry.case, &entry.rule) {
            (Some(case), _) => (&self.cases, case),
            (None, Some(rule)) => (&self.rules, rule),
            (None, None) => return None,
        };
        let standing = entry.case.is_some().then(|| id.split_once(':')).flatten();
        let exists = match standing {
            Some(("observe", rule)) => self.rules.contains(rule),
            Some(("target", _)) => true,
            _ => ids.contains(id),
        };
        (!exists).then(|| nearest(id, ids.iter().map(String::as_str), 1).first().map(|&near| near.to_owned()))
    }
}

/// Why a known-failures file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum KnownError {
    /// The file cannot be read, or is no TOML of this form.
    #[error(transparent)]
    File(#[from] TomlError),
    /// An entry is wrong.
    #[error("{path}: entry {number} {what}", path = path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        number: usize,
        /// What is wrong.
        what: String,
    },
}

#[cfg(test)]
mod tests;

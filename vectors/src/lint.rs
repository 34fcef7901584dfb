//! What is wrong with vectors that load: claims that contradict each other, names that lead nowhere, faults that are two.
//!
//! Whether a file has the right shape is its JSON Schema's question, and whether its bytes mean what it says is answered by
//! `confirm.py` with encoders that are not ours.

mod endings;
mod forms;
mod messages;
mod refusals;
mod sessions;

use std::collections::BTreeSet;
use std::fmt;

use crate::corpus::Corpus;

pub use endings::unshown;

/// One thing that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The file's path below the folder of the vectors.
    pub file: String,
    /// Where in it: `steps[2].send.id`.
    pub field: String,
    /// What is wrong, and what to do.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`: {}", self.file, self.field, self.what)
    }
}

/// Every problem of every vector, ordered by file.
#[must_use]
pub fn lint(corpus: &Corpus) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen = Seen::default();
    for vector in corpus.messages() {
        let mut file = File::new("messages", &vector.id, &mut problems);
        file.head(&vector.id, &vector.title, &vector.rules, &mut seen);
        file.schema(vector.schema.as_deref(), "message-vector");
        messages::lint(vector, corpus, &mut file);
    }
    let mut seen = Seen::default();
    for session in corpus.sessions() {
        let mut file = File::new("sessions", &session.id, &mut problems);
        file.head(&session.id, &session.title, &session.rules, &mut seen);
        file.schema(session.schema.as_deref(), "session");
        sessions::lint(session, corpus, &mut file);
        refusals::lint(session, corpus, &mut file);
        endings::lint(session, &mut file);
    }
    problems.sort();
    problems
}

/// What no two vectors of one kind may share.
#[derive(Default)]
struct Seen<'a> {
    ids: BTreeSet<&'a str>,
    titles: BTreeSet<&'a str>,
}

/// The file that is looked at, and where its problems go.
struct File<'a> {
    path: String,
    problems: &'a mut Vec<Problem>,
}

impl<'a> File<'a> {
    fn new(kind: &str, id: &str, problems: &'a mut Vec<Problem>) -> Self {
        let path = match id.split_once('.') {
            Some((area, name)) => format!("{kind}/{area}/{name}.json"),
            None => format!("{kind}/{id}.json"),
        };
        Self { path, problems }
    }

    fn problem(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem { file: self.path.clone(), field: field.into(), what: what.into() });
    }

    fn head<'v>(&mut self, id: &'v str, title: &'v str, rules: &[String], seen: &mut Seen<'v>) {
        if !id.contains('.') || id.split('.').any(|word| !is_word(word)) {
            self.problem("id", format!("`{id}` is not an area and a name in lower-case words, digits, dashes and dots"));
        }
        if !seen.ids.insert(id) {
            self.problem("id", format!("another vector is called `{id}` too"));
        }
        self.title(title, seen);
        if rules.is_empty() {
            self.problem("rules", "a vector decides at least one rule");
        }
        for (index, rule) in rules.iter().enumerate() {
            if duplex_spec::registry().rule(rule).is_none() {
                self.problem(format!("rules[{index}]"), format!("no chapter has the rule `{rule}`"));
            }
            if rules[..index].contains(rule) {
                self.problem(format!("rules[{index}]"), format!("`{rule}` stands there already"));
            }
        }
    }

    fn title<'v>(&mut self, title: &'v str, seen: &mut Seen<'v>) {
        if title.trim().is_empty() || title.trim() != title {
            self.problem("title", "a title is a sentence without space around it");
        }
        if title.ends_with('.') {
            self.problem("title", "a title has no full stop at its end");
        }
        let banned = ["should", "shall", "must", "will", "would"];
        let words = || title.split(|c: char| !c.is_alphanumeric());
        if let Some(word) = words().map(str::to_lowercase).find(|word| banned.contains(&word.as_str())) {
            self.problem("title", format!("a title says what is, in the present tense, without `{word}`"));
        }
        if !seen.titles.insert(title) {
            self.problem("title", format!("another vector has the title `{title}` too"));
        }
    }

    fn schema(&mut self, schema: Option<&str>, name: &str) {
        let expected = format!("../../schema/{name}.schema.json");
        if schema != Some(&expected) {
            self.problem("$schema", format!("a vector names its schema, for editors: `{expected}`"));
        }
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty()
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_')
        && !word.starts_with(['-', '_'])
}

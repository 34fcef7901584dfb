//! The page of coverage: each rule beside the checks that decide it and the mutants that prove those checks.
//!
//! All of it is read as data, from vectors, schemas and the files of mutants; nothing runs. Two things the harness keeps in
//! code: the probes of a target, one for each rule `target.…`, and [`BESIDE_SCHEMAS`]. The test `coverage` of the target
//! `reference` holds both against the harness.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use duplex_spec::rule::Rule;
use serde::Deserialize;
use serde_json::Value;

use crate::BookError;
use crate::prepare::{Sources, count, relative, rule_link};

/// The chapter that shows it.
pub(crate) const PAGE: &str = "conformance/coverage.md";
/// What the harness holds every frame against.
const SCHEMAS: [&str; 2] = ["spec/schemas/message.emit.schema.json", "spec/schemas/message.emit.should.schema.json"];
/// Rules that every frame is held against although no schema of one message can say them.
const BESIDE_SCHEMAS: [&str; 2] = ["call.id.unique", "message.more.false.args"];
/// The area of rules that probes of a target decide.
const PROBED: &str = "target.";

/// Faults that prove checks, by the rule that they break.
#[derive(Debug, Default)]
pub(crate) struct Mutants(BTreeMap<String, Vec<String>>);

/// A file of mutants, as far as the book shows it.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
struct Mutant {
    rule: String,
    title: String,
}

impl Mutants {
    /// Reads `conformance/mutants`; a repository without it has none.
    pub(crate) fn load(root: &Path) -> Result<Self, BookError> {
        let folder = root.join("conformance/mutants");
        let mut all = Self::default();
        if !folder.exists() {
            return Ok(all);
        }
        let io = |source| BookError::Io { path: folder.clone(), source };
        let mut paths = fs::read_dir(&folder)
            .map_err(io)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(io)?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        paths.sort();
        for path in paths {
            let text = fs::read_to_string(&path).map_err(|source| BookError::Io { path: path.clone(), source })?;
            let file: File = toml::from_str(&text).map_err(|error| BookError::Mutants { path, what: error.to_string() })?;
            for Mutant { rule, title } in file.mutant {
                all.0.entry(rule).or_default().push(title);
            }
        }
        Ok(all)
    }

    /// What peers do that break this rule.
    pub(crate) fn of(&self, rule: &str) -> &[String] {
        self.0.get(rule).map_or(&[], Vec::as_slice)
    }

    /// Every rule that one is for.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The rules that every frame of a target is held against.
pub(crate) fn framed(root: &Path) -> Result<BTreeSet<String>, BookError> {
    let mut rules: BTreeSet<String> = BTreeSet::new();
    for path in SCHEMAS.map(|path| root.join(path)).into_iter().filter(|path| path.exists()) {
        let text = fs::read_to_string(&path).map_err(|source| BookError::Io { path: path.clone(), source })?;
        let schema = serde_json::from_str(&text).map_err(|error| BookError::Schema { path, what: error.to_string() })?;
        collect(&schema, &mut rules);
        rules.extend(BESIDE_SCHEMAS.map(str::to_owned));
    }
    Ok(rules)
}

fn collect(schema: &Value, rules: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            rules.extend(members.get("x-rule").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|inner| collect(inner, rules));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, rules)),
        _ => {}
    }
}

/// What covers a rule.
struct Covered<'a> {
    rule: &'a Rule,
    profiles: BTreeSet<&'static str>,
    sessions: usize,
    messages: usize,
    for_codecs: usize,
    frames: bool,
    probes: bool,
    mutants: usize,
}

impl<'a> Covered<'a> {
    fn of(rule: &'a Rule, sources: &Sources<'_>) -> Self {
        let cites = |rules: &[String]| rules.contains(&rule.id);
        let sessions: Vec<_> = sources.corpus.sessions().iter().filter(|session| cites(&session.rules)).collect();
        let messages: Vec<_> = sources.corpus.messages().iter().filter(|message| cites(&message.rules)).collect();
        Self {
            rule,
            profiles: sessions.iter().map(|session| profile(session.profile)).collect(),
            sessions: sessions.len(),
            messages: messages.iter().filter(|message| message.is_carried()).count(),
            for_codecs: messages.iter().filter(|message| !message.is_carried()).count(),
            frames: sources.framed.contains(&rule.id),
            probes: rule.id.starts_with(PROBED),
            mutants: sources.mutants.of(&rule.id).len(),
        }
    }

    fn is_decided(&self) -> bool {
        self.sessions + self.messages > 0 || self.frames || self.probes
    }

    fn row(&self, path: &str, sources: &Sources<'_>) -> String {
        let Rule { id, level, untestable, .. } = self.rule;
        let link = rule_link(path, id, sources).unwrap_or_default();
        let to = |count: usize| match count {
            0 => String::new(),
            _ => format!("[{count}]({}#r-{id})", relative(path, &self.rule.chapter)),
        };
        let standing = if self.frames { "frames" } else { "" };
        let standing = if self.probes { "probe" } else { standing };
        let profiles = match untestable {
            Some(_) => "*untestable*".to_owned(),
            None => self.profiles.iter().copied().collect::<Vec<_>>().join(", "),
        };
        format!(
            "| <a id=\"c-{id}\"></a>{link} | {level} | {profiles} | {} | {} | {} | {standing} | {} |\n",
            to(self.sessions),
            to(self.messages),
            to(self.for_codecs),
            to(self.mutants),
        )
    }
}

fn profile(profile: duplex_vectors::Profile) -> &'static str {
    use duplex_vectors::Profile::{
        Authentication, Callbacks, Caller, Core, Deadline, Inspect, Middleware, Policy, Streaming, Tracing, Transactions,
    };
    match profile {
        Core => "core",
        Caller => "caller",
        Streaming => "streaming",
        Callbacks => "callbacks",
        Middleware => "middleware",
        Inspect => "inspect",
        Tracing => "tracing",
        Authentication => "authentication",
        Policy => "policy",
        Deadline => "deadline",
        Transactions => "transactions",
    }
}

/// How many rules of each level are decided and proved, and then a table for each chapter.
pub(crate) fn markdown(path: &str, sources: &Sources<'_>) -> String {
    let all: Vec<Covered<'_>> = sources.registry.iter().map(|rule| Covered::of(rule, sources)).collect();
    let mut out = String::from("| level | rules | decided | untestable | with a mutant |\n|---|---|---|---|---|\n");
    for level in ["MUST", "SHOULD", "MAY"] {
        let of_level = || all.iter().filter(|one| one.rule.level.to_string() == level);
        let untestable = of_level().filter(|one| one.rule.untestable.is_some()).count();
        let (decided, proved) =
            (of_level().filter(|one| one.is_decided()).count(), of_level().filter(|one| one.mutants > 0).count());
        let _ = writeln!(out, "| `{level}` | {} | {decided} | {untestable} | {proved} |", of_level().count());
    }
    let messages = sources.corpus.messages();
    let carried = messages.iter().filter(|message| message.is_carried()).count();
    let _ = write!(
        out,
        "\nOf {}, a session can carry {carried} to a peer; the other {} are for codecs alone and decide nothing here.\n",
        count(messages.len(), "message vector"),
        messages.len() - carried,
    );
    out.push_str("\n<div class=\"coverage\">\n");
    let mut chapter = "";
    for one in &all {
        if one.rule.chapter != chapter {
            chapter = &one.rule.chapter;
            let title = sources.chapters.get(chapter).map_or(chapter, String::as_str);
            let _ = write!(out, "\n## {title}\n\n");
            out.push_str(
                "| rule | level | profile | sessions | messages | codecs | standing | mutants |\n|---|---|---|--:|--:|--:|---|--:|\n",
            );
        }
        out.push_str(&one.row(path, sources));
    }
    out.push_str("\n</div>\n");
    out
}

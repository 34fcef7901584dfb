//! The run as one page for a browser: nothing is loaded beside it, and without scripts it shows everything.
//!
//! First what the run means, then what does not hold with its dialogue, then every rule of the book, chapter by chapter, with
//! how many of its cases came out how, and of how many.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use crate::event::{By, CaseFinished, Exchange, Finding, NotClaimed, Verdict};
use crate::report::choices::Choice;
use crate::report::failure::{replay, shown};
use crate::report::group::Group;
use crate::report::human::Options;
use crate::report::layout::{counted, duration, printable};
use crate::report::tally::{Outcome, Tally, broken};

/// Exchanges before the divergence.
const EXCHANGES_BEFORE: usize = 12;
/// Characters of a frame's text.
const TEXT_SHOWN: usize = 2000;
/// Bytes of a frame.
const BYTES_SHOWN: usize = 256;

#[derive(Template)]
#[template(path = "report.html")]
struct Page<'a> {
    name: String,
    language: Option<&'a str>,
    homepage: Option<&'a str>,
    issues: Option<&'a str>,
    sentence: String,
    held: bool,
    facts: Vec<(&'static str, String)>,
    counts: Vec<Count>,
    all_rules: usize,
    without_case: usize,
    configurations: Vec<(String, usize, usize)>,
    profiles: Vec<(&'static str, usize, usize)>,
    not_claimed: &'a [NotClaimed],
    left_out: Vec<(String, usize)>,
    selected: usize,
    sections: Vec<Section>,
    blocked: Vec<(String, Vec<String>)>,
    choices: Vec<Choice>,
    stale: &'a [String],
    chapters: Vec<Chapter>,
}

/// How many rules came out so.
struct Count {
    outcome: Outcome,
    rules: usize,
}

/// Failures of one kind.
struct Section {
    id: &'static str,
    title: String,
    is_folded: bool,
    failures: Vec<Failure>,
}

/// A failure, told in full.
struct Failure {
    id: String,
    case: String,
    title: String,
    places: String,
    outcome: Outcome,
    rule: String,
    link: Option<String>,
    text: Vec<Piece>,
    known: Option<String>,
    fields: Vec<(&'static str, String)>,
    before: usize,
    exchanges: Vec<Line>,
    after: usize,
    is_silent: bool,
    stderr: String,
    replay: String,
}

/// One exchange.
struct Line {
    class: &'static str,
    who: &'static str,
    on: String,
    text: String,
    bytes: String,
    diverges: bool,
}

/// The rules of one chapter.
struct Chapter {
    id: String,
    title: String,
    held: usize,
    total: usize,
    counts: Vec<Count>,
    open: bool,
    rows: Vec<Row>,
}

/// A rule.
struct Row {
    id: &'static str,
    level: String,
    link: String,
    text: Vec<Piece>,
    outcome: Option<Outcome>,
    untestable: Option<&'static str>,
    counts: Vec<(Outcome, usize)>,
    total: usize,
    failures: Vec<(String, String)>,
}

impl Row {
    fn class(&self) -> &'static str {
        self.outcome.map_or("none", Outcome::name)
    }

    fn word(&self) -> &'static str {
        match self.outcome {
            Some(outcome) => outcome.word(),
            None if self.untestable.is_some() => "untestable",
            None => "no case",
        }
    }
}

/// A piece of a sentence of the book.
struct Piece {
    text: String,
    is_code: bool,
}

/// The page.
pub(super) fn render(tally: &Tally, options: &Options) -> Result<String, askama::Error> {
    let rules = Tally::all_rules();
    let about = tally.description.as_ref();
    let (sentence, held) = tally.sentence();
    let failures = Failures::of(tally, options);
    let counts = Outcome::ALL.map(|outcome| Count { outcome, rules: tally.count(&rules, outcome) });
    let page = Page {
        name: tally.name(),
        language: about.and_then(|about| about.language.as_deref()),
        homepage: about.and_then(|about| about.homepage.as_deref()).filter(|address| is_address(address)),
        issues: about.and_then(|about| about.issues.as_deref()).filter(|address| is_address(address)),
        sentence,
        held,
        facts: facts(tally),
        counts: counts.into_iter().filter(|count| count.rules > 0).collect(),
        all_rules: rules.len(),
        without_case: tally.without_case(&rules),
        configurations: tally.passed().into_iter().map(|(one, n)| (one.configuration.to_string(), n, one.cases)).collect(),
        profiles: tally.profiles(),
        not_claimed: &tally.not_claimed,
        left_out: tally.left_out.iter().map(|one| (one.why.clone(), one.cases)).collect(),
        selected: tally.selected,
        chapters: chapters(tally, options, &failures),
        sections: failures.sections,
        blocked: blocked(tally),
        choices: tally.choices.all(),
        stale: tally.ended.as_ref().map_or(&[], |ended| &ended.stale),
    };
    page.render()
}

fn facts(tally: &Tally) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("target", tally.target.clone()),
        ("harness", tally.harness.clone()),
        ("suite", tally.suite.clone()),
        ("cases", format!("{} of {} ran somewhere", tally.profiles().iter().map(|one| one.2).sum::<usize>(), tally.selected)),
        ("runs", tally.finished.iter().filter(|one| one.is_planned()).count().to_string()),
    ];
    facts.extend(tally.ended.as_ref().map(|ended| ("took", duration(ended.duration_ms))));
    facts.retain(|(_, value)| !value.is_empty());
    facts
}

/// Only what a browser opens as a page becomes a link: a target could name a script.
fn is_address(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// Failures with their place on the page, by case and rule.
struct Failures {
    sections: Vec<Section>,
    places: BTreeMap<String, BTreeSet<(String, String)>>,
}

impl Failures {
    fn of(tally: &Tally, options: &Options) -> Self {
        let parts = [
            ("faults", "Harness faults", tally.groups.with(Verdict::HarnessFault, false)),
            ("failures", "Failures", tally.groups.with(Verdict::Fail, false)),
            ("warnings", "Warnings", tally.groups.with(Verdict::Warn, false)),
            ("known", "Known failures", tally.groups.known()),
        ];
        let mut all = Self { sections: Vec::new(), places: BTreeMap::new() };
        for (id, title, groups) in parts.into_iter().filter(|(_, _, groups)| !groups.is_empty()) {
            let failures: Vec<Failure> =
                groups.iter().enumerate().map(|(index, group)| failure(format!("{id}-{index}"), group, tally, options)).collect();
            for one in &failures {
                all.places.entry(one.rule.clone()).or_default().insert((one.case.clone(), one.id.clone()));
            }
            all.sections.push(Section { id, title: format!("{title} ({})", failures.len()), is_folded: id == "known", failures });
        }
        all
    }
}

fn failure(id: String, group: &Group, tally: &Tally, options: &Options) -> Failure {
    let finished = &group.first;
    let finding = finished.finding.as_ref();
    let rule = broken(finished).to_owned();
    let of_book = duplex_spec::registry().rule(&rule);
    let (before, exchanges, after) = finding.map_or_else(|| (0, Vec::new(), 0), dialogue);
    Failure {
        id,
        case: finished.case.clone(),
        title: finished.title.clone(),
        places: tally.groups.places(group),
        outcome: Outcome::of(finished),
        link: of_book.map(|rule| format!("{}{}", options.book, rule.anchor)),
        text: of_book.map_or_else(Vec::new, |rule| pieces(&rule.text)),
        rule,
        known: finished.known.clone(),
        fields: fields(finished),
        before,
        is_silent: finding.is_some_and(|finding| finding.divergence.is_some_and(|at| at >= finding.dialogue.len())),
        exchanges,
        after,
        stderr: finding
            .map_or_else(String::new, |finding| finding.stderr.iter().map(|line| printable(line)).collect::<Vec<_>>().join("\n")),
        replay: replay(finished, options),
    }
}

fn fields(finished: &CaseFinished) -> Vec<(&'static str, String)> {
    let Some(finding) = &finished.finding else { return Vec::new() };
    let mut fields = vec![("what", finding.summary.clone())];
    let name = |index| if index == 0 { "expected" } else { "or" };
    fields.extend(finding.expected.iter().enumerate().map(|(index, expected)| (name(index), expected.clone())));
    fields.extend(finding.actual.iter().map(|actual| ("came", actual.clone())));
    fields.extend(finding.exit.iter().map(|exit| ("process", exit.clone())));
    fields.extend(finding.likely_cause.iter().map(|cause| ("likely", cause.clone())));
    fields.into_iter().map(|(name, value)| (name, printable(&value))).collect()
}

/// The exchanges around the divergence, with how many are left away before and after.
fn dialogue(finding: &Finding) -> (usize, Vec<Line>, usize) {
    let all = &finding.dialogue;
    let divergence = finding.divergence.unwrap_or(usize::MAX);
    let end = divergence.saturating_add(1).min(all.len());
    let start = end.saturating_sub(EXCHANGES_BEFORE + 1);
    let names = all.iter().any(|exchange| exchange.connection != "a");
    let lines = all.iter().enumerate().take(end).skip(start);
    (start, lines.map(|(index, exchange)| line(exchange, index == divergence, names)).collect(), all.len() - end)
}

fn line(exchange: &Exchange, diverges: bool, names_connections: bool) -> Line {
    let (text, bytes) = shown(&exchange.what, diverges);
    let cut: String = text.chars().take(TEXT_SHOWN).collect();
    let text = if cut.len() < text.len() { format!("{cut}… ({} characters)", text.chars().count()) } else { cut };
    let (class, who) = match exchange.by {
        By::Tester => ("out", "tester"),
        By::Target => ("in", "target"),
    };
    let bytes = bytes.map_or_else(String::new, |(digits, length)| {
        let digits: Vec<&str> = digits.as_bytes().chunks(2).filter_map(|two| std::str::from_utf8(two).ok()).collect();
        let cut = if length > digits.len().min(BYTES_SHOWN) { " …" } else { "" };
        format!("{}{cut} ({})", digits[..digits.len().min(BYTES_SHOWN)].join(" "), counted(length, "byte"))
    });
    let on = if names_connections { exchange.connection.clone() } else { String::new() };
    Line { class, who, on, text, bytes, diverges }
}

fn blocked(tally: &Tally) -> Vec<(String, Vec<String>)> {
    let mut by_cause: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for group in tally.groups.with(Verdict::Blocked, false) {
        let cause = group.first.finding.as_ref().map_or("what it builds on failed", |finding| finding.summary.as_str());
        by_cause.entry(cause).or_default().push(group.first.case.clone());
    }
    by_cause.into_iter().map(|(cause, cases)| (cause.to_owned(), cases)).collect()
}

fn chapters(tally: &Tally, options: &Options, failures: &Failures) -> Vec<Chapter> {
    let chapters = Tally::chapters().into_iter().map(|(path, rules)| {
        let title = path.trim_end_matches(".md").rsplit('/').next().unwrap_or(path).replace('-', " ");
        let counts = Outcome::ALL.map(|outcome| Count { outcome, rules: tally.count(&rules, outcome) });
        let rows: Vec<Row> = rules.iter().map(|rule| row(rule, tally, options, failures)).collect();
        let is_bad = |row: &Row| row.outcome.is_some_and(|outcome| outcome >= Outcome::Warned && outcome != Outcome::Known);
        Chapter {
            id: format!("chapter-{}", title.replace(' ', "-")),
            title: title[..1].to_uppercase() + &title[1..],
            held: tally.count(&rules, Outcome::Held),
            total: rules.len(),
            counts: counts.into_iter().filter(|count| count.rules > 0 && count.outcome != Outcome::Held).collect(),
            open: rows.iter().any(is_bad),
            rows,
        }
    });
    chapters.collect()
}

fn row(rule: &'static duplex_spec::Rule, tally: &Tally, options: &Options, failures: &Failures) -> Row {
    let of_rule = tally.rule(&rule.id);
    let counts = Outcome::ALL.map(|outcome| (outcome, of_rule.map_or(0, |of_rule| of_rule.count(outcome))));
    Row {
        id: &rule.id,
        level: rule.level.to_string(),
        link: format!("{}{}", options.book, rule.anchor),
        text: pieces(&rule.text),
        outcome: of_rule.and_then(|of_rule| of_rule.outcome()),
        untestable: rule.untestable.as_deref(),
        counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(),
        total: of_rule.map_or(0, |of_rule| of_rule.total()),
        failures: failures.places.get(&rule.id).into_iter().flatten().cloned().collect(),
    }
}

/// A sentence of the book: code spans are told apart, the rest is text.
fn pieces(markdown: &str) -> Vec<Piece> {
    let parts = markdown.split('`').enumerate();
    parts.map(|(index, text)| Piece { text: text.to_owned(), is_code: index % 2 == 1 }).collect()
}

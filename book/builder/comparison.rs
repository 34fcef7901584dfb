//! The comparison: what each measured implementation does, rule by rule.
//!
//! Made of the small files that `cargo xtask compare` leaves in `conformance/results`, as runs wrote them; nothing runs here.
//! A file says which vectors it was measured with: where those are no longer the book's, the page says so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use duplex_spec::rule::Rule;
use serde::Deserialize;

use crate::BookError;
use crate::prepare::{Sources, count, rule_link, vector_link};

/// Below the repository's root.
const FOLDER: &str = "conformance/results";
/// The columns, in order; other files come behind.
const ORDER: [&str; 6] = ["reference", "python", "perl", "published-javascript", "published-python", "published-go"];
/// How a rule came out, the worst first: a rule is what its worst case is.
const WORST: [&str; 8] = ["fault", "failed", "known", "warned", "blocked", "held", "not-claimed", "left-out"];

/// One run, as `--report results=FILE` writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Results {
    target: String,
    name: String,
    version: Option<String>,
    language: Option<String>,
    homepage: Option<String>,
    suite: String,
    selected: usize,
    configurations: Vec<String>,
    not_claimed: Vec<NotClaimed>,
    rules: BTreeMap<String, BTreeMap<String, usize>>,
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct NotClaimed {
    what: String,
}

#[derive(Debug, Deserialize)]
struct Failure {
    rule: String,
    why: String,
    cases: Vec<String>,
}

impl Results {
    /// Reads every file; a repository without the folder has none.
    pub(crate) fn load(root: &Path) -> Result<Vec<Self>, BookError> {
        let folder = root.join(FOLDER);
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let io = |source| BookError::Io { path: folder.clone(), source };
        let entries = fs::read_dir(&folder).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
        let mut all = Vec::new();
        for path in entries.into_iter().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "json")) {
            let text = fs::read_to_string(&path).map_err(|source| BookError::Io { path: path.clone(), source })?;
            let results: Self =
                serde_json::from_str(&text).map_err(|error| BookError::Results { path, what: error.to_string() })?;
            all.push(results);
        }
        let place = |one: &Self| ORDER.iter().position(|name| *name == one.target).unwrap_or(ORDER.len());
        all.sort_by(|a, b| (place(a), &a.target).cmp(&(place(b), &b.target)));
        Ok(all)
    }

    fn title(&self) -> String {
        let version = self.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
        plain(&format!("{}{version}", self.name))
    }

    /// How a rule came out; nothing if no case of the run is about it.
    fn outcome(&self, rule: &str) -> Option<&'static str> {
        let counts = self.rules.get(rule)?;
        WORST.into_iter().find(|outcome| counts.contains_key(*outcome))
    }

    fn does_not_hold(outcome: Option<&str>) -> bool {
        matches!(outcome, Some("failed" | "known" | "warned"))
    }

    /// The cell of a rule: a word and how many of its cases are so, a link where there are failures to name.
    fn cell(&self, rule: &str) -> String {
        let Some((outcome, counts)) = self.outcome(rule).zip(self.rules.get(rule)) else { return "no case".to_owned() };
        let total: usize = counts.values().sum();
        // Failures are told from each other by whether they are a MUST's; who knew of them makes no difference here.
        let of_kind = |kinds: &[&str]| kinds.iter().filter_map(|kind| counts.get(*kind)).sum::<usize>();
        let (word, n) = match outcome {
            "failed" | "known" => ("✗ fails", of_kind(&["failed", "known"])),
            "warned" => ("! warned", of_kind(&["warned"])),
            "held" => ("✓ holds", of_kind(&["held"])),
            "blocked" => ("? blocked", of_kind(&["blocked"])),
            "fault" => ("? fault", of_kind(&["fault"])),
            "not-claimed" => return "not claimed".to_owned(),
            _ => return "left out".to_owned(),
        };
        let text = format!("{word} {n}/{total}");
        if Self::does_not_hold(Some(outcome)) { format!("[{text}](#x-{}-{rule})", self.target) } else { text }
    }
}

/// The whole page below its introduction.
pub(crate) fn markdown(path: &str, sources: &Sources<'_>) -> String {
    let all = sources.results;
    if all.is_empty() {
        return "Nothing is measured yet: `cargo xtask compare` does it.\n".to_owned();
    }
    let rules: Vec<&Rule> = sources.registry.iter().filter(|rule| !rule.id.starts_with("api.")).collect();
    let mut out = measured(sources);
    out.push_str(&summary(all, &rules));
    out.push_str("\n<div class=\"coverage comparison\">\n");
    let mut chapter = "";
    for rule in rules {
        if rule.chapter != chapter {
            chapter = &rule.chapter;
            let title = sources.chapters.get(chapter).map_or(chapter, String::as_str);
            let heads: Vec<String> = all.iter().map(Results::title).collect();
            let _ = write!(out, "\n## {title}\n\n| rule | {} |\n|---|{}\n", heads.join(" | "), "---|".repeat(all.len()));
        }
        let cells: Vec<String> = all.iter().map(|one| one.cell(&rule.id)).collect();
        let link = rule_link(path, &rule.id, sources).unwrap_or_default();
        let _ = writeln!(out, "| {link} | {} |", cells.join(" | "));
    }
    out.push_str("\n</div>\n\n");
    out.push_str(&details(path, sources));
    out
}

/// What was measured, with what, and whether that is still what the book has.
fn measured(sources: &Sources<'_>) -> String {
    let now = sources.corpus.revision();
    let mut out = String::new();
    let stale: Vec<&Results> = sources.results.iter().filter(|one| one.suite != now).collect();
    if !stale.is_empty() {
        let names: Vec<String> = stale.iter().map(|one| one.title()).collect();
        let _ = write!(
            out,
            "> **Measured with other vectors.** The vectors have changed since {} {} measured: the numbers are those of the \
             revision that the table names, not of revision `{now}`, which this book shows.\n\n",
            names.join(", "),
            if stale.len() == 1 { "was" } else { "were" },
        );
    }
    for one in sources.results {
        let name = match one.homepage.as_deref().filter(|address| address.starts_with("https://")) {
            Some(address) => format!("[{}]({address})", one.title()),
            None => one.title(),
        };
        let language = one.language.as_deref().map_or_else(String::new, |language| format!(", {}", plain(language)));
        let not_claimed: Vec<&str> = one.not_claimed.iter().map(|lack| lack.what.as_str()).collect();
        let not_claimed = match not_claimed.as_slice() {
            [] => String::new(),
            lacks => format!("; does not claim {}", plain(&lacks.join(", "))),
        };
        let _ = writeln!(
            out,
            "- **{name}**{language}: {} of revision `{}`, in {}{not_claimed}.",
            count(one.selected, "case"),
            one.suite,
            one.configurations.join(" and "),
        );
    }
    out.push('\n');
    out
}

/// How many rules came out how, of how many.
fn summary(all: &[Results], rules: &[&Rule]) -> String {
    let heads: Vec<String> = all.iter().map(Results::title).collect();
    let mut out = format!("| of {} rules | {} |\n|---|{}\n", rules.len(), heads.join(" | "), "--:|".repeat(all.len()));
    let rows: [(&str, &[&str]); 7] = [
        ("✓ hold", &["held"]),
        ("✗ fail", &["failed", "known"]),
        ("! warned", &["warned"]),
        ("? blocked", &["blocked", "fault"]),
        ("not claimed", &["not-claimed"]),
        ("left out", &["left-out"]),
        ("no case", &[]),
    ];
    for (word, outcomes) in rows {
        let number = |one: &Results| {
            let is_one = |rule: &&&Rule| match one.outcome(&rule.id) {
                Some(outcome) => outcomes.contains(&outcome),
                None => outcomes.is_empty(),
            };
            rules.iter().filter(is_one).count()
        };
        let numbers: Vec<usize> = all.iter().map(number).collect();
        if numbers.iter().any(|number| *number > 0) {
            let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
            let _ = writeln!(out, "| {word} | {} |", numbers.join(" | "));
        }
    }
    out
}

/// For each implementation, what does not hold and why, where the cells lead to.
fn details(path: &str, sources: &Sources<'_>) -> String {
    let mut out = String::from("## What does not hold\n\n");
    for one in sources.results {
        let failing: Vec<&Rule> = sources.registry.iter().filter(|rule| Results::does_not_hold(one.outcome(&rule.id))).collect();
        let _ = write!(out, "### {}\n\n", one.title());
        if failing.is_empty() {
            out.push_str("Nothing that ran.\n\n");
            continue;
        }
        let _ = write!(out, "<details class=\"vector\"><summary>{}</summary>\n\n", count(failing.len(), "rule"));
        for rule in failing {
            let link = rule_link(path, &rule.id, sources).unwrap_or_default();
            let _ = writeln!(out, "- <span class=\"place\" id=\"x-{}-{}\"></span>{link}", one.target, rule.id);
            for failure in one.failures.iter().filter(|failure| failure.rule == rule.id) {
                let cases: Vec<String> = failure.cases.iter().map(|case| vector_link(path, case, sources)).collect();
                let _ = writeln!(out, "  - {} ({})", plain(&failure.why), cases.join(", "));
            }
        }
        out.push_str("\n</details>\n\n");
    }
    out
}

/// A text of a target or of its known failures as text: code spans stay, other markup does not come alive.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_code = false;
    for c in text.chars() {
        is_code ^= c == '`';
        match c {
            '|' => out.push_str("\\|"),
            '&' | '<' | '>' | '[' | ']' | '*' | '_' | '\\' if !is_code => {
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    if is_code {
        // A span that nothing closes would run on into the next cell.
        return plain(&text.replace('`', "'"));
    }
    out
}

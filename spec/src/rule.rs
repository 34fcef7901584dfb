//! The rule registry: every normative sentence of the book, by id.
//!
//! [`parse_chapter`] reads rules out of a chapter's Markdown; the generated `rules.json` holds those of the whole book,
//! and [`registry`] is that file. The book is the source: nothing here is written by hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One normative sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Dotted, lower case, never reused.
    pub id: String,
    /// From the sentence's keyword.
    pub level: Level,
    /// The sentence, in Markdown, on one line.
    pub text: String,
    /// The chapter's path below `book/src`.
    pub chapter: String,
    /// Where it stands in the built book: `<chapter>.html#r-<id>`.
    pub anchor: String,
    /// Why no check can decide it, where none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untestable: Option<String>,
}

/// How binding a rule is (RFC 2119, RFC 8174).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// MUST and MUST NOT.
    Must,
    /// SHOULD and SHOULD NOT.
    Should,
    /// MAY.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// Every rule of the book.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    rules: Vec<Rule>,
    by_id: BTreeMap<String, usize>,
}

impl Registry {
    /// Collects rules, in the order of the book. The error names an id that stands twice.
    pub fn new(rules: Vec<Rule>) -> Result<Self, RuleError> {
        let mut by_id = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            if let Some(first) = by_id.insert(rule.id.clone(), index) {
                let first: &Rule = &rules[first];
                return Err(RuleError::new(&rule.chapter, format!("rule `{}` stands in {} already", rule.id, first.chapter)));
            }
        }
        Ok(Self { rules, by_id })
    }

    /// The rule with this id.
    #[must_use]
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.by_id.get(id).map(|&index| &self.rules[index])
    }

    /// Every rule, in the order of the book.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }
}

/// The rules of the book that this crate was built with.
#[must_use]
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let rules = serde_json::from_str(include_str!("../rules.json")).expect("invariant: rules.json is generated");
        Registry::new(rules).expect("invariant: rules.json is generated")
    })
}

/// What is wrong with a chapter's rules, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    place: String,
    what: String,
}

impl RuleError {
    fn new(place: &str, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), what: what.into() }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for RuleError {}

/// Reads the rules of one chapter, `chapter` being its path below `book/src`.
///
/// A rule is a line `r[<id>]` outside code fences and the paragraph below it, which holds exactly one level of keyword.
/// A paragraph with a MUST or SHOULD that stands under no rule is an error, as are a malformed id, a rule without a
/// paragraph and a rule without a keyword. A last line that begins with `Untestable: ` is no part of the sentence: it says
/// why no check can decide the rule. `api.` rules are advice about a library's surface and are never scored.
pub fn parse_chapter(chapter: &str, markdown: &str) -> Result<Vec<Rule>, RuleError> {
    let mut rules = Vec::new();
    for paragraph in paragraphs(markdown) {
        let place = || format!("{chapter}:{}", paragraph.line);
        if let Some((offset, inner)) = paragraph.text.lines().enumerate().skip(1).find(|(_, line)| line.starts_with("r[")) {
            let place = format!("{chapter}:{}", paragraph.line + offset);
            return Err(RuleError::new(
                &place,
                format!("`{}` starts inside a paragraph: leave a line empty above it", inner.trim_end()),
            ));
        }
        let (first, rest) = paragraph.text.split_once('\n').unwrap_or((&paragraph.text, ""));
        let Some(id) = first.trim_end().strip_prefix("r[").and_then(|id| id.strip_suffix(']')) else {
            if let Some(keyword) = keyword(&paragraph.text) {
                return Err(RuleError::new(
                    &place(),
                    format!("a {keyword} without a rule id: give it an `r[…]` line, or say it without the keyword"),
                ));
            }
            continue;
        };
        if !is_id(id) {
            return Err(RuleError::new(&place(), format!("`{id}` is no rule id: lower-case words, joined by dots and dashes")));
        }
        let (sentence, reason) = match rest.split_once(UNTESTABLE) {
            Some((sentence, reason)) => (sentence, Some(one_line(reason))),
            None => (rest, None),
        };
        if reason.as_deref() == Some("") {
            return Err(RuleError::new(&place(), format!("rule `{id}` is untestable without a reason")));
        }
        let text = one_line(sentence);
        if text.is_empty() {
            return Err(RuleError::new(&place(), format!("rule `{id}` has no sentence: it stands on the lines right below")));
        }
        let level = keyword(&text).ok_or_else(|| RuleError::new(&place(), format!("rule `{id}` has no MUST, SHOULD or MAY")))?;
        rules.push(Rule {
            anchor: format!("{}.html#r-{id}", chapter.trim_end_matches(".md")),
            id: id.to_owned(),
            level,
            text,
            chapter: chapter.to_owned(),
            untestable: reason,
        });
    }
    Ok(rules)
}

/// What separates a rule's sentence from the reason why nothing can check it.
const UNTESTABLE: &str = "\nUntestable:";

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The chapters that `SUMMARY.md` lists, in its order.
pub fn chapters(summary: &str) -> impl Iterator<Item = &str> {
    summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).map(|path| path.trim_start_matches("./"))
}

struct Paragraph {
    line: usize,
    text: String,
}

/// Paragraphs outside code fences, with their first line's number.
fn paragraphs(markdown: &str) -> Vec<Paragraph> {
    let mut all: Vec<Paragraph> = Vec::new();
    let mut open = false;
    let mut fence: Option<&str> = None;
    for (index, line) in markdown.lines().enumerate() {
        let start = line.trim_start();
        if let Some(mark) = fence {
            if start.starts_with(mark) {
                fence = None;
            }
        } else if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark)) {
            fence = Some(mark);
            open = false;
        } else if start.is_empty() {
            open = false;
        } else if open {
            let paragraph = all.last_mut().expect("invariant: an open paragraph exists");
            paragraph.text.push('\n');
            paragraph.text.push_str(line);
        } else {
            all.push(Paragraph { line: index + 1, text: line.to_owned() });
            open = true;
        }
    }
    all
}

/// The strongest keyword of a text, code spans left out.
fn keyword(text: &str) -> Option<Level> {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let has = |word| prose.split(|c: char| !c.is_alphanumeric()).any(|w| w == word);
    if has("MUST") {
        Some(Level::Must)
    } else if has("SHOULD") {
        Some(Level::Should)
    } else if has("MAY") {
        Some(Level::May)
    } else {
        None
    }
}

fn is_id(id: &str) -> bool {
    id.contains('.')
        && id.split('.').all(|word| {
            word.starts_with(|c: char| c.is_ascii_lowercase())
                && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        })
}

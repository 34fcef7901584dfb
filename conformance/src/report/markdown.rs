//! A short report in Markdown, for the comment on a change or for a README. What a target says cannot become markup in it.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use askama::Template;
use askama::filters::Escaper;

use crate::event::{Configuration, Verdict};
use crate::report::group::Group;
use crate::report::human::{Options, some};
use crate::report::layout::{counted, cut, duration};
use crate::report::tally::{Outcome, Tally, broken};

/// How many failures are named.
const NAMED: usize = 10;
/// Characters of a failure's summary.
const SUMMARY: usize = 160;

#[derive(Template)]
#[template(path = "report.md")]
struct Page {
    name: String,
    sentence: String,
    rules: Vec<(&'static str, usize)>,
    all_rules: usize,
    without_case: usize,
    profiles: Vec<(&'static str, usize, usize)>,
    configurations: String,
    cases: String,
    failures: Vec<Line>,
    more: usize,
    known: Vec<(String, String)>,
    not_claimed: Vec<String>,
    stale: Vec<String>,
    took: String,
}

struct Line {
    case: String,
    word: &'static str,
    rule: String,
    summary: String,
    places: String,
}

/// The page.
pub(super) fn render(tally: &Tally, _options: &Options) -> Result<String, askama::Error> {
    let rules = Tally::all_rules();
    let of_outcome = Outcome::ALL.map(|outcome| (outcome.word(), tally.count(&rules, outcome)));
    let mut failing: Vec<&Group> = tally.groups.with(Verdict::HarnessFault, false);
    failing.extend(tally.groups.with(Verdict::Fail, false));
    failing.extend(tally.groups.with(Verdict::Warn, false));
    let configurations: Vec<Configuration> = tally.configurations.iter().map(|one| one.configuration).collect();
    let ran: usize = tally.profiles().iter().map(|(_, _, total)| total).sum();
    let page = Page {
        name: tally.name(),
        sentence: tally.sentence().0,
        rules: of_outcome.into_iter().filter(|(_, count)| *count > 0).collect(),
        all_rules: rules.len(),
        without_case: tally.without_case(&rules),
        profiles: tally.profiles(),
        configurations: match configurations[..] {
            [one] => one.to_string(),
            _ => counted(configurations.len(), "configuration"),
        },
        cases: format!("{ran} of {}", counted(tally.selected, "case")),
        failures: failing.iter().take(NAMED).map(|group| line(group, tally)).collect(),
        more: failing.len().saturating_sub(NAMED),
        known: known(tally),
        not_claimed: tally.not_claimed.iter().map(|one| one.what.clone()).collect(),
        stale: tally.ended.iter().flat_map(|ended| ended.stale.clone()).collect(),
        took: tally.ended.as_ref().map_or_else(String::new, |ended| duration(ended.duration_ms)),
    };
    page.render()
}

fn line(group: &Group, tally: &Tally) -> Line {
    let finding = group.first.finding.as_ref();
    Line {
        case: group.first.case.clone(),
        word: Outcome::of(&group.first).word(),
        rule: broken(&group.first).to_owned(),
        summary: finding.map_or_else(String::new, |finding| cut(&finding.summary, SUMMARY)),
        places: tally.groups.places(group),
    }
}

fn known(tally: &Tally) -> Vec<(String, String)> {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for group in tally.groups.known() {
        let cases = by_reason.entry(group.first.known.as_deref().unwrap_or_default()).or_default();
        if !cases.contains(&group.first.case.as_str()) {
            cases.push(&group.first.case);
        }
    }
    by_reason.into_iter().map(|(reason, cases)| (reason.to_owned(), some(&cases, 3))).collect()
}

/// Text that stays text: whatever could be markup, a link, a mention or a new line is escaped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain;

impl Escaper for Plain {
    fn write_escaped_str<W: Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        for (at, c) in string.char_indices() {
            match c {
                // An address or a mention would come alive even where its punctuation is escaped.
                '@' => dest.write_str("&#64;")?,
                ':' if string[at..].starts_with("://") => dest.write_str("&#58;")?,
                '.' if string[..at].ends_with("www") => dest.write_str("&#46;")?,
                '#' => dest.write_str("&#35;")?,
                '<' => dest.write_str("&lt;")?,
                '>' => dest.write_str("&gt;")?,
                '&' => dest.write_str("&amp;")?,
                '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '!' | '|' | '~' => write!(dest, "\\{c}")?,
                c if c.is_control() => dest.write_char(' ')?,
                c => dest.write_char(c)?,
            }
        }
        Ok(())
    }
}

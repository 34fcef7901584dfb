//! Turns a chapter's Markdown into the Markdown that mdBook gets.
//!
//! Four forms are ours; everything else passes through, and nothing inside another code fence or a code span is touched:
//!
//! | in a chapter | becomes |
//! |---|---|
//! | `r[call.reply.id]` and the paragraph below it | a box with the anchor `r-call.reply.id`, the level, the sentence, the vectors |
//! | `[r:call.reply.id]` | a link to that box, in whatever chapter it stands |
//! | a fence `dialogue` or `dialogue,shape` | a block in which the two sides have a colour each |
//! | `<!-- generated: NAME -->`, alone on its line | what [`generate::NAMES`] lists |

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use duplex_spec::rule::Registry;
use duplex_vectors::Corpus;

use crate::Problem;
use crate::comparison::Results;
use crate::coverage::{self, Mutants};
use crate::figures::Figures;
use crate::{dialogue, generate};

/// What the generated parts are made of.
pub(crate) struct Sources<'a> {
    /// The rules of every chapter.
    pub(crate) registry: &'a Registry,
    /// The vectors that cite them.
    pub(crate) corpus: &'a Corpus,
    /// Chapter titles by path.
    pub(crate) chapters: &'a BTreeMap<String, String>,
    /// The mutants that break them.
    pub(crate) mutants: &'a Mutants,
    /// The rules that every frame is held against.
    pub(crate) framed: &'a BTreeSet<String>,
    /// What implementations did, as runs saw it.
    pub(crate) results: &'a [Results],
    pub(crate) figures: Option<&'a Figures>,
}

/// Rules that vectors and mutants cite and no chapter has.
pub(crate) fn citations(sources: &Sources<'_>) -> Vec<Problem> {
    let sessions = sources.corpus.sessions().iter().map(|v| ("session", &v.id, &v.rules));
    let messages = sources.corpus.messages().iter().map(|v| ("message", &v.id, &v.rules));
    let by_vectors = sessions
        .chain(messages)
        .flat_map(|(kind, id, rules)| rules.iter().map(move |rule| (format!("{kind} vector `{id}`"), rule.as_str())));
    let by_mutants = sources.mutants.rules().map(|rule| ("conformance/mutants".to_owned(), rule));
    by_vectors
        .chain(by_mutants)
        .filter(|(_, rule)| sources.registry.rule(rule).is_none())
        .map(|(place, rule)| Problem::new(place, format!("cites rule `{rule}`, which no chapter has")))
        .collect()
}

/// The prepared Markdown of one chapter; what cannot be prepared is added to `problems`.
pub(crate) fn chapter(path: &str, markdown: &str, sources: &Sources<'_>, problems: &mut Vec<Problem>) -> String {
    let mut out = String::with_capacity(markdown.len() * 2);
    let mut fence: Option<&str> = None;
    let mut in_rule: Option<&str> = None;
    let mut dialogue: Option<Vec<&str>> = None;
    for (index, line) in markdown.lines().enumerate() {
        let place = || format!("book/src/{path}:{}", index + 1);
        let start = line.trim_start();
        if let Some(mark) = fence {
            let is_end = start.starts_with(mark);
            if is_end {
                fence = None;
            }
            match &mut dialogue {
                Some(lines) if is_end => out.push_str(&dialogue::html(&std::mem::take(lines))),
                Some(lines) => lines.push(line),
                None => push_line(&mut out, line),
            }
            dialogue = dialogue.filter(|_| !is_end);
            continue;
        }
        if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark)) {
            fence = Some(mark);
            dialogue = dialogue::kind(start.trim_start_matches(['`', '~']).trim()).map(|_| Vec::new());
            if dialogue.is_none() {
                push_line(&mut out, line);
            }
            continue;
        }
        if start.is_empty() {
            if let Some(id) = in_rule.take() {
                out.push_str(&rule_foot(path, id, sources));
            }
            push_line(&mut out, line);
        } else if let Some(id) = line.trim_end().strip_prefix("r[").and_then(|rest| rest.strip_suffix(']')) {
            out.push_str(&rule_head(id, sources));
            in_rule = Some(id);
        } else if let Some(name) = start.strip_prefix("<!-- generated:").and_then(|rest| rest.trim_end().strip_suffix("-->")) {
            match generate::part(name.trim(), path, sources) {
                Some(text) => push_line(&mut out, &text),
                None => problems.push(Problem::new(
                    place(),
                    format!("nothing generated is called `{}`: there are {}", name.trim(), generate::NAMES.join(", ")),
                )),
            }
        } else if let Some(reason) = line.strip_prefix("Untestable:").filter(|_| in_rule.is_some()) {
            push_line(&mut out, &format!("\n*Untestable:*{reason}"));
        } else {
            push_line(&mut out, &rule_links(path, line, sources, |what| problems.push(Problem::new(place(), what))));
        }
    }
    if let Some(id) = in_rule {
        out.push_str(&rule_foot(path, id, sources));
    }
    out
}

/// A rule as a link from the chapter `from`; nothing if there is no such rule.
pub(crate) fn rule_link(from: &str, id: &str, sources: &Sources<'_>) -> Option<String> {
    let rule = sources.registry.rule(id)?;
    Some(format!("[`{id}`]({}#r-{id})", relative(from, &rule.chapter)))
}

/// The links to the vectors that cite a rule, as seen from the chapter `from`.
pub(crate) fn vector_links(from: &str, id: &str, sources: &Sources<'_>) -> Vec<String> {
    let cites = |rules: &Vec<String>| rules.iter().any(|rule| rule == id);
    let to = |page: &str, kind: &str, vector: &str| format!("[`{vector}`]({}#{kind}-{vector})", relative(from, page));
    let sessions = sources.corpus.sessions().iter().filter(|v| cites(&v.rules));
    let messages = sources.corpus.messages().iter().filter(|v| cites(&v.rules));
    sessions
        .map(|v| to(&generate::session_page(&v.id, sources), "session", &v.id))
        .chain(messages.map(|v| to(generate::MESSAGES_PAGE, "message", &v.id)))
        .collect()
}

/// A case of a run as a link to its vector; the bare id of a standing check or a probe, and of a vector that is gone.
pub(crate) fn vector_link(from: &str, case: &str, sources: &Sources<'_>) -> String {
    let message = case.strip_prefix("message:").filter(|id| sources.corpus.message(id).is_some());
    let session = sources.corpus.session(case).map(|_| (generate::session_page(case, sources), "session", case));
    let found = session.or(message.map(|id| (generate::MESSAGES_PAGE.to_owned(), "message", id)));
    match found.filter(|(page, _, _)| sources.chapters.contains_key(page)) {
        Some((page, kind, id)) => format!("[`{case}`]({}#{kind}-{id})", relative(from, &page)),
        None => format!("`{case}`"),
    }
}

/// `to` as a relative link from the chapter `from`, both below `book/src`.
pub(crate) fn relative(from: &str, to: &str) -> String {
    format!("{}{to}", "../".repeat(from.matches('/').count()))
}

fn rule_head(id: &str, sources: &Sources<'_>) -> String {
    let level = sources.registry.rule(id).map_or_else(String::new, |rule| rule.level.to_string());
    let class = level.to_lowercase();
    format!(
        "<div class=\"rule {class}\" id=\"r-{id}\">\n<p class=\"rule-head\"><a href=\"#r-{id}\">{id}</a> \
         <span class=\"rule-level\">{level}</span></p>\n\n"
    )
}

fn rule_foot(path: &str, id: &str, sources: &Sources<'_>) -> String {
    let vectors = vector_links(path, id, sources);
    let mutants = sources.mutants.of(id);
    let mut foot = String::from("\n");
    if !vectors.is_empty() || !mutants.is_empty() {
        let counts = [(vectors.len(), count(vectors.len(), "vector")), (mutants.len(), count(mutants.len(), "mutant"))];
        let counts: Vec<String> = counts.into_iter().filter(|(number, _)| *number > 0).map(|(_, text)| text).collect();
        let _ = write!(foot, "<details><summary>{}</summary>\n\n", counts.join(", "));
        if !vectors.is_empty() {
            let _ = write!(foot, "{}\n\n", vectors.join(" · "));
        }
        if !mutants.is_empty() {
            let titles: Vec<String> = mutants.iter().map(|title| title.replace('&', "&amp;").replace('<', "&lt;")).collect();
            let _ = write!(foot, "Mutants: {}.\n\n", titles.join("; "));
        }
        if sources.chapters.contains_key(coverage::PAGE) {
            let _ = write!(foot, "[In the table of coverage]({}#c-{id})\n\n", relative(path, coverage::PAGE));
        }
        foot.push_str("</details>\n");
    }
    foot.push_str("</div>\n");
    foot
}

/// `1 vector`, `2 vectors`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Replaces `[r:<id>]` outside code spans.
fn rule_links(path: &str, line: &str, sources: &Sources<'_>, mut problem: impl FnMut(String)) -> String {
    let mut out = String::with_capacity(line.len());
    for (index, piece) in line.split('`').enumerate() {
        if index > 0 {
            out.push('`');
        }
        if index % 2 == 1 {
            out.push_str(piece);
            continue;
        }
        let mut rest = piece;
        while let Some((before, after)) = rest.split_once("[r:") {
            out.push_str(before);
            let Some((id, behind)) = after.split_once(']') else {
                problem("a `[r:` without its `]`".to_owned());
                rest = after;
                continue;
            };
            match rule_link(path, id, sources) {
                Some(link) => out.push_str(&link),
                None => problem(format!("links to rule `{id}`, which no chapter has")),
            }
            rest = behind;
        }
        out.push_str(rest);
    }
    out
}

fn push_line(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}

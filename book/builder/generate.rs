//! The parts of the book that nobody types: the index of rules, the tables of codes and limits, the pages of vectors.
//!
//! All of it is Markdown; where it goes, a chapter says with `<!-- generated: NAME -->`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use duplex_spec::code::{Code, CodeInfo};
use duplex_spec::limit::{LIMITS, Limit};
use duplex_spec::machine;
use duplex_spec::rule::Rule;
use duplex_vectors::{MessageVector, Session};

use crate::prepare::{Sources, count, relative, rule_link, vector_links};
use crate::{comparison, coverage, figures, sequence, states};

/// What a marker can ask for.
pub(crate) const NAMES: [&str; 14] = [
    "rule-index",
    "rule-counts",
    "coverage",
    "comparison",
    "figures",
    "error-codes",
    "limits",
    "small-target",
    "sessions",
    "sessions AREA",
    "messages",
    "states-connection",
    "states-provider",
    "states-caller",
];

/// The chapter that shows the session vectors of the areas that have no page, and lists the others.
const SESSIONS_PAGE: &str = "conformance/sessions.md";
/// The chapter that shows every message vector.
pub(crate) const MESSAGES_PAGE: &str = "conformance/messages.md";

/// The smallest complete target, as the harness runs it.
const SMALL_TARGET: &str = include_str!("../../conformance/targets/python-minimal/peer.py");

/// The part with this name, for the chapter `path`.
pub(crate) fn part(name: &str, path: &str, sources: &Sources<'_>) -> Option<String> {
    Some(match name {
        "rule-index" => rule_index(path, sources),
        "rule-counts" => rule_counts(sources),
        "coverage" => coverage::markdown(path, sources),
        "comparison" => comparison::markdown(path, sources),
        "figures" => figures::markdown(sources.figures),
        "error-codes" => error_codes(path, sources),
        "limits" => limits(path, sources),
        "small-target" => format!("```python\n{SMALL_TARGET}```\n"),
        "sessions" => sessions(path, sources),
        "states-connection" => states::markdown(&machine::CONNECTION),
        "states-provider" => states::markdown(&machine::PROVIDER),
        "states-caller" => states::markdown(&machine::CALLER),
        "messages" => sources.corpus.messages().iter().map(|vector| one_message(path, vector, sources)).collect(),
        _ => {
            let wanted = name.strip_prefix("sessions ")?;
            let of_area = sources.corpus.sessions().iter().filter(|session| area(&session.id) == wanted);
            of_area.map(|session| one_session(path, session, sources)).collect()
        }
    })
}

/// The chapter that shows the session with this id: its area's page, where there is one.
pub(crate) fn session_page(id: &str, sources: &Sources<'_>) -> String {
    let page = format!("conformance/sessions/{}.md", area(id));
    if sources.chapters.contains_key(&page) { page } else { SESSIONS_PAGE.to_owned() }
}

fn area(id: &str) -> &str {
    id.split('.').next().unwrap_or(id)
}

/// The areas that have a page, with links to it, and every session of the others.
fn sessions(path: &str, sources: &Sources<'_>) -> String {
    let mut areas: BTreeMap<&str, (String, usize)> = BTreeMap::new();
    let mut here = String::new();
    for session in sources.corpus.sessions() {
        let page = session_page(&session.id, sources);
        if page == SESSIONS_PAGE {
            here.push_str(&one_session(path, session, sources));
        } else {
            areas.entry(area(&session.id)).or_insert((page, 0)).1 += 1;
        }
    }
    let mut out = String::new();
    if !areas.is_empty() {
        out.push_str("| area | sessions |\n|---|---|\n");
        for (area, (page, count)) in areas {
            let _ = writeln!(out, "| [{area}]({}) | {count} |", relative(path, &page));
        }
        out.push('\n');
    }
    out + &here
}

fn rule_index(path: &str, sources: &Sources<'_>) -> String {
    let mut out = String::new();
    let mut chapter = "";
    for rule in sources.registry.iter() {
        if rule.chapter != chapter {
            chapter = &rule.chapter;
            let title = sources.chapters.get(chapter).map_or(chapter, String::as_str);
            let _ = write!(out, "\n## {title}\n\n");
        }
        out.push_str(&index_entry(path, rule, sources));
    }
    out
}

fn index_entry(path: &str, rule: &Rule, sources: &Sources<'_>) -> String {
    let Rule { id, level, text, untestable, .. } = rule;
    let class = level.to_string().to_lowercase();
    let to = relative(path, &rule.chapter);
    let vectors = vector_links(path, id, sources);
    let decided = if let Some(reason) = untestable {
        format!("<p class=\"undecided\">untestable: {reason}</p>\n")
    } else if vectors.is_empty() {
        "<p class=\"undecided\">no vector</p>\n".to_owned()
    } else {
        format!("<details><summary>{}</summary>\n\n{}\n\n</details>\n", count(vectors.len(), "vector"), vectors.join(" · "))
    };
    format!(
        "<div class=\"rule {class}\">\n<p class=\"rule-head\"><a href=\"{to}#r-{id}\">{id}</a> \
         <span class=\"rule-level\">{level}</span></p>\n\n{text}\n\n{decided}</div>\n\n"
    )
}

/// How many rules of each level a chapter has, and how many of them a vector cites.
fn rule_counts(sources: &Sources<'_>) -> String {
    let mut out =
        String::from("| chapter | rules | `MUST` | `SHOULD` | `MAY` | cited by a vector |\n|---|---|---|---|---|---|\n");
    let mut chapters: Vec<&str> = Vec::new();
    for rule in sources.registry.iter() {
        if chapters.last() != Some(&rule.chapter.as_str()) {
            chapters.push(&rule.chapter);
        }
    }
    let row = |out: &mut String, title: &str, rules: &[&Rule]| {
        let level = |name: &str| rules.iter().filter(|rule| rule.level.to_string() == name).count();
        let cited = rules.iter().filter(|rule| !vector_links("", &rule.id, sources).is_empty()).count();
        let (all, must, should, may) = (rules.len(), level("MUST"), level("SHOULD"), level("MAY"));
        let _ = writeln!(out, "| {title} | {all} | {must} | {should} | {may} | {cited} |");
    };
    for chapter in chapters {
        let rules: Vec<&Rule> = sources.registry.iter().filter(|rule| rule.chapter == chapter).collect();
        row(&mut out, sources.chapters.get(chapter).map_or(chapter, String::as_str), &rules);
    }
    row(&mut out, "**all**", &sources.registry.iter().collect::<Vec<_>>());
    out
}

fn error_codes(path: &str, sources: &Sources<'_>) -> String {
    let mut out = String::from("| code | name | when | rule |\n|---|---|---|---|\n");
    for CodeInfo { code, name, sentence, rule } in Code::ALL {
        let rule = rule_link(path, rule, sources).unwrap_or_default();
        let _ = writeln!(out, "| {} | {name} | {sentence} | {rule} |", code.0);
    }
    out
}

fn limits(path: &str, sources: &Sources<'_>) -> String {
    let mut out =
        String::from("| limit | of what | unit | default | minimum | what is over it | rules |\n|---|---|---|---|---|---|---|\n");
    for limit in LIMITS {
        let Limit { name, sentence, unit, default, minimum, over, rules } = limit;
        let rules: Vec<String> = rules.iter().filter_map(|rule| rule_link(path, rule, sources)).collect();
        let rules = rules.join(", ");
        let _ = writeln!(out, "| `{name}` | {sentence} | {unit} | {default} | {minimum} | {over} | {rules} |");
    }
    out
}

fn one_session(path: &str, session: &Session, sources: &Sources<'_>) -> String {
    let mut body = String::new();
    if let Some(comment) = &session.comment {
        let _ = write!(body, "{comment}\n\n");
    }
    let axis = |name: &str, chosen: Vec<String>, all: usize| {
        if chosen.len() == all { String::new() } else { format!(" · {name}: {}", chosen.join(", ")) }
    };
    let _ = write!(
        body,
        "Rules: {}\n\nProfile: {}{}{}{}{}{}\n\n",
        rules(path, &session.rules, sources),
        serde_json::to_value(session.profile).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default(),
        axis("role", session.roles.iter().map(ToString::to_string).collect(), duplex_vectors::Role::all().len()),
        axis("transport", session.transports.iter().map(ToString::to_string).collect(), duplex_vectors::Transport::all().len()),
        axis("framing", session.framings.iter().map(ToString::to_string).collect(), duplex_vectors::Framing::all().len()),
        axis("codec", session.codecs.iter().map(ToString::to_string).collect(), duplex_vectors::Codec::all().len()),
        if session.after.is_empty() {
            String::new()
        } else {
            format!(" · after: {}", session.after.iter().map(|id| session_link(path, id, sources)).collect::<Vec<_>>().join(", "))
        } + &session
            .twin
            .as_ref()
            .map_or_else(String::new, |twin| format!(" · valid twin: {}", session_link(path, twin, sources))),
    );
    body.push_str(&sequence::draw(session));
    let steps: Vec<String> = session.steps.iter().filter_map(|step| serde_json::to_string(step).ok()).collect();
    let _ = write!(body, "```json\n{}\n```\n", steps.join("\n"));
    vector("session", &session.id, &session.title, &body)
}

/// A session as a link; the bare id if there is no such session.
fn session_link(path: &str, id: &str, sources: &Sources<'_>) -> String {
    if sources.corpus.sessions().iter().any(|session| session.id == id) {
        format!("[`{id}`]({}#session-{id})", relative(path, &session_page(id, sources)))
    } else {
        format!("`{id}`")
    }
}

fn one_message(path: &str, message: &MessageVector, sources: &Sources<'_>) -> String {
    let mut body = format!("Rules: {}\n\n", rules(path, &message.rules, sources));
    if let (Some(fault), Some(class)) = (&message.fault, message.class) {
        let _ = write!(body, "Fault: {fault} ({class})");
        if let Some(twin) = &message.twin {
            let _ = write!(body, "; its valid twin is [`{twin}`](#message-{twin})");
        }
        body.push_str(".\n\n");
    }
    if let Some(comment) = &message.comment {
        let _ = write!(body, "{comment}\n\n");
    }
    let mut lines = Vec::new();
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<8} {}", shortened(text)));
    if let Some(json) = &message.json {
        line("json", json);
    }
    if let Some(digits) = &message.json_hex {
        line("json hex", digits);
    }
    if let Some(digits) = &message.msgpack {
        line("msgpack", digits);
    }
    for text in message.accept.json.iter().chain(&message.accept.msgpack) {
        line("accept", text);
    }
    let _ = write!(body, "````text\n{}\n````\n", lines.join("\n"));
    let title = if message.valid { message.title.clone() } else { format!("(invalid) {}", message.title) };
    vector("message", &message.id, &title, &body)
}

fn rules(path: &str, ids: &[String], sources: &Sources<'_>) -> String {
    ids.iter().filter_map(|id| rule_link(path, id, sources)).collect::<Vec<_>>().join(", ")
}

fn vector(kind: &str, id: &str, title: &str, body: &str) -> String {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    // A browser opens what a link's place lies in, and leaves closed what is that place itself.
    format!(
        "<details class=\"vector\"><summary><code>{id}</code> {title}</summary>\n\n\
         <span class=\"place\" id=\"{kind}-{id}\"></span>\n\n{body}\n</details>\n\n"
    )
}

/// Bytes of a length that nobody reads are cut: the vector's file has them all.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 400;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} characters in all)", &text[..end], text.chars().count()),
    }
}

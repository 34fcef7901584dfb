//! One failure, told so that a person sees what is wrong without another tool: the sentence of the book, the dialogue with
//! the first divergence marked, what was legal there, what came, and the command that runs just this again.

use std::fmt::Write as _;

use anstyle::Style;

use crate::event::{By, CaseFinished, Exchange, Finding, Verdict, What};
use crate::report::human::Options;
use crate::report::layout::{BAD, BOLD, CARE, FAINT, GOOD, OURS, count, cut, paint, printable, wrap};

/// How many exchanges before the divergence are shown unless all are asked for.
const EXCHANGES_BEFORE: usize = 10;
/// How many bytes of the divergent frame are shown unless all are asked for.
const BYTES_SHOWN: usize = 64;
/// How many lines of a frame's text are shown unless all are asked for.
const LINES_SHOWN: usize = 3;
/// How many of the last lines on stderr are shown unless all are asked for.
const STDERR_SHOWN: usize = 12;
/// The left margin of everything below the first line.
const MARGIN: &str = "      ";

/// Tells one failure, `places` being where it happened.
pub(super) fn explain(finished: &CaseFinished, places: &str, options: &Options) -> String {
    let mut text = String::new();
    headline(&mut text, finished, places, options);
    if let Some(finding) = &finished.finding {
        rule(&mut text, finding, options);
        dialogue(&mut text, finished, finding, options);
        conclusions(&mut text, finding, options);
    }
    // Not wrapped: a command is there to be copied.
    line(&mut text, &format!("{MARGIN}{}{}", paint(FAINT, format!("{:<10}", "replay")), paint(BOLD, replay(finished, options))));
    text
}

/// The word that stands for a verdict in front of a case.
pub(super) fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => paint(GOOD, "pass"),
        Verdict::Fail => paint(BAD, "FAIL"),
        Verdict::Warn => paint(CARE, "warn"),
        Verdict::Blocked => paint(FAINT, "blocked"),
        Verdict::HarnessFault => paint(BAD, "HARNESS FAULT"),
    }
}

/// The command that runs this case alone, in the configuration of the finding.
pub(super) fn replay(finished: &CaseFinished, options: &Options) -> String {
    let mut command = format!("{} --target {}", options.invocation, quoted(&options.target));
    if let Some(at) = finished.configuration {
        write!(command, " --transport {} --role {} --framing {} --codec {}", at.transport, at.role, at.framing, at.codec)
            .expect("invariant: writing to a string cannot fail");
    }
    // A standing check watches every session, and the smoke test opens every configuration: there is nothing of its own to run.
    if finished.is_planned() || finished.schedule.is_some() || finished.configuration.is_none() {
        write!(command, " --filter '={}'", finished.case).expect("invariant: writing to a string cannot fail");
    }
    command.push_str(&options.replay_flags);
    if let Some(schedule) = &finished.schedule {
        write!(command, " --schedule {schedule}").expect("invariant: writing to a string cannot fail");
    }
    command
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn headline(text: &mut String, finished: &CaseFinished, places: &str, options: &Options) {
    line(text, &format!("{}  {}", word(finished.verdict), paint(BOLD, &finished.case)));
    for part in wrap(&finished.title, options.width.saturating_sub(count(MARGIN))) {
        line(text, &format!("{MARGIN}{part}"));
    }
    for part in wrap(places, options.width.saturating_sub(count(MARGIN))) {
        line(text, &format!("{MARGIN}{}", paint(FAINT, part)));
    }
    text.push('\n');
}

fn rule(text: &mut String, finding: &Finding, options: &Options) {
    let width = options.width.saturating_sub(count(MARGIN) + 2);
    if let Some(rule) = duplex_spec::registry().rule(&finding.rule) {
        for part in wrap(&rule.text, width) {
            line(text, &format!("{MARGIN}{} {part}", paint(FAINT, "│")));
        }
        let link = format!("{} · {}{}", rule.id, options.book, rule.anchor);
        line(text, &format!("{MARGIN}{} {}", paint(FAINT, "│"), paint(FAINT, link)));
        text.push('\n');
    } else if !finding.rule.is_empty() {
        line(text, &format!("{MARGIN}{}", paint(FAINT, &finding.rule)));
        text.push('\n');
    }
}

fn dialogue(text: &mut String, finished: &CaseFinished, finding: &Finding, options: &Options) {
    if finding.dialogue.is_empty() {
        return;
    }
    let exchanges = &finding.dialogue;
    let names_connections = exchanges.iter().any(|exchange| exchange.connection != "a");
    let divergence = finding.divergence.unwrap_or(usize::MAX);
    let end = divergence.saturating_add(1).min(exchanges.len());
    let start = if options.verbose { 0 } else { end.saturating_sub(EXCHANGES_BEFORE + 1) };
    if let Some(at) = finished.configuration {
        line(text, &format!("{MARGIN}{}", paint(FAINT, format!("{at}   -> the tester sends   <- the target answers"))));
    }
    if start > 0 {
        line(text, &format!("{MARGIN}{}", paint(FAINT, format!("   … {start} exchanges before (-v shows them)"))));
    }
    let shown_end = if options.verbose { exchanges.len() } else { end };
    for (index, exchange) in exchanges.iter().enumerate().take(shown_end).skip(start) {
        one_exchange(text, exchange, index == divergence, names_connections, options);
    }
    if shown_end < exchanges.len() {
        let more = format!("   … {} exchanges after (-v shows them)", exchanges.len() - shown_end);
        line(text, &format!("{MARGIN}{}", paint(FAINT, more)));
    }
    if finding.divergence.is_some_and(|at| at >= exchanges.len()) {
        line(text, &format!("{MARGIN}{} {} {}", paint(BAD, "✗"), paint(BAD, "<-"), paint(BAD, "nothing more came")));
    }
    text.push('\n');
}

fn one_exchange(text: &mut String, exchange: &Exchange, diverges: bool, names_connections: bool, options: &Options) {
    let mark = if diverges { paint(BAD, "✗") } else { " ".to_owned() };
    let connection = if names_connections { format!("{} ", exchange.connection) } else { String::new() };
    let (arrow, style) = match exchange.by {
        By::Tester => ("->", OURS),
        By::Target => ("<-", if diverges { BAD } else { BOLD }),
    };
    let indent = format!("{MARGIN}  {}   ", " ".repeat(count(&connection)));
    let width = options.width.saturating_sub(count(&indent));
    let (shown, bytes) = shown(&exchange.what, diverges || options.verbose);
    let mut lines = wrap(&shown, width);
    if !options.verbose && lines.len() > LINES_SHOWN {
        lines.truncate(LINES_SHOWN);
        if let Some(last) = lines.last_mut() {
            *last = format!("{}…", cut(last, width.saturating_sub(1)).trim_end_matches('…'));
        }
    }
    let first = lines.first().cloned().unwrap_or_default();
    line(text, &format!("{MARGIN}{mark} {connection}{} {first}", paint(style, arrow)));
    for rest in lines.iter().skip(1) {
        line(text, &format!("{indent}{rest}"));
    }
    if let Some((hex, length)) = bytes {
        dump(text, hex, length, &indent, diverges || options.verbose, options);
    }
}

/// What an exchange is in words, and its bytes if they tell more than the words do.
pub(super) fn shown(what: &What, with_bytes: bool) -> (String, Option<(&str, usize)>) {
    match what {
        What::Connected => ("(connects)".to_owned(), None),
        What::Frame { hex, length, shown, message } => {
            // Bytes that are the text itself tell nothing more than it does.
            let is_text = hex::decode(hex).is_ok_and(|bytes| bytes.len() == *length && bytes == shown.as_bytes());
            let is_same = is_text || (hex.starts_with("7b") && message.is_some());
            let shown = if *length == 0 { "(an empty frame)".to_owned() } else { printable(shown) };
            (shown, (with_bytes || !is_same).then_some((hex.as_str(), *length)))
        }
        What::Bytes { hex, length } => {
            (format!("({length} bytes below the framing)"), Some((hex.as_str(), *length)).filter(|_| *length > 0))
        }
        What::ReadingPaused => ("(reads no more)".to_owned(), None),
        What::ReadingResumed => ("(reads again)".to_owned(), None),
        What::HalfClosed => ("(ends its side)".to_owned(), None),
        What::Closed => ("(closes)".to_owned(), None),
        What::Exited { status } => (format!("(the process ends: {status})"), None),
        What::Silent { ms } => (format!("(nothing for {ms} ms)"), None),
    }
}

/// Bytes in rows of sixteen with their text beside them; one row where they are not the point.
fn dump(text: &mut String, hex: &str, length: usize, indent: &str, in_full: bool, options: &Options) {
    // Three columns for a byte's digits and one for its letter have to fit.
    let row = if options.width >= count(indent) + 16 * 4 + 3 { 16 } else { 8 };
    let bytes: Vec<u8> = hex::decode(hex).unwrap_or_default();
    let wanted = match (options.verbose, in_full) {
        (true, _) => bytes.len(),
        (false, true) => BYTES_SHOWN,
        (false, false) => row,
    };
    for chunk in bytes[..wanted.min(bytes.len())].chunks(row) {
        let digits: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let letters: String =
            chunk.iter().map(|&byte| if (0x20..0x7f).contains(&byte) { char::from(byte) } else { '·' }).collect();
        let digits = digits.join(" ");
        line(text, &format!("{indent}{}", paint(FAINT, format!("{digits:<width$}  {letters}", width = row * 3 - 1))));
    }
    if length > wanted.min(bytes.len()) {
        let more = length - wanted.min(bytes.len());
        line(text, &format!("{indent}{}", paint(FAINT, format!("… {more} bytes more, {length} in all"))));
    }
}

fn conclusions(text: &mut String, finding: &Finding, options: &Options) {
    let width = options.width.saturating_sub(count(MARGIN) + 10);
    let plain = Style::new();
    field(text, "what", BOLD, &finding.summary, width);
    for (index, expected) in finding.expected.iter().enumerate() {
        field(text, if index == 0 { "expected" } else { "or" }, plain, expected, width);
    }
    if let Some(actual) = &finding.actual {
        field(text, "came", plain, actual, width);
    }
    if let Some(exit) = &finding.exit {
        field(text, "process", plain, exit, width);
    }
    let skipped = if options.verbose { 0 } else { finding.stderr.len().saturating_sub(STDERR_SHOWN) };
    for (index, said) in finding.stderr.iter().skip(skipped).enumerate() {
        // A line stays a line: a stack trace that is wrapped cannot be read.
        let said = if options.verbose { said.clone() } else { cut(said, width) };
        field(text, if index == 0 { "stderr" } else { "" }, plain, &said, usize::MAX);
    }
    if let Some(cause) = &finding.likely_cause {
        field(text, "likely", CARE, cause, width);
    }
}

/// A name in a column of its own, and a text that is wrapped beside it.
fn field(text: &mut String, name: &str, style: Style, value: &str, width: usize) {
    for (index, part) in wrap(&printable(value), width).iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        line(text, &format!("{MARGIN}{}{}", paint(FAINT, format!("{name:<10}")), paint(style, part)));
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

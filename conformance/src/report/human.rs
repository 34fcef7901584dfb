//! The report for a person at a terminal: who the target is, what failed and why, and a summary that says what the run
//! means. It speaks when there is something to say; progress is another consumer's business.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::event::{CaseFinished, Description, Event, Verdict};
use crate::exit;
use crate::report::Report;
use crate::report::failure::{explain, word};
use crate::report::group::{Group, Groups};
use crate::report::layout::{BOLD, FAINT, counted, cut, heading, paint, wrap};
use crate::report::summary::Summary;

/// How many failures are told in full unless all are asked for.
const TOLD_IN_FULL: usize = 10;

/// How many reasons for blocked cases are shown unless all are asked for.
const CAUSES_SHOWN: usize = 8;

/// How to tell it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Columns of the screen.
    pub width: usize,
    /// Whether every case has a line, and every failure is told in full.
    pub verbose: bool,
    /// How the reader starts the harness: `cargo xtask conformance`.
    pub invocation: String,
    /// What `--target` said, until the run says it itself.
    pub target: String,
    /// What a replay needs beside the case and its configuration, with a space before: ` --mutant call.reply.id`.
    pub replay_flags: String,
    /// Where the built book stands, with a slash at its end.
    pub book: String,
}

/// Tells a run to a person.
#[derive(Debug)]
pub struct HumanReport<W> {
    out: W,
    options: Options,
    groups: Groups,
    summary: Summary,
}

impl<W: Write> HumanReport<W> {
    /// Writes to `out`, with colours; `out` drops them if they are not wanted.
    pub fn new(out: W, options: Options) -> Self {
        Self { out, options, groups: Groups::default(), summary: Summary::default() }
    }

    fn described(&mut self, description: &Description) -> io::Result<()> {
        self.summary.describe(description);
        let version = description.version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
        let rest = description.language.iter().chain(&description.homepage).map(|part| format!(" · {part}")).collect::<String>();
        writeln!(self.out, "\n  {}{}", paint(BOLD, format!("{}{version}", description.name)), paint(FAINT, rest))
    }

    fn planned(&mut self, event: &Event) -> io::Result<()> {
        self.summary.plan(event);
        let Event::Planned { configurations, cases, selected, .. } = event else { return Ok(()) };
        let of = if cases.len() == *selected { String::new() } else { format!(" of {selected}") };
        let text =
            format!("{}{of} {} in {}", cases.len(), plural(*selected, "case"), counted(configurations.len(), "configuration"));
        writeln!(self.out, "  {}\n", paint(FAINT, text))
    }

    fn finished(&mut self, finished: &CaseFinished) -> io::Result<()> {
        self.groups.add(finished);
        self.summary.add(finished);
        if !self.options.verbose {
            return Ok(());
        }
        let at = finished.configuration.map_or_else(String::new, |at| format!("{at}  "));
        let known = if finished.known.is_some() { " (known)" } else { "" };
        let time = paint(FAINT, format!("{} ms", finished.duration_ms));
        writeln!(self.out, "  {}{known}  {}{}  {time}", word(finished.verdict), paint(FAINT, at), finished.case)
    }

    fn tell(&mut self, verdict: Verdict, title: &str) -> io::Result<()> {
        let groups = self.groups.with(verdict, false);
        if groups.is_empty() {
            return Ok(());
        }
        let in_full = if self.options.verbose { groups.len() } else { TOLD_IN_FULL };
        writeln!(self.out, "{}\n", heading(title, self.options.width))?;
        for group in groups.iter().take(in_full) {
            writeln!(self.out, "{}", explain(&group.first, &self.groups.places(group), &self.options))?;
        }
        if groups.len() > in_full {
            writeln!(self.out, "{} more, in short; -v tells every one in full:\n", groups.len() - in_full)?;
            table(&mut self.out, &groups[in_full..], &self.options)?;
            writeln!(self.out)?;
        }
        Ok(())
    }

    fn blocked(&mut self) -> io::Result<()> {
        let groups = self.groups.with(Verdict::Blocked, false);
        let mut by_cause: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for group in groups {
            let cause = group.first.finding.as_ref().map_or("what it builds on failed", |finding| finding.summary.as_str());
            by_cause.entry(cause).or_default().push(&group.first.case);
        }
        if by_cause.is_empty() {
            return Ok(());
        }
        writeln!(self.out, "{}\n", heading("Blocked", self.options.width))?;
        let shown = if self.options.verbose { by_cause.len() } else { CAUSES_SHOWN };
        for (cause, cases) in by_cause.iter().take(shown) {
            let cases = if self.options.verbose { cases.join(", ") } else { some(cases, 4) };
            for part in wrap(cause, self.options.width.saturating_sub(2)) {
                writeln!(self.out, "  {part}")?;
            }
            for part in wrap(&cases, self.options.width.saturating_sub(6)) {
                writeln!(self.out, "      {}", paint(FAINT, part))?;
            }
        }
        let rest: usize = by_cause.values().skip(shown).map(Vec::len).sum();
        if rest > 0 {
            writeln!(self.out, "  and {} for other reasons (-v shows them)", counted(rest, "case"))?;
        }
        writeln!(self.out)
    }

    fn end(&mut self, event: &Event) -> io::Result<()> {
        let Event::RunFinished { stale_known, exit, duration_ms, .. } = event else { return Ok(()) };
        // Why nothing ran is told as an error, and there is nothing to sum up.
        if matches!(*exit, exit::USAGE | exit::TARGET | exit::HARNESS) && self.summary.is_empty() {
            return Ok(());
        }
        if self.options.verbose {
            writeln!(self.out)?;
        }
        self.tell(Verdict::HarnessFault, "Harness faults")?;
        self.tell(Verdict::Fail, "Failures")?;
        self.tell(Verdict::Warn, "Warnings")?;
        self.blocked()?;
        let text = self.summary.text(&self.groups, stale_known, *duration_ms, *exit, &self.options);
        self.out.write_all(text.as_bytes())?;
        if *exit == exit::INTERRUPTED {
            writeln!(self.out, "  Interrupted: the cases above are all that ran.")?;
        }
        self.out.flush()
    }
}

impl<W: Write> Report for HumanReport<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::RunStarted { target, .. } => {
                // A saved run is about the target that it says, whatever this command line says.
                self.options.target.clone_from(target);
                Ok(())
            }
            Event::Progress { .. } => Ok(()),
            Event::TargetDescribed { description } => self.described(description),
            Event::Planned { .. } => self.planned(event),
            Event::CaseFinished(finished) => self.finished(finished),
            Event::RunFinished { .. } => self.end(event),
        }
    }
}

/// One line for each group.
fn table(out: &mut impl Write, groups: &[&Group], options: &Options) -> io::Result<()> {
    let column = groups.iter().map(|group| group.first.case.chars().count()).max().unwrap_or(0).min(44);
    for group in groups {
        let what = group.first.finding.as_ref().map_or("", |finding| finding.summary.as_str());
        let room = options.width.saturating_sub(column + 10);
        let case = format!("{:<column$}", group.first.case);
        writeln!(out, "  {}  {case}  {}", word(group.first.verdict), paint(FAINT, cut(what, room)))?;
    }
    Ok(())
}

/// `case` or `cases`.
pub(super) fn plural(n: usize, what: &str) -> String {
    if n == 1 { what.to_owned() } else { format!("{what}s") }
}

/// The first few of a list, and how many there are beyond.
pub(super) fn some(list: &[&str], count: usize) -> String {
    let mut text = list.iter().take(count).copied().collect::<Vec<_>>().join(", ");
    if list.len() > count {
        text.push_str(&format!(" and {} more", list.len() - count));
    }
    text
}

//! What a run means, in one screen: each configuration and profile with its denominator, what is not claimed, which
//! failures are known and why, and one last line that says whether it held.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anstyle::Style;
use duplex_vectors::Profile;

use crate::event::{
    CaseFinished, Configuration, Description, Event, LeftOut, NotClaimed, PlannedCase, PlannedConfiguration, Verdict,
};
use crate::exit;
use crate::plan::profile_name;
use crate::report::choices::{Choice, Choices};
use crate::report::group::{Group, Groups};
use crate::report::human::{Options, plural, some};
use crate::report::layout::{BAD, BOLD, CARE, FAINT, GOOD, counted, duration, heading, paint, wrap};

/// Counts a run.
#[derive(Debug, Default)]
pub(super) struct Summary {
    issues: Option<String>,
    configurations: Vec<(PlannedConfiguration, Counts)>,
    cases: Vec<PlannedCase>,
    not_claimed: Vec<NotClaimed>,
    left_out: Vec<LeftOut>,
    selected: usize,
    all: Counts,
    /// Cases that did not pass somewhere, standing checks and probes among them.
    imperfect: BTreeSet<String>,
    seen: BTreeSet<String>,
    choices: Choices,
}

/// Verdicts of one configuration, or of all.
#[derive(Debug, Default)]
struct Counts {
    /// Planned cases that are through, standing checks not counted.
    finished: usize,
    passed: usize,
    failed: usize,
    known: usize,
    warned: usize,
    blocked: usize,
    faults: usize,
}

/// One column of the table.
type Pick = fn(&Counts) -> usize;

impl Counts {
    fn add(&mut self, finished: &CaseFinished) {
        let is_extra = !finished.is_planned();
        self.finished += usize::from(!is_extra);
        let count = match finished.verdict {
            // A probe or standing check that holds is no case of the plan: it would make `passed` more than there are.
            Verdict::Pass if is_extra => return,
            Verdict::Pass => &mut self.passed,
            _ if finished.known.is_some() => &mut self.known,
            Verdict::Fail => &mut self.failed,
            Verdict::Warn => &mut self.warned,
            Verdict::Blocked => &mut self.blocked,
            Verdict::HarnessFault => &mut self.faults,
        };
        *count += 1;
    }
}

impl Summary {
    pub(super) fn describe(&mut self, description: &Description) {
        self.issues.clone_from(&description.issues);
    }

    pub(super) fn plan(&mut self, event: &Event) {
        if let Event::Planned { configurations, not_claimed, cases, left_out, selected, .. } = event {
            self.configurations = configurations.iter().map(|one| (one.clone(), Counts::default())).collect();
            self.not_claimed.clone_from(not_claimed);
            self.cases.clone_from(cases);
            self.left_out.clone_from(left_out);
            self.selected = *selected;
        }
    }

    /// Whether nothing was planned.
    pub(super) fn is_empty(&self) -> bool {
        self.configurations.is_empty()
    }

    pub(super) fn add(&mut self, finished: &CaseFinished) {
        self.all.add(finished);
        self.choices.add(finished);
        self.seen.insert(finished.case.clone());
        if finished.verdict != Verdict::Pass {
            self.imperfect.insert(finished.case.clone());
        }
        let of = |one: Configuration| finished.configuration == Some(one);
        if let Some((_, counts)) = self.configurations.iter_mut().find(|(planned, _)| of(planned.configuration)) {
            counts.add(finished);
        }
    }

    pub(super) fn text(&self, groups: &Groups, stale: &[String], ms: u64, exit: u8, options: &Options) -> String {
        let mut text = String::new();
        if !self.configurations.is_empty() {
            line(&mut text, &format!("{}\n", heading("Summary", options.width)));
            self.table(&mut text);
            self.profiles(&mut text);
        }
        if options.verbose {
            self.choices(&mut text, options);
        }
        self.not_claimed(&mut text, options);
        known(&mut text, &groups.known(), options);
        if !stale.is_empty() {
            line(
                &mut text,
                &format!("  {}", paint(BAD, "known failures that are out of date; remove them, or run with --bless")),
            );
            for one in stale {
                wrapped(&mut text, "    ", one, options);
            }
            text.push('\n');
        }
        self.verdict(&mut text, groups, stale, ms, exit);
        if let Some(issues) = self.issues.as_ref().filter(|_| self.all.failed > 0) {
            line(&mut text, &format!("  {}", paint(FAINT, format!("reports about this implementation go to {issues}"))));
        }
        text
    }

    fn table(&self, text: &mut String) {
        let shows = |pick: Pick| self.configurations.iter().any(|(_, counts)| pick(counts) > 0);
        let columns: [(&str, Pick, Style); 5] = [
            ("failed", |counts| counts.failed, BAD),
            ("warned", |counts| counts.warned, CARE),
            ("known", |counts| counts.known, CARE),
            ("blocked", |counts| counts.blocked, FAINT),
            ("faults", |counts| counts.faults, BAD),
        ];
        let mut head = format!("  {:<31}{:>9}", "configuration", "passed");
        for (name, pick, _) in columns {
            if shows(pick) {
                write!(head, "{name:>8}").expect("invariant: writing to a string cannot fail");
            }
        }
        let unfinished = |one: &(PlannedConfiguration, Counts)| one.0.cases.saturating_sub(one.1.finished);
        let shows_unfinished = self.configurations.iter().any(|one| unfinished(one) > 0);
        if shows_unfinished {
            head.push_str(" not run");
        }
        line(text, &paint(FAINT, head));
        for one in &self.configurations {
            let (planned, counts) = one;
            let Configuration { transport, role, framing, codec } = planned.configuration;
            let passed = format!("{}/{}", counts.passed, planned.cases);
            let style = if counts.passed == planned.cases { GOOD } else { BOLD };
            let name = format!("{:<6}{:<10}{:<8}{:<7}", transport.as_str(), role.as_str(), framing.as_str(), codec.as_str());
            let mut row = format!("  {name:<31}{}", paint(style, format!("{passed:>9}")));
            for (_, pick, style) in columns {
                if shows(pick) {
                    let n = pick(counts);
                    row.push_str(&if n == 0 { paint(FAINT, format!("{:>8}", "·")) } else { paint(style, format!("{n:>8}")) });
                }
            }
            if shows_unfinished {
                row.push_str(&paint(BAD, format!("{:>8}", unfinished(one))));
            }
            line(text, &row);
        }
        text.push('\n');
    }

    /// Each profile with how many of its cases hold in every configuration that they ran in.
    fn profiles(&self, text: &mut String) {
        let mut all: BTreeMap<Profile, (usize, usize)> = BTreeMap::new();
        for case in &self.cases {
            let (hold, total) = all.entry(case.profile).or_default();
            *total += 1;
            *hold += usize::from(self.seen.contains(&case.case) && !self.imperfect.contains(&case.case));
        }
        line(text, &paint(FAINT, format!("  {:<28}{:>12}", "profile", "cases hold")));
        for (profile, (hold, total)) in all {
            let style = if hold == total { GOOD } else { BOLD };
            let held = format!("{:>12}", format!("{hold}/{total}"));
            line(text, &format!("  {:<28}{}", profile_name(profile), paint(style, held)));
        }
        text.push('\n');
    }

    /// Each way that was seen where more than one is allowed.
    fn choices(&self, text: &mut String, options: &Options) {
        let all = self.choices.all();
        if all.is_empty() {
            return;
        }
        line(text, &paint(FAINT, "  seen, where more than one order or answer is allowed"));
        let mut last = None;
        for Choice { case, step, came, times, of, ways } in all {
            if last.replace((case.clone(), step)) != Some((case.clone(), step)) {
                let (seen, allowed) = ways;
                wrapped(text, "    ", &format!("{case}, step {step}: {seen} of {} seen", counted_ways(allowed)), options);
            }
            wrapped(text, "        ", &format!("{times} of {of}: {came}"), options);
        }
        text.push('\n');
    }

    fn not_claimed(&self, text: &mut String, options: &Options) {
        if !self.not_claimed.is_empty() {
            line(text, &paint(FAINT, "  not claimed"));
            for one in &self.not_claimed {
                let cases = match one.cases {
                    0 => String::new(),
                    n => format!("{n} of {} {}", self.selected, plural(self.selected, "case")),
                };
                let reason = one.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
                wrapped(text, "    ", &format!("{:<29} {cases}{reason}", one.what), options);
            }
            text.push('\n');
        }
        let unfit: usize = self.configurations.iter().map(|(planned, _)| planned.not_applicable).sum();
        if !self.left_out.is_empty() || unfit > 0 {
            line(text, &paint(FAINT, "  left out"));
            for one in &self.left_out {
                wrapped(text, "    ", &format!("{}: {}", counted(one.cases, "case"), one.why), options);
            }
            if unfit > 0 {
                let why = "of another role, transport, framing or codec in their configuration";
                wrapped(text, "    ", &format!("{} {why}", counted(unfit, "run")), options);
            }
            text.push('\n');
        }
    }

    fn verdict(&self, text: &mut String, groups: &Groups, stale: &[String], ms: u64, exit: u8) {
        let Counts { failed, known, warned, blocked, faults, passed, .. } = &self.all;
        let mut parts = vec![format!("{passed} passed")];
        for (n, word) in
            [(failed, "failed"), (faults, "harness faults"), (blocked, "blocked"), (known, "known"), (warned, "warned")]
        {
            if *n > 0 {
                parts.push(format!("{n} {word}"));
            }
        }
        let failing: BTreeSet<&str> = groups.with(Verdict::Fail, false).iter().map(|group| group.first.case.as_str()).collect();
        let style = if exit == exit::HELD { GOOD } else { BAD };
        let sentence = conclusion(&Ended { stale: stale.to_vec(), exit, duration_ms: ms }, failing.len(), *known, *warned);
        line(text, &format!("  {}", paint(style, sentence)));
        let runs = passed + failed + known + warned + blocked + faults;
        line(text, &format!("  {}", paint(FAINT, format!("{}: {} · {}", counted(runs, "run"), parts.join(", "), duration(ms)))));
    }
}

/// So many ways; beyond counting, many.
fn counted_ways(ways: u64) -> String {
    match usize::try_from(ways) {
        Ok(ways) if ways < 10_000 => counted(ways, "way"),
        _ => "many ways".to_owned(),
    }
}

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Known failures that are out of date.
    pub(super) stale: Vec<String>,
    /// The exit status.
    pub(super) exit: u8,
    /// From start to end.
    pub(super) duration_ms: u64,
}

/// What a run means, in one sentence. `failing` cases fail; so many runs of cases failed as known, or warned.
pub(super) fn conclusion(ended: &Ended, failing: usize, known: usize, warned: usize) -> String {
    let sentence = match ended.exit {
        exit::HELD if failing > 0 => "What fails is written down as known; it holds from now on.",
        exit::HELD if known > 0 => "Holds, known failures aside.",
        exit::HELD if warned > 0 => "Everything that ran holds, with warnings.",
        exit::HELD => "Everything that ran holds.",
        exit::TARGET => "The target does not say what it claims, and nothing else could run.",
        exit::HARNESS => "The harness itself is at fault; this says nothing about the target.",
        exit::FAILED if failing > 0 => {
            return format!("Does not conform: {} {}.", counted(failing, "case"), if failing == 1 { "fails" } else { "fail" });
        }
        exit::FAILED if !ended.stale.is_empty() => "The known failures are out of date.",
        exit::FAILED if warned > 0 => "Warnings count as failures here.",
        exit::FAILED => "Does not conform: cases could not run.",
        _ => "The run did not come to its end.",
    };
    sentence.to_owned()
}

/// Known failures, grouped by their reason.
fn known(text: &mut String, groups: &[&Group], options: &Options) {
    let mut by_reason: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for group in groups {
        by_reason.entry(group.first.known.as_deref().unwrap_or_default()).or_default().insert(&group.first.case);
    }
    if by_reason.is_empty() {
        return;
    }
    line(text, &paint(FAINT, "  known failures"));
    for (reason, cases) in by_reason {
        let cases: Vec<&str> = cases.into_iter().collect();
        wrapped(text, "    ", reason, options);
        let list = if options.verbose { cases.join(", ") } else { some(&cases, 4) };
        for part in wrap(&list, options.width.saturating_sub(8)) {
            line(text, &format!("        {}", paint(FAINT, part)));
        }
    }
    text.push('\n');
}

fn wrapped(text: &mut String, indent: &str, value: &str, options: &Options) {
    for (index, part) in wrap(value, options.width.saturating_sub(indent.len() + 2)).iter().enumerate() {
        line(text, &format!("{indent}{}{part}", if index == 0 { "" } else { "  " }));
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line.trim_end_matches(' '));
    text.push('\n');
}

//! `--list`: what would run, without running it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use duplex_vectors::Corpus;

use crate::event::{Configuration, PlannedCase};
use crate::exit;
use crate::plan::{self, Planning, profile_name};
use crate::report::{BOLD, FAINT};

use super::args::{Args, Format};
use super::drive::{check_filters, corpus, nothing_to_run};
use super::stop::Stop;

/// Lists the suite for a target that claims everything: nothing is started.
pub(super) fn of_suite(args: &Args) -> Result<u8, Stop> {
    let corpus: &'static Corpus = corpus()?;
    check_filters(corpus, args)?;
    let selection = args.selection();
    let planning = plan::plan(corpus, &plan::everything(corpus), &selection);
    if planning.cases.is_empty() {
        return Err(nothing_to_run(args, &planning, "any target"));
    }
    print(args, &planning)
}

/// Writes a plan to standard output.
pub(super) fn print(args: &Args, planning: &Planning) -> Result<u8, Stop> {
    let mut out = anstream::stdout().lock();
    let written = match args.format {
        Format::Human => people(&mut out, planning),
        Format::Json => programs(&mut out, planning),
    };
    match written {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::harness(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(exit::HELD),
    }
}

fn programs(out: &mut impl Write, planning: &Planning) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &planning.event())?;
    writeln!(out)
}

fn people(out: &mut impl Write, planning: &Planning) -> io::Result<()> {
    let mut runs_in: BTreeMap<String, Vec<Configuration>> = BTreeMap::new();
    for one in &planning.plan.configurations {
        for case in &one.cases {
            runs_in.entry(case.id()).or_default().push(one.configuration);
        }
    }
    let all = planning.plan.configurations.len();
    let column = planning.cases.iter().map(|case| case.case.len()).max().unwrap_or(0).min(48);
    let mut heading = None;
    for case in &planning.cases {
        let is_message = case.case.starts_with("message:");
        if heading != Some((case.profile, is_message)) {
            heading = Some((case.profile, is_message));
            let once = if is_message { ": single messages, once for each codec" } else { "" };
            writeln!(out, "{BOLD}{}{once}{BOLD:#}", profile_name(case.profile))?;
        }
        let PlannedCase { case, title, .. } = case;
        let runs = runs_in.get(case).map_or(0, Vec::len);
        let is_everywhere = is_message || runs == all;
        let runs = if is_everywhere { String::new() } else { format!(" ({runs} of {all} configurations)") };
        writeln!(out, "  {case:<column$}  {FAINT}{title}{runs}{FAINT:#}")?;
    }
    writeln!(out)?;
    for one in &planning.plan.configurations {
        let unfit = if one.not_applicable == 0 { String::new() } else { format!(", {} not applicable", one.not_applicable) };
        let name = one.configuration.to_string();
        writeln!(out, "{name:<32} {:>4} cases{FAINT}{unfit}{FAINT:#}", one.cases.len())?;
    }
    for one in &planning.plan.not_claimed {
        let cases = if one.cases == 0 { String::new() } else { format!(": {} of {} cases", one.cases, planning.selected) };
        writeln!(out, "{FAINT}not claimed: {}{cases}{FAINT:#}", one.what)?;
    }
    for one in &planning.left_out {
        writeln!(out, "{FAINT}left out: {} cases: {}{FAINT:#}", one.cases, one.why)?;
    }
    let (cases, runs) = (planning.cases.len(), planning.runs());
    writeln!(out, "{BOLD}{cases} cases{BOLD:#} in {all} configurations: {runs} runs")
}

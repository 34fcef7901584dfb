//! `duplex-conformance coverage`: rules beside checks and mutants.

use std::io::{self, Write};

use clap::Args;
use duplex_spec::Level;

use crate::coverage::{Coverage, Covered, coverage};
use crate::exit;
use crate::mutant::Mutant;
use crate::plan;
use crate::report::{BAD, BOLD, FAINT};

use super::args::Format;
use super::drive::corpus;
use super::stop::Stop;

const LONG_ABOUT: &str = "\
Sets the rules of the book beside the checks that decide them and the mutants that prove those checks. Nothing runs.

Checks are sessions, messages that a session can carry to a peer, standing checks of every frame (`observe:`), and probes of \
the target contract (`target:`). Rules of the chapter `api` are advice: nobody scores them.

Exit status: 1 if a MUST or SHOULD has no check and the book does not call it untestable, if it calls one so that has, if a \
rule that a check decides has no mutant, or if a check or mutant names a rule that the book does not have; otherwise 0.";

/// The arguments of `coverage`.
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
pub(super) struct CoverageArgs {
    /// Only rules whose id starts so
    #[arg(value_name = "RULE")]
    rules: Vec<String>,

    /// Only rules without a mutant that some check decides
    #[arg(long)]
    unproved: bool,

    /// `json` writes one object: `rules` and `faults`
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Writes the table.
pub(super) fn run(args: &CoverageArgs) -> Result<u8, Stop> {
    let mutants = Mutant::all().map_err(|error| Stop::harness(error.to_string()))?;
    let mut table = coverage(duplex_spec::registry(), &plan::suite(corpus()?), &mutants);
    table.rules.retain(|one| {
        let is_meant = args.rules.is_empty() || args.rules.iter().any(|start| one.rule.starts_with(start.as_str()));
        is_meant && (!args.unproved || (one.mutants.is_empty() && one.checks() > 0))
    });
    let mut out = anstream::stdout().lock();
    let written = match args.format {
        Format::Json => serde_json::to_writer_pretty(&mut out, &table).map_err(io::Error::from).and_then(|()| writeln!(out)),
        Format::Human => people(&mut out, &table),
    };
    match written {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::harness(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(if table.faults.is_empty() { exit::HELD } else { exit::FAILED }),
    }
}

fn people(out: &mut impl Write, table: &Coverage) -> io::Result<()> {
    let width = table.rules.iter().map(|one| one.rule.len()).max().unwrap_or(0);
    writeln!(out, "{BOLD}{:<width$}  level   sessions messages frames probes mutants{BOLD:#}", "rule")?;
    let mut chapter = "";
    for one in &table.rules {
        if one.chapter != chapter {
            chapter = &one.chapter;
            writeln!(out, "{FAINT}{chapter}{FAINT:#}")?;
        }
        let number = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.len().to_string() };
        let counts = [(8, &one.sessions), (8, &one.messages), (6, &one.observers), (6, &one.probes), (7, &one.mutants)];
        let counts: Vec<String> = counts.iter().map(|(width, names)| format!("{:>width$}", number(names))).collect();
        writeln!(out, "{:<width$}  {:<7} {}{}", one.rule, one.level, counts.join(" "), remark(one))?;
    }
    let count = |level, has: fn(&Covered) -> bool| table.rules.iter().filter(|one| one.level == level && has(one)).count();
    writeln!(out)?;
    for level in [Level::Must, Level::Should, Level::May] {
        let (all, decided) = (count(level, |_| true), count(level, |one| one.checks() > 0));
        let untestable = count(level, |one| one.untestable.is_some());
        let proved = count(level, |one| one.checks() > 0 && !one.mutants.is_empty());
        writeln!(out, "{level:<6} {all:>3} rules: {decided} decided, {untestable} untestable; {proved} with a mutant")?;
    }
    for fault in &table.faults {
        writeln!(out, "{BAD}error{BAD:#}: {fault}")?;
    }
    Ok(())
}

fn remark(one: &Covered) -> String {
    match &one.untestable {
        _ if one.is_advice() => format!("  {FAINT}advice, never scored{FAINT:#}"),
        Some(why) => format!("  {FAINT}untestable: {why}{FAINT:#}"),
        None if one.checks() == 0 && one.level != Level::May => format!("  {BAD}no check{BAD:#}"),
        None => String::new(),
    }
}

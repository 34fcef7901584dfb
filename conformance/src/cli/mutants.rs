//! `duplex-conformance mutants`: which checks see which fault.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

use crate::exit;
use crate::mutant::Mutant;
use crate::mutant::hunt::{Hunt, Hunter};
use crate::report::{BAD, BOLD, FAINT};
use crate::run::{self, RunOptions};
use crate::select::{Filter, Selection, nearest};
use crate::target::Surroundings;

use super::args::Format;
use super::drive::corpus;
use super::prepare;
use super::stop::Stop;

/// Checks that kill a mutant, and broken ones, that are shown by name unless more was asked for.
const SHOWN: (usize, usize) = (3, 12);

const LONG_ABOUT: &str = "\
Proves the checks. A mutant stands between the harness and a target that keeps the book, and breaks one rule on the wire; a \
check that names the rule has to see it. Mutants are data: conformance/mutants/<chapter>.toml.

Each mutant runs in the configuration in which most of the cases apply that name its rule, and in others for the cases that \
apply only there. It is killed when one of those, or a standing check of the rule, fails or warns that holds without the \
mutant. What only blocks kills nothing. A case is dead when it kills no mutant of the rules that it names.

Exit status: 0 if every mutant is killed, 1 if one survives or, where all mutants run, a case is dead, 2 for a wrong command line, 3 if \
the target does not start, 4 if the harness is at fault.";

/// The arguments of `mutants`.
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
pub(super) struct MutantsArgs {
    /// Only mutants whose name or rule matches: a part of it, a glob, or `=name`
    #[arg(value_name = "NAME", value_parser = Filter::parse)]
    names: Vec<Filter>,

    /// The target that is broken; it has to keep the book by itself
    #[arg(long, value_name = "TARGET", default_value = "reference")]
    target: String,

    /// How many mutants at once [default: four for each processor, since most of the time is waiting]
    #[arg(long, short, value_name = "N")]
    jobs: Option<NonZeroUsize>,

    /// Runs only the cases that name a mutant's rule: about a minute; with the others of their profiles it is many
    #[arg(long)]
    quick: bool,

    /// Names all checks that see a mutant
    #[arg(long, short)]
    verbose: bool,

    /// `json` writes one object a line for each mutant, and one for the whole
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Runs the mutants and writes the ledger.
pub(super) fn run(args: &MutantsArgs, surroundings: &Surroundings) -> Result<u8, Stop> {
    let mutants = selected(args)?;
    let found = surroundings.find(&args.target)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Stop::harness(format!("the system gives no threads or file handles: {error}")))?;
    let started = Instant::now();
    let ledger = LocalSet::new().block_on(&runtime, async {
        if let Some(step) = found.prepare.as_ref().filter(|step| !step.unless.exists()) {
            prepare::run(step, &args.target).await?;
        }
        found.check_program().map_err(|error| Stop::program(&error, &args.target))?;
        let options = RunOptions::default();
        let (description, _) = run::describe(&found.target, &Selection::default(), &options)
            .await
            .map_err(|failure| Stop::target(failure.to_string(), "--help"))?;
        let jobs = args.jobs.map_or_else(|| 4 * std::thread::available_parallelism().map_or(2, usize::from), usize::from);
        let mut hunter = Hunter::new(corpus()?, found.target.clone(), description, Duration::from_secs(1), args.quick);
        note("running the cases without a mutant");
        let broken = hunter.rule_out(&mutants, jobs).await;
        let cases = hunter.cases();
        let hunts = hunt_all(Arc::new(hunter), &mutants, jobs).await;
        Ok::<_, Stop>(Ledger { hunts, broken, cases })
    })?;
    clear();
    let mut out = anstream::stdout().lock();
    let written = match args.format {
        Format::Human => ledger.people(&mut out, args, started.elapsed()),
        Format::Json => ledger.programs(&mut out),
    };
    match written {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::harness(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(ledger.exit(args)),
    }
}

fn selected(args: &MutantsArgs) -> Result<Vec<Mutant>, Stop> {
    let all = Mutant::all().map_err(|error| Stop::harness(error.to_string()))?;
    let is_meant = |filter: &Filter, mutant: &Mutant| filter.has(&mutant.name()) || filter.has(&mutant.rule);
    for filter in &args.names {
        if !all.iter().any(|mutant| is_meant(filter, mutant)) {
            let names: Vec<String> = all.iter().map(Mutant::name).collect();
            let near = nearest(filter.text(), names.iter().map(String::as_str), 3);
            let attempt = near.first().map_or_else(|| "mutants".to_owned(), |near| format!("mutants {near}"));
            let stop = Stop::usage(format!("no mutant matches `{filter}`"), attempt);
            return Err(stop.advise("mutants stand in conformance/mutants/<chapter>.toml"));
        }
    }
    let is_wanted = |mutant: &Mutant| args.names.is_empty() || args.names.iter().any(|filter| is_meant(filter, mutant));
    Ok(all.into_iter().filter(is_wanted).collect())
}

/// Runs some mutants at once; the hunts come back in the order of the mutants.
async fn hunt_all(hunter: Arc<Hunter>, mutants: &[Mutant], jobs: usize) -> Vec<Hunt> {
    let places = Arc::new(Semaphore::new(jobs.max(1)));
    let mut hunts = JoinSet::new();
    for (index, mutant) in mutants.iter().cloned().enumerate() {
        let (hunter, places) = (Arc::clone(&hunter), Arc::clone(&places));
        hunts.spawn_local(async move {
            let _place = places.acquire().await;
            (index, hunter.hunt(&mutant).await)
        });
    }
    let mut done: Vec<(usize, Hunt)> = Vec::new();
    let mut survivors = 0;
    while let Some(hunt) = hunts.join_next().await {
        // One that panicked is missing from the ledger: the harness's fault.
        let Ok(hunt) = hunt else { continue };
        survivors += usize::from(!hunt.1.is_killed());
        done.push(hunt);
        note(&format!("{} of {} mutants, {survivors} survived", done.len(), mutants.len()));
    }
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, hunt)| hunt).collect()
}

/// Shows where the command is, on a screen in place, elsewhere now and then.
fn note(text: &str) {
    let mut err = anstream::stderr().lock();
    let is_screen = io::stderr().is_terminal();
    let count = text.split(' ').next().and_then(|count| count.parse::<usize>().ok());
    // Nobody is left to tell if standard error is gone.
    let _ = if is_screen {
        write!(err, "\r\x1b[K{text}")
    } else if count.is_none_or(|count| count % 25 == 0) {
        writeln!(err, "{text}")
    } else {
        Ok(())
    };
}

fn clear() {
    if io::stderr().is_terminal() {
        let _ = write!(anstream::stderr(), "\r\x1b[K");
    }
}

struct Ledger {
    hunts: Vec<Hunt>,
    /// Cases that fail without a mutant.
    broken: Vec<String>,
    /// Cases that can run on the target.
    cases: BTreeSet<String>,
}

impl Ledger {
    /// Mutants that no check of their rule sees, although one can run.
    fn survivors(&self) -> impl Iterator<Item = &Hunt> {
        self.hunts.iter().filter(|hunt| !hunt.is_killed() && hunt.configuration.is_some())
    }

    /// Cases that kill no mutant of the rules that they name.
    fn dead(&self) -> BTreeSet<&String> {
        let alive: BTreeSet<&String> = self.hunts.iter().flat_map(|hunt| &hunt.killers).collect();
        self.cases.iter().filter(|case| !alive.contains(case)).collect()
    }

    fn exit(&self, args: &MutantsArgs) -> u8 {
        if self.hunts.iter().any(|hunt| !hunt.faults.is_empty()) {
            exit::HARNESS
        } else if self.survivors().next().is_some() || (args.names.is_empty() && !self.dead().is_empty()) {
            exit::FAILED
        } else {
            exit::HELD
        }
    }

    fn programs(&self, out: &mut impl Write) -> io::Result<()> {
        for hunt in &self.hunts {
            let line = json!({
                "mutant": hunt.mutant, "rule": hunt.rule, "title": hunt.title, "killed": hunt.is_killed(),
                "configuration": hunt.configuration, "ran": hunt.ran, "killers": hunt.killers, "others": hunt.others,
                "faults": hunt.faults, "duration_ms": run::milliseconds(hunt.duration),
            });
            writeln!(out, "{line}")?;
        }
        writeln!(out, "{}", json!({"survivors": self.survivors().count(), "dead": self.dead(), "broken": self.broken}))
    }

    fn people(&self, out: &mut impl Write, args: &MutantsArgs, took: Duration) -> io::Result<()> {
        let width = self.hunts.iter().map(|hunt| hunt.mutant.len()).max().unwrap_or(0);
        let mut chapter = "";
        for hunt in &self.hunts {
            let first = hunt.rule.split('.').next().unwrap_or_default();
            if first != chapter {
                chapter = first;
                writeln!(out, "{BOLD}{chapter}{BOLD:#}")?;
            }
            let limit = if args.verbose { usize::MAX } else { SHOWN.0 };
            let name = &hunt.mutant;
            match hunt.configuration {
                None => writeln!(out, "  not run   {name:<width$}  {FAINT}no case of its rule can run on this target{FAINT:#}")?,
                Some(_) if hunt.is_killed() => {
                    writeln!(out, "  killed    {name:<width$}  {FAINT}by {}{FAINT:#}", listed(&hunt.killers, limit, "more"))?;
                }
                Some(configuration) => {
                    writeln!(out, "  {BAD}SURVIVED{BAD:#}  {name:<width$}  {}", hunt.title)?;
                    let seen = if hunt.others.is_empty() {
                        String::new()
                    } else {
                        format!("; other checks see it: {}", listed(&hunt.others, limit, "more"))
                    };
                    writeln!(out, "            {FAINT}{} case(s) of the rule ran in {configuration}{seen}{FAINT:#}", hunt.ran)?;
                }
            }
            for fault in &hunt.faults {
                writeln!(out, "            {BAD}harness fault{BAD:#}: {fault}")?;
            }
        }
        self.summary(out, args, took)
    }

    fn summary(&self, out: &mut impl Write, args: &MutantsArgs, took: Duration) -> io::Result<()> {
        let killed = self.hunts.iter().filter(|hunt| hunt.is_killed()).count();
        let survived = self.survivors().count();
        let rules: BTreeSet<&String> = self.hunts.iter().map(|hunt| &hunt.rule).collect();
        writeln!(out)?;
        if !self.broken.is_empty() {
            let broken = listed(&self.broken, SHOWN.1, "more");
            writeln!(out, "not counted, they fail without a mutant: {broken}")?;
        }
        if args.names.is_empty() {
            let dead: Vec<String> = self.dead().into_iter().cloned().collect();
            writeln!(
                out,
                "{} of {} cases kill no mutant of their rules{}",
                dead.len(),
                self.cases.len(),
                if dead.is_empty() { "" } else { ":" }
            )?;
            if !dead.is_empty() {
                writeln!(out, "{BAD}dead{BAD:#}: {}", dead.join(", "))?;
            }
        }
        let seconds = took.as_secs_f64();
        let (all, rules) = (self.hunts.len(), rules.len());
        writeln!(out, "{BOLD}{all} mutants of {rules} rules: {killed} killed, {survived} survived{BOLD:#} in {seconds:.1} s")
    }
}

fn listed(names: &[String], limit: usize, more: &str) -> String {
    let mut text = names.iter().take(limit).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > limit {
        text.push_str(&format!(" and {} {more}", names.len() - limit));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use duplex_vectors::{Codec, Framing, Role, Transport};

    use super::*;
    use crate::event::Configuration;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MutantsArgs,
    }

    fn hunt(killers: &[&str], others: &[&str]) -> Hunt {
        Hunt {
            mutant: "call.reply".to_owned(),
            rule: "call.reply".to_owned(),
            title: "nothing is answered".to_owned(),
            configuration: Some(Configuration {
                transport: Transport::Tcp,
                role: Role::Acceptor,
                framing: Framing::Length,
                codec: Codec::Json,
            }),
            ran: 1,
            killers: killers.iter().map(|&case| case.to_owned()).collect(),
            others: others.iter().map(|&case| case.to_owned()).collect(),
            faults: Vec::new(),
            duration: Duration::ZERO,
        }
    }

    fn status(hunts: Vec<Hunt>, cases: &[&str], line: &[&str]) -> u8 {
        let ledger = Ledger { hunts, broken: Vec::new(), cases: cases.iter().map(|&case| case.to_owned()).collect() };
        ledger.exit(&Line::parse_from([&["mutants"], line].concat()).args)
    }

    #[test]
    fn a_mutant_has_to_be_killed_by_a_check_that_names_its_rule() {
        assert_eq!(status(vec![hunt(&["call.reply"], &[])], &["call.reply"], &[]), exit::HELD);
        assert_eq!(status(vec![hunt(&[], &[])], &[], &[]), exit::FAILED);
        assert_eq!(status(vec![hunt(&[], &["call.progress"])], &[], &[]), exit::FAILED);
    }

    #[test]
    fn a_check_that_kills_nothing_fails_the_whole_ledger_and_no_part_of_it() {
        let hunts = || vec![hunt(&["call.reply"], &[])];
        assert_eq!(status(hunts(), &["call.reply", "call.reply.dead"], &[]), exit::FAILED);
        assert_eq!(status(hunts(), &["call.reply", "call.reply.dead"], &["call.reply"]), exit::HELD);
    }
}

//! The `duplex-conformance` command: reads the arguments, finds the target, and leads one run from its first event to its
//! exit status. What runs is the plan's to say, how it runs is the `run` module's, and how it looks is the reports'.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anstream::ColorChoice;

use crate::report::Report;
use crate::report::file::Unwritten;
use crate::report::human::{HumanReport, Options};
use crate::report::json::JsonReport;
use crate::report::progress::{Beside, Progress};
use crate::target::Surroundings;

use args::{Args, Color, Format, Verb};
use stop::Stop;

mod args;
mod bench;
mod coverage;
mod drive;
mod files;
mod listing;
mod mutants;
mod prepare;
mod saved;
mod stop;

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let args = match Args::of_process() {
        Ok(args) => args,
        Err(error) => {
            // Help and version are what was asked for; all else is a mistake.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { crate::exit::USAGE } else { crate::exit::HELD });
        }
    };
    match args.color {
        Color::Always => ColorChoice::Always.write_global(),
        Color::Never => ColorChoice::Never.write_global(),
        Color::Auto => {}
    }
    match run(&args) {
        Ok(exit) => ExitCode::from(exit),
        Err(stop) => {
            // Nobody is left to tell if standard error is gone.
            let _ = anstream::stderr().write_all(stop.text(&invocation()).as_bytes());
            ExitCode::from(stop.exit)
        }
    }
}

fn run(args: &Args) -> Result<u8, Stop> {
    let surroundings = Surroundings::of_process().map_err(Stop::surroundings)?;
    match &args.verb {
        Some(Verb::Mutants(args)) => return mutants::run(args, &surroundings),
        Some(Verb::Coverage(args)) => return coverage::run(args),
        Some(Verb::Bench(args)) => return bench::run(args, &surroundings),
        None => {}
    }
    if args.list && args.target.is_none() {
        return listing::of_suite(args);
    }
    let unwritten = Unwritten::default();
    let all_reports = || -> Result<Vec<Box<dyn Report>>, Stop> {
        let mut all = reports(args);
        all.extend(files::create(args, &options(args), &unwritten)?);
        Ok(all)
    };
    let exit = match &args.from {
        Some(path) => saved::tell(path, all_reports()?)?,
        None => drive::run(args, &surroundings.find(args.target())?, all_reports()?)?,
    };
    // The run is told on the screen by now, whatever became of the file.
    unwritten.first().map_or(Ok(exit), |(path, error)| Err(Stop::write(&path, &error)))
}

/// Who listens to the run, results on standard output, progress on standard error.
fn reports(args: &Args) -> Vec<Box<dyn Report>> {
    let shows_progress = !args.list && args.from.is_none();
    let is_screen = io::stderr().is_terminal();
    match args.format {
        Format::Human if shows_progress && is_screen && !args.verbose => {
            let human = HumanReport::new(anstream::stdout(), options(args));
            vec![Box::new(Beside::new(Progress::bar(io::sink()), human))]
        }
        format => {
            let mut reports: Vec<Box<dyn Report>> = Vec::new();
            if shows_progress && !is_screen {
                reports.push(Box::new(Progress::lines(anstream::stderr())));
            }
            reports.push(match format {
                Format::Human => Box::new(HumanReport::new(anstream::stdout(), options(args))),
                Format::Json => Box::new(JsonReport::new(io::stdout())),
            });
            reports
        }
    }
}

fn options(args: &Args) -> Options {
    Options {
        width: width(),
        verbose: args.verbose,
        invocation: invocation(),
        target: args.target().to_owned(),
        replay_flags: args.replay_flags(),
        book: format!("{}/", args.book.trim_end_matches('/')),
    }
}

/// Columns to write in: the screen's, within what is pleasant to read; 100 where there is none.
fn width() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let screen = terminal_size::terminal_size().filter(|_| io::stdout().is_terminal()).map(|(width, _)| usize::from(width.0));
    columns.or(screen).unwrap_or(100).clamp(60, 120)
}

/// How the reader started the harness: through cargo, or as a command of its own.
fn invocation() -> String {
    let by_cargo = std::env::var_os("CARGO").is_some();
    if by_cargo { "cargo xtask conformance" } else { "duplex-conformance" }.to_owned()
}

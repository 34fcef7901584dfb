//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, StyledStr, TypedValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use duplex_vectors::{Codec, Framing, Profile, Role, Transport};

use crate::plan::{all_profiles, profile_name};
use crate::report::file::Wanted;
use crate::schedule::Schedule;
use crate::select::{Filter, Selection};

use super::bench::BenchArgs;
use super::coverage::CoverageArgs;
use super::mutants::MutantsArgs;

const ABOUT: &str = "Checks a Duplex peer against the book";

const LONG_ABOUT: &str = "\
Checks a Duplex peer, written in any language, against the book.

The target is a program that offers the conformance service (\"The target contract\" in the book). The harness starts it, \
asks what it claims, holds every session of the suite with it in every transport, role, framing and codec that it claims, \
and says which sentences of the book do not hold, and why. What the target does not claim is counted, never passed over \
in silence.";

const AFTER: &str = "\
Examples:
  --target ./my-peer                     a program that speaks the target contract
  --target adapters/node                 a folder with a target.toml
  --target tcp://127.0.0.1:7000          a peer that runs already
  --target ./my-peer --filter reply      cases with `reply` in their id or a rule
  --target ./my-peer --filter 'call.*'   cases whose id or a rule starts so
  --target ./my-peer --filter '=call.a'  exactly one case
  --target ./my-peer --codec json --role acceptor
  --target adapters/node --bless         only new failures count from now on
  --target ./my-peer --report html=run.html --report junit=run.xml
  --list --profile core                  the cases of a profile, without a target

A target.toml:
  command = [\"node\", \"adapter.js\"]        run in this folder
  prepare = [\"npm\", \"ci\"]                 optional: run once before
  prepared = \"node_modules\"               optional: there when it has run
  known_failures = \"known-failures.toml\"
  name = \"my-peer\"                        optional, like homepage

Exit status:
  0    everything that ran held, known failures aside
  1    a check failed, or a known failure is out of date (--strict: or warned)
  2    the command line or a file is wrong, or there is nothing to run
  3    the target could not be prepared, started or asked what it claims
  4    the harness itself is at fault
  130  interrupted";

/// The arguments.
#[derive(Debug, Parser)]
#[command(name = "duplex-conformance", version, about = ABOUT, long_about = LONG_ABOUT, after_long_help = AFTER,
    after_help = "--help has examples and the exit statuses.", max_term_width = 110, args_conflicts_with_subcommands = true,
    subcommand_help_heading = "For authors of the suite", disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) verb: Option<Verb>,

    /// What to check: an executable, a folder or file with a target.toml, `tcp://host:port`, or the name of a target that
    /// ships with the harness [default: reference]
    #[arg(long, value_name = "TARGET")]
    pub(super) target: Option<String>,

    /// Only over these transports
    #[arg(long, value_delimiter = ',', value_parser = axis(Transport::all(), Transport::as_str), help_heading = "What runs")]
    transport: Vec<Transport>,

    /// Only with the target in these roles
    #[arg(long, value_delimiter = ',', value_parser = axis(Role::all(), Role::as_str), help_heading = "What runs")]
    role: Vec<Role>,

    /// Only in these framings
    #[arg(long, value_delimiter = ',', value_parser = axis(Framing::all(), Framing::as_str), help_heading = "What runs")]
    framing: Vec<Framing>,

    /// Only in these codecs
    #[arg(long, value_delimiter = ',', value_parser = axis(Codec::all(), Codec::as_str), help_heading = "What runs")]
    codec: Vec<Codec>,

    /// Only the cases of these profiles
    #[arg(long, value_delimiter = ',', value_parser = axis(all_profiles().to_vec(), profile_name), help_heading = "What runs")]
    profile: Vec<Profile>,

    /// Only cases whose id or rules match: a part of the id, a glob, or `=id`; any of several
    #[arg(long, value_name = "FILTER", value_delimiter = ',', value_parser = Filter::parse, help_heading = "What runs")]
    filter: Vec<Filter>,

    /// Stops at the first case, in the order of the suite, that does not hold: what to build next
    #[arg(long, conflicts_with_all = ["list", "bless", "thorough"], help_heading = "What runs")]
    pub(super) next: bool,

    /// Shows what would run, and runs nothing; without --target the whole suite
    #[arg(long, help_heading = "What runs")]
    pub(super) list: bool,

    /// How many processes or connections at once [default: one for each processor]
    #[arg(long, short, value_name = "N", help_heading = "How it runs")]
    pub(super) jobs: Option<NonZeroUsize>,

    /// How long an answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "How it runs")]
    pub(super) timeout: Duration,

    /// A process of its own for every case
    #[arg(long, help_heading = "How it runs")]
    pub(super) isolate: bool,

    /// Runs what holds again while its bytes travel in other pieces: in one-byte writes, split at each byte, glued, read slowly
    #[arg(long, conflicts_with = "schedule", help_heading = "How it runs")]
    pub(super) thorough: bool,

    /// In which pieces bytes travel: `plain`, `bytes`, `glued`, `slow`, or `split:N`, each frame cut behind N bytes
    #[arg(long, value_name = "SCHEDULE", default_value_t, hide_default_value = true, help_heading = "How it runs")]
    pub(super) schedule: Schedule,

    /// For authors of the suite: breaks the target in exactly one way on the wire, to see the suite find it
    #[arg(long, value_name = "NAME", help_heading = "How it runs")]
    pub(super) mutant: Option<String>,

    /// A warning (a SHOULD that does not hold) counts as a failure
    #[arg(long, help_heading = "What counts")]
    pub(super) strict: bool,

    /// Writes the target's known-failures file: adds what fails, removes what holds, keeps reasons
    #[arg(long, conflicts_with_all = ["list", "mutant"], help_heading = "What counts")]
    pub(super) bless: bool,

    /// `json` writes one event a line, as in schemas/events.schema.json
    #[arg(long, value_enum, default_value_t = Format::Human, help_heading = "What it says")]
    pub(super) format: Format,

    /// A line for every case, and every failure in full
    #[arg(long, short, action = ArgAction::SetTrue, help_heading = "What it says")]
    pub(super) verbose: bool,

    /// Colours; `auto` is on a terminal, and not if NO_COLOR is set
    #[arg(long, value_enum, default_value_t = Color::Auto, value_name = "WHEN", help_heading = "What it says")]
    pub(super) color: Color,

    /// Tells a run again that was saved with --events or --format json; nothing runs
    #[arg(long, value_name = "FILE", help_heading = "What it says",
        conflicts_with_all = ["list", "bless", "events", "strict", "mutant", "isolate", "jobs", "thorough", "schedule", "next"])]
    pub(super) from: Option<PathBuf>,

    /// Also writes this report when the run is over, again and again: html (one page), junit (XML), markdown (short),
    /// badge (SVG), shields (JSON for shields.io), results (JSON, rule by rule)
    #[arg(long, value_name = "FORM=FILE", value_parser = Wanted::parse, conflicts_with = "list", help_heading = "What it says")]
    pub(super) report: Vec<Wanted>,

    /// Where the built book stands, for links in reports: a folder or an address
    #[arg(long, value_name = "PLACE", default_value = "target/book", help_heading = "What it says")]
    pub(super) book: String,

    /// Also writes the events to this file, as `--format json` does
    #[arg(long, value_name = "FILE", help_heading = "What it says")]
    pub(super) events: Option<PathBuf>,
}

/// What to do instead of checking a target.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Proves the checks: breaks a right target in one way after the other, and shows which checks see it
    Mutants(MutantsArgs),
    /// Sets the rules of the book beside the checks that decide them and the mutants that prove those
    Coverage(CoverageArgs),
    /// Measures what the harness costs above the frames that it exchanges
    Bench(BenchArgs),
}

/// The form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Human,
    /// For programs.
    Json,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal.
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

impl Args {
    /// The arguments of this process; a word that is no verb is told with the flags that it may have been meant for.
    pub(super) fn of_process() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|mut error| {
            let word = match error.get(ContextKind::InvalidSubcommand) {
                // clap has something nearer.
                _ if error.get(ContextKind::SuggestedSubcommand).is_some() => None,
                Some(ContextValue::String(word)) => Some(word.clone()),
                _ => None,
            };
            if let Some(word) = word {
                let tips = [
                    format!("to run the cases with `{word}` in their id or a rule, use '--filter {word}'"),
                    format!("to check a peer of that name or at that place, use '--target {word}'"),
                ];
                let tips = tips.into_iter().map(StyledStr::from).collect();
                error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
            }
            error
        })
    }

    /// What to check.
    pub(super) fn target(&self) -> &str {
        self.target.as_deref().unwrap_or("reference")
    }

    /// What the run is narrowed to.
    pub(super) fn selection(&self) -> Selection {
        Selection {
            transports: self.transport.clone(),
            roles: self.role.clone(),
            framings: self.framing.clone(),
            codecs: self.codec.clone(),
            profiles: self.profile.clone(),
            filters: self.filter.clone(),
        }
    }

    /// The flags of this run that a replay of one of its cases has to repeat, a space before each.
    pub(super) fn replay_flags(&self) -> String {
        let mutant = self.mutant.as_ref().map_or_else(String::new, |mutant| format!(" --mutant {mutant}"));
        let schedule = if self.schedule == Schedule::Plain { String::new() } else { format!(" --schedule {}", self.schedule) };
        mutant + &schedule
    }
}

/// A parser of one axis, whose possible values `--help` and mistakes show.
fn axis<T: Copy + Send + Sync + 'static>(all: Vec<T>, name: fn(T) -> &'static str) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.iter().map(|&value| name(value)).collect::<Vec<_>>())
        .map(move |text| *all.iter().find(|&&value| name(value) == text).expect("invariant: clap passes on possible values only"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || "a number of seconds above 0, such as 5 or 0.5".to_owned();
    let seconds: f64 = text.parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| !duration.is_zero()).ok_or_else(wrong)
}

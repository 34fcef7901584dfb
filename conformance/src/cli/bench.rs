//! `duplex-conformance bench`: what the harness costs above the frames that it exchanges.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use clap::Args;
use duplex_vectors::{Codec, Framing, Role, Transport};
use serde_json::json;

use crate::event::{Configuration, Description, Event, Verdict};
use crate::exit;
use crate::floor::{self, Note, Relay};
use crate::plan::{self, Plan};
use crate::report::BOLD;
use crate::run::peer::Peer;
use crate::run::{self, RunOptions};
use crate::select::Selection;
use crate::target::{Surroundings, Target, TargetKind};

use super::args::Format;
use super::drive::corpus;
use super::prepare;
use super::stop::Stop;

/// One configuration, where a session costs a connection and no process.
const CONFIGURATION: Configuration =
    Configuration { transport: Transport::Tcp, role: Role::Acceptor, framing: Framing::Length, codec: Codec::Json };

const LONG_ABOUT: &str = "\
Measures the harness. Holds the whole suite with a target, one session after the other, and then pumps the same frames through a \
fresh process of it without looking at them; rounds of the two take turns, and medians count. Nothing is judged: cases that do \
not hold are counted, since waiting for them is no work.";

/// The arguments of `bench`.
#[derive(Debug, Args)]
#[command(long_about = LONG_ABOUT)]
pub(super) struct BenchArgs {
    /// The target, as `--target` of a run; one that ships with the harness or a program
    #[arg(long, value_name = "TARGET", default_value = "reference")]
    target: String,

    /// How many rounds of each
    #[arg(long, value_name = "N", default_value = "5")]
    rounds: NonZeroUsize,

    /// `json` writes one object
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Measures, and writes the figures.
pub(super) fn run(args: &BenchArgs, surroundings: &Surroundings) -> Result<u8, Stop> {
    let found = surroundings.find(&args.target)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Stop::harness(format!("the system gives no threads or file handles: {error}")))?;
    let figures = runtime.block_on(async {
        if let Some(step) = found.prepare.as_ref().filter(|step| !step.unless.exists()) {
            prepare::run(step, &args.target).await?;
        }
        found.check_program().map_err(|error| Stop::program(&error, &args.target))?;
        measure(&found.target, args.rounds.get()).await
    })?;
    let mut out = anstream::stdout().lock();
    let written = match args.format {
        Format::Human => figures.people(&mut out, args),
        Format::Json => figures.programs(&mut out, args),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Stop::harness(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(exit::HELD),
    }
}

struct Figures {
    cases: usize,
    failed: usize,
    judged: Duration,
    floor: Duration,
}

impl Figures {
    fn ratio(&self) -> f64 {
        self.judged.as_secs_f64() / self.floor.as_secs_f64()
    }

    fn rate(&self, took: Duration) -> f64 {
        self.cases as f64 / took.as_secs_f64()
    }

    fn people(&self, out: &mut impl Write, args: &BenchArgs) -> io::Result<()> {
        writeln!(out, "{}, {CONFIGURATION}, {} cases, medians of {} rounds", args.target, self.cases, args.rounds)?;
        for (what, took) in [("judged", self.judged), ("floor", self.floor)] {
            writeln!(out, "  {what:<7} {:>7.2} s  {:>7.0} cases/s", took.as_secs_f64(), self.rate(took))?;
        }
        writeln!(out, "  {BOLD}ratio{BOLD:#}   {:>7.2}", self.ratio())?;
        if self.failed > 0 {
            writeln!(out, "  {} cases do not hold: the figures are of waiting as well", self.failed)?;
        }
        Ok(())
    }

    fn programs(&self, out: &mut impl Write, args: &BenchArgs) -> io::Result<()> {
        let line = json!({
            "target": args.target, "rounds": args.rounds, "cases": self.cases, "failed": self.failed,
            "judged_s": self.judged.as_secs_f64(), "floor_s": self.floor.as_secs_f64(), "ratio": self.ratio(),
        });
        writeln!(out, "{line}")
    }
}

async fn measure(target: &Target, rounds: usize) -> Result<Figures, Stop> {
    let options = RunOptions { jobs: 1, ..RunOptions::default() };
    let (description, _) = run::describe(target, &Selection::default(), &options)
        .await
        .map_err(|failure| Stop::target(failure.to_string(), "--help"))?;
    let selection = Selection {
        transports: vec![CONFIGURATION.transport],
        roles: vec![CONFIGURATION.role],
        framings: vec![CONFIGURATION.framing],
        codecs: vec![CONFIGURATION.codec],
        ..Selection::default()
    };
    let plan = plan::plan(corpus()?, &description, &selection).plan;
    let bench = Bench { target, description: &description, plan: &plan, options: &options };
    let note = bench.note().await?;
    let (mut judged, mut pumped) = (Vec::new(), Vec::new());
    let (mut cases, mut failed) = (0, 0);
    for _ in 0..rounds {
        let (took, seen) = bench.judge().await?;
        (cases, failed) = seen;
        judged.push(took);
        pumped.push(bench.pump(&note).await?);
    }
    Ok(Figures { cases, failed, judged: median(judged), floor: median(pumped) })
}

struct Bench<'b> {
    target: &'b Target,
    description: &'b Description,
    plan: &'b Plan,
    options: &'b RunOptions,
}

impl Bench<'_> {
    /// A process of the target, and where it listens.
    async fn start(&self) -> Result<(Peer, SocketAddr), Stop> {
        let peer = Peer::start(self.target, CONFIGURATION, self.options.timeout).await;
        let peer = peer.map_err(|error| Stop::target(error.to_string(), "--help"))?;
        let address = peer.address().ok_or_else(|| Stop::harness("a TCP acceptor listens somewhere".to_owned()))?;
        Ok((peer, address))
    }

    async fn note(&self) -> Result<Note, Stop> {
        let (peer, address) = self.start().await?;
        let failed = |error: io::Error| Stop::harness(format!("no relay to the target: {error}"));
        let relay = Relay::to(address, CONFIGURATION.framing).await.map_err(failed)?;
        self.hold(relay.address()).await;
        peer.stop().await;
        Ok(relay.note())
    }

    async fn judge(&self) -> Result<(Duration, (usize, usize)), Stop> {
        let (peer, address) = self.start().await?;
        let started = Instant::now();
        let seen = self.hold(address).await;
        let took = started.elapsed();
        peer.stop().await;
        Ok((took, seen))
    }

    async fn pump(&self, note: &Note) -> Result<Duration, Stop> {
        let (peer, address) = self.start().await?;
        let started = Instant::now();
        let pumped = floor::pump(note, address, CONFIGURATION.framing).await;
        let took = started.elapsed();
        peer.stop().await;
        pumped.map_err(|error| Stop::harness(format!("the frames do not pass a second time: {error}")))?;
        Ok(took)
    }

    /// Holds the suite with whoever listens there; gives how many cases ran and how many failed.
    async fn hold(&self, address: SocketAddr) -> (usize, usize) {
        let target = Target { name: self.target.name.clone(), kind: TargetKind::Address(address) };
        let (mut cases, mut failed) = (0, 0);
        let mut sink = |event: Event| {
            if let Event::CaseFinished(case) = event {
                cases += 1;
                failed += usize::from(case.verdict != Verdict::Pass);
            }
        };
        run::run(&target, self.description, self.plan, self.options, &mut sink).await;
        (cases, failed)
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

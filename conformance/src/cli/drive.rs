//! One run, from its first event to its exit status.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use duplex_vectors::{Corpus, Role, Transport};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::contract;
use crate::event::{CaseFinished, Configuration, Description, Event, Verdict};
use crate::exit;
use crate::known::{KnownFailures, Suite};
use crate::mutant::Mutant;
use crate::plan::{self, Case, Planning};
use crate::report::Report;
use crate::report::json::{FORMAT, JsonReport};
use crate::run::{self, Attempt, RunOptions, StartFailure};
use crate::select::{Selection, admits, nearest};
use crate::target::{Found, TargetKind};

use super::args::Args;
use super::stop::Stop;
use super::{listing, prepare};

/// Finds out what the target claims, plans, runs, and reports.
pub(super) fn run(args: &Args, found: &Found, mut reports: Vec<Box<dyn Report>>) -> Result<u8, Stop> {
    let corpus = corpus()?;
    check_filters(corpus, args)?;
    if let Some(path) = &args.events {
        let file = fs::File::create(path).map_err(|error| Stop::write(path, &error))?;
        reports.push(Box::new(JsonReport::new(io::BufWriter::new(file))));
    }
    let known = match &found.known_failures {
        Some(path) => KnownFailures::read(path).map_err(|error| Stop::known(&error, args.target()))?,
        None if args.bless => return Err(no_place_for_known(args)),
        None => KnownFailures::default(),
    };
    let mutant = args.mutant.as_deref().map(mutant).transpose()?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Stop::harness(format!("the system gives no threads or file handles: {error}")))?;
    let mut session = Drive { args, found, corpus, mutant, selection: args.selection(), recorder: Recorder::new(reports, known) };
    runtime.block_on(session.whole_run())
}

/// The suite.
pub(super) fn corpus() -> Result<&'static Corpus, Stop> {
    Corpus::embedded().map_err(|error| Stop::harness(format!("the suite cannot be loaded:\n{error}")))
}

/// The fault to put between the two sides.
fn mutant(name: &str) -> Result<Mutant, Stop> {
    Mutant::named(name).map_err(|error| {
        let all: Vec<String> = Mutant::all().unwrap_or_default().iter().map(Mutant::name).collect();
        let near = nearest(name, all.iter().map(String::as_str), 3);
        let attempt = near.first().map_or_else(|| "--help".to_owned(), |near| format!("--mutant {near}"));
        let stop = Stop::usage(error.to_string(), attempt);
        if near.is_empty() {
            stop.advise("mutants stand in conformance/mutants/<chapter>.toml")
        } else {
            stop.advise(format!("near: {}", near.join(", ")))
        }
    })
}

struct Drive<'a> {
    args: &'a Args,
    found: &'a Found,
    corpus: &'static Corpus,
    mutant: Option<Mutant>,
    selection: Selection,
    recorder: Recorder,
}

impl Drive<'_> {
    async fn whole_run(&mut self) -> Result<u8, Stop> {
        let started = Instant::now();
        // From here on, whatever is being done.
        let mut interrupts = signal(SignalKind::interrupt())
            .map_err(|error| Stop::harness(format!("the system does not tell of interrupts: {error}")))?;
        self.recorder.event(Event::RunStarted {
            format: FORMAT,
            harness: env!("CARGO_PKG_VERSION").to_owned(),
            suite: self.corpus.revision(),
            target: self.args.target().to_owned(),
        });
        let options = self.run_options();
        let begin = async {
            self.prepare().await?;
            self.planning(&options).await
        };
        // A target that never answers is left here too, and nothing of it stays behind.
        let begun = tokio::select! {
            begun = begin => begun,
            _ = interrupts.recv() => return self.finish(0, started, true),
        };
        let (description, planning) = match begun {
            Ok(begun) => begun,
            Err(stop) => {
                // Whoever follows the events is told of the end, too.
                self.recorder.end(stop.exit, Vec::new(), started);
                return Err(stop);
            }
        };
        if self.args.list {
            return listing::print(self.args, &planning);
        }
        self.recorder.event(Event::TargetDescribed { description: description.clone() });
        self.recorder.event(planning.event());

        let recorder = &mut self.recorder;
        let (found, selection, args) = (self.found, &self.selection, self.args);
        // Cases come in the order of the plan, so what was told first is what to build next.
        let (first, stop) = (Cell::new(false), Notify::new());
        let execute = async {
            let mut sink = |event: Event| {
                if first.get() {
                    return;
                }
                recorder.event(event);
                if args.next && recorder.has_failed(args) {
                    first.set(true);
                    stop.notify_one();
                }
            };
            if selects_probes(selection) {
                contract::probe(&found.target, &description, &options, &mut |event| {
                    if is_selected(selection, &event) {
                        sink(event);
                    }
                })
                .await;
            }
            run::run(&found.target, &description, &planning.plan, &options, &mut sink).await;
        };
        let was_interrupted = tokio::select! {
            biased;
            () = stop.notified() => false,
            () = execute => false,
            _ = interrupts.recv() => true,
        };
        // The rest was not to run.
        let planned = if first.get() { 0 } else { planning.runs() };
        self.finish(planned, started, was_interrupted)
    }

    async fn prepare(&mut self) -> Result<(), Stop> {
        let target = self.args.target();
        if let Some(step) = self.found.prepare.as_ref().filter(|step| !step.unless.exists()) {
            self.recorder
                .event(Event::Progress { doing: format!("preparing {}: {}", self.found.target.name, step.command.join(" ")) });
            prepare::run(step, target).await?;
        }
        self.found.check_program().map_err(|error| Stop::program(&error, target))
    }

    async fn planning(&mut self, options: &RunOptions) -> Result<(Description, Planning), Stop> {
        let name = self.found.target.name.clone();
        self.recorder.event(Event::Progress { doing: format!("asking {name} what it claims") });
        let (description, at) = run::describe(&self.found.target, &self.selection, options).await.map_err(|failure| {
            if !self.args.list {
                self.tell_undescribed(&failure);
            }
            if let StartFailure::Harness(what) = failure {
                return Stop::harness(what);
            }
            Stop::target(failure.to_string(), "--help").advise(
                "a target reads its settings from DUPLEX_ variables and answers `conformance.describe`; the book has it under \"The target contract\"",
            )
        })?;
        if let TargetKind::Address(_) = self.found.target.kind {
            narrow_to_address(&mut self.selection, at)?;
        }
        let planning = plan::plan(self.corpus, &description, &self.selection);
        // A filter for probes alone leaves no case, and yet something to run.
        let is_for_probes = !self.selection.filters.is_empty() && selects_probes(&self.selection);
        if planning.runs() == 0 && !is_for_probes {
            return Err(nothing_to_run(self.args, &planning, &description.name));
        }
        Ok((description, planning))
    }

    /// Tells that a target does not say what it claims: where it came nearest that is one failure, and all else builds on it.
    fn tell_undescribed(&mut self, failure: &StartFailure) {
        let Some(Attempt { configuration, finding }) = failure.nearest(&self.selection) else { return };
        let Configuration { transport, role, framing, codec } = *configuration;
        let selection = Selection {
            transports: vec![transport],
            roles: vec![role],
            framings: vec![framing],
            codecs: vec![codec],
            ..self.selection.clone()
        };
        let planning = plan::plan(self.corpus, &plan::everything(self.corpus), &selection);
        self.recorder.event(planning.event());
        let is_first_only = self.args.next;
        let mut sink = |event: Event| {
            if !(is_first_only && matches!(&event, Event::CaseFinished(one) if one.verdict == Verdict::Blocked)) {
                self.recorder.event(event);
            }
        };
        for configuration in &planning.plan.configurations {
            run::not_up(configuration, finding.clone(), Duration::ZERO, &mut sink);
        }
    }

    fn run_options(&self) -> RunOptions {
        let processors = || std::thread::available_parallelism().map_or(2, usize::from);
        RunOptions {
            jobs: self.args.jobs.map_or_else(processors, usize::from),
            timeout: self.args.timeout,
            isolate: self.args.isolate,
            schedule: self.args.schedule,
            is_thorough: self.args.thorough,
            mutant: self.mutant.clone(),
        }
    }

    fn finish(&mut self, planned: usize, started: Instant, was_interrupted: bool) -> Result<u8, Stop> {
        let suite = suite(self.corpus);
        let recorder = &mut self.recorder;
        let mut stale = Vec::new();
        if was_interrupted || (self.args.next && recorder.has_failed(self.args)) {
            // A part of a run decides nothing about what is known.
        } else if self.args.bless {
            let path = recorder.known.path().to_path_buf();
            let text = recorder.known.blessed(&recorder.finished, &self.selection, &suite);
            fs::write(&path, text).map_err(|error| Stop::write(&path, &error))?;
        } else {
            stale = recorder.known.stale(&self.selection, &suite);
        }
        let exit = if was_interrupted { exit::INTERRUPTED } else { recorder.exit(planned, &stale, self.args) };
        recorder.end(exit, stale, started);
        Ok(exit)
    }
}

/// Keeps what the exit status and `--bless` need, and passes every event on.
struct Recorder {
    reports: Vec<Box<dyn Report>>,
    known: KnownFailures,
    finished: Vec<CaseFinished>,
    totals: BTreeMap<Verdict, usize>,
}

impl Recorder {
    fn new(reports: Vec<Box<dyn Report>>, known: KnownFailures) -> Self {
        Self { reports, known, finished: Vec::new(), totals: BTreeMap::new() }
    }

    fn event(&mut self, mut event: Event) {
        if let Event::CaseFinished(finished) = &mut event {
            self.known.judge(finished);
            *self.totals.entry(finished.verdict).or_default() += 1;
            self.finished.push(finished.clone());
        }
        // A reader that is gone (`| head`) misses the rest; the run and its exit status are the same.
        self.reports.retain_mut(|report| report.event(&event).is_ok());
    }

    /// The last event.
    fn end(&mut self, exit: u8, stale_known: Vec<String>, started: Instant) {
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.event(Event::RunFinished { totals: self.totals.clone(), stale_known, exit, duration_ms });
    }

    /// Whether a case failed that nothing knows of, or with `--strict` warned.
    fn has_failed(&self, args: &Args) -> bool {
        let counts =
            |verdict| matches!(verdict, Verdict::Fail | Verdict::HarnessFault) || (args.strict && verdict == Verdict::Warn);
        self.finished.iter().any(|one| one.known.is_none() && counts(one.verdict))
    }

    /// The exit status of a run that came to its end.
    fn exit(&self, planned: usize, stale: &[String], args: &Args) -> u8 {
        let new = |verdict| self.finished.iter().any(|one| one.verdict == verdict && one.known.is_none());
        let ran: BTreeSet<_> =
            self.finished.iter().filter(|one| one.is_planned()).map(|one| (&one.case, one.configuration)).collect();
        if self.totals.contains_key(&Verdict::HarnessFault) || ran.len() < planned {
            return exit::HARNESS;
        }
        // What is blocked by a known failure is as known as that; blocked by nothing that failed, it must not pass.
        let is_blocked_by_nothing =
            new(Verdict::Blocked) && !self.finished.iter().any(|one| matches!(one.verdict, Verdict::Fail | Verdict::Warn));
        let has_failed = new(Verdict::Fail) && !args.bless;
        let has_warned = new(Verdict::Warn) && args.strict;
        if has_failed || has_warned || is_blocked_by_nothing || !stale.is_empty() { exit::FAILED } else { exit::HELD }
    }
}

/// Whether the probes of the target contract run: unless filters are for something else.
fn selects_probes(selection: &Selection) -> bool {
    let for_target = |text: &str| text.starts_with("target") || "target:".contains(text);
    selection.profiles.is_empty()
        && (selection.filters.is_empty() || selection.filters.iter().any(|filter| for_target(filter.text())))
}

/// Whether a probe's verdict was asked for.
fn is_selected(selection: &Selection, event: &Event) -> bool {
    match event {
        Event::CaseFinished(finished) => selection.has_case(&finished.case, &finished.rules),
        _ => true,
    }
}

/// A peer that runs already is what it is: an acceptor on tcp, in the framing in which it answered.
fn narrow_to_address(selection: &mut Selection, at: Configuration) -> Result<(), Stop> {
    let is_possible = admits(&selection.transports, Transport::Tcp)
        && admits(&selection.roles, Role::Acceptor)
        && admits(&selection.framings, at.framing);
    if !is_possible {
        return Err(Stop::usage(
            format!("a peer that runs already is a tcp acceptor, and this one's framing is {}", at.framing),
            "--help",
        )
        .advise("leave --transport, --role and --framing away, or give a program as the target"));
    }
    selection.transports = vec![Transport::Tcp];
    selection.roles = vec![Role::Acceptor];
    selection.framings = vec![at.framing];
    Ok(())
}

fn suite(corpus: &'static Corpus) -> Suite {
    Suite {
        cases: plan::suite(corpus).iter().map(Case::id).collect(),
        rules: duplex_spec::registry().iter().map(|rule| rule.id.clone()).collect(),
    }
}

/// A filter that matches no case is a slip, even where others match.
pub(super) fn check_filters(corpus: &'static Corpus, args: &Args) -> Result<(), Stop> {
    let cases = plan::suite(corpus);
    for filter in &args.selection().filters {
        let is_probe = filter.text().starts_with("target") || "target:".contains(filter.text());
        if is_probe || cases.iter().any(|case| filter.has_case(&case.id(), case.rules())) {
            continue;
        }
        let ids: Vec<String> = cases.iter().map(Case::id).collect();
        let ids = ids.iter().map(String::as_str).chain(cases.iter().flat_map(|case| case.rules().iter().map(String::as_str)));
        let near = nearest(filter.text(), ids, 3);
        let attempt = near.first().map_or_else(|| "--list".to_owned(), |near| format!("--list --filter {near}"));
        let stop = Stop::usage(format!("no case and no rule of the suite matches `--filter {filter}`"), attempt);
        let is_rule = duplex_spec::registry().iter().any(|rule| filter.has(&rule.id));
        return Err(if is_rule {
            stop.advise("the book has such a rule, but no case decides it")
        } else if corpus.messages().iter().any(|vector| filter.has(&vector.id) || filter.has(&format!("message:{}", vector.id))) {
            stop.advise("there is such a message vector, but it is for codecs alone: no session can carry it to a peer")
        } else if near.is_empty() {
            stop.advise("--list shows every case")
        } else {
            stop.advise(format!("near: {}", near.join(", ")))
        });
    }
    Ok(())
}

/// Why a plan is empty although every filter matches something.
pub(super) fn nothing_to_run(args: &Args, planning: &Planning, who: &str) -> Stop {
    let mut missing: Vec<&str> = planning.plan.not_claimed.iter().map(|one| one.what.as_str()).collect();
    missing.extend(planning.left_out.iter().map(|one| one.why.as_str()));
    let target = args.target.as_ref().map_or_else(String::new, |target| format!("--target {target} "));
    let stop = Stop::usage(format!("nothing of this selection can run on {who}"), format!("{target}--list"));
    if missing.is_empty() {
        stop.advise("the cases of this selection are for other transports, roles, framings, codecs or profiles")
    } else {
        stop.advise(format!("not claimed or left out: {}", missing.join(", ")))
    }
}

fn no_place_for_known(args: &Args) -> Stop {
    let target = args.target();
    Stop::usage(format!("`{target}` has no place for known failures"), "--target <folder> --bless")
        .advise("--bless needs a target with a target.toml: put one beside the program, and name its folder")
}

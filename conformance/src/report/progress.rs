//! What is going on right now, on standard error: a bar where a person watches, a line for each configuration elsewhere.
//! Nothing that is only here is a result.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::event::{CaseFinished, Configuration, Event, Verdict};
use crate::report::Report;

/// Shows progress.
pub struct Progress<W> {
    bar: Option<ProgressBar>,
    out: W,
    left: BTreeMap<Configuration, Left>,
    failed: usize,
}

#[derive(Debug, Default)]
struct Left {
    planned: usize,
    finished: usize,
    failed: usize,
}

impl<W: Write> Progress<W> {
    /// A bar on standard error, which has to be a terminal; `out` is not used.
    pub fn bar(out: W) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(12));
        bar.set_style(spinner());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar: Some(bar), out, left: BTreeMap::new(), failed: 0 }
    }

    /// A line for each configuration that is through.
    pub fn lines(out: W) -> Self {
        Self { bar: None, out, left: BTreeMap::new(), failed: 0 }
    }

    /// Writes something else to the same screen, with the bar out of the way.
    pub fn beside<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn finished(&mut self, finished: &CaseFinished) -> io::Result<()> {
        let has_failed = matches!(finished.verdict, Verdict::Fail | Verdict::HarnessFault) && finished.known.is_none();
        self.failed += usize::from(has_failed);
        // Standing checks and probes are not part of the plan's count.
        let Some(at) = finished.configuration.filter(|_| finished.is_planned()) else { return Ok(()) };
        let Some(left) = self.left.get_mut(&at) else { return Ok(()) };
        left.finished += 1;
        left.failed += usize::from(has_failed);
        match &self.bar {
            Some(bar) => {
                bar.inc(1);
                bar.set_message(if self.failed == 0 { at.to_string() } else { format!("{at} · {} failed", self.failed) });
                Ok(())
            }
            None if left.finished == left.planned => {
                let failed = if left.failed == 0 { String::new() } else { format!(", {} failed", left.failed) };
                writeln!(self.out, "{at}: {} cases{failed}", left.planned)
            }
            None => Ok(()),
        }
    }
}

impl<W: Write> Report for Progress<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::RunStarted { .. } | Event::TargetDescribed { .. } => Ok(()),
            Event::Progress { doing } => match &self.bar {
                Some(bar) => {
                    bar.set_message(doing.clone());
                    Ok(())
                }
                None => writeln!(self.out, "{doing} …"),
            },
            Event::Planned { configurations, .. } => {
                for one in configurations {
                    self.left.insert(one.configuration, Left { planned: one.cases, ..Left::default() });
                }
                if let Some(bar) = &self.bar {
                    bar.set_length(configurations.iter().map(|one| one.cases as u64).sum());
                    bar.set_style(counter());
                    bar.set_message("");
                }
                Ok(())
            }
            Event::CaseFinished(finished) => self.finished(finished),
            Event::RunFinished { .. } => {
                if let Some(bar) = &self.bar {
                    bar.finish_and_clear();
                }
                Ok(())
            }
        }
    }
}

impl<W> Drop for Progress<W> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl<W> std::fmt::Debug for Progress<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("left", &self.left).field("failed", &self.failed).finish_non_exhaustive()
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner:.cyan} {wide_msg}").expect("invariant: the template is right")
}

fn counter() -> ProgressStyle {
    ProgressStyle::with_template("  {bar:24.cyan/black.bright} {pos:>4}/{len}  {elapsed:>3.dim}  {wide_msg}")
        .expect("invariant: the template is right")
        .progress_chars("━╸━")
}

/// Progress and another report on one screen.
#[derive(Debug)]
pub struct Beside<W, R> {
    progress: Progress<W>,
    report: R,
}

impl<W: Write, R: Report> Beside<W, R> {
    /// Shows progress below what the report writes.
    pub fn new(progress: Progress<W>, report: R) -> Self {
        Self { progress, report }
    }
}

impl<W: Write, R: Report> Report for Beside<W, R> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        self.progress.event(event)?;
        let report = &mut self.report;
        self.progress.beside(|| report.event(event))
    }
}

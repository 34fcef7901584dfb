//! Each case of the suite as a test of its own, against the reference peer: `cargo test -p duplex-target-reference -- stream.early`.
//!
//! A test runs in the first configuration that its case applies to; `cargo xtask conformance` runs it in all of them.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use duplex_conformance::event::{CaseFinished, Configuration, Description, Event, Verdict};
use duplex_conformance::plan::{Case, ConfigurationPlan, Plan, plan, profile_name};
use duplex_conformance::run::{RunOptions, describe, run};
use duplex_conformance::select::Selection;
use duplex_conformance::target::{Target, TargetKind};
use duplex_vectors::Corpus;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::from_args();
    let reference = Arc::new(Reference::start()?);
    let corpus = Corpus::embedded().map_err(Clone::clone)?;
    let planning = plan(corpus, &reference.description, &Selection::default());
    let mut cases: Vec<(Configuration, Case)> = Vec::new();
    for one in planning.plan.configurations {
        for case in one.cases {
            if cases.iter().all(|(_, known)| known.id() != case.id()) {
                cases.push((one.configuration, case));
            }
        }
    }
    let trials = cases.into_iter().map(|(configuration, case)| {
        let reference = Arc::clone(&reference);
        let kind = profile_name(case.profile());
        Trial::test(case.id(), move || reference.holds(configuration, case)).with_kind(kind)
    });
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
}

/// The reference peer's target, and what it says of itself.
struct Reference {
    runtime: Runtime,
    target: Target,
    description: Description,
    options: RunOptions,
}

impl Reference {
    fn start() -> Result<Self, Box<dyn Error>> {
        let command = vec![env!("CARGO_BIN_EXE_duplex-target-reference").to_owned()];
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
        let target = Target { name: "reference".to_owned(), kind: TargetKind::Command { command, folder } };
        let options = RunOptions { jobs: 1, ..RunOptions::default() };
        let runtime = Runtime::new()?;
        let (description, _) = runtime.block_on(describe(&target, &Selection::default(), &options))?;
        Ok(Self { runtime, target, description, options })
    }

    fn holds(&self, configuration: Configuration, case: Case) -> Result<(), Failed> {
        let id = case.id();
        let configurations = vec![ConfigurationPlan { configuration, cases: vec![case], not_applicable: 0 }];
        let plan = Plan { configurations, not_claimed: Vec::new() };
        let mut finished = Vec::new();
        self.runtime.block_on(run(&self.target, &self.description, &plan, &self.options, &mut |event| {
            if let Event::CaseFinished(one) = event {
                finished.push(one);
            }
        }));
        // Standing checks watch whole runs: a single session need not show all of them a frame.
        match finished.into_iter().find(|one| one.case == id || one.verdict == Verdict::Fail) {
            Some(one) if one.verdict == Verdict::Pass => Ok(()),
            Some(one) => Err(explained(&one).into()),
            None => Err(format!("`{id}` did not run").into()),
        }
    }
}

/// What is wrong, in short; the command that tells it in full.
fn explained(finished: &CaseFinished) -> String {
    let mut text = String::new();
    if let Some(finding) = &finished.finding {
        let expected = finding.expected.iter().map(|one| format!("\nexpected {one}"));
        let came = finding.actual.iter().map(|one| format!("\ncame     {one}"));
        text = [format!("{}: {}", finding.rule, finding.summary)].into_iter().chain(expected).chain(came).collect();
    }
    format!("{text}\nin full: cargo xtask conformance --filter '={}'", finished.case)
}

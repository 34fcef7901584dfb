//! Each mutant as a test of its own: the reference peer, broken in one way on the wire, fails a check that names the rule that
//! it breaks. `cargo test -p duplex-target-reference --test mutants -- stream.early`. Where all run, every case has to kill one.
//!
//! That the same checks hold without a mutant is what `tests/sessions.rs` shows.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use duplex_conformance::mutant::Mutant;
use duplex_conformance::mutant::hunt::Hunter;
use duplex_conformance::run::{RunOptions, describe};
use duplex_conformance::select::Selection;
use duplex_conformance::target::{Target, TargetKind};
use duplex_vectors::Corpus;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::Runtime;

/// Mutants at once, for each processor: most of the time is waiting for what does not come.
const AT_ONCE: usize = 4;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(2, usize::from);
    arguments.test_threads.get_or_insert(AT_ONCE * processors);
    let command = vec![env!("CARGO_BIN_EXE_duplex-target-reference").to_owned()];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
    let target = Target { name: "reference".to_owned(), kind: TargetKind::Command { command, folder } };
    let runtime = Arc::new(Runtime::new()?);
    let (description, _) = runtime.block_on(describe(&target, &Selection::default(), &RunOptions::default()))?;
    let corpus = Corpus::embedded().map_err(Clone::clone)?;
    let hunter = Arc::new(Hunter::new(corpus, target, description, Duration::from_secs(1), true));
    let killers = Killers::default();
    let trials = Mutant::all()?.into_iter().map(|mutant| {
        let (runtime, hunter, killers) = (Arc::clone(&runtime), Arc::clone(&hunter), Arc::clone(&killers));
        Trial::test(mutant.name(), move || is_killed(&runtime, &hunter, &mutant, &killers))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let alive = killers.lock().unwrap_or_else(PoisonError::into_inner);
    let dead: Vec<String> = hunter.cases().into_iter().filter(|case| !alive.contains(case)).collect();
    // Of a part of the mutants nothing follows for the cases.
    let is_whole = conclusion.num_filtered_out == 0 && conclusion.num_ignored == 0 && conclusion.num_passed > 0;
    if is_whole && !conclusion.has_failed() && !dead.is_empty() {
        eprintln!("cases that kill no mutant of the rules that they name: {}", dead.join(", "));
        return Ok(ExitCode::FAILURE);
    }
    Ok(conclusion.exit_code())
}

/// Cases that killed a mutant.
type Killers = Arc<Mutex<BTreeSet<String>>>;

fn is_killed(runtime: &Runtime, hunter: &Hunter, mutant: &Mutant, killers: &Killers) -> Result<(), Failed> {
    let hunt = runtime.block_on(hunter.hunt(mutant));
    killers.lock().unwrap_or_else(PoisonError::into_inner).extend(hunt.killers.iter().cloned());
    if let Some(fault) = hunt.faults.first() {
        return Err(format!("the harness is at fault: {fault}").into());
    }
    if hunt.is_killed() {
        return Ok(());
    }
    let name = mutant.name();
    Err(format!(
        "{}\nnone of the {} checks of `{}` sees it\nin full: cargo xtask conformance --mutant {name} --filter '={}'",
        mutant.title, hunt.ran, mutant.rule, mutant.rule
    )
    .into())
}

//! Runs that are given up while the target does nothing.

use std::io::{BufRead, BufReader};

use rustix::process::{Pid, Signal, kill_process};

use crate::run::Run;

/// Interrupts a run once it says this.
fn interrupted_at(run: &Run, says: &str) {
    let mut child = run.command(&["--timeout", "600"]).spawn().expect("the command starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(says)));
    assert!(found.is_some(), "the run never says {says:?}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "at {says:?}");
    assert_eq!(run.left_behind(), Vec::<String>::new(), "at {says:?}: processes stay behind");
    let events = run.events();
    assert_eq!(events.last().expect("an event")["event"], "run_finished");
}

#[test]
fn an_interrupted_run_ends_at_once_and_leaves_nothing() {
    interrupted_at(&Run::of("peer.py", "sleeps"), "asking");
    interrupted_at(&Run::new("half-frame"), "running");
    interrupted_at(&Run::new("ignores reply 1 tcp acceptor length"), "running");
}

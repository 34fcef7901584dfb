//! Faults that only a later session of a process meets, and what `--next` makes of a failure.

use crate::run::{CASE, Run, Told, at_once};

/// The second case in the order of the suite.
const SECOND: &str = "error.application.codes";

#[test]
fn what_dies_between_two_sessions_is_told_on_the_second() {
    let rows = [
        ("exits:3 echoed", "exit status 3"),
        ("dies:9 echoed", "signal 9"),
        ("closes echoed", "The target ended the connection"),
        ("deaf echoed", "Nothing comes any more"),
        ("exits:3 echoed 1 stdio initiator newline", "exit status 3"),
    ];
    at_once(&rows, |(fault, says)| {
        let run = Run::new(fault);
        // Only silence takes time to be told.
        let seconds = if fault.starts_with("deaf") { "4" } else { "60" };
        assert_eq!(run.to_end(run.command(&["--timeout", seconds])).0, Some(1), "{fault}");
        let findings = run.findings();
        let first = findings.first().unwrap_or_else(|| panic!("{fault}: nothing is found"));
        assert_eq!((first.case.as_str(), first.kind.as_str()), (SECOND, "depends_on_earlier"), "{fault}: {first:?}");
        assert!(first.says.contains(says), "{fault}: {first:?}");
    });
}

/// A run that does not wait long for what a later connection of the process is silent about.
fn told(fault: &str) -> (Option<i32>, Vec<Told>) {
    let run = Run::new(fault);
    (run.to_end(run.command(&["--timeout", "4"])).0, run.findings())
}

#[test]
fn slow_once_is_no_dependence() {
    at_once(&["forgets:2 reply 3 tcp acceptor length", "forgets:2 reply 3 tcp initiator length"], |fault| {
        assert_eq!(told(fault), (Some(0), Vec::new()), "{fault}");
    });
}

#[test]
fn never_again_is_one() {
    let (status, findings) = told("tires:2 reply 3 tcp acceptor length");
    assert_eq!(status, Some(1));
    let first = findings.first().expect("a finding");
    assert_eq!((first.case.as_str(), first.kind.as_str()), (SECOND, "depends_on_earlier"), "{first:?}");
    assert!(first.says.contains("although the target lives"), "{first:?}");
}

#[test]
fn a_death_behind_a_session_over_tcp_is_told_once_it_is_seen() {
    for fault in ["exits:3 end 3 tcp acceptor length", "dies:9 end 3 tcp initiator length"] {
        let run = Run::new(fault);
        assert_eq!(run.to_end(run.command(&[])).0, Some(1), "{fault}");
        let findings = run.findings();
        assert!(findings.iter().all(|told| ["crash", "depends_on_earlier"].contains(&told.kind.as_str())), "{findings:?}");
    }
}

#[test]
fn a_second_dial_is_served_like_any_and_told_where_it_is_not_one() {
    let run = Run::new("dials greeted 3 tcp initiator length");
    assert_eq!(run.to_end(run.command(&[])).0, Some(1));
    let findings = run.findings();
    assert_eq!((findings[0].case.as_str(), findings[0].kind.as_str()), (SECOND, "depends_on_earlier"), "{findings:?}");
}

#[test]
fn next_tells_the_first_case_that_does_not_hold_and_no_other() {
    let ends = |run: &Run, arguments: &[&str]| run.to_end(run.command(arguments)).0;
    let told = |run: &Run| run.findings().into_iter().map(|told| told.case).collect::<Vec<_>>();
    // With their prerequisite left out, the others are not blocked.
    let filter = ["--filter", "error.application.*"];
    let run = Run::new("id-as-string");
    assert_eq!(ends(&run, &filter), Some(1));
    let all = told(&run);
    assert!(all.len() > 1, "{all:?}");
    assert_eq!(ends(&run, &[&filter[..], &["--next"]].concat()), Some(1));
    assert_eq!(told(&run), all[..1]);
    assert_eq!(run.left_behind(), Vec::<String>::new());
    assert_eq!(ends(&Run::new("forks"), &["--next"]), Some(0), "everything holds");
    let run = Run::new("says:-ERR greeting");
    assert_eq!(ends(&run, &["--next"]), Some(3));
    let findings = run.findings();
    assert_eq!((findings.len(), findings[0].rule.as_str()), (1, "greeting.accept"), "{findings:?}");
    assert!(run.events().iter().all(|event| event["verdict"] != "blocked" && event["case"] != CASE));
}

//! Processes that die, in each way in which one can, and those that do not die or leave others behind.

use crate::run::{CASE, Run, each, each_in_time};

#[test]
fn each_kind_of_exit_is_a_crash_but_a_good_one() {
    each(&[
        ("exits:0 reply", CASE, "closed", "exit status 0"),
        ("exits:1 reply", CASE, "crash", "out of cheese"),
        ("exits:2 reply", CASE, "crash", "exit status 2"),
        ("exits:89 reply", CASE, "crash", "before the wire is touched"),
        ("exits:101 reply", CASE, "crash", "exit status 101"),
        ("exits:255 reply", CASE, "crash", "exit status 255"),
        ("dies:6 reply", CASE, "crash", "signal 6 (SIGABRT)"),
        ("dies:9 reply", CASE, "crash", "signal 9 (SIGKILL)"),
        ("dies:11 reply", CASE, "crash", "signal 11 (SIGSEGV)"),
        ("dies:15 reply", CASE, "crash", "signal 15 (SIGTERM)"),
        ("exits:0 reply 1 tcp acceptor length", CASE, "crash", "exit status 0"),
        ("exits:3 reply 1 tcp acceptor length", CASE, "crash", "exit status 3"),
        ("dies:9 reply 1 tcp acceptor length", CASE, "crash", "signal 9 (SIGKILL)"),
        ("dies:11 reply 1 tcp initiator length", CASE, "crash", "signal 11 (SIGSEGV)"),
        ("exits:3 reply 1 stdio initiator newline", CASE, "crash", "exit status 3"),
    ]);
}

#[test]
fn a_death_is_a_crash_at_every_step() {
    each(&[
        ("exits:3 start 3", CASE, "crash", "exit status 3"),
        ("dies:9 greeting 3", CASE, "crash", "signal 9"),
        ("exits:3 greeted 3", CASE, "crash", "exit status 3"),
        ("exits:3 describe 2", "target:smoke", "crash", "exit status 3"),
        ("dies:9 described 2", "target:smoke", "crash", "signal 9"),
        ("exits:3 replied", CASE, "crash", "exit status 3"),
        ("exits:3 end", "target:smoke", "crash", "exit status 3"),
        ("dies:6 connect 3 tcp acceptor length", CASE, "crash", "signal 6"),
        ("exits:3 greeting 3 tcp initiator length", CASE, "crash", "exit status 3"),
    ]);
}

#[test]
fn a_process_that_cannot_be_ended_politely_is_ended() {
    each_in_time(&[("ignores reply", CASE, "hang", ""), ("ignores reply 1 tcp initiator length", CASE, "hang", "")]);
}

#[test]
fn what_a_process_leaves_behind_is_ended_too() {
    each(&[
        ("grandchild reply", CASE, "closed", "exit status 0"),
        ("grandchild greeting 3", CASE, "closed", "exit status 0"),
        ("grandchild reply 1 tcp acceptor length", CASE, "crash", "exit status 0"),
        ("grandchild reply 1 stdio initiator newline", CASE, "closed", "exit status 0"),
    ]);
    for fault in ["daemon start 1 tcp acceptor length", "daemon greeting 1 stdio initiator length", "daemon end"] {
        let run = Run::new(fault);
        assert_eq!(run.to_end(run.command(&[])).0, Some(0), "{fault}");
        assert_eq!(run.left_behind(), Vec::<String>::new(), "{fault}: processes stay behind");
    }
}

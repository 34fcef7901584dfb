//! Targets that do not come up, or not so far that they say what they claim.

use crate::run::{CASE, Run, each, each_in_time};

#[test]
fn a_target_that_does_not_greet_fails_once_and_all_the_rest_is_blocked() {
    each(&[
        ("closes start", "target:smoke", "closed", "during the greeting"),
        ("closes greeting 1 stdio initiator newline", "target:smoke", "closed", "during the greeting"),
        ("exits:3 greeting", "target:smoke", "crash", "out of cheese"),
        ("says:-ERR greeting", "target:smoke", "mismatch", "The greeting is not what it must be"),
        ("says:HELLO/1.0;json greeting 1 tcp initiator length", "target:smoke", "mismatch", "The greeting is not what"),
        ("prints greeting", "target:smoke", "garbage", "logs belong on stderr"),
        ("closes greeting 1 tcp acceptor length", "target:smoke", "closed", "a new connection is not greeted"),
        ("closes describe", "target:smoke", "closed", "where an answer was due"),
        ("breaks-off describe", "target:smoke", "closed", "in the middle of a frame"),
        ("little-endian describe", "target:smoke", "garbage", "little-endian"),
        ("exits:3 start 1 tcp initiator length", "target:smoke", "crash", "exit status 3"),
    ]);
    let run = Run::new("closes greeting");
    assert_eq!(run.to_end(run.command(&["--filter", "call."])).0, Some(3));
    let verdicts: Vec<_> = run.events().iter().filter_map(|event| event["verdict"].as_str().map(str::to_owned)).collect();
    assert_eq!(verdicts.iter().filter(|verdict| *verdict == "fail").count(), 1);
    assert!(verdicts.len() > 20 && verdicts[1..].iter().all(|verdict| verdict == "blocked"), "{verdicts:?}");
}

#[test]
fn a_target_that_comes_up_once_and_not_again_fails_where_it_does_not() {
    each(&[
        ("closes start 3 tcp acceptor length", CASE, "not_started", "exit status 0"),
        ("exits:3 start 3 tcp acceptor length", CASE, "not_started", "out of cheese"),
        ("exits:89 start 3 tcp acceptor length", CASE, "contract", "does not implement this configuration"),
        ("floods:100 start 3 tcp acceptor length", CASE, "not_started", "no line `listening <address>`"),
        ("floods:100 start 3 tcp acceptor newline", CASE, "not_started", "no line `listening <address>`"),
        ("says:listening_nonsense start 3 tcp acceptor newline", CASE, "not_started", "names no address"),
        ("nobody start 3 tcp acceptor length", CASE, "not_started", "Connection refused"),
        ("closes start 3 tcp initiator length", CASE, "not_started", "exit status 0"),
        ("exits:3 start 3 tcp initiator length", CASE, "crash", "exit status 3"),
    ]);
}

#[test]
fn a_target_that_only_keeps_waiting_is_not_waited_for_long() {
    each_in_time(&[
        ("deaf start", "target:smoke", "hang", "The greeting is not answered"),
        ("deaf greeting 1 stdio initiator length", "target:smoke", "hang", "The greeting is not answered"),
        ("deaf connect 1 tcp acceptor length", "target:smoke", "hang", "The greeting is not answered"),
        ("deaf describe", "target:smoke", "hang", "not even an answer to another call"),
        ("mute start 1 tcp acceptor length", "target:smoke", "not_started", "no line `listening <address>`"),
        ("mute start 3 tcp acceptor length", CASE, "not_started", "no line `listening <address>`"),
        ("nonsense start 3 tcp acceptor length", CASE, "not_started", "no line `listening <address>`"),
        ("deaf start 3 tcp initiator length", CASE, "not_started", "Connection `a` cannot be opened"),
    ]);
}

#[test]
fn log_before_the_line_that_listens_is_no_failure() {
    for fault in ["prints start 3 tcp acceptor length", "log start 3 tcp acceptor length", "log start"] {
        let run = Run::new(fault);
        assert_eq!(run.to_end(run.command(&[])).0, Some(0), "{fault}");
    }
}

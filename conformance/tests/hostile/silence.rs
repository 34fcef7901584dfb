//! Targets that say nothing, too little or too late, and targets that say too much.

use crate::run::{CASE, Run, each, each_in_time};

#[test]
fn silence_is_a_hang() {
    each_in_time(&[
        ("deaf reply", CASE, "hang", "not even an answer to another call"),
        ("deaf reply 1 tcp acceptor length", CASE, "hang", "not even an answer to another call"),
        ("deaf reply 1 stdio initiator newline", CASE, "hang", "not even an answer to another call"),
        ("late reply", CASE, "hang", "not even an answer to another call"),
        ("half-frame reply", CASE, "hang", "A frame has begun, and does not become whole"),
        ("half-frame reply 1 tcp initiator newline", CASE, "hang", "A frame has begun, and does not become whole"),
        ("half-frame greeting 3", CASE, "hang", "A frame has begun, and does not become whole"),
        ("nonsense reply 1 stdio acceptor newline", CASE, "hang", "A frame has begun, and does not become whole"),
        ("unframed greeting 3 stdio acceptor newline", CASE, "hang", "length framing"),
        // The line ends behind the next reply.
        ("unframed reply 1 stdio acceptor newline", CASE, "garbage", "length framing"),
        ("deaf greeting 3", CASE, "hang", "The greeting is not answered"),
        ("deaf connect 3 tcp acceptor length", CASE, "hang", "The greeting is not answered"),
        ("deaf connect 3 tcp initiator length", CASE, "hang", "The greeting is not answered"),
    ]);
}

#[test]
fn an_end_that_does_not_come_is_told_as_such() {
    each_in_time(&[
        ("deaf end", "target:smoke", "not_closed", "does not end its side"),
        ("ignores end", "target:smoke", "not_closed", "does not end its side"),
        ("half-frame end", "target:smoke", "not_closed", "does not end its side"),
        ("ignores end 1 tcp acceptor length", "target:smoke", "not_closed", "does not end its side"),
    ]);
}

#[test]
fn frames_without_end_are_a_flood() {
    each(&[
        ("floods:100 reply", CASE, "flood", "without end"),
        ("floods:100 reply 1 stdio initiator newline", CASE, "flood", "without end"),
        ("floods:1000000 reply", CASE, "flood", "without end"),
        ("floods:100 reply 1 tcp acceptor length", CASE, "stray", "nothing had asked for"),
        ("floods:100 greeting 3", CASE, "garbage", "a second time"),
        ("line reply", CASE, "garbage", "an earlier length was wrong"),
        ("line reply 1 stdio acceptor newline", CASE, "garbage", "a line has more than"),
        ("line greeting 3 tcp initiator newline", CASE, "garbage", "a line has more than"),
    ]);
}

#[test]
fn noise_beside_the_wire_is_no_failure() {
    for fault in ["log reply", "log reply 1 tcp acceptor length", "forks reply", "daemon reply"] {
        let run = Run::new(fault);
        let (status, stderr) = run.to_end(run.command(&[]));
        assert_eq!((status, run.findings()), (Some(0), Vec::new()), "{fault}: {stderr}");
        assert_eq!(run.left_behind(), Vec::<String>::new(), "{fault}: processes stay behind");
    }
}

//! Connections that end at every step at which one can: before the greeting, in the middle of a frame of it, behind it, while the
//! target describes itself, before, inside and behind a reply, between two sessions, while the session ends.

use crate::run::{CASE, Run, each};

#[test]
fn over_stdio_the_end_is_told_where_it_comes() {
    each(&[
        ("closes start 3", CASE, "closed", "during the greeting"),
        ("breaks-off greeting 3", CASE, "closed", "in the middle of a frame of the greeting"),
        ("closes greeted 3", CASE, "closed", "where an answer was due"),
        ("breaks-off describe 2", "target:smoke", "closed", "in the middle of a frame"),
        ("closes described", "target:smoke", "closed", "where an answer was due"),
        ("closes reply", CASE, "closed", "where an answer was due"),
        ("breaks-off reply", CASE, "closed", "in the middle of a frame"),
        ("breaks-off reply 1 stdio acceptor newline", CASE, "closed", "in the middle of a frame"),
        ("closes replied", CASE, "closed", "while it was asked a question"),
        ("breaks-off echo", CASE, "closed", "while it was asked a question"),
        ("breaks-off end", "target:smoke", "garbage", "ends inside a frame"),
        ("says:bye end", "target:smoke", "garbage", "A frame came"),
    ]);
}

#[test]
fn over_stdio_an_initiator_is_told_from_an_acceptor() {
    each(&[
        ("closes start 3 stdio initiator length", CASE, "closed", "during the greeting"),
        ("breaks-off greeting 3 stdio initiator length", CASE, "closed", "in the middle of a frame of the greeting"),
        ("closes greeted 3 stdio initiator length", CASE, "closed", "where an answer was due"),
        ("closes described 1 stdio initiator length", "target:smoke", "closed", "where an answer was due"),
        ("breaks-off reply 1 stdio initiator newline", CASE, "closed", "in the middle of a frame"),
        ("closes replied 1 stdio initiator length", CASE, "closed", "while it was asked a question"),
    ]);
}

#[test]
fn over_tcp_the_process_lives_on() {
    each(&[
        ("closes connect 3 tcp acceptor length", CASE, "closed", "during the greeting"),
        ("resets connect 3 tcp acceptor length", CASE, "closed", "during the greeting"),
        ("breaks-off greeting 3 tcp acceptor length", CASE, "closed", "in the middle of a frame of the greeting"),
        ("closes greeted 3 tcp acceptor length", CASE, "closed", "where an answer was due"),
        ("resets greeted 3 tcp acceptor length", CASE, "closed", "where an answer was due"),
        ("closes described 1 tcp acceptor length", "target:smoke", "closed", "where an answer was due"),
        ("closes reply 1 tcp acceptor length", CASE, "closed", "where an answer was due"),
        ("resets reply 1 tcp acceptor length", CASE, "closed", "where an answer was due"),
        ("breaks-off reply 1 tcp acceptor newline", CASE, "closed", "in the middle of a frame"),
        ("breaks-off end 1 tcp acceptor length", "target:smoke", "garbage", "ends inside a frame"),
        ("closes connect 3 tcp initiator length", CASE, "closed", "during the greeting"),
        ("resets connect 3 tcp initiator length", CASE, "closed", "during the greeting"),
        ("breaks-off greeting 3 tcp initiator length", CASE, "closed", "in the middle of a frame of the greeting"),
        ("closes greeted 3 tcp initiator length", CASE, "closed", "where an answer was due"),
        ("closes reply 1 tcp initiator length", CASE, "closed", "where an answer was due"),
        ("resets reply 1 tcp initiator length", CASE, "closed", "where an answer was due"),
        ("exits:0 reply 1 tcp initiator length", CASE, "closed", "exit status 0"),
    ]);
}

#[test]
fn an_end_behind_the_last_reply_is_told_by_the_first_session_that_goes_on() {
    // The session itself has all its answers, and whether the tester's own end came before is nobody's to say.
    for fault in ["closes replied 1 tcp acceptor length", "resets replied 1 tcp initiator length"] {
        let run = Run::new(fault);
        assert_eq!(run.to_end(run.command(&[])).0, Some(1), "{fault}");
        let findings = run.findings();
        assert_eq!((findings[0].case.as_str(), findings[0].kind.as_str()), ("error.application.codes", "closed"), "{findings:?}");
    }
}

#[test]
fn an_end_that_was_due_is_none() {
    for fault in ["closes end", "closes end 1 tcp acceptor length", "exits:0 end 1 tcp initiator length"] {
        let run = Run::new(fault);
        let (status, stderr) = run.to_end(run.command(&[]));
        assert_eq!((status, run.findings()), (Some(0), Vec::new()), "{fault}: {stderr}");
    }
}

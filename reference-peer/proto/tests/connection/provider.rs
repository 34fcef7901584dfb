//! The provider's table of states, and what invalid members do.

use std::task::Waker;

use duplex_proto::connection::{CallEnd, Ended, Failure, Read, Reply, SendError};
use duplex_proto::{Code, Limits, RemoteError};

use crate::pair::{End, json};

const INVALID: &str =
    r#"{"type":"rep","id":1,"error":{"code":-32600,"message":"A request with a valid id has a member that is not valid."}}"#;

fn echo(end: &mut End) {
    for key in std::mem::take(&mut end.started) {
        if let Read::Item(item) = end.core.read_args(key)
            && (end.core.is_unanswered(key) || end.core.id(key).is_none())
        {
            end.core.reply(key, &Reply::Result(item), None).expect("the call is open");
        }
        end.core.release(key);
    }
    end.settle();
}

#[test]
fn a_call_gets_one_reply_and_frees_its_id() {
    let mut end = End::greeted();
    for _ in 0..2 {
        end.lines(&[r#"{"type":"req","id":1,"method":"m","payload":"a"}"#]);
        echo(&mut end);
        assert_eq!(end.written(), "{\"type\":\"rep\",\"id\":1,\"payload\":\"a\",\"more\":false}\n");
    }
    assert_eq!((end.core.incoming(), end.core.handlers()), (0, 0));
}

#[test]
fn what_is_dropped_is_not_answered() {
    let mut end = End::greeted();
    end.lines(&[
        "",
        "\r",
        r#"{"type":"rep","id":1,"payload":1}"#,
        r#"{"type":"rep","id":"x","error":"boom"}"#,
        r#"{"type":5,"id":1}"#,
        r#"{"Type":"req","id":1,"method":"m"}"#,
        r#"{"type":"req","id":"1","method":"m"}"#,
        r#"{"type":"req","id":true,"method":"m"}"#,
        r#"{"type":"req","id":-1,"method":"m"}"#,
        r#"{"type":"req","id":9007199254740992,"method":"m"}"#,
        r#"{"type":"req","method":5}"#,
        r#"{"type":"req","method":"m","more":true}"#,
        r#"{"type":"req","id":null,"method":"m","more":1}"#,
    ]);
    assert_eq!(end.written(), "");
    assert!(end.started.is_empty() && !end.core.is_closing());
}

#[test]
fn an_invalid_first_frame_drains_if_more_may_follow() {
    for (more, drains) in [("", false), (r#","more":true"#, true), (r#","more":"yes""#, true)] {
        let mut end = End::greeted();
        end.lines(&[&format!(r#"{{"type":"req","id":1,"method":5{more}}}"#)]);
        assert_eq!(end.written(), format!("{INVALID}\n"));
        end.lines(&[r#"{"type":"req","id":1,"method":"m","more":true}"#, r#"{"type":"req","id":1,"method":"m"}"#]);
        assert_eq!(end.started.is_empty(), drains, "more: {more:?}");
        end.lines(&[r#"{"type":"req","id":1,"method":"m"}"#]);
        assert_eq!(end.started.len(), 1);
    }
}

#[test]
fn an_invalid_continuation_ends_the_call_once() {
    let mut end = End::greeted();
    end.lines(&[
        r#"{"type":"req","id":1,"method":"sum","payload":1,"more":true}"#,
        r#"{"type":"req","id":1,"method":"sum","payload":2,"more":"yes"}"#,
        r#"{"type":"req","id":1,"method":"sum","payload":2,"more":[]}"#,
    ]);
    assert_eq!(end.written(), format!("{INVALID}\n"));
    let key = end.started[0];
    assert_eq!(end.core.read_args(key), Read::Item(json("1")));
    assert_eq!(end.core.read_args(key), Read::Failed(Failure::Invalid));
    assert_eq!(end.core.reply(key, &Reply::End, None), Err(SendError::Ended));
    end.core.release(key);
    end.lines(&[r#"{"type":"req","id":1}"#]);
    assert_eq!(end.written(), "", "the last frame of the discarded stream is no new call");
    end.lines(&[r#"{"type":"req","id":1}"#]);
    assert_eq!(end.written(), format!("{INVALID}\n"));
}

#[test]
fn a_frame_on_complete_arguments_is_dropped_unread() {
    let mut end = End::greeted();
    end.lines(&[r#"{"type":"req","id":1,"method":"m","payload":1}"#, r#"{"type":"req","id":1,"method":5,"more":7}"#]);
    assert_eq!(end.written(), "");
    echo(&mut end);
    assert_eq!(end.written(), "{\"type\":\"rep\",\"id\":1,\"payload\":1,\"more\":false}\n");
}

#[test]
fn an_abort_wins_over_more_and_is_no_new_call_while_draining() {
    let mut end = End::greeted();
    end.lines(&[
        r#"{"type":"req","id":1,"method":"m","payload":1,"more":true,"error":{"code":1,"message":"ignored"}}"#,
        r#"{"type":"req","id":1,"error":{"code":7,"message":"gone"},"more":true}"#,
    ]);
    let key = end.started[0];
    assert_eq!(end.core.read_args(key), Read::Item(json("1")));
    assert_eq!(end.core.read_args(key), Read::Failed(Failure::Aborted(Some(RemoteError::new(7, "gone")))));
    end.core.reply(key, &Reply::Error(RemoteError::new(8, "x")), None).expect("an aborted call is still answered");
    assert_eq!(end.written(), "{\"type\":\"rep\",\"id\":1,\"error\":{\"code\":8,\"message\":\"x\"}}\n");

    end.lines(&[r#"{"type":"req","id":2,"method":"m","payload":1,"more":true}"#]);
    end.core.release(end.started[1]);
    end.lines(&[r#"{"type":"req","id":2,"error":"x","more":true}"#, r#"{"type":"req","id":2,"method":"m","payload":1}"#]);
    assert_eq!(end.started.len(), 3, "the abort ended the drain");
}

#[test]
fn end_counts_only_where_it_belongs() {
    for (line, items) in [
        (r#"{"type":"req","id":1,"method":"m","payload":null,"end":true}"#, vec![]),
        (r#"{"type":"req","id":1,"method":"m","end":true}"#, vec![]),
        (r#"{"type":"req","id":1,"method":"m","payload":null,"end":1}"#, vec!["null"]),
        (r#"{"type":"req","id":1,"method":"m","payload":0,"end":true}"#, vec!["0"]),
    ] {
        let mut end = End::greeted();
        end.lines(&[line]);
        let key = end.started[0];
        for item in items {
            assert_eq!(end.core.read_args(key), Read::Item(json(item)), "{line}");
        }
        assert_eq!(end.core.read_args(key), Read::End, "{line}");
    }
}

#[test]
fn notifications_run_and_say_nothing() {
    let mut end = End::greeted();
    end.lines(&[r#"{"type":"req","id":0,"method":"m","payload":1}"#, r#"{"type":"req","method":"m"}"#]);
    assert_eq!(end.started.len(), 2);
    echo(&mut end);
    assert_eq!(end.written(), "");
    assert_eq!(end.core.handlers(), 0);
}

#[test]
fn ext_is_the_newest_map_and_too_large_a_one_is_refused() {
    let mut end = End::greeted();
    end.lines(&[
        r#"{"type":"req","id":1,"method":"m","payload":1,"more":true,"ext":{"a":1}}"#,
        r#"{"type":"req","id":1,"payload":1,"more":true,"ext":null}"#,
        r#"{"type":"req","id":1,"payload":1,"more":true,"ext":[]}"#,
    ]);
    let ext = end.core.ext(end.started[0]).cloned().expect("the first frame's ext sticks");
    assert_eq!(ext.raw(), &json(r#"{"a":1}"#));
    end.lines(&[r#"{"type":"req","id":1,"payload":1,"more":true,"ext":{}}"#]);
    assert_eq!(end.core.ext(end.started[0]).map(|ext| ext.keys()), Some(vec![]));
    let large = "x".repeat(end.core.limits().ext);
    end.lines(&[&format!(r#"{{"type":"req","id":2,"method":"m","ext":{{"a":"{large}"}}}}"#)]);
    assert_eq!(end.written(), format!("{}\n", INVALID.replace("\"id\":1", "\"id\":2")));
}

#[test]
fn limits_end_what_passes_them() {
    let mut limits = Limits::default();
    (limits.open_calls, limits.buffered_items, limits.draining_ids) = (2, 2, 1);
    let mut end = End::greeted_with(limits);
    let call = |id: u32, more: bool| format!(r#"{{"type":"req","id":{id},"method":"m","payload":1,"more":{more}}}"#);
    end.lines(&[&call(1, true), &call(2, false), &call(3, false)]);
    assert!(end.written().contains(r#""id":3,"error":{"code":-32000"#));
    end.lines(&[&call(1, true), &call(1, true)]);
    assert!(end.written().contains(r#""id":1,"error":{"code":-32001"#));
    assert!(!end.core.is_closing(), "one id may drain");
    end.lines(&[&call(4, true)]);
    end.core.release(end.started[2]);
    end.settle();
    assert!(end.core.is_closing(), "a second one may not");
}

#[test]
fn a_result_over_the_frame_limit_becomes_an_error() {
    let mut limits = Limits::default();
    limits.frame = 200;
    let mut end = End::greeted_with(limits);
    end.lines(&[r#"{"type":"req","id":1,"method":"m"}"#]);
    let large = json(&format!("\"{}\"", "x".repeat(200)));
    assert_eq!(end.core.reply(end.started[0], &Reply::Result(large), None), Err(SendError::TooLarge));
    assert!(end.written().starts_with(r#"{"type":"rep","id":1,"error":{"code":-32603"#));
    assert_eq!(end.core.incoming(), 0);
}

#[test]
fn a_half_closed_connection_answers_what_is_complete_and_then_closes() {
    let mut end = End::greeted();
    end.lines(&[
        r#"{"type":"req","id":1,"method":"m","payload":1}"#,
        r#"{"type":"req","id":2,"method":"m","payload":2,"more":true}"#,
    ]);
    end.take(br#"{"type":"req","id":3,"method":"m"}"#);
    end.core.handle_end();
    end.settle();
    assert!(end.core.is_input_ended() && !end.core.is_closing());
    assert_eq!(end.core.incoming(), 1, "the incomplete call is not waited for, the partial frame is none");
    echo(&mut end);
    assert_eq!(end.written(), "{\"type\":\"rep\",\"id\":1,\"payload\":1,\"more\":false}\n");
    assert!(end.core.is_over());
}

#[test]
fn an_undecodable_frame_closes_without_a_word() {
    for frame in [
        "[]",
        "null",
        " ",
        "{\"type\":\"req\"",
        "{} {}",
        "\u{feff}{}",
        "{\"a\":NaN}",
        "{\"a\":\"\u{1}\"}",
        "[{\"type\":\"req\",\"id\":1}]",
    ] {
        let mut end = End::greeted();
        end.lines(&[frame]);
        assert!(end.core.is_over(), "{frame:?}");
        assert_eq!(end.written(), "", "{frame:?}");
    }
}

#[test]
fn depth_is_counted_from_the_message() {
    let nested = |depth: usize| {
        format!(r#"{{"type":"req","id":1,"method":"m","payload":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1))
    };
    let mut end = End::greeted();
    end.lines(&[&nested(512)]);
    assert_eq!(end.started.len(), 1);
    end.lines(&[&nested(513)]);
    assert!(end.core.is_closing());
}

#[test]
fn nothing_drains_once_nothing_comes_in() {
    for close in [false, true] {
        let mut end = End::greeted();
        end.lines(&[r#"{"type":"req","id":1,"method":5,"more":true}"#, r#"{"type":"req","id":2,"method":"m"}"#]);
        assert_eq!(end.core.draining(), 1);
        if close {
            end.core.close()
        } else {
            end.core.handle_end()
        }
        assert_eq!(end.core.draining(), 0);
    }
    let mut limits = Limits::default();
    (limits.outbound_bytes, limits.frame) = (100, 150);
    let mut end = End::greeted_with(limits);
    for id in 1..4 {
        end.lines(&[&format!(r#"{{"type":"req","id":{id},"method":5,"more":true}}"#)]);
    }
    assert_eq!((end.core.is_closing(), end.core.draining()), (true, 0), "the frame that passes the limit is no exception");
}

#[test]
fn an_abort_that_says_more_than_may_wait_is_one_without_a_word() {
    let mut limits = Limits::default();
    limits.buffered_bytes = 10_000;
    let mut end = End::greeted_with(limits);
    for (id, length) in [(1, 4000), (2, 9000), (3, 9000)] {
        let error = format!(r#"{{"code":7,"message":"{}"}}"#, "x".repeat(length));
        end.lines(&[
            &format!(r#"{{"type":"req","id":{id},"method":"m","more":true}}"#),
            &format!(r#"{{"type":"req","id":{id},"method":"m","error":{error}}}"#),
        ]);
    }
    for (key, length) in end.started.clone().into_iter().zip([Some(4000), Some(9000), None]) {
        assert!(matches!(end.core.read_args(key), Read::Item(_)));
        let said = length.map(|length| RemoteError::new(7, "x".repeat(length)));
        assert_eq!(end.core.read_args(key), Read::Failed(Failure::Aborted(said)));
    }
}

#[test]
fn a_call_ends_as_its_reply_says_though_the_reply_closes_the_connection() {
    let mut limits = Limits::default();
    (limits.outbound_bytes, limits.frame) = (0, 150);
    let mut end = End::greeted_with(limits);
    end.lines(&[r#"{"type":"req","id":1,"method":"m"}"#]);
    let (key, text) = (end.started[0], |length: usize| json(&format!("\"{}\"", "x".repeat(length))));
    end.core.send_item(key, &text(90), None).expect("it fits, and waits to be written");
    assert_eq!(end.core.reply(key, &Reply::Result(text(150)), None), Err(SendError::TooLarge));
    assert!(end.core.is_closing());
    assert_eq!(end.ended(), [Ended::Served(key, CallEnd::Error(Code::FAILED))]);
}

#[test]
fn whoever_waits_for_arguments_is_woken_when_a_hook_answers_in_its_place() {
    let mut end = End::greeted();
    end.lines(&[r#"{"type":"req","id":1,"method":"m","payload":1,"more":true}"#]);
    let key = end.started[0];
    assert!(matches!(end.core.read_args(key), Read::Item(_)));
    end.core.wait_for_args(key, Waker::noop());
    end.core.fail_handler(key, Failure::Hook);
    assert_eq!((end.core.poll_woken().len(), end.core.read_args(key)), (1, Read::Failed(Failure::Hook)));
}

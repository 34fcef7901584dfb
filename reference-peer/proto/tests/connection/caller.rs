//! The caller's table: replies in, early ends and aborts out.

use std::sync::Arc;

use duplex_proto::connection::{Backlog, Delivery, Failure, Read, ReplyFrame, SendError};
use duplex_proto::{Ext, Format, Id, Limits, RemoteError};

use crate::pair::{End, json};

fn call(end: &mut End, more: bool) -> Id {
    let id = end.core.call(&Arc::from("m"), Some(&json("1")), more, None).expect("the connection is open");
    end.written();
    id
}

#[test]
fn replies_are_matched_by_id() {
    let mut end = End::greeted();
    let (first, second) = (call(&mut end, false), call(&mut end, false));
    assert_eq!((first.number(), second.number()), (1, 2));
    end.lines(&[
        r#"{"type":"rep","id":2,"payload":"b"}"#,
        r#"{"type":"rep","id":1,"payload":"a"}"#,
        r#"{"type":"rep","id":1,"payload":"late"}"#,
    ]);
    assert_eq!(end.core.read_reply(second), Read::Item(json("\"b\"")));
    assert_eq!(end.core.read_reply(first), Read::Item(json("\"a\"")));
    assert_eq!(end.core.read_reply(first), Read::End);
    assert_eq!((end.written().as_str(), end.core.outgoing()), ("", 0));
}

#[test]
fn a_stream_is_items_and_then_its_end() {
    let mut end = End::greeted();
    let id = call(&mut end, false);
    end.lines(&[
        r#"{"type":"rep","id":1,"payload":1,"more":true}"#,
        r#"{"type":"rep","id":1,"payload":null,"more":true,"end":true}"#,
        r#"{"type":"rep","id":1,"payload":null,"end":true}"#,
    ]);
    assert_eq!(end.core.read_reply(id), Read::Item(json("1")));
    assert_eq!(end.core.read_reply(id), Read::Item(json("null")));
    assert_eq!(end.core.read_reply(id), Read::End);
    assert!(end.core.has_reply_streamed(id));
}

#[test]
fn an_early_terminal_is_answered_with_one_end_frame() {
    let mut end = End::greeted();
    let id = call(&mut end, true);
    end.lines(&[r#"{"type":"rep","id":1,"error":{"code":3,"message":"no"},"more":true}"#]);
    assert_eq!(end.written(), "{\"type\":\"req\",\"id\":1,\"method\":\"m\",\"payload\":null,\"more\":false,\"end\":true}\n");
    assert_eq!(end.core.send_arg(id, Some(&json("2")), true, None), Err(SendError::Ended));
    assert_eq!(end.core.read_reply(id), Read::Failed(Failure::Remote(RemoteError::new(3, "no"))));
}

#[test]
fn a_bad_reply_fails_the_call_alone() {
    for reply in [
        r#"{"type":"rep","id":1,"more":1}"#,
        r#"{"type":"rep","id":1,"error":"boom"}"#,
        r#"{"type":"rep","id":1,"error":{"code":"E","message":"m"}}"#,
        r#"{"type":"rep","id":1,"error":{"code":1}}"#,
    ] {
        let mut end = End::greeted();
        let id = call(&mut end, false);
        end.lines(&[reply]);
        assert!(matches!(end.core.read_reply(id), Read::Failed(Failure::BadReply(_))), "{reply}");
        assert_eq!((end.written().as_str(), end.core.is_closing()), ("", false), "{reply}");
    }
    let mut end = End::greeted();
    call(&mut end, true);
    end.lines(&[r#"{"type":"rep","id":1,"error":"boom"}"#]);
    assert!(end.written().contains(r#""error":{"code":-32004"#), "open arguments are aborted");
}

#[test]
fn letting_go_aborts_open_arguments_only() {
    let mut end = End::greeted();
    let (open, complete) = (call(&mut end, true), call(&mut end, false));
    end.core.forget(complete);
    assert_eq!(end.written(), "");
    end.core.forget(open);
    let abort = end.written();
    assert!(abort.starts_with(r#"{"type":"req","id":1,"method":"m","payload":null,"error":{"code":-32004"#), "{abort}");
    assert!(abort.ends_with("\"more\":false}\n"), "{abort}");
    end.lines(&[r#"{"type":"rep","id":1,"payload":1}"#, r#"{"type":"rep","id":2,"payload":1}"#]);
    assert_eq!(end.written(), "");
}

#[test]
fn the_end_of_the_connection_fails_what_is_pending_after_what_came_before() {
    let mut end = End::greeted();
    let (answered, pending) = (call(&mut end, false), call(&mut end, true));
    end.lines(&[r#"{"type":"rep","id":1,"payload":1}"#]);
    end.core.handle_end();
    end.settle();
    assert_eq!(end.core.read_reply(answered), Read::Item(json("1")));
    assert_eq!(end.core.read_reply(pending), Read::Failed(Failure::Closed));
    assert_eq!(end.core.call(&Arc::from("m"), None, false, None), Err(SendError::Closed));
    assert!(end.core.is_over());
}

#[test]
fn a_reader_that_falls_behind_is_told_of_once_until_it_has_caught_up() {
    let mut end = End::greeted();
    let id = call(&mut end, false);
    let most = end.core.limits().buffered_items;
    let mut unread = 0;
    let fill = |end: &mut End, unread: &mut usize, to: usize| {
        let told = (*unread..to).filter(|_| end.core.deliver_reply(id, ReplyFrame::Item(json("1"))) == Delivery::Crowded);
        let told = told.count();
        *unread = to;
        told
    };
    let drain = |end: &mut End, unread: &mut usize, to: usize| {
        (to..*unread).for_each(|_| assert_eq!(end.core.read_reply(id), Read::Item(json("1"))));
        *unread = to;
    };
    assert_eq!(fill(&mut end, &mut unread, most / 2), 0);
    assert_eq!(fill(&mut end, &mut unread, most / 2 + 1), 1);
    assert_eq!(fill(&mut end, &mut unread, most), 0);
    drain(&mut end, &mut unread, most / 4 + 1);
    assert_eq!(end.core.unread_results(id), Backlog { items: most / 4 + 1, is_crowded: true });
    assert_eq!(fill(&mut end, &mut unread, most), 0);
    drain(&mut end, &mut unread, most / 4);
    assert_eq!(end.core.unread_results(id), Backlog { items: most / 4, is_crowded: false });
    assert_eq!(fill(&mut end, &mut unread, most), 1);
}

#[test]
fn a_reader_is_behind_by_its_own_bytes_and_not_by_those_of_others() {
    let mut end = End::greeted();
    let (first, second) = (call(&mut end, false), call(&mut end, false));
    let large = json(&format!("\"{}\"", "x".repeat(end.core.limits().buffered_bytes / 8)));
    let mut deliver = |id, item: &duplex_proto::Raw| end.core.deliver_reply(id, ReplyFrame::Item(item.clone()));
    let seen = [first, first, first].map(|id| deliver(id, &large));
    assert_eq!(seen, [Delivery::Delivered, Delivery::Crowded, Delivery::Delivered]);
    assert_eq!(deliver(second, &json("1")), Delivery::Delivered);
}

#[test]
fn more_than_the_limit_unread_is_a_local_overflow() {
    let mut end = End::greeted();
    let id = call(&mut end, false);
    for _ in 0..=end.core.limits().buffered_items {
        end.lines(&[r#"{"type":"rep","id":1,"payload":1,"more":true}"#]);
    }
    for _ in 0..end.core.limits().buffered_items {
        assert_eq!(end.core.read_reply(id), Read::Item(json("1")));
    }
    assert_eq!(end.core.read_reply(id), Read::Failed(Failure::Overflow));
    assert_eq!((end.written().as_str(), end.core.outgoing()), ("", 0));
}

#[test]
fn what_errors_say_counts_while_it_is_unread() {
    let mut end = End::greeted();
    let length = end.core.limits().buffered_bytes / 3;
    let says = |length| RemoteError::new(7, "x".repeat(length));
    let ids = [(); 4].map(|()| call(&mut end, false));
    for id in ids {
        end.core.deliver_reply(id, ReplyFrame::Error(says(length)));
    }
    assert_eq!(end.core.buffered_bytes(), 3 * length);
    for id in &ids[..3] {
        // Read again, it is the same, and counts no more.
        for _ in 0..2 {
            assert_eq!(end.core.read_reply(*id), Read::Failed(Failure::Remote(says(length))));
        }
    }
    assert_eq!(end.core.read_reply(ids[3]), Read::Failed(Failure::Overflow));
    assert_eq!(end.core.buffered_bytes(), 0);
    // A short one always has room.
    let id = call(&mut end, false);
    end.core.deliver_reply(id, ReplyFrame::Error(says(4000)));
    assert_eq!((end.core.buffered_bytes(), end.core.read_reply(id)), (0, Read::Failed(Failure::Remote(says(4000)))));
}

#[test]
fn a_call_that_was_not_sent_is_none() {
    let mut limits = Limits::default();
    limits.frame = 200;
    let mut end = End::greeted_with(limits);
    let large = json(&format!("\"{}\"", "x".repeat(200)));
    assert_eq!(end.core.call(&Arc::from("m"), Some(&large), true, None), Err(SendError::TooLarge));
    assert_eq!((end.ended(), end.core.outgoing(), end.written().as_str()), (vec![], 0, ""));
    assert_eq!(call(&mut end, false).number(), 1, "no id was used");
}

#[test]
fn a_call_without_an_argument_has_no_more_of_them() {
    let mut end = End::greeted();
    let id = end.core.call(&Arc::from("m"), None, true, None).expect("the connection is open");
    assert_eq!(end.written(), "{\"type\":\"req\",\"id\":1,\"method\":\"m\",\"payload\":null,\"more\":false,\"end\":true}\n");
    assert_eq!(end.core.send_arg(id, Some(&json("1")), false, None), Err(SendError::Ended));
    end.core.forget(id);
    assert_eq!(end.written(), "");
}

#[test]
fn arguments_that_were_opened_can_always_be_given_up() {
    let mut limits = Limits::default();
    (limits.frame, limits.ext) = (400, 300);
    let mut end = End::greeted_with(limits);
    let open = |end: &mut End, length: usize| end.core.call(&"m".repeat(length).into(), Some(&json("1")), true, None);
    assert_eq!(open(&mut end, 330), Err(SendError::TooLarge), "the first frame fits, and no abort frame ever would");
    assert!(end.core.call(&"m".repeat(330).into(), Some(&json("1")), false, None).is_ok());

    let id = open(&mut end, 200).expect("both frames fit");
    end.written();
    end.core.leave_early_ends();
    end.core.forget(id);
    let mut ext = Ext::new(Format::Json);
    ext.set("by a hook", &"x".repeat(200)).expect("a string has an encoding");
    for early in end.core.poll_early_ends() {
        end.core.send_early_end(&early, Some(&ext));
    }
    assert!(end.written().contains("\"error\":{\"code\":-32004"), "the frame matters more than its ext");
}

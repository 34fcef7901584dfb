//! The greeting in both roles.

use std::sync::Arc;

use duplex_proto::connection::EndReason;
use duplex_proto::{Framing, Json, Limits, MessagePack, Role};

use crate::pair::End;

fn acceptor() -> End {
    End::new(Role::Acceptor, Framing::Newline, vec![Arc::new(Json), Arc::new(MessagePack)], Limits::default())
}

#[test]
fn an_acceptor_takes_parameters_and_what_came_behind_the_greeting() {
    let mut end = acceptor();
    end.take(b"\n\r\nSIMPLEX/1.0;json;later;x=1\n{\"type\":\"req\",\"id\":1,\"method\":\"m\"}\n");
    assert_eq!(end.written(), "+OK\n");
    assert_eq!(end.started.len(), 1);
}

#[test]
fn an_acceptor_refuses_everything_else_in_one_short_frame() {
    for greeting in [
        "simplex/1.0;json",
        "SIMPLEX/1.1;json",
        "SIMPLEX/1.0;bson",
        "SIMPLEX/1.0;msgpack",
        "SIMPLEX/1.0",
        "SIMPLEX/1.0;",
        "SIMPLEX/1.0;json\u{e9}",
        "{\"type\":\"req\",\"id\":1,\"method\":\"m\"}",
        "SIMPLEX/1.0;json;aaaaaaaaaaaaaaaaa",
    ] {
        let mut end = acceptor();
        end.take(format!("{greeting}\n{{\"type\":\"req\",\"id\":1,\"method\":\"m\"}}\n").as_bytes());
        let answer = end.written();
        assert!(answer.starts_with("-ERR ") && answer.len() <= 33 && answer.ends_with('\n'), "{greeting}: {answer}");
        assert!(end.core.is_over() && end.started.is_empty(), "{greeting}");
    }
}

#[test]
fn an_acceptor_refuses_a_long_first_frame_before_its_end() {
    let mut end = acceptor();
    end.take(&[b'x'; 33]);
    assert!(end.written().starts_with('-'));
    let mut end = End::new(Role::Acceptor, Framing::Length, vec![Arc::new(Json)], Limits::default());
    end.take(&[0, 0, 0, 33]);
    assert!(end.core.is_over() || end.written_bytes().starts_with(&[0, 0, 0]));
    assert!(end.core.is_closing());
}

#[test]
fn an_initiator_takes_a_plus_and_nothing_else() {
    let initiator = || End::new(Role::Initiator, Framing::Newline, vec![Arc::new(Json)], Limits::default());
    let mut end = initiator();
    assert_eq!(end.written(), "SIMPLEX/1.0;json\n");
    end.take(format!("+{}\n", "x".repeat(1000)).as_bytes());
    assert!(!end.core.is_greeting() && !end.core.is_closing());
    for answer in ["-ERR no\u{1}\n", "{\"type\":\"rep\",\"id\":1}\n", "SIMPLEX/1.0;json\n"] {
        let mut end = initiator();
        end.written();
        end.take(answer.as_bytes());
        assert!(matches!(end.core.end_reason(), Some(EndReason::Refused(_))), "{answer:?}");
        assert_eq!(end.written(), "");
    }
}

#[test]
fn a_greeting_that_does_not_come_is_given_up_without_a_word() {
    let mut end = acceptor();
    end.core.handle_greeting_timeout();
    assert_eq!(end.core.end_reason(), Some(&EndReason::GreetingTimeout));
    assert_eq!(end.written(), "");
    assert!(end.core.is_over());
}

#[test]
fn a_message_transport_is_given_one_frame_at_a_time() {
    let mut end = End::new(Role::Acceptor, Framing::Message, vec![Arc::new(Json)], Limits::default());
    end.take(b"SIMPLEX/1.0;json");
    end.core.keepalive().expect("an open connection");
    end.core.close();
    // The answer, and the keepalive, which is empty and still a message.
    for frame in ["+OK", ""] {
        assert!(end.core.has_output() && !end.core.is_over());
        let bytes = end.core.poll_transmit().expect("a frame");
        assert_eq!(bytes, frame);
        end.core.handle_written(bytes.len());
    }
    assert!(end.core.poll_transmit().is_none() && end.core.is_over());
}

//! Bytes that are no frames, and frames that are no messages, with what usually causes them.

use crate::run::{CASE, each};

#[test]
fn wrong_bytes_are_garbage_with_their_cause() {
    each(&[
        ("little-endian reply", CASE, "garbage", "little-endian"),
        ("unframed reply", CASE, "garbage", "newline framing"),
        ("prints reply", CASE, "garbage", "logs belong on stderr"),
        ("prints reply 1 stdio acceptor newline", CASE, "garbage", "logs belong on stderr"),
        ("4gib reply", CASE, "garbage", "an earlier length was wrong"),
        ("nonsense reply", CASE, "garbage", "an earlier length was wrong"),
        ("says:hello reply", CASE, "garbage", "logs belong on stderr"),
        ("msgpack reply", CASE, "garbage", "MessagePack"),
        ("4gib reply 1 tcp acceptor length", CASE, "garbage", "an earlier length was wrong"),
        ("prints reply 1 tcp initiator length", CASE, "garbage", "Text where frames are due"),
    ]);
}

#[test]
fn in_the_place_of_the_greeting_they_are_told_as_such() {
    each(&[
        ("prints start 3", CASE, "garbage", "logs belong on stderr"),
        ("prints start 3 stdio acceptor newline", CASE, "mismatch", "logs belong on stderr"),
        ("prints start 3 stdio initiator length", CASE, "garbage", "logs belong on stderr"),
        ("prints start 3 stdio initiator newline", CASE, "mismatch", "logs belong on stderr"),
        ("prints greeting 3 tcp acceptor length", CASE, "garbage", "Text where frames are due"),
        ("little-endian greeting 3", CASE, "garbage", "little-endian"),
        ("little-endian greeting 3 tcp initiator length", CASE, "garbage", "little-endian"),
        ("unframed greeting 3", CASE, "garbage", "newline framing"),
        ("4gib greeting 3", CASE, "garbage", "an earlier length was wrong"),
        ("msgpack greeting 3", CASE, "mismatch", "no codec encodes them"),
        ("says:HELLO/1.0;json greeting 3 stdio initiator length", CASE, "mismatch", "The greeting is not what it must be"),
        ("says:SIMPLEX/1.0;bson greeting 3 tcp initiator length", CASE, "mismatch", "The greeting is not what it must be"),
        ("twice greeting 3", CASE, "garbage", "a second time"),
        ("twice greeting 3 tcp initiator length", CASE, "garbage", "a second time"),
    ]);
}

#[test]
fn a_message_that_is_wrong_is_a_mismatch_and_one_too_many_a_stray() {
    each(&[
        ("id-as-string reply", CASE, "mismatch", "came back as a string"),
        ("twice reply", CASE, "stray", "nothing had asked for"),
        ("twice reply 1 tcp acceptor length", CASE, "stray", "nothing had asked for"),
    ]);
}

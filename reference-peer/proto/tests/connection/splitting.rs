//! Bytes split anywhere mean the same, and no bytes at all make a core panic.

use bytes::BytesMut;
use duplex_proto::{Codec, Deframer, Framing, Json, MessagePack};
use proptest::prelude::*;

use crate::pair::End;

const DIALOGUE: &[u8] = b"SIMPLEX/1.0;json\n\n{\"type\":\"req\",\"id\":1,\"method\":\"m\",\"payload\":\"\\u00e4\",\"more\":true}\r\n\
{\"type\":\"req\",\"id\":1,\"payload\":2}\n{\"type\":\"req\",\"id\":2,\"method\":7}\n{\"type\":\"req\",\"method\":\"n\"}\n[]\nrest";

/// Pieces of JSON, of which most ways to put them together are none.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"a\"",
    "\"b\":",
    "\"\\u00e4\\n\"",
    "\"\\x\"",
    "\"\\u12\"",
    "\"",
    "\\",
    "0",
    "-",
    "-0.5",
    "1e5",
    "1.",
    "01",
    "2E+",
    "true",
    "nul",
    "null",
    "false",
    " ",
    "\n",
    "\t",
    "\u{1}",
    "\u{e4}",
    "a string of more than two dozen bytes",
    "\"no short string, and it has \\\" in it\"",
];

/// Mostly one of those that occur, now and then one that is odd.
fn either(usual: &'static [&'static str], odd: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    use proptest::sample::select;
    prop_oneof![9 => select(usual), 1 => select(odd)]
}

/// The frames that come out of a stream of these, read in pieces of so many bytes.
fn framed(framing: Framing, frames: &[Vec<u8>], piece: usize) -> Vec<Vec<u8>> {
    let mut stream = BytesMut::new();
    for frame in frames {
        framing.append(&mut stream, usize::MAX, |out| out.extend_from_slice(frame)).expect("no limit");
    }
    let (mut deframer, mut buffer, mut seen) = (Deframer::new(framing), BytesMut::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        while let Some(frame) = deframer.next_frame(&mut buffer, 64).expect("short frames") {
            seen.push(frame.to_vec());
        }
    }
    seen
}

proptest! {
    #[test]
    fn a_dialogue_means_the_same_however_it_is_split(mut cuts in proptest::collection::vec(0..DIALOGUE.len(), 0..12)) {
        let run = |cuts: &[usize]| {
            let mut end = End::new(
                duplex_proto::Role::Acceptor,
                Framing::Newline,
                vec![std::sync::Arc::new(Json)],
                duplex_proto::Limits::default(),
            );
            let mut from = 0;
            for &cut in cuts {
                end.take(&DIALOGUE[from..cut]);
                from = cut;
            }
            end.take(&DIALOGUE[from..]);
            (end.log.clone(), end.written())
        };
        cuts.sort_unstable();
        prop_assert_eq!(run(&cuts), run(&[]));
    }

    #[test]
    fn frames_survive_any_split(frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8), piece in 1..30_usize) {
        prop_assert_eq!(framed(Framing::Length, &frames, piece), frames);
    }

    /// A line cannot hold a newline, which is a space in text, and loses a carriage return at its end.
    #[test]
    fn lines_survive_any_split(
        frames in proptest::collection::vec(proptest::collection::vec(proptest::sample::select(&b"x \r\n"[..]), 0..40), 0..8),
        piece in 1..30_usize,
    ) {
        let lines = frames.iter().map(|frame| {
            let line: Vec<u8> = frame.iter().map(|&byte| if byte == b'\n' { b' ' } else { byte }).collect();
            line.strip_suffix(b"\r").map_or(line.clone(), <[u8]>::to_vec)
        });
        prop_assert_eq!(framed(Framing::Newline, &frames, piece), lines.collect::<Vec<_>>());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        _ = Json.decode(bytes.clone().into(), 64);
        _ = MessagePack.decode(bytes.into(), 64);
    }

    #[test]
    fn what_is_json_is_json_for_another_parser_too(
        tokens in proptest::collection::vec(proptest::sample::select(TOKENS), 0..14),
    ) {
        let text = format!("{{\"payload\":{}}}", tokens.concat());
        let is_map = serde_json::from_str::<std::collections::HashMap<String, Box<serde_json::value::RawValue>>>(&text).is_ok();
        prop_assert_eq!(Json.decode(text.clone().into(), 64).is_ok(), is_map, "{}", text);
    }

    /// Frames that are spelled as the codec itself spells them, and nearly so, are read in a way of their own; one with a space in
    /// front is not.
    #[test]
    fn a_space_in_front_of_a_message_changes_nothing(
        head in either(&[r#"{"type":"req","id":"#, r#"{"type":"rep","id":"#], &[r#"{"type":"reply","id":"#, r#"{"id":"#]),
        id in either(&["1", "23", "999999999999999", "9007199254740991"], &["0", "01", "", "-1", "1.0", "9007199254740992"]),
        method in either(&["", r#","method":"m""#, r#","method":"a method\u0031""#], &[r#","method":5"#, r#","method":"#]),
        payload in either(&["1", "[]", r#"{"a":[{}]}"#, r#"{"a":1,"a":2}"#, r#""\ud800""#], TOKENS),
        more in either(&["", r#","more":true"#, r#","more":false"#, r#","more":null"#], &[r#","payload":2"#, r#","end":true"#]),
        ext in either(&["", r#","ext":{}"#, r#","ext":{"a":{}}"#], &[r#","ext":null"#, r#","ext":"#]),
        end in either(&["}"], &["}}", "} ", ""]),
        depth in 0..4_usize,
    ) {
        let text = [head, id, method, r#","payload":"#, payload, more, ext, end].concat();
        let meaning = |text: &str| Json.decode(text.to_owned().into(), depth).ok().map(|message| format!("{message:?}"));
        prop_assert_eq!(meaning(&text), meaning(&format!(" {text}")), "{}", text);
    }

    #[test]
    fn a_cut_message_is_undecodable(cut in 1..30_usize) {
        let whole = b"\x83\xa4type\xa3req\xa2id\xcd\x01\x00\xa7payload\x93\x01\xc4\x01\xff\x80";
        prop_assert!(MessagePack.decode(bytes::Bytes::from_static(whole), 64).is_ok());
        let cut = whole.len() - cut.min(whole.len());
        prop_assert!(MessagePack.decode(bytes::Bytes::copy_from_slice(&whole[..cut]), 64).is_err());
    }
}

#[test]
fn a_claimed_length_over_the_limit_is_refused_before_its_bytes() {
    let mut buffer = BytesMut::from(&[0xff_u8, 0xff, 0xff, 0xff][..]);
    assert!(Deframer::new(Framing::Length).next_frame(&mut buffer, 1 << 20).is_err());
    assert!(buffer.capacity() < 1024);
}

#[test]
fn a_line_is_measured_without_its_end() {
    let exact = "x".repeat(10);
    for (line, fits) in [
        (format!("{exact}\n"), true),
        (format!("{exact}\r\n"), true),
        (format!("{exact}x\n"), false),
        (format!("{exact}x"), false),
    ] {
        let mut buffer = BytesMut::from(line.as_bytes());
        assert_eq!(Deframer::new(Framing::Newline).next_frame(&mut buffer, 10).is_ok(), fits, "{line:?}");
    }
}

#[test]
fn odd_json_is_decodable() {
    for text in [
        r#"{"type":"req","id":1,"method":"m","payload":"\ud800"}"#,
        r#"{"type":"req","id":1,"method":"m","payload":"\\\ud83d\ude00\udc00"}"#,
        r#"{"type":"req","id":1,"method":"m","payload":1e400}"#,
        r#"{"type":"req","id":9,"\ud800":1,"method":"x","id":1,"method":"m","payload":{"__proto__":1}}"#,
        " {\t\"type\" : \"\\u0072eq\",\r\"id\":1,\"method\":\"m\"} ",
    ] {
        let mut end = End::greeted();
        end.lines(&[text]);
        assert_eq!(end.started.len(), 1, "{text}");
        assert_eq!(end.core.method(end.started[0]).map(|method| method.to_string()).as_deref(), Some("m"), "{text}");
    }
    let decoded = Json.decode(bytes::Bytes::from_static(br#"{"payload":"a\ud800\\ud800\ud83d\ude00"}"#), 64).expect("decodable");
    assert_eq!(decoded.payload.decode::<String>().expect("a string"), "a\u{fffd}\\ud800\u{1f600}");
}

#[test]
fn the_last_of_duplicate_keys_is_the_only_one_left() {
    for (text, payload) in [
        (r#"{"payload":1,"payload":{"a":1,"b":2,"a":3}}"#, r#"{"b":2,"a":3}"#),
        (r#"{"payload":{"a":{"x":1,"x":2},"a":[{"y":1,"y":"}"}],"\u0061":[{"y":"{","y":"\""}]}}"#, r#"{"\u0061":[{"y":"\""}]}"#),
        (r#"{"payload":["a","a",{"a":"a"}]}"#, r#"["a","a",{"a":"a"}]"#),
    ] {
        let message = Json.decode(bytes::Bytes::from(text), 64).expect("decodable");
        assert_eq!(std::str::from_utf8(message.payload.bytes()).expect("UTF-8"), payload, "{text}");
    }
    for text in [r#"{"a":bad,"a":1}"#, r#"{"a":1,"a"}"#, r#"{"a","a":1}"#, r#"{"a":1,,"a":1}"#] {
        assert!(Json.decode(bytes::Bytes::from(text), 64).is_err(), "{text}");
    }
}

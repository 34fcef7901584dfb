//! The peer that the chapter "Write a peer in an afternoon" prints is run as it stands there: code that a reader copies works.
//!
//! Needs `python3`, as the rest of what CI runs does.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

const CHAPTER: &str = include_str!("../src/afternoon.md");

/// What the printed peer writes when these lines are all that it reads.
fn answers(lines: &[&str]) -> Vec<String> {
    let code = CHAPTER.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Python");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("peer.py");
    std::fs::write(&path, code).expect("a file");
    let mut peer =
        Command::new("python3").arg(&path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    let mut stdin = peer.stdin.take().expect("a pipe");
    for line in lines {
        stdin.write_all(line.as_bytes()).expect("the peer reads");
        stdin.write_all(b"\n").expect("the peer reads");
    }
    drop(stdin);
    let output = peer.wait_with_output().expect("the peer ends");
    assert!(output.status.success(), "the peer ends with {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn the_printed_peer_serves() {
    let answers = answers(&[
        "SIMPLEX/1.0;json",
        "",
        r#"{"type":"req","id":1,"method":"echo","payload":{"a":[1,"x"]}}"#,
        r#"{"type":"req","id":2,"method":"nobody","payload":null}"#,
        r#"{"type":"req","id":3,"payload":1}"#,
        r#"{"type":"req","method":"echo","payload":1}"#,
        r#"{"type":"req","id":true,"method":"echo","payload":1}"#,
        r#"{"type":"rep","id":3,"payload":1}"#,
        r#"{"type":"req","id":4,"method":"echo"}"#,
    ]);
    assert_eq!(answers.first().map(String::as_str), Some("+OK"));
    let error = |id: u8, code: i32, message: &str| json!({"type": "rep", "id": id, "error": {"code": code, "message": message}});
    let expected = [
        json!({"type": "rep", "id": 1, "payload": {"a": [1, "x"]}, "more": false}),
        error(2, -32601, "method not found"),
        error(3, -32600, "invalid request"),
        json!({"type": "rep", "id": 4, "payload": null, "more": false}),
    ];
    let parsed: Vec<Value> = answers[1..].iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let set = |messages: &[Value]| messages.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(parsed.len(), expected.len());
    assert_eq!(set(&parsed), set(&expected), "replies may come in any order");
}

#[test]
fn the_printed_peer_refuses_and_closes() {
    assert_eq!(answers(&["SIMPLEX/1.0;bson", r#"{"type":"req","id":1,"method":"echo","payload":1}"#]), ["-ERR unsupported"]);
    for undecodable in ["[]", "{", r#"{"payload":NaN}"#, " "] {
        let after = r#"{"type":"req","id":1,"method":"echo","payload":1}"#;
        assert_eq!(answers(&["SIMPLEX/1.0;json", undecodable, after]), ["+OK"], "{undecodable}");
    }
}

//! A folder that cannot be loaded is named file by file; what loads says what it applies to.

use std::fs;
use std::path::Path;

use duplex_vectors::{Codec, Corpus, Framing, Session};
use serde_json::{Value, json};

fn folder(name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for kind in ["messages/a", "sessions/a"] {
        fs::create_dir_all(root.join(kind)).expect("a folder for the test");
    }
    for (path, text) in files {
        fs::write(root.join(path), text).expect("a file for the test");
    }
    root
}

fn session(steps: &Value) -> Session {
    serde_json::from_value(json!({"id": "a.b", "title": "t", "rules": [], "profile": "core", "steps": steps})).expect("a session")
}

#[test]
fn every_file_at_fault_is_named_with_its_place() {
    let vector = r#"{"id": "a.other", "title": "t", "rules": [], "valid": true}"#;
    let files = [("messages/a/b.json", vector), ("sessions/a/b.json", "{\n\"id\": 5}"), ("sessions/a/notes.txt", "left alone")];
    let error = Corpus::load(&folder("at-fault", &files)).expect_err("two files are wrong");
    let faults: Vec<String> = error.faults().iter().map(ToString::to_string).collect();
    assert_eq!(faults[0], "messages/a/b.json: `id` is `a.other`; the path makes it `a.b`");
    assert!(faults[1].starts_with("sessions/a/b.json: ") && faults[1].contains("line 2"), "{}", faults[1]);
    assert_eq!(faults.len(), 2);
}

#[test]
fn a_folder_that_is_none_is_an_error() {
    let error = Corpus::load(Path::new("no-such-folder")).expect_err("there is no such folder");
    assert!(error.to_string().starts_with("messages: "), "{error}");
}

#[test]
fn methods_are_found_in_every_kind_of_step() {
    let steps = json!([
        {"send": {"type": "req", "id": 1, "method": "conformance.echo"}},
        {"send": {"type": "rep", "id": 1, "method": "conformance.fail"}},
        {"send": [1, 2]},
        {"send_frame": {"of": {"type": "req", "method": "conformance.sum"}, "cut": 1}},
        {"send_bytes": {"length": [{"frame": {"type": "req", "method": "conformance.count"}}]}},
        {"eventually": {"method": "conformance.inspect", "result": 1}},
        {"repeat": {"times": 2, "steps": [{"send": {"type": "req", "method": "conformance.take"}}]}},
        {"send": {"type": "req", "id": 2, "method": "other"}},
    ]);
    let methods: Vec<String> = session(&steps).methods().into_iter().collect();
    assert_eq!(methods, ["count", "echo", "inspect", "sum", "take"].map(|name| format!("conformance.{name}")));
}

#[test]
fn steps_narrow_codecs_and_framings() {
    let on = |steps: Value, codec| {
        let session = session(&steps);
        (session.applicable_codecs(), session.applicable_framings(codec))
    };
    let (json, msgpack, length, newline) = (Codec::Json, Codec::Msgpack, Framing::Length, Framing::Newline);
    assert_eq!(on(json!([{"fence": true}]), json), (vec![json, msgpack], vec![length, newline]));
    assert_eq!(on(json!([{"fence": true}]), msgpack), (vec![json, msgpack], vec![length]));
    assert_eq!(on(json!([{"send": {"payload": {"$bin": "00"}}}]), msgpack).0, [msgpack]);
    assert_eq!(on(json!([{"expect": {"payload": [{"$type": "bin"}]}}]), msgpack).0, [msgpack]);
    assert_eq!(on(json!([{"send": {"payload": {"$float": "nan"}}}]), msgpack).0, [msgpack]);
    assert_eq!(on(json!([{"send": {"payload": {"$float": "1.0"}}}]), json).0, [json, msgpack]);
    assert_eq!(on(json!([{"send": {"payload": {"$pairs": [[1, 2]]}}}]), msgpack).0, [msgpack]);
    assert_eq!(on(json!([{"send": {"payload": {"$pairs": [["a", 2], ["a", 1]]}}}]), json).0, [json, msgpack]);
    assert_eq!(on(json!([{"send_frame": {"json": {"text": "{"}}}]), json).0, [json]);
    assert_eq!(on(json!([{"send_bytes": {"newline": [{"text": "x"}]}}]), json).1, [newline]);
}

#[test]
fn a_revision_is_what_the_vectors_say() {
    let mut corpus = Corpus::embedded().expect("the vectors load").clone();
    let revision = corpus.revision();
    assert_eq!(revision.len(), 16);
    assert_eq!(corpus.clone().revision(), revision);
    corpus.sessions[0].title.push('.');
    assert_ne!(corpus.revision(), revision);
}

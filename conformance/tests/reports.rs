//! The reports of a run, from events written by hand: nothing is started. Snapshots hold whole screens.

use anstream::StripStream;
use duplex_conformance::event::Event;
use duplex_conformance::report::Report;
use duplex_conformance::report::human::{HumanReport, Options};
use duplex_conformance::report::json::{self, JsonReport};
use duplex_conformance::report::progress::Progress;
use serde_json::{Value, json};

fn options(width: usize, verbose: bool) -> Options {
    Options {
        width,
        verbose,
        invocation: "cargo xtask conformance".to_owned(),
        target: "./my peer".to_owned(),
        replay_flags: String::new(),
        book: "target/book/".to_owned(),
    }
}

fn human(events: &[Event], width: usize, verbose: bool) -> String {
    let mut screen = StripStream::new(Vec::new());
    let mut report = HumanReport::new(&mut screen, options(width, verbose));
    for event in events {
        report.event(event).expect("a screen can be written");
    }
    drop(report);
    String::from_utf8(screen.into_inner()).expect("text")
}

fn event(value: Value) -> Event {
    serde_json::from_value(value).expect("an event")
}

fn configuration(transport: &str, codec: &str) -> Value {
    json!({"transport": transport, "role": "acceptor", "framing": "length", "codec": codec})
}

fn frame(by: &str, message: &Value) -> Value {
    let text = message.to_string();
    json!({"connection": "a", "by": by, "step": 1, "at_ms": 0, "what": {"frame":
        {"hex": hex::encode(&text), "length": text.len(), "shown": text, "message": message}}})
}

fn finding(kind: &str, summary: &str) -> Value {
    json!({"kind": kind, "rule": "call.reply.id", "summary": summary, "expected": [], "actual": null, "likely_cause": null,
        "dialogue": [], "divergence": null, "exit": null, "stderr": []})
}

fn case(id: &str, configuration: &Value, verdict: &str, finding: Value) -> Event {
    event(
        json!({"event": "case_finished", "case": id, "title": "a reply carries the id of its request", "rules": ["call.reply.id"],
        "configuration": configuration, "verdict": verdict, "known": null, "finding": finding, "duration_ms": 3}),
    )
}

fn known(id: &str, configuration: &Value, reason: &str) -> Event {
    event(json!({"event": "case_finished", "case": id, "title": "t", "rules": ["call.reply.id"], "configuration": configuration,
        "verdict": "fail", "known": reason, "finding": finding("crash", "it crashes"), "duration_ms": 3}))
}

fn start(cases: &[&str]) -> Vec<Event> {
    let planned: Vec<Value> =
        cases.iter().map(|id| json!({"case": id, "title": "t", "profile": "core", "rules": ["call.reply.id"]})).collect();
    vec![
        event(json!({"event": "run_started", "format": 1, "harness": "0.1.0", "target": "./my peer"})),
        event(json!({"event": "target_described", "description": {"contract": 1, "name": "my-peer", "version": "1.2.3",
            "language": "Elm", "homepage": "https://peer.example", "issues": "https://peer.example/issues",
            "profiles": ["core"], "codecs": ["json"], "framings": ["length"], "transports": ["tcp", "stdio"], "roles": ["acceptor"]}})),
        event(json!({"event": "planned", "selected": cases.len() + 9, "cases": planned,
            "configurations": [
                {"configuration": configuration("tcp", "json"), "cases": cases.len(), "not_applicable": 2},
                {"configuration": configuration("stdio", "json"), "cases": cases.len(), "not_applicable": 0}],
            "not_claimed": [
                {"what": "codec msgpack", "reason": null, "cases": 0},
                {"what": "profile streaming", "reason": null, "cases": 7},
                {"what": "ability call.ext", "reason": "the API has no argument for it", "cases": 1}],
            "left_out": [{"why": "the target states no limit `open-calls`", "cases": 1}]})),
    ]
}

fn end(exit: u8, stale: &[&str]) -> Event {
    event(json!({"event": "run_finished", "totals": {}, "stale_known": stale, "exit": exit, "duration_ms": 4210}))
}

/// A wrong id in both configurations, a crash in one, a silence, a warning, a blocked case and a known failure.
fn failing() -> Vec<Event> {
    let (tcp, stdio) = (configuration("tcp", "json"), configuration("stdio", "json"));
    let mut wrong_id = finding("mismatch", "the reply carries another id than the request");
    wrong_id["expected"] = json!([r#"{"type":"rep","id":1,"payload":"a"}"#]);
    wrong_id["actual"] = json!(r#"{"type":"rep","id":2,"payload":"a"}"#);
    wrong_id["likely_cause"] = json!("the id is counted, not echoed");
    wrong_id["divergence"] = json!(2);
    wrong_id["dialogue"] = json!([
        {"connection": "a", "by": "tester", "what": "connected", "step": null, "at_ms": 0},
        frame("tester", &json!({"type": "req", "id": 1, "method": "conformance.echo", "payload": "a"})),
        frame("target", &json!({"type": "rep", "id": 2, "payload": "a"})),
    ]);
    let mut crash = finding("crash", "the process ends where an answer is due");
    crash["exit"] = json!("signal 11 (SIGSEGV)");
    crash["stderr"] = json!(["thread panicked", "\u{1b}[31mat line 3"]);
    crash["divergence"] = json!(2);
    crash["dialogue"] = json!([
        {"connection": "a", "by": "tester", "step": 1, "at_ms": 0, "what": {"bytes": {"hex": "00000005ff", "length": 5}}},
        {"connection": "b", "by": "tester", "step": 2, "at_ms": 0, "what":
            {"frame": {"hex": "81a474797065a3726571", "length": 10, "shown": "{\"type\":\"req\"}", "message": {"type": "req"}}}},
        {"connection": "a", "by": "target", "step": 2, "at_ms": 9, "what": {"exited": {"status": "signal 11 (SIGSEGV)"}}},
    ]);
    let mut silence = finding("unanswered", "no reply came, though the target lives");
    silence["divergence"] = json!(1);
    silence["expected"] = json!(["a reply to 1", "an error reply to 1"]);
    silence["dialogue"] = json!([frame("tester", &json!({"type": "req", "id": 1, "method": "m", "payload": "x".repeat(600)}))]);
    let blocked = finding("blocked", "builds on call.echo, which failed");
    let mut events = start(&["call.echo", "call.crash", "call.silent", "call.warned", "call.later", "call.known"]);
    for at in [&tcp, &stdio] {
        events.push(case("call.echo", at, "fail", wrong_id.clone()));
    }
    events.push(case("call.crash", &tcp, "pass", Value::Null));
    events.push(case("call.crash", &stdio, "fail", crash));
    for at in [&tcp, &stdio] {
        events.push(case("call.silent", at, "fail", silence.clone()));
        events.push(case("call.warned", at, "warn", finding("mismatch", "the code is another one")));
        events.push(case("call.later", at, "blocked", blocked.clone()));
        events.push(known("call.known", at, "upstream issue: replies are lost"));
    }
    events.push(end(1, &["case call.old: holds now in all 4 runs of it"]));
    events
}

#[test]
fn failures_are_told_with_all_that_is_needed_to_see_why() {
    insta::assert_snapshot!("failing-100", human(&failing(), 100, false));
}

#[test]
fn failures_fit_a_narrow_screen() {
    let screen = human(&failing(), 80, false);
    let replay = |line: &&str| line.trim_start().starts_with("replay");
    for line in screen.lines().filter(|line| !replay(line)) {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
    insta::assert_snapshot!("failing-80", screen);
}

#[test]
fn a_run_that_holds_says_little() {
    let mut events = start(&["call.echo"]);
    for transport in ["tcp", "stdio"] {
        events.push(case("call.echo", &configuration(transport, "json"), "pass", Value::Null));
    }
    events.push(end(0, &[]));
    insta::assert_snapshot!("holding", human(&events, 100, false));
    insta::assert_snapshot!("holding-verbose", human(&events, 100, true));
}

#[test]
fn many_failures_end_in_a_table() {
    let ids: Vec<String> = (0..14).map(|n| format!("call.case-{n}")).collect();
    let mut events = start(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for id in &ids {
        events.push(case(id, &configuration("tcp", "json"), "fail", finding("mismatch", "another id came back")));
    }
    events.push(end(1, &[]));
    let screen = human(&events, 80, false);
    let from = screen.find("4 more, in short").expect("the table");
    insta::assert_snapshot!("many", &screen[from..]);
    assert!(!human(&events, 80, true).contains("in short"), "-v tells every one in full");
}

#[test]
fn what_a_target_sends_cannot_move_the_cursor() {
    let mut finding = finding("garbage", "bytes that are no frame");
    finding["actual"] = json!("\u{1b}[2J\u{7}");
    let mut events = start(&["call.echo"]);
    events.push(case("call.echo", &configuration("tcp", "json"), "fail", finding));
    events.push(end(1, &[]));
    let screen = human(&events, 100, false);
    assert!(!screen.contains(['\u{1b}', '\u{7}']), "{screen}");
    assert!(screen.contains(r"\u{1b}[2J\u{7}"), "{screen}");
}

#[test]
fn progress_without_a_screen_is_a_line_for_each_configuration() {
    let mut out = Vec::new();
    let mut progress = Progress::lines(&mut out);
    progress.event(&event(json!({"event": "progress", "doing": "asking my-peer what it claims"}))).expect("written");
    for event in failing() {
        progress.event(&event).expect("written");
    }
    drop(progress);
    assert_eq!(
        String::from_utf8(out).expect("text"),
        "asking my-peer what it claims …\n\
         tcp acceptor length json: 6 cases, 2 failed\n\
         stdio acceptor length json: 6 cases, 3 failed\n"
    );
}

#[test]
fn the_event_stream_is_read_back_as_it_was_written_and_fits_its_schema() {
    let schema = serde_json::to_value(json::schema()).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let mut out = Vec::new();
    let mut report = JsonReport::new(&mut out);
    for event in failing() {
        report.event(&event).expect("written");
    }
    let text = String::from_utf8(out).expect("text");
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).expect("one JSON value a line");
        assert!(validator.is_valid(&value), "{line}");
        let read: Event = serde_json::from_value(value.clone()).expect("an event");
        assert_eq!(serde_json::to_value(read).expect("JSON"), value);
    }
}

#[test]
fn the_schema_of_events_is_the_types_own() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/events.schema.json");
    let fresh = format!("{}\n", serde_json::to_string_pretty(&json::schema()).expect("a schema is JSON"));
    if std::env::var_os("DUPLEX_BLESS").is_some() {
        std::fs::write(&path, &fresh).expect("the schema can be written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(stored == fresh, "{} is out of date: `cargo xtask bless` writes it", path.display());
}

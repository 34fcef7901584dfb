//! The reports of a run, from events written by hand: nothing is started. Snapshots hold whole screens.

use std::fs;
use std::process::{Command, Output};

use anstream::StripStream;
use duplex_conformance::event::Event;
use duplex_conformance::report::Report;
use duplex_conformance::report::file::{Form, render};
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
            "excluded": [
                {"case": "stream.later", "rules": ["stream.result.order"], "why": "profile streaming", "is_claim": true},
                {"case": "limit.open-calls", "rules": ["limit.open-calls"], "why": "the target states no limit `open-calls`", "is_claim": false}],
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
fn what_came_where_more_than_one_thing_is_allowed_is_counted() {
    let mut events = start(&["call.echo"]);
    for (at, came) in [("tcp", ["rep 1 \"a\"", "rep 2 \"b\""]), ("stdio", ["rep 2 \"b\"", "rep 1 \"a\""])] {
        events.push(event(json!({"event": "case_finished", "case": "call.echo", "title": "t", "rules": ["call.reply.id"],
            "configuration": configuration(at, "json"), "verdict": "pass", "known": null, "finding": null, "duration_ms": 3,
            "seen": [{"step": 4, "ways": 2, "came": came}]})));
    }
    events.push(end(0, &[]));
    let told = "    call.echo, step 4: 2 of 2 ways seen\n        \
        1 of 2: rep 1 \"a\", rep 2 \"b\"\n        1 of 2: rep 2 \"b\", rep 1 \"a\"\n";
    let screen = human(&events, 100, true);
    assert!(screen.contains(told), "{screen}");
    assert!(!human(&events, 100, false).contains("step 4"), "only who asks for all of it is told");
    let page = rendered(Form::Html, &events);
    assert!(page.contains("<td class=\"mono\">call.echo</td><td>4</td>"), "{page}");
    assert!(page.contains("<td class=\"number\">1 of 2</td>"), "{page}");
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

fn rendered(form: Form, events: &[Event]) -> String {
    render(form, events, &options(100, false)).expect("a report can be made")
}

/// What depends on how many rules the book has is not what these snapshots are about.
fn without_the_books_numbers(text: &str) -> String {
    let numbers = regex::Regex::new(r"(\| (?:rules|without a case in this run) \| )\d+").expect("a pattern");
    numbers.replace_all(text, "$1[n]").into_owned()
}

#[test]
fn a_build_server_gets_a_test_for_each_case_and_configuration() {
    let xml = rendered(Form::Junit, &failing());
    let report = quick_junit::Report::deserialize_from_str(&xml).expect("JUnit");
    let suites: Vec<(&str, usize, usize, usize)> =
        report.test_suites.iter().map(|suite| (suite.name.as_str(), suite.tests, suite.failures, suite.skipped)).collect();
    assert_eq!(
        suites,
        [
            ("tcp acceptor length json", 6, 2, 2),
            ("stdio acceptor length json", 6, 3, 2),
            ("not run", 2, 0, 2),
            ("known failures that are out of date", 1, 1, 0),
        ]
    );
    insta::assert_snapshot!("junit", xml);
}

#[test]
fn a_comment_on_a_change_is_short() {
    let markdown = rendered(Form::Markdown, &failing());
    assert!(markdown.lines().count() < 60, "{markdown}");
    insta::assert_snapshot!("markdown", without_the_books_numbers(&markdown));
}

#[test]
fn the_page_tells_each_failure_in_full_and_counts_every_rule() {
    let html = rendered(Form::Html, &failing());
    let (from, to) = (html.find("<h2 id=\"failures\"").expect("failures"), html.find("<h2 id=\"by-chapter\"").expect("rules"));
    insta::assert_snapshot!("html-failures", &html[from..to]);
    let row = |rule: &str| {
        let start = html.find(&format!("data-rule=\"{rule}\"")).expect("every rule has a row");
        html[start..start + html[start..].find("</tr>").expect("a row ends")].to_owned()
    };
    let broken = row("call.reply.id");
    for wanted in ["fails</span>", "href=\"target/book/calls.html#r-call.reply.id\"", "href=\"#failures-0\"", "3 of 6", "1 of 6"]
    {
        assert!(broken.contains(wanted), "{wanted}: {broken}");
    }
    assert!(row("stream.result.order").contains("not claimed"));
    assert!(row("greeting.size").contains("no case"));
    let scored = duplex_spec::registry().iter().filter(|rule| !rule.id.starts_with("api.")).count();
    assert_eq!(html.matches("data-rule=\"").count(), scored);
    assert!(html.contains(&format!("<small>of {scored}</small>")), "denominators are shown");
}

#[test]
fn nothing_on_the_page_comes_from_elsewhere() {
    let html = rendered(Form::Html, &failing());
    for loader in ["<link", "<script src", "<img", "@import", "url("] {
        assert!(!html.contains(loader), "{loader}");
    }
}

#[test]
fn badges_say_how_many_rules_hold_and_of_how_many() {
    insta::assert_snapshot!("badge", rendered(Form::Badge, &failing()));
    insta::assert_snapshot!("shields", rendered(Form::Shields, &failing()));
    let mut events = start(&["call.echo"]);
    events.push(case("call.echo", &configuration("tcp", "json"), "pass", Value::Null));
    events.push(end(0, &[]));
    assert!(rendered(Form::Shields, &events).contains(r#""message":"1 of 3 rules","color":"brightgreen""#));
}

#[test]
fn results_are_the_same_for_the_same_run() {
    let mut slower = failing();
    *slower.last_mut().expect("an end") =
        event(json!({"event": "run_finished", "totals": {}, "stale_known": [], "exit": 1, "duration_ms": 9}));
    let results = rendered(Form::Results, &failing());
    assert_eq!(results, rendered(Form::Results, &slower));
    insta::assert_snapshot!("results", results);
}

/// A target that would like to be more than text, wherever it may speak.
fn hostile() -> Vec<Event> {
    let evil = "</script><img src=x onerror=alert(1)>]]>&\"'|`*[x](https://evil.example)@all www.evil.example\u{0}\u{1b}[2J\n# h";
    let mut finding = finding("garbage", evil);
    for member in ["actual", "likely_cause", "exit"] {
        finding[member] = json!(evil);
    }
    finding["expected"] = json!([evil]);
    finding["stderr"] = json!([evil]);
    finding["divergence"] = json!(0);
    finding["dialogue"] = json!([{"connection": evil, "by": "target", "step": 1, "at_ms": 0, "what":
        {"frame": {"hex": "00", "length": 1, "shown": evil, "message": null}}}]);
    let at = configuration("tcp", "json");
    let mut failed = case("call.echo", &at, "fail", finding.clone());
    let mut known = case("call.known", &at, "fail", finding);
    for (case, reason) in [(&mut failed, None), (&mut known, Some(evil.to_owned()))] {
        let Event::CaseFinished(case) = case else { panic!("a case") };
        (case.title, case.known) = (evil.to_owned(), reason);
    }
    let mut events = start(&["call.echo", "call.known"]);
    if let Event::TargetDescribed { description } = &mut events[1] {
        (description.name, description.version, description.language) =
            (evil.to_owned(), Some(evil.to_owned()), Some(evil.to_owned()));
        (description.homepage, description.issues) = (Some("javascript:alert(1)".to_owned()), Some(evil.to_owned()));
    }
    events.extend([failed, known, end(1, &[evil])]);
    events
}

#[test]
fn what_a_target_says_stays_text_in_every_form() {
    let html = rendered(Form::Html, &hostile());
    assert_eq!(html.matches("<script").count(), 1);
    assert_eq!(html.matches("</script").count(), 1);
    assert!(!html.contains("<img") && !html.contains("javascript:"), "{html}");
    let svg = rendered(Form::Badge, &hostile());
    assert!(!svg.contains("<img") && !svg.contains("</script"), "{svg}");
    let xml = rendered(Form::Junit, &hostile());
    assert!(!xml.contains("<img") && !xml.contains(['\u{0}', '\u{1b}']), "{xml}");
    let junit = quick_junit::Report::deserialize_from_str(&xml).expect("still JUnit");
    assert_eq!(junit.test_suites.iter().map(|suite| suite.failures).sum::<usize>(), 2, "the case, and the stale entry");
    let markdown = rendered(Form::Markdown, &hostile());
    for markup in ["<img", "](https", "://", "@all", "www.", "\n# h", "\u{1b}"] {
        assert!(!markdown.contains(markup), "{markup}: {markdown}");
    }
    for form in [Form::Shields, Form::Results] {
        serde_json::from_str::<Value>(&rendered(form, &hostile())).expect("still JSON");
    }
}

fn command(arguments: &[&str], folder: &std::path::Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duplex-conformance"));
    command.args(arguments).current_dir(folder).env("CARGO", "cargo").env("COLUMNS", "100").output().expect("the command starts")
}

#[test]
fn a_saved_run_becomes_any_report_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines: Vec<String> = failing().iter().map(|event| serde_json::to_string(event).expect("JSON")).collect();
    fs::write(folder.path().join("run.jsonl"), lines.join("\n")).expect("a file");
    let mut arguments = vec!["--from".to_owned(), "run.jsonl".to_owned()];
    arguments.extend(Form::ALL.map(|form| format!("--report={0}=run.{0}", form.name())));
    let output = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), folder.path());
    assert_eq!(output.status.code(), Some(1), "the run's own status: {}", String::from_utf8_lossy(&output.stderr));
    for form in Form::ALL {
        let text = fs::read_to_string(folder.path().join(format!("run.{}", form.name()))).expect("a report");
        assert!(form == Form::Badge || text == rendered(form, &failing()) || form == Form::Html, "{}", form.name());
        assert!(!text.is_empty(), "{}", form.name());
    }
}

#[test]
fn a_report_that_cannot_be_written_stops_before_the_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |arguments: &[&str]| {
        let output = command(arguments, folder.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text").replace(|c: char| c.is_ascii_digit(), "N")
    };
    fs::write(folder.path().join("run.jsonl"), "").expect("a file");
    let away = told(&["--target", "tcp://127.0.0.1:1", "--report", "html=no/such/folder.html"]);
    assert!(away.starts_with("error: no/such/folder.html: No such file or directory"), "{away}");
    let twice = told(&["--target", "tcp://127.0.0.1:1", "--report", "html=a", "--report", "junit=a"]);
    assert!(twice.starts_with("error: `--report junit=a` would overwrite what `--report` names"), "{twice}");
    let source = told(&["--from", "run.jsonl", "--report", "html=./run.jsonl"]);
    assert!(source.starts_with("error: `--report html=./run.jsonl` would overwrite what `--from` names"), "{source}");
    assert!(told(&["--report", "pdf=a"]).contains("the forms are html, junit, markdown, badge, shields, results"));
    assert!(told(&["--report", "a.html"]).contains("a form and a file, such as html=a.html"));
}

#[test]
fn a_run_without_an_end_leaves_no_report() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("run.html"), "an earlier run's").expect("a file");
    let line = serde_json::to_string(&start(&[])[0]).expect("JSON");
    fs::write(folder.path().join("cut.jsonl"), line).expect("a file");
    let output = command(&["--from", "cut.jsonl", "--report", "html=run.html"], folder.path());
    assert_eq!(output.status.code(), Some(4));
    assert!(!folder.path().join("run.html").exists(), "what is left must not pass for this run's");
}

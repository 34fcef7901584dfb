//! Entries, what a run shows of them, and what `--bless` makes of them.

use duplex_vectors::{Codec, Framing, Role, Transport};

use super::*;
use crate::event::{Finding, FindingKind};

const TCP: Configuration =
    Configuration { transport: Transport::Tcp, role: Role::Acceptor, framing: Framing::Length, codec: Codec::Json };
const STDIO: Configuration = Configuration { transport: Transport::Stdio, ..TCP };

fn parse(text: &str) -> Result<KnownFailures, String> {
    KnownFailures::parse(Path::new("known-failures.toml"), text).map_err(|error| error.to_string())
}

fn finished(case: &str, verdict: Verdict, configuration: Configuration) -> CaseFinished {
    let finding = (verdict != Verdict::Pass).then(|| Finding {
        kind: FindingKind::Mismatch,
        rule: "call.reply.id".to_owned(),
        summary: format!("{case} answers \"2\""),
        expected: Vec::new(),
        actual: None,
        likely_cause: None,
        dialogue: Vec::new(),
        divergence: None,
        exit: None,
        stderr: Vec::new(),
    });
    CaseFinished {
        case: case.to_owned(),
        title: "a title".to_owned(),
        rules: vec!["call.reply.id".to_owned()],
        configuration: Some(configuration),
        schedule: None,
        verdict,
        known: None,
        finding,
        seen: Vec::new(),
        duration_ms: 1,
    }
}

fn suite() -> Suite {
    Suite { cases: ["call.echo".to_owned(), "call.ids".to_owned()].into(), rules: ["call.reply.id".to_owned()].into() }
}

fn judged(known: &mut KnownFailures, case: &str, verdict: Verdict, at: Configuration) -> CaseFinished {
    let mut finished = finished(case, verdict, at);
    known.judge(&mut finished);
    finished
}

#[test]
fn a_failure_that_is_known_carries_its_reason() {
    let mut known =
        parse("[[known]]\ncase = \"call.echo\"\ntransport = \"stdio\"\nreason = \"text on stdout\"\n").expect("valid");
    assert_eq!(judged(&mut known, "call.echo", Verdict::Fail, STDIO).known.as_deref(), Some("text on stdout"));
    assert_eq!(judged(&mut known, "call.echo", Verdict::Fail, TCP).known, None);
    assert_eq!(judged(&mut known, "call.ids", Verdict::Fail, STDIO).known, None);
    assert_eq!(known.stale(&Selection::default(), &suite()), Vec::<String>::new());
}

#[test]
fn an_entry_for_a_rule_knows_every_case_of_it() {
    let mut known = parse("[[known]]\nrule = \"call.reply.id\"\nreason = \"ids are lost\"\n").expect("valid");
    assert!(judged(&mut known, "call.echo", Verdict::Fail, TCP).known.is_some());
    assert!(judged(&mut known, "call.ids", Verdict::Warn, TCP).known.is_some());
    assert!(judged(&mut known, "call.ids", Verdict::HarnessFault, TCP).known.is_none());
}

#[test]
fn an_entry_is_stale_when_all_that_it_speaks_of_passes() {
    let text = "[[known]]\ncase = \"call.echo\"\nreason = \"r\"\n[[known]]\nrule = \"call.reply.id\"\nreason = \"r\"\n";
    let mut known = parse(text).expect("valid");
    judged(&mut known, "call.echo", Verdict::Pass, TCP);
    let stale = known.stale(&Selection::default(), &suite());
    assert_eq!(stale, ["case call.echo: holds now in all 1 runs of it", "rule call.reply.id: holds now in all 1 runs of it"]);

    let narrowed = Selection { transports: vec![Transport::Tcp], ..Selection::default() };
    assert_eq!(known.stale(&narrowed, &suite()), Vec::<String>::new(), "it may still fail over stdio");
}

#[test]
fn an_entry_that_did_not_run_or_was_blocked_is_not_judged() {
    let mut known = parse("[[known]]\ncase = \"call.echo\"\nreason = \"r\"\n").expect("valid");
    judged(&mut known, "call.echo", Verdict::Blocked, TCP);
    assert_eq!(known.stale(&Selection::default(), &suite()), Vec::<String>::new());
}

#[test]
fn an_entry_that_matches_nothing_is_stale_whatever_ran() {
    let known = parse("[[known]]\ncase = \"call.ecko\"\nreason = \"r\"\n").expect("valid");
    assert_eq!(
        known.stale(&Selection::default(), &suite()),
        ["case call.ecko: the suite has no such case; did you mean `call.echo`?"]
    );
}

#[test]
fn mistakes_are_told_with_their_place() {
    let error = |text: &str| parse(text).expect_err("a mistake");
    assert_eq!(
        error("[[known]]\ncase = \"call.*\"\nreason = \"r\"\n"),
        "known-failures.toml: entry 1 `call.*`: a pattern would hide new failures; name one case or one rule"
    );
    assert_eq!(error("[[known]]\ncase = \"a.b\"\nreason = \" \"\n"), "known-failures.toml: entry 1 `a.b` needs a `reason`");
    assert_eq!(error("[[known]]\nreason = \"r\"\n"), "known-failures.toml: entry 1 has to name either a `case` or a `rule`");
    let twice = "[[known]]\ncase = \"a.b\"\nreason = \"r\"\n";
    assert_eq!(error(&twice.repeat(2)), "known-failures.toml: entry 2 `a.b` stands twice");
    let unknown = error("[[known]]\ncase = \"a.b\"\nreasons = \"r\"\n");
    assert!(unknown.starts_with("known-failures.toml:3: unknown field `reasons`, expected one of `case`, `rule`"), "{unknown}");
}

#[test]
fn bless_adds_what_fails_removes_what_holds_and_keeps_reasons() {
    let text = "[[known]]\ncase = \"call.echo\"\nreason = \"ours\"\n[[known]]\ncase = \"call.ids\"\nreason = \"old\"\n";
    let mut known = parse(text).expect("valid");
    let all = [
        judged(&mut known, "call.echo", Verdict::Fail, TCP),
        judged(&mut known, "call.ids", Verdict::Pass, TCP),
        judged(&mut known, "call.new", Verdict::Fail, STDIO),
        judged(&mut known, "call.new", Verdict::Pass, TCP),
        judged(&mut known, "call.warned", Verdict::Warn, TCP),
    ];
    let blessed = known.blessed(&all, &Selection::default(), &suite());
    assert_eq!(
        blessed,
        "# Failures that are known, with the reason. They still run; an entry that no longer fails is an error.\n\
         # `--bless` adds and removes entries and keeps reasons: edit those.\n\
         \n[[known]]\ncase = \"call.echo\"\nreason = \"ours\"\n\
         \n[[known]]\ncase = \"call.new\"\ntransport = \"stdio\"\nreason = 'call.new answers \"2\"'\n"
    );
    parse(&blessed).expect("what is written can be read");
}

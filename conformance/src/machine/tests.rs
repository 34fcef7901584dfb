//! The machine against scripted targets: no process, no socket, no clock.

use duplex_vectors::{Codec, Framing, Role, Session, Transport};
use serde_json::{Value as Json, json};

use super::*;
use crate::event::FindingKind;

/// A target that answers what is sent with frames, in the session's order of events.
struct Script<'a> {
    machine: Machine<'a>,
    now: u64,
    answer: &'a dyn Fn(&Json) -> Vec<Json>,
    /// Whether the target ends when the tester does.
    ends: bool,
    status: i32,
}

fn session(steps: &Json) -> Session {
    serde_json::from_value(json!({"id": "a.b", "title": "t", "rules": ["call.reply"], "profile": "core", "steps": steps}))
        .expect("a session")
}

fn setup(connection: Connection) -> Setup {
    Setup {
        configuration: Configuration {
            transport: Transport::Stdio,
            role: Role::Acceptor,
            framing: Framing::Length,
            codec: Codec::Json,
        },
        limits: Limits::new(),
        has_inspect: true,
        nonce: "n".into(),
        shift: if connection == Connection::Chained { 3000 } else { 0 },
        fence: FIRST_FENCE,
        pace: Pace { limit: 5000, start: 5000, silence: Some(250), drain: 5000 },
        connection,
        has_process: true,
    }
}

impl Script<'_> {
    fn run(mut self) -> Outcome {
        for _ in 0..10_000 {
            while let Some(output) = self.machine.poll() {
                self.carry_out(output);
            }
            if let Some(outcome) = self.machine.outcome() {
                return outcome.clone();
            }
            self.now = self.machine.deadline().expect("every state has a deadline");
            self.machine.handle(Input::Late, self.now);
        }
        panic!("the session does not end");
    }

    fn carry_out(&mut self, output: Output) {
        let (machine, now) = (&mut self.machine, self.now);
        match output {
            Output::Connect(name) => machine.handle(Input::Connected(name), now),
            Output::Frame(name, frame) if frame.starts_with(b"SIMPLEX") => {
                machine.handle(Input::Frame(name, b"+OK".to_vec()), now)
            }
            // Whoever takes no bytes refuses the empty ones too.
            Output::Frame(name, frame) if frame.is_empty() => {
                for _ in (self.answer)(&Json::Null) {
                    machine.handle(Input::Refused(name.clone()), now);
                }
            }
            Output::Frame(name, frame) => {
                let message: Json = serde_json::from_slice(&frame).expect("JSON");
                for reply in (self.answer)(&message) {
                    let input = match reply.as_str() {
                        Some("end") => Input::Ended(name.clone(), Vec::new()),
                        Some("exit 3") => Input::Exited(Exit { code: Some(3), text: "exit status 3".into() }),
                        _ => Input::Frame(name.clone(), reply.to_string().into_bytes()),
                    };
                    machine.handle(input, now);
                }
            }
            Output::HalfClose(name) | Output::Close(name) if self.ends => {
                machine.handle(Input::Ended(name, Vec::new()), now);
                let code = self.status;
                machine.handle(Input::Exited(Exit { code: Some(code), text: format!("exit status {code}") }), now);
            }
            Output::AskTaken(name) => {
                if !(self.answer)(&json!("taken")).is_empty() {
                    machine.handle(Input::Taken(name), now);
                }
            }
            Output::Bytes(..) | Output::HalfClose(_) | Output::Close(_) | Output::PauseReading(_) | Output::ResumeReading(_) => {}
        }
    }
}

fn outcome(steps: Json, connection: Connection, answer: &dyn Fn(&Json) -> Vec<Json>) -> Outcome {
    let session = session(&steps);
    Script { machine: Machine::new(&session, setup(connection)), now: 0, answer, ends: true, status: 0 }.run()
}

/// Echoes every call that is not for `silent`.
fn echo(message: &Json) -> Vec<Json> {
    match (&message["method"], message["id"].is_null()) {
        (Json::String(method), false) if method != "silent" => {
            vec![json!({"type": "rep", "id": message["id"], "payload": message["payload"]})]
        }
        _ => Vec::new(),
    }
}

fn kind(outcome: &Outcome) -> Option<FindingKind> {
    outcome.finding.as_ref().map(|finding| finding.kind)
}

const CALL: &str = r#"{"type": "req", "id": 1, "method": "conformance.echo", "payload": 5}"#;

fn call() -> Json {
    serde_json::from_str(CALL).expect("JSON")
}

#[test]
fn a_right_target_passes() {
    let steps = json!([
        {"send": call()},
        {"fence": true},
        {"expect": {"type": "rep", "id": 1, "payload": 5}},
        {"repeat": {"times": 3, "steps": [
            {"send": {"type": "req", "id": {"$i": 10}, "method": "m", "payload": {"$i": 0}}},
            {"expect": {"type": "rep", "id": {"$i": 10}, "payload": {"$i": 0}}}]}}
    ]);
    for connection in [Connection::Own, Connection::Chained] {
        assert_eq!(kind(&outcome(steps.clone(), connection, &echo)), None, "{connection:?}");
    }
    assert_eq!(outcome(steps, Connection::Chained, &echo).highest_id, 3012);
}

#[test]
fn each_fault_has_its_kind() {
    let wait = json!([{"send": call()}, {"expect": {"type": "rep", "id": 1, "payload": 5}}]);
    let silent = json!([{"send": {"type": "req", "id": 1, "method": "silent"}}, {"expect": {"type": "rep", "id": 1}}]);
    let close = json!([{"send": call()}, {"expect_close": true}]);
    let notify = json!([{"send": {"type": "req", "method": "conformance.echo"}}, {"fence": true}]);
    type Answer<'a> = &'a dyn Fn(&Json) -> Vec<Json>;
    let twice: Answer<'_> = &|message| [echo(message), echo(message)].concat();
    let cases: [(&Json, Answer<'_>, FindingKind); 9] = [
        (&wait, &|_| vec![json!({"type": "rep", "id": 2, "payload": 5})], FindingKind::Mismatch),
        (&wait, &|_| vec![json!([1])], FindingKind::Garbage),
        (&wait, twice, FindingKind::Stray),
        (&wait, &|_| vec![json!("end")], FindingKind::Closed),
        (&wait, &|_| vec![json!("exit 3"), json!("end")], FindingKind::Crash),
        (&silent, &echo, FindingKind::Unanswered),
        (&silent, &|_| vec![], FindingKind::Hang),
        (&close, &|message| if message["id"] == 1 { vec![] } else { echo(message) }, FindingKind::NotClosed),
        (
            &notify,
            &|message| if message["id"].is_null() { vec![json!({"type": "rep", "id": null})] } else { echo(message) },
            FindingKind::Stray,
        ),
    ];
    for (steps, answer, expected) in cases {
        assert_eq!(kind(&outcome(steps.clone(), Connection::Own, answer)), Some(expected), "{steps}");
    }
}

#[test]
fn an_end_is_judged_by_the_exit_status() {
    let session = session(&json!([{"fence": true}]));
    let run = |ends, status| {
        kind(&Script { machine: Machine::new(&session, setup(Connection::Own)), now: 0, answer: &echo, ends, status }.run())
    };
    assert_eq!(run(true, 0), None);
    assert_eq!(run(true, 1), Some(FindingKind::Crash));
    assert_eq!(run(false, 0), Some(FindingKind::NotClosed));
}

#[test]
fn a_reset_before_the_connection_is_had_is_told_like_one_behind_that() {
    let session = session(&json!([{"fence": true}]));
    let run = |first: Input| {
        let mut machine = Machine::new(&session, setup(Connection::Own));
        let connect = |output: &Output| matches!(output, Output::Connect(_));
        assert!(std::iter::from_fn(|| machine.poll()).any(|output| connect(&output)));
        machine.handle(first, 0);
        machine.handle(Input::Ended("a".into(), Vec::new()), 0);
        machine.handle(Input::Exited(Exit { code: Some(0), text: "exit status 0".into() }), 0);
        machine.outcome().and_then(|outcome| outcome.finding.clone()).expect("a finding")
    };
    let [before, behind] =
        [Input::NotConnected("a".into(), "reset".into(), Unserved::Reset), Input::Connected("a".into())].map(run);
    assert_eq!((before.kind, &before.rule, &before.summary), (behind.kind, &behind.rule, &behind.summary));
    assert_eq!(before.expected, behind.expected);
}

#[test]
fn sequences_interleave_and_keep_their_order() {
    let steps = json!([{"send": call()}, {"expect_all": [
        [{"type": "rep", "id": 1, "payload": 1, "more": true}, {"type": "rep", "id": 1, "payload": 2}],
        {"type": "rep", "id": 2, "payload": "$x"}
    ]}]);
    let frame = |id: u8, payload: u8, more: bool| json!({"type": "rep", "id": id, "payload": payload, "more": more});
    for (frames, expected) in [
        ([frame(1, 1, true), frame(2, 0, false), frame(1, 2, false)], None),
        ([frame(2, 0, false), frame(1, 1, true), frame(1, 2, false)], None),
        ([frame(1, 2, false), frame(1, 1, true), frame(2, 0, false)], Some(FindingKind::Mismatch)),
    ] {
        assert_eq!(kind(&outcome(steps.clone(), Connection::Own, &|_| frames.to_vec())), expected);
    }
}

#[test]
fn a_stream_ends_in_either_form() {
    let steps = |items: Json| json!([{"send": call()}, {"expect_stream": {"type": "rep", "id": 1, "items": items}}]);
    let item = |payload: Json, more: bool| json!({"type": "rep", "id": 1, "payload": payload, "more": more});
    let end = || json!({"type": "rep", "id": 1, "payload": null, "end": true});
    for (items, frames, passes) in [
        (json!([1, 2]), vec![item(json!(1), true), item(json!(2), false)], true),
        (json!([1, 2]), vec![item(json!(1), true), item(json!(2), true), end()], true),
        (json!([]), vec![end()], true),
        (json!([]), vec![item(json!(null), false)], false),
        (json!([1, 2]), vec![item(json!(1), true), end()], false),
        (json!([1]), vec![item(json!(1), true), item(json!(2), false)], false),
    ] {
        assert_eq!(kind(&outcome(steps(items), Connection::Own, &|_| frames.clone())).is_none(), passes, "{frames:?}");
    }
}

#[test]
fn a_question_is_asked_until_the_result_matches() {
    let asked = std::cell::Cell::new(0);
    let answer = |message: &Json| {
        asked.set(asked.get() + 1);
        vec![json!({"type": "rep", "id": message["id"], "payload": {"incoming": 3 - asked.get()}})]
    };
    let steps = json!([{"eventually": {"method": "conformance.inspect", "result": {"incoming": 0}}}]);
    assert_eq!(kind(&outcome(steps.clone(), Connection::Own, &answer)), None);
    assert_eq!(asked.get(), 3);
    let never = |message: &Json| vec![json!({"type": "rep", "id": message["id"], "payload": {"incoming": 1}})];
    assert_eq!(kind(&outcome(steps, Connection::Own, &never)), Some(FindingKind::Mismatch));
}

#[test]
fn what_is_not_read_is_decided_by_what_is_taken() {
    let taken = json!([{"pause_reading": true}, {"send": call()}, {"expect_taken": true}, {"resume_reading": true},
        {"expect": {"type": "rep", "id": 1, "payload": 5}}]);
    let takes = |message: &Json| if message == "taken" { vec![json!(1)] } else { echo(message) };
    assert_eq!(kind(&outcome(taken.clone(), Connection::Own, &takes)), None);
    assert_eq!(kind(&outcome(taken, Connection::Own, &echo)), Some(FindingKind::Hang));
    let refused = json!([{"pause_reading": true}, {"send": call()}, {"expect_refused": true}]);
    let refuses = |message: &Json| if message.is_null() { vec![json!(1)] } else { Vec::new() };
    assert_eq!(kind(&outcome(refused.clone(), Connection::Own, &refuses)), None);
    assert_eq!(kind(&outcome(refused, Connection::Own, &|_| Vec::new())), Some(FindingKind::NotClosed));
}

#[test]
fn a_step_that_cannot_run_is_the_harness_at_fault() {
    for steps in [
        json!([{"send": "$unbound"}]),
        json!([{"on": "z", "fence": true}]),
        json!([{"send": {"$any": true}}]),
        json!([{"pause_reading": true}, {"fence": true}]),
    ] {
        assert_eq!(kind(&outcome(steps.clone(), Connection::Own, &echo)), Some(FindingKind::Harness), "{steps}");
    }
}

#[test]
fn what_came_is_told_where_it_could_have_been_something_else() {
    let reply = |id: u64, payload: Json| json!({"type": "rep", "id": id, "payload": payload});
    let (one, two) = (reply(1, json!("a")), reply(2, json!("b")));
    let item = json!({"type": "rep", "id": 1, "payload": "a", "more": true});
    let last = json!({"type": "rep", "id": 1, "payload": "$x"});
    let any_order = json!({"expect_all": [one, two]});
    let in_turn = json!({"expect_one_of": [[item, last, {"type": "rep", "id": 2, "payload": "$x"}], [item, {"type": "rep", "id": 1, "payload": 5}], two]});
    for (step, frames, came) in [
        (&any_order, vec![two.clone(), one.clone()], Some((2, vec!["rep 2 \"b\"", "rep 1 \"a\""]))),
        (&any_order, vec![one.clone(), two.clone()], Some((2, vec!["rep 1 \"a\"", "rep 2 \"b\""]))),
        (&in_turn, vec![two.clone()], Some((3, vec!["rep 2 \"b\""]))),
        (&in_turn, vec![item.clone(), reply(1, json!(5))], Some((3, vec!["rep 1 \"a\" more", "rep 1 5"]))),
        (
            &in_turn,
            vec![item.clone(), reply(1, json!(7)), reply(2, json!(7))],
            Some((3, vec!["rep 1 \"a\" more", "rep 1 $x", "rep 2 $x"])),
        ),
        // A name that the first message of a way binds holds for the next.
        (&in_turn, vec![item.clone(), reply(1, json!(7)), reply(2, json!(8))], None),
        (&in_turn, vec![item.clone(), two.clone()], None),
    ] {
        let steps = json!([{"send": call()}, step]);
        let Outcome { finding, seen, .. } = outcome(steps, Connection::Own, &|_| frames.clone());
        let told = seen.first().map(|seen| (seen.ways, seen.came.iter().map(String::as_str).collect()));
        assert_eq!((finding.is_none(), told), (came.is_some(), came), "{frames:?}");
    }
}

//! Plans of a small suite for targets that claim more or less.

use serde_json::{Value, json};

use super::*;
use crate::select::Filter;

fn corpus() -> &'static Corpus {
    let session = |id: &str, profile: &str, more: Value| -> Session {
        let mut session = json!({"id": id, "title": format!("{id} holds"), "rules": [format!("rule.{id}")], "profile": profile,
            "steps": [{"send": {"type": "req", "id": 1, "method": "conformance.echo", "payload": 1}}]});
        let members = session.as_object_mut().expect("a map");
        members.extend(more.as_object().expect("a map").clone());
        serde_json::from_value(session).expect("a session")
    };
    let call =
        |payload: Value| json!({"steps": [{"send": {"type": "req", "id": 1, "method": "conformance.call", "payload": payload}}]});
    let message = |id: &str, more: Value| -> MessageVector {
        let mut vector = json!({"id": id, "title": format!("{id} is told"), "rules": ["rule.message"], "valid": true,
            "message": {"type": "req", "id": 1, "method": "conformance.echo", "payload": 1}, "json": "{}"});
        vector.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        serde_json::from_value(vector).expect("a message vector")
    };
    Box::leak(Box::new(Corpus {
        sessions: vec![
            session("a.builds", "core", json!({"after": ["z.base"]})),
            session("a.initiator", "core", json!({"roles": ["initiator"]})),
            session("b.call", "caller", call(json!({"method": "m"}))),
            session("b.core-calls", "core", call(json!({"method": "m"}))),
            session("b.ext", "caller", call(json!({"method": "m", "ext": {"a": 1}}))),
            session(
                "c.limit",
                "core",
                json!({"steps": [{"repeat": {"times": {"$limit": {"name": "open-calls", "plus": 1}}, "steps": []}}]}),
            ),
            session("z.base", "core", json!({})),
        ],
        messages: vec![
            message("m.valid", json!({"msgpack": "80"})),
            message("m.reply", json!({"message": {"type": "rep", "id": 1}})),
            message("m.undecodable", json!({"valid": false, "class": "undecodable", "message": null})),
            message("m.bad-reply", json!({"valid": false, "class": "bad-reply"})),
        ],
    }))
}

fn claims(profiles: &[Profile]) -> Description {
    Description { name: "t".to_owned(), profiles: profiles.to_vec(), limits: BTreeMap::new(), ..everything(corpus()) }
}

fn ids(planning: &Planning, index: usize) -> Vec<String> {
    planning.plan.configurations[index].cases.iter().map(Case::id).collect()
}

fn filtered(filter: &str) -> Selection {
    Selection { filters: vec![Filter::parse(filter).expect("a filter")], ..Selection::default() }
}

#[test]
fn every_claimed_configuration_runs_but_msgpack_in_lines() {
    let planning = plan(corpus(), &claims(&[Profile::Core]), &Selection::default());
    let names: Vec<String> = planning.plan.configurations.iter().map(|one| one.configuration.to_string()).collect();
    assert_eq!(names.len(), 12);
    assert_eq!(names[0], "tcp acceptor length json");
    assert!(!names.iter().any(|name| name.ends_with("newline msgpack")));
}

#[test]
fn prerequisites_come_first_and_messages_run_once_for_each_codec() {
    let planning = plan(corpus(), &claims(&[Profile::Core]), &Selection::default());
    assert_eq!(ids(&planning, 0), ["z.base", "a.builds", "message:m.undecodable", "message:m.valid"]);
    assert_eq!(ids(&planning, 1), ["z.base", "a.builds", "message:m.valid"], "only one of them has MessagePack bytes");
    assert_eq!(ids(&planning, 2), ["z.base", "a.builds"], "JSON in lines comes second");
    assert_eq!(planning.plan.configurations[1].not_applicable, 2, "the initiator's session and the JSON message");
}

#[test]
fn nothing_is_left_out_silently() {
    let planning = plan(corpus(), &claims(&[Profile::Core]), &Selection::default());
    let not_claimed: Vec<(&str, usize)> = planning.plan.not_claimed.iter().map(|one| (one.what.as_str(), one.cases)).collect();
    assert_eq!(not_claimed, [("profile caller", 4)], "a core session that calls, and a bad reply, need a caller too");
    let left_out: Vec<(&str, usize)> = planning.left_out.iter().map(|one| (one.why.as_str(), one.cases)).collect();
    assert_eq!(
        left_out,
        [
            ("the target states no limit `open-calls`", 1),
            ("message vectors for codecs alone: no session can carry them to a peer", 1)
        ]
    );
    let told: usize = not_claimed.iter().chain(&left_out[..1]).map(|(_, cases)| cases).sum();
    assert_eq!(planning.cases.len() + told, planning.selected);
}

#[test]
fn what_an_api_lacks_is_not_claimed_with_its_reason() {
    let mut description = claims(&[Profile::Core, Profile::Caller]);
    description.lacks.insert("call.ext".to_owned(), "no such argument".to_owned());
    description.limits.insert("open-calls".to_owned(), None);
    let planning = plan(corpus(), &description, &Selection::default());
    let lack = &planning.plan.not_claimed[0];
    assert_eq!((lack.what.as_str(), lack.reason.as_deref(), lack.cases), ("ability call.ext", Some("no such argument"), 1));
    assert_eq!(planning.left_out[0].why, "the target has no limit `open-calls`");
    assert!(ids(&planning, 0).contains(&"b.core-calls".to_owned()));
}

#[test]
fn axes_that_were_asked_for_and_are_not_claimed_are_said() {
    let mut description = claims(&[Profile::Core]);
    description.codecs = vec![Codec::Json];
    let selection = Selection { codecs: vec![Codec::Msgpack], ..Selection::default() };
    let planning = plan(corpus(), &description, &selection);
    assert_eq!(planning.runs(), 0);
    assert_eq!(planning.plan.not_claimed[0].what, "codec msgpack");
}

#[test]
fn filters_match_cases_and_rules() {
    let run = |filter: &str| -> Vec<String> {
        let planning = plan(corpus(), &claims(&[Profile::Core]), &filtered(filter));
        planning.cases.into_iter().map(|case| case.case).collect()
    };
    assert_eq!(run("=a.builds"), ["a.builds"]);
    assert_eq!(run("rule.z"), ["z.base"]);
    assert_eq!(run("message:*"), ["message:m.undecodable", "message:m.valid"]);
}

#[test]
fn a_circle_of_prerequisites_ends() {
    let session = |id: &str, after: &str| -> Session {
        serde_json::from_value(
            json!({"id": id, "title": "t", "rules": ["r.r"], "profile": "core", "after": [after], "steps": []}),
        )
        .expect("a session")
    };
    let corpus =
        Box::leak(Box::new(Corpus { sessions: vec![session("a.a", "b.b"), session("b.b", "a.a")], messages: Vec::new() }));
    assert_eq!(plan(corpus, &claims(&[Profile::Core]), &Selection::default()).cases.len(), 2);
}

#[test]
fn every_case_of_the_selection_runs_or_has_a_reason_why_not() {
    for profiles in [&[Profile::Core][..], &[Profile::Core, Profile::Streaming]] {
        let planning = plan(corpus(), &claims(profiles), &Selection::default());
        let mut ids: Vec<String> = planning.cases.iter().map(|one| one.case.clone()).collect();
        ids.extend(planning.excluded.iter().map(|one| one.case.clone()));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), planning.selected);
        let by_claim = planning.excluded.iter().filter(|one| one.is_claim).count();
        assert_eq!(by_claim, planning.plan.not_claimed.iter().map(|one| one.cases).sum::<usize>());
    }
}

//! Every lint is seen to fail: a sound vector, changed in one place, is named with that place.

use duplex_vectors::{Corpus, MessageVector, Session, lint, unshown};
use serde_json::{Value, json};

fn valid() -> Value {
    json!({
        "$schema": "../../schema/message-vector.schema.json", "id": "request.a", "title": "a request", "rules": ["call.send"],
        "valid": true, "message": {"type": "req", "id": 1, "method": "m", "payload": "a"}, "json": "{}", "msgpack": "80",
        "accept": {"json": ["{ }"], "msgpack": ["de0000"]},
    })
}

fn invalid() -> Value {
    json!({
        "$schema": "../../schema/message-vector.schema.json", "id": "invalid.a", "title": "a bad request",
        "rules": ["message.method.invalid"], "valid": false, "message": {"type": "req", "id": 1, "method": 5, "payload": "a"},
        "json": "{}", "fault": "`method` is a number", "class": "invalid", "twin": "request.a",
    })
}

fn session(steps: &Value) -> Value {
    json!({
        "$schema": "../../schema/session.schema.json", "id": "call.a", "title": "a call", "rules": ["call.reply"],
        "profile": "core", "steps": steps,
    })
}

fn corpus(messages: &[Value], sessions: &[Value]) -> Corpus {
    let message = |value: &Value| -> MessageVector { serde_json::from_value(value.clone()).expect("a message vector") };
    let session = |value: &Value| -> Session { serde_json::from_value(value.clone()).expect("a session") };
    Corpus { sessions: sessions.iter().map(session).collect(), messages: messages.iter().map(message).collect() }
}

fn problems(corpus: &Corpus) -> Vec<String> {
    lint(corpus).iter().map(ToString::to_string).collect()
}

/// The value with these members changed; `null` takes one away.
fn with(mut value: Value, changes: &Value) -> Value {
    let members = value.as_object_mut().expect("a map");
    for (name, member) in changes.as_object().expect("a map") {
        if member.is_null() {
            members.remove(name);
        } else {
            members.insert(name.clone(), member.clone());
        }
    }
    value
}

/// Exactly one problem, in this file and field, that says this.
fn one(corpus: &Corpus, place: &str, says: &str) {
    let problems = problems(corpus);
    assert_eq!(problems.len(), 1, "{place}: {problems:#?}");
    assert!(problems[0].starts_with(place) && problems[0].contains(says), "{place}, {says}: {}", problems[0]);
}

fn bad_valid(field: &str, changes: &Value, says: &str) {
    let place = format!("messages/request/a.json: `{field}`");
    one(&corpus(&[with(valid(), changes)], &[]), &place, says);
}

fn bad_invalid(field: &str, changes: &Value, says: &str) {
    let place = format!("messages/invalid/a.json: `{field}`");
    one(&corpus(&[valid(), with(invalid(), changes)], &[]), &place, says);
}

fn bad_steps(field: &str, steps: &Value, says: &str) {
    let place = format!("sessions/call/a.json: `{field}`");
    one(&corpus(&[], &[session(steps)]), &place, says);
}

fn bad_session(field: &str, changes: &Value, says: &str) {
    let steps = json!([{"send": {"type": "req", "id": 1, "method": "m", "payload": 1}}, {"expect": {"id": 1}}]);
    let place = format!("sessions/call/a.json: `{field}`");
    one(&corpus(&[], &[with(session(&steps), changes)]), &place, says);
}

#[test]
fn sound_vectors_have_no_problem() {
    let steps = json!([
        {"send": {"type": "req", "id": 1, "method": "conformance.offer", "payload": {"as": "echo"}}},
        {"expect": {"type": "rep", "id": 1, "payload": "$name"}},
        {"send": {"type": "req", "id": 2, "method": "$name", "payload": "$nonce.a"}},
        {"expect": {"type": "rep", "id": 2, "payload": {"$any": true}}},
        {"connect": "b"}, {"on": "b", "fence": true},
    ]);
    assert_eq!(problems(&corpus(&[valid(), invalid()], &[session(&steps)])), [""; 0]);
}

#[test]
fn heads() {
    bad_valid("title", &json!({"title": "a request."}), "no full stop");
    bad_valid("title", &json!({"title": "a request should have an id"}), "without `should`");
    bad_valid("title", &json!({"title": " "}), "a title is a sentence");
    bad_valid("rules[0]", &json!({"rules": ["no.such-rule"]}), "no chapter has the rule `no.such-rule`");
    bad_valid("rules[1]", &json!({"rules": ["call.send", "call.send"]}), "stands there already");
    bad_valid("rules", &json!({"rules": []}), "at least one rule");
    bad_valid("$schema", &json!({"$schema": "x.json"}), "../../schema/message-vector.schema.json");
    bad_session("$schema", &json!({"$schema": null}), "../../schema/session.schema.json");
}

#[test]
fn ids_and_titles_are_unique() {
    let other = with(valid(), &json!({"title": "another request"}));
    one(&corpus(&[valid(), other], &[]), "messages/request/a.json: `id`", "another vector is called `request.a` too");
    let other = with(valid(), &json!({"id": "request.b"}));
    one(&corpus(&[valid(), other], &[]), "messages/request/b.json: `title`", "another vector has the title `a request` too");
    one(&corpus(&[with(valid(), &json!({"id": "request.A"}))], &[]), "messages/request/A.json: `id`", "lower-case words");
}

#[test]
fn valid_messages() {
    bad_valid("message", &json!({"message": null}), "what its bytes mean");
    bad_valid("fault", &json!({"fault": "none"}), "only an invalid vector has one");
    bad_valid("class", &json!({"class": "dropped"}), "only an invalid vector has one");
    bad_valid("twin", &json!({"twin": "request.a"}), "only an invalid vector has one");
    bad_valid("json_hex", &json!({"json_hex": "7b7d"}), "instead of `json`");
    bad_valid("json", &json!({"json": null, "msgpack": null, "accept": {}}), "in at least one codec");
    bad_valid("accept.json", &json!({"json": null}), "beside a canonical one");
    bad_valid("accept.msgpack", &json!({"msgpack": null}), "beside a canonical one");
    bad_valid("accept.msgpack", &json!({"msgpack": "8"}), "`msgpack` is not hexadecimal");
    bad_valid("accept.json[0]", &json!({"accept": {"json": ["{}"]}}), "the same bytes");
    bad_valid("message.payload", &json!({"message": {"payload": "$name"}}), "message vectors have none");
    bad_valid("message.payload.$any", &json!({"message": {"payload": {"$any": true}}}), "no meaning in a message vector");
}

#[test]
fn invalid_messages() {
    bad_invalid("fault", &json!({"fault": null}), "names its one fault");
    bad_invalid("class", &json!({"class": null}), "what a receiver does");
    bad_invalid("twin", &json!({"twin": null}), "names the valid one");
    bad_invalid("twin", &json!({"twin": "request.b"}), "there is no message vector `request.b`");
    bad_invalid("twin", &json!({"twin": "invalid.a"}), "is invalid itself");
    bad_invalid("twin", &json!({"message": {"type": "req", "id": 1, "method": 5}}), "differs in 2 members (method, payload)");
    bad_invalid("accept", &json!({"accept": {"json": ["{ }"]}}), "a vector of its own");
    bad_invalid("message", &json!({"message": null}), "what can be decoded means something");
    bad_invalid("message", &json!({"class": "undecodable"}), "means nothing");
    bad_invalid("message.id", &json!({"message": {"type": "req", "method": "m", "payload": "a"}}), "the vector's id is 1");
    bad_invalid("message.id", &json!({"class": "bad-reply"}), "a bad reply is a reply");
}

#[test]
fn undecodable_messages() {
    let twin = with(valid(), &json!({"json": "{\"type\":\"req\",\"payload\":\"a\"}", "msgpack": null, "accept": {}}));
    let broken = |text: &str| {
        with(
            invalid(),
            &json!({"message": null, "msgpack": null, "class": "undecodable", "json": text, "rules": ["codec.json.reject"]}),
        )
    };
    for text in
        ["{\"type\":\"req\",\"payload\":NaN}", "[1]", "{\"type\":\"req\",\"payload\":\"a\"}{\"type\":\"req\",\"payload\":\"a\"}"]
    {
        assert_eq!(problems(&corpus(&[twin.clone(), broken(text)], &[])), [""; 0], "{text}");
    }
    let two_faults = broken("{\"type\":req,\"payload\":NaN}");
    let says = "in json, 17 bytes stand in the place of 19 of `request.a`";
    one(&corpus(&[twin, two_faults], &[]), "messages/invalid/a.json: `twin`", says);
}

#[test]
fn forms() {
    let payload = |payload: Value| json!([{"send": {"type": "req", "id": 1, "method": "m", "payload": payload}}]);
    let bad = |form: Value, says: &str| {
        let key = form.as_object().and_then(|form| form.keys().next()).expect("a form").clone();
        bad_steps(&format!("steps[0].send.payload.{key}"), &payload(form), says);
    };
    bad(json!({"$no": 1}), "there is no such form");
    bad(json!({"$any": true}), "no meaning in what is sent");
    bad(json!({"$bin": "0"}), "hexadecimal digits");
    bad(json!({"$int": 5}), "an integer as a string");
    bad(json!({"$float": "x"}), "a number as a string");
    bad(json!({"$pairs": [["a"]]}), "a list of pairs");
    bad(json!({"$repeat": ["a"]}), "a string and how many times");
    bad(json!({"$upper": 5}), "a string");
    bad(json!({"$nest": "3"}), "how many containers");
    bad(json!({"$limit": {"name": "height"}}), "the `name` of a limit");
    bad(json!({"$i": "1"}), "an integer");
    bad(json!({"$bin": "00", "b": 1}), "a form stands alone");
    bad_steps("steps[0].send.payload", &payload(json!("$")), "is no name");
    let expected = |pattern: Value| json!([{"expect": pattern}]);
    for (pattern, says) in [
        (json!({"$any": 1}), "`true`"),
        (json!({"$type": "text"}), "a type"),
        (json!({"$match": 1}), "a string"),
        (json!({"$has": 1}), "a map"),
        (json!({"$all": []}), "a list of patterns"),
        (json!({"$bind": ["a"]}), "a name and a pattern"),
    ] {
        let problems = problems(&corpus(&[], &[session(&expected(pattern.clone()))]));
        assert!(problems.iter().any(|problem| problem.contains(says)), "{pattern}: {problems:?}");
    }
}

#[test]
fn names() {
    let send = |payload: &str| json!({"send": {"type": "req", "id": 1, "method": "m", "payload": payload}});
    let expect = json!({"expect": {"payload": "$a"}});
    bad_steps("steps[0].expect", &json!([expect]), "`$a` stands only here");
    bad_steps("steps[0].send", &json!([send("$a"), expect]), "before an expectation binds it");
    let bind = json!({"expect": {"payload": {"$bind": ["a", {"$type": "string"}]}}});
    bad_steps("steps[0].expect", &json!([bind]), "`$a` stands only here");
}

#[test]
fn steps() {
    let step = |message: Value| json!([{"send": message}]);
    let control = json!({"type": "req", "method": "conformance.release", "payload": "a"});
    bad_steps("steps[0].send.id", &step(control), "is asked with an id");
    bad_steps("steps[0].send.id", &step(json!({"type": "req", "id": 1000, "method": "m", "payload": 1})), "1000 is over 999");
    let round =
        json!([{"repeat": {"times": 500, "steps": [{"send": {"type": "req", "id": {"$i": 501}, "method": "m", "payload": 1}}]}}]);
    bad_steps("steps[0].repeat.steps[0].send.id", &round, "1000 is over 999");
    bad_steps("steps[0].on", &json!([{"on": "b", "fence": true}]), "no step before connects `b`");
    bad_steps("steps[1]", &json!([{"pause_reading": true}, {"fence": true}]), "`resume_reading` comes before");
    bad_steps("steps[1]", &json!([{"pause_reading": true}, {"pause_reading": true}]), "not read already");
    bad_steps("steps[0]", &json!([{"resume_reading": true}]), "is read already");
    bad_steps("steps[1].connect", &json!([{"connect": "b"}, {"connect": "b"}]), "connected already");
    bad_steps("steps[0].send_frame", &json!([{"send_frame": {"hex": "0"}}]), "is not hexadecimal");
    bad_steps("steps[0].send_frame.suffix", &json!([{"send_frame": {"of": 1, "suffix": "0"}}]), "is not hexadecimal");
    bad_steps("steps[0].send_bytes.length[0]", &json!([{"send_bytes": {"length": [{"hex": "0"}]}}]), "is not hexadecimal");
    let without_count = json!([{"send_bytes": {"newline": [{"repeat": ["x", {"$limit": "frame"}]}]}}]);
    bad_steps("steps[0].send_bytes.newline[0].repeat[1]", &without_count, "how many times");
    let stream = json!([{"expect_stream": {"type": "res", "id": 1, "items": []}}]);
    bad_steps("steps[0].expect_stream.type", &stream, "of `req` or of `rep`");
}

#[test]
fn where_a_session_applies() {
    bad_session("steps", &json!({"steps": []}), "a session has steps");
    bad_session("roles", &json!({"roles": []}), "decides nothing");
    bad_session("transports", &json!({"transports": []}), "decides nothing");
    bad_session("codecs", &json!({"framings": ["newline"], "codecs": ["msgpack"]}), "no codec and framing");
    bad_session("greeting", &json!({"greeting": "manual"}), "greets by hand");
    bad_steps("greeting", &json!([{"expect_frame": "^+"}]), "`\"greeting\": \"manual\"`");
    let per_codec = json!([{"send_frame": {"msgpack": {"hex": "80"}}}]);
    let session = with(session(&per_codec), &json!({"codecs": ["json"]}));
    one(&corpus(&[], &[session]), "sessions/call/a.json: `codecs`", "no codec and framing");
}

#[test]
fn prerequisites() {
    bad_session("after[0]", &json!({"after": ["call.b"]}), "there is no session `call.b`");
    bad_session("after[0]", &json!({"after": ["call.a"]}), "comes after `call.a` itself");
    let steps = json!([{"fence": true}]);
    let first = with(session(&steps), &json!({"after": ["call.b"]}));
    let second = with(session(&steps), &json!({"id": "call.b", "title": "another call", "after": ["call.a"]}));
    let problems = problems(&corpus(&[], &[first, second]));
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems.iter().all(|problem| problem.contains("`after[0]`")), "{problems:#?}");
}

#[test]
fn endings() {
    let asks = json!({"eventually": {"method": "conformance.inspect", "payload": null, "result": {"$has": {"incoming": 0}}}});
    let shows = |ends: &Value| with(session(&json!([asks])), &json!({"profile": "inspect", "ends": ends}));
    let way = "provider/draining/abort";
    let sound = corpus(&[], &[shows(&json!([way]))]);
    assert_eq!(problems(&sound), [""; 0]);
    assert!(unshown(&corpus(&[], &[])).contains(&way.to_owned()));
    assert!(!unshown(&sound).contains(&way.to_owned()));
    let place = |field: &str| format!("sessions/call/a.json: `{field}`");
    let wrong = |field: &str, ends: Value, says: &str| one(&corpus(&[], &[shows(&ends)]), &place(field), says);
    wrong("ends[1]", json!([way, way]), "stands there already");
    wrong("ends[0]", json!(["provider/draining/more"]), "no table of states lets go of an id");
    wrong("ends[0]", json!(["caller/unsent/abort"]), "nothing was sent");
    let elsewhere = with(shows(&json!([way])), &json!({"profile": "core"}));
    one(&corpus(&[], &[elsewhere]), &place("ends"), "only a session of the profile `inspect`");
    let silent = with(shows(&json!([way])), &json!({"steps": [asks, {"fence": true}]}));
    one(&corpus(&[], &[silent]), &place("ends"), "asks at its end what is left");
}

#[test]
fn refusals_have_a_valid_twin() {
    let call = json!({"send": {"type": "req", "id": 1, "method": "m", "payload": 1}});
    let refused = |step: Value| with(session(&json!([call, step])), &json!({"title": "a refused call"}));
    let accepted = json!([call, {"expect": {"type": "rep", "id": 1, "payload": 1}}]);
    let twin = with(session(&accepted), &json!({"id": "call.b"}));
    let place = "sessions/call/a.json: `twin`";
    let code = json!({"expect": {"type": "rep", "id": 1, "error": {"code": -32600}}});
    for step in
        [json!({"expect_close": true}), json!({"expect_refused": true}), code.clone(), json!({"expect_all": [[code["expect"]]]})]
    {
        one(&corpus(&[], &[refused(step.clone()), twin.clone()]), place, "in which the valid twin is accepted");
        let paired = with(refused(step), &json!({"twin": "call.b"}));
        assert_eq!(problems(&corpus(&[], &[paired, twin.clone()])), [""; 0]);
    }
    let first = with(refused(code.clone()), &json!({"twin": "call.b"}));
    let next = |step: &Value| {
        with(refused(step.clone()), &json!({"id": "call.c", "title": "another refused call", "after": ["call.a"]}))
    };
    assert_eq!(problems(&corpus(&[], &[first.clone(), next(&code), twin.clone()])), [""; 0], "it builds on one that has a twin");
    let other = corpus(&[], &[first.clone(), next(&json!({"expect_close": true})), twin.clone()]);
    one(&other, "sessions/call/c.json: `twin`", "expects the end of the connection");
    let either = |ways: Value| problems(&corpus(&[], &[session(&json!([call, {"expect_one_of": ways}]))])).len();
    assert_eq!((either(json!([code["expect"], [code["expect"]]])), either(json!([code["expect"], {"type": "rep"}]))), (1, 0));
    let missing = json!({"expect": {"type": "rep", "id": 1, "error": {"code": -32601}}});
    let served = json!({"expect": {"type": "rep", "id": 2, "payload": 1}});
    one(&corpus(&[], &[refused(missing.clone())]), place, "expects a refusal with -32601");
    for (first, then) in [(&missing, json!({"fence": true})), (&missing, served.clone()), (&served, missing.clone())] {
        let steps = json!([call, first, call, then]);
        assert_eq!(problems(&corpus(&[], &[session(&steps)])), [""; 0], "a call that is served shows it");
    }
    for step in [json!({"expect_one_of": [code["expect"], {"type": "rep"}]}), json!({"half_close": true})] {
        let steps = json!([call, step, {"expect_close": true}]);
        let asked = step.get("half_close").is_some();
        assert_eq!(problems(&corpus(&[], &[session(&steps)])).is_empty(), asked, "{steps}");
    }
    let wrong = |changes: &Value, says: &str| one(&corpus(&[], &[with(first.clone(), changes), twin.clone()]), place, says);
    wrong(&json!({"twin": "call.z"}), "there is no session `call.z`");
    wrong(&json!({"after": ["call.b"]}), "stands in `after` already");
    let narrow = |changes: &Value| corpus(&[], &[first.clone(), with(twin.clone(), changes)]);
    one(&narrow(&json!({"roles": ["initiator"]})), place, "does not run everywhere");
    one(&narrow(&json!({"codecs": ["json"]})), place, "does not run everywhere");
    one(&narrow(&json!({"profile": "streaming"})), place, "does not run everywhere");
    let same = json!({"steps": [call, code], "twin": "call.c"});
    let valid = with(twin.clone(), &json!({"id": "call.c", "title": "yet another call"}));
    one(&corpus(&[], &[first.clone(), with(twin.clone(), &same), valid]), place, "expects the same refusal");
    let needless = with(session(&accepted), &json!({"twin": "call.b"}));
    one(
        &corpus(&[], &[needless, with(twin, &json!({"title": "the twin"}))]),
        place,
        "belongs to a session that expects a refusal",
    );
}

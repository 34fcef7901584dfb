//! The message schemas: fresh, and each failure of theirs names the rule behind it.

use duplex_spec::{Id, Level, Request, registry, schema, schema_source};
use serde_json::{Value, json};

/// The rules that a frame breaks by this schema, each once, sorted.
fn broken(schema: &Value, message: &Value) -> Vec<String> {
    let validator = jsonschema::validator_for(schema).expect("the schema compiles");
    let rule = |error: jsonschema::ValidationError<'_>| {
        let path = error.schema_path().to_string();
        schema::rule_of(schema, &path).unwrap_or_else(|| panic!("no rule at {path}"))
    };
    let mut rules: Vec<String> = validator.iter_errors(message).map(rule).collect();
    rules.sort();
    rules.dedup();
    rules
}

#[test]
fn the_committed_schemas_are_what_the_types_give() {
    assert_eq!(schema::emit(), &schema_source::emit());
    assert_eq!(schema::emit_should(), &schema_source::emit_should());
    assert_eq!(schema::accept(), &schema_source::accept());
}

#[test]
fn annotations_cite_rules_of_the_book() {
    fn rules<'a>(schema: &'a Value, all: &mut Vec<&'a str>) {
        match schema {
            Value::Array(items) => items.iter().for_each(|item| rules(item, all)),
            Value::Object(members) => {
                all.extend(members.get("x-rule").and_then(Value::as_str));
                members.values().for_each(|member| rules(member, all));
            }
            _ => {}
        }
    }
    for (schema, level) in
        [(schema::emit(), Some(Level::Must)), (schema::emit_should(), Some(Level::Should)), (schema::accept(), None)]
    {
        let mut cited = Vec::new();
        rules(schema, &mut cited);
        for id in cited {
            let rule = registry().rule(id).unwrap_or_else(|| panic!("no chapter has the rule {id}"));
            assert!(id == "message.not-a-map" || level.is_none_or(|level| rule.level == level), "{id} is a {}", rule.level);
        }
    }
}

#[test]
fn a_sender_that_breaks_one_rule_is_told_that_rule() {
    let cases = [
        (json!([]), vec!["message.not-a-map"]),
        (json!({"id": 1, "method": "m", "payload": 1}), vec!["message.type"]),
        (json!({"type": "event", "payload": 1}), vec!["message.type"]),
        (json!({"type": "req", "id": 0, "method": "m", "payload": 1}), vec!["message.id.form"]),
        (json!({"type": "req", "id": 9_007_199_254_740_992_u64, "method": "m", "payload": 1}), vec!["message.id.form"]),
        (json!({"type": "req", "id": "1", "method": "m", "payload": 1}), vec!["message.id.form"]),
        (json!({"type": "req", "id": null, "method": "m", "payload": 1}), vec!["message.nulls"]),
        (json!({"type": "req", "id": 1, "payload": 1}), vec!["message.method"]),
        (json!({"type": "req", "id": 1, "method": "m"}), vec!["message.payload.present"]),
        (json!({"type": "req", "id": 1, "method": "m", "payload": 1, "ext": []}), vec!["message.ext.form"]),
        (json!({"type": "req", "id": 1, "method": "m", "payload": 1, "ext": null}), vec!["message.nulls"]),
        (json!({"type": "req", "method": "m", "payload": 1, "more": true}), vec!["stream.args.more"]),
        (
            json!({"type": "req", "id": 1, "method": "m", "payload": 1, "error": {"code": 1, "message": "m"}}),
            vec!["stream.abort.send"],
        ),
        (json!({"type": "rep", "id": 1}), vec!["message.payload.present"]),
        (json!({"type": "rep", "payload": 1}), vec!["call.reply.id"]),
        (json!({"type": "rep", "id": 1, "payload": 1, "more": "yes"}), vec!["stream.result.more"]),
        (json!({"type": "rep", "id": 1, "payload": 1, "end": true}), vec!["stream.result.last"]),
        (json!({"type": "rep", "id": 1, "payload": 1, "error": null}), vec!["message.nulls"]),
        (json!({"type": "rep", "id": 1, "error": "boom"}), vec!["message.error.form"]),
        (json!({"type": "rep", "id": 1, "error": {"message": "m"}}), vec!["message.error.form"]),
        (json!({"type": "rep", "id": 1, "method": "m", "payload": 1}), vec![]),
        (json!({"type": "rep", "id": 1, "payload": null, "end": true}), vec![]),
    ];
    for (message, rules) in cases {
        assert_eq!(broken(schema::emit(), &message), rules, "{message}");
    }
}

#[test]
fn what_a_sender_had_better_not_write_stands_apart() {
    let method = json!({"type": "rep", "id": 1, "method": "m", "payload": 1, "more": false});
    assert_eq!(broken(schema::emit_should(), &method), ["message.method.reply"]);
    for unsaid in [json!({"type": "rep", "id": 1, "payload": null, "end": true}), json!({"type": "rep", "id": 1, "payload": 1})] {
        assert_eq!(broken(schema::emit_should(), &unsaid), ["message.more.false"]);
    }
    assert_eq!(
        broken(schema::emit_should(), &json!({"type": "rep", "id": 1, "payload": null, "more": false, "end": true})),
        [""; 0]
    );
}

#[test]
fn a_receiver_takes_more_than_a_sender_may_write() {
    for message in [
        json!({"type": "req", "id": null, "method": "m", "more": null, "end": 1, "error": "boom", "ext": 5, "Method": 7}),
        json!({"type": "req", "id": 0, "method": "m"}),
        json!({"type": "rep", "id": 1, "method": 5, "error": null, "ext": []}),
        json!({"type": "rep", "id": 1, "error": {"code": 1, "message": "m"}, "more": "yes"}),
    ] {
        assert_eq!(broken(schema::accept(), &message), [""; 0], "{message}");
    }
}

#[test]
fn what_a_receiver_objects_to_names_what_it_does() {
    let cases = [
        (json!({"type": 5}), "message.type.unknown"),
        (json!({"type": "req", "id": -1, "method": "m"}), "message.id.invalid"),
        (json!({"type": "req", "id": 1}), "message.method.invalid"),
        (json!({"type": "req", "id": 1, "method": "m", "more": 1}), "message.more.invalid"),
        (json!({"type": "req", "id": 0, "method": "m", "more": true}), "call.notification.more"),
        (json!({"type": "req", "payload": 1}), "message.invalid.notification"),
        (json!({"type": "req", "id": null, "method": "m", "more": 1}), "message.invalid.notification"),
        (json!({"type": "rep", "id": "1", "payload": 1}), "call.reply.unknown"),
        (json!({"type": "rep", "id": 1, "more": 1}), "call.bad-reply"),
        (json!({"type": "rep", "id": 1, "error": {"code": "E", "message": "m"}}), "call.bad-reply"),
    ];
    for (message, rule) in cases {
        assert_eq!(broken(schema::accept(), &message), [rule], "{message}");
    }
}

#[test]
fn a_place_outside_the_schema_has_no_rule() {
    assert_eq!(schema::rule_of(schema::emit(), "/allOf/99/required"), None);
    assert_eq!(schema::rule_of(schema::emit(), "/allOf/0/type"), Some("message.not-a-map".to_owned()));
}

#[test]
fn the_types_write_what_the_schema_asks_for() {
    let id = Id::new(1);
    let request = Request { id, method: "m".to_owned(), payload: Value::Null, more: None, end: None, error: None, ext: None };
    let mut message = serde_json::to_value(&request).expect("a request serializes");
    message["type"] = json!("req");
    assert_eq!(message, json!({"type": "req", "id": 1, "method": "m", "payload": null}));
    assert_eq!(broken(schema::emit(), &message), [""; 0]);
    assert_eq!((Id::new(0), Id::new(Id::MAX + 1)), (None, None));
    let refused = serde_json::from_value::<Request>(json!({"id": 0, "method": "m", "payload": 1})).expect_err("0 is no id");
    assert!(refused.to_string().contains("0 is no id"), "{refused}");
}

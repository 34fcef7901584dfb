//! Message vectors and message schemas agree: a sender may write the valid ones, a receiver takes every accepted encoding,
//! and what it objects to in an invalid one is a rule that the vector names. No keyword of the schemas is idle.

use std::collections::BTreeSet;

use duplex_spec::schema;
use duplex_vectors::{Class, Codec, Corpus, MessageVector};
use serde_json::Value;

fn vectors() -> &'static [MessageVector] {
    Corpus::embedded().unwrap_or_else(|error| panic!("{error}")).messages()
}

/// The JSON values of a vector that `serde_json` reads: lone surrogates are beyond it.
fn values(vector: &MessageVector) -> Vec<Value> {
    let frames = vector.frames(Codec::Json).unwrap_or_else(|error| panic!("{error}"));
    frames.iter().filter_map(|frame| serde_json::from_slice(frame).ok()).collect()
}

/// The rules that a frame breaks by this schema.
fn broken(schema: &Value, validator: &jsonschema::Validator, message: &Value) -> BTreeSet<String> {
    let rule = |error: jsonschema::ValidationError<'_>| {
        let path = error.schema_path().to_string();
        schema::rule_of(schema, &path).unwrap_or_else(|| panic!("no rule at {path}"))
    };
    validator.iter_errors(message).map(rule).collect()
}

fn check(schema: &'static Value) -> impl Fn(&Value) -> BTreeSet<String> {
    let validator = jsonschema::validator_for(schema).expect("the schema compiles");
    move |message| broken(schema, &validator, message)
}

#[test]
fn a_sender_may_write_every_valid_vector() {
    let (emit, should) = (check(schema::emit()), check(schema::emit_should()));
    for vector in vectors().iter().filter(|vector| vector.valid) {
        for canonical in values(vector).iter().take(1) {
            assert_eq!(emit(canonical), BTreeSet::new(), "{}", vector.id);
            assert_eq!(should(canonical), BTreeSet::new(), "{}", vector.id);
        }
    }
}

#[test]
fn a_receiver_takes_every_encoding_of_a_valid_vector() {
    let accept = check(schema::accept());
    for vector in vectors().iter().filter(|vector| vector.valid) {
        for value in values(vector) {
            assert_eq!(accept(&value), BTreeSet::new(), "{}: {value}", vector.id);
        }
    }
}

#[test]
fn what_a_receiver_objects_to_is_a_rule_of_the_vector() {
    let accept = check(schema::accept());
    for vector in vectors().iter().filter(|vector| vector.class.is_some_and(|class| class != Class::Undecodable)) {
        let rules: BTreeSet<String> = vector.rules.iter().cloned().collect();
        for value in values(vector) {
            let objections = accept(&value);
            assert!(!objections.is_empty() && objections.is_subset(&rules), "{}: {objections:?}", vector.id);
        }
    }
}

#[test]
fn every_keyword_of_the_schemas_decides_some_vector() {
    let frames: Vec<Value> = vectors().iter().flat_map(values).collect();
    let mut idle = Vec::new();
    for (name, schema) in [("emit", schema::emit()), ("emit.should", schema::emit_should()), ("accept", schema::accept())] {
        let verdicts = |schema: &Value| -> Vec<BTreeSet<String>> {
            let validator = jsonschema::validator_for(schema).expect("the schema compiles");
            frames.iter().map(|frame| broken(schema, &validator, frame)).collect()
        };
        let whole = verdicts(schema);
        for place in keywords(schema) {
            if verdicts(&without(schema, &place)) == whole {
                idle.push(format!("{name}: {place}"));
            }
        }
    }
    assert!(idle.is_empty(), "{} keywords decide nothing:\n{}", idle.len(), idle.join("\n"));
}

/// Where a keyword stands whose absence some message has to show, by other rules that it breaks: as a JSON Pointer. A keyword
/// of a condition is one of them.
fn keywords(schema: &Value) -> Vec<String> {
    fn collect(schema: &Value, place: &str, all: &mut Vec<String>) {
        match schema {
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(index, item)| collect(item, &format!("{place}/{index}"), all));
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let place = format!("{place}/{key}");
                    match key.as_str() {
                        "type" if member.is_object() => collect(member, &place, all),
                        "type" | "required" | "enum" | "const" | "minimum" | "maximum" | "not" => all.push(place),
                        _ => collect(member, &place, all),
                    }
                }
            }
            _ => {}
        }
    }
    let mut all = Vec::new();
    collect(schema, "", &mut all);
    all
}

fn without(schema: &Value, place: &str) -> Value {
    let mut relaxed = schema.clone();
    let (parent, keyword) = place.rsplit_once('/').expect("a pointer has a slash");
    let parent = relaxed.pointer_mut(parent).and_then(Value::as_object_mut).expect("the keyword was found there");
    parent.remove(keyword);
    relaxed
}

//! Frames of the target against the JSON Schemas of messages: which rule a frame breaks.

use std::collections::BTreeMap;

use duplex_spec::schema::rule_of;
use jsonschema::Validator;
use serde_json::Value as Json;

use crate::wire::{Value, plain_json};

/// A rule that a frame breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule.
    pub rule: String,
    /// What is wrong.
    pub what: String,
}

/// A rule of a schema, and which frames it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// The rule.
    pub rule: String,
    /// The `type` of the messages that it is about, if not all.
    pub kind: Option<String>,
    /// The member that it is about: absent ones say nothing.
    pub member: Option<String>,
}

/// The schemas for what a sender writes, ready for use.
#[derive(Debug)]
pub struct Emitted {
    validators: Vec<(&'static Json, Validator)>,
    scopes: Vec<Scope>,
}

impl Default for Emitted {
    fn default() -> Self {
        let schemas = [duplex_spec::schema::emit(), duplex_spec::schema::emit_should()];
        let mut scopes = Vec::new();
        for schema in schemas {
            collect(schema, None, None, &mut scopes);
        }
        scopes.sort();
        scopes.dedup();
        let validators = schemas
            .into_iter()
            .map(|schema| (schema, jsonschema::validator_for(schema).expect("invariant: the schemas are generated and checked")))
            .collect();
        Self { validators, scopes }
    }
}

impl Emitted {
    /// Every rule of the schemas, with what it is about.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The rules that a message breaks, each once.
    #[must_use]
    pub fn violations(&self, message: &Value) -> Vec<Violation> {
        let json = plain_json(message);
        let mut found: Vec<Violation> = Vec::new();
        let mut add = |rule: String, what: String| {
            if !found.iter().any(|violation| violation.rule == rule) {
                found.push(Violation { rule, what });
            }
        };
        // For a schema 1.0 is an integer.
        if let Some(Value::Float(id)) = message.member("id") {
            add("message.id.form".into(), format!("`id`: {id:?} is written as a fraction"));
        }
        for (schema, validator) in self.validators.iter().filter(|(_, validator)| !validator.is_valid(&json)) {
            for error in validator.iter_errors(&json) {
                if let Some(rule) = rule_of(schema, error.schema_path().as_str()) {
                    let place = error.instance_path().as_str().trim_start_matches('/').replace('/', ".");
                    let text = error.to_string();
                    let text: String = text.chars().take(300).collect();
                    add(rule, if place.is_empty() { text } else { format!("`{place}`: {text}") });
                }
            }
        }
        found
    }
}

/// What the schemas look at in a message: two messages of one shape break the same rules. Payloads, texts and the content of
/// ext are no part of it, nor which valid id it is. Nothing for what is no map of distinct names.
#[must_use]
pub fn shape(message: &Value) -> Option<String> {
    let Value::Map(pairs) = message else { return None };
    let mut members = BTreeMap::new();
    for (key, value) in pairs {
        let name = key.as_str()?;
        let what = match (name, value) {
            ("type", Value::Str(kind)) => format!("{kind:?}"),
            ("error", Value::Map(_)) => shape(value)?,
            (_, Value::Int(number)) => if (1..1 << 53).contains(number) { "+" } else { "-" }.to_owned(),
            (_, Value::Null) => "null".to_owned(),
            (_, Value::Bool(truth)) => truth.to_string(),
            (_, Value::Float(_)) => "float".to_owned(),
            (_, Value::Str(_)) => "str".to_owned(),
            (_, Value::Bin(_) | Value::Ext(..)) => "bin".to_owned(),
            (_, Value::Array(_) | Value::Nest(_)) => "[]".to_owned(),
            (_, Value::Map(_)) => "{}".to_owned(),
        };
        if members.insert(name, what).is_some() {
            return None;
        }
    }
    Some(members.into_iter().map(|(name, what)| format!("{name:?}:{what},")).collect::<String>())
}

/// Collects the rules of a schema with the kind of message and the member that they are about.
fn collect(schema: &Json, kind: Option<&str>, member: Option<&str>, scopes: &mut Vec<Scope>) {
    let kind = schema.pointer("/if/properties/type/const").and_then(Json::as_str).or(kind);
    if let Some(rule) = schema.get("x-rule").and_then(Json::as_str) {
        scopes.push(Scope { rule: rule.to_owned(), kind: kind.map(str::to_owned), member: member.map(str::to_owned) });
    }
    let Some(keywords) = schema.as_object() else { return };
    for (keyword, inner) in keywords {
        match (keyword.as_str(), inner) {
            ("allOf", Json::Array(schemas)) => schemas.iter().for_each(|schema| collect(schema, kind, member, scopes)),
            ("then", schema) => collect(schema, kind, member, scopes),
            ("properties", Json::Object(members)) => {
                for (name, schema) in members {
                    collect(schema, kind, member.or(Some(name)), scopes);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json;

    #[test]
    fn frames_break_the_rules_that_they_break() {
        let emitted = Emitted::default();
        for (text, rules) in [
            (r#"{"type":"rep","id":1,"payload":null,"more":false}"#, vec![]),
            (r#"{"type":"req","id":1,"method":"m","payload":1,"more":true,"ext":{}}"#, vec![]),
            (r#"{"type":"rep","id":1,"more":false}"#, vec!["message.payload.present"]),
            (r#"{"type":"rep","id":1.0,"payload":1,"more":false}"#, vec!["message.id.form"]),
            (r#"{"type":"rep","id":"1","payload":1,"more":false}"#, vec!["message.id.form"]),
            (r#"{"type":"req","id":1,"payload":1}"#, vec!["message.method"]),
            (r#"{"type":"rep","id":1,"payload":1,"more":false,"ext":null}"#, vec!["message.nulls"]),
            (r#"{"type":"rep","id":1,"method":"m","payload":1,"more":false}"#, vec!["message.method.reply"]),
        ] {
            let message = json::decode(text.as_bytes()).expect("JSON");
            let broken: Vec<String> = emitted.violations(&message).into_iter().map(|violation| violation.rule).collect();
            assert_eq!(broken, rules, "{text}");
        }
    }

    #[test]
    fn messages_of_one_shape_break_the_same_rules() {
        let shape = |text: &str| shape(&json::decode(text.as_bytes()).expect("JSON"));
        let a = r#"{"type":"rep","id":1,"payload":"a","ext":{"a":1}}"#;
        assert_eq!(shape(a), shape(r#"{"id":7,"type":"rep","ext":{},"payload":"b"}"#));
        for other in [
            r#"{"type":"req","id":1,"payload":"a","ext":{"a":1}}"#,
            r#"{"type":"rep","id":0,"payload":"a","ext":{"a":1}}"#,
            r#"{"type":"rep","id":"1","payload":"a","ext":{"a":1}}"#,
            r#"{"type":"rep","id":1.0,"payload":"a","ext":{"a":1}}"#,
            r#"{"type":"rep","id":1,"payload":"a","ext":null}"#,
            r#"{"type":"rep","id":1,"payload":"a"}"#,
            r#"{"type":"rep","id":1,"payload":"a","ext":{"a":1},"error":{"code":1}}"#,
        ] {
            assert_ne!(shape(a), shape(other), "{other}");
        }
        assert_ne!(
            shape(r#"{"type":"rep","id":1,"error":{"code":1,"message":"m"}}"#),
            shape(r#"{"type":"rep","id":1,"error":{"code":"1","message":"m"}}"#)
        );
        assert_eq!(shape(r#"{"type":"rep","type":"rep"}"#), None);
    }
}

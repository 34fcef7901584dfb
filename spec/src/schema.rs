//! JSON Schemas of messages, with the rule that each keyword stands for.
//!
//! Every subschema that can fail has an `x-rule` on itself or on a schema around it; [`rule_of`] finds the nearest. Three
//! schemas, because three questions differ: what a sender must not write ([`emit`]), what it had better not write
//! ([`emit_should`]), and what a receiver takes without objection ([`accept`]).
//!
//! No validator here: any implementation of draft 2020-12 will do.

use std::sync::OnceLock;

use serde_json::Value;

/// What a sender writes: a frame that fails it breaks the MUST that `x-rule` names.
#[must_use]
pub fn emit() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| parse(include_str!("../schemas/message.emit.schema.json")))
}

/// What a sender writes where it can: a frame that fails it breaks the SHOULD that `x-rule` names.
#[must_use]
pub fn emit_should() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| parse(include_str!("../schemas/message.emit.should.schema.json")))
}

/// What a receiver takes without objection: to a frame that fails it applies the rule that `x-rule` names.
#[must_use]
pub fn accept() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| parse(include_str!("../schemas/message.accept.schema.json")))
}

/// The rule for a failure at this place of a schema, given as a JSON Pointer to the keyword, such as
/// `/allOf/0/required`: the `x-rule` nearest to it.
///
/// `None` if no schema around the place has one, or if there is no such place.
#[must_use]
pub fn rule_of(schema: &Value, schema_path: &str) -> Option<String> {
    let mut rule = None;
    let mut place = schema;
    for token in schema_path.split('/').skip(1) {
        rule = place.get("x-rule").and_then(Value::as_str).or(rule);
        let token = token.replace("~1", "/").replace("~0", "~");
        place = match place {
            Value::Array(items) => items.get(token.parse::<usize>().ok()?)?,
            other => other.get(&token)?,
        };
    }
    place.get("x-rule").and_then(Value::as_str).or(rule).map(str::to_owned)
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("invariant: the schema is generated")
}

//! What the book's page of coverage takes for granted of the harness, which no arrow of the house lets it ask.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use duplex_conformance::{contract, observe};
use duplex_spec::registry;
use serde_json::Value;

/// As in `book/builder/coverage.rs`.
const BESIDE_SCHEMAS: [&str; 2] = ["call.id.unique", "message.more.false.args"];

#[test]
fn every_frame_is_held_against_the_rules_of_the_schemas_and_no_others() {
    let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../spec/schemas");
    let mut rules: BTreeSet<String> = BESIDE_SCHEMAS.map(str::to_owned).into();
    for name in ["message.emit.schema.json", "message.emit.should.schema.json"] {
        let text = fs::read_to_string(schemas.join(name)).expect("a schema");
        collect(&serde_json::from_str(&text).expect("JSON"), &mut rules);
    }
    assert_eq!(rules, observe::rules());
}

#[test]
fn probes_decide_the_rules_of_the_area_target_and_no_others() {
    let area: BTreeSet<&str> = registry().iter().map(|rule| rule.id.as_str()).filter(|id| id.starts_with("target.")).collect();
    let probed: BTreeSet<&str> = contract::PROBES.into_iter().map(|(_, rule)| rule).collect();
    assert_eq!(area, probed);
}

fn collect(schema: &Value, rules: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            rules.extend(members.get("x-rule").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|inner| collect(inner, rules));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, rules)),
        _ => {}
    }
}

//! The `$` forms of templates and patterns: which exist, where each may stand, and what their arguments are.

use std::collections::BTreeMap;

use serde_json::Value;

use super::File;

/// Where a value stands, which decides the forms that it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// In a message vector: only what JSON cannot say.
    Message,
    /// What a session sends.
    Template,
    /// What a session expects.
    Pattern,
}

const MESSAGE: &[&str] = &["$bin", "$int", "$float", "$pairs"];
const TEMPLATE: &[&str] = &["$repeat", "$upper", "$nest", "$limit", "$i"];
const PATTERN: &[&str] = &["$any", "$type", "$match", "$without", "$has", "$all", "$bind"];
const TYPES: &[&str] = &["null", "boolean", "integer", "number", "string", "array", "map", "bin"];

/// Names that a value mentions, with how often each stands in it.
pub(super) type Names = BTreeMap<String, usize>;

/// Checks every form in a value. `field` is where it stands.
pub(super) fn lint(value: &Value, position: Position, field: &str, file: &mut File<'_>) -> Names {
    let mut names = Names::new();
    walk(value, position, field, file, &mut names);
    names
}

fn walk(value: &Value, position: Position, field: &str, file: &mut File<'_>, names: &mut Names) {
    match value {
        Value::String(text) => string(text, position, field, file, names),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, position, &format!("{field}[{index}]"), file, names);
            }
        }
        Value::Object(members) => {
            let dollar = members.keys().find(|key| key.starts_with('$') && !key.starts_with("$$"));
            match (members.iter().next(), dollar) {
                (Some((key, argument)), Some(_)) if members.len() == 1 => {
                    form(key, argument, position, &format!("{field}.{key}"), file, names);
                }
                (_, Some(key)) => {
                    file.problem(
                        format!("{field}.{key}"),
                        "a form stands alone in its map; a plain key with a dollar goes into `$pairs`",
                    );
                }
                _ => {
                    for (key, member) in members {
                        walk(member, position, &format!("{field}.{key}"), file, names);
                    }
                }
            }
        }
        _ => {}
    }
}

fn string(text: &str, position: Position, field: &str, file: &mut File<'_>, names: &mut Names) {
    let Some(name) = text.strip_prefix('$').filter(|rest| !rest.starts_with('$')) else { return };
    if position == Position::Message {
        file.problem(field, format!("`{text}` is a name, and message vectors have none; the string is written `${text}`"));
    } else if name == "nonce" || name.starts_with("nonce.") {
    } else if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.') {
        file.problem(field, format!("`{text}` is no name; the string is written `${text}`"));
    } else {
        *names.entry(name.to_owned()).or_default() += 1;
    }
}

fn form(key: &str, argument: &Value, position: Position, field: &str, file: &mut File<'_>, names: &mut Names) {
    let known = MESSAGE.contains(&key) || TEMPLATE.contains(&key) || PATTERN.contains(&key);
    let allowed = MESSAGE.contains(&key)
        || (TEMPLATE.contains(&key) && position != Position::Message)
        || (PATTERN.contains(&key) && position == Position::Pattern);
    if !known {
        return file.problem(field, "there is no such form");
    }
    if !allowed {
        return file.problem(field, format!("`{key}` has no meaning in {}", where_it_is(position)));
    }
    if let Some(expected) = wrong_argument(key, argument) {
        file.problem(field, format!("`{key}` takes {expected}"));
    }
    match (key, argument) {
        ("$has" | "$all", inner) => walk(inner, position, field, file, names),
        ("$pairs", Value::Array(pairs)) => pairs.iter().for_each(|pair| walk(pair, position, field, file, names)),
        ("$bind", Value::Array(parts)) => {
            if let Some(name) = parts.first().and_then(Value::as_str) {
                *names.entry(name.to_owned()).or_default() += 1;
            }
            parts.iter().skip(1).for_each(|inner| walk(inner, position, field, file, names));
        }
        _ => {}
    }
}

fn where_it_is(position: Position) -> &'static str {
    match position {
        Position::Message => "a message vector",
        Position::Template => "what is sent",
        Position::Pattern => "what is expected",
    }
}

/// What the form takes, if the argument is something else.
fn wrong_argument(key: &str, argument: &Value) -> Option<&'static str> {
    let items = argument.as_array().map(Vec::as_slice);
    let text = argument.as_str();
    let (right, expected) = match key {
        "$bin" => (text.is_some_and(|text| hex::decode(text).is_ok()), "hexadecimal digits"),
        "$int" => (text.is_some_and(|text| text.parse::<i128>().is_ok()), "an integer as a string"),
        "$float" => (text.is_some_and(|text| text.parse::<f64>().is_ok()), "a number as a string"),
        "$pairs" => (
            items.is_some_and(|pairs| pairs.iter().all(|pair| pair.as_array().is_some_and(|pair| pair.len() == 2))),
            "a list of pairs",
        ),
        "$repeat" => (matches!(items, Some([text, times]) if text.is_string() && is_count(times)), "a string and how many times"),
        "$upper" => (text.is_some(), "a string"),
        "$nest" => (is_count(argument), "how many containers"),
        "$limit" => (
            argument["name"].as_str().is_some_and(|name| duplex_spec::limit(name).is_some())
                && argument.get("each").is_none_or(|each| each.as_u64().is_some_and(|each| each > 0)),
            "the `name` of a limit, perhaps with `plus` and with `each`",
        ),
        "$i" => (argument.is_i64(), "an integer"),
        "$any" => (*argument == Value::Bool(true), "`true`"),
        "$type" => (text.is_some_and(|text| TYPES.contains(&text)), "a type"),
        "$match" | "$without" => (text.is_some(), "a string"),
        "$has" => (argument.is_object(), "a map"),
        "$all" => (items.is_some_and(|items| !items.is_empty()), "a list of patterns"),
        "$bind" => (matches!(items, Some([name, _]) if name.is_string()), "a name and a pattern"),
        _ => return None,
    };
    (!right).then_some(expected)
}

/// A number, or a limit of the target.
pub(super) fn is_count(value: &Value) -> bool {
    value.is_u64() || value.get("$limit").is_some_and(|limit| wrong_argument("$limit", limit).is_none())
}

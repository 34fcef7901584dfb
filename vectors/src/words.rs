//! Messages and values of sessions in a few words: for labels of pictures and for what a run tells.

use serde_json::Value;

/// A message, or a pattern of one, in a few words: `req 1 echo "a" more`.
#[must_use]
pub fn message(value: &Value) -> String {
    let Some(map) = value.as_object() else { return plain(value) };
    let mut words = Vec::new();
    for (name, value) in map {
        match (name.as_str(), value) {
            ("type" | "method", Value::String(text)) => words.push(text.strip_prefix("conformance.").unwrap_or(text).to_owned()),
            ("id" | "payload", value) => words.push(plain(value)),
            ("more" | "end", Value::Bool(true)) => words.push(name.clone()),
            (_, value) => words.push(format!("{name} {}", plain(value))),
        }
    }
    words.join(" ")
}

/// A value as JSON, with the forms that stand for something else in words.
#[must_use]
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with('$') => text.clone(),
        Value::Object(map) if map.len() == 1 => match map.iter().next() {
            Some((form, _)) if form == "$any" => "anything".to_owned(),
            Some((form, value)) if form == "$type" => format!("any {}", value.as_str().unwrap_or_default()),
            Some((form, value)) if form == "$has" => format!("{}, …", plain(value)),
            Some((form, value)) if form == "$without" => format!("nothing with {value}"),
            Some((form, value)) if form == "$repeat" => format!("{} {} times", value[0], plain(&value[1])),
            Some((form, value)) if form == "$i" => format!("{value} + i"),
            Some((form, value)) if form == "$limit" => {
                format!("{} + {}", value["name"].as_str().unwrap_or_default(), value["plus"])
            }
            _ => value.to_string(),
        },
        other => other.to_string(),
    }
}

//! The index of all vectors, as a snapshot: what a change adds, drops or rewrites is seen at one glance.
//!
//! `cargo insta review`, or `INSTA_UPDATE=always cargo test -p duplex-vectors --test index`, accepts it.

use std::fmt::Write;

use duplex_vectors::{Action, Codec, Corpus, Step};
use serde_json::Value;

fn corpus() -> &'static Corpus {
    Corpus::embedded().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn messages() {
    let mut text = String::new();
    for vector in corpus().messages() {
        let verdict = vector.class.map_or("valid".to_owned(), |class| class.to_string());
        writeln!(text, "{} [{verdict}] {}", vector.id, vector.title).expect("a string takes it");
        writeln!(text, "  rules    {}", vector.rules.join(" ")).expect("a string takes it");
        if let Some(twin) = &vector.twin {
            writeln!(text, "  twin     {twin}").expect("a string takes it");
        }
        for codec in Codec::all() {
            for frame in vector.frames(codec).unwrap_or_else(|error| panic!("{error}")) {
                writeln!(text, "  {:<8} {}", codec.as_str(), shown(&frame)).expect("a string takes it");
            }
        }
    }
    insta::assert_snapshot!("messages", text);
}

#[test]
fn sessions() {
    let mut text = String::new();
    for session in corpus().sessions() {
        let profile = format!("{:?}", session.profile).to_lowercase();
        writeln!(text, "{} [{profile}] {}", session.id, session.title).expect("a string takes it");
        writeln!(text, "  rules    {}", session.rules.join(" ")).expect("a string takes it");
        outline(&session.steps, "  ", &mut text);
    }
    insta::assert_snapshot!("sessions", text);
}

/// Printable ASCII as it is, other bytes escaped, long frames cut.
fn shown(frame: &[u8]) -> String {
    let printable = frame.first() == Some(&b'{') || frame.is_ascii() && frame.iter().all(|byte| (b' '..=b'~').contains(byte));
    let whole = if printable {
        String::from_utf8_lossy(frame).escape_debug().to_string().replace("\\\"", "\"")
    } else {
        hex::encode(frame)
    };
    let cut: String = whole.chars().take(160).collect();
    if cut.len() < whole.len() { format!("{cut}… ({} bytes)", frame.len()) } else { whole }
}

fn outline(steps: &[Step], indent: &str, text: &mut String) {
    for step in steps {
        let on = step.on.as_ref().map_or(String::new(), |name| format!("on {name}: "));
        let action = serde_json::to_value(&step.action).expect("an action serializes");
        let (name, argument) = action.as_object().and_then(|action| action.iter().next()).expect("an action is a map of one");
        writeln!(text, "{indent}{on}{name} {}", gist(argument)).expect("a string takes it");
        if let Action::Repeat(repeat) = &step.action {
            outline(&repeat.steps, &format!("{indent}  "), text);
        }
    }
}

/// What a step is about, in a few words.
fn gist(argument: &Value) -> String {
    match argument {
        Value::Array(items) => items.iter().map(gist).collect::<Vec<_>>().join(" | "),
        Value::Object(members) if members.contains_key("steps") => format!("{} times", members["times"]),
        Value::Object(members) => {
            let word =
                |name: &str| members.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let marks = ["more", "end", "error", "ext"].into_iter().filter(|name| members.contains_key(*name)).map(str::to_owned);
            let words: Vec<String> = ["type", "id", "method"].into_iter().filter_map(word).chain(marks).collect();
            if words.is_empty() { members.keys().cloned().collect::<Vec<_>>().join(" ") } else { words.join(" ") }
        }
        Value::Bool(true) => String::new(),
        other => other.as_str().map_or_else(|| other.to_string(), str::to_owned),
    }
}

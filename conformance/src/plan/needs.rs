//! What a session asks of a target beyond its own profile, read off its steps: other profiles, abilities of its API, limits.
//!
//! The names of abilities are the closed list of the target contract's `lacks`.

use std::collections::BTreeSet;

use duplex_vectors::{Action, Profile, Session, Step};
use serde_json::Value;

/// What a session asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Profiles of the methods that it calls.
    pub(crate) profiles: BTreeSet<Profile>,
    /// Names that the target must not list under `lacks`.
    pub(crate) abilities: BTreeSet<String>,
    /// Limits whose value it uses.
    pub(crate) limits: BTreeSet<String>,
}

impl Needs {
    /// Reads the steps.
    pub(crate) fn of(session: &Session) -> Self {
        let mut needs = Self::default();
        needs.profiles.insert(session.profile);
        for method in session.methods() {
            needs.profiles.extend(profile_of(&method, session.profile));
        }
        collect(&session.steps, &mut needs);
        needs
    }
}

/// The profile that a method of the conformance service belongs to, unless it is part of every target. Offering a callback
/// is part of `callbacks`; whoever calls one is a caller too.
fn profile_of(method: &str, own: Profile) -> Option<Profile> {
    match method.strip_prefix("conformance.")? {
        "offer" if own == Profile::Callbacks => None,
        "call" | "offer" => Some(Profile::Caller),
        "sum" | "count" | "pipe" | "take" | "fail_after" => Some(Profile::Streaming),
        "inspect" => Some(Profile::Inspect),
        _ => None,
    }
}

fn collect(steps: &[Step], needs: &mut Needs) {
    for step in steps {
        // The action's own JSON is searched, so that a form inside any kind of step is found.
        let action = serde_json::to_value(&step.action).expect("invariant: an action was read from JSON");
        collect_limits(&action, &mut needs.limits);
        collect_middlewares(&action, &mut needs.profiles);
        match &step.action {
            Action::Send(message) => collect_call(message, &mut needs.abilities),
            Action::Expect(message) => collect_events(message, &mut needs.abilities),
            Action::ExpectAll(messages) | Action::ExpectOneOf(messages) => {
                for message in messages {
                    match message {
                        Value::Array(sequence) => sequence.iter().for_each(|one| collect_events(one, &mut needs.abilities)),
                        one => collect_events(one, &mut needs.abilities),
                    }
                }
            }
            Action::Eventually(question) if question.method == "conformance.inspect" => {
                collect_counts(&question.result, &mut needs.abilities);
            }
            Action::Eventually(question) if question.method == "conformance.sunk" => {
                collect_ext_event(&question.result, &mut needs.abilities);
            }
            Action::Repeat(repeat) => collect(&repeat.steps, needs),
            _ => {}
        }
    }
}

/// What `conformance.call` is asked to do that not every API can.
fn collect_call(message: &Value, abilities: &mut BTreeSet<String>) {
    if message.get("method").and_then(Value::as_str) != Some("conformance.call") {
        return;
    }
    let payload = &message["payload"];
    if payload["notify"] == Value::Bool(true) {
        abilities.insert("call.notify".to_owned());
    }
    if payload.get("ext").is_some_and(|ext| !ext.is_null()) {
        abilities.insert("call.ext".to_owned());
    }
    if payload["end"] == Value::Bool(true) {
        abilities.insert("call.end".to_owned());
    }
    if payload.get("abort").is_some_and(|abort| !abort.is_null()) {
        abilities.insert("call.abort".to_owned());
    }
    if payload["single"] == Value::Bool(true) {
        abilities.insert("call.single".to_owned());
    }
    if payload.get("read").is_some_and(|key| !key.is_null()) {
        abilities.insert("call.read".to_owned());
    }
}

fn collect_events(message: &Value, abilities: &mut BTreeSet<String>) {
    if message.get("type").is_none_or(|kind| kind == "rep") {
        collect_ext_event(&message["payload"], abilities);
    }
}

/// The event `{"ext": …}` in a list of what a caller saw: the API must show a reply's ext.
fn collect_ext_event(value: &Value, abilities: &mut BTreeSet<String>) {
    let Value::Array(events) = value else { return };
    if events.iter().any(|event| event.as_object().is_some_and(|event| event.len() == 1 && event.contains_key("ext"))) {
        abilities.insert("call.reply-ext".to_owned());
    }
}

/// The counts of `conformance.inspect` that a pattern looks at.
fn collect_counts(pattern: &Value, abilities: &mut BTreeSet<String>) {
    for count in ["incoming", "outgoing", "handlers", "callbacks", "connections"] {
        let members = pattern.get("$has").unwrap_or(pattern);
        if members.get(count).is_some_and(|value| value.get("$any").is_none()) {
            abilities.insert(format!("inspect.{count}"));
        }
    }
}

/// The hooks that a message wakes: the test hooks by a key of ext, the standard middlewares by one that names their profiles.
fn collect_middlewares(value: &Value, profiles: &mut BTreeSet<Profile>) {
    match value {
        Value::Object(members) => {
            let woken = members.get("dev.duplex.conformance.use").and_then(Value::as_array).into_iter().flatten();
            profiles.extend(woken.filter_map(|name| serde_json::from_value::<Profile>(name.clone()).ok()));
            profiles.extend(members.contains_key("dev.duplex.conformance").then_some(Profile::Middleware));
            members.values().for_each(|inner| collect_middlewares(inner, profiles));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_middlewares(inner, profiles)),
        _ => {}
    }
}

fn collect_limits(value: &Value, limits: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_limits(item, limits)),
        Value::Object(members) => {
            if let Some(name) = members.get("$limit").and_then(|limit| limit.get("name")).and_then(Value::as_str) {
                limits.insert(name.to_owned());
            }
            members.values().for_each(|member| collect_limits(member, limits));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn needs_are_read_off_the_steps() {
        let session: Session = serde_json::from_value(json!({
            "id": "a.b", "title": "t", "rules": ["a.b"], "profile": "core",
            "steps": [
                {"send": {"type": "req", "id": 1, "method": "conformance.call", "payload": {"method": "m", "notify": true, "ext": {"a": 1}}}},
                {"expect": {"type": "rep", "id": 1, "payload": [{"item": 1}, {"ext": {"a": 1}}]}},
                {"repeat": {"times": {"$limit": {"name": "open-calls", "plus": 1}}, "steps": [
                    {"send": {"type": "req", "id": {"$i": 2}, "method": "conformance.count", "payload": {"n": 1}}}]}},
                {"eventually": {"method": "conformance.inspect", "result": {"$has": {"outgoing": 0}}}},
            ]
        }))
        .expect("a session");
        let needs = Needs::of(&session);
        assert_eq!(needs.profiles, [Profile::Core, Profile::Caller, Profile::Streaming, Profile::Inspect].into());
        let abilities: Vec<&str> = needs.abilities.iter().map(String::as_str).collect();
        assert_eq!(abilities, ["call.ext", "call.notify", "call.reply-ext", "inspect.outgoing"]);
        assert_eq!(needs.limits, ["open-calls".to_owned()].into());
    }

    #[test]
    fn a_middleware_that_a_message_wakes_is_needed() {
        for (ext, profile) in [
            (json!({"dev.duplex.conformance.use": ["authentication"]}), Profile::Authentication),
            (json!({"dev.duplex.conformance": {"do": {}, "marks": []}}), Profile::Middleware),
        ] {
            let session: Session = serde_json::from_value(json!({
                "id": "a.b", "title": "t", "rules": ["a.b"], "profile": "policy",
                "steps": [{"send": {"type": "req", "id": 1, "method": "m", "ext": ext}}]
            }))
            .expect("a session");
            assert_eq!(Needs::of(&session).profiles, [Profile::Policy, profile].into());
        }
    }
}

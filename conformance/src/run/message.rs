//! Message vectors as sessions: one template for each class, one session for each encoding.

use duplex_vectors::{
    Action, Class, Codec, Corpus, FrameError, FrameSource, Framing, Greeting, MessageVector, Profile, RawFrame, Role, Session,
    Step, Transport, Unit,
};
use serde_json::{Value as Json, json};

use crate::plan::Case;

/// The method that the target is told to call, so that it can be answered badly.
const CALLED: &str = "tester.answers-badly";

/// The sessions that decide a case in this codec, in order. The first one that fails decides. `is_proved` tells of a valid
/// vector whether it was taken already.
pub(crate) fn sessions(case: &Case, codec: Codec, is_proved: &dyn Fn(&str) -> bool) -> Result<Vec<Session>, FrameError> {
    match case {
        Case::Session(session) => Ok(vec![(*session).clone()]),
        Case::Message(vector) => of_vector(vector, codec, is_proved),
    }
}

fn of_vector(vector: &MessageVector, codec: Codec, is_proved: &dyn Fn(&str) -> bool) -> Result<Vec<Session>, FrameError> {
    let mut sessions = Vec::new();
    let frames = vector.frames(codec)?;
    if vector.class == Some(Class::BadReply) {
        sessions.extend(bad_reply(vector, &frames));
        return Ok(sessions);
    }
    // That the valid form is taken shows that it is the fault that is refused.
    if let Some(twin) = vector.twin.as_deref().filter(|twin| !is_proved(twin)).and_then(message)
        && let Some(expected) = echoed(twin)
        && let Some(frame) = twin.frames(codec)?.first()
    {
        sessions.push(session(vector, vec![send(frame), step(Action::Expect(expected))]));
    }
    for frame in &frames {
        let mut steps = vec![send(frame)];
        match vector.class {
            None => steps.extend(echoed(vector).map(|expected| step(Action::Expect(expected)))),
            Some(Class::Undecodable) => steps.extend(unit().map(|unit| step(Action::ExpectClose(unit)))),
            Some(Class::Dropped) => steps.extend(unit().map(|unit| step(Action::Fence(unit)))),
            Some(Class::Invalid | Class::BadReply) => {
                let id = vector.message.as_ref().map_or(Json::Null, |message| member(message, "id"));
                steps.push(step(Action::Expect(
                    json!({"type": "rep", "id": id, "error": {"code": -32600}, "ext": {"$any": true}}),
                )));
                steps.extend(unit().map(|unit| step(Action::Fence(unit))));
            }
        }
        sessions.push(session(vector, steps));
    }
    Ok(sessions)
}

/// The reply that an echo of a valid request gets; nothing if the vector is none.
fn echoed(vector: &MessageVector) -> Option<Json> {
    let message = vector.message.as_ref().filter(|_| vector.valid)?;
    let id = member(message, "id");
    let is_call = member(message, "type") == "req" && !id.is_null() && id != 0;
    if !is_call || member(message, "method") != "conformance.echo" || member(message, "more") == true {
        return None;
    }
    // What is no map reads as absent. r[message.ext.invalid]
    let ext = Some(member(message, "ext")).filter(Json::is_object).unwrap_or_default();
    Some(json!({"type": "rep", "id": id, "payload": member(message, "payload"), "ext": ext}))
}

/// The target calls the tester, which answers with the vector; the call fails on the target's side, and nothing else does.
fn bad_reply(vector: &MessageVector, frames: &[Vec<u8>]) -> Option<Session> {
    let call = json!({"type": "req", "id": 1, "method": "conformance.call", "payload": {"method": CALLED, "args": [null]}});
    let reply = match vector.message.clone() {
        Some(message) => Action::Send(with_id(message, "$call")),
        None => send(frames.first()?).action,
    };
    let failed = json!({"type": "rep", "id": 1, "payload": [{"failed": true}]});
    let steps = [
        Action::Send(call),
        Action::Expect(json!({"type": "req", "id": "$call", "method": CALLED, "payload": null})),
        reply,
        Action::Expect(failed),
        Action::Fence(unit()?),
    ];
    Some(session(vector, steps.into_iter().map(step).collect()))
}

fn with_id(mut message: Json, id: &str) -> Json {
    if let Some(pairs) = message.get_mut("$pairs").and_then(Json::as_array_mut) {
        for pair in pairs.iter_mut().filter(|pair| pair[0] == "id") {
            pair[1] = id.into();
        }
    } else if let Some(members) = message.as_object_mut() {
        members.insert("id".into(), id.into());
    }
    message
}

/// A member of a message's template, whether it is written as an object or as pairs.
fn member(message: &Json, name: &str) -> Json {
    let in_pairs = || message.get("$pairs")?.as_array()?.iter().rev().find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    message.get(name).cloned().or_else(in_pairs).unwrap_or(Json::Null)
}

fn message(id: &str) -> Option<&'static MessageVector> {
    Corpus::embedded().ok()?.message(id)
}

fn send(frame: &[u8]) -> Step {
    step(Action::SendFrame(FrameSource::Raw(RawFrame::Hex(hex::encode(frame)))))
}

fn step(action: Action) -> Step {
    Step { on: None, note: None, action }
}

fn unit() -> Option<Unit> {
    Unit::try_from(true).ok()
}

fn session(vector: &MessageVector, steps: Vec<Step>) -> Session {
    Session {
        id: format!("message:{}", vector.id),
        title: vector.title.clone(),
        rules: vector.rules.clone(),
        profile: Profile::Core,
        steps,
        ..blank()
    }
}

/// A session of the harness itself: everywhere, on a connection of its own.
pub(crate) fn own(id: &str, title: &str, rules: &[&str], steps: Vec<Action>) -> Session {
    Session {
        id: id.to_owned(),
        title: title.to_owned(),
        rules: rules.iter().map(|rule| (*rule).to_owned()).collect(),
        steps: steps.into_iter().map(step).collect(),
        ..blank()
    }
}

fn blank() -> Session {
    Session {
        schema: None,
        id: String::new(),
        title: String::new(),
        rules: Vec::new(),
        profile: Profile::Core,
        roles: Role::all(),
        transports: Transport::all(),
        framings: Framing::all(),
        codecs: Codec::all(),
        greeting: Greeting::Auto,
        fresh: true,
        after: Vec::new(),
        twin: None,
        ends: Vec::new(),
        comment: None,
        steps: Vec::new(),
    }
}

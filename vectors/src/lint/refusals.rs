//! Sessions that expect a refusal: that the target takes what is not refused is proved beside it, or a target that refuses
//! everything would pass. The valid twin is a session of its own, named once for each kind of refusal that others build on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::File;
use crate::corpus::Corpus;
use crate::session::{Action, Profile, Session};

/// Codes for a method that nobody has and for a payload that does not fit: any call that is served shows others that do.
const SERVED: &[i64] = &[-32601, -32602];

/// Codes with which a peer refuses what it understands: an invalid request, a missing method, a payload that does not fit, a
/// full house, an overflow, the standard middlewares.
const CODES: &[i64] = &[-32600, -32601, -32602, -32000, -32001, -32002, -32003, -32005];

/// How a target refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It answers the greeting with a no.
    Greeting,
    /// It ends the connection, which nobody asked it to.
    Close,
    /// It answers with this code.
    Code(i64),
}

impl Refusal {
    /// Whether the valid twin is any call that is served.
    fn is_shown_by_any_call(self) -> bool {
        matches!(self, Self::Code(code) if SERVED.contains(&code))
    }

    fn told(self) -> String {
        match self {
            Self::Greeting => "a greeting that is refused".to_owned(),
            Self::Close => "the end of the connection".to_owned(),
            Self::Code(code) => format!("a refusal with {code}"),
        }
    }
}

pub(super) fn lint(session: &Session, corpus: &Corpus, file: &mut File<'_>) {
    if let Some(twin) = &session.twin {
        return twin_of(session, twin, corpus, file);
    }
    let Some(refusal) = refusals(session).into_iter().find(|&refusal| !is_paired(session, refusal, corpus)) else { return };
    file.problem(
        "twin",
        format!(
            "the session expects {}: it names the session in which the valid twin is accepted, or comes after one that does",
            refusal.told()
        ),
    );
}

/// Whether the valid twin is accepted without being named here: a session before this one expects the same and names it, or
/// a call that is served is enough.
fn is_paired(session: &Session, refusal: Refusal, corpus: &Corpus) -> bool {
    if refusal.is_shown_by_any_call() && serves(session) {
        return true;
    }
    let mut open: Vec<&str> = session.prerequisites().collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        let Some(before) = corpus.session(id).filter(|_| seen.insert(id)) else { continue };
        let is_shown = if refusal.is_shown_by_any_call() {
            serves(before)
        } else {
            before.twin.is_some() && refusals(before).contains(&refusal)
        };
        if is_shown {
            return true;
        }
        open.extend(before.prerequisites());
    }
    false
}

fn twin_of(session: &Session, id: &str, corpus: &Corpus, file: &mut File<'_>) {
    let expected = refusals(session);
    let Some(twin) = corpus.session(id) else {
        return file.problem("twin", format!("there is no session `{id}`"));
    };
    if session.after.iter().any(|before| before == id) {
        file.problem("twin", format!("`{id}` stands in `after` already; a twin comes before by itself"));
    }
    if expected.is_empty() {
        file.problem("twin", "a twin belongs to a session that expects a refusal");
    } else if refusals(twin).iter().any(|refusal| !refusal.is_shown_by_any_call() && expected.contains(refusal)) {
        file.problem("twin", format!("`{id}` expects the same refusal"));
    }
    let is_claimed = twin.profile == Profile::Core || twin.profile == session.profile;
    if !is_claimed || !applies_with(session, twin) {
        file.problem("twin", format!("`{id}` does not run everywhere where this session does"));
    }
}

/// Whether the other session applies wherever this one does.
fn applies_with(session: &Session, other: &Session) -> bool {
    session.roles.iter().all(|role| other.roles.contains(role))
        && session.transports.iter().all(|transport| other.transports.contains(transport))
        && session.applicable_codecs().into_iter().all(|codec| {
            let framings = other.applicable_framings(codec);
            other.applicable_codecs().contains(&codec)
                && session.applicable_framings(codec).iter().all(|framing| framings.contains(framing))
        })
}

/// What refusals the steps expect.
fn refusals(session: &Session) -> Vec<Refusal> {
    let steps = session.walk();
    let mut asked: BTreeSet<Option<&str>> = BTreeSet::new();
    let mut own: BTreeSet<i64> = BTreeSet::new();
    let mut all = Vec::new();
    for step in steps {
        match &step.action {
            Action::HalfClose(_) => {
                asked.insert(step.on.as_deref());
            }
            Action::Send(message) if message["method"] == "conformance.close" => {
                asked.insert(step.on.as_deref());
            }
            // A code that the session hands to a handler is the handler's.
            Action::Send(message) => own.extend(message["payload"]["code"].as_i64()),
            Action::ExpectFrame(regex) if regex.starts_with("^-") => all.push(Refusal::Greeting),
            Action::ExpectClose(_) | Action::ExpectRefused(_) if !asked.contains(&step.on.as_deref()) => all.push(Refusal::Close),
            Action::Expect(pattern) => codes(std::slice::from_ref(pattern), &own, &mut all),
            Action::ExpectAll(patterns) => codes(patterns, &own, &mut all),
            Action::ExpectOneOf(ways) => all.extend(in_every_way(ways, &own)),
            _ => {}
        }
    }
    // The end behind a no is part of it.
    if all.contains(&Refusal::Greeting) {
        all.retain(|refusal| *refusal != Refusal::Close);
    }
    all
}

/// Whether a call of the session is answered with a result.
fn serves(session: &Session) -> bool {
    fn is_result(pattern: &Value) -> bool {
        match pattern {
            Value::Array(sequence) => sequence.iter().any(is_result),
            reply => reply["type"] == "rep" && reply["error"].is_null(),
        }
    }
    session.walk().iter().any(|step| match &step.action {
        Action::Expect(pattern) => is_result(pattern),
        Action::ExpectAll(patterns) => patterns.iter().any(is_result),
        Action::ExpectStream(stream) => stream.kind == "rep",
        // A fence is an echo.
        Action::Fence(_) | Action::Settle(_) | Action::Eventually(_) => true,
        _ => false,
    })
}

/// What refuses whichever way is taken.
fn in_every_way(ways: &[Value], own: &BTreeSet<i64>) -> Vec<Refusal> {
    let mut ways = ways.iter().map(|way| {
        let mut all = Vec::new();
        codes(std::slice::from_ref(way), own, &mut all);
        all
    });
    let mut common = ways.next().unwrap_or_default();
    for way in ways {
        common.retain(|refusal| way.contains(refusal));
    }
    common
}

fn codes(patterns: &[Value], own: &BTreeSet<i64>, all: &mut Vec<Refusal>) {
    for pattern in patterns {
        match pattern {
            Value::Array(sequence) => codes(sequence, own, all),
            reply if reply["type"] == "rep" => {
                let code = reply["error"]["code"].as_i64().filter(|code| CODES.contains(code) && !own.contains(code));
                all.extend(code.map(Refusal::Code));
            }
            _ => {}
        }
    }
}

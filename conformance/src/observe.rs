//! Standing checks: every frame that a target sends, in whatever session, keeps the rules for senders.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use duplex_vectors::Codec;

use crate::event::{By, CaseFinished, Configuration, Exchange, Finding, FindingKind, What};
use crate::judge;
use crate::schema::{Emitted, shape};
use crate::wire::{self, Value, hex_cut, plain_json};

/// The rule of ids that the target gives its own calls. No schema of one message can say it.
const ID_UNIQUE: &str = "call.id.unique";

/// The rule of the last frame of the target's own streams of arguments. One message does not show that it belongs to a stream.
const MORE_FALSE_ARGS: &str = "message.more.false.args";

/// Every rule that a standing check decides.
#[must_use]
pub fn rules() -> BTreeSet<String> {
    let mut rules: BTreeSet<String> = Emitted::default().scopes().iter().map(|scope| scope.rule.clone()).collect();
    rules.extend([ID_UNIQUE, MORE_FALSE_ARGS].map(str::to_owned));
    rules
}

/// Shapes of frames that are remembered. A target that names members as it likes has no end of them.
const SHAPES: usize = 1000;

/// What was seen in one configuration.
#[derive(Debug)]
pub struct Observations {
    codec: Codec,
    emitted: Emitted,
    tallies: BTreeMap<String, Tally>,
    /// Shapes of frames that break no rule, with the rules that they are about: most frames look like many before.
    sound: HashMap<String, Vec<String>>,
    /// Ids of the target's own calls by connection, with whether the arguments are still open.
    ids: BTreeMap<String, BTreeMap<i128, bool>>,
}

#[derive(Debug, Default)]
struct Tally {
    frames: usize,
    wrong: usize,
    first: Option<(String, String, Exchange)>,
}

impl Observations {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self { codec, emitted: Emitted::default(), tallies: BTreeMap::new(), sound: HashMap::new(), ids: BTreeMap::new() }
    }

    /// Takes the frames that a target sent in a case. `worker` tells apart connections that have the same name.
    pub fn add<'f>(&mut self, case: &str, worker: &str, frames: impl IntoIterator<Item = (&'f str, &'f [u8])>) {
        for (connection, frame) in frames {
            if let Ok(message) = wire::decode(self.codec, frame) {
                self.add_message(case, &format!("{worker}/{connection}"), connection, frame, &message);
            }
        }
    }

    /// Forgets the ids of connections that are gone.
    pub fn forget(&mut self, worker: &str) {
        self.ids.retain(|connection, _| !connection.starts_with(&format!("{worker}/")));
    }

    fn add_message(&mut self, case: &str, key: &str, connection: &str, frame: &[u8], message: &Value) {
        let shape = shape(message);
        let known = shape.as_ref().and_then(|shape| self.sound.get(shape));
        let (about, mut broken) = match known {
            Some(about) => (about.clone(), BTreeMap::new()),
            None => self.judge(message),
        };
        if let Some(shape) = shape.filter(|_| broken.is_empty() && self.sound.len() < SHAPES) {
            self.sound.entry(shape).or_insert_with(|| about.clone());
        }
        let mut about: BTreeSet<String> = about.into_iter().collect();
        if message.member("type").and_then(Value::as_str) == Some("req")
            && let Some(id) = message.member("id").and_then(Value::as_int)
        {
            let more = message.member("more");
            let before = self.ids.entry(key.to_owned()).or_default().insert(id, more == Some(&Value::Bool(true)));
            about.insert(ID_UNIQUE.to_owned());
            if before == Some(false) {
                broken.insert(ID_UNIQUE.to_owned(), format!("id {id} was used for an earlier call on this connection"));
            }
            if before == Some(true) && matches!(more, None | Some(Value::Null | Value::Bool(false))) {
                about.insert(MORE_FALSE_ARGS.to_owned());
                if more != Some(&Value::Bool(false)) {
                    broken.insert(MORE_FALSE_ARGS.to_owned(), format!("the last argument of call {id} has no `more: false`"));
                }
            }
        }
        about.extend(broken.keys().cloned());
        for rule in about {
            let what = broken.remove(&rule);
            let tally = self.tallies.entry(rule).or_default();
            tally.frames += 1;
            if let Some(what) = what {
                tally.wrong += 1;
                tally.first.get_or_insert_with(|| (case.to_owned(), what, exchange(connection, frame, message)));
            }
        }
    }

    /// The rules that a frame is about, and those that it breaks, with what is wrong.
    fn judge(&self, message: &Value) -> (Vec<String>, BTreeMap<String, String>) {
        let kind = message.member("type").and_then(Value::as_str);
        let mut about = Vec::new();
        for scope in self.emitted.scopes() {
            let is_kind = scope.kind.is_none() || scope.kind.as_deref() == kind;
            let has_member = scope.member.as_ref().is_none_or(|name| message.member(name).is_some());
            if is_kind && has_member {
                about.push(scope.rule.clone());
            }
        }
        let broken = self.emitted.violations(message).into_iter().map(|violation| (violation.rule, violation.what)).collect();
        (about, broken)
    }

    /// One case for each rule that some frame was about.
    #[must_use]
    pub fn cases(&self, configuration: Configuration) -> Vec<CaseFinished> {
        self.tallies
            .iter()
            .filter(|(rule, _)| duplex_spec::registry().rule(rule).is_some())
            .map(|(rule, tally)| {
                let finding = tally.first.as_ref().map(|(case, what, exchange)| Finding {
                    summary: format!(
                        "{} of {} frames break the rule; the first is in `{case}`: {what}.",
                        tally.wrong, tally.frames
                    ),
                    actual: Some(shown(exchange)),
                    dialogue: vec![exchange.clone()],
                    divergence: Some(0),
                    ..judge::finding(FindingKind::Schema, rule, "")
                });
                CaseFinished {
                    case: format!("observe:{rule}"),
                    title: "every frame that the target sends keeps this rule".to_owned(),
                    rules: vec![rule.clone()],
                    configuration: Some(configuration),
                    schedule: None,
                    verdict: judge::verdict(finding.as_ref()),
                    known: None,
                    finding,
                    seen: Vec::new(),
                    duration_ms: 0,
                }
            })
            .collect()
    }
}

fn exchange(connection: &str, frame: &[u8], message: &Value) -> Exchange {
    let message = plain_json(message);
    let shown: String = message.to_string().chars().take(2000).collect();
    Exchange {
        connection: connection.to_owned(),
        by: By::Target,
        what: What::Frame {
            hex: hex_cut(frame),
            length: frame.len(),
            shown,
            message: Some(message).filter(|_| frame.len() <= 4096),
        },
        step: None,
        at_ms: 0,
    }
}

fn shown(exchange: &Exchange) -> String {
    match &exchange.what {
        What::Frame { shown, .. } => shown.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use duplex_vectors::{Framing, Role, Transport};

    use super::*;
    use crate::event::Verdict;

    #[test]
    fn a_rule_is_judged_by_every_frame_that_it_is_about() {
        let mut seen = Observations::new(Codec::Json);
        let frames = [
            r#"{"type":"rep","id":1,"payload":1}"#,
            r#"{"type":"rep","id":2}"#,
            r#"{"type":"req","id":1,"method":"m","payload":1,"more":true}"#,
            r#"{"type":"req","id":1,"method":"m","payload":1}"#,
            r#"{"type":"req","id":1,"method":"m","payload":1}"#,
        ];
        seen.add("some.case", "w", frames.iter().map(|frame| ("a", frame.as_bytes())));
        let configuration =
            Configuration { transport: Transport::Tcp, role: Role::Acceptor, framing: Framing::Length, codec: Codec::Json };
        let verdicts: BTreeMap<String, Verdict> =
            seen.cases(configuration).into_iter().map(|case| (case.case, case.verdict)).collect();
        assert_eq!(verdicts["observe:message.payload.present"], Verdict::Fail);
        assert_eq!(verdicts["observe:call.id.unique"], Verdict::Fail);
        assert_eq!(verdicts["observe:message.more.false.args"], Verdict::Warn);
        assert_eq!(verdicts["observe:message.more.false"], Verdict::Warn);
        assert_eq!(verdicts["observe:message.id.form"], Verdict::Pass);
        assert!(!verdicts.contains_key("observe:message.ext.form"));
    }
}

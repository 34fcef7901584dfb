//! Finding out who a target is: the first configuration in which it answers `conformance.describe`.

use duplex_vectors::{Action, Codec, Framing, Role, Transport};
use serde_json::json;

use super::worker::{Shared, run_alone};
use super::{RunOptions, own};
use crate::event::{By, Configuration, Description, Finding, FindingKind, What};
use crate::judge;
use crate::schedule::Schedule;
use crate::select::Selection;
use crate::target::{Target, TargetKind};
use crate::wire::{Value, plain_json};

/// Silent configurations after which no other is tried: each costs the whole time limit.
const SILENT: usize = 2;

/// Why there is nothing to test.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartFailure {
    /// The harness is at fault: it has no room for another process.
    #[error("{0}")]
    Harness(String),
    /// The program cannot be started: it is missing, or no program.
    #[error("{0}")]
    NoProgram(String),
    /// It says of every configuration that it does not implement it.
    #[error("{0} exits with status 89 in every configuration: it implements none")]
    NothingImplemented(String),
    /// It answers `conformance.describe`, but with no description.
    #[error("{target} answers `conformance.describe` in {}, but {}", .attempt.configuration, .attempt.finding.summary)]
    Description {
        /// The target.
        target: String,
        /// Where it answered.
        attempt: Box<Attempt>,
    },
    /// It ran, and did not answer.
    #[error("{target} does not answer `conformance.describe`; it was tried in {} configuration(s):{}", .attempts.len(), list(.attempts))]
    NoAnswer {
        /// The target.
        target: String,
        /// Where it was tried, with what happened there.
        attempts: Vec<Attempt>,
    },
}

impl StartFailure {
    /// The attempt that came nearest to a description, among those in configurations that are asked for.
    #[must_use]
    pub fn nearest(&self, selection: &Selection) -> Option<&Attempt> {
        match self {
            Self::Harness(_) | Self::NoProgram(_) | Self::NothingImplemented(_) => None,
            Self::Description { attempt, .. } => Some(attempt),
            Self::NoAnswer { attempts, .. } => {
                let is_asked_for = |attempt: &&Attempt| selection.has_configuration(attempt.configuration);
                // Of several the first: the most likely one.
                attempts.iter().rev().max_by_key(|attempt| (is_asked_for(attempt), attempt.progress()))
            }
        }
    }
}

/// A configuration that was tried in vain.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The configuration.
    pub configuration: Configuration,
    /// What happened.
    pub finding: Finding,
}

impl Attempt {
    /// How far it came: to nothing, a connection, a first word, the greeting.
    fn progress(&self) -> u8 {
        let has = |is_meant: fn(&What) -> bool| {
            self.finding.dialogue.iter().any(|exchange| exchange.by == By::Target && is_meant(&exchange.what))
        };
        let is_greeted = self.finding.rule == "target.describe" && has(|what| matches!(what, What::Frame { .. }));
        let is_word = |what: &What| matches!(what, What::Frame { .. } | What::Bytes { .. });
        match self.finding.kind {
            _ if is_greeted => 3,
            _ if has(is_word) => 2,
            FindingKind::NotStarted => 0,
            _ => 1,
        }
    }
}

fn list(attempts: &[Attempt]) -> String {
    let mut text = String::new();
    for attempt in attempts {
        let finding = &attempt.finding;
        text.push_str(&format!("\n  {}: {}", attempt.configuration, finding.summary));
        if let Some(exit) = finding.exit.as_ref().filter(|exit| !finding.summary.contains(exit.as_str())) {
            text.push_str(&format!(" The process ended with {exit}."));
        }
        if let Some(actual) = finding.actual.as_ref().filter(|actual| Some(*actual) != finding.exit.as_ref()) {
            text.push_str(&format!(" It sent: {}", actual.chars().take(200).collect::<String>()));
        }
        if let Some(cause) = &finding.likely_cause {
            text.push_str(&format!(" {cause}"));
        }
        for line in finding.stderr.iter().rev().take(5).rev() {
            text.push_str(&format!("\n    stderr: {line}"));
        }
    }
    text
}

/// Asks a target what it claims, in one configuration after the other until one answers: first in those that are asked for.
pub async fn describe(
    target: &Target,
    selection: &Selection,
    options: &RunOptions,
) -> Result<(Description, Configuration), StartFailure> {
    let session = own(
        "target:describe",
        "the target describes itself",
        &["target.describe"],
        vec![
            Action::Send(json!({"type": "req", "id": 1, "method": "conformance.describe", "payload": null})),
            Action::Expect(json!({"type": "rep", "id": 1, "payload": "$description"})),
        ],
    );
    let options = RunOptions { mutant: None, ..options.clone() };
    let mut attempts = Vec::new();
    let mut silent = 0;
    let mut answered = 0;
    let (asked_for, others): (Vec<_>, Vec<_>) =
        candidates(target).into_iter().partition(|&configuration| selection.has_configuration(configuration));
    for configuration in asked_for.into_iter().chain(others) {
        let shared = Shared::new(target, &nobody(), configuration, &options);
        let alone = run_alone(&shared, &session, Schedule::Plain, true).await;
        // An end that is not as it must be is for the run to tell.
        if let Some(value) = alone.bindings.get("description") {
            let description: Result<Description, _> = serde_json::from_value(plain_json(value));
            return match description {
                Ok(description) if description.contract == 1 => Ok((description, configuration)),
                Ok(other) => Err(unusable(target, configuration, value, format!("its contract is {}, not 1", other.contract))),
                Err(error) => Err(unusable(target, configuration, value, error.to_string())),
            };
        }
        let Some(finding) = alone.finding else { continue };
        if finding.kind == FindingKind::Harness {
            return Err(StartFailure::Harness(finding.summary));
        }
        if alone.is_no_program {
            return Err(StartFailure::NoProgram(finding.summary));
        }
        if finding.exit.as_deref() == Some("exit status 89") {
            continue;
        }
        silent += usize::from(
            matches!(finding.kind, FindingKind::Hang | FindingKind::Unanswered | FindingKind::NotStarted)
                && finding.exit.is_none(),
        );
        // One that ends at once everywhere, or says the same everywhere, is understood.
        answered += 1;
        attempts.push(Attempt { configuration, finding });
        if silent >= SILENT || answered >= 6 {
            break;
        }
    }
    if attempts.is_empty() {
        return Err(StartFailure::NothingImplemented(target.name.clone()));
    }
    Err(StartFailure::NoAnswer { target: target.name.clone(), attempts })
}

fn unusable(target: &Target, configuration: Configuration, came: &Value, why: String) -> StartFailure {
    let summary = format!("its description cannot be used: {why}");
    let mut finding = judge::finding(FindingKind::Contract, "target.describe", summary);
    finding.expected = vec!["a description of contract 1".to_owned()];
    finding.actual = Some(plain_json(came).to_string().chars().take(2000).collect());
    StartFailure::Description { target: target.name.clone(), attempt: Box::new(Attempt { configuration, finding }) }
}

/// Configurations in the order in which they are likely.
fn candidates(target: &Target) -> Vec<Configuration> {
    let is_address = matches!(target.kind, TargetKind::Address(_));
    let mut all = Vec::new();
    for (framing, codec) in [(Framing::Length, Codec::Json), (Framing::Newline, Codec::Json), (Framing::Length, Codec::Msgpack)] {
        for role in [Role::Acceptor, Role::Initiator] {
            for transport in [Transport::Stdio, Transport::Tcp] {
                if !is_address || (transport, role) == (Transport::Tcp, Role::Acceptor) {
                    all.push(Configuration { transport, role, framing, codec });
                }
            }
        }
    }
    all
}

/// A target before it has said anything.
fn nobody() -> Description {
    Description {
        contract: 1,
        name: String::new(),
        version: None,
        language: None,
        homepage: None,
        issues: None,
        profiles: Vec::new(),
        codecs: Vec::new(),
        framings: Vec::new(),
        transports: Vec::new(),
        roles: Vec::new(),
        limits: duplex_vectors::Limits::new(),
        lacks: std::collections::BTreeMap::new(),
    }
}

//! Probes of the target contract: what a target does outside any session.

use std::path::Path;
use std::time::{Duration, Instant};

use duplex_vectors::{Action, Codec, FrameSource, Framing, Greeting, RawFrame, Role, Transport, Unit};
use tokio::io::AsyncReadExt;

use crate::event::{CaseFinished, Configuration, Description, Event, Finding, FindingKind};
use crate::judge;
use crate::machine::Exit;
use crate::process::Process;
use crate::run::peer::{NOT_IMPLEMENTED, Peer, variables};
use crate::run::{Alone, RunOptions, Shared, milliseconds, own, run_alone};
use crate::schedule::Schedule;
use crate::target::{Target, TargetKind};

/// The variables that a target reads, each with a value that none can know.
const NONSENSE: [(&str, &str); 4] = [
    ("DUPLEX_TRANSPORT", "carrier-pigeon"),
    ("DUPLEX_ROLE", "bystander"),
    ("DUPLEX_FRAMING", "interpretive-dance"),
    ("DUPLEX_CODEC", "smoke-signals"),
];

/// The probes, each with the rule that it decides.
pub const PROBES: [(&str, &str); 5] = [
    ("target:unknown-*", "target.unknown-value"),
    ("target:not-implemented-*", "target.not-implemented"),
    ("target:stdin", "target.stdin"),
    ("target:exit", "target.exit"),
    ("target:describe", "target.describe"),
];

/// Runs every probe and emits one [`Event::CaseFinished`] for each. A peer that runs already cannot be probed.
pub async fn probe(target: &Target, description: &Description, options: &RunOptions, sink: &mut dyn FnMut(Event)) {
    let TargetKind::Command { command, folder } = &target.kind else { return };
    let prober = Prober { target, options: RunOptions { mutant: None, ..options.clone() }, command, folder };
    let Some(claimed) = claimed(description) else { return };
    for (variable, value) in NONSENSE {
        let axis = variable.trim_start_matches("DUPLEX_").to_lowercase();
        let finished = prober.timed(
            format!("target:unknown-{axis}"),
            format!("an unknown value of `{variable}` ends the target with status 89"),
            "target.unknown-value",
            prober.unknown(variables_with(claimed, variable, value), format!("{variable}={value}")),
        );
        sink(Event::CaseFinished(finished.await));
    }
    for configuration in unclaimed(description, claimed) {
        let finished = prober.timed(
            format!("target:not-implemented-{}", name_of(configuration, claimed)),
            format!("{configuration}, which is not claimed, ends the target with status 89"),
            "target.not-implemented",
            prober.unknown(with_address(configuration), configuration.to_string()),
        );
        sink(Event::CaseFinished(finished.await));
    }
    if description.transports.contains(&Transport::Tcp) {
        let configuration = Configuration { transport: Transport::Tcp, ..claimed };
        let title = "a target on tcp exits with status 0 when its standard input ends".to_owned();
        sink(Event::CaseFinished(prober.timed("target:stdin".into(), title, "target.stdin", prober.stdin(configuration)).await));
    }
    if description.transports.contains(&Transport::Stdio) && description.roles.contains(&Role::Acceptor) {
        let configuration = Configuration { transport: Transport::Stdio, role: Role::Acceptor, ..claimed };
        let title = "a refused greeting is an end like any other: the target exits with status 0".to_owned();
        let probe = prober.refused(description, configuration);
        sink(Event::CaseFinished(prober.timed("target:exit".into(), title, "target.exit", probe).await));
    }
    let title = "the description has the members of contract 1, and claims something".to_owned();
    let finding = described(description);
    sink(Event::CaseFinished(prober.timed("target:describe".into(), title, "target.describe", async { finding }).await));
}

struct Prober<'t> {
    target: &'t Target,
    options: RunOptions,
    command: &'t [String],
    folder: &'t Path,
}

impl Prober<'_> {
    async fn timed(&self, case: String, title: String, rule: &str, probe: impl Future<Output = Option<Finding>>) -> CaseFinished {
        let started = Instant::now();
        let finding = probe.await.map(|finding| Finding { rule: rule.to_owned(), ..finding });
        CaseFinished {
            case,
            title,
            rules: vec![rule.to_owned()],
            configuration: None,
            schedule: None,
            verdict: judge::verdict(finding.as_ref()),
            known: None,
            finding,
            seen: Vec::new(),
            duration_ms: milliseconds(started.elapsed()),
        }
    }

    /// The process has to exit with status 89, and before that write nothing on stdout.
    async fn unknown(&self, variables: Vec<(&'static str, String)>, what: String) -> Option<Finding> {
        let mut process = match Process::start(self.command, self.folder, &variables) {
            Ok(process) => process,
            Err(error) => {
                let kind = if error.is_ours { FindingKind::Harness } else { FindingKind::NotStarted };
                return Some(judge::finding(kind, "", error.to_string()));
            }
        };
        let Some((stdin, mut stdout)) = process.take_pipes() else {
            return Some(judge::finding(FindingKind::Harness, "", "The process has no standard input and output."));
        };
        let mut written = [0; 64];
        let read = tokio::time::timeout(self.options.timeout, stdout.read(&mut written)).await;
        let count = read.ok().and_then(Result::ok).unwrap_or(0);
        let exit = tokio::time::timeout(Duration::from_millis(500).max(self.options.timeout / 5), process.wait()).await.ok();
        drop(stdin);
        let is_right = exit.as_ref().is_some_and(|exit| exit.code == Some(NOT_IMPLEMENTED)) && count == 0;
        if is_right {
            return None;
        }
        let did = match &exit {
            None => "it goes on running".to_owned(),
            Some(exit) if exit.code == Some(NOT_IMPLEMENTED) => "it writes to stdout before it exits".to_owned(),
            Some(exit) => exit.text.clone(),
        };
        let mut finding = judge::finding(FindingKind::Contract, "", format!("The target was started with {what}: {did}."));
        finding.expected = vec!["exit status 89, with nothing on stdout".to_owned()];
        finding.actual = Some(did);
        finding.exit = exit.map(|exit| exit.text);
        process.kill();
        finding.stderr = process.stderr();
        Some(finding)
    }

    async fn stdin(&self, configuration: Configuration) -> Option<Finding> {
        let limit = self.options.timeout.max(Duration::from_secs(5));
        let peer = match Peer::start(self.target, configuration, limit).await {
            Ok(peer) => peer,
            Err(error) => {
                let kind = if error.is_ours() { FindingKind::Harness } else { FindingKind::NotStarted };
                return Some(judge::finding(kind, "", format!("The target does not come up: {error}.")));
            }
        };
        match peer.stop().await {
            Some(Exit { code: Some(0), .. }) => None,
            exit => {
                let did = exit.as_ref().map_or_else(|| "it goes on running".to_owned(), |exit| exit.text.clone());
                let mut finding =
                    judge::finding(FindingKind::Contract, "", format!("Standard input ended in {configuration}: {did}."));
                finding.expected = vec!["exit status 0 within a second".to_owned()];
                finding.actual = Some(did);
                Some(finding)
            }
        }
    }

    async fn refused(&self, description: &Description, configuration: Configuration) -> Option<Finding> {
        let hello = FrameSource::Raw(RawFrame::Text("SIMPLEX/0.9;{codec}".to_owned()));
        let steps =
            vec![Action::SendFrame(hello), Action::ExpectFrame("^-".to_owned()), Action::ExpectClose(Unit::try_from(true).ok()?)];
        let mut session = own("target:exit", "a refused greeting", &["target.exit"], steps);
        session.greeting = Greeting::Manual;
        let shared = Shared::new(self.target, description, configuration, &self.options);
        let Alone { finding, .. } = run_alone(&shared, &session, Schedule::Plain, true).await;
        // Whether it refuses at all is another rule's matter.
        finding.filter(|finding| matches!(finding.kind, FindingKind::Crash | FindingKind::NotClosed))
    }
}

/// Some configuration that the target claims.
fn claimed(description: &Description) -> Option<Configuration> {
    let codec = *description.codecs.first()?;
    Some(Configuration {
        transport: if description.transports.contains(&Transport::Stdio) {
            Transport::Stdio
        } else {
            *description.transports.first()?
        },
        role: *description.roles.first()?,
        framing: *description.framings.iter().find(|framing| framing.carries(codec))?,
        codec,
    })
}

/// The claimed configuration, one value at a time exchanged for one that is not claimed.
fn unclaimed(description: &Description, claimed: Configuration) -> Vec<Configuration> {
    let transports = Transport::all().into_iter().filter(|transport| !description.transports.contains(transport));
    let roles = Role::all().into_iter().filter(|role| !description.roles.contains(role));
    let framings = Framing::all().into_iter().filter(|framing| !description.framings.contains(framing));
    let codecs = Codec::all().into_iter().filter(|codec| !description.codecs.contains(codec));
    let mut all: Vec<Configuration> = transports.map(|transport| Configuration { transport, ..claimed }).collect();
    all.extend(roles.map(|role| Configuration { role, ..claimed }));
    all.extend(framings.map(|framing| Configuration { framing, ..claimed }));
    all.extend(codecs.map(|codec| Configuration { codec, ..claimed }));
    all
}

/// The value in which a configuration differs from the claimed one.
fn name_of(configuration: Configuration, claimed: Configuration) -> &'static str {
    if configuration.transport != claimed.transport {
        configuration.transport.as_str()
    } else if configuration.role != claimed.role {
        configuration.role.as_str()
    } else if configuration.framing != claimed.framing {
        configuration.framing.as_str()
    } else {
        configuration.codec.as_str()
    }
}

/// The variables of a configuration, with an address that leads nowhere.
fn with_address(configuration: Configuration) -> Vec<(&'static str, String)> {
    let mut variables = variables(configuration);
    match (configuration.transport, configuration.role) {
        (Transport::Tcp, Role::Acceptor) => variables.push(("DUPLEX_LISTEN", "127.0.0.1:0".to_owned())),
        (Transport::Tcp, Role::Initiator) => variables.push(("DUPLEX_CONNECT", "127.0.0.1:9".to_owned())),
        (Transport::Stdio, _) => {}
    }
    variables
}

fn variables_with(configuration: Configuration, name: &str, value: &str) -> Vec<(&'static str, String)> {
    let mut variables = with_address(configuration);
    for (variable, old) in &mut variables {
        if *variable == name {
            *old = value.to_owned();
        }
    }
    variables
}

/// What a description has to say beyond what makes it one.
fn described(description: &Description) -> Option<Finding> {
    let mut wrong = Vec::new();
    if description.name.trim().is_empty() {
        wrong.push("`name` is empty".to_owned());
    }
    for (what, is_empty) in [
        ("profiles", description.profiles.is_empty()),
        ("codecs", description.codecs.is_empty()),
        ("framings", description.framings.is_empty()),
        ("transports", description.transports.is_empty()),
        ("roles", description.roles.is_empty()),
    ] {
        if is_empty {
            wrong.push(format!("`{what}` is empty"));
        }
    }
    for name in description.limits.keys() {
        if duplex_spec::limit(name).is_none() {
            wrong.push(format!("`limits` has `{name}`, which is no limit of the book"));
        }
    }
    if wrong.is_empty() {
        return None;
    }
    let mut finding = judge::finding(
        FindingKind::Contract,
        "target.describe",
        format!("The description says too little: {}.", wrong.join("; ")),
    );
    finding.actual = serde_json::to_string(description).ok();
    Some(finding)
}

//! One run against a target with one fault, and what it told.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The case that most faults begin with; the other cases that a run selects build on it.
pub(crate) const CASE: &str = "error.application";

/// Longer than any run takes. It only keeps a run that would never end from holding up everything.
const GUARD: Duration = Duration::from_secs(300);

/// Runs at once: most of what they do is to wait.
const AT_ONCE: usize = 4;

/// Seconds that an answer may take. Most of what is told here does not rest on it, and a busy machine is slow.
const PATIENCE: &str = "60";

/// Seconds for what is told because nothing comes.
const IMPATIENCE: &str = "4";

/// What a fault is to be told as: the case, the kind of its finding, and a part of what the finding says.
pub(crate) type Row = (&'static str, &'static str, &'static str, &'static str);

/// A target with one fault.
pub(crate) struct Run {
    folder: TempDir,
    mark: String,
    /// The one configuration that it implements.
    configuration: [String; 3],
}

impl Run {
    /// `fault` is the command line of `hostile.py`.
    pub(crate) fn new(fault: &str) -> Self {
        Self::of("hostile.py", fault)
    }

    pub(crate) fn of(program: &str, fault: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let peer = tests().join("targets").join(program);
        let words = ["python3", "-SE", &peer.to_string_lossy()].map(str::to_owned);
        let command: Vec<String> = words.into_iter().chain(fault.split(' ').map(str::to_owned)).collect();
        fs::write(folder.path().join("target.toml"), format!("command = {command:?}\n")).expect("written");
        let words: Vec<&str> = fault.split(' ').collect();
        let configuration = [(3, "stdio"), (4, "acceptor"), (5, "length")];
        let configuration = configuration.map(|(index, usual)| words.get(index).map_or(usual, |word| word).to_owned());
        Self { mark: format!("DUPLEX_TEST_MARK={}", folder.path().display()), folder, configuration }
    }

    /// The harness, about to run one case and what builds on it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_duplex-conformance"));
        self.arguments(&mut command, arguments);
        command
    }

    /// The same, started with few descriptors and its memory measured: see `measured.py`.
    pub(crate) fn measured(&self, descriptors: usize, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.arg("-SE").arg(tests().join("measured.py")).arg(self.folder.path().join("peak")).arg(descriptors.to_string());
        command.arg(env!("CARGO_BIN_EXE_duplex-conformance"));
        self.arguments(&mut command, arguments);
        command
    }

    fn arguments(&self, command: &mut Command, arguments: &[&str]) {
        let (name, value) = self.mark.split_once('=').expect("a variable");
        command.arg("--target").arg(self.folder.path()).arg("--events").arg(self.events_file());
        let [transport, role, framing] = &self.configuration;
        command.args(["--transport", transport, "--role", role, "--framing", framing, "--codec", "json"]);
        command.args(["--jobs", "1"]).args(arguments);
        for (name, value) in [("--timeout", PATIENCE), ("--filter", &format!("={CASE}"))] {
            if !arguments.contains(&name) {
                command.args([name, value]);
            }
        }
        command.env(name, value).stdout(Stdio::null()).stderr(Stdio::piped());
    }

    /// Runs it to its end and gives the exit status and standard error.
    pub(crate) fn to_end(&self, mut command: Command) -> (Option<i32>, String) {
        let child = command.spawn().expect("the command starts");
        let Output { status, stderr, .. } = guarded(child);
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    pub(crate) fn events_file(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }

    pub(crate) fn events(&self) -> Vec<Value> {
        let events = fs::read_to_string(self.events_file()).expect("events");
        events.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
    }

    /// Kibibytes that the harness, or one of the targets, had in memory at most.
    pub(crate) fn peak(&self) -> u64 {
        fs::read_to_string(self.folder.path().join("peak")).expect("measured").trim().parse().expect("a number")
    }

    /// What does not hold, in the order in which the run tells it; what is only blocked and standing checks aside.
    pub(crate) fn findings(&self) -> Vec<Told> {
        let is_standing = |event: &Value| event["case"].as_str().is_some_and(|case| case.starts_with("observe:"));
        let is_bad = |event: &Value| matches!(event["verdict"].as_str(), Some("fail" | "warn" | "harness_fault"));
        self.events().iter().filter(|event| is_bad(event) && !is_standing(event)).map(Told::of).collect()
    }

    /// Command lines of processes that the run left behind. One that was just killed may need a moment to be gone.
    pub(crate) fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        for _ in 0..1000 {
            left = self.marked();
            if left.is_empty() {
                break;
            }
        }
        left
    }

    fn marked(&self) -> Vec<String> {
        let processes = fs::read_dir("/proc").expect("processes").filter_map(Result::ok).map(|entry| entry.path());
        let marked = processes.filter(|process| {
            let environment = fs::read(process.join("environ")).unwrap_or_default();
            environment.split(|&byte| byte == 0).any(|variable| variable == self.mark.as_bytes())
        });
        marked
            .map(|process| String::from_utf8_lossy(&fs::read(process.join("cmdline")).unwrap_or_default()).into_owned())
            .collect()
    }
}

/// A case that does not hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) case: String,
    pub(crate) verdict: String,
    pub(crate) kind: String,
    pub(crate) rule: String,
    /// Summary, cause, exit status and stderr.
    pub(crate) says: String,
}

impl Told {
    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let finding = &event["finding"];
        let said = ["summary", "likely_cause", "exit"].map(|name| text(&finding[name]));
        Self {
            case: text(&event["case"]),
            verdict: text(&event["verdict"]),
            kind: text(&finding["kind"]),
            rule: text(&finding["rule"]),
            says: said.join(" · "),
        }
    }
}

/// The folder of these tests.
fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Waits for the end of a run; one that never comes is an end of the test.
fn guarded(child: Child) -> Output {
    let id = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(GUARD) {
        Ok(output) => output.expect("waited for"),
        Err(_) => {
            let _gone = kill_process(id, Signal::KILL);
            panic!("the run does not end within {GUARD:?}");
        }
    }
}

/// Runs each fault, and holds what is told against the row: one finding.
pub(crate) fn each(rows: &[Row]) {
    all(rows, PATIENCE);
}

/// The same for faults that only show in time.
pub(crate) fn each_in_time(rows: &[Row]) {
    all(rows, IMPATIENCE);
}

fn all(rows: &[Row], seconds: &str) {
    at_once(rows, |row| one(row, seconds));
}

/// Does the same with each, some of them at once.
pub(crate) fn at_once<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    each(item);
                }
            });
        }
    });
}

fn one((fault, case, kind, says): &Row, seconds: &str) {
    let run = Run::new(fault);
    let (status, stderr) = run.to_end(run.command(&["--timeout", seconds]));
    assert_eq!(run.left_behind(), Vec::<String>::new(), "{fault}: processes stay behind");
    let findings = run.findings();
    let Some(first) = findings.first() else { panic!("{fault}: nothing is found ({status:?}): {stderr}") };
    assert_eq!((first.case.as_str(), first.kind.as_str()), (*case, *kind), "{fault}: {first:?}");
    assert!(first.says.contains(says), "{fault}: {first:?}");
    assert_eq!(first.verdict, "fail", "{fault}: {first:?}");
    assert!(matches!(status, Some(1 | 3)), "{fault}: {status:?}: {stderr}");
    // Everything else builds on the case that fails.
    assert_eq!(findings.len(), 1, "{fault}: {findings:?}");
}

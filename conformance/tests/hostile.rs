//! Targets that misbehave as processes or below the protocol: each gets the finding that fits, a run always ends, and nothing
//! that it started is left behind. The targets are the modes of `targets/hostile.py`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A target with one fault, and the run against it.
struct Run {
    folder: TempDir,
    mark: String,
}

impl Run {
    fn new(program: &str, fault: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let peer: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets").join(program);
        let text = format!("command = [\"python3\", \"-SE\", {:?}, \"{fault}\"]\n", peer.to_string_lossy());
        fs::write(folder.path().join("target.toml"), text).expect("written");
        Self { mark: format!("DUPLEX_TEST_MARK={}", folder.path().display()), folder }
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let (name, value) = self.mark.split_once('=').expect("a variable");
        Command::new(env!("CARGO_BIN_EXE_duplex-conformance"))
            .arg("--target")
            .arg(self.folder.path())
            .arg("--events")
            .arg(self.events())
            .args(["--jobs", "1", "--filter", "=error.application"])
            .args(arguments)
            .env(name, value)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts")
    }

    fn events(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }

    /// The cases that failed, in the order in which the run tells them.
    fn failed(&self) -> Vec<String> {
        let events = fs::read_to_string(self.events()).expect("events");
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        events.filter(|event| event["verdict"] == "fail").map(|event| event["case"].to_string()).collect()
    }

    /// The verdict, the kind of finding and the likely cause of a case that failed.
    fn finished(&self, case: &str) -> Option<(String, String, String)> {
        let events = fs::read_to_string(self.events()).expect("events");
        let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
        let finished = events.into_iter().find(|event| event["case"] == case)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let finding = &finished["finding"];
        Some((text(&finished["verdict"]), text(&finding["kind"]), text(&finding["likely_cause"])))
    }

    /// Command lines of processes that the run left behind. One that was just killed may need a moment to be gone.
    fn left_behind(&self) -> Vec<String> {
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

/// Runs one case against a fault and gives the case's verdict, kind and cause.
fn verdict(fault: &str, case: &str, arguments: &[&str]) -> (String, String, String) {
    let run = Run::new("hostile.py", fault);
    let output = run.start(arguments).wait_with_output().expect("the run ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{fault}: {:?}: {said}", output.status);
    assert_eq!(run.left_behind(), Vec::<String>::new(), "{fault}: processes stay behind");
    run.finished(case).unwrap_or_else(|| panic!("{fault}: {case} has no verdict"))
}

fn fails(fault: &str, kind: &str, cause: &str) {
    let (verdict, found, why) = verdict(fault, "error.application", &[]);
    assert_eq!((verdict.as_str(), found.as_str()), ("fail", kind), "{fault}: {why}");
    assert!(why.contains(cause), "{fault}: {why}");
}

#[test]
fn wrong_bytes_are_garbage_with_their_cause() {
    fails("little-endian", "garbage", "little-endian");
    fails("newline", "garbage", "newline framing");
    fails("prints", "garbage", "logs belong on stderr");
    fails("claims-4gib", "garbage", "an earlier length was wrong");
}

#[test]
fn a_wrong_id_is_a_mismatch_with_its_cause() {
    fails("id-as-string", "mismatch", "string");
}

#[test]
fn an_end_is_a_close_or_a_crash() {
    fails("closes", "closed", "");
    fails("exits", "crash", "out of cheese");
    fails("grandchild", "closed", "");
}

#[test]
fn replies_without_end_are_a_flood() {
    fails("floods-stdout", "flood", "");
}

#[test]
fn silence_is_a_hang() {
    for fault in ["half-frame", "late", "deaf"] {
        let (verdict, kind, _) = verdict(fault, "error.application", &["--timeout", "2"]);
        assert_eq!((verdict.as_str(), kind.as_str()), ("fail", "hang"), "{fault}");
    }
}

#[test]
fn a_process_that_cannot_be_ended_politely_is_ended() {
    let (verdict, kind, _) = verdict("ignores-term", "target:smoke", &["--timeout", "2"]);
    assert_eq!((verdict.as_str(), kind.as_str()), ("fail", "not_closed"));
}

#[test]
fn noise_beside_the_wire_is_no_failure() {
    for fault in ["floods-stderr", "forks"] {
        assert_eq!(verdict(fault, "error.application", &[]).0, "pass", "{fault}");
    }
}

#[test]
fn what_only_a_second_session_meets_depends_on_the_first() {
    let more = ["--filter", "=error.application.message"];
    assert_eq!(verdict("second", "error.application", &more).0, "pass");
    assert_eq!(verdict("second", "error.application.message", &more).1, "depends_on_earlier");
}

#[test]
fn next_tells_the_first_case_that_does_not_hold_and_no_other() {
    let ends = |run: &Run, arguments: &[&str]| run.start(arguments).wait_with_output().expect("the run ends").status.code();
    let run = Run::new("hostile.py", "id-as-string");
    let more = ["--filter", "error.application*"];
    assert_eq!(ends(&run, &more), Some(1));
    let all = run.failed();
    assert!(all.len() > 1, "{all:?}");
    assert_eq!(ends(&run, &[&more[..], &["--next"]].concat()), Some(1));
    assert_eq!(run.failed(), all[..1]);
    assert_eq!(run.left_behind(), Vec::<String>::new());
    assert_eq!(ends(&Run::new("hostile.py", "forks"), &["--next"]), Some(0), "everything holds");
}

/// Interrupts a run once it says this.
fn interrupted_at(program: &str, fault: &str, says: &str) {
    let run = Run::new(program, fault);
    let mut child = run.start(&["--timeout", "600"]);
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let found = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains(says)));
    assert!(found.is_some(), "{fault}: the run never says {says:?}");
    kill_process(Pid::from_child(&child), Signal::INT).expect("it runs");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "{fault}");
    assert_eq!(run.left_behind(), Vec::<String>::new(), "{fault}: processes stay behind");
    let events = fs::read_to_string(run.events()).expect("events");
    assert!(events.lines().last().is_some_and(|line| line.contains("run_finished")), "{events}");
}

#[test]
fn an_interrupted_run_ends_at_once_and_leaves_nothing() {
    interrupted_at("peer.py", "sleeps", "asking");
    interrupted_at("hostile.py", "half-frame", "running");
}

//! The command as people use it: what it says and how it ends when something is wrong, with the command line, with the
//! target's files, or with the target. The targets are small Python programs in `targets/`, never the reference peer.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use regex::Regex;

fn targets() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets")
}

/// Runs the command in the folder of the test targets.
fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_duplex-conformance"))
        .args(arguments)
        .current_dir(targets())
        .env("CARGO", "cargo")
        .env("COLUMNS", "100")
        .output()
        .expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The exit status and both outputs, without what differs from machine to machine.
fn seen(arguments: &[&str]) -> String {
    let output = run(arguments);
    let status = output.status.code().expect("it is not killed");
    let mut seen = format!("exit status {status}\n");
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            seen.push_str(&format!("--- {name}\n{}", text(bytes)));
        }
    }
    let folder = targets().to_string_lossy().into_owned();
    seen = seen.replace(&folder, "[targets]");
    for (what, stands_for) in
        [(r"\d+(\.\d+)? m?s\b", "[time]"), (r"\(os error \d+\)", "(os error)"), (r"that ship: [^;]*;", "that ship: [all];")]
    {
        seen = Regex::new(what).expect("a pattern").replace_all(&seen, stands_for).into_owned();
    }
    seen
}

#[test]
fn help_teaches() {
    let help = text(&run(&["--help"]).stdout);
    for wanted in ["Examples:", "A target.toml:", "Exit status:", "--filter", "--bless"] {
        assert!(help.contains(wanted), "{wanted} is missing:\n{help}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_is_told_with_what_to_try() {
    let near = seen(&["--list", "--filter", "undecodabel"]);
    assert!(near.starts_with("exit status 2\n") && near.contains("near: ") && near.contains("undecodable"), "{near}");
    insta::assert_snapshot!("filter-far", seen(&["--list", "--filter", "zzzzzzzz"]));
    insta::assert_snapshot!("filter-before-the-target-starts", seen(&["--target", "./sleeps", "--filter", "zzzzzzzz"]));
    insta::assert_snapshot!("filter-without-its-flag", seen(&["undecodable"]));
    let verb = seen(&["mutant"]);
    assert!(verb.contains("'mutants'") && !verb.contains("--filter"), "{verb}");
    insta::assert_snapshot!("filter-empty", seen(&["--filter", "="]));
    insta::assert_snapshot!("codec", seen(&["--codec", "xml"]));
    insta::assert_snapshot!("timeout", seen(&["--timeout", "0"]));
    insta::assert_snapshot!("bless-without-a-place", seen(&["--target", "./peer.py", "--bless"]));
}

#[test]
fn a_target_that_is_not_there_is_told_with_what_to_try() {
    insta::assert_snapshot!("no-such-file", seen(&["--target", "./no-such-file"]));
    insta::assert_snapshot!("unknown-name", seen(&["--target", "python-minimall"]));
    insta::assert_snapshot!("folder-without-target-toml", seen(&["--target", "./no-file"]));
    insta::assert_snapshot!("not-executable", seen(&["--target", "./no-file/README"]));
    insta::assert_snapshot!("bad-address", seen(&["--target", "tcp://127.0.0.1"]));
    insta::assert_snapshot!("other-scheme", seen(&["--target", "ws://127.0.0.1:80"]));
}

#[test]
fn mistakes_in_a_targets_files_are_told_with_their_line() {
    insta::assert_snapshot!("broken-toml", seen(&["--target", "./broken"]));
    insta::assert_snapshot!("wrong-key", seen(&["--target", "./wrong-key"]));
    insta::assert_snapshot!("known-pattern", seen(&["--target", "./unknown-entry"]));
}

#[test]
fn a_target_that_cannot_be_started_is_no_failure_of_its_own() {
    insta::assert_snapshot!("no-program", seen(&["--target", "./no-program"]));
    insta::assert_snapshot!("prepare-fails", seen(&["--target", "./prepare-fails"]));
}

#[test]
fn list_needs_no_target() {
    let output = run(&["--list", "--profile", "streaming"]);
    assert_eq!(output.status.code(), Some(0));
    let listed = text(&output.stdout);
    assert!(listed.starts_with("streaming\n"), "{listed}");
    assert!(!listed.contains("\ncore\n"), "{listed}");
    let json = text(&run(&["--list", "--profile", "streaming", "--format", "json"]).stdout);
    assert!(json.starts_with(r#"{"event":"planned""#), "{json}");
}

/// Runs the one case that the test targets differ in.
fn call(target: &str) -> (Option<i32>, String) {
    let output = run(&["--target", target, "--filter", "=error.application"]);
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn programs_that_are_no_targets_are_told_so() {
    for target in ["/bin/true", "/bin/cat", "./sleeps", "./garbage", "./none"] {
        let seen = seen(&["--target", target]);
        assert!(seen.starts_with("exit status 3\n") && seen.contains("error: ") && seen.contains("  try: "), "{target}: {seen}");
    }
}

#[test]
fn a_peer_that_answers_wrongly_fails_and_the_report_says_why() {
    let (status, screen) = call("./wrong-id");
    assert_eq!(status, Some(1), "{screen}");
    for wanted in [
        "FAIL",
        "error.application",
        "MUST",
        "target/book/",
        "conformance.fail",
        "✗",
        "expected",
        "cargo xtask conformance --target ./wrong-id --transport stdio --role acceptor --framing length --codec json --filter '=error.application'",
        "Does not conform: 1 case fails.",
    ] {
        assert!(screen.contains(wanted), "{wanted} is missing:\n{screen}");
    }
}

#[test]
fn a_crash_shows_the_status_and_the_last_words() {
    let (status, screen) = call("./crashes");
    assert_eq!(status, Some(1), "{screen}");
    assert!(screen.contains("exit status 7") && screen.contains("cannot go on"), "{screen}");
}

#[test]
fn a_peer_that_never_answers_fails_in_bounded_time() {
    let (status, screen) = call("./deaf");
    assert_eq!(status, Some(1), "{screen}");
}

#[test]
fn what_a_target_does_not_claim_cannot_be_asked_for() {
    let seen = seen(&["--target", "./wrong-id", "--codec", "msgpack"]);
    assert!(seen.starts_with("exit status 2\n") && seen.contains("codec msgpack"), "{seen}");
}

#[test]
fn bless_writes_what_fails_and_the_next_run_holds_until_it_is_out_of_date() {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = targets().join("peer.py");
    let file = |fault: &str| {
        let text = format!("command = [\"python3\", \"-SE\", {:?}, \"{fault}\"]\n", peer.to_string_lossy());
        std::fs::write(folder.path().join("target.toml"), text).expect("written");
    };
    let at = folder.path().to_string_lossy().into_owned();
    let go = |more: &[&str]| {
        let output = run(&[&["--target", &at, "--filter", "=error.application"], more].concat());
        (output.status.code(), text(&output.stdout))
    };
    file("wrong-id");
    assert_eq!(go(&[]).0, Some(1));
    assert_eq!(go(&["--bless"]).0, Some(0));
    let known = std::fs::read_to_string(folder.path().join("known-failures.toml")).expect("it is written");
    assert!(known.contains("case = \"error.application\"") && known.contains("reason = "), "{known}");
    let (status, screen) = go(&[]);
    assert_eq!(status, Some(0), "{screen}");
    assert!(screen.contains("Holds, known failures aside."), "{screen}");
    file("right");
    let (status, screen) = go(&[]);
    assert_eq!(status, Some(1), "{screen}");
    assert!(screen.contains("case error.application: holds now"), "{screen}");
    assert_eq!(go(&["--bless"]).0, Some(0));
    assert_eq!(go(&[]).0, Some(0), "the entry is gone");
}

#[test]
fn a_saved_run_tells_the_same_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let saved = folder.path().join("run.jsonl").to_string_lossy().into_owned();
    let first = run(&["--target", "./wrong-id", "--filter", "=error.application", "--events", &saved]);
    let again = run(&["--from", &saved]);
    assert_eq!(first.status.code(), again.status.code());
    assert_eq!(text(&first.stdout), text(&again.stdout));

    let cut: String = std::fs::read_to_string(&saved).expect("saved").lines().take(3).map(|line| format!("{line}\n")).collect();
    std::fs::write(&saved, cut).expect("written");
    assert_eq!(run(&["--from", &saved]).status.code(), Some(4), "a run without an end holds nothing");
    std::fs::write(&saved, "{}\n").expect("written");
    assert_eq!(run(&["--from", &saved]).status.code(), Some(2));
}

//! Targets that mind in which pieces bytes come: each holds in the plain schedule, and a thorough run names the one in which
//! it does not. The targets are the modes of `targets/pieces.py`.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A schedule, the verdict in it, the rule of the finding and its summary.
type Told = (String, String, String, String);

/// What a run of one case finds: exit status, all verdicts of the case with their schedule, rule and summary, and the text.
fn run(fault: &str, arguments: &[&str]) -> (i32, Vec<Told>, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let peer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets/pieces.py");
    let text = format!("command = [\"python3\", \"-SE\", {:?}, \"{fault}\"]\n", peer.to_string_lossy());
    fs::write(folder.path().join("target.toml"), text).expect("written");
    let events = folder.path().join("events.jsonl");
    let output = Command::new(env!("CARGO_BIN_EXE_duplex-conformance"))
        .arg("--target")
        .arg(folder.path())
        .arg("--events")
        .arg(&events)
        .args(["--filter", "=error.application", "--timeout", "2"])
        .args(arguments)
        .output()
        .expect("the command starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let events = fs::read_to_string(events).expect("events");
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("an event"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let verdicts = events.filter(|event| event["case"] == "error.application").map(|event| {
        let finding = &event["finding"];
        (text(&event["schedule"]), text(&event["verdict"]), text(&finding["rule"]), text(&finding["summary"]))
    });
    (output.status.code().expect("it is not killed"), verdicts.collect(), told)
}

/// The verdict of each schedule, the plain one as the empty text.
fn words(verdicts: &[Told]) -> Vec<(&str, &str)> {
    verdicts.iter().map(|(schedule, verdict, ..)| (schedule.as_str(), verdict.as_str())).collect()
}

#[test]
fn a_target_that_takes_a_read_for_a_frame_is_found_by_pieces() {
    let (status, verdicts, _) = run("one-read", &[]);
    assert_eq!((status, words(&verdicts)), (0, vec![("", "pass")]), "it holds when frames come whole");

    let (status, verdicts, told) = run("one-read", &["--thorough"]);
    assert_eq!(status, 1, "{told}");
    let found: Vec<_> = words(&verdicts);
    assert_eq!(found[..3], [("", "pass"), ("glued", "pass"), ("bytes", "fail")]);
    assert_eq!((found[3], found[4].1), (("slow", "pass"), "fail"));
    let (schedule, _, rule, summary) = &verdicts[4];
    assert!(schedule.starts_with("split:"), "{schedule}");
    assert_eq!(rule, "framing.boundaries");
    assert!(summary.contains(schedule) && summary.contains("error.application"), "{summary}");
    let replay = format!("--filter '=error.application' --schedule {schedule}");
    assert!(told.contains(&replay), "{replay} is missing:\n{told}");

    let (status, verdicts, told) = run("one-read", &["--schedule", schedule]);
    assert_eq!((status, words(&verdicts)), (1, vec![("", "fail")]), "the replay finds it again:\n{told}");
}

#[test]
fn a_target_that_reads_a_prefix_at_once_minds_a_cut_inside_it_alone() {
    let (status, verdicts, told) = run("prefix", &["--thorough"]);
    assert_eq!(status, 1, "{told}");
    let found: Vec<_> = words(&verdicts);
    assert_eq!(found, [("", "pass"), ("glued", "pass"), ("bytes", "fail"), ("slow", "pass"), ("split:1", "fail")]);
    for (schedule, status) in [("split:3", 1), ("split:4", 0), ("split:5", 0), ("glued", 0)] {
        assert_eq!(run("prefix", &["--schedule", schedule]).0, status, "{schedule}");
    }
}

//! `cargo xtask tidy`: the rules of the house, as checks.
//!
//! Each check is a function from text to problems, so that a test can show it failing; [`run`] applies them to the tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::step::root;

/// Which crate of the workspace may depend on which. *Invariant:* the tester never reaches the reference peer's crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("duplex-book", &["duplex-spec", "duplex-vectors"]),
    ("duplex-conformance", &["duplex-spec", "duplex-vectors"]),
    ("duplex-peer", &["duplex-proto", "duplex-spec"]),
    ("duplex-proto", &["duplex-spec"]),
    ("duplex-spec", &[]),
    ("duplex-target-reference", &["duplex-peer"]),
    ("duplex-vectors", &["duplex-spec"]),
    ("xtask", &[]),
];

/// What tests may use besides. The tester is not listed: its tests keep its arrows.
const TEST_ARROWS: &[(&str, &[&str])] = &[
    ("duplex-peer", &["duplex-vectors"]),
    ("duplex-proto", &["duplex-vectors"]),
    ("duplex-target-reference", &["duplex-conformance", "duplex-spec", "duplex-vectors"]),
];

/// Crates that do no IO, and what they must therefore not depend on.
const SANS_IO: &[&str] = &["duplex-spec", "duplex-vectors", "duplex-proto"];
const IO_CRATES: &[&str] = &["tokio", "async-std", "smol", "mio", "socket2"];

/// Names that say nothing of what belongs in a file.
const VAGUE_FILES: &[&str] = &["mod.rs", "utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs", "imp.rs"];

/// Pages of the book that name files of the tree.
const PAGES_OF_FILES: &[&str] = &["book/src/guide/reference-peer.md", "book/src/guide/tour.md"];

/// A file longer than this has more than one job.
const MAX_LINES: usize = 800;

/// Runs every check; prints each problem with its place.
pub(crate) fn run() -> bool {
    let mut problems = match metadata() {
        Ok(metadata) => arrows(&metadata),
        Err(error) => vec![error],
    };
    let rules = rule_ids();
    let files = tracked();
    for path in &files {
        let Ok(text) = fs::read_to_string(root().join(path)) else { continue };
        let shown = path.display().to_string();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => problems.extend(rust_file(&shown, &text, &rules)),
            Some("md") if !path.starts_with("book/src") => problems.extend(links(&shown, &text)),
            Some("md") if PAGES_OF_FILES.contains(&shown.as_str()) => problems.extend(named_files(&shown, &text)),
            Some("json") if path.ends_with("package-lock.json") => problems.extend(lock_file(&shown, &text)),
            _ => {}
        }
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    eprintln!("tidy: {} files, {} problems", files.len(), problems.len());
    problems.is_empty()
}

fn metadata() -> Result<Value, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("cargo metadata does not start: {error}"))?;
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

/// The arrows between the workspace's crates, and the absence of IO where there is to be none.
fn arrows(metadata: &Value) -> Vec<String> {
    let none = Vec::new();
    let packages = metadata["packages"].as_array().unwrap_or(&none);
    let own: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    let allowed =
        |table: &[(&str, &'static [&'static str])], name: &str| table.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let Some(normal) = allowed(ARROWS, name) else {
            problems.push(format!("{name}: a crate that xtask/src/tidy.rs gives no arrows; add it there"));
            continue;
        };
        for dependency in package["dependencies"].as_array().unwrap_or(&none) {
            let to = dependency["name"].as_str().unwrap_or_default();
            let for_tests = dependency["kind"].as_str() == Some("dev");
            let in_tests = for_tests && allowed(TEST_ARROWS, name).is_some_and(|list| list.contains(&to));
            if own.contains(&to) && !normal.contains(&to) && !in_tests {
                problems.push(format!("{name} -> {to}: not one of the arrows of the house"));
            }
            if !for_tests && SANS_IO.contains(&name) && IO_CRATES.contains(&to) {
                problems.push(format!("{name} -> {to}: this crate does no IO"));
            }
        }
    }
    problems
}

/// Heads, names, lengths and rule citations of a Rust file.
fn rust_file(path: &str, text: &str, rules: &[String]) -> Vec<String> {
    let mut problems = Vec::new();
    let name = path.rsplit('/').next().unwrap_or(path);
    if VAGUE_FILES.contains(&name) {
        problems.push(format!("{path}: the name `{name}` does not say what belongs in the file"));
    }
    if !text.starts_with("//!") {
        problems.push(format!("{path}:1: a file opens with `//!`: why it exists, and what it deliberately does not do"));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        problems.push(format!("{path}: {lines} lines; beyond {MAX_LINES} a file has more than one job"));
    }
    for (index, line) in text.lines().enumerate() {
        let Some((code, comment)) = line.split_once("// r[") else { continue };
        if code.matches('"').count() % 2 == 1 {
            continue; // A string that speaks of citations.
        }
        for cited in comment.split("r[").map(|rest| rest.split(']').next().unwrap_or_default()) {
            if !rules.iter().any(|rule| rule == cited) {
                problems.push(format!("{path}:{}: no chapter has the rule `{cited}`", index + 1));
            }
        }
    }
    problems
}

/// Relative links of a Markdown file outside the book; the book checks its own.
fn links(path: &str, text: &str) -> Vec<String> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rest in line.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            if !root().join(folder).join(target).exists() {
                problems.push(format!("{path}:{}: the link `{target}` leads nowhere", index + 1));
            }
        }
    }
    problems
}

/// Files and folders in the code spans of a page: each is there, under its whole path.
fn named_files(path: &str, text: &str) -> Vec<String> {
    let is_path = |span: &str| {
        let has_only_names = span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        has_only_names && (span.contains('/') || [".rs", ".md", ".toml", ".json"].iter().any(|end| span.ends_with(end)))
    };
    let mut problems = Vec::new();
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        }
        if is_fenced {
            continue;
        }
        for span in line.split('`').skip(1).step_by(2).filter(|span| is_path(span)) {
            if !root().join(span).exists() {
                problems.push(format!("{path}:{}: there is no `{span}`; a file is named by its path from the root", index + 1));
            }
        }
    }
    problems
}

/// A lock file that names the host it was made with works on one machine only.
fn lock_file(path: &str, text: &str) -> Vec<String> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| line.contains("\"resolved\": \"http"))
        .map(|(index, _)| format!("{path}:{}: names a registry host; lock with omit-lockfile-registry-resolved", index + 1))
        .collect()
}

fn rule_ids() -> Vec<String> {
    let rules: Value = fs::read_to_string(root().join("spec/rules.json"))
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let ids = rules.as_array().into_iter().flatten().filter_map(|rule| rule["id"].as_str());
    ids.map(str::to_owned).collect()
}

/// The files that git tracks, or would.
fn tracked() -> Vec<PathBuf> {
    let output =
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let unique: BTreeMap<&str, ()> = text.lines().map(|line| (line, ())).collect();
    unique.into_keys().map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, to: &str, kind: Option<&str>) -> Value {
        serde_json::json!({"packages": [
            {"name": name, "dependencies": [{"name": to, "kind": kind}]},
            {"name": to, "dependencies": []},
        ]})
    }

    #[test]
    fn the_tester_may_not_reach_the_reference_peer() {
        for to in ["duplex-peer", "duplex-proto"] {
            for kind in [None, Some("dev"), Some("build")] {
                let problems = arrows(&package("duplex-conformance", to, kind));
                assert_eq!(problems, [format!("duplex-conformance -> {to}: not one of the arrows of the house")]);
            }
        }
        assert!(arrows(&package("duplex-conformance", "duplex-vectors", None)).is_empty());
    }

    #[test]
    fn a_sans_io_crate_may_not_do_io() {
        let metadata =
            serde_json::json!({"packages": [{"name": "duplex-proto", "dependencies": [{"name": "tokio", "kind": null}]}]});
        assert_eq!(arrows(&metadata), ["duplex-proto -> tokio: this crate does no IO"]);
    }

    #[test]
    fn a_new_crate_states_its_arrows() {
        let metadata = serde_json::json!({"packages": [{"name": "stranger", "dependencies": []}]});
        assert_eq!(arrows(&metadata).len(), 1);
    }

    #[test]
    fn rust_files_have_a_head_a_name_a_length_and_true_citations() {
        let rules = ["call.reply.id".to_owned()];
        assert!(rust_file("a/peer.rs", "//! Why.\n// r[call.reply.id]\n", &rules).is_empty());
        assert_eq!(rust_file("a/peer.rs", "use std::io;\n", &rules).len(), 1);
        assert_eq!(rust_file("a/utils.rs", "//! Why.\n", &rules).len(), 1);
        assert_eq!(rust_file("a/peer.rs", &format!("//! Why.\n{}", "\n".repeat(MAX_LINES)), &rules).len(), 1);
        assert_eq!(
            rust_file("a/peer.rs", "//! Why.\n    \"x\"; // r[call.reply.id] r[call.nope]\n", &rules),
            ["a/peer.rs:2: no chapter has the rule `call.nope`"]
        );
    }

    #[test]
    fn links_lead_somewhere() {
        assert!(links("README.md", "[a](spec/rules.json) [b](https://example.org) [c](#here)").is_empty());
        assert_eq!(links("README.md", "\n[a](no/such.md#x)"), ["README.md:2: the link `no/such.md` leads nowhere"]);
    }

    #[test]
    fn pages_name_files_that_are_there() {
        let page =
            "`xtask/src/tidy.rs` and `spec/src/`, `a / b`, `tcp://host`, `cargo test`\n```sh\ncat no/such.rs `no/such.rs`\n```\n";
        assert!(named_files("tour.md", page).is_empty());
        assert_eq!(
            named_files("tour.md", "`Cargo.toml`\nsee `xtask/src/untidy.rs`, `tidy.rs`"),
            [
                "tour.md:2: there is no `xtask/src/untidy.rs`; a file is named by its path from the root",
                "tour.md:2: there is no `tidy.rs`; a file is named by its path from the root",
            ]
        );
    }

    #[test]
    fn lock_files_name_no_host() {
        assert_eq!(lock_file("package-lock.json", "{\n  \"resolved\": \"https://host/x.tgz\"\n}").len(), 1);
        assert!(lock_file("package-lock.json", "{\"integrity\": \"sha512-x\"}").is_empty());
    }
}

//! Writes what is generated from the book and from this crate's types, or with `--check` says what is stale.
//!
//! `cargo xtask codegen` runs it from the workspace's root.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use duplex_spec::{rule, schema_source};

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match generate(&root).and_then(|files| write_or_check(&root, &files, check)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every generated file: its path below the root, and its text.
fn generate(root: &Path) -> Result<Vec<(String, String)>, String> {
    let rules = read_rules(root)?;
    let schema = |name: &str, schema| (format!("spec/schemas/{name}.schema.json"), pretty(&schema));
    Ok(vec![
        ("spec/rules.json".to_owned(), pretty(&rules)),
        schema("message.emit", schema_source::emit()),
        schema("message.emit.should", schema_source::emit_should()),
        schema("message.accept", schema_source::accept()),
    ])
}

fn read_rules(root: &Path) -> Result<Vec<rule::Rule>, String> {
    let read = |name: &str| {
        let path = root.join("book/src").join(name);
        fs::read_to_string(&path).map_err(|error| format!("book/src/{name}: {error}"))
    };
    let mut rules = Vec::new();
    for chapter in rule::chapters(&read("SUMMARY.md")?) {
        rules.extend(rule::parse_chapter(chapter, &read(chapter)?).map_err(|error| error.to_string())?);
    }
    rule::Registry::new(rules.clone()).map_err(|error| error.to_string())?;
    Ok(rules)
}

fn pretty(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("invariant: data serializes");
    text.push('\n');
    text
}

fn write_or_check(root: &Path, files: &[(String, String)], check: bool) -> Result<(), String> {
    let stale: Vec<&(String, String)> =
        files.iter().filter(|(path, text)| fs::read_to_string(root.join(path)).ok().as_ref() != Some(text)).collect();
    if stale.is_empty() {
        return Ok(());
    }
    if check {
        let names: Vec<&str> = stale.iter().map(|(path, _)| path.as_str()).collect();
        return Err(format!("stale: {}. Run `cargo xtask codegen` and commit the result.", names.join(", ")));
    }
    for (path, text) in stale {
        fs::write(root.join(path), text).map_err(|error| format!("{path}: {error}"))?;
        eprintln!("wrote {path}");
    }
    Ok(())
}

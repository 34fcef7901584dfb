//! Writes the JSON Schemas of the vector files, or with `--check` says what is stale.
//!
//! `cargo xtask codegen` runs it from the workspace's root.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use duplex_vectors::schema;

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    match write_or_check(Path::new(env!("CARGO_MANIFEST_DIR")), check) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write_or_check(root: &Path, check: bool) -> Result<(), String> {
    let mut stale = Vec::new();
    for (name, schema) in [("session", schema::session()), ("message-vector", schema::message_vector())] {
        let path = format!("schema/{name}.schema.json");
        let mut text = serde_json::to_string_pretty(&schema).expect("invariant: a schema serializes");
        text.push('\n');
        if fs::read_to_string(root.join(&path)).ok().as_ref() == Some(&text) {
            continue;
        }
        if check {
            stale.push(format!("vectors/{path}"));
        } else {
            fs::write(root.join(&path), text).map_err(|error| format!("vectors/{path}: {error}"))?;
            eprintln!("wrote vectors/{path}");
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!("stale: {}. Run `cargo xtask codegen` and commit the result.", stale.join(", ")))
    }
}

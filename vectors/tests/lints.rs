//! Every vector of this crate is sound: it has its schema's shape, and no lint finds anything.

use std::fs;
use std::path::{Path, PathBuf};

use duplex_vectors::{Corpus, lint, schema, unshown};
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

fn all_have_the_shape(kind: &str, schema: &Value) {
    let validator = jsonschema::validator_for(schema).expect("the schema compiles");
    let mut problems = Vec::new();
    for path in files(&root().join(kind)) {
        let name = path.strip_prefix(root()).expect("below the root").display().to_string();
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        match serde_json::from_str::<Value>(&text) {
            Err(error) => problems.push(format!("{name}: {error}")),
            Ok(value) => problems.extend(validator.iter_errors(&value).map(|e| format!("{name}: `{}`: {e}", e.instance_path()))),
        }
    }
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn message_files_have_the_shape_of_their_schema() {
    all_have_the_shape("messages", &schema::message_vector());
}

#[test]
fn session_files_have_the_shape_of_their_schema() {
    all_have_the_shape("sessions", &schema::session());
}

#[test]
fn the_committed_schemas_are_what_the_types_give() {
    for (name, schema) in [("session", schema::session()), ("message-vector", schema::message_vector())] {
        let text = fs::read_to_string(root().join(format!("schema/{name}.schema.json"))).expect("the schema is committed");
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), schema, "{name}: run `cargo xtask codegen`");
    }
}

#[test]
fn no_lint_finds_anything() {
    let corpus = Corpus::embedded().unwrap_or_else(|error| panic!("{error}"));
    let problems: Vec<String> = lint(corpus).iter().map(ToString::to_string).collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn however_a_call_ends_a_session_asks_what_is_left() {
    let corpus = Corpus::embedded().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(unshown(corpus), [""; 0], "no session of the profile `inspect` has them in its `ends`");
}

#[test]
fn the_embedded_corpus_is_the_folder() {
    let embedded = Corpus::embedded().unwrap_or_else(|error| panic!("{error}"));
    let loaded = Corpus::load(root()).unwrap_or_else(|error| panic!("{error}"));
    let ids = |corpus: &Corpus| -> Vec<String> {
        let sessions = corpus.sessions().iter().map(|session| session.id.clone());
        sessions.chain(corpus.messages().iter().map(|message| message.id.clone())).collect()
    };
    assert_eq!(ids(embedded), ids(&loaded));
    assert!(embedded.messages().len() >= 90);
}

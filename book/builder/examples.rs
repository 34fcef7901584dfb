//! Checks the JSON of the chapters: an example that a reader copies works.
//!
//! What a block is, its fence says:
//!
//! | fence | is |
//! |---|---|
//! | `json` | one message, as a sender writes it: checked against the JSON Schema of emitted messages, once that exists |
//! | `json,invalid` | one message that no sender writes |
//! | `json,session` | a session vector |
//! | `json,step` | steps of a session vector, one a line |
//! | `json,vector` | a message vector |
//! | `json,data` | any other JSON |
//!
//! In `text` blocks a line that starts with `->` or `<-` and a `{` shows a message; it parses, and that is all: dialogues
//! show what broken peers send, too.

use std::fs;
use std::path::Path;

use duplex_vectors::{MessageVector, Session, Step};
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{BookError, Problem};

/// The schema of what a sender writes, below the repository's root.
const EMIT_SCHEMA: &str = "spec/schemas/message.emit.schema.json";

pub(crate) struct Examples {
    message: Option<Validator>,
}

impl Examples {
    pub(crate) fn load(root: &Path) -> Result<Self, BookError> {
        let path = root.join(EMIT_SCHEMA);
        if !path.exists() {
            return Ok(Self { message: None });
        }
        let text = fs::read_to_string(&path).map_err(|source| BookError::Io { path: path.clone(), source })?;
        let bad = |what: String| BookError::Schema { path: path.clone(), what };
        let schema: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let message = jsonschema::validator_for(&schema).map_err(|error| bad(error.to_string()))?;
        Ok(Self { message: Some(message) })
    }

    /// Checks every example of a chapter; returns how many there were.
    pub(crate) fn check(&self, path: &str, markdown: &str, problems: &mut Vec<Problem>) -> usize {
        let mut checked = 0;
        for block in blocks(markdown) {
            let mut report = |line: usize, result: Result<(), String>| {
                checked += 1;
                if let Err(what) = result {
                    problems.push(Problem::new(format!("book/src/{path}:{line}"), what));
                }
            };
            match block.info {
                "json" => report(block.line, self.message(&block.text)),
                "json,invalid" => report(block.line, self.no_message(&block.text)),
                "json,session" => report(block.line, parses::<Session>(&block.text)),
                "json,vector" => report(block.line, parses::<MessageVector>(&block.text)),
                "json,data" => report(block.line, parses::<Value>(&block.text)),
                "json,step" => {
                    for (offset, step) in block.text.lines().enumerate() {
                        report(block.line + 1 + offset, parses::<Step>(step));
                    }
                }
                info if info.starts_with("json") => report(block.line, Err(format!("`{info}` is no kind of JSON example"))),
                "text" => {
                    for (offset, line) in block.text.lines().enumerate() {
                        if let Some(message) = arrow(line) {
                            report(block.line + 1 + offset, parses::<Value>(message));
                        }
                    }
                }
                _ => {}
            }
        }
        checked
    }

    fn message(&self, text: &str) -> Result<(), String> {
        let message: Value = serde_json::from_str(text).map_err(|error| format!("the example does not parse: {error}"))?;
        let Some(schema) = &self.message else { return Ok(()) };
        let faults: Vec<String> = schema.iter_errors(&message).map(|error| error.to_string()).collect();
        if faults.is_empty() {
            return Ok(());
        }
        Err(format!(
            "the example is no message that a sender may write: {}. Other JSON is marked `json,data`, a wrong message `json,invalid`.",
            faults.join("; ")
        ))
    }

    fn no_message(&self, text: &str) -> Result<(), String> {
        let message: Value = serde_json::from_str(text).map_err(|error| format!("the example does not parse: {error}"))?;
        match &self.message {
            Some(schema) if schema.is_valid(&message) => {
                Err("the example is marked `json,invalid`, but is a valid message".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn parses<T: DeserializeOwned>(text: &str) -> Result<(), String> {
    serde_json::from_str::<T>(text).map(drop).map_err(|error| format!("the example does not parse: {error}"))
}

/// The JSON behind the arrow of a dialogue's line. What follows the message, after two spaces, is a remark.
fn arrow(line: &str) -> Option<&str> {
    let rest = line.trim_start();
    let rest = rest.strip_prefix("->").or_else(|| rest.strip_prefix("<-"))?.trim_start();
    let message = rest.split("  ").next().unwrap_or(rest).trim_end();
    message.starts_with('{').then_some(message)
}

struct Block<'a> {
    info: &'a str,
    line: usize,
    text: String,
}

fn blocks(markdown: &str) -> Vec<Block<'_>> {
    let mut all = Vec::new();
    let mut open: Option<(&str, Block<'_>)> = None;
    for (index, line) in markdown.lines().enumerate() {
        let start = line.trim_start();
        match &mut open {
            Some((mark, _)) if start.starts_with(*mark) => all.extend(open.take().map(|(_, block)| block)),
            Some((_, block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {
                if let Some(mark) = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark)) {
                    let info = start.trim_start_matches(['`', '~']).trim();
                    open = Some((mark, Block { info, line: index + 1, text: String::new() }));
                }
            }
        }
    }
    all
}

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
//! | `dialogue` | a dialogue that a test holds with the reference peer; here its messages parse |
//! | `dialogue,shape` | a dialogue that nothing runs; its messages parse |
//! | `text,report` | what a run of the harness printed; counted with the shapes |
//! | any language, and `,shape` | a program that nothing runs |
//! | `rust` | a program that compiles, since the reference peer's documentation has the chapter among its tests |
//!
//! A block that looks like a dialogue is one: no other fence is let through, so that none goes unchecked by mistake.

use std::fs;
use std::path::Path;

use duplex_vectors::{MessageVector, Session, Step};
use jsonschema::Validator;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::dialogue::{self, Kind};
use crate::{BookError, Problem};

/// The schema of what a sender writes, below the repository's root.
const EMIT_SCHEMA: &str = "spec/schemas/message.emit.schema.json";
/// The file that takes whole chapters into the tests of the reference peer's documentation, below the repository's root.
const COMPILED: &str = "reference-peer/src/lib.rs";

/// How many of each kind.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) examples: usize,
    pub(crate) dialogues: usize,
    pub(crate) shapes: usize,
}

pub(crate) struct Examples {
    message: Option<Validator>,
    /// What [`COMPILED`] holds; nothing where it is not there.
    compiled: String,
}

impl Examples {
    pub(crate) fn load(root: &Path) -> Result<Self, BookError> {
        let compiled = fs::read_to_string(root.join(COMPILED)).unwrap_or_default();
        let path = root.join(EMIT_SCHEMA);
        if !path.exists() {
            return Ok(Self { message: None, compiled });
        }
        let text = fs::read_to_string(&path).map_err(|source| BookError::Io { path: path.clone(), source })?;
        let bad = |what: String| BookError::Schema { path: path.clone(), what };
        let schema: Value = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        let message = jsonschema::validator_for(&schema).map_err(|error| bad(error.to_string()))?;
        Ok(Self { message: Some(message), compiled })
    }

    /// Checks every example of a chapter, and counts them.
    pub(crate) fn check(&self, path: &str, markdown: &str, seen: &mut Seen, problems: &mut Vec<Problem>) {
        for block in blocks(markdown) {
            let mut report = |line: usize, result: Result<(), String>| {
                seen.examples += 1;
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
                "rust" => report(block.line, self.compiles(path)),
                info if info.starts_with("json") => report(block.line, Err(format!("`{info}` is no kind of JSON example"))),
                info => {
                    let messages =
                        block.text.lines().enumerate().filter_map(|(at, line)| Some((at, dialogue::line(line)?.frame)));
                    let messages: Vec<(usize, &str)> = messages.collect();
                    let kind = dialogue::kind(info);
                    match kind {
                        Some(Kind::Held) => seen.dialogues += 1,
                        Some(Kind::Shape) => seen.shapes += 1,
                        None if info.ends_with(",shape") || info == "text,report" => seen.shapes += 1,
                        None if messages.is_empty() && !info.starts_with("dialogue") => {}
                        None => problems.push(Problem::new(
                            format!("book/src/{path}:{}", block.line),
                            format!("a dialogue fenced `{info}`: fence it `dialogue`, and a test holds it with the reference peer, or `dialogue,shape`"),
                        )),
                    }
                    for (at, message) in messages.into_iter().filter(|(_, message)| kind.is_some() && message.starts_with('{')) {
                        let result = parses::<Value>(message);
                        seen.examples += 1;
                        problems.extend(
                            result.err().map(|what| Problem::new(format!("book/src/{path}:{}", block.line + 1 + at), what)),
                        );
                    }
                }
            }
        }
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

    fn compiles(&self, path: &str) -> Result<(), String> {
        if self.compiled.contains(&format!("include_str!(\"../../book/src/{path}\")")) {
            return Ok(());
        }
        Err(format!("nothing compiles this program: add the chapter to {COMPILED}, or fence it `rust,shape`"))
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

//! Every vector, embedded or read from a folder.
//!
//! Loading checks only what makes a corpus one: each file parses, and its id is its path. All else is [`crate::lint`]'s.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::message::MessageVector;
use crate::session::Session;

static MESSAGES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/messages");
static SESSIONS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sessions");

/// Message and session vectors, each kind ordered by id.
#[derive(Clone, Debug, Default)]
pub struct Corpus {
    /// Dialogues.
    pub sessions: Vec<Session>,
    /// Single messages.
    pub messages: Vec<MessageVector>,
}

impl Corpus {
    /// The vectors that this crate was built with.
    pub fn embedded() -> Result<&'static Self, &'static LoadError> {
        static CORPUS: OnceLock<Result<Corpus, LoadError>> = OnceLock::new();
        CORPUS
            .get_or_init(|| {
                let mut files = Vec::new();
                embedded_files("messages", &MESSAGES, &mut files);
                embedded_files("sessions", &SESSIONS, &mut files);
                Self::parse(files)
            })
            .as_ref()
    }

    /// The vectors in `dir/messages/<area>/<name>.json` and `dir/sessions/<area>/<name>.json`. Other files are left alone.
    ///
    /// The error lists every file that cannot be read or parsed.
    pub fn load(dir: &Path) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        for kind in ["messages", "sessions"] {
            folder_files(dir, kind, &mut files)
                .map_err(|(path, error)| LoadError { faults: vec![FileFault { path, what: error.to_string() }] })?;
        }
        Self::parse(files)
    }

    /// The dialogues, ordered by id.
    #[must_use]
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// The messages, ordered by id.
    #[must_use]
    pub fn messages(&self) -> &[MessageVector] {
        &self.messages
    }

    /// Which vectors these are: sixteen hexadecimal digits that differ as soon as one vector says something else. How a file
    /// is laid out makes no difference.
    #[must_use]
    pub fn revision(&self) -> String {
        let mut hash = Sha256::new();
        let mut add = |vector: serde_json::Result<Vec<u8>>| {
            hash.update(vector.expect("invariant: a vector was read from JSON"));
            hash.update(b"\n");
        };
        self.sessions.iter().for_each(|session| add(serde_json::to_vec(session)));
        self.messages.iter().for_each(|message| add(serde_json::to_vec(message)));
        hex::encode(&hash.finalize()[..8])
    }

    /// The dialogue with this id.
    #[must_use]
    pub fn session(&self, id: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    /// The message with this id.
    #[must_use]
    pub fn message(&self, id: &str) -> Option<&MessageVector> {
        self.messages.iter().find(|message| message.id == id)
    }

    fn parse(files: Vec<(String, Vec<u8>)>) -> Result<Self, LoadError> {
        let mut corpus = Self::default();
        let mut faults = Vec::new();
        for (path, bytes) in files {
            let result = if path.starts_with("messages/") {
                one(&path, &bytes, |vector: &MessageVector| &vector.id).map(|vector| corpus.messages.push(vector))
            } else {
                one(&path, &bytes, |session: &Session| &session.id).map(|session| corpus.sessions.push(session))
            };
            if let Err(what) = result {
                faults.push(FileFault { path, what });
            }
        }
        corpus.messages.sort_by(|a, b| a.id.cmp(&b.id));
        corpus.sessions.sort_by(|a, b| a.id.cmp(&b.id));
        if faults.is_empty() { Ok(corpus) } else { Err(LoadError { faults }) }
    }
}

fn one<T: DeserializeOwned>(path: &str, bytes: &[u8], id: impl Fn(&T) -> &String) -> Result<T, String> {
    let vector = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let expected = path.split_once('/').map_or(path, |(_, rest)| rest);
    let expected = expected.strip_suffix(".json").unwrap_or(expected).replace('/', ".");
    let id = id(&vector);
    if *id == expected { Ok(vector) } else { Err(format!("`id` is `{id}`; the path makes it `{expected}`")) }
}

fn embedded_files(kind: &str, dir: &Dir<'_>, files: &mut Vec<(String, Vec<u8>)>) {
    for file in dir.files() {
        let path = file.path().iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/");
        if path.ends_with(".json") {
            files.push((format!("{kind}/{path}"), file.contents().to_vec()));
        }
    }
    for dir in dir.dirs() {
        embedded_files(kind, dir, files);
    }
}

fn folder_files(root: &Path, relative: &str, files: &mut Vec<(String, Vec<u8>)>) -> Result<(), (String, std::io::Error)> {
    let fail = |error| (relative.to_owned(), error);
    let mut entries = fs::read_dir(root.join(relative)).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = format!("{relative}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(|error| (path.clone(), error))?.is_dir() {
            folder_files(root, &path, files)?;
        } else if path.ends_with(".json") {
            let bytes = fs::read(entry.path()).map_err(|error| (path.clone(), error))?;
            files.push((path, bytes));
        }
    }
    Ok(())
}

/// Vectors that cannot be loaded: every file that is at fault, with the place in it.
#[derive(Clone, Debug)]
pub struct LoadError {
    faults: Vec<FileFault>,
}

impl LoadError {
    /// The files at fault, in the order of loading.
    #[must_use]
    pub fn faults(&self) -> &[FileFault] {
        &self.faults
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for LoadError {}

/// One file that cannot be loaded.
#[derive(Clone, Debug)]
pub struct FileFault {
    /// Its path below the folder of the vectors.
    pub path: String,
    /// What is wrong, with line and column where the JSON does not parse.
    pub what: String,
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

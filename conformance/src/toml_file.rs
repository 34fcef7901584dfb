//! Reading a TOML file with errors that a person can act on: the file, the line, and what is allowed there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Reads a whole file.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, TomlError> {
    let text = fs::read_to_string(path).map_err(|source| TomlError::Read { path: path.to_path_buf(), source })?;
    parse(path, &text)
}

/// Reads a file's text; `path` is only for the error.
pub fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, TomlError> {
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start.min(text.len()));
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        TomlError::Parse {
            path: path.to_path_buf(),
            line,
            what: error.message().to_owned(),
            quote: text.lines().nth(line - 1).unwrap_or_default().trim_end().to_owned(),
        }
    })
}

/// Why a file cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TomlError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is no TOML, or has the wrong keys.
    #[error("{path}:{line}: {what}\n    {quote}", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong and what is allowed.
        what: String,
        /// The line itself.
        quote: String,
    },
}

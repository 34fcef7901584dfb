//! Mutants: a filter between tester and target that makes a right peer wrong in exactly one way.
//!
//! A mutant is data: `mutants/<rule>[.<what>].toml` beside this crate. It proves checks, so it is never part of a verdict.
//! Questions of the harness itself (fences and the like) pass untouched unless a mutant asks for them: what is to be shown
//! is that a check sees the fault, not that the harness stumbles over it.

mod filter;

use std::collections::BTreeMap;
use std::sync::Arc;

use duplex_vectors::{Codec, Framing, Profile, Role, Transport};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use filter::{Effect, Filter};

static MUTANTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/mutants");

/// A fault: what is changed, in frames of which kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// The file's name without `.toml`: the rule, and a further word if the rule has several mutants.
    #[serde(skip)]
    pub name: String,
    /// The rule that it breaks.
    pub rule: String,
    /// What it does wrong, in the present tense.
    pub title: String,
    /// Where the rule is checked.
    pub profile: Profile,
    /// Configurations in which it can be seen. All by default.
    #[serde(default = "Role::all")]
    pub roles: Vec<Role>,
    /// Configurations in which it can be seen. All by default.
    #[serde(default = "Transport::all")]
    pub transports: Vec<Transport>,
    /// Configurations in which it can be seen. All by default.
    #[serde(default = "Framing::all")]
    pub framings: Vec<Framing>,
    /// Configurations in which it can be seen. All by default.
    #[serde(default = "Codec::all")]
    pub codecs: Vec<Codec>,
    /// What is changed. Of several the first whose `match` holds.
    #[serde(rename = "change")]
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The way of the frames that are changed.
    pub direction: Direction,
    /// Which frames.
    #[serde(rename = "match", default)]
    pub matching: Match,
    /// What becomes of them.
    #[serde(rename = "do")]
    pub act: Act,
}

/// The way that a frame takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the tester to the target.
    ToTarget,
    /// From the target to the tester.
    FromTarget,
}

/// Which frames a change is for: those for which everything holds that is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Members with these values.
    pub members: BTreeMap<String, Json>,
    /// Members that are there and not `null`.
    pub has: Vec<String>,
    /// Members that are absent or `null`.
    pub lacks: Vec<String>,
    /// Replies to calls of this method; a name that ends in `*` stands for all that start so.
    pub answers: Option<String>,
    /// Requests of methods that start so.
    pub method_prefix: Option<String>,
    /// Frames whose text holds this regular expression. For the greeting, and for what is no message.
    pub text: Option<String>,
    /// Frames of exactly so many bytes.
    pub length: Option<usize>,
    /// Frames of at least so many bytes.
    pub at_least: Option<usize>,
    /// Only the so manieth of them on a connection, counted from 1.
    pub nth: Option<usize>,
    /// Only from the so manieth of them on.
    pub from: Option<usize>,
    /// Only if the connection saw a frame before, in either direction, for which this holds.
    pub after: Option<Box<Match>>,
    /// Questions of the harness too.
    pub questions: bool,
}

/// What becomes of a frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It is lost.
    Drop(bool),
    /// It comes so many times.
    Repeat(usize),
    /// Members get these values. `"$id"`, `"$method"` and `"$payload"` are the message's, `"$argument"` is that of the call
    /// that it answers, `"$null"` is null.
    Set(BTreeMap<String, Json>),
    /// Members go.
    Remove(Vec<String>),
    /// Members get other names.
    Rename(BTreeMap<String, String>),
    /// It comes behind so many further frames of its direction.
    Delay(usize),
    /// The connection ends in its place.
    Close(bool),
    /// The connection ends behind it.
    CloseAfter(bool),
    /// It becomes this message.
    Replace(Json),
    /// It becomes this text.
    Text(String),
    /// Bytes are cut off its end, or added around it.
    Damage {
        /// How many bytes go.
        #[serde(default)]
        cut: usize,
        /// Hexadecimal digits in front.
        #[serde(default)]
        prefix: String,
        /// Hexadecimal digits behind.
        #[serde(default)]
        suffix: String,
    },
    /// It is lost, and this message goes back.
    Answer(Json),
    /// It passes, and this message goes back.
    AlsoAnswer(Json),
    /// It passes, and this message follows it.
    Also(Json),
}

/// A mutant that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MutantError {
    /// No file has this name.
    #[error("there is no mutant `{0}`")]
    Unknown(String),
    /// A file does not parse.
    #[error("mutants/{name}.toml: {why}")]
    File {
        /// The file's name without `.toml`.
        name: String,
        /// What is wrong, and where.
        why: String,
    },
}

impl Mutant {
    /// Every mutant, by name.
    pub fn all() -> Result<Vec<Self>, MutantError> {
        let mut all = Vec::new();
        for file in MUTANTS.files().filter(|file| file.path().extension().is_some_and(|extension| extension == "toml")) {
            let name = file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            all.push(Self::parse(&name, &String::from_utf8_lossy(file.contents()))?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The mutant with this name.
    pub fn named(name: &str) -> Result<Self, MutantError> {
        Self::all()?.into_iter().find(|mutant| mutant.name == name).ok_or_else(|| MutantError::Unknown(name.to_owned()))
    }

    /// Reads a mutant. Its name has to be its rule, alone or with further words behind it.
    pub fn parse(name: &str, text: &str) -> Result<Self, MutantError> {
        let fault = |why: String| MutantError::File { name: name.to_owned(), why };
        let mut mutant: Self = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        if !name.strip_prefix(&mutant.rule).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            return Err(fault(format!("its rule is `{}`, which its name does not start with", mutant.rule)));
        }
        if mutant.changes.is_empty() {
            return Err(fault("it changes nothing".into()));
        }
        for change in &mutant.changes {
            if let Some(text) = &change.matching.text {
                regex::Regex::new(text).map_err(|error| fault(error.to_string()))?;
            }
        }
        mutant.name = name.to_owned();
        Ok(mutant)
    }

    /// A filter for one connection.
    #[must_use]
    pub fn filter(self: &Arc<Self>, codec: Codec) -> Filter {
        Filter::new(Arc::clone(self), codec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_parses_and_breaks_a_rule_of_the_book() {
        for mutant in Mutant::all().expect("parses") {
            assert!(duplex_spec::registry().rule(&mutant.rule).is_some(), "{}: no rule `{}`", mutant.name, mutant.rule);
        }
    }
}

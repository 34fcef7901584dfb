//! Mutants: a filter between tester and target that makes a right peer wrong in exactly one way.
//!
//! A mutant is data: an entry of `mutants/<chapter>.toml` beside this crate. It proves checks, so it is never part of a
//! verdict. Questions of the harness itself (fences and the like) pass untouched unless a mutant asks for them: what is to
//! be shown is that a check sees the fault, not that the harness stumbles over it.

mod filter;
pub mod hunt;
mod matching;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;

use duplex_vectors::{Codec, Framing, Role, Transport};
use include_dir::{Dir, include_dir};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::event::Configuration;

pub use filter::{Effect, Filter};
pub use memory::State;

static MUTANTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/mutants");

/// A fault: what is changed, in frames of which kind.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// The rule that it breaks.
    pub rule: String,
    /// A further word, if the rule has several mutants.
    #[serde(default)]
    pub variant: Option<String>,
    /// What it does wrong, in the present tense.
    pub title: String,
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
    /// Cases in which a standing check of the rule can see it, if no case names the rule.
    #[serde(default)]
    pub through: Vec<String>,
    /// What is changed. Of several the first whose `if` holds.
    #[serde(rename = "change", default)]
    pub changes: Vec<Change>,
    /// For rules of the target contract, which probes decide: a script for `sh` that starts the target, its arguments, and is
    /// wrong as a process.
    #[serde(default)]
    pub program: Option<String>,
    /// For the same rules: what the target says of itself in the place of these members of its description.
    #[serde(default)]
    pub description: BTreeMap<String, Json>,
}

/// One change.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Whose frames are changed.
    #[serde(rename = "from")]
    pub direction: Direction,
    /// Which of them.
    #[serde(rename = "if", default)]
    pub matching: Match,
    /// What becomes of them.
    #[serde(rename = "do")]
    pub act: Act,
}

/// The way that a frame takes.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the tester to the target.
    #[serde(rename = "tester")]
    ToTarget,
    /// From the target to the tester.
    #[serde(rename = "target")]
    FromTarget,
}

/// What passes a filter.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Thing {
    /// A frame.
    #[default]
    Frame,
    /// Bytes that the tester writes below the framing.
    Bytes,
    /// The end of what a side sends.
    End,
}

/// Which frames a change is for: those for which everything holds that is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Match {
    /// Frames, unless it says something else.
    pub thing: Thing,
    /// Messages of this type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Frames of calls of this method, continuations and replies included; a name that ends in `*` stands for all that
    /// start so.
    pub method: Option<String>,
    /// Frames of calls whose first payload is this. Of a map the members that are given.
    pub argument: Option<Json>,
    /// Members with these values. Of a map the members that are given.
    pub members: BTreeMap<String, Json>,
    /// Members that are there and not `null`.
    pub has: Vec<String>,
    /// Members that are absent or `null`.
    pub lacks: Vec<String>,
    /// Members that are there, `null` or not.
    pub writes: Vec<String>,
    /// Frames whose call was in one of these states before them.
    pub state: Vec<State>,
    /// Messages with a greater id.
    pub id_above: Option<i64>,
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
    /// Counts `nth` and `from` anew for each call.
    pub per_call: bool,
    /// Only if the connection saw a frame before, from either side, for which this holds.
    pub after: Option<Box<Match>>,
    /// Unless this holds of the same frame.
    pub not: Option<Box<Match>>,
    /// Only on the connection that the session calls so; `a` is the first.
    pub connection: Option<String>,
    /// Frames, none of them empty or a greeting's, that are no map in the codec.
    pub undecodable: bool,
    /// Questions of the harness too.
    pub questions: bool,
}

/// What becomes of a frame.
///
/// In messages and values `"$id"`, `"$type"`, `"$payload"` and so on are the message's own members, `"$argument"` is the
/// first payload of its call, `"$method"` the call's method, `"$after.payload"` and so on are members of the message for
/// which `after` held, and `"$null"` is null.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// It is lost.
    Drop,
    /// It passes. For exceptions in front of other changes.
    Pass,
    /// It comes so many times.
    Repeat(usize),
    /// Members get these values; `error.code` is a member of a member.
    Set(BTreeMap<String, Json>),
    /// Members go.
    Remove(Vec<String>),
    /// Members get other names.
    Rename(BTreeMap<String, String>),
    /// It comes behind so many further frames of its direction.
    Delay(usize),
    /// It comes behind the next frame, from either side, for which this holds.
    Wait(Box<Match>),
    /// The connection ends in its place.
    Close,
    /// The connection ends behind it.
    CloseAfter,
    /// It passes, and every other connection of the session ends.
    CloseOthers,
    /// It becomes this message.
    Replace(Json),
    /// It becomes this text.
    Text(String),
    /// In its text, what the regular expression matches is replaced.
    Substitute {
        /// The regular expression.
        pattern: String,
        /// What stands in its place, `$1` for the first group.
        with: String,
    },
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
    /// It is lost, and these messages go back.
    Answer(Messages),
    /// It passes, and these messages go back.
    AlsoAnswer(Messages),
    /// It passes, and these messages follow it.
    Also(Messages),
    /// It passes behind these messages.
    Before(Messages),
    /// The tester sees bytes of which its framing can make no frame: its own, with a little-endian length or none.
    Unframed,
}

/// One message, or several.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Messages {
    /// In this order.
    Several(Vec<Json>),
    /// One.
    One(Json),
}

impl Messages {
    fn as_slice(&self) -> &[Json] {
        match self {
            Self::Several(messages) => messages,
            Self::One(message) => std::slice::from_ref(message),
        }
    }
}

/// A mutant that cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MutantError {
    /// There is none with this name.
    #[error("there is no mutant `{0}`")]
    Unknown(String),
    /// A file does not parse.
    #[error("mutants/{file}.toml: {why}")]
    File {
        /// The file's name without `.toml`.
        file: String,
        /// What is wrong, and where.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mutant: Vec<Mutant>,
}

impl Mutant {
    /// Every mutant, by chapter, in the order of its file.
    pub fn all() -> Result<Vec<Self>, MutantError> {
        let mut files: Vec<_> =
            MUTANTS.files().filter(|file| file.path().extension().is_some_and(|extension| extension == "toml")).collect();
        files.sort_by_key(|file| file.path());
        let mut all = Vec::new();
        for file in files {
            let chapter = file.path().file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            all.extend(Self::parse(&chapter, &String::from_utf8_lossy(file.contents()))?);
        }
        Ok(all)
    }

    /// The mutant with this name.
    pub fn named(name: &str) -> Result<Self, MutantError> {
        Self::all()?.into_iter().find(|mutant| mutant.name() == name).ok_or_else(|| MutantError::Unknown(name.to_owned()))
    }

    /// Reads the mutants of a chapter: all their rules start with its name.
    pub fn parse(chapter: &str, text: &str) -> Result<Vec<Self>, MutantError> {
        let fault = |why: String| MutantError::File { file: chapter.to_owned(), why };
        let File { mutant: mutants } = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
        for (index, mutant) in mutants.iter().enumerate() {
            let name = mutant.name();
            if mutant.rule.split('.').next() != Some(chapter) {
                return Err(fault(format!("`{name}` belongs into the file of its rule's first word")));
            }
            if mutants[..index].iter().any(|other| other.name() == name) {
                return Err(fault(format!("`{name}` stands here twice: give one of them a `variant`")));
            }
            if mutant.changes.is_empty() && !mutant.is_process() {
                return Err(fault(format!("`{name}` changes nothing")));
            }
            for change in &mutant.changes {
                change.check().map_err(|why| fault(format!("`{name}`: {why}")))?;
            }
        }
        Ok(mutants)
    }

    /// The rule, and the further word if there is one.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}.{variant}", self.rule),
            None => self.rule.clone(),
        }
    }

    /// Whether it is wrong as a process: what probes of the target contract see, and no session.
    #[must_use]
    pub fn is_process(&self) -> bool {
        self.program.is_some() || !self.description.is_empty()
    }

    /// Whether it can be seen in this configuration.
    #[must_use]
    pub fn applies_in(&self, configuration: Configuration) -> bool {
        self.roles.contains(&configuration.role)
            && self.transports.contains(&configuration.transport)
            && self.framings.contains(&configuration.framing)
            && self.codecs.contains(&configuration.codec)
    }

    /// A filter for one connection.
    #[must_use]
    pub fn filter(self: &Arc<Self>, codec: Codec) -> Filter {
        Filter::new(Arc::clone(self), codec)
    }
}

impl Change {
    /// What is wrong with it that its form does not show.
    fn check(&self) -> Result<(), String> {
        let mut matches = vec![&self.matching];
        if let Act::Wait(until) = &self.act {
            matches.push(until);
        }
        while let Some(matching) = matches.pop() {
            if let Some(text) = &matching.text {
                regex::Regex::new(text).map_err(|error| error.to_string())?;
            }
            matches.extend(matching.after.as_deref());
            matches.extend(matching.not.as_deref());
        }
        match &self.act {
            Act::Substitute { pattern, .. } => regex::bytes::Regex::new(pattern).map(|_| ()).map_err(|error| error.to_string()),
            Act::Damage { prefix, suffix, .. } => {
                hex::decode(prefix).and_then(|_| hex::decode(suffix)).map(|_| ()).map_err(|error| error.to_string())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_parses_and_breaks_a_rule_of_the_book() {
        let rules = duplex_spec::registry();
        for mutant in Mutant::all().expect("parses") {
            let name = mutant.name();
            assert!(rules.rule(&mutant.rule).is_some(), "{name}: no rule `{}`", mutant.rule);
            assert!(mutant.variant.is_none() || rules.rule(&name).is_none(), "{name}: its name is another rule's id");
        }
    }
}

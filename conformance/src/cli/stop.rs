//! Why the command ends before there is a result, with its exit status and the next thing to try.

use std::io;
use std::path::Path;

use crate::exit;
use crate::known::KnownError;
use crate::target::{ProgramError, TargetError};

/// The end of the command without a result.
#[derive(Debug)]
pub(super) struct Stop {
    /// The exit status.
    pub(super) exit: u8,
    message: String,
    advice: Option<String>,
    /// Arguments of the command to try.
    attempt: String,
}

impl Stop {
    /// The command line or a file is wrong.
    pub(super) fn usage(message: impl Into<String>, attempt: impl Into<String>) -> Self {
        Self { exit: exit::USAGE, message: message.into(), advice: None, attempt: attempt.into() }
    }

    /// The target cannot be run.
    pub(super) fn target(message: impl Into<String>, attempt: impl Into<String>) -> Self {
        Self { exit: exit::TARGET, ..Self::usage(message, attempt) }
    }

    /// The harness is wrong.
    pub(super) fn harness(message: impl Into<String>) -> Self {
        Self { exit: exit::HARNESS, ..Self::usage(message, "--list") }
    }

    /// Where the harness runs cannot be found out.
    pub(super) fn surroundings(error: io::Error) -> Self {
        Self::harness(format!("the current folder or the harness's own path cannot be read: {error}"))
    }

    /// A file that cannot be written.
    pub(super) fn write(path: &Path, error: &io::Error) -> Self {
        Self::usage(format!("{}: {error}", path.display()), "--help").advise("choose a path that can be written")
    }

    /// Adds what to do about it.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The text for standard error.
    pub(super) fn text(&self, invocation: &str) -> String {
        let bad = crate::report::BAD;
        let faint = crate::report::FAINT;
        let advice = self.advice.as_ref().map_or_else(String::new, |advice| format!("  {advice}\n"));
        format!("{bad}error{bad:#}: {}\n{advice}  {faint}try:{faint:#} {invocation} {}\n", self.message, self.attempt)
    }
}

impl From<TargetError> for Stop {
    fn from(error: TargetError) -> Self {
        let attempt = match &error {
            TargetError::UnknownName { near: Some(near), .. } => format!("--target {near}"),
            TargetError::NotExecutable { path } => format!("--target {path}"),
            TargetError::NoTargetFile { folder } => format!("--target {folder}"),
            TargetError::Address { .. } | TargetError::Scheme { .. } => "--target tcp://127.0.0.1:7000".to_owned(),
            TargetError::NoFile { .. } | TargetError::UnknownName { .. } => "--target reference".to_owned(),
            TargetError::File(_) | TargetError::NoCommand { .. } => "--help".to_owned(),
        };
        Self::usage(error.to_string(), attempt).advise(error.advice())
    }
}

impl Stop {
    /// The target's known-failures file is wrong.
    pub(super) fn known(error: &KnownError, target: &str) -> Self {
        Self::usage(error.to_string(), format!("--target {target}")).advise(
            "an entry is [[known]] with case = \"id\" or rule = \"id\", a reason, and perhaps transport, role, framing, codec",
        )
    }

    /// The target's program is not there.
    pub(super) fn program(error: &ProgramError, target: &str) -> Self {
        let advice = match error {
            ProgramError::NoFile(_) => "build it, or correct `command` in its target.toml",
            ProgramError::NotExecutable(_) => "make it executable with `chmod +x`, or name its interpreter first in `command`",
            ProgramError::NotInPath(_) => "install it, or write its whole path in `command`",
        };
        Self::target(error.to_string(), format!("--target {target}")).advise(advice)
    }
}

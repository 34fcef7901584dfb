//! One command that a verb runs, and how it is shown.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A command, run from the workspace's root.
#[derive(Debug)]
pub(crate) struct Step {
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(&'static str, &'static str)>,
}

/// The cargo that runs this program, so that `+toolchain` carries over.
pub(crate) fn cargo<const N: usize>(args: [&str; N]) -> Step {
    Step::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(args)
}

/// Builds these packages' programs. Quiet unless it takes a compiler to do it.
pub(crate) fn cargo_build(packages: &[&str]) -> Step {
    let mut step = cargo(["build"]);
    for package in packages {
        step.args.extend(["--package".to_owned(), (*package).to_owned()]);
    }
    step.args.push("--bins".to_owned());
    step
}

/// A program of this workspace, where cargo has put it: beside this one.
pub(crate) fn program(name: &str) -> Step {
    Step::new(beside(&format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// A file beside this program, in a folder that cargo has made and nobody commits.
pub(crate) fn beside(name: &str) -> PathBuf {
    std::env::current_exe().expect("invariant: a running program has a path").with_file_name(name)
}

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("invariant: xtask lies in the workspace")
}

impl Step {
    pub(crate) fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), args: Vec::new(), env: Vec::new() }
    }

    pub(crate) fn args(mut self, args: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: &'static str) -> Self {
        self.env.push((name, value));
        self
    }

    /// The command as a person would type it.
    pub(crate) fn shown(&self) -> String {
        let program = self.program.file_stem().unwrap_or_default().to_string_lossy();
        let env = self.env.iter().map(|(name, value)| format!("{name}={value}"));
        env.chain([program.into_owned()]).chain(self.args.iter().cloned()).collect::<Vec<_>>().join(" ")
    }

    /// Runs the command to its end; says what could not be started.
    pub(crate) fn run(&self) -> bool {
        self.run_to(&[0])
    }

    /// Runs the command to its end, whether it is one of these; says what could not be started.
    pub(crate) fn run_to(&self, ends: &[i32]) -> bool {
        match self.command().current_dir(root()).status() {
            Ok(status) => status.code().is_some_and(|code| ends.contains(&code)),
            Err(error) => {
                eprintln!("error: `{}` does not start: {error}", self.shown());
                false
            }
        }
    }

    /// Runs the command in the caller's folder and ends as it does.
    pub(crate) fn hand_over(&self) -> ExitCode {
        match self.command().status() {
            Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
            Err(error) => {
                eprintln!("error: `{}` does not start: {error}", self.shown());
                ExitCode::FAILURE
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().copied());
        command
    }
}

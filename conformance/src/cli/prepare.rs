//! Building or installing what a target needs before its first start.

use std::process::Stdio;

use tokio::process::Command;

use crate::target::{Prepare, check_program};

use super::stop::Stop;

/// How many of the command's last lines are shown when it fails.
const LAST_LINES: usize = 15;

/// Runs the command, its output kept back unless it fails. The caller has looked whether there is anything to do.
pub(super) async fn run(prepare: &Prepare, target: &str) -> Result<(), Stop> {
    let (program, arguments) = prepare.command.split_first().expect("invariant: a command has a program");
    let shown = prepare.command.join(" ");
    let again = format!("--target {target}");
    check_program(program).map_err(|error| {
        Stop::target(format!("the target cannot be prepared with `{shown}`: {error}"), again.clone())
            .advise("install what is missing, or correct `prepare` in its target.toml")
    })?;
    let output = Command::new(program)
        .args(arguments)
        .current_dir(&prepare.folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| {
            Stop::target(format!("`{shown}`, which prepares the target, cannot be started: {error}"), again.clone())
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    let last: String = lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| format!("\n    {line}")).collect();
    Err(Stop::target(format!("`{shown}`, which prepares the target, ended with {}{last}", output.status), again)
        .advise(format!("run it by hand in {}", prepare.folder.display())))
}

//! Target processes: started in a group of their own, watched, and gone when they are dropped.
//!
//! A target may ignore signals, fork, flood its stderr or never exit. Nothing here waits for it without a limit, keeps more
//! than its last lines, or leaves a process behind.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::machine::Exit;

/// Lines of stderr that are kept, and bytes of each.
const KEPT: (usize, usize) = (20, 500);

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_millis(1000);

/// A process that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("`{program}` cannot be started: {why}")]
pub struct SpawnError {
    /// The program.
    pub program: String,
    /// What is wrong and what to do.
    pub why: String,
}

/// A running process, the leader of its group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Arc<Mutex<Tail>>,
    exit: Option<Exit>,
}

impl Process {
    /// Starts a program with these variables beside the environment of the harness.
    pub fn start(command: &[String], folder: &Path, variables: &[(&str, String)]) -> Result<Self, SpawnError> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(SpawnError { program: String::new(), why: "the command is empty".into() });
        };
        let path = resolve(program, folder);
        let mut builder = Command::new(&path);
        builder.args(arguments).current_dir(folder).process_group(0).kill_on_drop(true);
        builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["DUPLEX_TRANSPORT", "DUPLEX_ROLE", "DUPLEX_FRAMING", "DUPLEX_CODEC", "DUPLEX_LISTEN", "DUPLEX_CONNECT"] {
            builder.env_remove(name);
        }
        builder.envs(variables.iter().map(|(name, value)| (name, value)));
        let mut child =
            builder.spawn().map_err(|error| SpawnError { program: program.clone(), why: spawn_fault(&path, &error) })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let stderr = Arc::new(Mutex::new(Tail::default()));
        if let Some(pipe) = child.stderr.take() {
            tokio::spawn(keep_tail(pipe, Arc::clone(&stderr)));
        }
        Ok(Self { group, stdin: child.stdin.take(), stdout: child.stdout.take(), child, stderr, exit: None })
    }

    /// Its input and output, once.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.stdin.take().zip(self.stdout.take())
    }

    /// Its output, once; the input stays open.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Waits for its end. Can be given up and called again.
    pub async fn wait(&mut self) -> Exit {
        if let Some(exit) = &self.exit {
            return exit.clone();
        }
        let exit = match self.child.wait().await {
            Ok(status) => describe_exit(status),
            Err(error) => Exit { code: None, text: format!("an unknown status ({error})") },
        };
        self.exit = Some(exit.clone());
        exit
    }

    /// Ends its input and waits a little; what is still there then is killed. How it ended, unless it was killed.
    pub async fn stop(&mut self) -> Option<Exit> {
        self.stdin = None;
        let exit = tokio::time::timeout(GRACE, self.wait()).await.ok();
        self.kill();
        if exit.is_none() {
            let _killed = tokio::time::timeout(GRACE, self.wait()).await;
        }
        exit
    }

    /// Kills it and whatever it started.
    pub fn kill(&mut self) {
        if let Some(group) = self.group {
            // An error says that nobody is left.
            let _gone = kill_process_group(group, Signal::KILL);
        }
    }

    /// Its last lines on stderr.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program with a slash is meant from the target's folder, any other is looked up.
fn resolve(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { folder.join(program) } else { PathBuf::from(program) }
}

fn spawn_fault(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound if path.exists() => {
            "the file is there, but the interpreter that its first line names is not, or its folder is missing".into()
        }
        io::ErrorKind::NotFound => "there is no such program".into(),
        io::ErrorKind::PermissionDenied => "it is not executable: `chmod +x` it, or name its interpreter in the command".into(),
        // ENOEXEC has no kind of its own.
        _ if error.raw_os_error() == Some(8) => {
            "it is no program of this system: a script needs a first line such as `#!/usr/bin/env python3`".into()
        }
        _ => error.to_string(),
    }
}

fn describe_exit(status: ExitStatus) -> Exit {
    let text = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                2 => " (SIGINT)",
                4 => " (SIGILL)",
                6 => " (SIGABRT)",
                7 => " (SIGBUS)",
                8 => " (SIGFPE)",
                9 => " (SIGKILL)",
                11 => " (SIGSEGV)",
                13 => " (SIGPIPE)",
                15 => " (SIGTERM)",
                _ => "",
            };
            format!("signal {signal}{name}")
        }
        (None, None) => "an unknown status".to_owned(),
    };
    Exit { code: status.code(), text }
}

/// The last lines of a stream.
#[derive(Debug, Default)]
struct Tail {
    lines: VecDeque<String>,
    open: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                let line = std::mem::take(&mut self.open);
                if self.lines.len() == KEPT.0 {
                    self.lines.pop_front();
                }
                self.lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            } else if self.open.len() < KEPT.1 {
                self.open.push(byte);
            }
        }
    }

    fn lines(&self) -> Vec<String> {
        let open = (!self.open.is_empty()).then(|| String::from_utf8_lossy(&self.open).into_owned());
        self.lines.iter().cloned().chain(open).collect()
    }
}

async fn keep_tail(mut pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>) {
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut tail = Tail::default();
        for number in 0..50 {
            tail.push(format!("line {number}\n").as_bytes());
        }
        tail.push(&[b'x'; 10_000]);
        let lines = tail.lines();
        assert_eq!((lines.len(), lines[0].as_str(), lines[20].len()), (21, "line 30", 500));
    }
}

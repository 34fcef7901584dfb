//! Target processes: started in a group of their own, watched, and gone when they are dropped.
//!
//! A target may ignore signals, fork, flood its stderr or never exit. Nothing here waits for it without a limit, keeps more
//! than its last lines, or leaves a process behind: what left its group, as a daemon does, is known by its environment.

use std::collections::VecDeque;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::machine::Exit;

/// Lines of stderr that are kept, and bytes of each.
const KEPT: (usize, usize) = (20, 500);

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_millis(1000);

/// How long the last words of a process may take that has ended, and of one that goes on.
const LAST_WORDS: (Duration, Duration) = (Duration::from_millis(1000), Duration::from_millis(20));

/// The variable by which all is known that a process started. A target has no use for it.
const MARK: &str = "CONFORMANCE_PROCESS";

/// How often it is looked for what a process left behind, until nothing is: what is about to die is still there.
const SWEEPS: usize = 100;

/// Processes that were started.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// A process that cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("`{program}` cannot be started: {why}")]
pub struct SpawnError {
    /// The program.
    pub program: String,
    /// What is wrong and what to do.
    pub why: String,
    /// Whether it is the harness that has no room for a process.
    pub is_ours: bool,
}

/// A running process, the leader of its group.
#[derive(Debug)]
pub struct Process {
    child: Child,
    group: Option<Pid>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Arc<Mutex<Tail>>,
    /// Whether stderr has ended.
    has_said: watch::Receiver<bool>,
    exit: Option<Exit>,
    /// The value of [`MARK`] in everything that it started.
    mark: String,
    /// When it was started, as the system counts.
    born: Option<u64>,
    /// What reads its output. A process that outlives it may hold the other end.
    readers: Vec<AbortHandle>,
}

impl Process {
    /// Starts a program with these variables beside the environment of the harness.
    pub fn start(command: &[String], folder: &Path, variables: &[(&str, String)]) -> Result<Self, SpawnError> {
        let Some((program, arguments)) = command.split_first() else {
            return Err(SpawnError { program: String::new(), why: "the command is empty".into(), is_ours: false });
        };
        let path = resolve(program, folder);
        let mut builder = Command::new(&path);
        builder.args(arguments).current_dir(folder).process_group(0).kill_on_drop(true);
        builder.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in ["DUPLEX_TRANSPORT", "DUPLEX_ROLE", "DUPLEX_FRAMING", "DUPLEX_CODEC", "DUPLEX_LISTEN", "DUPLEX_CONNECT"] {
            builder.env_remove(name);
        }
        let mark = format!("{}.{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed));
        builder.envs(variables.iter().map(|(name, value)| (name, value))).env(MARK, &mark);
        let mut child = builder.spawn().map_err(|error| SpawnError {
            program: program.clone(),
            why: spawn_fault(&path, &error),
            is_ours: is_ours(&error),
        })?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let stderr = Arc::new(Mutex::new(Tail::default()));
        let (said, has_said) = watch::channel(false);
        let pipe = child.stderr.take();
        let reader = pipe.map(|pipe| tokio::spawn(keep_tail(pipe, Arc::clone(&stderr), said)).abort_handle());
        let readers = reader.into_iter().collect();
        let born = group.and_then(|id| listed::born(id.as_raw_pid()));
        Ok(Self {
            group,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            child,
            stderr,
            has_said,
            exit: None,
            mark,
            born,
            readers,
        })
    }

    /// Its input and output, once.
    pub fn take_pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.stdin.take().zip(self.stdout.take())
    }

    /// Its output, once; the input stays open.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// Reads output that nobody looks at, so that it does not fill the pipe.
    pub fn discard(&mut self, stdout: ChildStdout) {
        self.readers.push(tokio::spawn(discard(stdout)).abort_handle());
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
        if let Some(group) = self.group.take() {
            // An error says that nobody is left.
            let _gone = kill_process_group(group, Signal::KILL);
            sweep(&format!("{MARK}={}", self.mark), self.born);
        }
    }

    /// Its last lines on stderr, once it has had time to say them: a process that has ended has more than one that goes on.
    pub async fn last_words(&self, has_ended: bool) -> Vec<String> {
        let mut has_said = self.has_said.clone();
        let limit = if has_ended { LAST_WORDS.0 } else { LAST_WORDS.1 };
        // Whoever it left behind may hold stderr open.
        let _in_time = tokio::time::timeout(limit, has_said.wait_for(|said| *said)).await;
        self.stderr()
    }

    /// Its last lines on stderr so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).lines()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        self.readers.iter().for_each(AbortHandle::abort);
    }
}

/// Kills the processes that have this variable, which left the group of a process that was born then.
fn sweep(variable: &str, born: Option<u64>) {
    for _ in 0..SWEEPS {
        let (marked, is_sure) = listed::with_variable(variable.as_bytes(), born);
        for &id in &marked {
            let _gone = rustix::process::kill_process(id, Signal::KILL);
        }
        if marked.is_empty() && is_sure {
            return;
        }
        std::thread::yield_now();
    }
}

/// The processes of the system, by their environment.
#[cfg(target_os = "linux")]
mod listed {
    use std::fs;

    use rustix::process::Pid;

    /// The processes that have this variable in their environment, and whether these are all. One that is just becoming another
    /// program has no environment for a moment; it counts if it is younger than this.
    pub(super) fn with_variable(variable: &[u8], born: Option<u64>) -> (Vec<Pid>, bool) {
        let (mut marked, mut is_sure) = (Vec::new(), true);
        let processes = fs::read_dir("/proc").into_iter().flatten();
        for id in processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok()) {
            // One that is gone meanwhile, and one of somebody else, cannot be read.
            let Ok(environment) = fs::read(format!("/proc/{id}/environ")) else { continue };
            if environment.split(|&byte| byte == 0).any(|one| one == variable) {
                marked.extend(Pid::from_raw(id));
            } else if environment.is_empty() {
                is_sure &= !state(id).is_some_and(|(state, start)| state != 'Z' && born.is_some_and(|born| start >= born));
            }
        }
        (marked, is_sure)
    }

    /// When a process was started.
    pub(super) fn born(id: i32) -> Option<u64> {
        state(id).map(|(_, start)| start)
    }

    /// The state of a process, `Z` for one that has ended, and when it was started.
    fn state(id: i32) -> Option<(char, u64)> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name before may hold anything, parentheses as well.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        Some((fields.next()?.chars().next()?, fields.nth(18)?.parse().ok()?))
    }
}

/// Where processes cannot be listed, nothing is known of those that left their group.
#[cfg(not(target_os = "linux"))]
mod listed {
    use rustix::process::Pid;

    pub(super) fn with_variable(_variable: &[u8], _born: Option<u64>) -> (Vec<Pid>, bool) {
        (Vec::new(), true)
    }

    pub(super) fn born(_id: i32) -> Option<u64> {
        None
    }
}

/// A program with a slash is meant from the target's folder, any other is looked up.
fn resolve(program: &str, folder: &Path) -> PathBuf {
    if program.contains('/') { folder.join(program) } else { PathBuf::from(program) }
}

/// Whether an error says that the harness has run out of something: descriptors, memory, processes.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    errno.is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN].contains(&errno))
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

async fn discard(mut stdout: ChildStdout) {
    let mut buffer = vec![0; 8192];
    while let Ok(1..) = stdout.read(&mut buffer).await {}
}

async fn keep_tail(mut pipe: impl AsyncRead + Unpin, tail: Arc<Mutex<Tail>>, has_said: watch::Sender<bool>) {
    let mut buffer = vec![0; 8192];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        tail.lock().unwrap_or_else(PoisonError::into_inner).push(&buffer[..count]);
    }
    has_said.send_replace(true);
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

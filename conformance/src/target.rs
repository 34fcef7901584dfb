//! What `--target` can name, and how it is started. Starting it is the run's business.
//!
//! Finding a target reads files and looks at permissions, so that every mistake is told before anything starts; it never
//! runs a program.

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::select::nearest;
use crate::toml_file::{self, TomlError};

/// An implementation under test.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name in reports.
    pub name: String,
    /// How to reach it.
    pub kind: TargetKind,
}

/// How a target is reached.
#[derive(Clone, Debug)]
pub enum TargetKind {
    /// A program, started for each configuration, its settings in `DUPLEX_` variables.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// The folder that it runs in.
        folder: PathBuf,
    },
    /// A peer that runs already and accepts connections. Its framing and codec are what the run asks for.
    Address(SocketAddr),
}

/// What `--target` named, with what stands beside the target.
#[derive(Clone, Debug)]
pub struct Found {
    /// How the run reaches it.
    pub target: Target,
    /// What must have run before it starts.
    pub prepare: Option<Prepare>,
    /// Its known-failures file, which need not exist. Only a target with a `target.toml` has one.
    pub known_failures: Option<PathBuf>,
    /// Where the implementation lives.
    pub homepage: Option<String>,
}

/// A command that builds or installs what the target needs.
#[derive(Clone, Debug)]
pub struct Prepare {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The folder that it runs in.
    pub folder: PathBuf,
    /// If this exists, there is nothing to do.
    pub unless: PathBuf,
}

/// `target.toml`: how a target is started.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetFile {
    /// Its name in reports. The folder's name by default.
    name: Option<String>,
    /// The program and its arguments, run in the file's folder.
    command: Vec<String>,
    /// What to run in the folder before the first start.
    prepare: Option<Vec<String>>,
    /// The path, relative to the folder, that shows that `prepare` has run.
    #[serde(default = "prepared")]
    prepared: String,
    /// The known-failures file, relative to the folder.
    #[serde(default = "known_failures")]
    known_failures: String,
    /// Where the implementation lives.
    homepage: Option<String>,
}

fn prepared() -> String {
    "prepared".to_owned()
}

fn known_failures() -> String {
    "known-failures.toml".to_owned()
}

/// Where targets are looked for.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The folder that relative paths start from.
    pub current: PathBuf,
    /// The folder of the targets that ship with the harness, if there is one.
    pub shipped: Option<PathBuf>,
    /// The folder of the harness's own executable: `{exe_dir}` in a command.
    pub exe_dir: PathBuf,
}

impl Surroundings {
    /// The process's own: the shipped targets are `conformance/targets` in the current folder or one above it, else where
    /// the harness was built.
    pub fn of_process() -> io::Result<Self> {
        let current = std::env::current_dir()?;
        let exe = std::env::current_exe()?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("targets");
        let shipped =
            current.ancestors().map(|folder| folder.join("conformance/targets")).chain([built]).find(|folder| folder.is_dir());
        let exe_dir = exe.parent().map_or_else(|| current.clone(), Path::to_path_buf);
        Ok(Self { current, shipped, exe_dir })
    }

    /// The names of the targets that ship with the harness, sorted.
    #[must_use]
    pub fn shipped_names(&self) -> Vec<String> {
        let entries = self.shipped.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| entry.path().join("target.toml").is_file())
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Finds what `--target` names: `tcp://host:port`, a path, or a shipped target.
    ///
    /// A word without a slash is a shipped target first and a path second.
    pub fn find(&self, named: &str) -> Result<Found, TargetError> {
        if let Some(address) = named.strip_prefix("tcp://") {
            return at_address(named, address);
        }
        if named.contains("://") {
            return Err(TargetError::Scheme { named: named.to_owned() });
        }
        let is_word = !named.contains('/');
        if let Some(folder) = self.shipped.as_ref().filter(|_| is_word).map(|shipped| shipped.join(named))
            && folder.join("target.toml").is_file()
        {
            return self.described_by(&folder.join("target.toml"));
        }
        // Taken apart and put together again, so that no `/./` stands in messages.
        let path: PathBuf = self.current.join(named).components().collect();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {
                let file = path.join("target.toml");
                if file.is_file() {
                    self.described_by(&file)
                } else {
                    Err(TargetError::NoTargetFile { folder: named.to_owned() })
                }
            }
            Ok(_) if path.extension().is_some_and(|extension| extension == "toml") => self.described_by(&path),
            Ok(_) if is_executable(&path) => {
                let command = vec![path.to_string_lossy().into_owned()];
                let target =
                    Target { name: named.to_owned(), kind: TargetKind::Command { command, folder: self.current.clone() } };
                Ok(Found { target, prepare: None, known_failures: None, homepage: None })
            }
            Ok(_) => Err(TargetError::NotExecutable { path: named.to_owned() }),
            Err(_) if is_word => {
                let shipped = self.shipped_names();
                let near = nearest(named, shipped.iter().map(String::as_str), 1).first().map(|&name| name.to_owned());
                Err(TargetError::UnknownName { named: named.to_owned(), shipped, near })
            }
            Err(source) => Err(TargetError::NoFile { path: named.to_owned(), source }),
        }
    }

    fn described_by(&self, path: &Path) -> Result<Found, TargetError> {
        let file: TargetFile = toml_file::read(path)?;
        let folder = path.parent().map_or_else(|| self.current.clone(), Path::to_path_buf);
        let prepare = file
            .prepare
            .map(|command| self.command(path, "prepare", command, &folder))
            .transpose()?
            .map(|command| Prepare { command, folder: folder.clone(), unless: folder.join(&file.prepared) });
        let command = self.command(path, "command", file.command, &folder)?;
        let folder_name = || folder.file_name().map_or_else(|| "target".to_owned(), |name| name.to_string_lossy().into_owned());
        let name = file.name.unwrap_or_else(folder_name);
        let known_failures = Some(folder.join(&file.known_failures));
        let target = Target { name, kind: TargetKind::Command { command, folder } };
        Ok(Found { target, prepare, known_failures, homepage: file.homepage })
    }

    /// The command with its program made absolute: one with a slash stands relative to the folder, else in `PATH`.
    fn command(&self, file: &Path, key: &'static str, words: Vec<String>, folder: &Path) -> Result<Vec<String>, TargetError> {
        let exe_dir = self.exe_dir.to_string_lossy();
        let mut words: Vec<String> = words.into_iter().map(|word| word.replace("{exe_dir}", &exe_dir)).collect();
        let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
            return Err(TargetError::NoCommand { file: file.to_path_buf(), key });
        };
        if program.contains('/') {
            *program = folder.join(&*program).components().collect::<PathBuf>().to_string_lossy().into_owned();
        }
        Ok(words)
    }
}

impl Found {
    /// Looks whether the target's program is there. A command that `prepare` makes exists only afterwards.
    pub fn check_program(&self) -> Result<(), ProgramError> {
        match &self.target.kind {
            TargetKind::Command { command, .. } => check_program(command.first().map_or("", String::as_str)),
            TargetKind::Address(_) => Ok(()),
        }
    }
}

/// Whether a program exists and may be run; without a slash it is looked up in `PATH`.
pub fn check_program(program: &str) -> Result<(), ProgramError> {
    let path = Path::new(program);
    if program.contains('/') {
        return match fs::metadata(path) {
            Ok(metadata) if metadata.is_file() && is_executable(path) => Ok(()),
            Ok(_) => Err(ProgramError::NotExecutable(program.to_owned())),
            Err(_) => Err(ProgramError::NoFile(program.to_owned())),
        };
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths).any(|folder| is_executable(&folder.join(program)));
    if found { Ok(()) } else { Err(ProgramError::NotInPath(program.to_owned())) }
}

fn at_address(named: &str, address: &str) -> Result<Found, TargetError> {
    let resolved = address.to_socket_addrs().ok().and_then(|mut all| all.next());
    match resolved.filter(|address| address.port() != 0) {
        Some(address) => {
            let target = Target { name: named.to_owned(), kind: TargetKind::Address(address) };
            Ok(Found { target, prepare: None, known_failures: None, homepage: None })
        }
        None => Err(TargetError::Address { named: named.to_owned() }),
    }
}

#[cfg(unix)]
fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(path: &Path) -> bool {
    path.is_file() || path.with_extension("exe").is_file()
}

/// Why `--target` names nothing that can be run.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A path that leads nowhere.
    #[error("`{path}`: {source}")]
    NoFile {
        /// As it was given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// A file that is no program.
    #[error("`{path}` is a file that may not be executed")]
    NotExecutable {
        /// As it was given.
        path: String,
    },
    /// A folder without `target.toml`.
    #[error("the folder `{folder}` has no `target.toml`")]
    NoTargetFile {
        /// As it was given.
        folder: String,
    },
    /// A word that is no shipped target and no file.
    #[error("`{named}` is neither a target that ships with the harness nor a file")]
    UnknownName {
        /// As it was given.
        named: String,
        /// The targets that there are.
        shipped: Vec<String>,
        /// The most similar of them.
        near: Option<String>,
    },
    /// Not an address.
    #[error("`{named}` is no address: it takes a host and a port, and the host must resolve")]
    Address {
        /// As it was given.
        named: String,
    },
    /// An address of another kind.
    #[error("`{named}`: only `tcp://host:port` is an address that a target can have")]
    Scheme {
        /// As it was given.
        named: String,
    },
    /// A `target.toml` that cannot be read.
    #[error(transparent)]
    File(#[from] TomlError),
    /// A command without a program.
    #[error("{file}: `{key}` needs a program as its first element", file = file.display())]
    NoCommand {
        /// The `target.toml`.
        file: PathBuf,
        /// The key at fault.
        key: &'static str,
    },
}

impl TargetError {
    /// What to do about it, in one sentence.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::NoFile { .. } => "give the path of an executable, or of a folder with a `target.toml`".to_owned(),
            Self::NotExecutable { path } => format!(
                "make it executable (`chmod +x {path}`), or put a `target.toml` beside it: command = [\"python3\", \"{}\"]",
                Path::new(path).file_name().map_or_else(|| path.clone(), |name| name.to_string_lossy().into_owned())
            ),
            Self::NoTargetFile { folder } => {
                format!("write {}/target.toml: command = [\"python3\", \"adapter.py\"]", folder.trim_end_matches('/'))
            }
            Self::UnknownName { shipped, near, .. } => {
                let near = near.as_ref().map_or_else(String::new, |near| format!("did you mean `{near}`? "));
                let list = if shipped.is_empty() { "none".to_owned() } else { shipped.join(", ") };
                format!("{near}targets that ship: {list}; a path needs a slash (`./my-peer`)")
            }
            Self::Address { .. } | Self::Scheme { .. } => "write it as `tcp://127.0.0.1:7000`".to_owned(),
            Self::File(_) => {
                "it has command = [\"program\", \"argument\"], and may have name, prepare, prepared, known_failures, homepage"
                    .to_owned()
            }
            Self::NoCommand { .. } => "write command = [\"node\", \"adapter.js\"]".to_owned(),
        }
    }
}

/// Why a target's program cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// A path that leads nowhere.
    #[error("the target's program `{0}` does not exist")]
    NoFile(String),
    /// A file or folder that is no program.
    #[error("the target's program `{0}` may not be executed")]
    NotExecutable(String),
    /// A name that `PATH` does not have.
    #[error("the target's program `{0}` is in no folder of PATH")]
    NotInPath(String),
}

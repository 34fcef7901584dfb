//! What `--target` can name, and how it is started. Starting it is the run's business.

use std::net::SocketAddr;
use std::path::PathBuf;

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

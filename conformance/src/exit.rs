//! The exit statuses of the command, which scripts may rely on. A count of failures is never one of them.

/// Everything that ran held, known failures aside.
pub const HELD: u8 = 0;
/// A check failed, a known-failures entry is out of date, or, with `--strict`, a warning came.
pub const FAILED: u8 = 1;
/// The command line, a `target.toml` or a known-failures file is wrong, or the selection leaves nothing to run.
pub const USAGE: u8 = 2;
/// The target could not be prepared, started or asked what it claims.
pub const TARGET: u8 = 3;
/// The harness or a vector is wrong. Never the target's fault.
pub const HARNESS: u8 = 4;
/// Interrupted from the keyboard, as shells count it.
pub const INTERRUPTED: u8 = 130;

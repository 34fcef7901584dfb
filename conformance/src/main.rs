//! The `duplex-conformance` command. All of it is in the library, where tests can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    duplex_conformance::cli::main()
}

//! The `duplex-book` command: builds the spec book, or builds and shows it. The work is the library's.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::{Parser, Subcommand};
use duplex_book::serve::{Pages, watch};

/// Builds the Duplex spec book.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// The repository: `book`, `vectors` and `spec` below it are read.
    #[arg(long, global = true, default_value = ".")]
    root: PathBuf,
    /// Where the pages go. Emptied first. [default: target/book below the root]
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Builds the book once, and checks it. Exit status 1: something does not hold.
    Build,
    /// Builds the book, shows it on 127.0.0.1, and builds it again whenever a source changes.
    Serve {
        /// The port; 0 takes a free one.
        #[arg(long, default_value_t = 4100)]
        port: u16,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = cli.out.unwrap_or_else(|| cli.root.join("target/book"));
    match cli.verb {
        Verb::Build => build(&cli.root, &out),
        Verb::Serve { port } => serve(cli.root, out, port),
    }
}

fn build(root: &Path, out: &Path) -> ExitCode {
    match duplex_book::build(root, out) {
        Ok(report) => {
            eprintln!("{}: {report}", out.join("index.html").display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            for line in error.to_string().lines() {
                eprintln!("error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn serve(root: PathBuf, out: PathBuf, port: u16) -> ExitCode {
    let listener = match TcpListener::bind(("127.0.0.1", port)) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("error: 127.0.0.1:{port}: {error}. Choose another --port, or 0.");
            return ExitCode::FAILURE;
        }
    };
    match listener.local_addr() {
        Ok(address) => eprintln!("http://{address}/"),
        Err(error) => eprintln!("error: {error}"),
    }
    let pages = Arc::new(Pages::new(out));
    let watched = Arc::clone(&pages);
    thread::spawn(move || {
        let rebuild = || {
            watched.rebuild(|out| build(&root, out));
        };
        rebuild();
        let sources =
            ["book/src", "book/theme", "book/book.toml", "vectors", "spec/schemas", "conformance/mutants", "conformance/results"]
                .map(|path| root.join(path));
        watch(&sources, rebuild)
    });
    match pages.serve(&listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

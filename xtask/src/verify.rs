//! `cargo xtask test`: everything that CI runs, as a list.
//!
//! A step that fails does not stop the others: one run shows all that is wrong.

use std::process::ExitCode;
use std::time::Instant;

use crate::step::{Step, cargo, cargo_build, program};
use crate::{fuzz, tidy};

/// What a step is that runs the suite.
const AGAINST: &str = "the suite against this target, its known failures listed with reasons";
/// A target of Rust without files, sockets, threads and clocks.
const WASM: &str = "wasm32-unknown-unknown";

/// A named part of the test run.
struct Part {
    name: &'static str,
    what: &'static str,
    does: Does,
}

enum Does {
    Own(fn() -> bool),
    Steps(Vec<Step>),
    /// What has to be there first, and the steps. Where it cannot be had, they are left out, and the run says so.
    With(Step, Vec<Step>),
}

/// How a part ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    LeftOut,
}

fn parts() -> Vec<Part> {
    let part = |name, what, steps| Part { name, what, does: Does::Steps(steps) };
    let target = |name: &'static str, narrowed: &[&str]| {
        part(
            name,
            AGAINST,
            vec![
                cargo_build(&["duplex-conformance", "duplex-target-reference"]),
                program("duplex-conformance").args(["--target", name]).args(narrowed),
            ],
        )
    };
    vec![
        Part { name: "tidy", what: "the rules of the house", does: Does::Own(tidy::run) },
        part("format", "rustfmt", vec![cargo(["fmt", "--all", "--check"])]),
        part("codegen", "generated files are fresh", crate::codegen(&["--check".to_owned()])),
        part(
            "lint",
            "clippy, with warnings as errors",
            vec![cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])],
        ),
        part(
            "unit",
            "every crate's tests, one of them for each session against the reference peer",
            vec![cargo(["test", "--workspace", "--quiet", "--no-fail-fast"])],
        ),
        Part {
            name: "fuzz",
            what: "random bytes, some seconds for each decoder and a whole connection",
            does: Does::Own(fuzz::briefly),
        },
        part(
            "golden",
            "golden bytes, confirmed by encoders that are not ours",
            vec![Step::new("python3").args(["vectors/confirm.py", "--install"])],
        ),
        part(
            "coverage",
            "every rule has a check that decides it, or a reason why none can",
            vec![cargo_build(&["duplex-conformance"]), program("duplex-conformance").args(["coverage", "--unproved"])],
        ),
        target("reference", &[]),
        // A process for every session that cannot share one is most of what STDIO costs an interpreter.
        target("python", &["--transport", "tcp"]),
        Part {
            name: "perl",
            what: AGAINST,
            // Whether this Perl is new enough, and has what the target uses.
            does: Does::With(
                Step::new("perl").args(["-c", "conformance/targets/perl/target.pl"]),
                vec![
                    cargo_build(&["duplex-conformance"]),
                    program("duplex-conformance").args(["--target", "perl", "--transport", "tcp"]),
                ],
            ),
        },
        target("python-minimal", &[]),
        target("python-afternoon", &[]),
        target("published-javascript", &["--transport", "tcp", "--jobs", "8"]),
        target("published-go", &["--transport", "tcp", "--framing", "length", "--jobs", "8"]),
        // What it does not answer is most of it, and each of those waits for its time limit.
        target("published-python", &["--transport", "tcp", "--framing", "length", "--jobs", "24"]),
        Part {
            name: "wasm",
            what: "the core builds where there is no system: wasm32",
            does: Does::With(
                Step::new("rustup").args(["target", "add", WASM]),
                vec![cargo(["check", "--quiet", "--package", "duplex-proto", "--target", WASM])],
            ),
        },
        part(
            "book",
            "the book builds, its links and examples hold",
            vec![cargo_build(&["duplex-book"]), program("duplex-book").args(["build"])],
        ),
        part(
            "doc",
            "the crates' documentation builds",
            vec![cargo(["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings")],
        ),
    ]
}

/// Runs the parts that `args` name, or all.
pub(crate) fn run(args: &[String]) -> ExitCode {
    let parts = parts();
    if args.iter().any(|arg| arg == "--list") {
        parts.iter().for_each(list);
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = args.iter().find(|arg| parts.iter().all(|part| part.name != **arg)) {
        eprintln!("error: there is no step `{unknown}`; `cargo xtask test --list` names them");
        return ExitCode::from(2);
    }
    let chosen: Vec<&Part> = parts.iter().filter(|part| args.is_empty() || args.iter().any(|arg| arg == part.name)).collect();
    let (mut failed, mut left_out) = (Vec::new(), Vec::new());
    for (index, part) in chosen.iter().enumerate() {
        eprintln!("\n== [{}/{}] {}: {}", index + 1, chosen.len(), part.name, part.what);
        let start = Instant::now();
        let end = part.run();
        let word = match end {
            End::Passed => "passed",
            End::Failed => "FAILED",
            End::LeftOut => "LEFT OUT",
        };
        eprintln!("== {} {word} in {:.1} s", part.name, start.elapsed().as_secs_f64());
        match end {
            End::Passed => {}
            End::Failed => failed.push(part.name),
            End::LeftOut => left_out.push(part.name),
        }
    }
    if !failed.is_empty() {
        eprintln!("\nfailed: {}\nrun one again: cargo xtask test {}", failed.join(", "), failed[0]);
    }
    if !left_out.is_empty() {
        eprintln!("\nleft out, since this machine cannot get what they need: {}", left_out.join(", "));
    }
    let passed = chosen.len() - failed.len() - left_out.len();
    eprintln!("\n{passed} passed, {} failed, {} left out", failed.len(), left_out.len());
    crate::status(failed.is_empty())
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn list(part: &Part) {
    println!("{:<22} {}", part.name, part.what);
}

impl Part {
    fn run(&self) -> End {
        let shown = |step: &Step| {
            eprintln!("$ {}", step.shown());
            step.run()
        };
        let held = match &self.does {
            Does::Own(run) => run(),
            Does::Steps(steps) => steps.iter().all(shown),
            Does::With(wanted, _) if !shown(wanted) => return End::LeftOut,
            Does::With(_, steps) => steps.iter().all(shown),
        };
        if held { End::Passed } else { End::Failed }
    }
}

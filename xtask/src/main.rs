//! The developer's verbs: `cargo xtask <verb>`.
//!
//! Thin on purpose: it compiles in seconds, and every verb that does real work is a program of the crate that the work
//! belongs to. What lives here is the order of things (`test`) and the rules of the house (`tidy`).

mod fuzz;
mod step;
mod tidy;
mod verify;

use std::fs;
use std::process::ExitCode;

use step::{Step, beside, cargo, cargo_build, program, root};

const HELP: &str = "\
The developer's verbs of Duplex.

Usage: cargo xtask <verb> [arguments]

  conformance [...]   checks an implementation; the built-in reference peer unless --target names another.
                      All arguments go to the harness: `cargo xtask conformance --help`
  test                everything that CI runs, in the order in which it fails soonest; a step whose tools this machine
                      cannot get is left out, and the last lines name it
  test --list         the steps of `test`, without running them
  test <step>...      only these steps
  book [--serve]      builds the spec book into target/book; --serve shows it and rebuilds it on every change
  compare [target]... runs the suite on the implementations that the book compares, and keeps what came out in
                      conformance/results; minutes, since broken peers are started again and again
  codegen [--check]   writes what is generated from the book and the types: rules, schemas
  coverage            every rule beside the checks that decide it; fails on a rule without one
  mutants [...]       runs peers that are wrong in one way each against the checks of the rule that they break, and says
                      which caught them; with arguments of its own: `cargo xtask mutants --help`
  fuzz [target]       feeds random bytes to the reference peer's core, 10 seconds for each target: json, msgpack, frames,
                      connection; --seconds N for longer; an input behind the target runs that one again. Wants a C++ compiler
  bench [part]        speed and cost of the reference peer beside other RPC stacks, and of the harness beside the frames
                      that it exchanges; `peer` or `harness` is one of the two. Wants a quiet machine; the peer's is a large build
  tidy                the rules of the house: arrows between crates, file heads, links, rule citations
  bless               rewrites generated files and snapshots; review the diff before you commit it

Exit status: 0 done, 1 a check failed, 2 wrong usage; `conformance` has its own, which its --help lists.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match args.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", &[][..]),
    };
    let asks_for_help = rest.iter().any(|arg| ["--help", "-h"].contains(&arg.as_str()));
    match verb {
        "help" | "--help" | "-h" => overview(),
        // The harness has pages of its own.
        "test" | "book" | "compare" | "codegen" | "fuzz" | "bench" | "tidy" | "bless" if asks_for_help => overview(),
        "tidy" | "bless" if !rest.is_empty() => wrong_usage(&format!("`{verb}` takes nothing")),
        "conformance" => conformance(rest),
        "test" => verify::run(rest),
        "book" => book(rest),
        "compare" => compare(rest),
        "codegen" => status(codegen(rest).iter().all(Step::run)),
        "coverage" => harness("coverage", rest),
        "mutants" if rest.is_empty() => harness("mutants", &["--quick".to_owned()]),
        "mutants" => harness("mutants", rest),
        "fuzz" => fuzz::run(rest),
        "bench" => bench(rest),
        "tidy" => status(tidy::run()),
        "bless" => status(bless().iter().all(Step::run)),
        _ => wrong_usage(&format!("there is no verb `{verb}`\n\n{HELP}")),
    }
}

#[expect(clippy::print_stdout, reason = "help that was asked for")]
fn overview() -> ExitCode {
    print!("{HELP}");
    ExitCode::SUCCESS
}

fn wrong_usage(error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(2)
}

/// Builds the harness, and the reference peer's target where it can be needed, and hands over.
fn conformance(args: &[String]) -> ExitCode {
    let mut packages = vec!["duplex-conformance"];
    if needs_reference(args) {
        packages.push("duplex-target-reference");
    }
    if !cargo_build(&packages).run() {
        return ExitCode::from(4);
    }
    program("duplex-conformance").args(args).hand_over()
}

/// What the book's comparison is made of: each target in the same configurations. A run that fails is a result, too; a
/// target that cannot be run keeps its last one, and the others are measured all the same.
fn compare(args: &[String]) -> ExitCode {
    const TARGETS: [&str; 6] = ["reference", "python", "perl", "published-javascript", "published-python", "published-go"];
    if let Some(unknown) = args.iter().find(|arg| !TARGETS.contains(&arg.as_str())) {
        return wrong_usage(&format!("the book does not compare `{unknown}`; it compares {}", TARGETS.join(", ")));
    }
    if !cargo_build(&["duplex-conformance", "duplex-target-reference"]).run() {
        return ExitCode::FAILURE;
    }
    let is_wanted = |target: &&str| args.is_empty() || args.iter().any(|arg| arg == target);
    let unmeasured: Vec<&str> = TARGETS.into_iter().filter(is_wanted).filter(|target| !measure(target)).collect();
    if !unmeasured.is_empty() {
        eprintln!("error: not measured, so conformance/results is as it was for: {}", unmeasured.join(", "));
    }
    status(unmeasured.is_empty())
}

/// Runs a target and keeps what came out. Of a run that never began nothing comes, and its report is no file.
fn measure(target: &str) -> bool {
    let fresh = beside(&format!("{target}.results.json"));
    let report = format!("results={}", fresh.display());
    // Of a broken peer most is waiting for what never comes: workers wait side by side.
    let run = ["--transport", "tcp", "--framing", "length", "--codec", "json", "--timeout", "10", "--jobs", "12"];
    let step = program("duplex-conformance").args(["--target", target]).args(run).args(["--report", &report]);
    eprintln!("$ {}", step.shown());
    step.run_to(&[0, 1]) && {
        let kept = root().join(format!("conformance/results/{target}.json"));
        fs::copy(&fresh, &kept).map_err(|error| eprintln!("error: {}: {error}", kept.display())).is_ok()
    }
}

/// A verb that is a command of the harness.
fn harness(verb: &str, args: &[String]) -> ExitCode {
    if !cargo_build(&["duplex-conformance", "duplex-target-reference"]).run() {
        return ExitCode::from(4);
    }
    program("duplex-conformance").args([verb]).args(args).hand_over()
}

/// Whether the arguments can lead to the built-in target: they name it, or name none.
fn needs_reference(args: &[String]) -> bool {
    let named: Vec<&str> = args
        .iter()
        .enumerate()
        .filter_map(|(index, arg)| match arg.as_str() {
            "--target" => args.get(index + 1).map(String::as_str),
            _ => arg.strip_prefix("--target="),
        })
        .collect();
    named.is_empty() || named.iter().any(|name| name.trim_end_matches('/').rsplit('/').next() == Some("reference"))
}

/// Measures. The peer's competitors are no part of the workspace: nobody who builds or tests Duplex needs them.
fn bench(args: &[String]) -> ExitCode {
    let (of_peer, of_harness) = match args {
        [] => (true, true),
        [what] if what == "peer" => (true, false),
        [what] if what == "harness" => (false, true),
        _ => return wrong_usage("`bench` takes nothing, or `peer`, or `harness`"),
    };
    let harness = || {
        cargo_build(&["duplex-conformance", "duplex-target-reference"]).run()
            && program("duplex-conformance").args(["bench"]).run()
    };
    let peer = || {
        cargo(["run", "--quiet", "--release", "--manifest-path", "bench/Cargo.toml", "--target-dir", "target/bench", "--"])
            .args(["--write", "bench/results.json"])
            .run()
    };
    status((!of_harness || harness()) && (!of_peer || peer()))
}

fn book(args: &[String]) -> ExitCode {
    if !cargo_build(&["duplex-book"]).run() {
        return ExitCode::FAILURE;
    }
    match args {
        [] => program("duplex-book").args(["build"]).hand_over(),
        [flag] if flag == "--serve" => program("duplex-book").args(["serve"]).hand_over(),
        _ => wrong_usage("`book` takes nothing, or --serve"),
    }
}

/// The programs that write generated files; each takes `--check`.
fn codegen(args: &[String]) -> Vec<Step> {
    [("duplex-spec", "duplex-spec-codegen"), ("duplex-vectors", "duplex-vectors-codegen")]
        .iter()
        .map(|(package, bin)| cargo(["run", "--quiet", "--package", package, "--bin", bin, "--"]).args(args))
        .collect()
}

fn bless() -> Vec<Step> {
    let mut steps = codegen(&[]);
    steps.push(cargo(["test", "--workspace", "--quiet"]).env("INSTA_UPDATE", "always").env("DUPLEX_BLESS", "1"));
    steps
}

fn status(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::needs_reference;

    #[test]
    fn only_the_built_in_target_needs_the_reference_peer() {
        let needs = |line: &str| needs_reference(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(needs(""));
        assert!(needs("--filter call"));
        assert!(needs("--target reference"));
        assert!(needs("--target=conformance/targets/reference/"));
        assert!(!needs("--target ./my-peer"));
        assert!(!needs("--target tcp://127.0.0.1:9000 --filter reference"));
    }
}

//! `cargo xtask fuzz`: builds the fuzz targets with coverage, gives them the vectors to begin with, and runs them for a while.
//!
//! libFuzzer on the plain stable toolchain: the instrumentation is LLVM's, and rustc passes it on. What this needs besides Rust
//! is a C++ compiler. Nothing is kept outside `target/fuzz`: what a run finds becomes a vector.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use serde_json::Value;

use crate::step::{Step, cargo, root};

/// What `cargo fuzz` asks for without a sanitizer; cargo keeps it from build scripts, since a target is named.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

const TARGETS: [&str; 4] = ["json", "msgpack", "frames", "connection"];

/// Seconds for each target, when nobody says more.
const SECONDS: u32 = 10;

/// What somebody wants to run.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    targets: Vec<&'static str>,
    seconds: u32,
    /// One input, to see again what it does.
    input: Option<&'a str>,
}

pub(crate) fn run(args: &[String]) -> ExitCode {
    match parse(args) {
        Ok(wanted) => crate::status(fuzz(&wanted)),
        Err(error) => {
            eprintln!(
                "error: {error}\n\nusage: cargo xtask fuzz [target] [--seconds N]\n       cargo xtask fuzz <target> <input>"
            );
            ExitCode::from(2)
        }
    }
}

/// The part of `cargo xtask test`: long enough to come by what a change breaks, short enough to wait for.
pub(crate) fn briefly() -> bool {
    fuzz(&Wanted { targets: TARGETS.to_vec(), seconds: 4, input: None })
}

fn parse(args: &[String]) -> Result<Wanted<'_>, String> {
    let mut wanted = Wanted { targets: TARGETS.to_vec(), seconds: SECONDS, input: None };
    let mut rest = args.iter().map(String::as_str).peekable();
    if let Some(name) = rest.next_if(|arg| !arg.starts_with('-')) {
        let known = TARGETS.iter().find(|target| **target == name);
        let known = known.ok_or_else(|| format!("there is no target `{name}`; there are {}", TARGETS.join(", ")))?;
        wanted.targets = vec![known];
        wanted.input = rest.next_if(|arg| !arg.starts_with('-'));
    }
    while let Some(arg) = rest.next() {
        let seconds = match arg {
            "--seconds" => rest.next().unwrap_or_default(),
            _ => arg.strip_prefix("--seconds=").ok_or_else(|| format!("`{arg}` means nothing here"))?,
        };
        let parsed = seconds.parse().ok().filter(|seconds| *seconds > 0);
        wanted.seconds = parsed.ok_or_else(|| format!("`{seconds}` is no number of seconds"))?;
    }
    Ok(wanted)
}

fn fuzz(wanted: &Wanted<'_>) -> bool {
    let Some(program) = build() else { return false };
    if let (Some(input), [target]) = (wanted.input, &wanted.targets[..]) {
        let input = std::path::absolute(input).unwrap_or_else(|_| input.into());
        return Step::new(&program).env("DUPLEX_FUZZ_TARGET", target).args([input.display().to_string()]).run();
    }
    // One that fails does not stop the others.
    wanted.targets.iter().filter(|target| !fuzz_target(&program, target, wanted.seconds)).count() == 0
}

fn fuzz_target(program: &Path, target: &str, seconds: u32) -> bool {
    let folder = |kind: &str| root().join("target/fuzz").join(kind).join(target);
    let (corpus, found) = (folder("corpus"), folder("found"));
    let ran = fs::create_dir_all(&found).and_then(|()| seed(target, &corpus)).and_then(|()| {
        let mut command = Command::new(program);
        command.env("DUPLEX_FUZZ_TARGET", target).arg(&corpus);
        command.arg(format!("-artifact_prefix={}/", found.display())).arg(format!("-max_total_time={seconds}"));
        // A hang is a finding too.
        command.args(["-timeout=10", "-print_final_stats=1"]).output()
    });
    match ran {
        Ok(output) => {
            let log = String::from_utf8_lossy(&output.stderr);
            eprintln!("fuzz: {target}: {}", summary(&log));
            if !output.status.success() {
                tell(target, &log);
            }
            output.status.success()
        }
        Err(error) => {
            eprintln!("error: `{target}` cannot be run: {error}");
            false
        }
    }
}

/// What a run comes to: executions, and what of the code they came by.
fn summary(log: &str) -> String {
    let executions = log.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or("?");
    let last = log.lines().rfind(|line| line.contains(" cov: ")).unwrap_or_default();
    let word = |name: &str| last.split_whitespace().skip_while(|word| *word != name).nth(1).unwrap_or("?");
    format!("{} executions, {} edges of the code, {} features", executions.trim(), word("cov:"), word("ft:"))
}

fn tell(target: &str, log: &str) {
    // Its progress says nothing here.
    log.lines().filter(|line| !line.starts_with('#') && !line.starts_with("INFO")).for_each(|line| eprintln!("{line}"));
    eprintln!("\nfuzz: `{target}` FAILED");
    if let Some(input) = log.lines().find_map(|line| line.split("Test unit written to ").nth(1)) {
        let input = Path::new(input).strip_prefix(root()).unwrap_or(Path::new(input)).display();
        eprintln!("the input: {input}\nrun it again: cargo xtask fuzz {target} {input}");
    }
}

/// Builds the targets; the path of the program.
fn build() -> Option<PathBuf> {
    let target = host()?;
    let folder = root().join("target/fuzz");
    let arguments = ["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml"];
    let build = cargo(arguments).args(["--target-dir", "target/fuzz", "--target", &target]).env("RUSTFLAGS", INSTRUMENTED);
    if !build.run() {
        eprintln!("error: the fuzz targets cannot be built; beside Rust they need a C++ compiler (c++)");
        return None;
    }
    Some(folder.join(target).join("release").join(format!("duplex-fuzz{}", std::env::consts::EXE_SUFFIX)))
}

/// The triple of this machine. Naming it keeps the instrumentation out of build scripts.
fn host() -> Option<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

// ---- what the vectors give to begin with ----

fn seed(target: &str, corpus: &Path) -> std::io::Result<()> {
    fs::create_dir_all(corpus)?;
    let mut number = 0;
    let mut put = |bytes: Vec<u8>| {
        number += 1;
        fs::write(corpus.join(format!("vector-{number}")), bytes)
    };
    for vector in vectors(&root().join("vectors/messages")) {
        let frames = Frames::of(&vector);
        match target {
            "json" => frames.json.into_iter().try_for_each(&mut put)?,
            "msgpack" => frames.msgpack.into_iter().try_for_each(&mut put)?,
            _ => frames.streams(target == "connection").into_iter().try_for_each(&mut put)?,
        }
    }
    Ok(())
}

/// Every JSON file below a folder.
fn vectors(folder: &Path) -> Vec<Value> {
    let mut paths = inputs(folder);
    paths.sort();
    let read = |path: PathBuf| match path.is_dir() {
        true => vectors(&path),
        false => fs::read_to_string(path).ok().and_then(|text| serde_json::from_str(&text).ok()).into_iter().collect(),
    };
    paths.into_iter().flat_map(read).collect()
}

/// The encodings of a message vector.
#[derive(Debug, Default)]
struct Frames {
    json: Vec<Vec<u8>>,
    msgpack: Vec<Vec<u8>>,
}

impl Frames {
    fn of(vector: &Value) -> Self {
        let texts = |place: &Value| -> Vec<String> {
            let more = place.as_array().into_iter().flatten();
            place.as_str().into_iter().chain(more.filter_map(Value::as_str)).map(str::to_owned).collect()
        };
        let both = |name: &str| [texts(&vector[name]), texts(&vector["accept"][name])].concat();
        let bytes = |name: &str| both(name).iter().filter_map(|hex| unhex(hex)).collect::<Vec<_>>();
        let json = both("json").into_iter().map(String::into_bytes).chain(bytes("json_hex")).collect();
        Self { json, msgpack: bytes("msgpack") }
    }

    /// The frames in each framing that carries them, behind what the targets `frames` and `connection` read first: a byte that
    /// chooses framing, codec and role, and one for the pieces. A connection is greeted before.
    fn streams(&self, is_connection: bool) -> Vec<Vec<u8>> {
        let length = |frame: &[u8]| [&u32::try_from(frame.len()).unwrap_or_default().to_be_bytes()[..], frame].concat();
        let line = |frame: &[u8]| [frame, b"\n"].concat();
        if !is_connection {
            let frames =
                self.json.iter().flat_map(|frame| [[&[6][..], &length(frame)].concat(), [&[7], &line(frame)[..]].concat()]);
            return frames.collect();
        }
        let greeted =
            |role: u8, codec: &str| if role == 0 { format!("SIMPLEX/1.0;{codec}").into_bytes() } else { b"+OK".to_vec() };
        let mut all = Vec::new();
        for role in [0, 1] {
            for frame in &self.json {
                let (greeting, choice) = (greeted(role, "json"), role | 4);
                all.push([&[role, 5][..], &length(&greeting), &length(frame)].concat());
                all.push([&[choice, 5][..], &line(&greeting), &line(frame)].concat());
            }
            for frame in &self.msgpack {
                all.push([&[role | 2, 5][..], &length(&greeted(role, "msgpack")), &length(frame)].concat());
            }
        }
        all
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_wrong_word_is_told_and_not_run() {
        assert_eq!(parse(&args("")).map(|wanted| (wanted.targets.len(), wanted.seconds)), Ok((4, 10)));
        assert_eq!(parse(&args("json --seconds 60")), Ok(Wanted { targets: vec!["json"], seconds: 60, input: None }));
        assert_eq!(parse(&args("json some/input")).map(|wanted| wanted.input.is_some()), Ok(true));
        for wrong in ["jsn", "--seconds", "--seconds 0", "--seconds x", "--minutes 1", "json input more"] {
            assert!(parse(&args(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn vectors_become_inputs_of_every_target() {
        let all: Vec<Frames> = vectors(&root().join("vectors/messages")).iter().map(Frames::of).collect();
        let count = |of: fn(&Frames) -> usize| all.iter().map(of).sum::<usize>();
        assert!(count(|frames| frames.json.len()) > 200 && count(|frames| frames.msgpack.len()) > 200);
        assert!(
            all.iter().any(|frames| frames.json.iter().any(|text| std::str::from_utf8(text).is_err())),
            "bytes that are no text"
        );
        let one = Frames { json: vec![b"{}".to_vec()], msgpack: vec![vec![0x80]] };
        assert_eq!(one.streams(false), [b"\x06\0\0\0\x02{}".to_vec(), b"\x07{}\n".to_vec()]);
        assert!(one.streams(true).contains(&b"\x04\x05SIMPLEX/1.0;json\n{}\n".to_vec()));
    }
}

//! What the reference peer costs, beside RPC stacks that a user might pick instead and beside the floor under all of them:
//! over loopback TCP, one connection each.
//!
//! Every stack runs in the same process, in interleaved rounds, so that the ratios hold on a noisy machine. Medians are kept.
//! Nothing here judges: the book shows the table, with the goals beside it.

use std::fs;
use std::future::Future;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::Serialize;

mod cost;
mod floor;
mod jsonrpsee_peer;
mod reference;
mod tarpc_peer;
mod tonic_peer;

const HELP: &str = "\
Calls per second and bytes of the reference peer, beside other RPC stacks and the floor under all of them.

Usage: duplex-bench [--rounds <N>] [--only <TEXT>] [--stack <NAME>] [--write <FILE>]

  --rounds <N>     rounds of every workload, of which the median counts [default: 7]
  --only <TEXT>    only the workloads with this in their name, and nothing of what connections cost
  --stack <NAME>   only this stack, for a profiler
  --write <FILE>   also writes the figures as JSON
";

/// Drives `n` calls with `c` in flight and returns calls per second.
pub async fn drive<F, Fut>(n: usize, c: usize, mut call: F) -> f64
where
    F: FnMut(u64) -> Fut,
    Fut: Future<Output = u64>,
{
    let start = Instant::now();
    // One at a time needs nobody who keeps several, and would pay for it.
    if c == 1 {
        for i in 0..n {
            std::hint::black_box(call(i as u64).await);
        }
        return n as f64 / start.elapsed().as_secs_f64();
    }
    let mut in_flight = FuturesUnordered::new();
    let mut sent = 0;
    while sent < c.min(n) {
        in_flight.push(call(sent as u64));
        sent += 1;
    }
    let mut done = 0;
    while let Some(answer) = in_flight.next().await {
        std::hint::black_box(answer);
        done += 1;
        if sent < n {
            in_flight.push(call(sent as u64));
            sent += 1;
        }
    }
    assert_eq!(done, n);
    n as f64 / start.elapsed().as_secs_f64()
}

/// The stacks, in the order of the table's columns.
const STACKS: [&str; 5] = ["floor", "duplex", "tarpc", "jsonrpsee", "tonic"];

/// One workload: medians by stack, of those that can do it.
#[derive(Serialize)]
struct Row {
    workload: &'static str,
    unit: &'static str,
    rates: [Option<f64>; STACKS.len()],
}

struct Stacks {
    duplex: reference::Client,
    tarpc: tarpc_peer::ServiceClient,
    jsonrpsee: jsonrpsee_peer::Client,
    tonic: tonic_peer::Client,
}

#[derive(Clone, Copy)]
enum Workload {
    Small { in_flight: usize, calls: usize },
    Echo { bytes: usize, in_flight: usize, calls: usize },
    Range { items: usize },
    Back { in_flight: usize, calls: usize },
}

const WORKLOADS: [(&str, &str, Workload); 7] = [
    ("small calls, one at a time", "calls/s", Workload::Small { in_flight: 1, calls: 10_000 }),
    ("small calls, 64 in flight", "calls/s", Workload::Small { in_flight: 64, calls: 50_000 }),
    ("small calls, 1024 in flight", "calls/s", Workload::Small { in_flight: 1024, calls: 100_000 }),
    ("echoes of 64 KiB, 8 in flight", "calls/s", Workload::Echo { bytes: 64 << 10, in_flight: 8, calls: 2_000 }),
    ("echoes of 1 MiB, 2 in flight", "calls/s", Workload::Echo { bytes: 1 << 20, in_flight: 2, calls: 100 }),
    ("items of one streamed result", "items/s", Workload::Range { items: 100_000 }),
    ("calls that call back, 64 in flight", "calls/s", Workload::Back { in_flight: 64, calls: 20_000 }),
];

impl Workload {
    /// The rate of one stack, if it can do this.
    async fn run(self, stacks: &Stacks, stack: usize) -> Option<f64> {
        let Stacks { duplex, tarpc, jsonrpsee, tonic } = stacks;
        let text = |bytes| "x".repeat(bytes);
        let rate = match (self, STACKS[stack]) {
            (Self::Small { in_flight: c, calls: n }, "floor") => floor::sum(n, c).await,
            (Self::Small { in_flight: c, calls: n }, "duplex") => reference::sum(duplex, n, c).await,
            (Self::Small { in_flight: c, calls: n }, "tarpc") => tarpc_peer::sum(tarpc, n, c).await,
            (Self::Small { in_flight: c, calls: n }, "jsonrpsee") => jsonrpsee_peer::sum(jsonrpsee, n, c).await,
            (Self::Small { in_flight: c, calls: n }, "tonic") => tonic_peer::sum(tonic, n, c).await,
            (Self::Echo { bytes, in_flight: c, calls: n }, "floor") => floor::echo(&text(bytes), n, c).await,
            (Self::Echo { bytes, in_flight: c, calls: n }, "duplex") => reference::echo(duplex, &text(bytes), n, c).await,
            (Self::Echo { bytes, in_flight: c, calls: n }, "tarpc") => tarpc_peer::echo(tarpc, &text(bytes), n, c).await,
            (Self::Echo { bytes, in_flight: c, calls: n }, "jsonrpsee") => {
                jsonrpsee_peer::echo(jsonrpsee, &text(bytes), n, c).await
            }
            (Self::Echo { bytes, in_flight: c, calls: n }, "tonic") => tonic_peer::echo(tonic, &text(bytes), n, c).await,
            (Self::Range { items: n }, "floor") => floor::range(n).await,
            (Self::Range { items: n }, "duplex") => reference::range(duplex, n).await,
            (Self::Range { items: n }, "jsonrpsee") => jsonrpsee_peer::range(jsonrpsee, n).await,
            (Self::Range { items: n }, "tonic") => tonic_peer::range(tonic, n).await,
            (Self::Back { in_flight: c, calls: n }, "duplex") => reference::back(duplex, n, c).await,
            _ => return None,
        };
        Some(rate)
    }
}

/// Everything that one run measured.
#[derive(Serialize)]
struct Figures {
    rounds: usize,
    processors: usize,
    stacks: [&'static str; STACKS.len()],
    rows: Vec<Row>,
    cost: cost::Cost,
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut rounds, mut write, mut only, mut one) = (7, None, None, None);
    while let Some(arg) = args.next() {
        match (arg.as_str(), args.next()) {
            (cost::SERVE, _) => {
                cost::serve();
                return ExitCode::SUCCESS;
            }
            ("--help" | "-h", _) => {
                print!("{HELP}");
                return ExitCode::SUCCESS;
            }
            ("--rounds", Some(text)) if text.parse().is_ok_and(|count: usize| count > 0) => {
                rounds = text.parse().expect("it was read a moment ago");
            }
            ("--write", Some(file)) => write = Some(PathBuf::from(file)),
            ("--only", Some(text)) if WORKLOADS.iter().any(|(name, ..)| name.contains(&text)) => only = Some(text),
            ("--stack", Some(name)) if STACKS.contains(&name.as_str()) => one = Some(name),
            _ => {
                eprintln!("error: `{arg}` is no argument here, or lacks its value\n\n{HELP}");
                return ExitCode::from(2);
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let rows = runtime.block_on(speed(rounds, only.as_deref(), one.as_deref()));
    if only.is_some() || one.is_some() {
        return ExitCode::SUCCESS;
    }
    let cost = runtime.block_on(cost::measure(rounds));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let figures = Figures { rounds, processors, stacks: STACKS, rows, cost };
    if let Some(file) = write {
        let text = serde_json::to_string_pretty(&figures).expect("plain data") + "\n";
        if let Err(error) = fs::write(&file, text) {
            eprintln!("error: {} cannot be written: {error}", file.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

async fn speed(rounds: usize, only: Option<&str>, one: Option<&str>) -> Vec<Row> {
    let stacks = Stacks {
        duplex: reference::client().await,
        tarpc: tarpc_peer::client().await,
        jsonrpsee: jsonrpsee_peer::client().await,
        tonic: tonic_peer::client().await,
    };
    println!("| {:<36} | {} |", "", STACKS.map(|stack| format!("{stack:>10}")).join(" | "));
    println!("|--------------------------------------|{}", "-----------:|".repeat(STACKS.len()));
    let has_terminal = std::io::stderr().is_terminal();
    let show = |text: &str| {
        if has_terminal {
            eprint!("\r{text:60}\r");
        }
    };
    let mut rows = Vec::new();
    for (workload, unit, work) in WORKLOADS {
        if only.is_some_and(|only| !workload.contains(only)) {
            continue;
        }
        let mut seen: [Vec<f64>; STACKS.len()] = Default::default();
        for round in 1..=rounds {
            show(&format!("{workload}: round {round} of {rounds}"));
            for (stack, rates) in seen.iter_mut().enumerate() {
                if one.is_none_or(|one| one == STACKS[stack]) {
                    rates.extend(work.run(&stacks, stack).await);
                }
            }
        }
        show("");
        let rates = seen.map(median);
        let shown = rates.map(|rate| rate.map_or_else(|| format!("{:>10}", "–"), |rate| format!("{rate:>10.0}")));
        println!("| {workload:<36} | {} |", shown.join(" | "));
        rows.push(Row { workload, unit, rates });
    }
    rows
}

fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

//! What the reference peer costs: the figures that `cargo xtask bench` left, as tables. Nothing is measured here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::BookError;

/// Below the repository's root.
const FILE: &str = "bench/results.json";
/// The stack that the others are set beside, and the floor under all of them.
const OURS: &str = "duplex";
const FLOOR: &str = "floor";

/// One run of the benchmark, as it writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Figures {
    rounds: usize,
    processors: usize,
    stacks: Vec<String>,
    rows: Vec<Row>,
    cost: Cost,
}

/// Medians by stack; none where a stack cannot do it.
#[derive(Debug, Deserialize)]
struct Row {
    workload: String,
    unit: String,
    rates: Vec<Option<f64>>,
}

/// Bytes, and calls per second as calls and channels add up.
#[derive(Debug, Deserialize)]
struct Cost {
    connections: usize,
    connection: Sides,
    channels: usize,
    channel: Sides,
    after_calls: Vec<(usize, f64)>,
    beside_channels: Vec<(usize, f64)>,
}

#[derive(Debug, Deserialize)]
struct Sides {
    caller: usize,
    provider: usize,
}

impl Figures {
    /// Reads the file; a repository without it has no figures.
    pub(crate) fn load(root: &Path) -> Result<Option<Self>, BookError> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(|source| BookError::Io { path: path.clone(), source })?;
        serde_json::from_str(&text).map(Some).map_err(|error| BookError::Figures { path, what: error.to_string() })
    }
}

/// The tables.
pub(crate) fn markdown(figures: Option<&Figures>) -> String {
    let Some(figures) = figures else { return "Nothing was measured yet.\n".to_owned() };
    let mut out = format!("Medians of {} interleaved rounds, on {} processors.\n\n", figures.rounds, figures.processors);
    speed(&mut out, figures);
    ratios(&mut out, figures);
    cost(&mut out, &figures.cost);
    out
}

fn speed(out: &mut String, figures: &Figures) {
    let _ = writeln!(out, "| a second | {} |", figures.stacks.join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(figures.stacks.len()));
    for row in &figures.rows {
        let rates = row.rates.iter().map(|rate| rate.map_or_else(|| "–".to_owned(), grouped));
        let unit = row.unit.trim_end_matches("/s");
        let _ = writeln!(out, "| {} ({unit}) | {} |", row.workload, rates.collect::<Vec<_>>().join(" | "));
    }
    out.push('\n');
}

fn ratios(out: &mut String, figures: &Figures) {
    let Some(ours) = figures.stacks.iter().position(|stack| stack == OURS) else { return };
    let others: Vec<usize> = (0..figures.stacks.len()).filter(|&index| index != ours).collect();
    let head = others.iter().map(|&index| match figures.stacks[index].as_str() {
        FLOOR => "of the floor".to_owned(),
        other => format!("times {other}"),
    });
    let _ = writeln!(out, "| the reference peer is | {} |", head.collect::<Vec<_>>().join(" | "));
    let _ = writeln!(out, "|---|{}", "--:|".repeat(others.len()));
    for row in &figures.rows {
        let Some(rate) = row.rates.get(ours).copied().flatten() else { continue };
        let cells = others.iter().map(|&index| match row.rates.get(index).copied().flatten() {
            None => "–".to_owned(),
            Some(other) if figures.stacks[index] == FLOOR => format!("{:.0} %", 100.0 * rate / other),
            Some(other) => format!("{:.1}", rate / other),
        });
        let _ = writeln!(out, "| {} | {} |", row.workload, cells.collect::<Vec<_>>().join(" | "));
    }
    out.push('\n');
}

fn cost(out: &mut String, cost: &Cost) {
    out.push_str("| bytes of memory for each | held at once | caller | provider |\n|---|--:|--:|--:|\n");
    for (what, held, sides) in
        [("idle connection", cost.connections, &cost.connection), ("open channel", cost.channels, &cost.channel)]
    {
        let bytes = |bytes: usize| grouped(bytes as f64);
        let _ = writeln!(out, "| {what} | {} | {} | {} |", bytes(held), bytes(sides.caller), bytes(sides.provider));
    }
    for (what, rates) in [("calls made before", &cost.after_calls), ("channels open beside", &cost.beside_channels)] {
        let cells = |cell: fn(&(usize, f64)) -> f64| rates.iter().map(|one| grouped(cell(one))).collect::<Vec<_>>().join(" | ");
        let _ = writeln!(out, "\n| {what} | {} |\n|---|{}", cells(|(count, _)| *count as f64), "--:|".repeat(rates.len()));
        let _ = writeln!(out, "| calls a second | {} |", cells(|(_, rate)| *rate));
    }
}

/// A whole number with its thousands apart.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

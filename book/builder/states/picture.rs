//! Draws a machine as SVG: states in a column, arrows down the middle and the right, arrows up on the left.
//!
//! Colours are the theme's, by `currentColor` and classes. Events that leave a state as it is are in the table alone.

use std::fmt::Write as _;
use std::ops::Range;

use duplex_spec::machine::Machine;

const WIDTH: usize = 500;
const LEFT: usize = 175;
const RIGHT: usize = 325;
const BOX: usize = 34;
const LINE: usize = 15;

/// The picture, as an HTML block without an empty line.
pub(super) fn draw(machine: &Machine) -> String {
    let mut arrows = machine.arrows();
    // Short arrows run inside long ones, and choose the place of their label first.
    arrows.sort_by_key(|(from, to, _)| from.abs_diff(*to));
    let step = step(&arrows);
    let top = |state: usize| 12 + state * (BOX + step);
    let height = top(machine.states.len() - 1) + BOX + 14;
    let name = machine.name;
    // Where no arrow goes up, nothing stands on the left.
    let edge = if arrows.iter().any(|(from, to, _)| to < from) { 0 } else { LEFT - 10 };
    let mut out = format!(
        "<figure class=\"states\"><svg style=\"min-inline-size: {}px; max-inline-size: {}px\" viewBox=\"{edge} 0 {} {height}\" role=\"img\" aria-labelledby=\"states-{name}-title states-{name}-desc\">\n\
         <title id=\"states-{name}-title\">{}</title>\n<desc id=\"states-{name}-desc\">{}</desc>\n\
         <defs><marker id=\"states-{name}-tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n",
        (WIDTH - edge) * 5 / 6,
        (WIDTH - edge) * 9 / 8,
        WIDTH - edge,
        machine.title,
        description(machine, &arrows)
    );
    let mut labels = String::new();
    let mut sides = [Side::default(), Side::default()];
    for (from, to, events) in &arrows {
        let (path, x, y, anchor) = if *to == from + 1 {
            let (a, b) = (top(*from) + BOX, top(*to));
            (format!("M250 {a}V{}", b - 1), 258, a.midpoint(b), "start")
        } else {
            let (lane, gap) = sides[usize::from(to < from)].place(*from.min(to)..*from.max(to));
            let y = top(gap) + BOX + step / 2;
            let (a, b) = (top(*from) + 10 + lane * 5, top(*to) + 8 + lane * 6);
            if to > from {
                let x = RIGHT + 14 + lane * 16;
                (format!("M{RIGHT} {a}H{x}V{b}H{}", RIGHT + 1), x + 5, y, "start")
            } else {
                let x = LEFT - 14 - lane * 16;
                (format!("M{LEFT} {a}H{x}V{b}H{}", LEFT - 1), x - 5, y, "end")
            }
        };
        let _ = writeln!(out, "<path class=\"arrow\" d=\"{path}\" marker-end=\"url(#states-{name}-tip)\"/>");
        label(&mut labels, events, x, y, anchor);
    }
    out.push_str(&labels);
    for (state, text) in machine.states.iter().enumerate() {
        let y = top(state);
        let _ = writeln!(
            out,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{}\" height=\"{BOX}\" rx=\"8\"/><text class=\"state\" x=\"250\" y=\"{}\">{text}</text>",
            RIGHT - LEFT,
            y + 22
        );
    }
    out.push_str("</svg></figure>\n");
    out
}

/// What stands beside the column of states, on one of its sides.
#[derive(Default)]
struct Side {
    lanes: usize,
    labelled: Vec<usize>,
}

impl Side {
    /// A lane for one more arrow beside these states, and the gap in which its label stands: one of its own if there is one.
    fn place(&mut self, beside: Range<usize>) -> (usize, usize) {
        let gap = beside.clone().find(|gap| !self.labelled.contains(gap)).unwrap_or(beside.end - 1);
        self.labelled.push(gap);
        self.lanes += 1;
        (self.lanes - 1, gap)
    }
}

/// The room between two states: as much as the longest label beside it needs.
fn step(arrows: &[(usize, usize, Vec<&str>)]) -> usize {
    let lines = arrows.iter().map(|(_, _, events)| events.len()).max().unwrap_or(1);
    28 + lines * LINE
}

fn label(out: &mut String, events: &[&str], x: usize, y: usize, anchor: &str) {
    let first = y + 4 - (events.len() - 1) * LINE / 2;
    let _ = write!(out, "<text class=\"event\" text-anchor=\"{anchor}\">");
    for (line, event) in events.iter().enumerate() {
        let _ = write!(out, "<tspan x=\"{x}\" y=\"{}\">{event}</tspan>", first + line * LINE);
    }
    out.push_str("</text>\n");
}

fn description(machine: &Machine, arrows: &[(usize, usize, Vec<&str>)]) -> String {
    let sentence = |(from, to, events): &(usize, usize, Vec<&str>)| {
        format!("From {} to {}: {}.", machine.states[*from], machine.states[*to], events.join(", "))
    };
    arrows.iter().map(sentence).collect::<Vec<_>>().join(" ")
}

//! The state machines of the protocol, each written down once, as a table from state and event to what happens.
//!
//! The book's tables and its pictures both come from here, so that they cannot differ. Nothing runs these machines: a peer
//! has its own, and the rules say what must be seen of it. Every cell is decided; the tests hold that.

mod machines;
mod picture;

pub(crate) use machines::{CALLER, CONNECTION, PROVIDER};

use std::fmt::Write as _;

/// A machine: `cells[event][state]` says what happens.
pub(crate) struct Machine {
    /// For ids and for the marker in a chapter.
    pub(crate) name: &'static str,
    /// What the picture shows, as a sentence.
    pub(crate) title: &'static str,
    /// The states, from the first to the last.
    pub(crate) states: &'static [&'static str],
    /// What can happen.
    pub(crate) events: &'static [Event],
    /// A row for each event, with a cell for each state.
    pub(crate) cells: &'static [&'static [Cell]],
}

/// A row of the table.
pub(crate) struct Event {
    /// In the table, in Markdown.
    pub(crate) name: &'static str,
    /// At an arrow of the picture, in a few characters.
    pub(crate) short: &'static str,
}

/// What an event does in a state.
pub(crate) enum Cell {
    /// It does this, and the state stays.
    Stay(&'static str),
    /// It does this, and then the state is that one.
    To(&'static str, usize),
    /// It cannot happen there.
    Never,
}

impl Machine {
    /// The table and the picture, for a chapter.
    pub(crate) fn markdown(&self) -> String {
        format!("{}\n{}", self.table(), picture::draw(self))
    }

    fn table(&self) -> String {
        let mut out = format!("| event | {} |\n|---|{}\n", self.states.join(" | "), "---|".repeat(self.states.len()));
        for (event, row) in self.events.iter().zip(self.cells) {
            let _ = write!(out, "| {} |", event.name);
            for cell in *row {
                let text = match cell {
                    Cell::Stay(does) => (*does).to_owned(),
                    Cell::To("", to) => format!("*{}*", self.states[*to]),
                    Cell::To(does, to) => format!("{does}; *{}*", self.states[*to]),
                    Cell::Never => "–".to_owned(),
                };
                let _ = write!(out, " {text} |");
            }
            out.push('\n');
        }
        out
    }

    /// The arrows between different states, with the events at each, in the order of the table.
    fn arrows(&self) -> Vec<(usize, usize, Vec<&'static str>)> {
        let mut arrows: Vec<(usize, usize, Vec<&'static str>)> = Vec::new();
        for (event, row) in self.events.iter().zip(self.cells) {
            for (from, cell) in row.iter().enumerate() {
                let Cell::To(_, to) = cell else { continue };
                match arrows.iter_mut().find(|(a, b, _)| (*a, *b) == (from, *to)) {
                    Some((_, _, events)) => events.push(event.short),
                    None => arrows.push((from, *to, vec![event.short])),
                }
            }
        }
        arrows
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ALL: [&Machine; 3] = [&CONNECTION, &PROVIDER, &CALLER];

    #[test]
    fn every_cell_is_decided() {
        for machine in ALL {
            assert_eq!(machine.cells.len(), machine.events.len(), "{}", machine.name);
            for (event, row) in machine.events.iter().zip(machine.cells) {
                assert_eq!(row.len(), machine.states.len(), "{}: {}", machine.name, event.name);
                for (state, cell) in row.iter().enumerate() {
                    match cell {
                        Cell::Stay(does) => assert!(!does.is_empty(), "{}: {} says nothing", machine.name, event.name),
                        Cell::To(_, to) => {
                            assert!(*to < machine.states.len() && *to != state, "{}: {}", machine.name, event.name)
                        }
                        Cell::Never => {}
                    }
                }
            }
        }
    }

    #[test]
    fn every_state_is_reached() {
        for machine in ALL {
            let mut seen = BTreeSet::from([0]);
            let arrows = machine.arrows();
            for _ in machine.states {
                let more: Vec<usize> = arrows.iter().filter(|(from, _, _)| seen.contains(from)).map(|(_, to, _)| *to).collect();
                seen.extend(more);
            }
            assert_eq!(seen.len(), machine.states.len(), "{}", machine.name);
        }
    }

    #[test]
    fn the_picture_has_the_arrows_of_the_table() {
        for machine in ALL {
            let picture = picture::draw(machine);
            assert_eq!(picture.matches("<path class=\"arrow\"").count(), machine.arrows().len(), "{}", machine.name);
            for event in machine.arrows().iter().flat_map(|(_, _, events)| events) {
                assert!(picture.contains(event), "{}: {event}", machine.name);
            }
            assert!(!picture.trim_end().contains("\n\n"), "an empty line ends the HTML block");
        }
    }
}

//! The state machines of the protocol, each written down once, as a table from state and event to what happens.
//!
//! The book's tables and its pictures come from here, and the reference peer's tests hold its core against every cell. No peer
//! is made of these tables: a peer has its own machine, and the rules say what must be seen of it.

mod tables;

pub use tables::{CALLER, CONNECTION, PROVIDER};

/// A machine: `cells[event][state]` says what happens.
#[derive(Debug)]
pub struct Machine {
    /// For ids and for the marker in a chapter.
    pub name: &'static str,
    /// What the picture shows, as a sentence.
    pub title: &'static str,
    /// The states, from the first to the last.
    pub states: &'static [&'static str],
    /// What can happen.
    pub events: &'static [Event],
    /// A row for each event, with a cell for each state.
    pub cells: &'static [&'static [Cell]],
}

/// A row of the table.
#[derive(Debug)]
pub struct Event {
    /// In the table, in Markdown.
    pub name: &'static str,
    /// At an arrow of the picture, in a few characters.
    pub short: &'static str,
}

/// What an event does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// It does this, and the state stays.
    Stay(&'static str),
    /// It does this, and then the state is that one.
    To(&'static str, usize),
    /// It cannot happen there.
    Never,
}

impl Machine {
    /// What the event of this name does in each state.
    #[must_use]
    pub fn row(&self, event: &str) -> Option<&'static [Cell]> {
        let index = self.events.iter().position(|known| known.name == event)?;
        Some(self.cells[index])
    }

    /// The ways that lead to this state from another, each as machine, state and event: `provider/draining/abort`.
    #[must_use]
    pub fn ways_to(&self, state: &str) -> Vec<String> {
        let mut ways = Vec::new();
        for (event, row) in self.events.iter().zip(self.cells) {
            for (from, cell) in self.states.iter().zip(*row) {
                if matches!(cell, Cell::To(_, to) if self.states[*to] == state) {
                    ways.push(format!("{}/{from}/{}", self.name, event.short));
                }
            }
        }
        ways
    }

    /// The arrows between different states, with the events at each, in the order of the table.
    #[must_use]
    pub fn arrows(&self) -> Vec<(usize, usize, Vec<&'static str>)> {
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
                assert_eq!(machine.row(event.name), Some(*row), "{}: {} is there twice", machine.name, event.name);
                for (state, cell) in row.iter().enumerate() {
                    match cell {
                        Cell::Stay(does) => assert!(!does.is_empty(), "{}: {} says nothing", machine.name, event.name),
                        Cell::To(_, to) => {
                            assert!(*to < machine.states.len() && *to != state, "{}: {}", machine.name, event.name);
                        }
                        Cell::Never => {}
                    }
                }
            }
        }
    }

    #[test]
    fn ways_are_named_once_and_lead_to_the_state() {
        assert_eq!(PROVIDER.ways_to("arguments complete").len(), 3);
        assert!(PROVIDER.ways_to("none").contains(&"provider/draining/abort".to_owned()));
        assert_eq!(CALLER.ways_to("unsent"), [""; 0], "nothing leads back");
        for machine in [&PROVIDER, &CALLER] {
            for state in machine.states {
                let ways = machine.ways_to(state);
                assert_eq!(ways.iter().collect::<BTreeSet<_>>().len(), ways.len(), "{}: {state}", machine.name);
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
}

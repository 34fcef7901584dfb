//! Shows the state machines of the protocol: each as a table and as a picture, from the one place where it is written down.

mod picture;

use std::fmt::Write as _;

use duplex_spec::machine::{Cell, Machine};

/// The table and the picture, for a chapter.
pub(crate) fn markdown(machine: &Machine) -> String {
    format!("{}\n{}", table(machine), picture::draw(machine))
}

fn table(machine: &Machine) -> String {
    let mut out = format!("| event | {} |\n|---|{}\n", machine.states.join(" | "), "---|".repeat(machine.states.len()));
    for (event, row) in machine.events.iter().zip(machine.cells) {
        let _ = write!(out, "| {} |", event.name);
        for cell in *row {
            let text = match cell {
                Cell::Stay(does) => (*does).to_owned(),
                Cell::To("", to) => format!("*{}*", machine.states[*to]),
                Cell::To(does, to) => format!("{does}; *{}*", machine.states[*to]),
                Cell::Never => "–".to_owned(),
            };
            let _ = write!(out, " {text} |");
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use duplex_spec::machine::{CALLER, CONNECTION, PROVIDER};

    use super::*;

    #[test]
    fn the_picture_has_the_arrows_of_the_table() {
        for machine in [&CONNECTION, &PROVIDER, &CALLER] {
            let picture = picture::draw(machine);
            assert_eq!(picture.matches("<path class=\"arrow\"").count(), machine.arrows().len(), "{}", machine.name);
            for event in machine.arrows().iter().flat_map(|(_, _, events)| events) {
                assert!(picture.contains(event), "{}: {event}", machine.name);
            }
            assert!(!picture.trim_end().contains("\n\n"), "an empty line ends the HTML block");
        }
    }
}

//! A badge: how many rules of the book hold, of how many; as a picture, and as what shields.io makes a picture of.

use askama::Template;
use serde_json::json;

use crate::report::tally::{Outcome, Tally};

/// What stands on the left.
const LABEL: &str = "duplex";
/// How wide a letter is taken to be; the picture stretches its text to fit.
const LETTER: usize = 7;

#[derive(Template)]
#[template(path = "badge.svg")]
struct Picture {
    label: &'static str,
    message: String,
    title: String,
    colour: &'static str,
    left: usize,
    right: usize,
}

/// The picture.
pub(super) fn svg(tally: &Tally) -> Result<String, askama::Error> {
    let message = message(tally);
    let width = |text: &str| text.chars().count() * LETTER + 12;
    let (left, right) = (width(LABEL), width(&message));
    let colour = match colour(tally) {
        "brightgreen" => "#2b7a2b",
        "yellow" => "#8a6100",
        _ => "#b3372a",
    };
    let title = format!("{}: {}", tally.name(), tally.sentence().0);
    Picture { label: LABEL, message, title, colour, left, right }.render()
}

/// The JSON of an endpoint badge.
pub(super) fn shields(tally: &Tally) -> String {
    let badge = json!({"schemaVersion": 1, "label": LABEL, "message": message(tally), "color": colour(tally)});
    format!("{badge}\n")
}

fn message(tally: &Tally) -> String {
    let rules = Tally::all_rules();
    let decided = rules.len() - tally.without_case(&rules);
    format!("{} of {decided} rules", tally.count(&rules, Outcome::Held))
}

/// By the names of shields.io.
fn colour(tally: &Tally) -> &'static str {
    match tally.sentence().1 {
        false => "red",
        true if tally.cases(Outcome::Known) > 0 => "yellow",
        true => "brightgreen",
    }
}

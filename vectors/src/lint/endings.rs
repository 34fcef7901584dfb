//! Leaks: a call that is over leaves nothing, however it ended.
//!
//! The tables of states know every way in which a peer lets go of an id. A session that asks `conformance.inspect` at its end
//! names those that it took, and each of them has such a session.

use duplex_spec::machine::{CALLER, PROVIDER};

use super::File;
use crate::corpus::Corpus;
use crate::session::{Action, Profile, Session};

/// Ways that no session can show, with the reason.
const UNSEEN: &[(&str, &str)] = &[
    ("caller/unsent/abort", "nothing was sent, so nobody else can tell that there was a call"),
    ("caller/unsent/connection ends", "nothing was sent, so nobody else can tell that there was a call"),
];

/// The ways in which a peer lets go of an id and which no session shows.
#[must_use]
pub fn unshown(corpus: &Corpus) -> Vec<String> {
    let is_shown = |way: &String| corpus.sessions().iter().any(|session| session.ends.contains(way));
    ways().filter(|way| !is_unseen(way) && !is_shown(way)).collect()
}

pub(super) fn lint(session: &Session, file: &mut File<'_>) {
    if session.ends.is_empty() {
        return;
    }
    let asks = |action: &Action| matches!(action, Action::Eventually(question) if question.method == "conformance.inspect");
    if session.profile != Profile::Inspect || !session.steps.last().is_some_and(|last| asks(&last.action)) {
        file.problem("ends", "only a session of the profile `inspect` that asks at its end what is left shows it");
    }
    for (index, way) in session.ends.iter().enumerate() {
        let field = format!("ends[{index}]");
        if session.ends[..index].contains(way) {
            file.problem(&field, format!("`{way}` stands there already"));
        }
        if !ways().any(|known| known == *way) {
            file.problem(&field, format!("no table of states lets go of an id by `{way}`"));
        } else if let Some((_, why)) = UNSEEN.iter().find(|(unseen, _)| unseen == way) {
            file.problem(&field, format!("no session can show `{way}`: {why}"));
        }
    }
}

fn ways() -> impl Iterator<Item = String> {
    PROVIDER.ways_to("none").into_iter().chain(CALLER.ways_to("forgotten"))
}

fn is_unseen(way: &str) -> bool {
    UNSEEN.iter().any(|(unseen, _)| *unseen == way)
}

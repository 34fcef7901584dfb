//! Steps that allow more than one order, or more than one answer: the ways that are still open, and the one that came.

use std::collections::VecDeque;

use duplex_vectors::words;
use serde_json::Value as Json;

use crate::event::Seen;
use crate::pattern::{Bindings, Divergence, Normal, Scope};

/// Steps of a session that are told. More of them are rounds of a loop.
const TOLD: usize = 50;

/// Characters of a message that are told.
const WORDS: usize = 80;

/// The ways of `expect_one_of`: one message each, or several in their order.
pub(super) struct Ways<'a> {
    open: Vec<Way<'a>>,
}

struct Way<'a> {
    left: VecDeque<&'a Json>,
    met: Vec<&'a Json>,
    bound: Bindings,
}

/// What a message did to the ways that are open.
pub(super) enum Took<'a> {
    /// All of them need more.
    More,
    /// One of them is complete: its patterns, with what its messages bind.
    Done(Vec<&'a Json>, Bindings),
}

impl<'a> Ways<'a> {
    pub(super) fn new(patterns: impl Iterator<Item = &'a Json>) -> Self {
        let way = |pattern| Way { left: sequence(pattern), met: Vec::new(), bound: Bindings::new() };
        Self { open: patterns.map(way).collect() }
    }

    /// The messages that are legal next.
    pub(super) fn next(&self) -> impl Iterator<Item = &'a Json> {
        self.open.iter().filter_map(|way| way.left.front().copied())
    }

    /// Takes a message. Of several ways that it does not fit, no reason is the reason.
    pub(super) fn take(&mut self, scope: &Scope, message: &Normal) -> Result<Took<'a>, Option<Divergence>> {
        let is_alone = self.open.len() == 1;
        let (mut going_on, mut last) = (Vec::new(), None);
        for mut way in std::mem::take(&mut self.open) {
            let Some(head) = way.left.pop_front() else { continue };
            match scope.matches_with(head, message, way.bound) {
                Ok(bound) => {
                    way.met.push(head);
                    going_on.push(Way { bound, ..way });
                }
                Err(why @ Divergence::Vector(_)) => return Err(Some(why)),
                Err(why) => last = Some(why),
            }
        }
        if going_on.is_empty() {
            return Err(last.filter(|_| is_alone));
        }
        if let Some(done) = going_on.iter().position(|way| way.left.is_empty()) {
            let Way { met, bound, .. } = going_on.swap_remove(done);
            return Ok(Took::Done(met, bound));
        }
        self.open = going_on;
        Ok(Took::More)
    }
}

/// A pattern alone, or a list of them in its order.
pub(super) fn sequence(pattern: &Json) -> VecDeque<&Json> {
    match pattern {
        Json::Array(sequence) => sequence.iter().collect(),
        single => VecDeque::from([single]),
    }
}

/// In how many ways sequences of these lengths can be interleaved.
pub(super) fn interleavings(lengths: impl Iterator<Item = usize>) -> u64 {
    let (mut ways, mut total) = (1_u64, 0_u64);
    for length in lengths {
        // One step of a binomial coefficient after the other, each a whole number.
        for place in 1..=length as u64 {
            total += 1;
            ways = ways.saturating_mul(total) / place;
        }
    }
    ways
}

/// What a session did where it had a choice.
#[derive(Default)]
pub(super) struct Choices {
    seen: Vec<Seen>,
}

impl Choices {
    /// Notes what came at a step, if it could have been something else.
    pub(super) fn note(&mut self, step: usize, ways: u64, came: &[&Json]) {
        if ways > 1 && self.seen.len() < TOLD {
            let told = |pattern: &&Json| words::message(pattern).chars().take(WORDS).collect();
            self.seen.push(Seen { step, ways, came: came.iter().map(told).collect() });
        }
    }

    pub(super) fn take(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interleavings_are_counted() {
        for (lengths, ways) in [(&[1, 1][..], 2), (&[2, 1], 3), (&[2, 2], 6), (&[1, 1, 1], 6), (&[3], 1), (&[], 1)] {
            assert_eq!(interleavings(lengths.iter().copied()), ways, "{lengths:?}");
        }
        // Beyond counting is many.
        assert!(interleavings([30, 30, 30].into_iter()) > 1 << 32);
    }
}

//! Every state that a core can be brought into by a small alphabet of actions, each visited once and held to what must be true.
//!
//! Random programs find what is likely; these searches leave nothing out within their bounds. Two states are the same when
//! everything in them reads the same, the core's own tables included. How many there are is stated where it is checked: a
//! search that stands still must not pass.

mod caller;
mod connection;
mod pair;
mod provider;

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hasher as _;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use duplex_proto::connection::{Read, ServeKey};
use duplex_proto::{Connection, Id};
use duplex_spec::machine::{Cell, Machine};

use crate::pair::Woken;

/// More states than any search has: one that counts up for ever fails, and does not hang.
const MOST: usize = 400_000;

/// A state that the search can go on from, and how it was reached.
#[derive(Clone)]
struct Node<S> {
    state: S,
    path: Option<Rc<Step>>,
}

struct Step {
    action: String,
    before: Option<Rc<Step>>,
}

/// Visits every state that `act` leads to from `start`, and checks each; says how many there are.
fn explore<S: Clone + Debug, A: Debug>(
    start: S,
    actions: impl Fn(&S) -> Vec<A>,
    check: impl Fn(&S),
    mut act: impl FnMut(&mut S, &A),
) -> usize {
    let mut seen = HashSet::from([fingerprint(&start)]);
    let mut open = VecDeque::from([Node { state: start, path: None }]);
    while let Some(node) = open.pop_front() {
        let told = Told(node.path.clone());
        check(&node.state);
        drop(told);
        for action in actions(&node.state) {
            let path = Some(Rc::new(Step { action: format!("{action:?}"), before: node.path.clone() }));
            let mut next = Node { state: node.state.clone(), path };
            let told = Told(next.path.clone());
            act(&mut next.state, &action);
            drop(told);
            if seen.insert(fingerprint(&next.state)) {
                open.push_back(next);
                assert!(seen.len() < MOST, "something is never the same again");
            }
        }
    }
    seen.len()
}

/// Tells how a state was reached if what is held there fails.
struct Told(Option<Rc<Step>>);

impl Drop for Told {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let steps = std::iter::successors(self.0.as_ref(), |step| step.before.as_ref());
        let actions: Vec<&str> = steps.map(|step| step.action.as_str()).collect();
        eprintln!("reached by: {}", actions.into_iter().rev().collect::<Vec<_>>().join(", "));
    }
}

/// What can be read of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Args(ServeKey),
    Results(Id),
}

impl Half {
    fn is_readable(self, core: &Connection) -> bool {
        let mut core = core.clone();
        let read = match self {
            Self::Args(key) => core.read_args(key),
            Self::Results(id) => core.read_reply(id),
        };
        read != Read::Pending
    }

    fn wait(self, core: &mut Connection, reader: &Waker) {
        _ = match self {
            Self::Args(key) => core.wait_for_args(key, reader),
            Self::Results(id) => core.wait_for_reply(id, reader),
        };
    }
}

/// A state that is one core, and what its user reads of it.
trait Readers: Clone {
    fn core(&mut self) -> &mut Connection;
    fn halves(&self) -> Vec<Half>;
}

/// As [`explore`], of states that are checked as they are acted on; whoever waits to read in one of them is woken.
fn explore_reading<S: Readers + Debug, A: Debug>(
    start: S,
    actions: impl Fn(&S) -> Vec<A>,
    mut act: impl FnMut(&mut S, &A),
) -> usize {
    let act = |state: &mut S, action: &A| {
        check_woken(state, |waiting| act(waiting, action));
        act(state, action);
    };
    explore(start, actions, |_| {}, act)
}

/// Whoever waits for something to read, whatever there is in this state, is woken by an action that brings something or ends it.
fn check_woken<S: Readers>(state: &S, act: impl FnOnce(&mut S)) {
    let mut state = state.clone();
    let mut waiting = Vec::new();
    for half in state.halves() {
        if !half.is_readable(state.core()) {
            let woken = Arc::<Woken>::default();
            half.wait(state.core(), &Waker::from(Arc::clone(&woken)));
            waiting.push((half, woken));
        }
    }
    act(&mut state);
    state.core().poll_woken().into_iter().for_each(Waker::wake);
    let left = state.halves();
    for (half, woken) in waiting.iter().filter(|(half, _)| left.contains(half)) {
        assert!(woken.is_so() || !half.is_readable(state.core()), "whoever waits for {half:?} is not woken");
    }
}

fn fingerprint(state: &impl Debug) -> u64 {
    // One long write: small ones are what a hasher is slow at.
    let mut hasher = DefaultHasher::new();
    hasher.write(format!("{state:?}").as_bytes());
    hasher.finish()
}

/// Which cells of a machine's table a search has come by.
struct Cells {
    machine: &'static Machine,
    seen: BTreeSet<(&'static str, usize)>,
}

impl Cells {
    fn of(machine: &'static Machine) -> Self {
        Self { machine, seen: BTreeSet::new() }
    }

    /// What the table says of this event in this state: the words, and the state that follows.
    fn look(&mut self, event: &str, state: usize) -> (&'static str, usize) {
        let name = self.machine.events.iter().map(|known| known.name).find(|name| *name == event);
        let name = name.unwrap_or_else(|| panic!("the table has no event `{event}`"));
        self.seen.insert((name, state));
        match self.machine.row(name).expect("it was just found")[state] {
            Cell::Stay(does) => (does, state),
            Cell::To(does, to) => (does, to),
            Cell::Never => panic!("`{event}` cannot happen in the state `{}`", self.machine.states[state]),
        }
    }

    /// Whether the event can happen in this state.
    fn can(&self, event: &str, state: usize) -> bool {
        self.machine.row(event).is_some_and(|row| row[state] != Cell::Never)
    }

    /// Every cell that says something was come by, but for these.
    fn check_all_seen(&self, except: &[(&str, usize)]) {
        for (event, row) in self.machine.events.iter().zip(self.machine.cells) {
            for state in (0..row.len()).filter(|state| row[*state] != Cell::Never) {
                let is_seen = self.seen.contains(&(event.name, state));
                let is_excepted = except.contains(&(event.name, state));
                assert!(is_seen != is_excepted, "{}: `{}` in `{}`", self.machine.name, event.name, self.machine.states[state]);
            }
        }
    }
}

/// The lines that a core of JSON lines has written since the last look.
fn written(core: &mut Connection) -> Vec<String> {
    let mut all = String::new();
    while let Some(bytes) = core.poll_transmit() {
        core.handle_written(bytes.len());
        all.push_str(std::str::from_utf8(&bytes).expect("JSON lines are UTF-8"));
    }
    all.lines().map(str::to_owned).collect()
}

fn line(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

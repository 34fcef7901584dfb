//! The programs: what users, hooks and the transport do, and how likely each is.

use std::fmt;

use duplex_proto::Limits;
use proptest::prelude::*;

use super::side::Verdict;

/// What happens next. `usize`s pick one of what there is.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Call { payload: Option<usize>, more: bool, ext: usize, method: usize, inside: Option<usize> },
    Notify { payload: usize },
    SendArg { call: usize, payload: Option<usize>, more: bool, ext: usize },
    Abort { call: usize },
    ReadResults { call: usize },
    TakeResult { call: usize },
    GiveUp { call: usize },
    Forget { call: usize },
    ReadArgs { call: usize },
    SendItem { call: usize, payload: usize },
    Reply { call: usize, payload: Option<usize> },
    Answer { call: usize, payload: Option<usize> },
    Fail { call: usize, code: i64 },
    Abandon { call: usize },
    Release { call: usize },
    Keepalive,
    Close,
    EarlyEnds,
    Write { pieces: Vec<usize> },
    Written { bytes: usize },
    Arrive,
    Step { verdict: Verdict, times: usize },
    Flushed,
    EndOutput,
    Cut { after: usize },
    Break,
    ClosingTimeout,
    GreetingTimeout,
}

fn act() -> impl Strategy<Value = Act> {
    let payload = || prop_oneof![9 => 0..24_usize, 1 => 300..700_usize];
    let optional = || prop_oneof![4 => payload().prop_map(Some), 1 => Just(None)];
    let call = || 0..6_usize;
    let ext = || prop_oneof![6 => Just(0_usize), 3 => 1..8_usize, 1 => 60..80_usize];
    let method = prop_oneof![12 => Just(0_usize), 1 => 150..400_usize];
    let verdict = prop_oneof![14 => Just(Verdict::Pass), 1 => Just(Verdict::Answer), 1 => Just(Verdict::Fail)];
    let pieces = prop_oneof![1 => Just(vec![]), 2 => proptest::collection::vec(1..60_usize, 1..4)];
    prop_oneof![
        10 => (optional(), any::<bool>(), ext(), method, proptest::option::weighted(0.3, call())).prop_map(
            |(payload, more, ext, method, inside)| Act::Call { payload, more, ext, method, inside }
        ),
        2 => payload().prop_map(|payload| Act::Notify { payload }),
        8 => (call(), optional(), any::<bool>(), ext()).prop_map(
            |(call, payload, more, ext)| Act::SendArg { call, payload, more, ext }
        ),
        2 => call().prop_map(|call| Act::Abort { call }),
        6 => call().prop_map(|call| Act::ReadResults { call }),
        3 => call().prop_map(|call| Act::TakeResult { call }),
        1 => call().prop_map(|call| Act::GiveUp { call }),
        2 => call().prop_map(|call| Act::Forget { call }),
        6 => call().prop_map(|call| Act::ReadArgs { call }),
        8 => (call(), payload()).prop_map(|(call, payload)| Act::SendItem { call, payload }),
        5 => (call(), optional()).prop_map(|(call, payload)| Act::Reply { call, payload }),
        3 => (call(), optional()).prop_map(|(call, payload)| Act::Answer { call, payload }),
        2 => (call(), 1..9_i64).prop_map(|(call, code)| Act::Fail { call, code }),
        1 => call().prop_map(|call| Act::Abandon { call }),
        3 => call().prop_map(|call| Act::Release { call }),
        1 => Just(Act::Keepalive),
        4 => Just(Act::EarlyEnds),
        12 => pieces.prop_map(|pieces| Act::Write { pieces }),
        6 => (1..400_usize).prop_map(|bytes| Act::Written { bytes }),
        16 => Just(Act::Arrive),
        24 => (verdict, 1..5_usize).prop_map(|(verdict, times)| Act::Step { verdict, times }),
        2 => Just(Act::Flushed),
    ]
}

/// What ends a connection, wherever it stands in a program.
fn ending() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => Just(Act::Close),
        3 => Just(Act::EndOutput),
        3 => (0..400_usize).prop_map(|after| Act::Cut { after }),
        1 => Just(Act::Break),
        2 => Just(Act::ClosingTimeout),
        1 => Just(Act::GreetingTimeout),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let of_calls = (1..5_usize, 1..5_usize, 20..200_usize);
    let of_connections = (0..4_usize, 200..2000_usize, 420..700_usize);
    let kind = prop_oneof![4 => Just((false, false)), 4 => Just((true, false)), 2 => Just((true, true))];
    (kind, of_calls, of_connections).prop_map(|((is_small, can_close), (calls, items, bytes), (draining, outbound, frame))| {
        let mut limits = Limits::default();
        if is_small {
            (limits.open_calls, limits.buffered_items, limits.buffered_bytes, limits.ext) = (calls, items, bytes, 48);
        }
        if can_close {
            (limits.draining_ids, limits.outbound_bytes, limits.frame) = (draining, outbound, frame);
        }
        limits
    })
}

#[derive(Clone)]
pub(crate) struct Program {
    pub(crate) configuration: usize,
    pub(crate) limits: [Limits; 2],
    pub(crate) leaves_early_ends: [bool; 2],
    /// How the connection ends, if it is still there then.
    pub(crate) ending: (usize, Act),
    /// Whether the greeting is through before the program begins.
    pub(crate) is_greeted: bool,
    pub(crate) acts: Vec<(usize, Act)>,
}

/// A program that fails is read by people: a line for each action.
impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configuration, limits, leaves_early_ends, ending, is_greeted, .. } = self;
        writeln!(
            f,
            "configuration {configuration}, early ends left {leaves_early_ends:?}, greeted {is_greeted}, ends {ending:?}"
        )?;
        limits.iter().try_for_each(|limits| writeln!(f, "{limits:?}"))?;
        self.acts.iter().try_for_each(|act| writeln!(f, "{act:?}"))
    }
}

pub(crate) fn program() -> impl Strategy<Value = Program> {
    let act = || (0..2_usize, act());
    let acts = prop::collection::vec(act(), 0..120);
    let ending_amid = (prop::collection::vec(act(), 0..80), (0..2_usize, ending()), prop::collection::vec(act(), 0..40));
    let acts = prop_oneof![
        3 => acts,
        2 => ending_amid.prop_map(|(mut acts, ending, more)| {
            acts.push(ending);
            acts.extend(more);
            acts
        }),
    ];
    let limits = [limits(), limits()];
    (0..5_usize, limits, any::<[bool; 2]>(), (0..2_usize, ending()), prop::bool::weighted(0.9), acts).prop_map(
        |(configuration, limits, leaves_early_ends, ending, is_greeted, acts)| Program {
            configuration,
            limits,
            leaves_early_ends,
            ending,
            is_greeted,
            acts,
        },
    )
}

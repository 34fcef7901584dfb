//! The caller's side of two calls, fed every reply that a provider can send, right or wrong, and everything that a user does.

use std::sync::Arc;

use duplex_proto::connection::{Delivery, Ended, Failure, Read, ReplyFrame};
use duplex_proto::{Connection, Event, Id, Limits, RemoteError};
use duplex_spec::machine::CALLER;

use super::{Cells, Half, Readers, explore_reading, line, written};
use crate::pair::{End, json};

const CALLS: usize = 2;

#[derive(Clone, Debug)]
struct State {
    core: Connection,
    calls: Vec<Id>,
    /// The state of each call, and how often its end was told.
    states: [usize; CALLS],
    told: [u8; CALLS],
}

impl Readers for State {
    fn core(&mut self) -> &mut Connection {
        &mut self.core
    }

    fn halves(&self) -> Vec<Half> {
        let is_there = |id: &&Id| self.core.called_method(**id).is_some();
        self.calls.iter().filter(is_there).map(|id| Half::Results(*id)).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Open,
    OpenLast,
    OpenEmpty,
    Item(usize),
    Last(usize),
    End(usize),
    Abort(usize),
    HookAnswers(usize),
    InboundHookAnswers(usize),
    GiveUp(usize),
    Forget(usize),
    Read(usize),
    Reply(usize, Reply),
    Close,
    InputEnds,
    Break,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reply {
    Item,
    Last,
    End,
    Error,
    BadError,
    BadMore,
}

const REPLIES: [Reply; 6] = [Reply::Item, Reply::Last, Reply::End, Reply::Error, Reply::BadError, Reply::BadMore];

impl Reply {
    fn rest(self) -> &'static str {
        match self {
            Self::Item => r#""payload":1,"more":true"#,
            Self::Last => r#""payload":1"#,
            Self::End => r#""payload":null,"end":true"#,
            Self::Error => r#""error":{"code":3,"message":"no"}"#,
            Self::BadError => r#""error":"no""#,
            Self::BadMore => r#""payload":1,"more":"yes""#,
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::Item => "reply with `more: true`",
            Self::Last | Self::End | Self::Error => "terminal reply",
            Self::BadError | Self::BadMore => "bad reply",
        }
    }
}

const ITEM: &str = "the user sends an item, and more will follow";
const LAST: &str = "the user sends the last item, or ends";
const ABORTS: &str = "the user aborts the arguments";
const HOOK_ANSWERS: &str = "an outbound hook answers";
const INBOUND_HOOK_ANSWERS: &str = "an inbound hook answers an item";
const GIVEN_UP: &str = "given up: timeout, dropped channel, overflow, failed hook, unsendable item";
const ENDS: &str = "connection ends";

fn id(call: usize) -> Id {
    Id::new(call as u64 + 1).expect("a small number")
}

fn reply(core: &mut Connection, call: usize, reply: Reply) {
    core.handle_frame(line(&format!(r#"{{"type":"rep","id":{},{}}}"#, id(call).number(), reply.rest())));
}

/// The state of a call, by what its user and its provider can still do to a copy of the connection.
fn state_of(state: &State, call: usize) -> usize {
    let mut core = state.core.clone();
    if call >= state.calls.len() {
        return if core.call(&Arc::from("m"), None, false, None).is_ok() { 0 } else { 3 };
    }
    let can_send = core.send_arg(id(call), Some(&json("1")), true, None).is_ok();
    reply(&mut core, call, Reply::Item);
    let is_awaited = std::iter::from_fn(|| core.poll_event()).any(|event| matches!(event, Event::Reply { .. }));
    match (can_send, is_awaited) {
        (true, true) => 1,
        (false, true) => 2,
        (false, false) => 3,
        (true, false) => panic!("arguments are sent for which no reply is awaited"),
    }
}

fn actions(state: &State) -> Vec<Act> {
    if state.core.is_closing() || state.core.is_input_ended() {
        return Vec::new();
    }
    let mut all = vec![Act::Close, Act::InputEnds, Act::Break];
    if state.calls.len() < CALLS {
        all.extend([Act::Open, Act::OpenLast, Act::OpenEmpty]);
    }
    for call in 0..CALLS {
        all.extend(REPLIES.map(|reply| Act::Reply(call, reply)));
        if call < state.calls.len() {
            all.extend([Act::Item(call), Act::Last(call), Act::End(call), Act::Abort(call)]);
            all.extend([Act::GiveUp(call), Act::Forget(call), Act::Read(call)]);
            // Hooks see arguments while there are some, and items while a reply is awaited.
            all.extend((state.states[call] == 1).then_some(Act::HookAnswers(call)));
            all.extend((state.states[call] != 3).then_some(Act::InboundHookAnswers(call)));
        }
    }
    all
}

/// What an action was seen to do.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The line that went out.
    sends: Option<Sent>,
    hands_on: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Sent {
    More,
    Last,
    End,
    Abort,
}

impl Seen {
    /// What the words of a cell say.
    fn of(does: &str) -> Self {
        let sends = if does == "frame with `more: true`" {
            Some(Sent::More)
        } else if does == "last frame" {
            Some(Sent::Last)
        } else if does.contains("one `end` frame goes out") {
            Some(Sent::End)
        } else {
            does.contains("one abort frame goes out").then_some(Sent::Abort)
        };
        Self { sends, hands_on: does.contains("handed on") }
    }
}

impl Sent {
    fn of(line: &str) -> Self {
        match line {
            _ if line.contains("\"error\"") => Self::Abort,
            _ if line.contains("\"more\":true") => Self::More,
            // Without an item, and nobody asked for it.
            _ if line.contains("\"end\":true") => Self::End,
            _ => Self::Last,
        }
    }
}

/// What an action was about: the call, if it is one, and the row of the table, if there is one.
struct Done {
    call: Option<usize>,
    event: Option<&'static str>,
    hands_on: bool,
    is_error: bool,
}

fn perform(state: &mut State, act: Act) -> Done {
    let (core, item) = (&mut state.core, json("1"));
    let done = |call, event| Done { call: Some(call), event: Some(event), hands_on: false, is_error: false };
    let sent = |call, event, is_error| Done { is_error, ..done(call, event) };
    match act {
        Act::Open | Act::OpenLast | Act::OpenEmpty => {
            let payload = (act != Act::OpenEmpty).then_some(&item);
            let opened = core.call(&Arc::from("m"), payload, act == Act::Open, None).expect("the connection is open");
            state.calls.push(opened);
            done(state.calls.len() - 1, if act == Act::Open { ITEM } else { LAST })
        }
        Act::Item(call) => sent(call, ITEM, core.send_arg(id(call), Some(&item), true, None).is_err()),
        Act::Last(call) => sent(call, LAST, core.send_arg(id(call), Some(&item), false, None).is_err()),
        Act::End(call) => sent(call, LAST, core.send_arg(id(call), None, false, None).is_err()),
        Act::Abort(call) => sent(call, ABORTS, core.abort(id(call), &RemoteError::new(5, "gone"), None).is_err()),
        Act::HookAnswers(call) | Act::InboundHookAnswers(call) => {
            core.complete_call(id(call), ReplyFrame::End);
            let event = if act == Act::HookAnswers(call) { HOOK_ANSWERS } else { INBOUND_HOOK_ANSWERS };
            Done { hands_on: true, ..done(call, event) }
        }
        Act::GiveUp(call) => {
            core.fail_call(id(call), Failure::Hook);
            done(call, GIVEN_UP)
        }
        Act::Forget(call) => {
            core.forget(id(call));
            done(call, GIVEN_UP)
        }
        Act::Read(call) => {
            core.read_reply(id(call));
            Done { event: None, ..done(call, "") }
        }
        Act::Reply(call, frame) => take_reply(core, call, frame),
        Act::Close | Act::InputEnds | Act::Break => {
            match act {
                Act::Close => core.close(),
                Act::InputEnds => core.handle_end(),
                _ => core.handle_transport_failure(),
            }
            Done { call: None, ..done(0, ENDS) }
        }
    }
}

fn take_reply(core: &mut Connection, call: usize, frame: Reply) -> Done {
    reply(core, call, frame);
    let mut done = Done { call: Some(call), event: Some(frame.event()), hands_on: false, is_error: false };
    while let Some(event) = core.poll_event() {
        let Event::Reply { id, frame } = event else { continue };
        let is_terminal = frame.is_terminal();
        done.hands_on = !matches!(frame, ReplyFrame::Bad(_));
        if core.deliver_reply(id, frame) == Delivery::Overflow {
            // On the wire a terminal reply ends the call as it always does; its user is told of the overflow.
            (done.event, done.hands_on) = if is_terminal { (done.event, true) } else { (Some(GIVEN_UP), false) };
            done.is_error = true;
        }
    }
    done
}

fn act(cells: &mut Cells, state: &mut State, act: Act) {
    let before = state.states;
    let done = perform(state, act);
    while state.core.poll_event().is_some() {}
    let lines = written(&mut state.core);
    assert!(lines.len() <= 1, "{act:?} sends {lines:?}");
    state.states = [0, 1].map(|call| state_of(state, call));
    for (call, before) in before.into_iter().enumerate() {
        let after = state.states[call];
        let Some(event) = done.event.filter(|_| done.call.is_none_or(|about| about == call)) else {
            assert_eq!(after, before, "{act:?} changes the state of call {call}");
            continue;
        };
        let (does, to) = cells.look(event, before);
        let of_the_table = format!("{act:?} in `{}`: {does}", CALLER.states[before]);
        assert_eq!(CALLER.states[after], CALLER.states[to], "{of_the_table}");
        let mut seen = Seen { sends: lines.first().map(|line| Sent::of(line)), hands_on: done.hands_on };
        if event == LAST && seen.sends == Some(Sent::End) {
            seen.sends = Some(Sent::Last);
        }
        assert_eq!(seen, Seen::of(does), "{of_the_table}");
        let is_sent = [ITEM, LAST, ABORTS].contains(&event);
        let is_error = done.is_error || (!is_sent && before != after && has_failed(state, call));
        assert_eq!(is_error, does.contains("local error") || done.is_error && done.hands_on, "{of_the_table}");
    }
    check(state);
}

/// Whether the user of a call is told that it failed here.
fn has_failed(state: &State, call: usize) -> bool {
    let mut core = state.core.clone();
    let end = std::iter::from_fn(|| Some(core.read_reply(id(call)))).find(|read| !matches!(read, Read::Item(_)));
    matches!(end, Some(Read::Failed(failure)) if !matches!(failure, Failure::Remote(_)))
}

/// To take a result at once is to read it and then to let go of its call.
fn check_results(state: &State) {
    for id in &state.calls {
        let (mut at_once, mut one_by_one) = (state.core.clone(), state.core.clone());
        let has_streamed = one_by_one.has_reply_streamed(*id);
        let result = match one_by_one.read_reply(*id) {
            Read::Pending => None,
            read => {
                one_by_one.forget(*id);
                Some((read, has_streamed))
            }
        };
        assert_eq!(at_once.take_result(*id), result);
        assert_eq!(format!("{at_once:?}"), format!("{one_by_one:?}"));
    }
}

fn check(state: &mut State) {
    check_results(state);
    while let Some(ended) = state.core.poll_ended() {
        let call = (0..CALLS).find(|call| matches!(ended, Ended::Called(of, _) if of == id(*call))).expect("only calls end");
        state.told[call] += 1;
    }
    let is_open = |call: &usize| *call < state.calls.len() && state.states[*call] != 3;
    assert_eq!(state.core.outgoing(), (0..CALLS).filter(is_open).count());
    for call in 0..state.calls.len() {
        assert_eq!(state.told[call], u8::from(!is_open(&call)), "those that saw call {call} begin are told once");
    }
}

/// 2 172 states.
#[test]
fn every_reply_and_command_does_what_the_table_says() {
    let mut limits = Limits::default();
    limits.buffered_items = 1;
    let start = State { core: End::greeted_with(limits).core, calls: Vec::new(), states: [0; CALLS], told: [0; CALLS] };
    let mut cells = Cells::of(&CALLER);
    let states = explore_reading(start, actions, |state, action| act(&mut cells, state, *action));
    // Before its first frame a call is its user's alone: the core has nothing that could be given up.
    cells.check_all_seen(&[(ABORTS, 0), (HOOK_ANSWERS, 0), (GIVEN_UP, 0)]);
    assert!(states > 2_100, "{states} states; when there is less to search, say so here");
}

//! The provider's side of two ids, fed every frame that a caller can send, right or wrong, and every reply of a handler.

use bytes::Bytes;
use duplex_proto::connection::{ArgFrame, Failure, Read, Reply, ServeKey};
use duplex_proto::{Connection, Event, Limits, Raw, RemoteError};
use duplex_spec::machine::PROVIDER;

use super::{Cells, Half, Readers, explore_reading, line, written};
use crate::pair::{End, json};

/// Handlers that may be started; without a bound their keys would count up for ever.
const STARTS: usize = 2;

const IDS: [u64; 2] = [1, 2];

fn index(id: u64) -> usize {
    usize::from(id == 2)
}

#[derive(Clone, Debug)]
struct State {
    core: Connection,
    /// The state of each id.
    ids: [usize; 2],
    /// What handlers hold, the newest of an id last.
    held: Vec<(u64, ServeKey)>,
    starts: usize,
}

impl Readers for State {
    fn core(&mut self) -> &mut Connection {
        &mut self.core
    }

    fn halves(&self) -> Vec<Half> {
        self.held.iter().map(|(_, key)| Half::Args(*key)).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Frame(u64, Frame),
    Item(usize),
    Reply(usize),
    Fail(usize),
    Release(usize),
    Close,
    Break,
}

#[derive(Clone, Copy, Debug)]
enum Frame {
    More,
    Last,
    End,
    Abort,
    BadAbort,
    InvalidLast,
    InvalidMore,
    MalformedMore,
}

const FRAMES: [Frame; 8] = [
    Frame::More,
    Frame::Last,
    Frame::Abort,
    Frame::End,
    Frame::BadAbort,
    Frame::InvalidLast,
    Frame::InvalidMore,
    Frame::MalformedMore,
];

impl Frame {
    fn line(self, id: u64) -> Bytes {
        let rest = match self {
            Self::More => r#""payload":1,"more":true"#,
            Self::Last => r#""payload":1"#,
            Self::End => r#""payload":null,"end":true"#,
            Self::Abort => r#""error":{"code":5,"message":"gone"},"more":false"#,
            // An abort whatever else it says: the arguments end.
            Self::BadAbort => r#""error":"gone","more":true"#,
            // The ext is larger than the limit here; the method would be no fault of a later frame.
            Self::InvalidLast => r#""payload":1,"ext":{"long":"long"}"#,
            Self::InvalidMore => r#""payload":1,"ext":{"long":"long"},"more":true"#,
            Self::MalformedMore => r#""payload":1,"more":"yes""#,
        };
        line(&format!(r#"{{"type":"req","id":{id},"method":"m",{rest}}}"#))
    }

    /// The row of the table.
    fn event(self, state: usize) -> &'static str {
        match self {
            // `error` means nothing on the frame that opens a call.
            Self::BadAbort if state == 0 => Self::More.event(state),
            Self::Abort if state == 0 => Self::Last.event(state),
            Self::More => "frame with `more: true`",
            Self::Last | Self::End => "last frame, with an item or `end`",
            Self::Abort | Self::BadAbort => "abort frame",
            Self::InvalidLast => "invalid frame; `more` absent, null or false",
            Self::InvalidMore | Self::MalformedMore => "invalid frame; `more` true or malformed",
        }
    }
}

/// What a frame or command was seen to do.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    starts: bool,
    gives_item: bool,
    fails_arguments: bool,
    refuses: bool,
}

impl Seen {
    /// What the words of a cell say.
    fn of(does: &str) -> Self {
        Self {
            starts: does.starts_with("start"),
            gives_item: does.starts_with("item"),
            fails_arguments: does.contains("arguments fail"),
            refuses: does.contains("-32600"),
        }
    }
}

/// The state of an id, as a caller can tell it: by what its frames do to a copy of the connection.
fn state_of(core: &Connection, id: u64) -> usize {
    if core.is_closing() {
        assert_eq!((core.incoming(), core.draining()), (0, 0), "nothing is left of a connection that is over");
        return 0;
    }
    let mut core = core.clone();
    let mut send = |frame: Frame| {
        core.handle_frame(frame.line(id));
        std::iter::from_fn(|| core.poll_event()).find_map(|event| match event {
            Event::Request { first, .. } => Some(first),
            _ => None,
        })
    };
    match send(Frame::More) {
        Some(true) => 0,
        Some(false) => 1,
        None => {
            assert_eq!(send(Frame::Last), None, "a last frame is taken where one with more to come was not");
            // What drained is over; what waits for its reply drops every frame.
            if send(Frame::Last) == Some(true) { 3 } else { 2 }
        }
    }
}

fn actions(state: &State) -> Vec<Act> {
    if state.core.is_closing() {
        return Vec::new();
    }
    let mut all = vec![Act::Close, Act::Break];
    for id in IDS {
        let may_start = state.starts < STARTS || state.ids[index(id)] != 0;
        // The second id is there to be left alone by what the first does, and the other way round.
        let frames = if id == 1 { &FRAMES[..] } else { &FRAMES[..3] };
        all.extend(frames.iter().filter(|_| may_start).map(|frame| Act::Frame(id, *frame)));
    }
    for held in 0..state.held.len() {
        all.extend([Act::Item(held), Act::Reply(held), Act::Fail(held), Act::Release(held)]);
    }
    all
}

/// Takes the events of one frame, as the user of a connection has to, and reads all that there is to read.
fn settle(state: &mut State, id: u64, seen: &mut Seen) {
    while let Some(event) = state.core.poll_event() {
        let Event::Request { key, first, frame } = event else { continue };
        seen.starts = first;
        seen.gives_item = !first && !matches!(frame, ArgFrame::Aborted(_));
        if first {
            state.held.push((id, key));
            state.starts += 1;
        }
        state.core.deliver_request(key, frame);
    }
}

fn read_all(state: &mut State) -> Vec<Read> {
    let State { core, held, .. } = state;
    held.iter()
        .map(|(_, key)| {
            loop {
                let read = core.read_args(*key);
                if !matches!(read, Read::Item(_)) {
                    return read;
                }
            }
        })
        .collect()
}

fn act(cells: &mut Cells, state: &mut State, act: Act) {
    let before = state.ids;
    let reads = read_all(state);
    let (acted, event, seen) = match act {
        Act::Frame(id, frame) => {
            let seen = take_frame(state, id, frame, &reads);
            (Some(id), Some(frame.event(before[index(id)])), Some(seen))
        }
        Act::Close | Act::Break => {
            if let Act::Close = act {
                state.core.close()
            } else {
                state.core.handle_transport_failure()
            }
            (None, Some("connection ends"), None)
        }
        Act::Item(held) | Act::Reply(held) | Act::Fail(held) | Act::Release(held) => {
            let (id, is_reply) = reply(cells, state, held, act);
            (Some(id), is_reply.then_some("terminal reply sent"), None)
        }
    };
    while state.core.poll_event().is_some() {}
    while state.core.poll_ended().is_some() {}
    state.ids = IDS.map(|id| state_of(&state.core, id));
    for id in IDS {
        let (before, after) = (before[index(id)], state.ids[index(id)]);
        let Some(event) = event.filter(|_| acted.is_none_or(|acted| acted == id)) else {
            assert_eq!(after, before, "{act:?} changes the state of {id}");
            continue;
        };
        if acted.is_none() && !cells.can(event, before) {
            continue;
        }
        let (does, to) = cells.look(event, before);
        assert_eq!(PROVIDER.states[after], PROVIDER.states[to], "{act:?} in `{}`: {does}", PROVIDER.states[before]);
        if let Some(seen) = &seen {
            assert_eq!(*seen, Seen::of(does), "{act:?} in `{}`: {does}", PROVIDER.states[before]);
        }
    }
    check_reads(state, act, &reads);
}

fn take_frame(state: &mut State, id: u64, frame: Frame, reads: &[Read]) -> Seen {
    let mut seen = Seen::default();
    state.core.handle_frame(frame.line(id));
    settle(state, id, &mut seen);
    let lines = written(&mut state.core);
    seen.refuses = matches!(&lines[..], [line] if line.contains("-32600") && line.contains(&format!("\"id\":{id}")));
    assert!(lines.is_empty() || seen.refuses, "{frame:?} is answered: {lines:?}");
    let failed = |read: &Read| matches!(read, Read::Failed(Failure::Aborted(_) | Failure::Invalid));
    let now = read_all(state);
    seen.fails_arguments = now.iter().zip(reads).any(|(now, before)| failed(now) && !failed(before));
    seen
}

/// A handler sends something; says for which id, and whether it was its terminal reply.
fn reply(cells: &Cells, state: &mut State, held: usize, act: Act) -> (u64, bool) {
    let (id, key) = state.held[held];
    let of_the_id = state.ids[index(id)];
    let core = &mut state.core;
    let was_open = core.is_unanswered(key);
    if state.held.iter().rfind(|(of, _)| *of == id) == Some(&(id, key)) {
        assert!(was_open || !cells.can("terminal reply sent", of_the_id), "nobody can answer {id}");
    }
    let one: Raw = json("1");
    let sent = match act {
        Act::Item(_) => core.send_item(key, &one, None),
        Act::Reply(_) => core.reply(key, &Reply::Result(one), None),
        Act::Fail(_) => core.reply(key, &Reply::Error(RemoteError::new(3, "no")), None),
        _ => {
            state.held.remove(held);
            core.release(key);
            Ok(())
        }
    };
    let is_release = matches!(act, Act::Release(_));
    assert_eq!(sent.is_ok(), was_open || is_release, "{act:?}");
    let lines = written(core);
    assert_eq!(lines.len(), usize::from(was_open), "{act:?}: {lines:?}");
    assert!(lines.iter().all(|line| line.contains(&format!("\"id\":{id}"))));
    (id, was_open && !matches!(act, Act::Item(_)))
}

/// Arguments end once; whoever waits for arguments of a connection that is over is told.
fn check_reads(state: &mut State, act: Act, before: &[Read]) {
    let is_closing = state.core.is_closing();
    let reads = read_all(state);
    assert!(!is_closing || !reads.contains(&Read::Pending), "a handler waits for ever");
    if !matches!(act, Act::Release(_)) {
        for (now, before) in reads.iter().zip(before) {
            assert!(*before == Read::Pending || now == before, "{act:?}: the end changes from {before:?} to {now:?}");
        }
    }
}

/// 1 932 states.
#[test]
fn every_frame_and_reply_does_what_the_table_says() {
    let mut limits = Limits::default();
    limits.ext = 10;
    let start = State { core: End::greeted_with(limits).core, ids: [0; 2], held: Vec::new(), starts: 0 };
    let mut cells = Cells::of(&PROVIDER);
    let states = explore_reading(start, actions, |state, action| act(&mut cells, state, *action));
    // The connection that is over has no ids: its row of that state is what `state_of` holds.
    cells.check_all_seen(&[]);
    assert!(states > 1_900, "{states} states; when there is less to search, say so here");
}

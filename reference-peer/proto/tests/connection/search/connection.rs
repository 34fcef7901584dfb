//! The states of a connection, from before its greeting to behind its end, in both roles and with calls in every stage.

use std::sync::Arc;

use duplex_proto::connection::{Read, Reply, ServeKey};
use duplex_proto::{Config, Connection, Event, Framing, Id, Json, Limits, Role};
use duplex_spec::machine::CONNECTION;

use super::{Cells, explore, line, written};
use crate::pair::json;

/// Calls of our own, and calls served: one of these can be complete while the arguments of the other are open.
const MADE: usize = 1;
const SERVED: usize = 2;

#[derive(Clone, Debug)]
struct State {
    core: Connection,
    role: Role,
    made: Vec<Id>,
    served: Vec<ServeKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Greeting,
    Refusal,
    GreetingTimeout,
    /// A request, whose arguments are complete or not.
    Message {
        more: bool,
    },
    EmptyFrame,
    Undecodable,
    TooLong,
    EndOfInput,
    Close,
    AllWritten,
    ClosingTimeout,
    Limit,
    Break,
    /// What is in no row: it leaves the connection as it is, but for the last reply that is due.
    Call {
        more: bool,
    },
    Answer(usize),
}

const EVERY: [Act; 18] = [
    Act::Greeting,
    Act::Refusal,
    Act::GreetingTimeout,
    Act::Message { more: true },
    Act::Message { more: false },
    Act::EmptyFrame,
    Act::Undecodable,
    Act::TooLong,
    Act::EndOfInput,
    Act::Close,
    Act::AllWritten,
    Act::ClosingTimeout,
    Act::Limit,
    Act::Break,
    Act::Call { more: true },
    Act::Call { more: false },
    Act::Answer(0),
    Act::Answer(1),
];

impl Act {
    fn event(self) -> Option<&'static str> {
        Some(match self {
            Self::Greeting => "greeting answered with `+`",
            Self::Refusal => "greeting refused or malformed",
            Self::GreetingTimeout => "greeting time over",
            Self::Message { .. } => "message",
            Self::EmptyFrame => "empty frame",
            Self::Undecodable | Self::TooLong => "frame undecodable or too large",
            Self::EndOfInput => "end of the input alone",
            Self::Close => "`close` called",
            Self::AllWritten => "all that was due is written",
            Self::ClosingTimeout => "closing time over",
            Self::Limit => "a limit of the connection passed",
            Self::Break => "transport breaks, or ends both ways at once",
            Self::Call { .. } | Self::Answer(_) => return None,
        })
    }
}

impl State {
    fn new(role: Role) -> Self {
        let mut limits = Limits::default();
        (limits.outbound_bytes, limits.frame) = (0, 200);
        let core = Connection::new(Config { role, framing: Framing::Newline, codecs: vec![Arc::new(Json)], limits });
        Self { core, role, made: Vec::new(), served: Vec::new() }
    }

    fn index(&self) -> usize {
        match &self.core {
            core if core.is_greeting() => 0,
            core if !core.is_closing() && !core.is_input_ended() => 1,
            core if !core.is_closing() => 2,
            core if !core.is_over() => 3,
            _ => 4,
        }
    }

    fn actions(&self, cells: &Cells) -> Vec<Act> {
        let can = |act: &Act| match act {
            Act::Call { .. } => self.index() == 1 && self.made.len() < MADE,
            Act::Answer(index) => self.served.get(*index).is_some_and(|key| self.core.is_unanswered(*key)),
            Act::Message { .. } if self.index() == 1 => self.served.len() < SERVED,
            act => act.event().is_some_and(|event| cells.can(event, self.index())),
        };
        EVERY.into_iter().filter(can).collect()
    }

    fn perform(&mut self, act: Act) {
        let core = &mut self.core;
        match act {
            Act::Greeting if self.role == Role::Acceptor => core.handle_frame(line("SIMPLEX/1.0;json")),
            Act::Greeting => core.handle_frame(line("+OK")),
            Act::Refusal if self.role == Role::Acceptor => core.handle_frame(line("SIMPLEX/2.0;json")),
            Act::Refusal => core.handle_frame(line("-ERR no")),
            Act::GreetingTimeout => core.handle_greeting_timeout(),
            Act::Message { more } => {
                let id = self.served.len() + 1;
                core.handle_frame(line(&format!(r#"{{"type":"req","id":{id},"method":"m","payload":1,"more":{more}}}"#)));
            }
            Act::EmptyFrame => core.handle_frame(line("")),
            Act::Undecodable => core.handle_frame(line("[]")),
            Act::TooLong => core.handle_oversized(),
            Act::EndOfInput => core.handle_end(),
            Act::Close => core.close(),
            // What is due is what was sent, and the replies to come.
            Act::AllWritten => {
                for key in &self.served {
                    _ = core.reply(*key, &Reply::Result(json("1")), None);
                }
                written(core);
            }
            // Whoever drives the core then ends the transport.
            Act::ClosingTimeout => {
                core.handle_closing_timeout();
                core.handle_transport_failure();
            }
            Act::Limit => self.pass_limit(),
            Act::Break => core.handle_transport_failure(),
            Act::Call { more } => {
                self.made.push(core.call(&Arc::from("m"), Some(&json("1")), more, None).expect("the connection is open"));
            }
            Act::Answer(index) => core.reply(self.served[index], &Reply::End, None).expect("it waits for its reply"),
        }
        // Handlers that can answer at once have none to give here.
        self.core.handle_flushed();
    }

    /// Keepalives fill what may wait to be written; then comes a frame that nobody can wait for.
    fn pass_limit(&mut self) {
        let core = &mut self.core;
        for _ in 0..=core.limits().frame {
            _ = core.keepalive();
        }
        core.handle_frame(line(r#"{"type":"req","id":99,"method":5}"#));
        let large = json(&format!("\"{}\"", "x".repeat(core.limits().frame)));
        for key in &self.served {
            _ = core.reply(*key, &Reply::Result(large.clone()), None);
        }
    }

    /// Takes the events; says what there was.
    fn take_events(&mut self) -> Vec<&'static str> {
        let mut all = Vec::new();
        while let Some(event) = self.core.poll_event() {
            all.push(match event {
                Event::Ready => "ready",
                Event::Request { key, frame, .. } => {
                    self.served.push(key);
                    self.core.deliver_request(key, frame);
                    "request"
                }
                Event::InputEnded => "input ended",
                Event::Closing(_) => "closing",
                _ => "other",
            });
        }
        while self.core.poll_ended().is_some() {}
        all
    }
}

fn act(cells: &mut Cells, state: &mut State, act: Act) {
    let before = state.index();
    let due = state.core.incoming();
    state.perform(act);
    let events = state.take_events();
    let after = state.index();
    let Some(event) = act.event() else {
        let is_last_due = before == 2 && state.core.incoming() == 0;
        assert!(if is_last_due { after >= 3 } else { after == before }, "{act:?} leads from {before} to {after}");
        return;
    };
    let (does, to) = cells.look(event, before);
    let of_the_table = format!("{act:?} in `{}`, {due} due: {does}; then it is `{}`", CONNECTION.states[before], after);
    match to {
        // To be closed is to be closing with nothing left to write; and who has no call to answer has nothing to wait for.
        3 | 4 => assert!(after >= 3, "{of_the_table}"),
        2 if state.core.incoming() == 0 => assert!(after >= 3, "{of_the_table}"),
        _ => assert_eq!(after, to, "{of_the_table}"),
    }
    if to == 4
        && ["all that was due is written", "closing time over", "transport breaks, or ends both ways at once"].contains(&event)
    {
        assert_eq!(after, 4, "{of_the_table}");
    }
    check_words(state, does, &events, &of_the_table);
    check(state);
}

/// What the words of a cell say was seen.
fn check_words(state: &mut State, does: &str, events: &[&str], of_the_table: &str) {
    let is_nothing = ["nothing", "ignored", "dropped", "dropped unread"].contains(&does);
    assert!(!is_nothing || events.is_empty(), "{of_the_table}: {events:?}");
    assert!(does != "handled" || events.contains(&"request"), "{of_the_table}: {events:?}");
    assert!(does != "reported" || state.core.end_reason().is_some(), "{of_the_table}");
    assert!(!does.contains("own calls") || state.core.outgoing() == 0, "{of_the_table}");
    assert!(!does.contains("handlers are told") || events.contains(&"closing"), "{of_the_table}: {events:?}");
    assert!(does != "without a word" || !state.core.has_output(), "{of_the_table}");
    if does.contains("acceptor answers `-`") && state.role == Role::Acceptor {
        assert!(state.core.clone().poll_transmit().is_some_and(|bytes| bytes.starts_with(b"-ERR ")), "{of_the_table}");
    }
}

/// To answer and let go at once is to reply and then to let go.
fn check_answers(state: &State) {
    let large = json(&format!("\"{}\"", "x".repeat(state.core.limits().frame)));
    for key in &state.served {
        for reply in [Reply::End, Reply::Result(large.clone())] {
            let (mut at_once, mut one_by_one) = (state.core.clone(), state.core.clone());
            let ext = one_by_one.ext(*key).cloned();
            let sent = one_by_one.reply(*key, &reply, ext.as_ref());
            one_by_one.release(*key);
            assert_eq!(at_once.answer(*key, &reply), sent);
            assert_eq!(format!("{at_once:?}"), format!("{one_by_one:?}"), "after {reply:?}");
        }
    }
}

/// Whatever the state: who waits for what cannot come any more has been told.
fn check(state: &mut State) {
    check_answers(state);
    let core = &mut state.core;
    if core.is_closing() || core.is_input_ended() {
        let results: Vec<Read> = state.made.iter().map(|id| core.read_reply(*id)).collect();
        assert!(!results.contains(&Read::Pending), "a caller waits for ever");
        let args: Vec<Read> = state
            .served
            .iter()
            .map(|key| {
                _ = core.read_args(*key);
                core.read_args(*key)
            })
            .collect();
        assert!(!args.contains(&Read::Pending), "a handler waits for ever");
        assert!(core.call(&Arc::from("m"), None, false, None).is_err());
        let is_due = |key: &ServeKey| core.is_unanswered(*key);
        let whole = args.iter().filter(|read| **read == Read::End).count();
        assert!(state.served.iter().filter(|key| is_due(key)).count() <= whole, "only what came whole is answered");
    }
    if core.is_closing() {
        assert_eq!((core.outgoing(), core.incoming(), core.draining()), (0, 0, 0));
        assert!(core.end_reason().is_some());
    }
}

/// 3 268 states.
#[test]
fn every_event_does_what_the_table_says() {
    let mut cells = Cells::of(&CONNECTION);
    let mut states = 0;
    for role in [Role::Acceptor, Role::Initiator] {
        let table = Cells::of(&CONNECTION);
        states +=
            explore(State::new(role), |state| state.actions(&table), |_| {}, |state, action| act(&mut cells, state, *action));
    }
    cells.check_all_seen(&[]);
    assert!(states > 3_200, "{states} states; when there is less to search, say so here");
}

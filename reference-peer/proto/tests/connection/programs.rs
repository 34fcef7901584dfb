//! Two cores run random programs with each other, over a transport that splits, glues, delays and cuts what they write.
//!
//! A program is a list of actions of either user, of either side's hooks, and of the transport. A model keeps what each user
//! sent and saw, a tap what went over the wire; what must be true of them is in `side.rs` and `wire.rs`. There is no clock: a
//! time limit is an action like any other. `PROPTEST_CASES=100000 cargo test -p duplex-proto programs` runs more of them.

mod act;
mod side;
mod wire;

use std::sync::Arc;

use duplex_proto::connection::{EndReason, Failure, Reply, SendError};
use duplex_proto::{Codec, Config, Ext, Format, Framing, Json, MessagePack, Raw, RemoteError, Role};
use proptest::prelude::*;

use act::{Act, Program, program};
use side::{Made, Reader, Side, Verdict};
use wire::{Pipe, Sent};

struct Run {
    sides: [Side; 2],
    /// From this side to the other.
    pipes: [Pipe; 2],
    /// Whether something that was written may never have gone out.
    is_lossy: [bool; 2],
    framing: Framing,
    format: Format,
    items: usize,
}

impl Run {
    fn new(program: &Program) -> Self {
        let (framing, codec): (Framing, Arc<dyn Codec>) = match program.configuration {
            0 => (Framing::Length, Arc::new(Json)),
            1 => (Framing::Newline, Arc::new(Json)),
            2 => (Framing::Message, Arc::new(Json)),
            3 => (Framing::Length, Arc::new(MessagePack)),
            _ => (Framing::Message, Arc::new(MessagePack)),
        };
        let side = |index: usize, role| {
            let config = Config { role, framing, codecs: vec![Arc::clone(&codec)], limits: program.limits[index].clone() };
            Side::new(config, Arc::clone(&codec), program.leaves_early_ends[index])
        };
        let sides = [side(0, Role::Initiator), side(1, Role::Acceptor)];
        let format = codec.format();
        let mut run = Self { sides, pipes: Default::default(), is_lossy: [false; 2], framing, format, items: 0 };
        if program.is_greeted {
            run.carry();
        }
        run
    }

    /// An item that is unlike any other.
    fn item(&mut self, padding: usize) -> Raw {
        self.items += 1;
        if padding == 7 {
            return Raw::null(self.format);
        }
        Raw::encode(self.format, &(self.items, "x".repeat(padding))).expect("it has an encoding")
    }

    fn ext(&self, size: usize) -> Option<Ext> {
        let mut ext = Ext::new(self.format);
        ext.set("e", &"x".repeat(size)).expect("a string has an encoding");
        (size > 0).then_some(ext)
    }

    // ---- the transport ----

    fn write(&mut self, from: usize, pieces: &[usize]) {
        let lengths = if self.framing == Framing::Message { &[] } else { pieces };
        while let Some(bytes) = self.sides[from].core.poll_transmit() {
            self.sides[from].tap.see(&bytes);
            self.sides[from].unwritten += bytes.len();
            self.pipes[from].write(bytes, lengths);
        }
        if self.sides[from].core.is_over() {
            self.pipes[from].is_ended = true;
        }
    }

    fn written(&mut self, from: usize, bytes: usize) {
        let bytes = bytes.min(self.sides[from].unwritten);
        self.sides[from].unwritten -= bytes;
        self.sides[from].core.handle_written(bytes);
    }

    /// The next piece arrives, or the end; says whether there was any.
    fn arrive(&mut self, to: usize) -> bool {
        let (side, pipe) = (&mut self.sides[to], &mut self.pipes[1 - to]);
        // A message that has arrived is taken before the next, and what came whole before the end.
        if self.framing == Framing::Message && !side.inbound.is_empty() {
            return false;
        }
        if let Some(piece) = pipe.pieces.pop_front() {
            side.inbound.extend_from_slice(&piece);
            return true;
        }
        if !pipe.is_ended || side.is_input_over {
            return false;
        }
        while side.step(Verdict::Pass) {}
        side.is_input_over = true;
        side.core.handle_end();
        side.take_events();
        true
    }

    /// Carries everything that is under way, until both sides are quiet.
    fn carry(&mut self) {
        loop {
            let mut moved = false;
            for side in [0, 1] {
                self.sides[side].send_early_ends();
                self.write(side, &[]);
                self.written(side, usize::MAX);
                moved |= self.arrive(side);
                while self.sides[side].step(Verdict::Pass) {
                    moved = true;
                }
                self.sides[side].core.handle_flushed();
                self.sides[side].take_events();
                moved |= !self.sides[side].events.is_empty();
            }
            let is_quiet = |side: usize| {
                let (pipe, is_told) = (&self.pipes[side], self.sides[1 - side].is_input_over);
                !self.sides[side].core.has_output() && pipe.pieces.is_empty() && (is_told || !pipe.is_ended)
            };
            if !moved && is_quiet(0) && is_quiet(1) {
                return;
            }
        }
    }

    // ---- the program ----

    fn act(&mut self, side: usize, act: &Act) {
        match act {
            Act::Call { payload, more, ext, method, inside } => self.call(side, *payload, *more, *ext, *method, *inside),
            Act::Notify { payload } => {
                let (item, side) = (self.item(*payload), &mut self.sides[side]);
                let may_call = side.may_call();
                assert!(side.core.notify("n", &item, None).is_err() || may_call);
            }
            Act::SendArg { call, payload, more, ext } => self.send_arg(side, *call, *payload, *more, *ext),
            Act::Abort { call } => {
                let Some(index) = self.made(side, *call) else { return };
                let (id, may_send) = (self.sides[side].made[index].id, self.sides[side].may_send_args(index));
                if self.sides[side].core.abort(id, &RemoteError::new(5, "gone"), None).is_ok() {
                    assert!(may_send);
                    self.sides[side].made[index].commands.push(Sent::Error(5));
                }
            }
            Act::ReadResults { call } => {
                let Some(index) = self.made(side, *call) else { return };
                self.sides[side].await_results(index);
            }
            Act::TakeResult { call } => {
                let Some(index) = self.made(side, *call) else { return };
                self.sides[side].take_result(index);
            }
            Act::GiveUp { call } => {
                let Some(index) = self.made(side, *call) else { return };
                let Side { core, made, .. } = &mut self.sides[side];
                made[index].is_local = true;
                core.fail_call(made[index].id, Failure::Hook);
            }
            Act::Forget { call } => {
                let Some(index) = self.made(side, *call) else { return };
                self.sides[side].forget(index);
            }
            _ => self.act_as_provider(side, act),
        }
    }

    fn act_as_provider(&mut self, side: usize, act: &Act) {
        let (Act::ReadArgs { call }
        | Act::SendItem { call, .. }
        | Act::Reply { call, .. }
        | Act::Answer { call, .. }
        | Act::Fail { call, .. }
        | Act::Abandon { call }
        | Act::Release { call }) = act
        else {
            return self.act_on_the_connection(side, act);
        };
        let Some(index) = pick(self.sides[side].served.len(), *call) else { return };
        match act {
            Act::SendItem { payload, .. } => {
                let item = self.item(*payload);
                let Side { core, served, .. } = &mut self.sides[side];
                let served = &mut served[index];
                let (ext, is_closed) = (core.ext(served.key).cloned(), core.is_closing());
                if !served.is_released && core.send_item(served.key, &item, ext.as_ref()).is_ok() {
                    assert!(!is_closed);
                    served.commands.extend(served.id.map(|_| Sent::Item(item)));
                }
            }
            Act::Reply { payload, .. } => {
                let reply = self.result(*payload);
                self.sides[side].reply(index, reply);
            }
            Act::Answer { payload, .. } => {
                let reply = self.result(*payload);
                self.sides[side].answer_and_release(index, reply);
            }
            Act::Fail { code, .. } => self.sides[side].reply(index, Reply::Error(RemoteError::new(*code, "no"))),
            // Only a handler that saw the end gives up without a reply.
            Act::Abandon { .. } if self.sides[side].core.is_input_ended() => {
                let Side { core, served, .. } = &mut self.sides[side];
                core.abandon(served[index].key);
            }
            Act::Release { .. } => self.sides[side].release(index),
            _ => self.sides[side].await_args(index),
        }
    }

    fn act_on_the_connection(&mut self, side: usize, act: &Act) {
        match act {
            Act::Write { pieces } => self.write(side, pieces),
            Act::Written { bytes } => self.written(side, *bytes),
            Act::Arrive => _ = self.arrive(side),
            Act::Step { verdict, times } => (0..*times).for_each(|_| _ = self.sides[side].step(*verdict)),
            Act::EndOutput => self.pipes[side].is_ended = true,
            Act::Cut { after } if self.framing == Framing::Message => self.pipes[side].cut_messages(*after % 4),
            Act::Cut { after } => self.pipes[side].cut(*after),
            act => {
                let core = &mut self.sides[side].core;
                match act {
                    Act::Keepalive => _ = core.keepalive(),
                    Act::Close => core.close(),
                    Act::EarlyEnds => return self.sides[side].send_early_ends(),
                    Act::Flushed => core.handle_flushed(),
                    Act::Break => {
                        core.handle_transport_failure();
                        self.is_lossy[side] = true;
                        self.pipes[side].is_ended = true;
                    }
                    Act::ClosingTimeout if core.is_input_ended() => core.handle_closing_timeout(),
                    Act::GreetingTimeout if core.is_greeting() => {
                        core.handle_greeting_timeout();
                        self.is_lossy[side] = true;
                    }
                    _ => {}
                }
                self.sides[side].take_events();
            }
        }
    }

    fn result(&mut self, padding: Option<usize>) -> Reply {
        padding.map_or(Reply::End, |padding| Reply::Result(self.item(padding)))
    }

    fn made(&self, side: usize, call: usize) -> Option<usize> {
        pick(self.sides[side].made.len(), call)
    }

    fn call(&mut self, side: usize, payload: Option<usize>, more: bool, ext: usize, method: usize, inside: Option<usize>) {
        let payload = payload.map(|padding| self.item(padding));
        let ext = self.ext(ext);
        let may_call = self.sides[side].may_call();
        let Side { core, made, served, .. } = &mut self.sides[side];
        let method = Arc::from(format!("m{}", "x".repeat(method)));
        let Ok(id) = core.call(&method, payload.as_ref(), more, ext.as_ref()) else { return };
        assert!(may_call);
        let inside = inside.and_then(|call| pick(served.len(), call)).map(|index| served[index].key);
        let first = match payload {
            Some(item) if more => Sent::Item(item),
            Some(item) => Sent::Last(item),
            None => Sent::End,
        };
        let (commands, reader) = (vec![first], Reader::default());
        made.push(Made { id, commands, reader, is_local: false, is_forgotten: false, inside });
    }

    fn send_arg(&mut self, side: usize, call: usize, payload: Option<usize>, more: bool, ext: usize) {
        let Some(index) = self.made(side, call) else { return };
        let payload = payload.map(|padding| self.item(padding));
        let ext = self.ext(ext);
        let may_send = self.sides[side].may_send_args(index);
        let Side { core, made, .. } = &mut self.sides[side];
        let made = &mut made[index];
        match core.send_arg(made.id, payload.as_ref(), more, ext.as_ref()) {
            Ok(()) => {
                assert!(may_send);
                made.commands.push(match payload {
                    Some(item) if more => Sent::Item(item),
                    Some(item) => Sent::Last(item),
                    None => Sent::End,
                });
            }
            Err(SendError::TooLarge) => made.is_local = true,
            Err(_) => {}
        }
    }

    // ---- the end ----

    /// Every handler reads what it is sent, waits for the calls that it made, and answers; every caller ends its arguments and
    /// reads its results. Until nothing moves.
    fn wind_down(&mut self) {
        loop {
            self.carry();
            let mut moved = false;
            for side in [0, 1] {
                for index in 0..self.sides[side].served.len() {
                    moved |= self.sides[side].read_args(index);
                    moved |= self.finish_handler(side, index);
                }
                for index in 0..self.sides[side].made.len() {
                    self.send_arg(side, index, None, false, 0);
                    moved |= self.sides[side].read_results(index);
                }
            }
            if !moved && self.sides.iter().all(|side| !side.core.has_output()) {
                return;
            }
        }
    }

    fn finish_handler(&mut self, side: usize, index: usize) -> bool {
        let Side { made, served, .. } = &self.sides[side];
        let is_waiting = |made: &Made| made.inside == Some(served[index].key) && made.reader.end.is_none() && !made.is_forgotten;
        if served[index].is_released || served[index].reader.end.is_none() || made.iter().any(is_waiting) {
            return false;
        }
        self.sides[side].reply(index, Reply::End);
        self.sides[side].release(index);
        true
    }

    fn is_alive(&self) -> bool {
        let is_open = |side: &Side| !side.core.is_closing() && !side.core.is_input_ended() && !side.core.is_greeting();
        self.sides.iter().all(is_open) && self.pipes.iter().all(|pipe| !pipe.is_ended)
    }

    fn check(&mut self) {
        for side in [0, 1] {
            self.sides[side].take_ended();
            self.sides[side].check_reads(&self.sides[1 - side].tap);
            self.sides[side].check_pending();
            self.sides[side].check_woken();
            let core = &self.sides[side].core;
            assert!(core.outgoing() + core.incoming() == 0 || !core.is_closing(), "calls are pending, and it is over");
            self.check_reason(side);
            if !self.is_lossy[side] && !core.has_output() {
                self.sides[side].check_sent();
            }
        }
    }

    /// A connection ends for a reason that there was.
    fn check_reason(&self, side: usize) {
        let (core, other) = (&self.sides[side].core, &self.sides[1 - side].core);
        let is_explained = match core.end_reason() {
            None | Some(EndReason::Local | EndReason::GreetingTimeout) => true,
            Some(EndReason::Remote) => core.is_input_ended(),
            Some(EndReason::TooLong(_)) => core.limits().frame < other.limits().frame,
            Some(EndReason::Limit("draining_ids")) => core.limits().draining_ids < 4,
            Some(EndReason::Limit(_)) => core.limits().outbound_bytes < 2000,
            Some(EndReason::Transport) => self.is_lossy[side],
            // Nobody sends what cannot be understood.
            Some(_) => false,
        };
        assert!(is_explained, "it ended for no reason: {:?}", core.end_reason());
    }

    /// Everything that was begun has been finished, and read.
    fn check_done(&self) {
        let is_alive = self.is_alive();
        for side in &self.sides {
            side.check_all_ended();
            let core = &side.core;
            assert_eq!(core.buffered_bytes(), 0, "there is more to read");
            assert!(!is_alive || (core.outgoing(), core.incoming(), core.draining()) == (0, 0, 0), "calls are open");
        }
    }

    /// Both users let go of everything: nothing is left.
    fn let_go(&mut self) {
        for side in &mut self.sides {
            (0..side.made.len()).for_each(|index| side.forget(index));
            (0..side.served.len()).for_each(|index| side.release(index));
        }
        self.carry();
        self.check();
        for side in &self.sides {
            side.check_told();
            side.check_empty();
        }
    }

    fn end(&mut self, side: usize, how: &Act) {
        self.act(side, how);
        self.wind_down();
        if matches!(how, Act::Close | Act::EndOutput | Act::Cut { .. } | Act::Break) {
            assert!(self.sides.iter().all(|side| side.core.is_closing()), "what is done ends without a time limit");
        }
        self.sides[side].core.close();
        self.wind_down();
        self.check();
        for side in &self.sides {
            assert!(side.core.is_closing());
        }
        self.check_done();
        self.let_go();
    }
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_left_behind(program in program()) {
        let mut run = Run::new(&program);
        for (side, act) in &program.acts {
            run.act(*side, act);
            run.check();
        }
        run.wind_down();
        run.check();
        if run.is_alive() {
            run.check_done();
            run.let_go();
            // And it still works.
            run.call(0, Some(1), true, 0, 0, None);
            run.wind_down();
            run.check_done();
        }
        run.end(program.ending.0, &program.ending.1);
    }
}

fn pick(length: usize, wanted: usize) -> Option<usize> {
    // The newest first: that is the one that most actions are for.
    (length > 0).then(|| length - 1 - wanted % length)
}

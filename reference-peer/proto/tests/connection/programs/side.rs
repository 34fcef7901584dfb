//! One side of a program: a core, the bytes and events on their way to it, and a model of what its user did and saw.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::task::Waker;

use bytes::BytesMut;
use duplex_proto::codec::{IdMember, Kind};
use duplex_proto::connection::{CallEnd, Delivery, Ended, Failure, Read, Reply, ReplyFrame, SendError, ServeKey};
use duplex_proto::{Codec, Config, Connection, Deframer, Event, Id, Raw, RemoteError};

use super::wire::{Sent, Tap};
use crate::pair::Woken;

/// What the user of one end of a channel has read.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) items: Vec<Raw>,
    pub(crate) end: Option<Read>,
    /// Since it found nothing to read.
    waits: Option<Arc<Woken>>,
}

impl Reader {
    /// Waits to be woken.
    fn wait(&mut self) -> Waker {
        Waker::from(Arc::clone(self.waits.insert(Arc::default())))
    }

    /// A reader that waits is woken once there is something to read, and not before.
    fn check_woken(&mut self, read: &Read) {
        if let Some(woken) = &self.waits {
            let is_woken = woken.is_so();
            assert_eq!(is_woken, *read != Read::Pending, "{read:?} is to be read");
            self.waits = self.waits.take().filter(|_| !is_woken);
        }
    }

    /// Takes what was read; says whether it was anything.
    pub(crate) fn take(&mut self, read: Read) -> bool {
        match (read, &self.end) {
            (Read::Pending, None) => return false,
            (Read::Item(item), None) => self.items.push(item),
            (end, None) => self.end = Some(end),
            (again, Some(end)) => {
                assert_eq!(&again, end, "the end is read again as it was");
                return false;
            }
        }
        self.waits = None;
        true
    }
}

/// A call that this side made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: Id,
    /// What the user sent; the frames on the wire begin with these.
    pub(crate) commands: Vec<Sent>,
    pub(crate) reader: Reader,
    /// Whether it was ended here, by a hook or by a limit.
    pub(crate) is_local: bool,
    pub(crate) is_forgotten: bool,
    /// The served call whose handler made it.
    pub(crate) inside: Option<ServeKey>,
}

/// A call that this side serves.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) key: ServeKey,
    pub(crate) id: Option<Id>,
    pub(crate) commands: Vec<Sent>,
    pub(crate) reader: Reader,
    pub(crate) is_local: bool,
    pub(crate) is_released: bool,
}

/// What hooks do with a frame that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    Answer,
    Fail,
}

pub(crate) struct Side {
    pub(crate) core: Connection,
    codec: Arc<dyn Codec>,
    deframer: Deframer,
    pub(crate) inbound: BytesMut,
    /// Taken from the core, and in the hands of hooks: no frame goes in before these are answered.
    pub(crate) events: VecDeque<Event>,
    pub(crate) made: Vec<Made>,
    pub(crate) served: Vec<Served>,
    /// Taken by the transport and not reported written.
    pub(crate) unwritten: usize,
    pub(crate) is_input_over: bool,
    pub(crate) tap: Tap,
    called: HashMap<Id, CallEnd>,
    served_ends: HashMap<ServeKey, CallEnd>,
    /// Calls whose terminal reply has come in whole, while frames were handled.
    answered: HashSet<Id>,
}

impl Side {
    pub(crate) fn new(config: Config, codec: Arc<dyn Codec>, leaves_early_ends: bool) -> Self {
        let framing = config.framing;
        let mut core = Connection::new(config);
        if leaves_early_ends {
            core.leave_early_ends();
        }
        Self {
            core,
            codec: Arc::clone(&codec),
            deframer: Deframer::new(framing),
            inbound: BytesMut::new(),
            events: VecDeque::new(),
            made: Vec::new(),
            served: Vec::new(),
            unwritten: 0,
            is_input_over: false,
            tap: Tap::new(framing, codec),
            called: HashMap::new(),
            served_ends: HashMap::new(),
            answered: HashSet::new(),
        }
    }

    // ---- input ----

    /// Answers one event, or lets one frame in; says whether there was any.
    pub(crate) fn step(&mut self, verdict: Verdict) -> bool {
        if let Some(event) = self.events.pop_front() {
            self.answer(event, verdict);
            return true;
        }
        match self.deframer.next_frame(&mut self.inbound, self.core.frame_limit()) {
            Ok(Some(frame)) => {
                self.note_reply(&frame);
                self.core.handle_frame(frame);
            }
            Ok(None) => return false,
            Err(_) => {
                self.core.handle_oversized();
                self.inbound.clear();
            }
        }
        self.take_events();
        true
    }

    pub(crate) fn take_events(&mut self) {
        self.events.extend(std::iter::from_fn(|| self.core.poll_event()));
    }

    fn note_reply(&mut self, frame: &bytes::Bytes) {
        if self.core.is_greeting() || self.core.is_closing() || self.core.is_flushing() {
            return;
        }
        let Ok(message) = self.codec.decode(frame.clone(), usize::MAX) else { return };
        if let (Kind::Reply, IdMember::Valid(id), true) = (message.kind, message.id, Sent::of(&message).is_last()) {
            self.answered.insert(id);
        }
    }

    fn answer(&mut self, event: Event, verdict: Verdict) {
        match event {
            Event::Request { key, first, frame } => {
                if first {
                    let id = self.core.id(key);
                    let (commands, reader) = (Vec::new(), Reader::default());
                    self.served.push(Served { key, id, commands, reader, is_local: false, is_released: false });
                }
                if verdict == Verdict::Pass {
                    let delivery = self.core.deliver_request(key, frame);
                    if let Some(served) = self.served.iter_mut().find(|served| served.key == key) {
                        served.is_local |= delivery == Delivery::Overflow;
                    }
                } else {
                    self.core.fail_handler(key, Failure::Hook);
                    let index = self.served.iter().position(|served| served.key == key).expect("it was started");
                    self.served[index].is_local = true;
                    self.reply(index, Reply::Error(RemoteError::new(77, "hook")));
                    if first {
                        self.release(index);
                    }
                }
            }
            Event::Reply { id, frame } => {
                let made = self.made.iter_mut().find(|made| made.id == id).expect("only calls are replied to");
                match verdict {
                    _ if matches!(frame, ReplyFrame::Bad(_)) => panic!("no side sends bad replies"),
                    Verdict::Fail => {
                        made.is_local = true;
                        self.core.fail_call(id, Failure::Hook);
                    }
                    Verdict::Answer => {
                        made.is_local = true;
                        self.core.complete_call(id, ReplyFrame::Error(RemoteError::new(78, "hook")));
                    }
                    Verdict::Pass => made.is_local |= self.core.deliver_reply(id, frame) == Delivery::Overflow,
                }
            }
            // The rest shows in the core's state.
            _ => {}
        }
        self.take_events();
    }

    // ---- output ----

    pub(crate) fn take_ended(&mut self) {
        while let Some(ended) = self.core.poll_ended() {
            let again = match ended {
                Ended::Called(id, end) => self.called.insert(id, end).is_some(),
                Ended::Served(key, end) => self.served_ends.insert(key, end).is_some(),
            };
            assert!(!again, "told twice: {ended:?}");
        }
    }

    pub(crate) fn send_early_ends(&mut self) {
        for end in self.core.poll_early_ends() {
            self.core.send_early_end(&end, None);
        }
    }

    // ---- what the user does ----

    pub(crate) fn may_call(&self) -> bool {
        !self.core.is_greeting() && !self.core.is_closing() && !self.core.is_input_ended()
    }

    /// Whether arguments can still be taken: nothing has ended them that the core has seen.
    pub(crate) fn may_send_args(&self, index: usize) -> bool {
        let made = &self.made[index];
        self.may_call() && self.is_pending(made) && !made.commands.last().is_some_and(Sent::is_last)
    }

    fn is_pending(&self, made: &Made) -> bool {
        !made.is_forgotten && !made.is_local && !self.answered.contains(&made.id)
    }

    pub(crate) fn read_results(&mut self, index: usize) -> bool {
        let made = &mut self.made[index];
        !made.is_forgotten && made.reader.take(self.core.read_reply(made.id))
    }

    pub(crate) fn read_args(&mut self, index: usize) -> bool {
        let served = &mut self.served[index];
        !served.is_released && served.reader.take(self.core.read_args(served.key))
    }

    /// Reads, and waits if there is nothing more to read.
    pub(crate) fn await_results(&mut self, index: usize) {
        self.read_results(index);
        let made = &mut self.made[index];
        if !made.is_forgotten && self.core.clone().read_reply(made.id) == Read::Pending {
            self.core.wait_for_reply(made.id, &made.reader.wait());
        }
    }

    /// The same for the arguments of a served call.
    pub(crate) fn await_args(&mut self, index: usize) {
        self.read_args(index);
        let served = &mut self.served[index];
        if !served.is_released && self.core.clone().read_args(served.key) == Read::Pending {
            self.core.wait_for_args(served.key, &served.reader.wait());
        }
    }

    pub(crate) fn reply(&mut self, index: usize, reply: Reply) {
        let served = &mut self.served[index];
        if served.is_released {
            return;
        }
        let sent = match &reply {
            Reply::Result(item) => Sent::Last(item.clone()),
            Reply::End => Sent::End,
            Reply::Error(error) => Sent::Error(error.code.0),
        };
        let ext = self.core.ext(served.key).cloned();
        let was_open = self.core.is_unanswered(served.key);
        match self.core.reply(served.key, &reply, ext.as_ref()) {
            Ok(()) => {
                assert!(was_open || served.id.is_none());
                served.commands.extend(served.id.map(|_| sent));
            }
            Err(SendError::TooLarge) => assert!(was_open && !self.core.is_unanswered(served.key)),
            Err(_) => assert!(!was_open),
        }
    }

    pub(crate) fn release(&mut self, index: usize) {
        if !std::mem::replace(&mut self.served[index].is_released, true) {
            self.core.release(self.served[index].key);
        }
    }

    /// Replies and lets go, which is the same in one step.
    pub(crate) fn answer_and_release(&mut self, index: usize, reply: Reply) {
        let served = &self.served[index];
        if served.is_released {
            return;
        }
        let mut at_once = self.core.clone();
        _ = at_once.answer(served.key, &reply);
        self.reply(index, reply);
        self.release(index);
        assert_eq!(format!("{at_once:?}"), format!("{:?}", self.core));
    }

    /// Reads one result and lets go, which is the same in one step.
    pub(crate) fn take_result(&mut self, index: usize) {
        let made = &self.made[index];
        if made.is_forgotten || made.reader.end.is_some() {
            return;
        }
        let (id, count) = (made.id, made.reader.items.len());
        let mut at_once = self.core.clone();
        let taken = at_once.take_result(id);
        let has_streamed = self.core.has_reply_streamed(id);
        if self.read_results(index) {
            let Reader { items, end, .. } = &self.made[index].reader;
            let read = items.get(count).cloned().map(Read::Item).or(end.clone());
            assert_eq!(taken, read.map(|read| (read, has_streamed)));
            self.forget(index);
        } else {
            assert_eq!(taken, None);
        }
        assert_eq!(format!("{at_once:?}"), format!("{:?}", self.core));
    }

    pub(crate) fn forget(&mut self, index: usize) {
        if !std::mem::replace(&mut self.made[index].is_forgotten, true) {
            self.core.forget(self.made[index].id);
        }
    }

    // ---- what must be true ----

    pub(crate) fn check_woken(&mut self) {
        self.core.poll_woken().into_iter().for_each(Waker::wake);
        let mut read = self.core.clone();
        for made in self.made.iter_mut().filter(|made| !made.is_forgotten) {
            made.reader.check_woken(&read.read_reply(made.id));
        }
        for served in self.served.iter_mut().filter(|served| !served.is_released) {
            served.reader.check_woken(&read.read_args(served.key));
        }
    }

    /// What was read is what the other side sent, in order; its end is told apart.
    pub(crate) fn check_reads(&self, other: &Tap) {
        for made in &self.made {
            let frames = other.replies.get(&made.id).map_or(&[][..], Vec::as_slice);
            check_read(&made.reader, frames, made.is_local);
            if made.reader.end == Some(Read::Failed(Failure::Closed)) {
                assert!(self.core.is_input_ended() || self.core.is_closing(), "{:?} failed before the end", made.id);
                assert!(!self.answered.contains(&made.id), "the reply to {:?} came before the end", made.id);
            }
        }
        for served in &self.served {
            let frames = served.id.and_then(|id| other.requests.get(&id)).map_or(&[][..], Vec::as_slice);
            if served.id.is_some() {
                check_read(&served.reader, frames, served.is_local);
            }
            if served.reader.end == Some(Read::Failed(Failure::Answered)) {
                assert!(!self.core.is_unanswered(served.key), "{:?} ended before its reply", served.id);
            }
        }
    }

    /// What the user was told was sent is on the wire, and at most one frame that the core added.
    pub(crate) fn check_sent(&self) {
        for made in &self.made {
            check_commands(&made.commands, self.tap.requests.get(&made.id));
        }
        for served in &self.served {
            if let Some(id) = served.id {
                check_commands(&served.commands, self.tap.replies.get(&id));
            }
        }
    }

    /// The core waits for the replies that are to come, and no others.
    pub(crate) fn check_pending(&self) {
        let pending = if self.may_call() { self.made.iter().filter(|made| self.is_pending(made)).count() } else { 0 };
        assert_eq!(self.core.outgoing(), pending);
    }

    /// Whether the user has seen the end of every call that it did not let go, and every handler of its arguments.
    pub(crate) fn check_all_ended(&self) {
        for made in self.made.iter().filter(|made| !made.is_forgotten) {
            assert!(made.reader.end.is_some(), "{:?} is pending for ever", made.id);
        }
        for served in self.served.iter().filter(|served| !served.is_released) {
            assert!(served.reader.end.is_some(), "the handler of {:?} waits for ever", served.id);
        }
    }

    /// Those that saw a call begin were told of its end once, and of the end that it had.
    pub(crate) fn check_told(&self) {
        assert_eq!(self.called.len(), self.made.len(), "every call that was made, and no other, has ended");
        assert_eq!(self.served_ends.len(), self.served.len(), "every call that was served, and no other, has ended");
        for made in self.made.iter().filter(|made| !made.is_local) {
            let told = self.called[&made.id];
            match &made.reader.end {
                Some(Read::End) => assert_eq!(told, CallEnd::Result),
                Some(Read::Failed(Failure::Remote(error))) => assert_eq!(told, CallEnd::Error(error.code)),
                Some(Read::Failed(Failure::Closed)) => assert_eq!(told, CallEnd::Closed),
                Some(Read::Failed(_)) => assert_eq!(told, CallEnd::Local),
                _ => {}
            }
        }
        for served in &self.served {
            let terminal = served.id.and_then(|id| self.tap.replies.get(&id)).and_then(|frames| frames.last());
            match (terminal, self.served_ends[&served.key]) {
                (Some(Sent::Error(code)), end) => assert!(matches!(end, CallEnd::Error(told) if told.0 == *code)),
                (Some(Sent::Last(_) | Sent::End), end) => assert_eq!(end, CallEnd::Result),
                _ => {}
            }
        }
    }

    /// Nothing is left of calls that were let go.
    pub(crate) fn check_empty(&self) {
        let core = &self.core;
        assert_eq!((core.outgoing(), core.incoming(), core.handlers()), (0, 0, 0), "calls are left");
        assert_eq!((core.buffered_bytes(), core.draining()), (0, 0), "items or ids are left");
    }
}

fn check_read(reader: &Reader, frames: &[Sent], is_local: bool) {
    let items: Vec<&Raw> = frames.iter().filter_map(Sent::item).collect();
    assert!(reader.items.len() <= items.len() && reader.items.iter().zip(&items).all(|(read, sent)| read == *sent), "{reader:?}");
    let is_whole = reader.items.len() == items.len();
    match (&reader.end, frames.last()) {
        _ if is_local => {}
        (Some(Read::End), Some(Sent::Last(_) | Sent::End)) => assert!(is_whole, "an end before its items: {reader:?}"),
        (Some(Read::End), _) => panic!("an end that was not sent: {reader:?}"),
        (Some(Read::Failed(Failure::Remote(error) | Failure::Aborted(Some(error)))), last) => {
            assert_eq!(Some(&Sent::Error(error.code.0)), last, "an error that was not sent");
            assert!(is_whole, "an error before the items: {reader:?}");
        }
        (Some(Read::Failed(Failure::Answered | Failure::Closed | Failure::Invalid | Failure::Unsendable)) | None, _) => {}
        (Some(end), _) => panic!("nothing explains {end:?}"),
    }
}

fn check_commands(commands: &[Sent], frames: Option<&Vec<Sent>>) {
    let frames = frames.map_or(&[][..], Vec::as_slice);
    assert!(frames.starts_with(commands), "sent {commands:?}, written {frames:?}");
    let is_ended = commands.last().is_some_and(Sent::is_last);
    match &frames[commands.len()..] {
        [] => {}
        [own] if !is_ended && matches!(own, Sent::End | Sent::Error(_)) => {}
        more => panic!("frames that nobody sent: {more:?} behind {commands:?}"),
    }
}

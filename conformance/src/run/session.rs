//! Drives one session machine over real connections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use duplex_vectors::Session;

use super::peer::{Peer, ended};
use crate::event::{Finding, FindingKind};
use crate::judge;
use crate::machine::{FIRST, Input, Machine, Outcome, Output, Setup};
use crate::mutant::{Direction, Effect, Filter};
use crate::pattern::Bindings;
use crate::schedule::{self, Schedule};
use crate::transport::{Event, Hub, Link};
use crate::wire::framing;

/// A connection stays readable for so long after its process has ended: a child of it may hold the pipe for ever.
const PIPE_GRACE: Duration = Duration::from_millis(1000);

/// The longest that a session may take, in time limits: enough for tens of thousands of round trips on a busy machine, and an
/// end for a target that only ever trickles.
const SESSION_LIMITS: u32 = 60;

/// A connection with what stands between it and the machine.
pub(crate) struct Channel {
    link: Link,
    filter: Option<Filter>,
}

/// What came of driving a session.
pub(crate) struct Driven {
    pub(crate) outcome: Outcome,
    /// The frames that the target sent after the greeting.
    pub(crate) received: Vec<(String, Vec<u8>)>,
    /// What the session's names stand for.
    pub(crate) bindings: Bindings,
    /// Whether the process ended.
    pub(crate) exited: bool,
    /// The longest write in bytes, as it would be if nothing was split or glued.
    pub(crate) longest_write: usize,
    /// How many writes there were.
    pub(crate) writes: usize,
}

/// Runs a session to its end, its bytes in the pieces of a schedule. `kept` is the connection of a chain: taken if the session is chained, given back if it ends well.
pub(crate) async fn drive(
    session: &Session,
    setup: Setup,
    schedule: Schedule,
    peer: &mut Peer,
    hub: &mut Hub,
    kept: &mut Option<Channel>,
    new_filter: &(dyn Fn() -> Option<Filter> + Sync),
) -> Driven {
    let started = Instant::now();
    let limit = Duration::from_millis(setup.pace.limit);
    let mut machine = Machine::new(session, setup);
    let mut channels = BTreeMap::new();
    if let Some(channel) = kept.take() {
        channel.link.renew();
        channel.link.resume(schedule);
        channels.insert(FIRST.to_owned(), channel);
    }
    // Where reading stops or is slow, the system is not to read ahead for us.
    let is_tight = schedule == Schedule::Slow || !schedule::is_free(session);
    let mut driver = Driver {
        machine: &mut machine,
        peer,
        hub,
        channels,
        started,
        limit,
        new_filter,
        exited: None,
        unnoticed: Vec::new(),
        schedule,
        is_tight,
        glued: BTreeMap::new(),
        written: Written::default(),
    };
    driver.run().await;
    let (exited, mut channels, written) = (driver.exited.is_some(), driver.channels, driver.written);
    let outcome = machine.outcome().cloned().unwrap_or_else(|| Outcome {
        finding: Some(too_long(session)),
        highest_id: 0,
        fence: crate::machine::FIRST_FENCE,
        lingers: false,
        seen: Vec::new(),
    });
    if outcome.finding.is_none() {
        *kept = channels.remove(FIRST);
    }
    let received = machine.received().map(|(connection, frame)| (connection.to_owned(), frame.to_vec())).collect();
    Driven {
        outcome,
        received,
        bindings: machine.bindings().clone(),
        exited,
        longest_write: written.longest,
        writes: written.count,
    }
}

fn too_long(session: &Session) -> Finding {
    let rule = session.rules.first().map_or("", String::as_str);
    judge::finding(FindingKind::Hang, rule, "The session does not come to its end.")
}

struct Driver<'d, 's> {
    machine: &'d mut Machine<'s>,
    peer: &'d mut Peer,
    hub: &'d mut Hub,
    channels: BTreeMap<String, Channel>,
    started: Instant,
    limit: Duration,
    new_filter: &'d (dyn Fn() -> Option<Filter> + Sync),
    /// When the process ended.
    exited: Option<Instant>,
    /// Connections that the machine closed, and a mutant keeps open.
    unnoticed: Vec<Channel>,
    schedule: Schedule,
    is_tight: bool,
    /// What a schedule that glues has not written yet.
    glued: BTreeMap<String, Vec<u8>>,
    written: Written,
}

/// What was written.
#[derive(Clone, Copy, Default)]
struct Written {
    longest: usize,
    count: usize,
}

impl Driver<'_, '_> {
    async fn run(&mut self) {
        let end = self.started + self.limit * SESSION_LIMITS;
        loop {
            while let Some(output) = self.machine.poll() {
                self.carry_out(output).await;
            }
            self.write_glued();
            if self.machine.outcome().is_some() || Instant::now() > end {
                return;
            }
            let late = self.machine.deadline().map_or(end, |at| self.started + Duration::from_millis(at));
            let pipe_end = self.exited.map(|at| at + PIPE_GRACE).filter(|_| self.exited.is_some() && !self.channels.is_empty());
            tokio::select! {
                biased;
                (id, event) = self.hub.event() => self.take(id, event),
                exit = ended(&mut self.peer.process), if self.exited.is_none() => {
                    self.exited = Some(Instant::now());
                    self.handle(Input::Exited(exit));
                }
                () = tokio::time::sleep_until(late.into()) => self.late(),
                () = tokio::time::sleep_until(pipe_end.unwrap_or(end).into()), if pipe_end.is_some() => {
                    for name in std::mem::take(&mut self.channels).into_keys() {
                        self.handle(Input::Ended(name, Vec::new()));
                    }
                }
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.machine.handle(input, now);
    }

    /// Says that a deadline passed, and before it what of a frame has come: half of one is no silence.
    fn late(&mut self) {
        let unfinished: Vec<(String, Vec<u8>)> =
            self.channels.iter().map(|(name, channel)| (name.clone(), channel.link.unfinished())).collect();
        for (name, bytes) in unfinished {
            self.handle(Input::Unfinished(name, bytes));
        }
        self.handle(Input::Late);
    }

    async fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect(name) => match self.peer.connect(self.hub, self.limit, self.is_tight).await {
                Ok(link) => {
                    link.resume(self.schedule);
                    self.channels
                        .insert(name.clone(), Channel { link, filter: (self.new_filter)().map(|filter| filter.on(&name)) });
                    self.handle(Input::Connected(name));
                }
                Err((why, unserved)) => self.handle(Input::NotConnected(name, why, unserved)),
            },
            Output::Frame(name, frame) => {
                let effects = self.filtered(&name, Direction::ToTarget, frame);
                self.apply(&name, effects);
            }
            Output::Bytes(name, bytes) => {
                let effects = match self.filter(&name) {
                    Some(filter) => filter.bytes(bytes),
                    None => vec![Effect::Bytes(bytes)],
                };
                self.apply(&name, effects);
            }
            Output::PauseReading(name) => {
                if let Some(channel) = self.channels.get(&name) {
                    channel.link.pause();
                }
            }
            Output::ResumeReading(name) => {
                if let Some(channel) = self.channels.get(&name) {
                    channel.link.resume(self.schedule);
                }
            }
            Output::AskTaken(name) => {
                self.write_glued();
                if let Some(channel) = self.channels.get(&name) {
                    channel.link.ask_taken();
                }
            }
            Output::HalfClose(name) => {
                self.write_glued();
                let effects = self.ended(&name, Direction::ToTarget);
                self.apply(&name, effects);
            }
            Output::Close(name) => {
                self.write_glued();
                let (ends, others): (Vec<Effect>, _) =
                    self.ended(&name, Direction::ToTarget).into_iter().partition(|effect| matches!(effect, Effect::End(_)));
                self.apply(&name, others);
                match self.channels.remove(&name) {
                    Some(channel) if ends.is_empty() => self.unnoticed.push(channel),
                    Some(channel) => channel.link.close(),
                    None => {}
                }
            }
        }
    }

    fn take(&mut self, id: u64, event: Event) {
        // What comes from a connection that was closed is nobody's any more.
        let Some(name) = self.channels.iter().find(|(_, channel)| channel.link.id() == id).map(|(name, _)| name.clone()) else {
            return;
        };
        match event {
            Event::Frame(frame) => {
                let effects = self.filtered(&name, Direction::FromTarget, frame);
                self.apply(&name, effects);
            }
            Event::Unframed(what, bytes) => self.handle(Input::Unframed(name, what, bytes)),
            Event::Flood => self.handle(Input::Flood(name)),
            Event::Taken => self.handle(Input::Taken(name)),
            Event::Refused => self.handle(Input::Refused(name)),
            Event::Ended(rest) => {
                let (ends, others): (Vec<Effect>, _) =
                    self.ended(&name, Direction::FromTarget).into_iter().partition(|effect| matches!(effect, Effect::End(_)));
                self.apply(&name, others);
                if !ends.is_empty() {
                    self.channels.remove(&name);
                    self.handle(Input::Ended(name, rest));
                }
            }
        }
    }

    fn filter(&mut self, name: &str) -> Option<&mut Filter> {
        self.channels.get_mut(name)?.filter.as_mut()
    }

    fn ended(&mut self, name: &str, direction: Direction) -> Vec<Effect> {
        self.filter(name).map_or_else(|| vec![Effect::End(direction)], |filter| filter.end(direction))
    }

    fn filtered(&mut self, name: &str, direction: Direction, frame: Vec<u8>) -> Vec<Effect> {
        match self.filter(name) {
            Some(filter) => filter.frame(direction, frame),
            None => vec![Effect::Frame(direction, frame)],
        }
    }

    fn apply(&mut self, name: &str, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Frame(Direction::ToTarget, frame) => {
                    self.write(name, framing::frame(self.peer.configuration.framing, &frame));
                }
                Effect::Frame(Direction::FromTarget, frame) => self.handle(Input::Frame(name.to_owned(), frame)),
                Effect::Bytes(bytes) => self.write(name, bytes),
                Effect::Unframed(bytes) => {
                    self.handle(Input::Unframed(name.to_owned(), "these bytes are no frame".to_owned(), bytes));
                }
                Effect::End(Direction::ToTarget) => {
                    if let Some(channel) = self.channels.get_mut(name) {
                        channel.link.half_close();
                    }
                }
                Effect::End(Direction::FromTarget) => {}
                Effect::Close => self.cut(name),
                Effect::CloseOthers => {
                    let others: Vec<String> = self.channels.keys().filter(|other| *other != name).cloned().collect();
                    others.iter().for_each(|other| self.cut(other));
                }
            }
        }
    }

    fn write(&mut self, name: &str, bytes: Vec<u8>) {
        self.written.longest = self.written.longest.max(bytes.len());
        self.written.count += 1;
        if self.schedule == Schedule::Glued {
            self.glued.entry(name.to_owned()).or_default().extend(bytes);
        } else if let Some(channel) = self.channels.get(name) {
            channel.link.write(bytes, self.schedule);
        }
    }

    /// Writes what was kept back to leave in one piece: the machine waits for the target now.
    fn write_glued(&mut self) {
        for (name, bytes) in std::mem::take(&mut self.glued) {
            if let Some(channel) = self.channels.get(&name) {
                channel.link.write(bytes, self.schedule);
            }
        }
    }

    /// Ends a connection for both sides.
    fn cut(&mut self, name: &str) {
        if let Some(channel) = self.channels.remove(name) {
            channel.link.close();
            self.handle(Input::Ended(name.to_owned(), Vec::new()));
        }
    }
}

//! A worker: one process of the target, one session after the other, and again alone what failed in company.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use duplex_vectors::{Action, FrameSource, Greeting, Profile, RawFrame, Role, Session, Transport};

use super::peer::{NOT_IMPLEMENTED, NotUp, Peer};
use super::queue::{Next, Queue};
use super::session::{Channel, Driven, drive};
use super::{Held, RunOptions, blocked, finished, message};
use crate::event::{By, CaseFinished, Configuration, Description, Exchange, Finding, FindingKind, Seen, What};
use crate::judge;
use crate::machine::{Connection, FIRST_FENCE, Pace, Setup};
use crate::mutant::{Filter, Mutant};
use crate::observe::Observations;
use crate::plan::Case;
use crate::schedule::Schedule;
use crate::target::Target;
use crate::transport::Hub;
use crate::wire::Value;

/// Silence after which a target is asked whether it lives, in milliseconds. Less raises false alarms on a busy machine.
const SILENCE: u64 = 250;

/// The part of a long time limit that is silence enough: who allows a target to be slow allows it everywhere.
const SILENCE_PART: u64 = 20;

/// How long a process may take to start, in milliseconds, however short the time limit is.
const START: u64 = 5000;

/// How long the end of a connection is waited for once the target is known not to end them, in milliseconds.
const SHORT_DRAIN: u64 = 500;

/// Cases in a row in which the target does not even greet, after which it is asked nothing more.
const DEAF: usize = 3;

/// How a process ends whose session is over.
const ENDED_WELL: &str = "exit status 0";

/// Ids of chained sessions lie so far apart.
const SHIFT: i128 = 1000;

/// What the workers of a configuration share.
pub(crate) struct Shared {
    target: Target,
    pub(crate) configuration: Configuration,
    description: Description,
    options: RunOptions,
    mutant: Option<Arc<Mutant>>,
    observations: Mutex<Observations>,
    nonce: String,
    sessions: AtomicU64,
    lingers: AtomicBool,
    /// Cases in a row in which the target did not even greet.
    ungreeted: AtomicUsize,
    /// Message vectors that the target took.
    proved: Mutex<BTreeSet<String>>,
    /// The cases that held.
    held: Mutex<Vec<Held>>,
}

impl Shared {
    pub(crate) fn new(target: &Target, description: &Description, configuration: Configuration, options: &RunOptions) -> Self {
        // Tokens and keys are a process's own; one that runs for days must not meet them again.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            target: target.clone(),
            configuration,
            description: description.clone(),
            options: options.clone(),
            mutant: options.mutant.clone().map(Arc::new),
            observations: Mutex::new(Observations::new(configuration.codec)),
            nonce: format!("n{:x}{:x}", now.as_micros(), std::process::id()),
            sessions: AtomicU64::new(0),
            lingers: AtomicBool::new(false),
            ungreeted: AtomicUsize::new(0),
            proved: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// The standing checks.
    pub(crate) fn observed(&self) -> Vec<CaseFinished> {
        self.observations.lock().unwrap_or_else(PoisonError::into_inner).cases(self.configuration)
    }

    fn proved(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.proved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cases that held, in the order of the plan.
    pub(super) fn held(&self) -> Vec<Held> {
        let mut held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        held.sort_by_key(|one| one.index);
        held
    }

    fn note_held(&self, held: Held) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
    }

    /// Whether the target is known to answer nothing any more.
    fn is_deaf(&self) -> bool {
        self.ungreeted.load(Ordering::Relaxed) >= DEAF
    }

    /// Notes whether a case was greeted at all. A case that greets by itself may have no answer due.
    fn note_greeting(&self, case: &Case, finding: Option<&Finding>) {
        if matches!(case, Case::Session(session) if session.greeting == Greeting::Manual) {
            return;
        }
        if finding.is_some_and(is_ungreeted) {
            self.ungreeted.fetch_add(1, Ordering::Relaxed);
        } else {
            self.ungreeted.store(0, Ordering::Relaxed);
        }
    }

    /// How long a process may take to start.
    fn start_limit(&self) -> Duration {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        start_limit(self.options.timeout, self.options.jobs, processors)
    }

    fn setup(&self, connection: Connection, has_process: bool, is_patient: bool) -> Setup {
        let serial = self.sessions.fetch_add(1, Ordering::Relaxed);
        let limit = super::milliseconds(self.options.timeout).max(1);
        let silence = SILENCE.max(limit / SILENCE_PART);
        let drain = if self.lingers.load(Ordering::Relaxed) { SHORT_DRAIN.min(limit) } else { limit };
        Setup {
            configuration: self.configuration,
            limits: self.description.limits.clone(),
            has_inspect: self.description.profiles.contains(&Profile::Inspect),
            nonce: format!("{}.{serial}", self.nonce),
            shift: 0,
            fence: FIRST_FENCE,
            pace: Pace {
                limit,
                start: super::milliseconds(self.start_limit()),
                silence: (!is_patient).then_some(silence),
                drain,
            },
            connection,
            has_process,
        }
    }

    fn observe(&self, session: &Session, worker: &str, driven: &Driven) {
        let mut observations = self.observations.lock().unwrap_or_else(PoisonError::into_inner);
        observations.add(&session.id, worker, driven.received.iter().map(|(name, frame)| (name.as_str(), frame.as_slice())));
    }

    fn filter(&self) -> Option<Filter> {
        let configuration = self.configuration;
        let mutant = self.mutant.as_ref()?;
        mutant.applies_in(configuration).then(|| mutant.filter(configuration.codec))
    }
}

/// What came of a session that ran on a process of its own.
pub(crate) struct Alone {
    pub(crate) finding: Option<Finding>,
    pub(crate) bindings: BTreeMap<String, Value>,
    pub(crate) duration: Duration,
    /// Whether the program could not even be started.
    pub(crate) is_no_program: bool,
    /// The longest write in bytes.
    pub(crate) longest_write: usize,
    /// How many writes there were.
    pub(crate) writes: usize,
    /// What the target did where the session allows more than one thing.
    pub(crate) seen: Vec<Seen>,
}

/// Runs a session on a process of its own, its bytes in these pieces. A patient one waits the whole limit before it asks whether the target lives.
pub(crate) async fn run_alone(shared: &Shared, session: &Session, schedule: Schedule, is_patient: bool) -> Alone {
    let started = Instant::now();
    let mut peer = match Peer::start(&shared.target, shared.configuration, shared.start_limit()).await {
        Ok(peer) => peer,
        Err(error) => {
            return Alone {
                finding: Some(not_up(&error, shared.configuration)),
                bindings: BTreeMap::new(),
                duration: started.elapsed(),
                is_no_program: matches!(error, NotUp::Spawn(_)),
                longest_write: 0,
                writes: 0,
                seen: Vec::new(),
            };
        }
    };
    let mut setup = shared.setup(Connection::Own, peer.process.is_some(), is_patient);
    let connection = setup.nonce.clone();
    // The first session of a configuration shows that there is a target at all: no fault is put in, and a short limit that is
    // meant for what is wrong does not hold for a process that has just been started.
    let is_smoke = session.id == "target:smoke";
    if is_smoke {
        setup.pace.limit = setup.pace.start;
    }
    let driven =
        drive(session, setup, schedule, &mut peer, &mut Hub::default(), &mut None, &|| shared.filter().filter(|_| !is_smoke))
            .await;
    if !is_smoke {
        shared.observe(session, &connection, &driven);
    }
    let finding = complete(driven.outcome.finding.clone(), &peer, shared.configuration).await;
    if finding.is_none() && shared.configuration.transport == Transport::Tcp {
        peer.stop().await;
    }
    let Driven { bindings, longest_write, writes, outcome, .. } = driven;
    Alone { finding, bindings, duration: started.elapsed(), is_no_program: false, longest_write, writes, seen: outcome.seen }
}

/// Adds to a finding what only the process can tell.
async fn complete(finding: Option<Finding>, peer: &Peer, configuration: Configuration) -> Option<Finding> {
    let mut finding = finding?;
    finding.stderr = peer.last_words(finding.exit.is_some()).await;
    finding.likely_cause = judge::likely_cause(&finding, configuration);
    Some(finding)
}

fn not_up(error: &NotUp, configuration: Configuration) -> Finding {
    let mut finding = judge::finding(FindingKind::NotStarted, "target.exit", format!("The target does not come up: {error}."));
    finding.stderr = error.stderr();
    if error.is_ours() {
        finding.kind = FindingKind::Harness;
    }
    if let NotUp::Exited(exit, _) = error {
        finding.exit = Some(exit.text.clone());
        if exit.code == Some(NOT_IMPLEMENTED) {
            finding.kind = FindingKind::Contract;
            finding.rule = "target.not-implemented".to_owned();
        }
    }
    finding.likely_cause = judge::likely_cause(&finding, configuration);
    finding
}

/// One of the tasks that run the cases of a configuration.
pub(super) struct Worker {
    shared: Arc<Shared>,
    number: usize,
    hub: Hub,
    company: Option<Company>,
    processes: usize,
    /// What the sessions of the current case wrote: the longest write in bytes, and how many there were.
    written: (usize, usize),
    /// What the target did last where the current case allows more than one thing.
    seen: Vec<Seen>,
}

/// A process that serves several sessions.
struct Company {
    peer: Peer,
    /// Sessions that it served.
    served: usize,
    /// The connection of a chain, with the next free ids.
    chain: Option<Channel>,
    shift: i128,
    fence: i128,
    /// Whether the process ended.
    is_over: bool,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, number: usize) -> Self {
        Self { shared, number, hub: Hub::default(), company: None, processes: 0, written: (0, 0), seen: Vec::new() }
    }

    /// Runs cases until none is left.
    pub(super) async fn work(mut self, queue: Arc<Queue>) {
        let configuration = self.shared.configuration;
        while let Some(next) = queue.next().await {
            match next {
                Next::Run(index, case) if self.shared.is_deaf() => {
                    let why = format!("The target stopped answering: {DEAF} cases in a row were not even greeted.");
                    let finding = blocked(case.rules(), &why);
                    queue.finish(index, finished(&case, configuration, Some(finding), Duration::ZERO));
                }
                Next::Run(index, case) => {
                    let started = Instant::now();
                    let finding = self.run_case(&case).await;
                    self.shared.note_greeting(&case, finding.as_ref());
                    if finding.is_none() {
                        let (longest_write, writes) = self.written;
                        self.shared.note_held(Held { index, longest_write, writes });
                    }
                    let seen = std::mem::take(&mut self.seen);
                    queue.finish(index, CaseFinished { seen, ..finished(&case, configuration, finding, started.elapsed()) });
                }
                Next::Blocked(index, case, before) => {
                    let finding = blocked(case.rules(), &format!("`{before}`, which this case builds on, failed."));
                    queue.finish(index, finished(&case, configuration, Some(finding), Duration::ZERO));
                }
            }
        }
        self.stop().await;
    }

    /// Ends its process.
    pub(super) async fn stop(mut self) {
        if let Some(company) = self.company.take() {
            company.peer.stop().await;
        }
    }

    /// Runs a session once in a schedule, in company where it may.
    pub(super) async fn run_once(&mut self, session: &Session, schedule: Schedule) -> Option<Finding> {
        let is_stdio = self.shared.configuration.transport == Transport::Stdio;
        let shared = Arc::clone(&self.shared);
        if shared.options.isolate || (is_stdio && !is_chainable(session)) {
            return run_alone(&shared, session, schedule, true).await.finding;
        }
        let finding = self.run_in_company(session, schedule, is_stdio).await.0?;
        self.company = None;
        Some(finding)
    }

    async fn run_case(&mut self, case: &Case) -> Option<Finding> {
        self.written = (0, 0);
        let is_proved = |id: &str| self.shared.proved().contains(id);
        let sessions = match message::sessions(case, self.shared.configuration.codec, &is_proved) {
            Ok(sessions) => sessions,
            Err(error) => return Some(judge::finding(FindingKind::Harness, &case.rules()[0], format!("{error}."))),
        };
        for session in &sessions {
            if let Some(finding) = self.run_session(session).await {
                return Some(finding);
            }
        }
        if let Case::Message(vector) = case {
            // Of an invalid one only the valid form was sent that it differs from.
            self.shared.proved().insert(if vector.valid { vector.id.clone() } else { vector.twin.clone().unwrap_or_default() });
        }
        None
    }

    /// Runs a session in company where it may, and again alone if it fails there.
    async fn run_session(&mut self, session: &Session) -> Option<Finding> {
        let is_stdio = self.shared.configuration.transport == Transport::Stdio;
        let shared = Arc::clone(&self.shared);
        let schedule = shared.options.schedule;
        if shared.options.isolate || (is_stdio && !is_chainable(session)) {
            let alone = run_alone(&shared, session, schedule, false).await;
            self.note_written(alone.longest_write, alone.writes);
            self.seen = alone.seen;
            let finding = alone.finding?;
            // Silence is only proved by the full limit.
            return if rests_on_silence(&finding) {
                run_alone(&shared, session, schedule, true).await.finding
            } else {
                Some(finding)
            };
        }
        let (finding, had_company) = self.run_in_company(session, schedule, is_stdio).await;
        let finding = finding?;
        // After a failure the process is no measure for others.
        let company = self.company.take().filter(|company| !company.is_over);
        // A mutant does the same alone.
        if finding.kind == FindingKind::Harness || shared.mutant.is_some() {
            return Some(finding);
        }
        // A process that served nothing before was as good as alone, and neither verdict rests on impatience.
        if !had_company && matches!(finding.kind, FindingKind::Crash | FindingKind::Hang | FindingKind::Flood) {
            return Some(finding);
        }
        // Alone, the tester ends its side at once, and a target that ends its own before that looks as if it only followed.
        if !had_company && is_stdio && finding.kind == FindingKind::Closed {
            return Some(finding);
        }
        if finding.rule == "target.exit" && finding.kind == FindingKind::NotClosed {
            shared.lingers.store(true, Ordering::Relaxed);
            return Some(finding);
        }
        if rests_on_silence(&finding) {
            // As impatient as before: if it fails again, it may only be slow.
            if run_alone(&shared, session, schedule, false).await.finding.is_some() {
                return run_alone(&shared, session, schedule, true).await.finding;
            }
            if !is_stdio && company.is_some() {
                // Where it was slow once it may take the whole limit: what earlier sessions left behind is still there.
                self.company = company;
                let again = self.run_beside(session, schedule, false, true).await.0;
                self.company = None;
                again.as_ref()?;
            }
        } else if let Some(again) = run_alone(&shared, session, schedule, true).await.finding {
            return Some(again);
        }
        Some(depends(finding, had_company))
    }

    fn note_written(&mut self, longest: usize, writes: usize) {
        self.written = (self.written.0.max(longest), self.written.1 + writes);
    }

    /// Runs a session on a process that serves others too, and says whether it did before.
    async fn run_in_company(&mut self, session: &Session, schedule: Schedule, is_chained: bool) -> (Option<Finding>, bool) {
        let (finding, had_company) = self.run_beside(session, schedule, is_chained, false).await;
        // An initiator may serve one session a process, and its end may be seen only now.
        let is_well = |finding: &Finding| finding.kind == FindingKind::NotStarted && finding.exit.as_deref() == Some(ENDED_WELL);
        let may_end = !is_chained && self.shared.configuration.role == Role::Initiator;
        if had_company && may_end && finding.as_ref().is_some_and(is_well) {
            self.company = None;
            return self.run_beside(session, schedule, is_chained, false).await;
        }
        (finding, had_company)
    }

    async fn run_beside(
        &mut self,
        session: &Session,
        schedule: Schedule,
        is_chained: bool,
        is_patient: bool,
    ) -> (Option<Finding>, bool) {
        let shared = Arc::clone(&self.shared);
        // An initiator that serves one session a process has ended well. A process that ended beside an open connection has
        // not, and the next session is to meet that.
        if !is_chained && self.company.as_ref().is_some_and(|company| company.is_over) {
            self.company = None;
        }
        let mut company = match self.company.take() {
            Some(company) => company,
            None => {
                self.processes += 1;
                match Peer::start(&shared.target, shared.configuration, shared.start_limit()).await {
                    Ok(peer) => Company { peer, served: 0, chain: None, shift: 0, fence: FIRST_FENCE, is_over: false },
                    Err(error) => return (Some(not_up(&error, shared.configuration)), false),
                }
            }
        };
        let is_first = company.chain.is_none();
        let connection = match (is_chained, is_first) {
            (false, _) => Connection::Own,
            (true, true) => Connection::First,
            (true, false) => Connection::Chained,
        };
        let mut setup = shared.setup(connection, company.peer.process.is_some(), is_patient);
        if is_chained {
            (setup.shift, setup.fence) = (company.shift, company.fence);
        }
        let driven =
            drive(session, setup, schedule, &mut company.peer, &mut self.hub, &mut company.chain, &|| shared.filter()).await;
        let worker = if is_chained {
            format!("{}.{}", self.number, self.processes)
        } else {
            format!("{}.{}.{}", self.number, self.processes, company.served)
        };
        shared.observe(session, &worker, &driven);
        self.note_written(driven.longest_write, driven.writes);
        self.seen = driven.outcome.seen;
        company.shift = (driven.outcome.highest_id / SHIFT + 1) * SHIFT;
        company.fence = driven.outcome.fence;
        company.is_over = driven.exited;
        let had_company = company.served > 0;
        company.served += 1;
        let finding = complete(driven.outcome.finding, &company.peer, shared.configuration).await;
        self.company = Some(company);
        (finding, had_company)
    }
}

/// How long a process may take to start, as one of so many at once: they share the processors.
fn start_limit(timeout: Duration, jobs: usize, processors: usize) -> Duration {
    let share = u32::try_from(jobs.div_ceil(processors)).unwrap_or(u32::MAX);
    timeout.max(Duration::from_millis(START)).saturating_mul(share.max(1))
}

/// Whether the target said nothing at all, not even the greeting, until the time limit.
fn is_ungreeted(finding: &Finding) -> bool {
    let is_silent = matches!(finding.kind, FindingKind::Hang | FindingKind::NotStarted) && finding.exit.is_none();
    let spoke =
        |exchange: &Exchange| exchange.by == By::Target && matches!(exchange.what, What::Frame { .. } | What::Bytes { .. });
    is_silent && !finding.dialogue.iter().any(spoke)
}

/// Whether the finding says that nothing came, which only patience proves.
pub(super) fn rests_on_silence(finding: &Finding) -> bool {
    matches!(finding.kind, FindingKind::Unanswered | FindingKind::NotClosed)
}

fn depends(finding: Finding, had_company: bool) -> Finding {
    let what = if had_company {
        "The session passes on a process of its own, and fails behind others on the same process"
    } else {
        "The session fails once and passes when it is repeated"
    };
    Finding {
        kind: FindingKind::DependsOnEarlier,
        summary: format!("{what}. There: {}", finding.summary),
        likely_cause: finding.likely_cause.or_else(|| {
            Some(
                "Something that an earlier session did is still at work: a late frame, a leak, or state that connections share."
                    .into(),
            )
        }),
        ..finding
    }
}

/// Whether a session can follow others on one connection: it neither greets nor ends it, and names its ids in messages only.
fn is_chainable(session: &Session) -> bool {
    let keeps_connection = |action: &Action| match action {
        Action::ExpectClose(_) | Action::Close(_) | Action::HalfClose(_) | Action::Connect(_) | Action::ExpectFrame(_) => false,
        // Raw bytes may hold ids, which cannot be moved there.
        Action::SendBytes(_) | Action::SendFrame(FrameSource::PerCodec(_)) => false,
        Action::SendFrame(FrameSource::Raw(RawFrame::Text(text) | RawFrame::Hex(text))) => text.is_empty(),
        _ => true,
    };
    session.greeting == Greeting::Auto && !session.fresh && session.walk().iter().all(|step| keeps_connection(&step.action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_start_at_once_share_the_time() {
        let seconds = Duration::from_secs;
        for (timeout, jobs, processors, limit) in
            [(2, 1, 2, 5), (2, 2, 2, 5), (8, 2, 4, 8), (2, 3, 2, 10), (5, 24, 2, 60), (5, 0, 2, 5)]
        {
            assert_eq!(start_limit(seconds(timeout), jobs, processors), seconds(limit), "{jobs} jobs on {processors} processors");
        }
    }
}

//! The event stream: the one wall between the part that executes and the parts that report.
//!
//! A run is a sequence of [`Event`]s, also when it is saved as JSON lines; a report needs nothing else. Nothing here runs
//! or prints anything.

use std::collections::BTreeMap;
use std::fmt;

use duplex_vectors::{Codec, Framing, Limits, Profile, Role, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What happened, in order. The first is [`Event::RunStarted`], the last [`Event::RunFinished`].
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A run begins.
    RunStarted {
        /// The version of these events.
        format: u32,
        /// The harness's version.
        harness: String,
        /// Which vectors it runs, as `Corpus::revision` has it. Runs of one revision can be compared.
        #[serde(default)]
        suite: String,
        /// What `--target` said.
        target: String,
    },
    /// Something takes a while: preparing a target, probing it.
    Progress {
        /// What is being done, in the present tense.
        doing: String,
    },
    /// The target introduced itself.
    TargetDescribed {
        /// Its description.
        description: Description,
    },
    /// What is going to run.
    Planned {
        /// One entry for each configuration, in order.
        configurations: Vec<PlannedConfiguration>,
        /// What the target does not claim, with how many cases that leaves out.
        not_claimed: Vec<NotClaimed>,
        /// Every case that runs in one of them, once, in the order of the suite.
        #[serde(default)]
        cases: Vec<PlannedCase>,
        /// Cases that run nowhere although the target claims their profile, by reason.
        #[serde(default)]
        left_out: Vec<LeftOut>,
        /// The cases of the selection that run nowhere, in the order of the suite.
        #[serde(default)]
        excluded: Vec<Excluded>,
        /// How many cases the selection has, whatever the target claims: the denominator.
        #[serde(default)]
        selected: usize,
    },
    /// A case has its verdict.
    CaseFinished(CaseFinished),
    /// A run is over.
    RunFinished {
        /// How many cases ended in each verdict.
        totals: BTreeMap<Verdict, usize>,
        /// Known failures whose case or rule did not fail, or that match nothing: errors until the entry goes.
        stale_known: Vec<String>,
        /// The exit status that the harness ends with.
        exit: u8,
        /// Milliseconds from start to end.
        duration_ms: u64,
    },
}

/// How the two sides are joined.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Configuration {
    /// What carries the bytes.
    pub transport: Transport,
    /// The target's role.
    pub role: Role,
    /// How bytes are cut into frames.
    pub framing: Framing,
    /// How messages become bytes.
    pub codec: Codec,
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.transport, self.role, self.framing, self.codec)
    }
}

/// A configuration and how many cases run in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedConfiguration {
    /// The configuration.
    pub configuration: Configuration,
    /// How many cases run in it.
    pub cases: usize,
    /// How many cases of the selection cannot apply in it (another role, a byte-level case of another framing, …).
    pub not_applicable: usize,
}

/// A case that is going to run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PlannedCase {
    /// Its id.
    pub case: String,
    /// What it shows.
    pub title: String,
    /// The profile that it counts for.
    pub profile: Profile,
    /// The rules that it decides, the principal one first.
    pub rules: Vec<String>,
}

/// A case of the selection that runs nowhere.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Excluded {
    /// Its id.
    pub case: String,
    /// The rules that it would decide.
    pub rules: Vec<String>,
    /// What is not claimed, or why else, as in `not_claimed` and `left_out`.
    pub why: String,
    /// Whether it is left out because the target does not claim what it needs.
    pub is_claim: bool,
}

/// Cases that run nowhere, counted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// Why, as a sentence.
    pub why: String,
    /// How many.
    pub cases: usize,
}

/// Something that a target does not claim.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NotClaimed {
    /// Kind and name: `profile streaming`, `codec msgpack`, `framing newline`, `transport tcp`, `role initiator`, or an
    /// ability of its API from `lacks`: `ability call.ext`.
    pub what: String,
    /// The target's own reason, for a `lacks`.
    pub reason: Option<String>,
    /// How many cases it leaves out; 0 for whole configurations.
    pub cases: usize,
}

/// What a target says of itself: the reply to `conformance.describe`. Unknown members are ignored.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The version of the target contract: 1.
    pub contract: u32,
    /// The implementation's name.
    pub name: String,
    /// Its version.
    #[serde(default)]
    pub version: Option<String>,
    /// The language that it is written in.
    #[serde(default)]
    pub language: Option<String>,
    /// Where it lives.
    #[serde(default)]
    pub homepage: Option<String>,
    /// Where to report what it gets wrong.
    #[serde(default)]
    pub issues: Option<String>,
    /// What it claims.
    pub profiles: Vec<Profile>,
    /// What it claims.
    pub codecs: Vec<Codec>,
    /// What it claims.
    pub framings: Vec<Framing>,
    /// What it claims.
    pub transports: Vec<Transport>,
    /// What it claims.
    pub roles: Vec<Role>,
    /// Its limits, by the names of the book's table; `null` is "none".
    #[serde(default)]
    pub limits: Limits,
    /// What its API cannot do or show, with a reason each.
    #[serde(default)]
    pub lacks: BTreeMap<String, String>,
}

/// A case's end.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CaseFinished {
    /// The case: a session's id, a message vector's as `message:<id>`, a standing check as `observe:<rule>`, a contract
    /// probe as `target:<name>`.
    pub case: String,
    /// What it shows.
    pub title: String,
    /// The rules that it decides, the principal one first.
    pub rules: Vec<String>,
    /// Where it ran. A contract probe has none.
    pub configuration: Option<Configuration>,
    /// The transport schedule, for a case that held and ran again in others: its kind (`bytes`, `split`, `glued`, `slow`),
    /// or of one that then failed the very schedule, such as `split:7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The outcome.
    pub verdict: Verdict,
    /// The reason that the target's known failures give, if the failure is a known one.
    pub known: Option<String>,
    /// What the target did where the session allows more than one thing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<Seen>,
    /// What is wrong, unless it passed.
    pub finding: Option<Finding>,
    /// Milliseconds that it took.
    pub duration_ms: u64,
}

/// What came at a step that allows more than one order, or more than one answer.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// The step of the session, counted from 1, loops unrolled.
    pub step: usize,
    /// How many ways the step allows.
    pub ways: u64,
    /// The messages in the order in which they came, each in a few words of the session: `rep 2 "b"`.
    pub came: Vec<String>,
}

impl CaseFinished {
    /// Whether this is a case of the plan: not a standing check, no probe of the target contract, and no run again in another
    /// schedule.
    #[must_use]
    pub fn is_planned(&self) -> bool {
        self.configuration.is_some()
            && self.schedule.is_none()
            && !self.case.starts_with("observe:")
            && !self.case.starts_with("target:")
    }
}

/// The outcome of a case.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The rule holds.
    Pass,
    /// A MUST does not hold.
    Fail,
    /// A SHOULD does not hold.
    Warn,
    /// What it builds on failed, so it did not run.
    Blocked,
    /// Our fault, never the target's.
    HarnessFault,
}

/// What is wrong, with all that is needed to see why.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind of wrong.
    pub kind: FindingKind,
    /// The rule that does not hold.
    pub rule: String,
    /// What happened, in one sentence.
    pub summary: String,
    /// What was legal at that point, one entry for each possibility.
    pub expected: Vec<String>,
    /// What came instead.
    pub actual: Option<String>,
    /// What usually causes this, where it is known.
    pub likely_cause: Option<String>,
    /// The dialogue up to the divergence.
    pub dialogue: Vec<Exchange>,
    /// The index in `dialogue` of the first divergence; past its end when something is missing.
    pub divergence: Option<usize>,
    /// How the process ended: `exit status 1`, `signal 9 (SIGKILL)`.
    pub exit: Option<String>,
    /// The target's last lines on stderr.
    pub stderr: Vec<String>,
}

/// Kinds of findings: crash, close and hang are three different things.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Another message came than the ones that were legal.
    Mismatch,
    /// No answer came, but the target lives and answers fences.
    Unanswered,
    /// Nothing came any more, not even answers to fences.
    Hang,
    /// The target ended the connection where an answer was due.
    Closed,
    /// The target kept the connection open where it had to end it.
    NotClosed,
    /// The process died: a status other than 0, or a signal.
    Crash,
    /// The process could not be started, or did not come up.
    NotStarted,
    /// Frames came without end.
    Flood,
    /// Bytes came that are no frame or no message.
    Garbage,
    /// A frame came that nothing had asked for.
    Stray,
    /// A frame breaks the message schema.
    Schema,
    /// Passes alone, fails after other sessions on the same process.
    DependsOnEarlier,
    /// The target does not keep the target contract.
    Contract,
    /// A prerequisite failed.
    Blocked,
    /// The harness or a vector is wrong.
    Harness,
}

/// One thing that passed between the two sides.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Exchange {
    /// The connection: `a` for the first.
    pub connection: String,
    /// Who did it.
    pub by: By,
    /// What was done.
    pub what: What,
    /// The step of the session that it belongs to, counted from 1, loops unrolled.
    pub step: Option<usize>,
    /// Milliseconds since the session's start.
    pub at_ms: u64,
}

/// A side.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The harness.
    Tester,
    /// The target.
    Target,
}

/// What a side did.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Opened the connection.
    Connected,
    /// Wrote a frame: its bytes as hexadecimal digits (cut after 4 KiB), its whole length, and its text or meaning.
    Frame {
        /// Hexadecimal digits.
        hex: String,
        /// Bytes in the whole frame.
        length: usize,
        /// The message in JSON, or the frame's text if it is no message.
        shown: String,
        /// The message, if it is one that JSON can hold.
        message: Option<Value>,
    },
    /// Wrote bytes below the framing.
    Bytes {
        /// Hexadecimal digits (cut after 4 KiB).
        hex: String,
        /// How many.
        length: usize,
    },
    /// Stopped reading the connection.
    ReadingPaused,
    /// Read the connection again.
    ReadingResumed,
    /// Ended its side of the connection.
    HalfClosed,
    /// Ended the connection.
    Closed,
    /// The process ended.
    Exited {
        /// `exit status 1`, `signal 9 (SIGKILL)`.
        status: String,
    },
    /// Did nothing until the time limit.
    Silent {
        /// Milliseconds that were waited.
        ms: u64,
    },
}

//! In which pieces bytes go out and are taken in. A peer must not care: no schedule changes a byte, or the order of bytes.
//!
//! A schedule proves that a target minds it, never that it does not: the system may glue pieces together again that went
//! out apart. What is sent, and when a frame is due, is not decided here.

use std::fmt;
use std::str::FromStr;

use duplex_vectors::{Action, Session, Transport};

/// How the tester's bytes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Schedule {
    /// Each frame in one write, and reading as fast as it goes.
    #[default]
    Plain,
    /// One byte in each write.
    Bytes,
    /// Each frame in two writes, cut behind so many bytes of its framed form.
    Split(usize),
    /// All frames that need not wait for the target, in one write.
    Glued,
    /// The tester takes a few bytes at a time, and has little room for more.
    Slow,
}

/// Schedules of one kind, of which a case has one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// [`Schedule::Bytes`].
    Bytes,
    /// Every [`Schedule::Split`].
    Split,
    /// [`Schedule::Glued`].
    Glued,
    /// [`Schedule::Slow`].
    Slow,
}

impl Family {
    /// Every family, in the order of a run.
    pub const ALL: [Self; 4] = [Self::Glued, Self::Bytes, Self::Slow, Self::Split];

    /// The name of the schedules, without a number.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Split => "split",
            Self::Glued => "glued",
            Self::Slow => "slow",
        }
    }

    /// The schedules in which a case runs again.
    ///
    /// `longest` is the longest write in bytes of its sessions when nothing is split, and `writes` is how many there are.
    /// Where to split is every place in it if that is little work, and a few telling places if not: the first bytes, among
    /// them those of a length prefix, powers of two, the middle, and the last byte.
    #[must_use]
    pub fn schedules(self, longest: usize, writes: usize, is_cheap: bool) -> Vec<Schedule> {
        match self {
            Self::Bytes => vec![Schedule::Bytes],
            Self::Glued => vec![Schedule::Glued],
            Self::Slow => vec![Schedule::Slow],
            Self::Split if is_cheap && longest <= EVERY_PLACE.0 && writes <= EVERY_PLACE.1 => {
                (1..longest).map(Schedule::Split).collect()
            }
            Self::Split => {
                let step = if is_cheap { 1 } else { 3 };
                let powers = (3..usize::BITS).step_by(step).map(|power| 1 << power);
                let mut places: Vec<usize> =
                    [1, 4, 5, longest / 2, longest.saturating_sub(1)].into_iter().chain(powers).collect();
                places.retain(|&place| place > 0 && place < longest);
                places.sort_unstable();
                places.dedup();
                places.into_iter().map(Schedule::Split).collect()
            }
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The longest write in bytes, and the most writes, of a session that is split at every place.
const EVERY_PLACE: (usize, usize) = (128, 8);

impl Schedule {
    /// What it does, as the rest of a sentence about frames or bytes.
    #[must_use]
    pub fn describe(self) -> String {
        match self {
            Self::Plain => "each frame in one write".to_owned(),
            Self::Bytes => "one byte in each write".to_owned(),
            Self::Split(place) => format!("each frame in two writes, cut behind byte {place}"),
            Self::Glued => "all frames that need not wait in one write".to_owned(),
            Self::Slow => "a tester that reads a few bytes at a time".to_owned(),
        }
    }

    /// The kind of schedule; nothing for the plain one.
    #[must_use]
    pub fn family(self) -> Option<Family> {
        match self {
            Self::Plain => None,
            Self::Bytes => Some(Family::Bytes),
            Self::Split(_) => Some(Family::Split),
            Self::Glued => Some(Family::Glued),
            Self::Slow => Some(Family::Slow),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Split(place) => write!(f, "split:{place}"),
            other => f.write_str(other.family().map_or("plain", Family::as_str)),
        }
    }
}

/// A text that names no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a schedule is `plain`, `bytes`, `glued`, `slow`, or `split:` and the number of bytes before the cut, such as `split:7`")]
pub struct NoSchedule;

impl FromStr for Schedule {
    type Err = NoSchedule;

    fn from_str(text: &str) -> Result<Self, NoSchedule> {
        Ok(match text {
            "plain" => Self::Plain,
            "bytes" => Self::Bytes,
            "glued" => Self::Glued,
            "slow" => Self::Slow,
            other => {
                let place = other.strip_prefix("split:").and_then(|place| place.parse().ok()).filter(|&place| place > 0);
                Self::Split(place.ok_or(NoSchedule)?)
            }
        })
    }
}

/// Whether a session can be run in other schedules: one that says itself when it reads has its own.
#[must_use]
pub fn is_free(session: &Session) -> bool {
    !session.walk().iter().any(|step| matches!(step.action, Action::PauseReading(_) | Action::ResumeReading(_)))
}

/// Whether a run of a session costs no process of its own.
#[must_use]
pub fn is_cheap(transport: Transport) -> bool {
    transport == Transport::Tcp
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_read_as_it_is_written() {
        for schedule in [Schedule::Plain, Schedule::Bytes, Schedule::Split(7), Schedule::Glued, Schedule::Slow] {
            assert_eq!(schedule.to_string().parse(), Ok(schedule));
        }
        for wrong in ["", "split", "split:", "split:0", "split:-1", "fast"] {
            assert_eq!(wrong.parse::<Schedule>(), Err(NoSchedule), "{wrong}");
        }
    }

    #[test]
    fn short_sessions_are_split_at_every_place_and_long_ones_at_some() {
        let places = |longest, writes, is_cheap| Family::Split.schedules(longest, writes, is_cheap);
        assert_eq!(places(5, 2, true), [1, 2, 3, 4].map(Schedule::Split));
        assert_eq!(places(128, 8, true).len(), 127);
        assert_eq!(places(70, 9, true), [1, 4, 5, 8, 16, 32, 35, 64, 69].map(Schedule::Split));
        assert_eq!(places(70, 1, false), [1, 4, 5, 8, 35, 64, 69].map(Schedule::Split));
        assert_eq!(places(1, 1, true), []);
        assert_eq!(places(0, 0, false), []);
    }
}

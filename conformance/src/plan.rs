//! Which cases run in which configurations, and what is left out for which reason. Pure: no process, no clock.

use duplex_vectors::{MessageVector, Session};

use crate::event::{Configuration, NotClaimed};

/// What is going to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In the order in which they run.
    pub configurations: Vec<ConfigurationPlan>,
    /// What the target does not claim.
    pub not_claimed: Vec<NotClaimed>,
}

/// The cases of one configuration.
#[derive(Clone, Debug)]
pub struct ConfigurationPlan {
    /// The configuration.
    pub configuration: Configuration,
    /// The cases, prerequisites before what builds on them.
    pub cases: Vec<Case>,
    /// How many selected cases cannot apply in it.
    pub not_applicable: usize,
}

/// One case.
#[derive(Clone, Debug)]
pub enum Case {
    /// A session vector.
    Session(&'static Session),
    /// A message vector, run by the template session of its class.
    Message(&'static MessageVector),
}

impl Case {
    /// The case's id: a session's own, or `message:<id>`.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Session(session) => session.id.clone(),
            Self::Message(vector) => format!("message:{}", vector.id),
        }
    }
}

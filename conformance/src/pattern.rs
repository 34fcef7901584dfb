//! Templates and patterns: what a session's JSON stands for, and whether a received message is what it asks for.
//!
//! The forms are those that `duplex_vectors::Template` and `duplex_vectors::Pattern` document. Pure: no message is sent or
//! waited for here.

mod compare;
mod message;
mod template;

pub use compare::Divergence;
pub use message::Normal;
pub use template::{Scope, TemplateError};

use std::collections::BTreeMap;

use crate::wire::Value;

/// What names stand for in a session.
pub type Bindings = BTreeMap<String, Value>;

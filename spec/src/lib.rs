//! The Duplex protocol as data: rules, message types with their JSON Schemas, error codes, limits.
//!
//! No encoder, no decoder, no state machine: both the reference peer and the tester read this crate, and what they
//! shared beyond data could hide a mistake of both.

pub mod rule;

pub use rule::{Level, Registry, Rule, registry};

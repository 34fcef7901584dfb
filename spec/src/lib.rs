//! The Duplex protocol as data: rules, message types with their JSON Schemas, error codes, limits, tables of states.
//!
//! No encoder, no decoder, no state machine that runs: both the reference peer and the tester read this crate, and what they
//! shared beyond data could hide a mistake of both.

pub mod code;
pub mod limit;
pub mod machine;
pub mod message;
pub mod rule;
pub mod schema;
pub mod schema_source;

pub use code::{Code, CodeInfo};
pub use limit::{LIMITS, Limit, limit};
pub use message::{ErrorObject, ErrorReply, Id, Request, ResultReply};
pub use rule::{Level, Registry, Rule, registry};

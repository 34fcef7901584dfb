//! The state of a connection, seen from the wire: what goes in as lines, what comes out as lines.

mod both;
mod caller;
mod greeting;
mod pair;
mod programs;
mod provider;
mod search;
mod splitting;

//! The conformance harness for Duplex peers in any language.
//!
//! One way through: a [`plan::Plan`] says which cases run in which configurations, the `run` module executes it and emits
//! [`event::Event`]s, and every report under `report` is a consumer of that stream.
//!
//! *Invariant:* nothing here depends on the reference peer. The harness works on raw frames and generic values, can lie on
//! purpose, and meets every target as a process or a socket.

pub mod cli;
pub mod contract;
pub mod coverage;
pub mod event;
pub mod exit;
pub mod floor;
pub mod judge;
pub mod known;
pub mod machine;
pub mod mutant;
pub mod observe;
pub mod pattern;
pub mod plan;
pub mod process;
pub mod report;
pub mod run;
pub mod schedule;
pub mod schema;
pub mod select;
pub mod target;
pub mod toml_file;
pub mod transport;
pub mod wire;

//! Targets that misbehave as processes or below the protocol: each gets the finding that fits, on the case that it belongs to;
//! a run always ends, in bounded memory, and nothing that it started or opened is left behind.
//!
//! The targets are the faults of `targets/hostile.py`, named as its command line names them.

mod bounds;
mod bytes;
mod ends;
mod interrupted;
mod processes;
mod run;
mod second;
mod silence;
mod start;

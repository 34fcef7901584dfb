//! The fuzz targets, in one program: `DUPLEX_FUZZ_TARGET` names the one that runs. `cargo xtask fuzz` builds and starts it.
//!
//! A target is a function that panics when something is wrong. Beyond not panicking, each holds the core against another
//! implementation, or against itself: [`json`] and [`msgpack`] against libraries that share nothing with it, [`frames`] against
//! a few plain lines, [`connection`] against itself with the bytes split elsewhere. What it may allocate is bounded everywhere.

#![no_main]

mod allocation;
mod connection;
mod frames;
mod json;
mod message;
mod msgpack;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = fn(&[u8]);

static TARGET: OnceLock<Target> = OnceLock::new();

fn named() -> Target {
    match std::env::var("DUPLEX_FUZZ_TARGET").as_deref() {
        Ok("json") => json::run,
        Ok("msgpack") => msgpack::run,
        Ok("frames") => frames::run,
        Ok("connection") => connection::run,
        other => panic!("DUPLEX_FUZZ_TARGET names no target: {other:?}"),
    }
}

fuzz_target!(|data: &[u8]| TARGET.get_or_init(named)(data));

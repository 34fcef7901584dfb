//! The event stream as JSON lines, for programs, and the schema of a line.

use std::io::{self, Write};

use schemars::{Schema, schema_for};

use crate::event::Event;
use crate::report::Report;

/// The version of the event stream's form, in `run_started`.
pub const FORMAT: u32 = 1;

/// Writes each event as one line of JSON, flushed, so that a reader sees it when it happens.
#[derive(Debug)]
pub struct JsonReport<W> {
    out: W,
}

impl<W: Write> JsonReport<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write> Report for JsonReport<W> {
    fn event(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}

/// The JSON Schema of one line. `schemas/events.schema.json` is this, and a test keeps it so.
#[must_use]
pub fn schema() -> Schema {
    let mut schema = schema_for!(Event);
    schema.insert("title".to_owned(), "One line of `duplex-conformance --format json`".into());
    schema
}

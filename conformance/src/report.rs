//! Reports: consumers of the event stream. A report never runs anything, and never asks anything but the events.

use std::io;

use crate::event::Event;

mod badge;
mod choices;
mod failure;
pub mod file;
mod group;
mod html;
pub mod human;
pub mod json;
mod junit;
mod layout;
mod markdown;
pub mod progress;
mod results;
mod summary;
mod tally;

pub(crate) use layout::{BAD, BOLD, FAINT};

/// Something that is told what happens.
pub trait Report {
    /// Takes the next event. An error means that the report's reader is gone.
    fn event(&mut self, event: &Event) -> io::Result<()>;
}

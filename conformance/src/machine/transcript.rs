//! What passed between the two sides. Kept raw, and shown only when there is something to report.

use std::collections::BTreeSet;

use duplex_vectors::Codec;

use crate::event::{By, Exchange, What};
use crate::wire::{self, hex_cut, plain_json};

/// Records kept: from the start and from the end. What lies between is only counted.
const KEPT: usize = 600;

/// One thing that happened, as it was.
pub(super) enum Raw {
    Connected,
    /// A frame that the target sent, and whether the greeting was through.
    Frame(Vec<u8>, bool),
    /// A frame that the tester sent.
    Sent(Vec<u8>, bool),
    /// Bytes of the target that are no frame.
    Received(Vec<u8>),
    SentBytes(Vec<u8>),
    /// The tester stops reading.
    Paused,
    /// The tester reads again.
    Resumed,
    HalfClosed,
    TesterClosed,
    Ended,
    Exited(String),
    Silent(u64),
}

pub(super) struct Transcript {
    codec: Codec,
    records: Vec<Record>,
    /// Records of asking whether the target lives, which are no part of the dialogue.
    asides: BTreeSet<usize>,
}

struct Record {
    connection: String,
    raw: Raw,
    step: usize,
    at: u64,
}

impl Transcript {
    pub(super) fn new(codec: Codec) -> Self {
        Self { codec, records: Vec::new(), asides: BTreeSet::new() }
    }

    /// Adds a record and gives its index.
    pub(super) fn push(&mut self, connection: &str, raw: Raw, step: usize, at: u64) -> usize {
        self.records.push(Record { connection: connection.to_owned(), raw, step, at });
        self.records.len() - 1
    }

    /// Sets a record apart from the dialogue.
    pub(super) fn set_aside(&mut self, record: usize) {
        self.asides.insert(record);
    }

    /// The index of the next record.
    pub(super) fn next(&self) -> usize {
        self.records.len()
    }

    /// The frame of a record.
    pub(super) fn frame(&self, record: usize) -> Option<&[u8]> {
        match &self.records.get(record)?.raw {
            Raw::Frame(bytes, _) | Raw::Sent(bytes, _) => Some(bytes),
            _ => None,
        }
    }

    /// When the target last did anything, other than showing that it lives.
    pub(super) fn last_from_target(&self) -> u64 {
        let from_target = |record: &Record| matches!(record.raw, Raw::Connected | Raw::Frame(..) | Raw::Received(_));
        let last = self.records.iter().enumerate().rfind(|(index, record)| from_target(record) && !self.asides.contains(index));
        last.map_or(0, |(_, record)| record.at)
    }

    /// Where the process ended.
    pub(super) fn last_exit(&self) -> Option<usize> {
        self.records.iter().rposition(|record| matches!(record.raw, Raw::Exited(_)))
    }

    /// Frames of the target after the greeting.
    pub(super) fn messages(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.records.iter().filter_map(|record| match &record.raw {
            Raw::Frame(bytes, true) if !bytes.is_empty() => Some((record.connection.as_str(), bytes.as_slice())),
            _ => None,
        })
    }

    /// The records for a report, perhaps with those that were set apart. Of a long dialogue the middle is left out, and
    /// `divergence` moved with it.
    pub(super) fn exchanges(&self, divergence: &mut Option<usize>, with_asides: bool) -> Vec<Exchange> {
        let mut kept: Vec<usize> = (0..self.records.len()).filter(|index| with_asides || !self.asides.contains(index)).collect();
        if kept.len() > KEPT {
            let last = kept.split_off(kept.len() - KEPT / 2);
            kept.truncate(KEPT / 2);
            kept.extend(last);
        }
        if let Some(index) = divergence.as_mut() {
            *index = kept.partition_point(|&place| place < *index);
        }
        kept.into_iter().map(|index| self.exchange(&self.records[index])).collect()
    }

    fn exchange(&self, record: &Record) -> Exchange {
        let bytes = |bytes: &[u8]| What::Bytes { hex: hex_cut(bytes), length: bytes.len() };
        let (by, what) = match &record.raw {
            Raw::Connected => (By::Tester, What::Connected),
            Raw::Frame(frame, greeted) => (By::Target, self.frame_what(frame, *greeted)),
            Raw::Sent(frame, greeted) => (By::Tester, self.frame_what(frame, *greeted)),
            Raw::Received(data) => (By::Target, bytes(data)),
            Raw::SentBytes(data) => (By::Tester, bytes(data)),
            Raw::Paused => (By::Tester, What::ReadingPaused),
            Raw::Resumed => (By::Tester, What::ReadingResumed),
            Raw::HalfClosed => (By::Tester, What::HalfClosed),
            Raw::TesterClosed => (By::Tester, What::Closed),
            Raw::Ended => (By::Target, What::Closed),
            Raw::Exited(status) => (By::Target, What::Exited { status: status.clone() }),
            Raw::Silent(ms) => (By::Target, What::Silent { ms: *ms }),
        };
        Exchange {
            connection: record.connection.clone(),
            by,
            what,
            step: (record.step > 0).then_some(record.step),
            at_ms: record.at,
        }
    }

    fn frame_what(&self, bytes: &[u8], greeted: bool) -> What {
        let decoded = if greeted { wire::decode(self.codec, bytes).ok() } else { None };
        let message = decoded.map(|value| plain_json(&value));
        let shown = match &message {
            Some(message) => cut(&message.to_string()),
            None => text(bytes),
        };
        // A message too long to be shown whole is not kept whole either.
        let message = message.filter(|_| bytes.len() <= 4096);
        What::Frame { hex: hex_cut(bytes), length: bytes.len(), shown, message }
    }
}

/// Bytes as text, escaped where they are none.
pub(super) fn text(bytes: &[u8]) -> String {
    cut(&bytes[..bytes.len().min(4096)].escape_ascii().to_string())
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(2000) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

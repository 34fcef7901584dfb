//! Two cores joined by byte pipes: what the tests of the connection stand on. No clock, no runtime, no sleep.

use bytes::BytesMut;
use duplex_proto::connection::{Delivery, Ended, ServeKey};
use duplex_proto::{Codec, Config, Connection, Deframer, Event, Format, Framing, Json, Limits, MessagePack, Raw, Role};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// One end: a core, and the bytes on their way to it.
pub(crate) struct End {
    pub(crate) core: Connection,
    deframer: Deframer,
    inbound: BytesMut,
    /// Requests whose first frame was delivered, in order.
    pub(crate) started: Vec<ServeKey>,
    /// Events in the order in which they came, as text.
    pub(crate) log: Vec<String>,
}

impl End {
    pub(crate) fn new(role: Role, framing: Framing, codecs: Vec<Arc<dyn Codec>>, limits: Limits) -> Self {
        Self {
            core: Connection::new(Config { role, framing, codecs, limits }),
            deframer: Deframer::new(framing),
            inbound: BytesMut::new(),
            started: Vec::new(),
            log: Vec::new(),
        }
    }

    /// An acceptor of JSON lines, greeted.
    pub(crate) fn greeted() -> Self {
        Self::greeted_with(Limits::default())
    }

    pub(crate) fn greeted_with(limits: Limits) -> Self {
        let mut end = Self::new(Role::Acceptor, Framing::Newline, vec![Arc::new(Json)], limits);
        end.take(b"SIMPLEX/1.0;json\n");
        assert_eq!(end.written(), "+OK\n");
        end
    }

    /// Bytes arrive.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.inbound.extend_from_slice(bytes);
        loop {
            match self.deframer.next_frame(&mut self.inbound, self.core.frame_limit()) {
                Ok(Some(frame)) => self.core.handle_frame(frame),
                Ok(None) => break,
                Err(_) => {
                    self.core.handle_oversized();
                    self.inbound.clear();
                }
            }
            self.settle();
        }
        self.core.handle_flushed();
        self.settle();
    }

    /// Lines arrive.
    pub(crate) fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.take(format!("{line}\n").as_bytes());
        }
    }

    pub(crate) fn settle(&mut self) {
        while let Some(event) = self.core.poll_event() {
            self.log.push(format!("{event:?}"));
            match event {
                Event::Request { key, first, frame } => {
                    let delivery = self.core.deliver_request(key, frame);
                    if first && matches!(delivery, Delivery::Delivered | Delivery::Crowded) {
                        self.started.push(key);
                    }
                }
                Event::Reply { id, frame } => _ = self.core.deliver_reply(id, frame),
                _ => {}
            }
        }
    }

    /// What the core has written since the last look.
    pub(crate) fn written_bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some(bytes) = self.core.poll_transmit() {
            self.core.handle_written(bytes.len());
            all.extend_from_slice(&bytes);
        }
        all
    }

    /// The calls that have ended since the last look.
    pub(crate) fn ended(&mut self) -> Vec<Ended> {
        std::iter::from_fn(|| self.core.poll_ended()).collect()
    }

    pub(crate) fn written(&mut self) -> String {
        String::from_utf8(self.written_bytes()).expect("JSON lines are UTF-8")
    }
}

/// Two ends.
pub(crate) struct Pair {
    pub(crate) initiator: End,
    pub(crate) acceptor: End,
}

impl Pair {
    pub(crate) fn new(framing: Framing, codec: fn() -> Arc<dyn Codec>) -> Self {
        let both = || -> Vec<Arc<dyn Codec>> { vec![Arc::new(Json), Arc::new(MessagePack)] };
        let mut pair = Self {
            initiator: End::new(Role::Initiator, framing, vec![codec()], Limits::default()),
            acceptor: End::new(Role::Acceptor, framing, both(), Limits::default()),
        };
        pair.run(usize::MAX);
        assert!(!pair.initiator.core.is_greeting() && !pair.acceptor.core.is_greeting());
        pair
    }

    /// Carries bytes until both are quiet, in pieces of at most so many.
    pub(crate) fn run(&mut self, piece: usize) {
        loop {
            let there = self.initiator.written_bytes();
            let back = self.acceptor.written_bytes();
            if there.is_empty() && back.is_empty() {
                return;
            }
            there.chunks(piece.min(there.len().max(1))).for_each(|bytes| self.acceptor.take(bytes));
            back.chunks(piece.min(back.len().max(1))).for_each(|bytes| self.initiator.take(bytes));
        }
    }
}

/// Whether a reader was woken.
#[derive(Debug, Default)]
pub(crate) struct Woken(AtomicBool);

impl Woken {
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn json(text: &str) -> Raw {
    let value: serde_json::Value = serde_json::from_str(text).expect("the test's own JSON");
    Raw::encode(Format::Json, &value).expect("JSON can be encoded")
}

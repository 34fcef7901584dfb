//! A whole connection, in each role, framing and codec, fed bytes that no peer would send, in pieces of any length.
//!
//! Its user answers everything at once, so that what happens depends on the bytes alone, and not on where they were cut.

use std::sync::Arc;

use bytes::BytesMut;
use duplex_proto::connection::{Read, Reply};
use duplex_proto::{Codec, Config, Connection, Deframer, Event, Framing, Json, Limits, MessagePack, Role};

use crate::allocation::bounded;

pub(crate) fn run(data: &[u8]) {
    let Some((&[choice, piece], stream)) = data.split_first_chunk::<2>() else { return };
    let whole = play(choice, stream, stream.len().max(1));
    let split = play(choice, stream, usize::from(piece % 64) + 1);
    assert_eq!(whole, split, "in pieces of {}", piece % 64 + 1);
}

/// One end, and what was seen of it.
struct End {
    core: Connection,
    deframer: Deframer,
    inbound: BytesMut,
    log: Vec<String>,
    written: Vec<u8>,
}

fn play(choice: u8, stream: &[u8], piece: usize) -> (Vec<String>, Vec<u8>) {
    bounded(stream.len(), 2048, || {
        let mut end = End::new(choice);
        for bytes in stream.chunks(piece) {
            end.inbound.extend_from_slice(bytes);
            end.take();
        }
        end.finish();
        (end.log, end.written)
    })
}

impl End {
    fn new(choice: u8) -> Self {
        let role = if choice & 1 == 0 { Role::Acceptor } else { Role::Initiator };
        let codecs: [Arc<dyn Codec>; 2] = [Arc::new(Json), Arc::new(MessagePack)];
        let codec = Arc::clone(&codecs[usize::from(choice >> 1 & 1)]);
        let framing = if choice >> 2 & 1 == 0 || !codec.is_text() { Framing::Length } else { Framing::Newline };
        let mut limits = Limits::default();
        if choice >> 3 & 1 == 1 {
            (limits.frame, limits.open_calls, limits.draining_ids, limits.buffered_items) = (300, 2, 1, 1);
            (limits.buffered_bytes, limits.outbound_bytes, limits.ext, limits.depth) = (16, 300, 16, 4);
        }
        let mut core = Connection::new(Config { role, framing, codecs: vec![codec], limits });
        if role == Role::Initiator {
            // Calls to be answered, each in another stage; they are sent when the greeting is through.
            core.leave_early_ends();
        }
        Self { core, deframer: Deframer::new(framing), inbound: BytesMut::new(), log: Vec::new(), written: Vec::new() }
    }

    /// Handles every whole frame.
    fn take(&mut self) {
        loop {
            if self.core.is_flushing() || self.core.is_closing() {
                self.inbound.clear();
            }
            match self.deframer.next_frame(&mut self.inbound, self.core.frame_limit()) {
                Ok(Some(frame)) => self.core.handle_frame(frame),
                Ok(None) => return,
                Err(_) => self.core.handle_oversized(),
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(event) = self.core.poll_event() {
            self.log.push(format!("{event:?}"));
            match event {
                Event::Ready => self.call(),
                Event::Request { key, frame, .. } => {
                    self.core.deliver_request(key, frame);
                    self.serve(key);
                }
                Event::ArgsFailed { key } => self.serve(key),
                Event::Reply { id, frame } => {
                    self.core.deliver_reply(id, frame);
                    loop {
                        match self.core.read_reply(id) {
                            Read::Pending => break,
                            Read::Item(_) => {}
                            _ => {
                                self.core.forget(id);
                                break;
                            }
                        }
                    }
                }
                _ => {}
            }
        }
        for end in self.core.poll_early_ends() {
            self.core.send_early_end(&end, None);
        }
        while let Some(ended) = self.core.poll_ended() {
            self.log.push(format!("{ended:?}"));
        }
        while let Some(bytes) = self.core.poll_transmit() {
            self.core.handle_written(bytes.len());
            self.written.extend_from_slice(&bytes);
        }
    }

    /// Calls that wait for what the bytes say: two of one argument, two of several.
    fn call(&mut self) {
        let item = duplex_proto::Raw::null(self.core.format());
        for more in [false, true, false, true] {
            _ = self.core.call(&Arc::from("m"), Some(&item), more, None);
        }
    }

    /// Gives back each argument; the end of them is the end of the results.
    fn serve(&mut self, key: duplex_proto::connection::ServeKey) {
        let ext = self.core.ext(key).cloned();
        loop {
            match self.core.read_args(key) {
                Read::Pending => return,
                Read::Item(item) => _ = self.core.send_item(key, &item, ext.as_ref()),
                Read::End => {
                    _ = self.core.reply(key, &Reply::End, ext.as_ref());
                    break;
                }
                Read::Failed(_) => break,
            }
        }
        self.core.release(key);
    }

    /// The bytes are over: everything ends, and nothing is left.
    fn finish(&mut self) {
        self.core.handle_flushed();
        self.settle();
        assert_eq!(self.core.buffered_bytes(), 0, "everything was read");
        self.core.handle_end();
        self.settle();
        let core = &mut self.core;
        assert!(core.is_over(), "nothing is due");
        assert_eq!((core.outgoing(), core.incoming(), core.draining()), (0, 0, 0));
    }
}

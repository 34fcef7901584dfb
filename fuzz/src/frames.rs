//! The framings against a few plain lines that see the whole stream at once, and the greeting against what it offers itself.

use bytes::BytesMut;
use duplex_proto::greeting;
use duplex_proto::{Deframer, Framing};

use crate::allocation::bounded;

/// The longest frame. Short, so that inputs come by it.
const LIMIT: usize = 40;

pub(crate) fn run(data: &[u8]) {
    let Some((&first, stream)) = data.split_first() else { return };
    if let Ok(codec) = greeting::parse(stream) {
        assert_eq!(greeting::parse(greeting::offer(codec).as_bytes()), Ok(codec));
    }
    let piece = usize::from(first >> 1) + 1;
    let (framing, expected) = match first & 1 {
        0 => (Framing::Length, by_length(stream)),
        _ => (Framing::Newline, by_line(stream)),
    };
    // What is kept is the stream itself, and the frames that were cut off it share its memory.
    let seen = bounded(stream.len(), 80, || cut(framing, stream, piece));
    assert_eq!(seen, expected);
}

/// Whole frames up to the first that is too long, and whether there is one.
type Cut = (Vec<Vec<u8>>, bool);

fn cut(framing: Framing, stream: &[u8], piece: usize) -> Cut {
    let (mut deframer, mut buffer, mut frames) = (Deframer::new(framing), BytesMut::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            match deframer.next_frame(&mut buffer, LIMIT) {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fn by_length(mut stream: &[u8]) -> Cut {
    let mut frames = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        if length > LIMIT {
            return (frames, true);
        }
        let Some((frame, rest)) = rest.split_at_checked(length) else { break };
        frames.push(frame.to_vec());
        stream = rest;
    }
    (frames, false)
}

fn by_line(stream: &[u8]) -> Cut {
    let mut frames = Vec::new();
    let mut lines = stream.split(|&byte| byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let is_whole = lines.peek().is_some();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LIMIT {
            return (frames, true);
        }
        if is_whole {
            frames.push(line.to_vec());
        }
    }
    (frames, false)
}

//! Cuts a byte stream into frames, and wraps frames for one.
//!
//! Incremental: however the bytes were split, the same frames come out. Whether a frame means anything is the codec's affair.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memchr;

/// How frames lie in a byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Four bytes of length, big-endian, then that many bytes.
    Length,
    /// One frame a line. For text codecs only.
    Newline,
    /// The transport carries messages, and a frame is one of them: nothing is cut and nothing is wrapped.
    Message,
}

/// Takes frames off the front of a buffer.
#[derive(Clone, Debug)]
pub struct Deframer {
    framing: Framing,
    /// How much of an unfinished line was searched already, so that no byte is looked at twice.
    searched: usize,
}

/// A frame is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame is longer than the limit of {limit} bytes")]
pub struct TooLong {
    /// The limit, in bytes.
    pub limit: usize,
}

const LENGTH_PREFIX: usize = 4;

impl Deframer {
    /// A deframer at the start of a stream.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, searched: 0 }
    }

    /// The next whole frame, taken off the front of `buffer`; `None` until more bytes are there. With [`Framing::Message`] the
    /// buffer is to hold one message at a time.
    ///
    /// What the end of the stream leaves in `buffer` is no frame and is never handed out. r[framing.partial]
    ///
    /// # Errors
    /// When the frame that begins in `buffer` is longer than `limit`, as soon as that is known.
    pub fn next_frame(&mut self, buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TooLong> {
        match self.framing {
            Framing::Length => next_by_length(buffer, limit),
            Framing::Newline => self.next_line(buffer, limit),
            Framing::Message => next_message(buffer, limit),
        }
    }

    fn next_line(&mut self, buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TooLong> {
        let from = self.searched.min(buffer.len());
        let Some(newline) = memchr(b'\n', &buffer[from..]).map(|at| from + at) else {
            self.searched = buffer.len();
            // A carriage return at the end may yet turn out to belong to the line's end. r[framing.newline.limit]
            let at_least = buffer.len() - usize::from(buffer.last() == Some(&b'\r'));
            return if at_least > limit { Err(TooLong { limit }) } else { Ok(None) };
        };
        self.searched = 0;
        let mut line = buffer.split_to(newline + 1).freeze();
        line.truncate(newline);
        // r[framing.newline.cr]
        if line.last() == Some(&b'\r') {
            line.truncate(newline - 1);
        }
        if line.len() > limit { Err(TooLong { limit }) } else { Ok(Some(line)) }
    }
}

/// The buffer holds one message; an empty one is a keepalive, and means nothing. r[transport.websocket.message]
fn next_message(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TooLong> {
    let message = buffer.split().freeze();
    match message.len() {
        0 => Ok(None),
        length if length > limit => Err(TooLong { limit }),
        _ => Ok(Some(message)),
    }
}

fn next_by_length(buffer: &mut BytesMut, limit: usize) -> Result<Option<Bytes>, TooLong> {
    let Some(prefix) = buffer.first_chunk::<LENGTH_PREFIX>() else { return Ok(None) };
    // r[framing.length.form]
    let length = u32::from_be_bytes(*prefix) as usize;
    // r[framing.length.limit] Nothing is set aside for a length that was only claimed.
    if length > limit {
        return Err(TooLong { limit });
    }
    if buffer.len() < LENGTH_PREFIX + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_PREFIX);
    Ok(Some(buffer.split_to(length).freeze()))
}

impl Framing {
    /// Appends one frame to `out`, as `write` makes it.
    ///
    /// # Errors
    /// When the frame is longer than `limit`; `out` is as before then.
    pub fn append(self, out: &mut BytesMut, limit: usize, write: impl FnOnce(&mut BytesMut)) -> Result<(), TooLong> {
        let start = out.len();
        let prefix = match self {
            Self::Length => LENGTH_PREFIX,
            Self::Newline | Self::Message => 0,
        };
        out.put_bytes(0, prefix);
        write(out);
        let length = out.len() - start - prefix;
        // r[framing.size.send]
        let Some(length) = u32::try_from(length).ok().filter(|_| length <= limit) else {
            out.truncate(start);
            return Err(TooLong { limit });
        };
        match self {
            Self::Length => out[start..start + LENGTH_PREFIX].copy_from_slice(&length.to_be_bytes()),
            Self::Newline => {
                // In JSON a raw newline is white space between tokens, never inside a string. r[framing.newline.form]
                let mut at = start;
                while let Some(newline) = memchr(b'\n', &out[at..]) {
                    at += newline;
                    out[at] = b' ';
                }
                out.put_u8(b'\n');
            }
            Self::Message => {}
        }
        Ok(())
    }
}

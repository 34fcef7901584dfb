//! How bytes become frames and frames bytes. A receiver here believes no length: memory grows with bytes that came.

use duplex_vectors::Framing;

/// The longest frame that is read. No rule lets a target send as much, and hardly any length is as short when it is read in the
/// wrong byte order.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// Frames a frame.
#[must_use]
pub fn frame(framing: Framing, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 4);
    match framing {
        Framing::Length => {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Framing::Newline => {
            out.extend_from_slice(bytes);
            out.push(b'\n');
        }
    }
    out
}

/// Bytes of which no frame can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unframed {
    /// What is wrong.
    pub what: String,
    /// The first bytes from there on.
    pub bytes: Vec<u8>,
}

/// Cuts bytes into frames, as they come.
#[derive(Debug)]
pub struct Deframer {
    framing: Framing,
    buffer: Vec<u8>,
    /// How much of `buffer` is used up or known to hold no line end.
    start: usize,
    seen: usize,
}

impl Deframer {
    /// A deframer at the start of a connection.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, buffer: Vec::new(), start: 0, seen: 0 }
    }

    /// Takes bytes that came.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.seen -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if there is one.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, Unframed> {
        let rest = &self.buffer[self.start..];
        let (frame, used) = match self.framing {
            Framing::Length => {
                let Some((head, body)) = rest.split_first_chunk::<4>() else { return Ok(None) };
                let length = u32::from_be_bytes(*head) as usize;
                if length > MAX_FRAME {
                    return Err(Self::unframed(format!("the length prefix claims {length} bytes"), rest));
                }
                let Some(frame) = body.get(..length) else { return Ok(None) };
                (frame.to_vec(), 4 + length)
            }
            Framing::Newline => {
                let Some(end) = self.buffer[self.seen..].iter().position(|&byte| byte == b'\n') else {
                    self.seen = self.buffer.len();
                    if rest.len() > MAX_FRAME {
                        return Err(Self::unframed(format!("a line has more than {MAX_FRAME} bytes"), rest));
                    }
                    return Ok(None);
                };
                let line = &self.buffer[self.start..self.seen + end];
                let frame = line.strip_suffix(b"\r").unwrap_or(line);
                (frame.to_vec(), line.len() + 1)
            }
        };
        self.start += used;
        self.seen = self.start;
        Ok(Some(frame))
    }

    /// What is left of a frame that never became whole.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn unframed(what: String, rest: &[u8]) -> Unframed {
        Unframed { what, bytes: rest[..rest.len().min(64)].to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_same_however_the_bytes_are_split() {
        let frames: [&[u8]; 4] = [b"a", b"", b"{\"x\":1}", b"longer than the others"];
        for framing in Framing::all() {
            let bytes: Vec<u8> = frames.iter().flat_map(|bytes| frame(framing, bytes)).collect();
            for size in [1, 2, 3, 5, bytes.len()] {
                let mut deframer = Deframer::new(framing);
                let mut got = Vec::new();
                for chunk in bytes.chunks(size) {
                    deframer.push(chunk);
                    while let Some(frame) = deframer.next_frame().expect("frames") {
                        got.push(frame);
                    }
                }
                assert_eq!(got, frames, "{framing} in pieces of {size}");
                assert!(deframer.rest().is_empty());
            }
        }
    }

    #[test]
    fn a_claim_of_four_gibibytes_is_refused_at_once() {
        let mut deframer = Deframer::new(Framing::Length);
        deframer.push(&[0xff; 4]);
        assert_eq!(deframer.next_frame().expect_err("refused").what, "the length prefix claims 4294967295 bytes");
    }

    #[test]
    fn one_carriage_return_is_dropped() {
        let mut deframer = Deframer::new(Framing::Newline);
        deframer.push(b"a\r\r\nb\rc\n");
        assert_eq!(deframer.next_frame(), Ok(Some(b"a\r".to_vec())));
        assert_eq!(deframer.next_frame(), Ok(Some(b"b\rc".to_vec())));
    }
}

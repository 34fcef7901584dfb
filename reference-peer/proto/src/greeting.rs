//! The two frames before the first message. No codec touches them.

use std::fmt;

use crate::framing::Framing;

/// The longest greeting or refusal, in bytes.
pub const MAX_GREETING: usize = 32;
/// The longest answer that an initiator reads, in bytes: an acceptor may say more than `+OK`.
pub const MAX_ANSWER: usize = 1024;
/// What an acceptor answers when all is well. r[greeting.accept.text]
pub const ACCEPTED: &[u8] = b"+OK";

const NAME: &str = "SIMPLEX";
const VERSION: &str = "1.0";

/// Why an acceptor refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The first frame is no greeting.
    Malformed,
    /// The first frame is longer than a greeting may be.
    TooLong,
    /// Another protocol.
    Name,
    /// Another version.
    Version,
    /// A codec that is not spoken here, or that the framing cannot carry.
    Codec,
}

impl Refusal {
    /// The refusal as it is sent: at most 32 bytes of printable ASCII. r[greeting.refuse.form]
    #[must_use]
    pub fn frame(self) -> &'static [u8] {
        match self {
            Self::Malformed => b"-ERR malformed greeting",
            Self::TooLong => b"-ERR greeting too long",
            Self::Name => b"-ERR unknown protocol",
            Self::Version => b"-ERR unknown version",
            Self::Codec => b"-ERR unknown codec",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.frame()))
    }
}

/// The greeting that offers a codec. r[greeting.form]
#[must_use]
pub fn offer(codec: &str) -> String {
    format!("{NAME}/{VERSION};{codec}")
}

/// The codec that a greeting offers.
///
/// # Errors
/// The reason to refuse it.
pub fn parse(frame: &[u8]) -> Result<&str, Refusal> {
    // r[greeting.refuse.size]
    if frame.len() > MAX_GREETING {
        return Err(Refusal::TooLong);
    }
    // r[greeting.refuse.malformed]
    if !frame.iter().all(|byte| (b' '..=b'~').contains(byte)) {
        return Err(Refusal::Malformed);
    }
    let text = std::str::from_utf8(frame).expect("invariant: printable ASCII is UTF-8");
    // r[greeting.params.ignored] What stands behind the codec is for later revisions.
    let mut parts = text.split(';');
    let (name, version) = parts.next().and_then(|head| head.split_once('/')).ok_or(Refusal::Malformed)?;
    // r[greeting.refuse.name]
    if name != NAME {
        return Err(Refusal::Name);
    }
    // r[greeting.refuse.version]
    if version != VERSION {
        return Err(Refusal::Version);
    }
    let codec = parts.next().ok_or(Refusal::Malformed)?;
    if is_codec_name(codec) { Ok(codec) } else { Err(Refusal::Malformed) }
}

/// Whether a framing can carry a codec. r[framing.newline.text]
#[must_use]
pub fn can_carry(framing: Framing, codec_is_text: bool) -> bool {
    framing != Framing::Newline || codec_is_text
}

fn is_codec_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-'))
}

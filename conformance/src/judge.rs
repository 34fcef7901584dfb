//! From a finding to a verdict, and to what usually causes it. Pure.

use duplex_spec::Level;
use duplex_vectors::{Codec, Framing, Transport};

use crate::event::{By, Configuration, Exchange, Finding, FindingKind, Verdict, What};
use crate::wire::framing::MAX_FRAME;

/// The verdict of a case that ended with this finding: the level of the rule that does not hold decides.
#[must_use]
pub fn verdict(finding: Option<&Finding>) -> Verdict {
    let Some(finding) = finding else { return Verdict::Pass };
    match finding.kind {
        FindingKind::Harness => Verdict::HarnessFault,
        FindingKind::Blocked => Verdict::Blocked,
        // However lenient the rule, a dead or deaf process is none.
        FindingKind::Crash | FindingKind::Hang | FindingKind::Flood => Verdict::Fail,
        _ => match duplex_spec::registry().rule(&finding.rule).map(|rule| rule.level) {
            Some(Level::Should | Level::May) => Verdict::Warn,
            Some(Level::Must) | None => Verdict::Fail,
        },
    }
}

/// A bare finding, without a dialogue.
#[must_use]
pub fn finding(kind: FindingKind, rule: &str, summary: impl Into<String>) -> Finding {
    Finding {
        kind,
        rule: rule.to_owned(),
        summary: summary.into(),
        expected: Vec::new(),
        actual: None,
        likely_cause: None,
        dialogue: Vec::new(),
        divergence: None,
        exit: None,
        stderr: Vec::new(),
    }
}

/// What usually causes this, if it is known.
#[must_use]
pub fn likely_cause(finding: &Finding, configuration: Configuration) -> Option<String> {
    if finding.exit.as_deref() == Some("exit status 89") {
        let said = match finding.dialogue.iter().any(is_frame) {
            true => {
                "Status 89 says that a configuration is not implemented, before the wire is touched; here a session was under way."
            }
            false => "Status 89 says that the target does not implement this configuration, which its description claims.",
        };
        return Some(said.into());
    }
    if finding.rule == "greeting.accept" && finding.actual.as_ref().is_some_and(|actual| actual.starts_with("SIMPLEX/")) {
        return Some(
            "What was sent comes back, or both sides are initiators: is this a Duplex target that reads DUPLEX_ROLE?".into(),
        );
    }
    if let Some((bytes, is_whole)) = first_bytes(finding) {
        match finding.kind {
            FindingKind::Garbage if is_whole => return frame_cause(&bytes, configuration),
            FindingKind::Garbage => return bytes_cause(&bytes, configuration).or_else(|| frame_cause(&bytes, configuration)),
            FindingKind::Mismatch if finding.rule.starts_with("greeting.") => return greeting_cause(&bytes, configuration),
            FindingKind::Hang if !is_whole => {
                let cause =
                    || "A frame that has begun ends when all of it is written: is its length right, and the output flushed?";
                return bytes_cause(&bytes, configuration).or_else(|| Some(cause().into()));
            }
            _ => {}
        }
    }
    if let Some(line) = finding.stderr.iter().rev().find(|line| is_error_line(line))
        && matches!(
            finding.kind,
            FindingKind::Crash | FindingKind::Closed | FindingKind::Unanswered | FindingKind::Hang | FindingKind::NotStarted
        )
    {
        return Some(format!("The target says: {}", line.trim()));
    }
    message_cause(finding)
}

fn is_frame(exchange: &Exchange) -> bool {
    exchange.by == By::Target && matches!(exchange.what, What::Frame { .. })
}

/// The bytes of the target at the divergence, and whether they are a whole frame.
fn first_bytes(finding: &Finding) -> Option<(Vec<u8>, bool)> {
    let at = finding.divergence?;
    let exchange: &Exchange = finding.dialogue.get(at).filter(|exchange| exchange.by == By::Target)?;
    match &exchange.what {
        What::Frame { hex: digits, .. } | What::Bytes { hex: digits, .. } => {
            Some((hex::decode(digits).ok()?, is_frame(exchange)))
        }
        _ => None,
    }
}

fn is_text(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

fn text_cause(configuration: Configuration) -> String {
    match configuration.transport {
        Transport::Stdio => "Text on stdout where frames are due: logs belong on stderr.".into(),
        Transport::Tcp => "Text where frames are due: does something else than the peer write to the connection?".into(),
    }
}

/// What bytes are of which no frame was made.
fn bytes_cause(bytes: &[u8], configuration: Configuration) -> Option<String> {
    let head = bytes.first_chunk::<4>();
    match configuration.framing {
        Framing::Length => {
            if matches!(bytes.first(), Some(b'{' | b'+')) || bytes.starts_with(b"SIMPLEX/") {
                return Some("The frame has no length prefix; it looks like newline framing.".into());
            }
            if is_text(&bytes[..bytes.len().min(4)]) {
                return Some(text_cause(configuration));
            }
            if head.is_some_and(|head| u32::from_le_bytes(*head) < 1 << 21) {
                return Some("The length prefix is little-endian; it has to be big-endian.".into());
            }
            // What is longer than any frame was no frame's text either.
            if head.is_some_and(|head| u32::from_be_bytes(*head) as usize > MAX_FRAME) {
                return Some("No frame is so long: an earlier length was wrong, or these four bytes are no length.".into());
            }
        }
        Framing::Newline => {
            if head.is_some_and(|head| u32::from_be_bytes(*head) < 1 << 21) {
                return Some("The frame starts with a length; it looks like length framing.".into());
            }
        }
    }
    None
}

/// What a frame in the place of the greeting is.
fn greeting_cause(bytes: &[u8], configuration: Configuration) -> Option<String> {
    if matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf | b'{')) {
        return Some("A message came in the place of the greeting: its two frames are first, and no codec encodes them.".into());
    }
    let is_greeting = bytes.starts_with(b"SIMPLEX/") || bytes.starts_with(b"-");
    frame_cause(bytes, configuration).filter(|_| !is_greeting)
}

/// What a frame is that is no message.
fn frame_cause(bytes: &[u8], configuration: Configuration) -> Option<String> {
    if configuration.framing == Framing::Newline
        && let Some(cause) = bytes_cause(bytes, configuration)
    {
        return Some(cause);
    }
    match configuration.codec {
        _ if [&b"+"[..], b"-ERR", b"SIMPLEX/"].iter().any(|start| bytes.starts_with(start)) => {
            Some("The greeting is one frame of each side, and came a second time.".into())
        }
        Codec::Json if matches!(bytes.first(), Some(0x80..=0x8f | 0xde | 0xdf)) => {
            Some("The frame looks like MessagePack.".into())
        }
        Codec::Msgpack if matches!(bytes.first(), Some(b'{')) => Some("The frame looks like JSON.".into()),
        _ if is_text(bytes) && bytes[0] != b'{' => Some(text_cause(configuration)),
        _ => None,
    }
}

fn message_cause(finding: &Finding) -> Option<String> {
    let at = finding.divergence?;
    let What::Frame { message: Some(message), .. } = &finding.dialogue.get(at)?.what else { return None };
    let is_reply = message.get("type").is_some_and(|kind| kind == "rep");
    let id = message.get("id");
    if is_reply && id.is_none_or(serde_json::Value::is_null) {
        return Some("A reply without an id: a notification was answered, or the id was not copied from the request.".into());
    }
    if is_reply && id.is_some_and(serde_json::Value::is_string) {
        return Some("The id came back as a string; it is a number.".into());
    }
    if is_reply
        && let Some(id) = id
        && !was_asked(finding, at, id)
    {
        return Some("No call with this id is open: the id of the request was not copied.".into());
    }
    if is_reply && message.get("payload").is_none() && message.get("error").is_none() {
        return Some("The reply has neither payload nor error: was a null payload left out?".into());
    }
    None
}

fn was_asked(finding: &Finding, at: usize, id: &serde_json::Value) -> bool {
    finding.dialogue[..at].iter().filter(|exchange| exchange.by == By::Tester).any(|exchange| match &exchange.what {
        What::Frame { message: Some(message), .. } => message.get("id") == Some(id),
        // What went out below the framing may hold any id.
        What::Bytes { .. } | What::Frame { message: None, .. } => exchange.step.is_some(),
        _ => false,
    })
}

fn is_error_line(line: &str) -> bool {
    let has = |word| line.contains(word);
    has("Error") || has("error:") || has("panic") || has("Exception") || has("fatal")
}

#[cfg(test)]
mod tests {
    use duplex_vectors::{Role, Transport};

    use super::*;

    #[test]
    fn bytes_that_are_no_frames_have_known_causes() {
        type Cause = fn(&[u8], Configuration) -> Option<String>;
        let (bytes, frame, greeting): (Cause, Cause, Cause) = (bytes_cause, frame_cause, greeting_cause);
        for (of, framing, came, cause) in [
            (bytes, Framing::Length, &b"listening on"[..], "Text on stdout"),
            (bytes, Framing::Length, b"{\"type\":", "newline framing"),
            (bytes, Framing::Length, b"+OK\n", "newline framing"),
            (bytes, Framing::Length, &[3, 0, 0, 0, b'+', b'O', b'K'], "little-endian"),
            (bytes, Framing::Length, &[0xff; 4], "an earlier length was wrong"),
            (frame, Framing::Newline, &[0, 0, 0, 3, b'+', b'O', b'K'], "length framing"),
            (frame, Framing::Newline, b"ready", "Text on stdout"),
            (frame, Framing::Length, &[0x82, 0xa4, 0x74, 0x79], "MessagePack"),
            (frame, Framing::Length, b"+OK", "a second time"),
            (greeting, Framing::Newline, b"Server ready!", "Text on stdout"),
            (greeting, Framing::Length, b"{\"type\":\"req\"}", "in the place of the greeting"),
        ] {
            let configuration = Configuration { transport: Transport::Stdio, role: Role::Acceptor, framing, codec: Codec::Json };
            assert!(of(came, configuration).is_some_and(|text| text.contains(cause)), "{came:?}: {cause}");
        }
    }

    #[test]
    fn a_refusal_and_a_frame_that_is_a_number_have_no_cause_of_their_own() {
        let configuration =
            Configuration { transport: Transport::Tcp, role: Role::Acceptor, framing: Framing::Length, codec: Codec::Json };
        assert_eq!(greeting_cause(b"-ERR unknown codec", configuration), None);
        assert_eq!(bytes_cause(&[0, 0, 0, 40, b'{', b'"'], configuration), None);
    }
}

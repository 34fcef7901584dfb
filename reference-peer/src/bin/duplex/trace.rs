//! `duplex trace`: stands between two peers, passes their frames on, and prints them decoded.
//!
//! Frames are cut and wrapped anew, so the two sides may use different transports and framings. Nothing is judged: what is no
//! message is passed on, too.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use bytes::{Bytes, BytesMut};
use clap::Args;
use duplex_peer::{Address, Close, Codec, Deframer, FrameReader, FrameWriter, Framing, Input, Limits, MessagePack, Transport};
use serde_json::{Value, json};

use crate::{Failure, FramingName, print};

const EXAMPLES: &str = "\
Each line is a frame: `->` from the peer that connected, `<-` from the one that was connected to. From the second
connection on, its number stands before it.

Examples:
  duplex trace tcp://127.0.0.1:7001 tcp://127.0.0.1:7000
  duplex trace --save session.jsonl ws://127.0.0.1:7001 'exec:node service.js'
  duplex trace stdio: 'exec:node service.js'       for a host that starts it; what is said goes to standard error

A line of the saved file is an object: `connection`, `from` (\"initiator\" or \"acceptor\"), `seconds` since the start, and
  message, length    the frame decoded, and its bytes; or
  base64, text       the bytes of one that is no message, and what was shown of it; or
  end                true: this side sends nothing more";

/// Stands between two peers and prints what they say
#[derive(Args)]
#[command(after_help = EXAMPLES, visible_alias = "listen")]
pub(crate) struct Options {
    /// Where to listen, or `stdio:` for whoever started this
    listen: Address,
    /// Where to pass connections on to
    connect: Address,
    /// Write each frame to this file, too, as a line of JSON; what is in it goes
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// End after the first connection
    #[arg(long)]
    once: bool,
    /// How frames lie in the byte stream of the side that listens
    #[arg(long, value_enum, default_value_t = FramingName::Length)]
    framing: FramingName,
    /// The same for the side that connects, if it is another
    #[arg(long, value_enum, value_name = "FRAMING")]
    connect_framing: Option<FramingName>,
}

/// Far over the limit of peers: it is theirs to complain.
const FRAME_LIMIT: usize = 64 << 20;

struct Recorder {
    started: Instant,
    /// Whether standard output is a side of the connection, and not ours.
    is_piped: bool,
    save: Option<Mutex<std::fs::File>>,
    /// Whether something could not be shown or saved.
    has_failed: AtomicBool,
}

/// One connection, as both of its directions know it.
struct Traced {
    number: u64,
    recorder: Arc<Recorder>,
    is_msgpack: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Initiator,
    Acceptor,
}

pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let save = match &options.save {
        None => None,
        Some(path) => {
            let file = std::fs::File::create(path);
            Some(Mutex::new(file.map_err(|error| Failure::Local(format!("{}: {error}", path.display())))?))
        }
    };
    let is_piped = options.listen == Address::Stdio;
    let recorder = Arc::new(Recorder { started: Instant::now(), is_piped, save, has_failed: AtomicBool::new(false) });
    if is_piped {
        return pass(&options, Transport::stdio(options.framing.into()), Traced::new(1, &recorder)).await;
    }
    let listener = options.listen.listen().await?;
    writeln!(anstream::stderr(), "listening on {}", listener.address())?;
    let options = Arc::new(options);
    for number in 1.. {
        let incoming = listener.accept().await?;
        let traced = Traced::new(number, &recorder);
        let shared = Arc::clone(&options);
        let passing = async move { pass(&shared, incoming.open(shared.framing.into()).await?, traced).await };
        if options.once {
            return passing.await;
        }
        tokio::spawn(async move {
            if let Err(failure) = passing.await {
                _ = writeln!(anstream::stderr(), "connection {number}: {}", failure.text());
            }
        });
    }
    Ok(())
}

async fn pass(options: &Options, here: Transport, traced: Traced) -> Result<(), Failure> {
    let there = options.connect.connect(options.connect_framing.unwrap_or(options.framing).into()).await?;
    let (here_in, here_out, here_framing) = here.into_frames();
    let (there_in, there_out, there_framing) = there.into_frames();
    let asked = copy(&traced, From::Initiator, here_in, here_framing, there_out, there_framing);
    let answered = copy(&traced, From::Acceptor, there_in, there_framing, here_out, here_framing);
    let (asked, answered) = tokio::join!(asked, answered);
    asked.and(answered)
}

/// Passes one direction on, to its end.
async fn copy(
    traced: &Traced,
    from: From,
    mut reader: Box<dyn FrameReader>,
    framing: Framing,
    mut writer: Box<dyn FrameWriter>,
    onto: Framing,
) -> Result<(), Failure> {
    let (mut buffer, mut deframer) = (BytesMut::new(), Deframer::new(framing));
    let mut is_first = true;
    let passed = loop {
        buffer.reserve(16 * 1024);
        match poll_fn(|cx| reader.poll_read(cx, &mut buffer)).await {
            Ok(Input::Read) => {}
            Ok(Input::End) => break Ok(Close::Normal),
            Ok(Input::TooLong) => break Ok(Close::TooLong),
            Err(error) => break Err(Failure::from(error)),
        }
        let frames = std::iter::from_fn(|| deframer.next_frame(&mut buffer, FRAME_LIMIT).transpose());
        let mut passed = Ok(());
        for frame in frames {
            let Ok(frame) = frame else {
                passed = Err(Failure::Local(format!("a frame is longer than {FRAME_LIMIT} bytes: is the framing right?")));
                break;
            };
            traced.note(traced.frame(from, &frame, is_first));
            let is_text = std::mem::take(&mut is_first) || !traced.is_msgpack.load(Ordering::Relaxed);
            let mut out = BytesMut::new();
            _ = onto.append(&mut out, usize::MAX, |out| out.extend_from_slice(&frame));
            let mut out = out.freeze();
            // Whoever does not listen any more will say so in the other direction.
            _ = poll_fn(|cx| writer.poll_write(cx, &mut out, is_text)).await;
            _ = poll_fn(|cx| writer.poll_flush(cx)).await;
        }
        if let Err(failure) = passed {
            break Err(failure);
        }
    };
    if !buffer.is_empty() {
        traced.note(traced.rest(from, &buffer));
    }
    traced.note(traced.end(from));
    let close = passed.as_ref().map_or(Close::Normal, |close| *close);
    _ = poll_fn(|cx| writer.poll_close(cx, close)).await;
    passed.map(drop)
}

impl Traced {
    fn new(number: u64, recorder: &Arc<Recorder>) -> Self {
        Self { number, recorder: Arc::clone(recorder), is_msgpack: AtomicBool::new(false) }
    }

    /// What cannot be shown or saved is passed on all the same; that is said once.
    fn note(&self, told: Result<(), Failure>) {
        let Err(failure) = told else { return };
        if !self.recorder.has_failed.swap(true, Ordering::Relaxed) {
            let why = failure.text();
            _ = writeln!(anstream::stderr(), "from here on the trace has gaps, and passes frames on all the same: {why}");
        }
    }

    /// What is left when a direction ends inside a frame, or what is in no frame at all.
    fn rest(&self, from: From, bytes: &[u8]) -> Result<(), Failure> {
        let shown = format!("({} bytes that are no whole frame)", bytes.len());
        self.say(from, &shown)?;
        self.save(from, json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes), "text": shown }))
    }

    fn frame(&self, from: From, frame: &Bytes, is_first: bool) -> Result<(), Failure> {
        if is_first && from == From::Initiator {
            self.is_msgpack.store(frame.ends_with(b";msgpack"), Ordering::Relaxed);
        }
        let text = std::str::from_utf8(frame).ok().map(|text| text.replace(['\n', '\r'], " "));
        let value = if !is_first && self.is_msgpack.load(Ordering::Relaxed) {
            decoded(frame)
        } else {
            text.as_deref().and_then(|text| serde_json::from_str(text).ok())
        };
        let shown = match (&value, text) {
            // As it was written, where it is text.
            (_, Some(text)) if is_first || !self.is_msgpack.load(Ordering::Relaxed) => text,
            (Some(value), _) => value.to_string(),
            (None, _) => format!("({} bytes that are no message: {})", frame.len(), frame.escape_ascii()),
        };
        self.say(from, if shown.is_empty() { "(keepalive)" } else { &shown })?;
        let frame = match value {
            Some(value) => json!({ "message": value, "length": frame.len() }),
            None => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(frame), "text": shown }),
        };
        self.save(from, frame)
    }

    fn end(&self, from: From) -> Result<(), Failure> {
        self.say(from, "(end)")?;
        self.save(from, json!({ "end": true }))
    }

    fn say(&self, from: From, text: &str) -> Result<(), Failure> {
        let (arrow, colour) = match from {
            From::Initiator => ("->", anstyle::AnsiColor::Green),
            From::Acceptor => ("<-", anstyle::AnsiColor::Cyan),
        };
        let (style, number) = (colour.on_default(), self.number);
        // The first connection needs no number: often it is the only one.
        let number = if number > 1 { format!("{number} ") } else { String::new() };
        let line = format!("{number}{style}{arrow}{style:#} {text}\n");
        if self.recorder.is_piped {
            return Ok(anstream::stderr().lock().write_all(line.as_bytes())?);
        }
        print(&line)
    }

    fn save(&self, from: From, mut entry: Value) -> Result<(), Failure> {
        let Some(file) = &self.recorder.save else { return Ok(()) };
        entry["connection"] = self.number.into();
        entry["from"] = if from == From::Initiator { "initiator" } else { "acceptor" }.into();
        entry["seconds"] = self.recorder.started.elapsed().as_secs_f64().into();
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // At once: whoever is killed meanwhile leaves whole lines.
        Ok(file.write_all(format!("{entry}\n").as_bytes())?)
    }
}

/// A MessagePack message as JSON, member by member as it was sent, with the vectors' words for what JSON does not have; `None` if
/// it is none.
fn decoded(frame: &Bytes) -> Option<Value> {
    MessagePack.decode(frame.clone(), Limits::default().depth).ok()?;
    rmpv::decode::read_value(&mut frame.as_ref()).ok().as_ref().map(in_json)
}

fn in_json(value: &rmpv::Value) -> Value {
    use rmpv::Value as Packed;
    let float = |number: f64| if number.is_finite() { json!(number) } else { json!({ "$float": number.to_string() }) };
    match value {
        Packed::Nil => Value::Null,
        Packed::Boolean(truth) => json!(truth),
        Packed::Integer(number) => number.as_i64().map_or_else(|| json!(number.as_u64()), Value::from),
        Packed::F32(number) => float(f64::from(*number)),
        Packed::F64(number) => float(*number),
        Packed::String(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        Packed::Binary(bytes) => json!({ "$bin": hex::encode(bytes) }),
        Packed::Ext(kind, bytes) => json!({ "$ext": [kind, hex::encode(bytes)] }),
        Packed::Array(items) => items.iter().map(in_json).collect(),
        Packed::Map(entries) => {
            let names: BTreeSet<&str> = entries.iter().filter_map(|(key, _)| key.as_str()).collect();
            if names.len() < entries.len() {
                let pairs: Value = entries.iter().map(|(key, item)| json!([in_json(key), in_json(item)])).collect();
                return json!({ "$pairs": pairs });
            }
            entries.iter().filter_map(|(key, item)| Some((key.as_str()?, in_json(item)))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::decoded;

    fn shown(frame: &'static [u8]) -> Option<String> {
        decoded(&Bytes::from_static(frame)).map(|value| value.to_string())
    }

    /// A trace shows what was sent, not what it means.
    #[test]
    fn a_packed_message_is_shown_as_it_was_sent() {
        for (frame, json) in [
            (&b"\x83\xa4type\xa3rep\xa2id\x01\xa4more\xc2"[..], r#"{"type":"rep","id":1,"more":false}"#),
            (b"\x82\xa2id\xd0\xff\xa5extra\xc4\x02\x00\xff", r#"{"id":-1,"extra":{"$bin":"00ff"}}"#),
            (
                b"\x81\xa7payload\x92\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xca\x7f\xc0\x00\x00",
                r#"{"payload":[18446744073709551615,{"$float":"NaN"}]}"#,
            ),
            (b"\x81\xa3ext\x82\x01\xc0\xa1a\xd4\x05\x09", r#"{"ext":{"$pairs":[[1,null],["a",{"$ext":[5,"09"]}]]}}"#),
            (b"\x82\xa1a\x01\xa1a\x02", r#"{"$pairs":[["a",1],["a",2]]}"#),
            (b"\x80", "{}"),
        ] {
            assert_eq!(shown(frame).as_deref(), Some(json), "{}", frame.escape_ascii());
        }
        for frame in [&b""[..], b"\x81\xa1a", b"\x80\x80", b"\x90", b"\xc1"] {
            assert_eq!(shown(frame), None, "{}", frame.escape_ascii());
        }
    }
}

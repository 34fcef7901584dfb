//! `duplex trace`: stands between two peers, passes their frames on, and prints them decoded.
//!
//! Frames are cut and wrapped anew, so the two sides may use different transports and framings. Nothing is judged: what is no
//! message is passed on, too.

use std::future::poll_fn;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use base64::Engine;
use bytes::{Bytes, BytesMut};
use clap::Args;
use duplex_peer::{Address, Close, Codec, Deframer, Format, FrameReader, FrameWriter, Framing, Input, MessagePack, Raw};
use serde_json::{Value, json};

use crate::{Failure, FramingName, error_json};

const EXAMPLES: &str = "\
Each line is a frame: `->` from the peer that connected, `<-` from the one that was connected to.

Examples:
  duplex trace tcp://127.0.0.1:7001 tcp://127.0.0.1:7000
  duplex trace --save session.jsonl ws://127.0.0.1:7001 'exec:node service.js'";

/// Stands between two peers and prints what they say
#[derive(Args)]
#[command(after_help = EXAMPLES, visible_alias = "listen")]
pub(crate) struct Options {
    /// Where to listen
    listen: Address,
    /// Where to pass connections on to
    connect: Address,
    /// Write each frame to this file, too, as a line of JSON
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
    save: Option<Mutex<std::fs::File>>,
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
    let recorder = Arc::new(Recorder { started: Instant::now(), save });
    let listener = options.listen.listen().await?;
    writeln!(anstream::stderr(), "listening on {}", listener.address())?;
    let options = Arc::new(options);
    for number in 1.. {
        let incoming = listener.accept().await?;
        let traced = Traced { number, recorder: Arc::clone(&recorder), is_msgpack: AtomicBool::new(false) };
        let passing = pass(Arc::clone(&options), incoming, traced);
        if options.once {
            return passing.await;
        }
        tokio::spawn(async move {
            if let Err(Failure::Usage(text) | Failure::Unreachable(text) | Failure::Local(text)) = passing.await {
                _ = writeln!(anstream::stderr(), "connection {number}: {text}");
            }
        });
    }
    Ok(())
}

async fn pass(options: Arc<Options>, incoming: duplex_peer::Incoming, traced: Traced) -> Result<(), Failure> {
    let here = incoming.open(options.framing.into()).await?;
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
            traced.frame(from, &frame, is_first)?;
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
        traced.say(from, &format!("({} bytes that are no whole frame)", buffer.len()))?;
    }
    traced.end(from)?;
    let close = passed.as_ref().map_or(Close::Normal, |close| *close);
    _ = poll_fn(|cx| writer.poll_close(cx, close)).await;
    passed.map(drop)
}

impl Traced {
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
        let mut out = anstream::stdout().lock();
        // The first connection needs no number: often it is the only one.
        if number > 1 {
            write!(out, "{number} ")?;
        }
        writeln!(out, "{style}{arrow}{style:#} {text}")?;
        Ok(out.flush()?)
    }

    fn save(&self, from: From, mut entry: Value) -> Result<(), Failure> {
        let Some(file) = &self.recorder.save else { return Ok(()) };
        entry["connection"] = self.number.into();
        entry["from"] = if from == From::Initiator { "initiator" } else { "acceptor" }.into();
        entry["seconds"] = self.recorder.started.elapsed().as_secs_f64().into();
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(writeln!(file, "{entry}")?)
    }
}

/// A MessagePack message as JSON, if it is one.
fn decoded(frame: &Bytes) -> Option<Value> {
    use duplex_peer::codec::{ErrorMember, IdMember, Kind, More};

    let message = MessagePack.decode(frame.clone(), duplex_peer::Limits::default().depth).ok()?;
    let json = |raw: &Raw| -> Value {
        let json = raw.to_format(Format::Json).ok().and_then(|raw| raw.decode().ok());
        json.unwrap_or_else(|| format!("({} bytes of MessagePack without a form in JSON)", raw.bytes().len()).into())
    };
    let kind = match message.kind {
        Kind::Request => json!("req"),
        Kind::Reply => json!("rep"),
        Kind::Unknown => json!("(unknown)"),
    };
    let mut value = json!({ "type": kind });
    match message.id {
        IdMember::Absent => {}
        IdMember::Valid(id) => value["id"] = id.number().into(),
        IdMember::Invalid => value["id"] = "(invalid)".into(),
    }
    if let Some(method) = &message.method {
        value["method"] = json(method);
    }
    if !message.payload.is_null() || message.error == ErrorMember::Absent {
        value["payload"] = json(&message.payload);
    }
    match message.more {
        More::No => {}
        More::Yes => value["more"] = true.into(),
        More::Invalid => value["more"] = "(invalid)".into(),
    }
    if message.end {
        value["end"] = true.into();
    }
    match &message.error {
        ErrorMember::Absent => {}
        ErrorMember::Error(error) => value["error"] = error_json(error),
        ErrorMember::Malformed => value["error"] = "(malformed)".into(),
    }
    if let Some(ext) = &message.ext {
        value["ext"] = json(ext.raw());
    }
    Some(value)
}

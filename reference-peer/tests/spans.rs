//! What the log is told: the spans of the middleware for tracing, end to end with a call that goes three deep over one connection,
//! and what handlers and hooks fail with. The other middlewares are in `nested.rs`.
//!
//! Tests of their own program: spans are switched on for a whole process, whichever thread asks first.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use duplex_peer::middleware::Tracing;
use duplex_peer::{BoxError, Channel, Code, Framing, Hook, HookFrame, RemoteError, Rpc, Transport, Verdict};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps the fields of spans, and which span each event happened in.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<HashMap<&'static str, String>>,
    entered: Vec<usize>,
    events: Vec<Logged>,
}

struct Logged {
    /// The method of the innermost span around the event.
    span: Option<String>,
    level: Level,
    fields: HashMap<&'static str, String>,
}

struct Fields<'a>(&'a mut HashMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl Recorder {
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().expect("no panic")
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Those of the runtime and of its libraries are none of ours.
        metadata.target().starts_with("duplex_peer") || metadata.target() == module_path!()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = HashMap::new();
        span.record(&mut Fields(&mut fields));
        let mut recorded = self.lock();
        recorded.spans.push(fields);
        Id::from_u64(recorded.spans.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let at = usize::try_from(span.into_u64()).expect("a small number") - 1;
        values.record(&mut Fields(&mut self.lock().spans[at]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = HashMap::new();
        event.record(&mut Fields(&mut fields));
        let mut recorded = self.lock();
        let span = recorded.entered.last().map(|at| recorded.spans[*at]["method"].clone());
        recorded.events.push(Logged { span, level: *event.metadata().level(), fields });
    }

    fn enter(&self, span: &Id) {
        self.lock().entered.push(usize::try_from(span.into_u64()).expect("a small number") - 1);
    }

    fn exit(&self, _: &Id) {
        self.lock().entered.pop();
    }
}

#[tokio::test]
async fn one_trace_goes_down_and_each_span_is_the_parent_of_the_next() {
    let recorder = Recorder::default();
    let _recording = tracing::subscriber::set_default(recorder.clone());
    let server = Rpc::new().with_hook(Tracing::new());
    let outer = |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let depth: u32 = channel.call(&callback, &()).await?;
        Ok(channel.send_last(&(depth + 1)).await?)
    };
    server.register("outer", outer).expect("a free name");
    let inner = |channel: Channel| async move {
        tracing::info!("the innermost handler runs");
        Ok(channel.send_last(&1).await?)
    };
    server.register("inner", inner).expect("a free name");
    let caller = Rpc::new().with_hook(Tracing::new());
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there)).expect("two peers of one kind");
    let callback = client.callback(|channel: Channel| async move {
        let depth: u32 = channel.call("inner", &()).await?;
        let refused = channel.call::<_, ()>("missing", &()).await.expect_err("no such method");
        assert_eq!(refused.code(), Some(Code::METHOD_NOT_FOUND));
        Ok(channel.send_last(&(depth + 1)).await?)
    });
    let name = callback.name();
    assert_eq!(client.call::<_, u32>("outer", &callback).await.expect("a depth"), 3);

    let recorded = recorder.lock();
    let calls: Vec<(&str, &str)> = recorded.spans.iter().map(|span| (span["method"].as_str(), span["kind"].as_str())).collect();
    let expected = [
        ("outer", "client"),
        ("outer", "server"),
        (name, "client"),
        (name, "server"),
        ("inner", "client"),
        ("inner", "server"),
        ("missing", "client"),
        ("missing", "server"),
    ];
    assert_eq!(calls, expected);
    let field = |at: usize, name: &str| recorded.spans[at].get(name).cloned();
    assert!((1..8).all(|at| field(at, "trace_id") == field(0, "trace_id")));
    assert_eq!(field(0, "parent_id"), None);
    // Down the three calls, span by span; the refused one hangs beside the innermost.
    for (at, parent) in [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 3), (7, 6)] {
        assert_eq!(field(at, "parent_id"), field(parent, "span_id"), "{:?}", expected[at]);
    }
    assert_eq!((field(6, "error"), field(7, "error")), (Some("-32601".to_owned()), Some("-32601".to_owned())));
    assert_eq!(field(0, "error"), None);
    // A line that a handler logs belongs to its call.
    let spans: Vec<Option<&str>> = recorded.events.iter().map(|event| event.span.as_deref()).collect();
    assert_eq!(spans, [Some("inner")]);
}

/// Where a hook sees a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    OutboundRequest,
    InboundRequest,
    OutboundReply,
    InboundReply,
}

/// A hook that fails there.
struct Failing(At);

impl Failing {
    fn see(&self, at: At) -> Result<Verdict, BoxError> {
        if at == self.0 { Err("no space".into()) } else { Ok(Verdict::Pass) }
    }
}

impl Hook for Failing {
    fn outbound_request(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::OutboundRequest)
    }

    fn inbound_request(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::InboundRequest)
    }

    fn outbound_reply(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::OutboundReply)
    }

    fn inbound_reply(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::InboundReply)
    }
}

/// Calls a method of a server with these hooks; gives what was logged of it and the code of the reply.
async fn logged(method: &str, caller: Rpc, server: Rpc) -> (Vec<Logged>, Option<Code>) {
    let recorder = Recorder::default();
    let _recording = tracing::subscriber::set_default(recorder.clone());
    server.register_fn("value", |_: u8| async { Err::<(), BoxError>("no space".into()) }).expect("a free name");
    server.register("channel", |_: Channel| async { Err("no space".into()) }).expect("a free name");
    server.register("nothing", |_: Channel| async { Ok(()) }).expect("a free name");
    server.register_fn("remote", |_: u8| async { Err::<(), _>(RemoteError::new(7, "no")) }).expect("a free name");
    server.register_fn("text", |_: String| async { Ok::<_, BoxError>(()) }).expect("a free name");
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there)).expect("two peers of one kind");
    let failed = client.call::<_, ()>(method, &1).await.expect_err("each of these fails");
    (std::mem::take(&mut recorder.lock().events), failed.code())
}

/// An error that panics when it is shown.
#[derive(Debug)]
struct Unspeakable;

impl fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("this error cannot be shown, as it is to be")
    }
}

impl std::error::Error for Unspeakable {}

#[tokio::test]
async fn an_error_that_cannot_be_shown_fails_its_call_and_no_other() {
    let _recording = tracing::subscriber::set_default(Recorder::default());
    let server = Rpc::new();
    server.register_fn("value", |bad: bool| async move { if bad { Err(Unspeakable) } else { Ok(()) } }).expect("a free name");
    let stream = |channel: Channel| async move {
        channel.send(&1).await?;
        Err(Unspeakable.into())
    };
    server.register("stream", stream).expect("a free name");
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let caller = Rpc::new();
    let (client, served) = tokio::try_join!(caller.handshake(here), server.accept(there)).expect("two peers of one kind");
    // Calls that come together are answered together.
    let calls = (0..8).map(|n| {
        let client = client.clone();
        async move { client.call::<_, ()>("value", &(n == 3)).await.map_err(|failed| failed.code()) }
    });
    let answers = futures_util::future::join_all(calls).await;
    let failed: Vec<usize> = (0..8).filter(|n| answers[*n] == Err(Some(Code::FAILED))).collect();
    assert_eq!((failed, answers.iter().filter(|answer| answer.is_ok()).count()), (vec![3], 7));
    let mut channel = client.open("stream");
    channel.send_last(&()).await.expect("an open call");
    assert_eq!(channel.recv::<u8>().await.expect("an item"), Some(1));
    // Not taken for whole.
    assert_eq!(channel.recv::<u8>().await.expect_err("no end").code(), Some(Code::FAILED));
    assert_eq!(served.counts().incoming, 0);
}

/// A caller is not told what a handler or a hook failed with; whoever runs it is, once.
#[tokio::test]
async fn what_the_other_peer_is_not_told_is_logged() {
    let traced = || Rpc::new().with_hook(Tracing::new());
    let failing = |at| Rpc::new().with_hook(Failing(at));
    for (method, caller, server, is_traced, code, level) in [
        ("value", Rpc::new(), Rpc::new(), false, Some(Code::FAILED), Level::WARN),
        ("value", Rpc::new(), traced(), true, Some(Code::FAILED), Level::WARN),
        ("channel", Rpc::new(), Rpc::new(), false, Some(Code::FAILED), Level::WARN),
        ("channel", Rpc::new(), traced(), true, Some(Code::FAILED), Level::WARN),
        ("nothing", Rpc::new(), Rpc::new(), false, Some(Code::FAILED), Level::WARN),
        ("nothing", Rpc::new(), traced(), true, Some(Code::FAILED), Level::WARN),
        ("text", Rpc::new(), Rpc::new(), false, Some(Code::INVALID_PAYLOAD), Level::DEBUG),
        ("text", Rpc::new(), traced(), true, Some(Code::INVALID_PAYLOAD), Level::DEBUG),
        ("remote", failing(At::OutboundRequest), Rpc::new(), false, None, Level::WARN),
        ("remote", Rpc::new(), failing(At::InboundRequest), false, Some(Code::FAILED), Level::WARN),
        ("remote", Rpc::new(), failing(At::OutboundReply), false, Some(Code::FAILED), Level::WARN),
        ("remote", failing(At::InboundReply), Rpc::new(), false, None, Level::WARN),
    ] {
        let (events, seen) = logged(method, caller, server).await;
        assert_eq!(seen, code, "{method}");
        assert_eq!(events.len(), 1, "{method}");
        let Logged { span, level: at, fields } = &events[0];
        assert_eq!((*at, fields["method"].as_str()), (level, method));
        assert_eq!(span.as_deref(), is_traced.then_some(method));
        let error = if method == "text" { r#"invalid type: integer `1`, expected a string"# } else { "no space" };
        assert!(fields.get("error").is_none_or(|said| said.contains(error)), "{fields:?}");
        assert_eq!(fields.contains_key("error"), method != "nothing", "{fields:?}");
    }
    let (events, seen) = logged("remote", Rpc::new(), traced()).await;
    assert_eq!((events.len(), seen), (0, Some(Code(7))));
}

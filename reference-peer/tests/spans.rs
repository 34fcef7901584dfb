//! Tracing, end to end: both peers have it, and a call goes three deep over one connection. The others are in `nested.rs`.
//!
//! A test of its own program: spans are switched on for a whole process, whichever thread asks first.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use duplex_peer::middleware::Tracing;
use duplex_peer::{Channel, Code, Framing, Rpc, Transport};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Keeps the fields of spans, and which span each event happened in.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

#[derive(Default)]
struct Recorded {
    spans: Vec<HashMap<&'static str, String>>,
    entered: Vec<usize>,
    /// The method of the innermost span around each event.
    events: Vec<Option<String>>,
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

    fn event(&self, _: &Event<'_>) {
        let mut recorded = self.lock();
        let method = recorded.entered.last().map(|at| recorded.spans[*at]["method"].clone());
        recorded.events.push(method);
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
    assert_eq!(recorded.events, [Some("inner".to_owned())]);
}

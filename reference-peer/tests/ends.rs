//! Hooks are told the end of every call whose first frame they saw, once: `middleware.end-once`, path by path.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use duplex_peer::{
    BoxError, Call, CallEnd, Channel, Code, ConnectionId, Direction, Error, Framing, Hook, HookFrame, Peer, RemoteError, Rpc,
    Transport, Verdict,
};
use tokio::sync::mpsc;

/// Tells of every first frame and every end; obeys the method's name.
#[derive(Clone)]
struct Watch {
    name: &'static str,
    told: mpsc::UnboundedSender<String>,
    open: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    fn new(name: &'static str) -> (Self, mpsc::UnboundedReceiver<String>) {
        let (told, hears) = mpsc::unbounded_channel();
        (Self { name, told, open: Arc::default() }, hears)
    }

    fn begin(&self, frame: &HookFrame) -> Result<Verdict, BoxError> {
        if frame.is_first() {
            self.open.lock().expect("no panic").push(frame.method().to_owned());
        }
        match (self.name, frame.method()) {
            ("first", "answered") => Ok(Verdict::Answer(frame.encode(&1)?)),
            ("first", "failed") => Err("s3cret".into()),
            _ => Ok(Verdict::Pass),
        }
    }
}

impl Hook for Watch {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.begin(frame)
    }

    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.begin(frame)
    }

    fn ended(&self, call: &Call, end: CallEnd) {
        let mut open = self.open.lock().expect("no panic");
        let at = open.iter().position(|method| method == call.method()).expect("an end belongs to a first frame");
        open.remove(at);
        _ = self.told.send(format!("{} {} {end:?}", self.name, call.method()));
    }

    fn disconnected(&self, _: ConnectionId) {
        assert!(self.open.lock().expect("no panic").is_empty(), "every call ends before its connection");
        _ = self.told.send(format!("{} disconnected", self.name));
    }
}

fn methods(rpc: &Rpc) {
    rpc.register_fn("echo", |text: String| async move { Ok::<_, BoxError>(text) }).expect("a free name");
    rpc.register_fn("refuses", |(): ()| async move { Err::<(), _>(RemoteError::new(7, "no")) }).expect("a free name");
    rpc.register_fn("infinite", |(): ()| async move { Ok::<_, BoxError>([1.0, f64::INFINITY]) }).expect("a free name");
    rpc.register("never", |_channel: Channel| std::future::pending()).expect("a free name");
    rpc.register("apply", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let text: String = channel.call(&callback, "x").await?;
        channel.send_last(&text).await?;
        Ok(())
    })
    .expect("a free name");
}

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

#[tokio::test]
async fn a_provider_tells_ends_last_hook_first() {
    let (first, mut hears) = Watch::new("first");
    let second = Watch { name: "second", ..first.clone() };
    let second = Watch { open: Arc::default(), ..second };
    let rpc = Rpc::new().with_hook(first).with_hook(second);
    methods(&rpc);
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    client.call::<_, String>("echo", "x").await.expect("an echo");
    client.call::<_, ()>("refuses", &()).await.expect_err("a refusal");
    client.call::<_, ()>("nope", &()).await.expect_err("a missing method");
    client.call::<_, i64>("answered", &()).await.expect("a hook's answer");
    client.call::<_, i64>("failed", &()).await.expect_err("a hook that fails");
    client.notify("echo", "x").await.expect("an open connection");
    // No number of JSON: the reply that would carry it is an error.
    let unsendable = client.call::<_, ()>("infinite", &()).await;
    assert!(matches!(unsendable, Err(Error::Remote(error)) if error.code == Code::FAILED));
    let expected = [
        "second echo Result",
        "first echo Result",
        "second refuses Error(Code(7))",
        "first refuses Error(Code(7))",
        "second nope Error(Code(-32601))",
        "first nope Error(Code(-32601))",
        "first answered Result",
        "first failed Error(Code(-32603))",
    ];
    for line in expected {
        assert_eq!(hears.recv().await.as_deref(), Some(line));
    }
    // A notification's handler and the next call run side by side.
    let mut rest = Vec::new();
    for _ in 0..4 {
        rest.push(hears.recv().await.expect("an end"));
    }
    rest.sort();
    let echo =
        ["first echo Result", "first infinite Error(Code(-32603))", "second echo Result", "second infinite Error(Code(-32603))"];
    assert_eq!(rest, echo);
    client.close();
    assert_eq!(hears.recv().await.as_deref(), Some("second disconnected"));
    assert_eq!(hears.recv().await.as_deref(), Some("first disconnected"));
}

#[tokio::test]
async fn a_caller_tells_ends_whoever_brings_them() {
    let (watch, mut hears) = Watch::new("first");
    let server = Rpc::new();
    methods(&server);
    let (client, served) = join(&Rpc::new().with_hook(watch), &server).await;
    client.call::<_, String>("echo", "x").await.expect("an echo");
    client.call::<_, ()>("refuses", &()).await.expect_err("a refusal");
    client.call::<_, i64>("answered", &()).await.expect("a hook's answer");
    client.call::<_, i64>("failed", &()).await.expect_err("a hook that fails");
    client.notify("echo", "x").await.expect("an open connection");
    client.call::<_, ()>("echo", &"x".repeat(2 << 20)).await.expect_err("too large");
    // Given up by its user.
    let never = client.open("never");
    never.send_last(&()).await.expect("an open connection");
    drop(never);
    let mut cut = client.open("never");
    cut.send_last(&()).await.expect("an open connection");
    served.close();
    assert!(matches!(cut.recv::<()>().await, Err(Error::Closed)));
    let expected = [
        "first echo Result",
        "first refuses Error(Code(7))",
        "first answered Result",
        "first failed Local",
        "first echo Result",
        "first echo Local",
        "first never Local",
        "first never Closed",
        "first disconnected",
    ];
    for line in expected {
        assert_eq!(hears.recv().await.as_deref(), Some(line));
    }
}

#[tokio::test]
async fn a_call_that_was_not_sent_is_another_one_when_it_is_tried_again() {
    let (watch, mut hears) = Watch::new("first");
    let server = Rpc::new();
    methods(&server);
    let (client, _served) = join(&Rpc::new().with_hook(watch), &server).await;
    let mut channel = client.open("echo");
    channel.send_last(&"x".repeat(2 << 20)).await.expect_err("too large");
    channel.send_last("x").await.expect("an open connection");
    assert_eq!(channel.recv::<String>().await.expect("an echo").as_deref(), Some("x"));
    for line in ["first echo Local", "first echo Result"] {
        assert_eq!(hears.recv().await.as_deref(), Some(line));
    }
}

/// Answers every first frame, or none, and writes down what it is told.
struct Answering(bool, mpsc::UnboundedSender<String>);

impl Hook for Answering {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        _ = self.1.send(format!("first: {}", frame.is_first()));
        Ok(if self.0 && frame.is_first() { Verdict::AnswerError(RemoteError::new(7, "no")) } else { Verdict::Pass })
    }

    fn ended(&self, _: &Call, end: CallEnd) {
        _ = self.1.send(format!("{end:?}"));
    }

    fn disconnected(&self, _: ConnectionId) {
        _ = self.1.send("disconnected".to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_on_a_call_or_a_connection_that_has_ended_passes_no_hook() {
    for (answers, expected) in [(true, vec!["first: true", "Error(Code(7))", "disconnected"]), (false, vec!["disconnected"])] {
        let (told, mut hears) = mpsc::unbounded_channel();
        let (client, _served) = join(&Rpc::new().with_hook(Answering(answers, told)), &Rpc::new()).await;
        let mut channel = client.request("m").timeout(Duration::from_secs(1)).open();
        if answers {
            channel.send(&1).await.expect("the hook's answer is read, as any");
        }
        let failed = channel.recv::<()>().await.expect_err("an answer, or no time left");
        assert_eq!((failed.code(), matches!(failed, Error::Timeout)), (answers.then_some(Code(7)), !answers));
        assert!(matches!(channel.send(&2).await, Err(Error::Ended)));
        client.close();
        client.closed().await;
        assert!(matches!(client.call::<_, ()>("m", &()).await, Err(Error::Closed)));
        assert!(matches!(client.notify("m", &()).await, Err(Error::Closed)));
        let seen: Vec<String> = std::iter::from_fn(|| hears.try_recv().ok()).collect();
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn nested_calls_end_inside_their_own() {
    let (watch, mut hears) = Watch::new("first");
    let server = Rpc::new().with_hook(watch);
    methods(&server);
    let (client, _served) = join(&Rpc::new(), &server).await;
    let callback = client.callback_fn(|text: String| async move { Ok::<_, BoxError>(text) });
    client.call::<_, String>("apply", &callback).await.expect("what the callback says");
    assert_eq!(hears.recv().await, Some(format!("first {} Result", callback.name())));
    assert_eq!(hears.recv().await.as_deref(), Some("first apply Result"));
}

/// Counts the frames of each call that it sees.
struct Count(mpsc::UnboundedSender<(Direction, usize)>);

impl Hook for Count {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        let seen = frame.call().value::<usize>().unwrap_or_default();
        frame.call().insert(seen + 1);
        Ok(Verdict::Pass)
    }

    fn ended(&self, call: &Call, _: CallEnd) {
        _ = self.0.send((call.direction(), call.remove::<usize>().unwrap_or_default()));
    }
}

#[tokio::test]
async fn what_a_hook_keeps_with_a_call_is_there_at_its_end() {
    let (told, mut hears) = mpsc::unbounded_channel();
    let rpc = Rpc::new().with_hook(Count(told));
    rpc.register("sum", |mut channel: Channel| async move {
        let mut sum = 0;
        while let Some(number) = channel.recv::<i64>().await? {
            sum += number;
        }
        channel.send_last(&sum).await?;
        Ok(())
    })
    .expect("a free name");
    assert!(rpc.register_fn("sum", |(): ()| async { Ok::<_, BoxError>(()) }).is_err(), "a name is taken once");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut channel = client.open("sum");
    for number in 1..=3 {
        channel.send(&number).await.expect("open");
    }
    channel.finish().await.expect("open");
    assert_eq!(channel.recv::<i64>().await.expect("a sum"), Some(6));
    assert_eq!(hears.recv().await, Some((Direction::Inbound, 4)));
}

/// Asks a connection how it does when it is dropped.
struct Asking(Peer, mpsc::UnboundedSender<usize>);

impl Drop for Asking {
    fn drop(&mut self) {
        _ = self.1.send(self.0.counts().incoming);
    }
}

/// Keeps one with each call, once it knows the connection.
#[derive(Clone)]
struct Keeping(Arc<OnceLock<Peer>>, mpsc::UnboundedSender<usize>);

impl Hook for Keeping {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        if let Some(peer) = self.0.get() {
            frame.call().insert(Arc::new(Asking(peer.clone(), self.1.clone())));
        }
        Ok(Verdict::Pass)
    }
}

#[tokio::test]
async fn what_is_kept_with_a_call_may_ask_for_the_connection_when_it_is_dropped() {
    let (told, mut hears) = mpsc::unbounded_channel();
    let keeping = Keeping(Arc::default(), told);
    let server = Rpc::new().with_hook(keeping.clone());
    methods(&server);
    let (client, served) = join(&Rpc::new(), &server).await;
    keeping.0.set(served).expect("it was not set");
    for method in ["echo", "missing"] {
        _ = client.call::<_, String>(method, "x").await;
        assert_eq!(hears.recv().await, Some(0), "{method}");
    }
}

/// Closes its connection at the first frame of a call, or at later ones.
struct Closing(Arc<OnceLock<Peer>>, bool);

impl Hook for Closing {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        if frame.is_first() == self.1 {
            self.0.get().expect("no call before it is set").close();
        }
        Ok(Verdict::Pass)
    }
}

#[tokio::test]
async fn a_handler_ends_if_its_connection_does_while_a_hook_holds_its_last_argument() {
    for at_first in [true, false] {
        let (told, mut hears) = mpsc::unbounded_channel();
        let closing = Closing(Arc::default(), at_first);
        let peer = Arc::clone(&closing.0);
        let server = Rpc::new().with_hook(closing);
        let reading = move |mut channel: Channel| {
            let told = told.clone();
            async move {
                while let Ok(Some(_)) = channel.recv::<i64>().await {}
                told.send(channel.recv::<i64>().await).map_err(Into::into)
            }
        };
        server.register("read", reading).expect("a free name");
        let (client, served) = join(&Rpc::new(), &server).await;
        peer.set(served).expect("it was not set");
        let channel = client.open("read");
        if !at_first {
            channel.send(&1).await.expect("it is open");
        }
        channel.send_last(&2).await.expect("it is open");
        assert!(matches!(hears.recv().await, Some(Err(Error::Closed))), "at the first frame: {at_first}");
    }
}

//! Two peers in one process: what the public surface promises, over an in-memory stream.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use duplex_peer::{
    Blame, BoxError, Channel, Code, Codec, EndReason, Error, Framing, Hook, HookFrame, Json, Limits, MessagePack, Peer, Refusal,
    RemoteError, Rpc, Transport, Verdict,
};
use futures_util::TryStreamExt;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::sync::{Semaphore, mpsc};

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

fn server() -> Rpc {
    let rpc = Rpc::new();
    rpc.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) }).expect("a free name");
    rpc.register("double", |mut channel: Channel| async move {
        while let Some(number) = channel.recv::<i64>().await? {
            channel.send(&(2 * number)).await?;
        }
        channel.finish().await?;
        Ok(())
    })
    .expect("a free name");
    rpc.register_fn("apply", |_: ()| async move { Err::<(), _>(RemoteError::new(7, "no")) }).expect("a free name");
    rpc.register_fn("panics", |fail: bool| async move {
        assert!(!fail, "s3cret");
        Ok::<_, BoxError>(())
    })
    .expect("a free name");
    rpc.register("twice", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let first: i64 = channel.call(&callback, &1).await?;
        let second: i64 = channel.call(&callback, &2).await?;
        channel.send_last(&(first + second)).await?;
        Ok(())
    })
    .expect("a free name");
    rpc
}

#[tokio::test]
async fn a_transport_that_takes_a_few_bytes_at_a_time_is_waited_for_by_one_alone() {
    let (here, there) = Transport::pair(Framing::Length, 16);
    let (client, server) = (Rpc::new(), Rpc::new());
    let (release, mut released) = mpsc::unbounded_channel::<()>();
    server.register_fn("long", |_: ()| async move { Ok::<_, BoxError>("x".repeat(1000)) }).expect("a free name");
    client
        .register_fn("released", move |_: ()| {
            let sent = release.send(());
            async move { Ok::<_, BoxError>(sent.is_ok()) }
        })
        .expect("a free name");
    let (client, server) = tokio::try_join!(client.handshake(here), server.accept(there)).expect("a greeting");
    let long = tokio::spawn(async move { client.call::<_, String>("long", &()).await.map(|text| (text, client)) });
    // The reply is under way, a few bytes at a time, while this peer has calls of its own to send.
    let mut calls = Vec::new();
    for _ in 0..20 {
        let server = server.clone();
        calls.push(tokio::spawn(async move { server.call::<_, bool>("released", &()).await }));
        tokio::task::yield_now().await;
    }
    for call in calls {
        assert!(call.await.expect("no panic").expect("a reply"));
        assert_eq!(released.recv().await, Some(()));
    }
    assert_eq!(long.await.expect("no panic").expect("a reply").0.len(), 1000);
}

#[tokio::test]
async fn calls_that_come_at_once_are_answered_each_in_its_way() {
    let (client, server) = join(&Rpc::new(), &server()).await;
    let (sums, others) = tokio::join!(
        futures_util::future::join_all((0..100_i64).map(|n| {
            let client = client.clone();
            async move { client.call::<_, i64>("add", &(n, 1)).await }
        })),
        async {
            tokio::join!(
                client.call::<_, ()>("panics", &true),
                client.call::<_, ()>("apply", &()),
                client.call::<_, i64>("add", "no pair"),
                client.call::<_, ()>("missing", &()),
            )
        }
    );
    assert!(sums.into_iter().zip(1..).all(|(sum, wanted)| sum.is_ok_and(|sum| sum == wanted)));
    let code = |result: Result<(), Error>| match result {
        Err(Error::Remote(error)) => error.code,
        other => panic!("not an error of the other peer: {other:?}"),
    };
    assert_eq!(code(others.0), Code::FAILED);
    assert_eq!(code(others.1), Code(7));
    assert_eq!(code(others.2.map(drop)), Code::INVALID_PAYLOAD);
    assert_eq!(code(others.3), Code::METHOD_NOT_FOUND);
    assert_eq!(server.counts().handlers + server.counts().incoming + client.counts().outgoing, 0);
}

#[tokio::test]
async fn calls_streams_and_callbacks_work_in_both_codecs() {
    for codecs in [vec![Arc::new(Json) as Arc<dyn duplex_peer::Codec>], vec![Arc::new(MessagePack)]] {
        let (client, _server) = join(&Rpc::new().with_codecs(codecs), &server()).await;
        assert_eq!(client.call::<_, i64>("add", &(1, 2)).await.expect("a sum"), 3);

        let mut channel = client.open("double");
        for number in [1, 2] {
            channel.send(&number).await.expect("open");
            assert_eq!(channel.recv::<i64>().await.expect("an item"), Some(2 * number));
        }
        channel.finish().await.expect("open");
        assert_eq!(channel.recv::<i64>().await.expect("the end"), None);

        let callback = client.callback_fn(|number: i64| async move { Ok::<_, BoxError>(10 * number) });
        assert_eq!(client.call::<_, i64>("twice", &callback).await.expect("a sum"), 30);
        callback.release();
        assert_eq!(client.counts().callbacks, 0);
    }
}

#[tokio::test]
async fn errors_say_who_is_to_blame() {
    let (client, served) = join(&Rpc::new(), &server()).await;
    let code = |result: Result<(), Error>| match result {
        Err(Error::Remote(error)) => (error.code, error.message),
        other => panic!("not the peer's error: {other:?}"),
    };
    assert_eq!(code(client.call("apply", &()).await), (Code(7), "no".to_owned()));
    assert_eq!(code(client.call("nope", &()).await).0, Code::METHOD_NOT_FOUND);
    assert_eq!(code(client.call("add", &"text").await).0, Code::INVALID_PAYLOAD);
    let (failed, text) = code(client.call("panics", &true).await);
    assert!(failed == Code::FAILED && !text.contains("s3cret"));
    client.call::<_, ()>("panics", &false).await.expect("the peer lives on");
    let misread = client.call::<_, String>("add", &(1, 2)).await.expect_err("a number is no text");
    assert!(matches!(misread, Error::Decode(_)) && misread.blame() == Blame::PeerIncompatible);
    let oversized = client.call::<_, ()>("add", &"x".repeat(2 << 20)).await.expect_err("a frame has a limit");
    assert!(matches!(oversized, Error::TooLarge) && oversized.blame() == Blame::Caller);
    served.close();
    client.closed().await;
    let late = client.call::<_, i64>("add", &(1, 2)).await.expect_err("nobody is there");
    assert!(matches!(late, Error::Closed) && late.blame() == Blame::ConnectionGone);
}

#[tokio::test]
async fn the_end_of_a_connection_reaches_callers_and_handlers() {
    let (told, mut hears) = mpsc::unbounded_channel();
    let rpc = Rpc::new();
    rpc.register("wait", move |channel: Channel| {
        let told = told.clone();
        async move {
            told.send("started")?;
            channel.closed().await;
            told.send("closed")?;
            Ok(())
        }
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let calling = tokio::spawn({
        let client = client.clone();
        async move { client.call::<_, ()>("wait", &()).await }
    });
    assert_eq!(hears.recv().await, Some("started"));
    client.close();
    assert!(matches!(calling.await.expect("no panic"), Err(Error::Closed)));
    assert_eq!(hears.recv().await, Some("closed"));
}

#[tokio::test]
async fn an_argument_that_does_not_fit_is_told_however_it_is_read() {
    let rpc = server();
    rpc.register("sum", |channel: Channel| async move {
        let sender = channel.sender();
        let sum = channel.into_stream::<i64>().try_fold(0, async |sum, number| Ok(sum + number)).await?;
        Ok(sender.send_last(&sum).await?)
    })
    .expect("a free name");
    rpc.register("misreads", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        // What the callback says is no argument of this handler.
        Ok(channel.send_last(&channel.call::<_, i64>(&callback, &()).await?).await?)
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    for method in ["add", "double", "twice", "sum"] {
        let unfit = client.call::<_, ()>(method, &json!({ "a": 1 })).await.expect_err("no such argument");
        assert_eq!(unfit.code(), Some(Code::INVALID_PAYLOAD), "{method}");
    }
    let mut late = client.open("double");
    late.send(&1).await.expect("open");
    late.send(&"two").await.expect("open");
    assert_eq!(late.recv::<i64>().await.expect("an item"), Some(2));
    assert_eq!(late.recv::<i64>().await.expect_err("no number").code(), Some(Code::INVALID_PAYLOAD));
    let callback = client.callback_fn(|(): ()| async { Ok::<_, BoxError>("text") });
    let failed = client.call::<_, ()>("misreads", &callback).await.expect_err("a handler's own failure");
    assert_eq!(failed.code(), Some(Code::FAILED));
}

#[tokio::test(start_paused = true)]
async fn a_graceful_close_answers_what_runs_for_as_long_as_it_may() {
    let (may_end, ends) = (Arc::new(Semaphore::new(0)), Duration::from_secs(60));
    let rpc = Rpc::new();
    rpc.register_fn("slow", {
        let may_end = Arc::clone(&may_end);
        move |n: i64| {
            let may_end = Arc::clone(&may_end);
            async move {
                may_end.acquire().await?.forget();
                Ok::<_, BoxError>(n)
            }
        }
    })
    .expect("a free name");
    let call = |client: Peer, n: i64| tokio::spawn(async move { client.call::<_, i64>("slow", &n).await });
    let begun = async |served: &Peer, calls: usize| {
        while served.counts().handlers < calls {
            tokio::task::yield_now().await;
        }
    };
    let (client, served) = join(&Rpc::new(), &rpc).await;
    let calls = [1, 2].map(|n| call(client.clone(), n));
    begun(&served, 2).await;
    let closing = tokio::spawn({
        let served = served.clone();
        async move { served.shutdown(ends).await }
    });
    may_end.add_permits(2);
    let before = tokio::time::Instant::now();
    closing.await.expect("no panic");
    // The clock stands still unless nothing else can happen.
    assert_eq!(before.elapsed(), Duration::ZERO, "the last answer ends the waiting, and not the limit");
    assert_eq!(served.end_reason(), Some(EndReason::Local));
    for (call, n) in calls.into_iter().zip([1, 2]) {
        assert_eq!(call.await.expect("no panic").expect("an answer"), n);
    }
    // One that is not answered in time is cut off.
    let (client, served) = join(&Rpc::new(), &rpc).await;
    let cut = call(client.clone(), 3);
    begun(&served, 1).await;
    served.shutdown(ends).await;
    assert!(matches!(cut.await.expect("no panic"), Err(Error::Closed)));
    // On one that is over there is nothing to wait for.
    served.shutdown(ends).await;
}

#[tokio::test]
async fn a_dropped_call_is_forgotten_and_a_timeout_is_one() {
    let rpc = Rpc::new();
    rpc.register("never", |_channel: Channel| std::future::pending()).expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let timed_out = client.request("never").timeout(Duration::ZERO).call::<_, ()>(&()).await;
    assert!(matches!(timed_out, Err(Error::Timeout)));
    assert_eq!(client.counts().outgoing, 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_has_a_time_limit_waits_no_longer_for_room() {
    let (mut far, near) = tokio::io::duplex(4096);
    let greeting = async {
        let mut offer = [0; 17];
        far.read_exact(&mut offer).await.expect("a greeting");
        far.write_all(b"+OK\n").await.expect("an open pipe");
    };
    let rpc = Rpc::new();
    let (client, ()) = tokio::join!(rpc.handshake(Transport::new(near, Framing::Newline)), greeting);
    let client = client.expect("an answer");
    // From here on nothing is read.
    let text = "x".repeat(200_000);
    let request = || client.request("m").timeout(Duration::from_secs(1));
    let filling = async {
        loop {
            if let Err(error) = request().notify(&text).await {
                break error;
            }
        }
    };
    let full = tokio::time::timeout(Duration::from_secs(60), filling).await.expect("its own limit comes first");
    assert!(matches!(full, Error::Timeout), "{full}");
    assert!(matches!(request().detach(&text).await, Err(Error::Timeout)));
    assert!(matches!(request().call::<_, ()>(&text).await, Err(Error::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn an_opened_call_is_given_up_when_its_time_is_over() {
    let (rpc, (ended, mut ends)) = (server(), mpsc::unbounded_channel());
    rpc.register("once", move |mut channel: Channel| {
        let ended = ended.clone();
        async move {
            let first: i64 = channel.argument().await?;
            channel.send(&first).await?;
            _ = ended.send(channel.recv::<i64>().await);
            Ok(())
        }
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let limit = Duration::from_secs(5);
    let mut channel = client.request("once").timeout(limit).open();
    let opened = tokio::time::Instant::now();
    channel.send(&1).await.expect("the call is open");
    assert_eq!(channel.recv::<i64>().await.expect("in time"), Some(1));
    assert!(matches!(channel.recv::<i64>().await, Err(Error::Timeout)));
    assert_eq!(opened.elapsed(), limit);
    assert!(matches!(channel.recv::<i64>().await, Err(Error::Timeout)));
    assert!(matches!(channel.send(&2).await, Err(Error::Ended)));
    assert!(matches!(ends.recv().await, Some(Err(Error::Aborted(_)))), "open arguments are aborted");
    assert_eq!(client.counts().outgoing, 0);
    // Nothing was sent, and nobody sends anything.
    let mut unopened = client.request("once").timeout(limit).open();
    for _ in 0..3 {
        assert!(matches!(unopened.recv::<i64>().await, Err(Error::Timeout)));
    }
    assert!(matches!(unopened.send(&1).await, Err(Error::Ended)));
    // A call that ends in time has its results for ever.
    let mut sums = client.request("add").timeout(limit).open();
    sums.send_last(&(1, 2)).await.expect("the call is open");
    assert_eq!(sums.recv::<i64>().await.expect("in time"), Some(3));
    tokio::time::advance(2 * limit).await;
    assert_eq!(sums.recv::<i64>().await.expect("the end came in time"), None);
}

struct Tag;

impl Hook for Tag {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        frame.ext_mut().set("tag", "seen")?;
        match frame.method() {
            "local" => Ok(Verdict::Answer(frame.encode(&1)?)),
            "refused" => Err("not from here".into()),
            _ => Ok(Verdict::Pass),
        }
    }
}

#[tokio::test]
async fn hooks_change_answer_and_fail() {
    let rpc = Rpc::new();
    rpc.register("tag", |channel: Channel| async move {
        let tag = channel.ext().and_then(|ext| ext.value::<String>("tag")).transpose()?;
        channel.send_last(&tag).await?;
        Ok(())
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new().with_hook(Tag), &rpc).await;
    assert_eq!(client.call::<_, String>("tag", &()).await.expect("a string"), "seen");
    assert_eq!(client.call::<_, i64>("local", &()).await.expect("the hook's answer"), 1);
    assert!(matches!(client.call::<_, i64>("refused", &()).await, Err(Error::Hook)));
    assert_eq!(client.counts().outgoing, 0);
}

#[tokio::test]
async fn what_a_frame_may_nest_a_handler_can_take() {
    for codec in [Arc::new(Json) as Arc<dyn Codec>, Arc::new(MessagePack)] {
        let rpc = Rpc::new();
        rpc.register_fn("same", |value: serde_json::Value| async move { Ok::<_, BoxError>(value) }).expect("a free name");
        let (client, _served) = join(&Rpc::new().with_codecs(vec![codec]), &rpc).await;
        // The message itself is one of the 512.
        let deep = (1..511).fold(json!(["leaf"]), |inner, _| json!([inner]));
        assert_eq!(client.call::<_, serde_json::Value>("same", &deep).await.expect("an echo"), deep);
    }
}

/// Holds the first frame of a call up until somebody else is about to send, and notes which frames were first ones.
#[derive(Clone, Default)]
struct HoldsUp(Arc<HeldUp>);

#[derive(Default)]
struct HeldUp {
    is_held: AtomicBool,
    is_overtaken: AtomicBool,
    firsts: Mutex<Vec<bool>>,
}

impl Hook for HoldsUp {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.0.firsts.lock().expect("no panic").push(frame.is_first());
        self.0.is_held.store(true, Ordering::SeqCst);
        until(&self.0.is_overtaken);
        // The other one has every chance now.
        (0..100).for_each(|_| std::thread::yield_now());
        Ok(Verdict::Pass)
    }
}

fn until(flag: &AtomicBool) {
    while !flag.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_tasks_that_send_at_once_one_opens_the_call() {
    let hook = HoldsUp::default();
    let (client, _served) = join(&Rpc::new().with_hook(hook.clone()), &server()).await;
    let channel = client.open("double");
    let (first, second) = (channel.sender(), channel.sender());
    let first = tokio::spawn(async move { first.send(&1).await });
    let held = Arc::clone(&hook.0);
    let second = tokio::spawn(async move {
        until(&held.is_held);
        held.is_overtaken.store(true, Ordering::SeqCst);
        second.send(&2).await
    });
    for sent in [first, second] {
        sent.await.expect("no panic").expect("an open call");
    }
    channel.finish().await.expect("an open call");
    assert_eq!(*hook.0.firsts.lock().expect("no panic"), [true, false, false]);
    let doubled: Vec<i64> = channel.into_stream::<i64>().try_collect().await.expect("numbers");
    assert_eq!(doubled, [2, 4]);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_stops_no_other_call() {
    let rpc = server();
    rpc.register("flood", |channel: Channel| async move {
        for number in 0..5000 {
            channel.send(&number).await?;
        }
        Ok(())
    })
    .expect("a free name");
    let (client, served) = join(&Rpc::new(), &rpc).await;
    let mut flood = client.open("flood");
    flood.send_last(&()).await.expect("open");
    assert_eq!(client.call::<_, i64>("add", &(1, 2)).await.expect("a sum"), 3);
    while served.counts().handlers > 0 {
        client.call::<_, i64>("add", &(1, 2)).await.expect("a sum");
    }
    // Its reply stands behind the whole flood.
    client.call::<_, i64>("add", &(1, 2)).await.expect("a sum");
    for number in 0..1024 {
        assert_eq!(flood.recv::<i64>().await.expect("an item within the limit"), Some(number));
    }
    assert!(matches!(flood.recv::<i64>().await, Err(Error::Overflow)));
}

/// Sends so many numbers either way, to a reader that does nothing but read.
async fn stream_both_ways(numbers: u32) {
    let rpc = Rpc::new();
    rpc.register("down", |mut channel: Channel| async move {
        let numbers: u32 = channel.argument().await?;
        for number in 0..numbers {
            channel.send(&number).await?;
        }
        channel.finish().await.map_err(BoxError::from)
    })
    .expect("a free name");
    rpc.register("up", |mut channel: Channel| async move {
        let mut sum = 0;
        while let Some(number) = channel.recv::<u32>().await? {
            sum += u64::from(number);
        }
        Ok(channel.send_last(&sum).await?)
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut down = client.open("down");
    down.send_last(&numbers).await.expect("open");
    for number in 0..numbers {
        assert_eq!(down.recv::<u32>().await.expect("a number"), Some(number));
    }
    assert_eq!(down.recv::<u32>().await.expect("the end"), None);
    let mut up = client.open("up");
    for number in 0..numbers {
        up.send(&number).await.expect("open");
    }
    up.finish().await.expect("open");
    assert_eq!(up.recv::<u64>().await.expect("a sum"), Some(u64::from(numbers) * u64::from(numbers - 1) / 2));
}

#[tokio::test]
async fn a_stream_is_as_long_as_it_likes_where_it_is_read() {
    stream_both_ways(20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_as_long_as_it_likes_where_another_thread_reads_it() {
    stream_both_ways(50_000).await;
}

#[tokio::test]
async fn due_replies_are_written_before_an_undecodable_frame_closes() {
    let (here, mut there) = tokio::io::duplex(4096);
    there
        .write_all(b"SIMPLEX/1.0;json\n{\"type\":\"req\",\"id\":1,\"method\":\"add\",\"payload\":[1,2]}\n[]\n")
        .await
        .expect("an open pipe");
    let peer = server().accept(Transport::new(here, Framing::Newline)).await.expect("a greeting");
    let mut all = String::new();
    there.read_to_string(&mut all).await.expect("text");
    assert_eq!(all, "+OK\n{\"type\":\"rep\",\"id\":1,\"payload\":3,\"more\":false}\n");
    peer.closed().await;
}

#[tokio::test]
async fn a_peer_that_misbehaves_is_told_from_one_that_speaks_another_language() {
    let (here, mut there) = tokio::io::duplex(4096);
    there.write_all(b"-ERR unknown codec\n").await.expect("an open pipe");
    let refused = Rpc::new().handshake(Transport::new(here, Framing::Newline)).await.expect_err("a refusal");
    assert!(matches!(&refused, Error::Refused(text) if text == "-ERR unknown codec"));
    assert_eq!(refused.blame(), Blame::PeerIncompatible);

    let (here, mut there) = tokio::io::duplex(4096);
    there.write_all(b"+OK\n").await.expect("an open pipe");
    let bad = Rpc::new().handshake(Transport::new(here, Framing::Newline)).await.expect("a greeting");
    let mut channel = bad.open("x");
    channel.send_last(&()).await.expect("an open connection");
    there.write_all(b"{\"type\":\"rep\",\"id\":1,\"error\":\"boom\"}\n").await.expect("an open pipe");
    let error = channel.recv::<()>().await.expect_err("no reply");
    assert!(matches!(error, Error::BadReply(_)) && error.blame() == Blame::PeerMisbehaved);
    assert_eq!(bad.counts().outgoing, 0);
    there.write_all(b"[]\n").await.expect("an open pipe");
    bad.closed().await;
    assert_eq!(bad.end_reason().as_ref().map(Blame::from), Some(Blame::PeerMisbehaved));

    let (mut here, there) = tokio::io::duplex(4096);
    here.write_all(b"HTTP/1.1;json\n").await.expect("an open pipe");
    let other = Rpc::new().accept(Transport::new(there, Framing::Newline)).await.expect_err("another protocol");
    assert!(matches!(other, Error::Greeting(EndReason::Refuses(Refusal::Name))));
    assert_eq!(other.blame(), Blame::PeerIncompatible);
}

/// A caller by hand that has greeted a server with a limit of 100,000 outbound bytes.
async fn unread(rpc: Rpc) -> (DuplexStream, Peer) {
    let mut limits = Limits::default();
    (limits.frame, limits.outbound_bytes) = (20_000, 100_000);
    let (mut far, near) = tokio::io::duplex(4096);
    far.write_all(b"SIMPLEX/1.0;json\n").await.expect("an open pipe");
    let served = rpc.with_limits(limits).accept(Transport::new(near, Framing::Newline)).await.expect("a greeting");
    (far, served)
}

fn calls(method: &str, count: usize) -> String {
    (1..=count).map(|id| format!("{{\"type\":\"req\",\"id\":{id},\"method\":\"{method}\",\"payload\":null}}\n")).collect()
}

// r[limit.outbound-bytes]
#[tokio::test(start_paused = true)]
async fn answers_wait_for_a_caller_that_does_not_read_and_refusals_do_not() {
    let rpc = Rpc::new();
    let made = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&made);
    let long = move |_: ()| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, BoxError>("x".repeat(10_000)) }
    };
    rpc.register_fn("long", long).expect("a free name");
    let fails = |_: Channel| async { Err(RemoteError::new(1, "x".repeat(10_000)).into()) };
    rpc.register("fails", fails).expect("a free name");
    for method in ["long", "fails"] {
        let (mut far, served) = unread(rpc.clone()).await;
        far.write_all(calls(method, 64).as_bytes()).await.expect("an open pipe");
        // Whatever can be done without the caller is done before the clock moves.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = served.counts().incoming;
        assert!(served.is_open() && waiting > 64 - 100_000 / 10_000, "{method}: {waiting} calls wait");
        let mut lines = BufReader::new(far).lines();
        for line in 0..=64 {
            assert!(lines.next_line().await.expect("an open pipe").is_some(), "{method}: line {line}");
        }
        assert_eq!(served.counts().incoming, 0);
    }
    assert_eq!(made.load(Ordering::Relaxed), 64);

    let (mut far, served) = unread(rpc).await;
    // It may be over before all is written.
    _ = far.write_all(calls("missing", 3000).as_bytes()).await;
    served.closed().await;
    assert_eq!(served.end_reason(), Some(EndReason::Limit("outbound_bytes")));
}

// r[transport.silence]
#[tokio::test(start_paused = true)]
async fn silence_lasts_until_something_comes() {
    let (client, served) = join(&Rpc::new(), &Rpc::new()).await;
    let second = Duration::from_secs(1);
    tokio::time::sleep(second).await;
    assert_eq!((client.silence(), served.silence()), (second, second));
    client.keepalive().expect("an open connection");
    tokio::time::sleep(second / 2).await;
    assert_eq!((client.silence(), served.silence()), (second * 3 / 2, second / 2));
}

#[tokio::test]
async fn a_handler_that_reads_on_after_its_reply_is_told_so() {
    let rpc = Rpc::new();
    let (told, mut hears) = mpsc::unbounded_channel();
    rpc.register("early", move |mut channel: Channel| {
        let told = told.clone();
        async move {
            channel.argument::<i64>().await?;
            channel.send_last(&1).await?;
            let read = channel.recv::<i64>().await;
            Ok(told.send(matches!(read, Err(Error::Ended)) && channel.peer().is_open())?)
        }
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut channel = client.open("early");
    channel.send(&1).await.expect("an open call");
    assert_eq!(channel.recv::<i64>().await.expect("a result"), Some(1));
    assert_eq!(hears.recv().await, Some(true));
}

/// Counts the frames that come in.
struct Counting(Arc<AtomicUsize>);

impl Hook for Counting {
    fn inbound_request(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Verdict::Pass)
    }
}

#[tokio::test]
async fn whoever_sends_large_frames_gives_others_their_turn() {
    let seen = Arc::new(AtomicUsize::new(0));
    let rpc = server().with_hook(Counting(Arc::clone(&seen)));
    let (mut far, near) = tokio::io::duplex(8 << 20);
    far.write_all(b"SIMPLEX/1.0;json\n").await.expect("an open pipe");
    let _flooded = rpc.accept(Transport::new(near, Framing::Newline)).await.expect("a greeting");
    let (other, _other_served) = join(&Rpc::new(), &rpc).await;
    let flood = calls("missing", 64).replace("null", &format!("\"{}\"", "x".repeat(50_000)));
    far.write_all(flood.as_bytes()).await.expect("an open pipe");
    assert_eq!(other.call::<_, i64>("add", &(1, 2)).await.expect("a sum"), 3);
    let before = seen.load(Ordering::Relaxed) - 1;
    assert!(before < 40, "{before} frames came first");
}

/// Takes a method away when it is dropped.
struct Unregistering(Rpc, &'static str);

impl Drop for Unregistering {
    fn drop(&mut self) {
        self.0.unregister(self.1);
    }
}

#[test]
fn what_a_method_holds_may_ask_for_methods_when_it_is_taken_away() {
    let rpc = Rpc::new();
    let held = Arc::new(Unregistering(rpc.clone(), "other"));
    let holding = move |_: Channel| {
        let held = Arc::clone(&held);
        async move {
            drop(held);
            Ok(())
        }
    };
    rpc.register("holding", holding).expect("a free name");
    rpc.register("other", |_: Channel| async { Ok(()) }).expect("a free name");
    // On a thread of its own: it would wait for itself for ever.
    let (told, hears) = std::sync::mpsc::channel();
    let taking = rpc.clone();
    std::thread::spawn(move || told.send(taking.unregister("holding")));
    assert_eq!(hears.recv_timeout(Duration::from_secs(60)), Ok(true));
    assert!(!rpc.unregister("other"), "it went with what held it");
}

#[test]
fn reserved_names_are_refused() {
    assert!(Rpc::new().register_fn("_callback.mine", |(): ()| async { Ok::<_, BoxError>(()) }).is_err());
}

//! What a program can break around a connection: hooks, transports and codecs that panic, a runtime that goes away. A call fails or
//! the connection ends; nothing hangs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use duplex_peer::codec::{Message, Outgoing, Undecodable};
use duplex_peer::{
    BoxError, Call, CallEnd, Channel, Code, Codec, ConnectionId, EndReason, Error, Format, FrameReader, FrameWriter, Framing,
    Hook, HookFrame, Input, Json, Peer, Rpc, Transport, Verdict,
};

/// Where a hook is asked or told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    OutboundRequest,
    InboundRequest,
    OutboundReply,
    InboundReply,
    Ended,
    Disconnected,
}

/// A hook that panics there, for as long as it is to.
#[derive(Clone)]
struct Panicking(At, Arc<AtomicBool>);

impl Panicking {
    fn new(at: At) -> Self {
        Self(at, Arc::new(AtomicBool::new(true)))
    }

    fn see(&self, at: At) {
        assert!(at != self.0 || !self.1.load(Ordering::Relaxed), "this hook panics, as it is to");
    }
}

impl Hook for Panicking {
    fn outbound_request(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::OutboundRequest);
        Ok(Verdict::Pass)
    }

    fn inbound_request(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::InboundRequest);
        Ok(Verdict::Pass)
    }

    fn outbound_reply(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::OutboundReply);
        Ok(Verdict::Pass)
    }

    fn inbound_reply(&self, _: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.see(At::InboundReply);
        Ok(Verdict::Pass)
    }

    fn ended(&self, _: &Call, _: CallEnd) {
        self.see(At::Ended);
    }

    fn disconnected(&self, _: ConnectionId) {
        self.see(At::Disconnected);
    }
}

fn server() -> Rpc {
    let rpc = Rpc::new();
    rpc.register_fn("value", |number: u8| async move { Ok::<_, BoxError>(number) }).expect("a free name");
    let channel = |mut channel: Channel| async move {
        let number: u8 = channel.argument().await?;
        Ok(channel.send_last(&number).await?)
    };
    rpc.register("channel", channel).expect("a free name");
    let waits = |channel: Channel| async move {
        channel.closed().await;
        Ok(())
    };
    rpc.register("waits", waits).expect("a free name");
    rpc
}

async fn join(caller: &Rpc, server: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(caller.handshake(here), server.accept(there)).expect("two peers of one kind")
}

#[tokio::test]
async fn a_hook_that_panics_has_failed_and_the_connection_goes_on() {
    for (at, is_callers, code) in [
        (At::OutboundRequest, true, None),
        (At::InboundReply, true, None),
        (At::InboundRequest, false, Some(Code::FAILED)),
        (At::OutboundReply, false, Some(Code::FAILED)),
    ] {
        for method in ["value", "channel"] {
            let hook = Panicking::new(at);
            let with = |rpc: Rpc, has_it: bool| if has_it { rpc.with_hook(hook.clone()) } else { rpc };
            let (client, _served) = join(&with(Rpc::new(), is_callers), &with(server(), !is_callers)).await;
            let failed = client.call::<_, u8>(method, &1).await.expect_err("the hook fails");
            assert_eq!(failed.code(), code, "{at:?} {failed}");
            assert!(code.is_some() || matches!(failed, Error::Hook), "{at:?} {failed}");
            hook.1.store(false, Ordering::Relaxed);
            assert_eq!(client.call::<_, u8>(method, &2).await.expect("the hook passes it on"), 2);
        }
    }
}

#[tokio::test]
async fn a_hook_that_panics_when_it_is_told_of_an_end_changes_nothing() {
    for at in [At::Ended, At::Disconnected] {
        let (caller, server) = (Rpc::new().with_hook(Panicking::new(at)), server().with_hook(Panicking::new(at)));
        let (client, served) = join(&caller, &server).await;
        for method in ["value", "channel"] {
            assert_eq!(client.call::<_, u8>(method, &1).await.expect("a result"), 1);
        }
        client.close();
        client.closed().await;
        served.closed().await;
        assert_eq!((caller.connections(), server.connections()), (0, 0));
    }
}

#[test]
fn a_connection_ends_with_the_runtime_that_it_was_made_on() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let (lost, kept) = (runtime(), runtime());
    let (caller, server) = (Rpc::new(), server());
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let taken = kept.spawn({
        let server = server.clone();
        async move { server.accept(there).await }
    });
    let client = lost.block_on(caller.handshake(here)).expect("a greeting");
    let served = kept.block_on(taken).expect("a task").expect("a greeting");
    let waiting = kept.spawn({
        let client = client.clone();
        async move { client.call::<_, ()>("waits", &()).await }
    });
    kept.block_on(async {
        while served.counts().handlers == 0 {
            tokio::task::yield_now().await;
        }
    });
    drop(lost);
    kept.block_on(async {
        assert!(matches!(waiting.await.expect("a task"), Err(Error::Closed)));
        client.closed().await;
        served.closed().await;
        assert!(matches!(client.call::<_, u8>("value", &1).await, Err(Error::Closed)));
    });
    assert_eq!((client.is_open(), client.end_reason()), (false, Some(EndReason::Transport)));
    assert_eq!((caller.connections(), server.connections()), (0, 0));
}

/// Half of a transport, which lasts for so many frames.
struct Breaking<T> {
    half: T,
    left: usize,
    /// What goes with it.
    _held: Arc<()>,
}

impl<T> Breaking<T> {
    fn count(&mut self) {
        assert!(self.left > 0, "this transport panics, as it is to");
        self.left -= 1;
    }
}

impl FrameReader for Breaking<Box<dyn FrameReader>> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<std::io::Result<Input>> {
        let read = self.half.poll_read(cx, buffer);
        if read.is_ready() {
            self.count();
        }
        read
    }
}

impl FrameWriter for Breaking<Box<dyn FrameWriter>> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &mut Bytes, is_text: bool) -> Poll<std::io::Result<()>> {
        self.count();
        self.half.poll_write(cx, bytes, is_text)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.half.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, close: duplex_peer::Close) -> Poll<std::io::Result<()>> {
        self.half.poll_close(cx, close)
    }
}

/// A codec that panics on the first message that comes in.
#[derive(Debug)]
struct Panics;

impl Codec for Panics {
    fn name(&self) -> &'static str {
        "json"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn is_text(&self) -> bool {
        true
    }

    fn decode(&self, _: Bytes, _: usize) -> Result<Message, Undecodable> {
        panic!("this codec panics, as it is to")
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        Json.encode(message, out);
    }
}

#[tokio::test]
async fn a_transport_or_a_codec_that_panics_ends_its_connection() {
    for broken in ["reader", "writer", "codec"] {
        let (here, there) = Transport::pair(Framing::Length, 4096);
        let (reader, writer, framing) = there.into_frames();
        // The greeting, or its answer, passes.
        let left = |half| if broken == half { 1 } else { usize::MAX };
        let held = Arc::new(());
        let reader = Breaking { half: reader, left: left("reader"), _held: Arc::clone(&held) };
        let writer = Breaking { half: writer, left: left("writer"), _held: Arc::clone(&held) };
        let there = Transport::from_frames(reader, writer, framing);
        let server = if broken == "codec" { server().with_codecs(vec![Arc::new(Panics)]) } else { server() };
        let caller = Rpc::new();
        let (client, served) = tokio::try_join!(caller.handshake(here), server.accept(there)).expect("two peers of one kind");
        let failed = client.call::<_, u8>("value", &1).await.expect_err("nobody answers");
        assert!(matches!(failed, Error::Closed), "{broken}: {failed}");
        client.closed().await;
        served.closed().await;
        assert_eq!((caller.connections(), server.connections()), (0, 0), "{broken}");
        // Nor does a task live on that has the rest of the transport.
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes the greeting's answer, and nothing after it.
struct Stuck {
    written: usize,
    _held: Arc<()>,
}

impl FrameWriter for Stuck {
    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &mut Bytes, _: bool) -> Poll<std::io::Result<()>> {
        self.written += 1;
        if self.written > 1 {
            return Poll::Pending;
        }
        bytes.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: duplex_peer::Close) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_reader_that_panics_takes_the_writer_with_it() {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let (reader, _, framing) = here.into_frames();
    let (_far_reader, mut far_writer, _) = there.into_frames();
    let held = Arc::new(());
    // Its offer, an answer to it, and then what is too much.
    let reader = Breaking { half: reader, left: 1, _held: Arc::default() };
    let transport = Transport::from_frames(reader, Stuck { written: 0, _held: Arc::clone(&held) }, framing);
    let rpc = Rpc::new();
    let mut answer = Bytes::from_static(b"\0\0\0\x03+OK");
    std::future::poll_fn(|cx| far_writer.poll_write(cx, &mut answer, true)).await.expect("an open pipe");
    let client = rpc.handshake(transport).await.expect("an answer");
    client.request("m").detach(&1).await.expect("room for one");
    let mut more = Bytes::from_static(b"\0\0\0\0");
    std::future::poll_fn(|cx| far_writer.poll_write(cx, &mut more, true)).await.expect("an open pipe");
    client.closed().await;
    drop(client);
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
}

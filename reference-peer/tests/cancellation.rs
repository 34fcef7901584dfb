//! Futures that are dropped at any await point, and connections that end at any moment, leave nothing behind.
//!
//! One thread, a clock that stands still unless everybody waits, and a seed that decides who is dropped where: what fails once
//! fails again. A time limit that passes means that nothing could move any more; no test waits for one otherwise.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use duplex_peer::{
    BoxError, Call, CallEnd, Channel, Counts, Error, Framing, Hook, HookFrame, Peer, RemoteError, Rpc, Transport, Verdict,
};
use tokio::task::JoinSet;
use tokio::time::timeout;

const SEEDS: u64 = 60;
const CALLS: usize = 40;
/// Far beyond any limit of a connection.
const FOR_EVER: Duration = Duration::from_secs(600);

/// Chance that can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

/// A future that is given up at its so many-th await.
struct Dropped<F> {
    future: Option<Pin<Box<F>>>,
    polls: usize,
}

impl<F: Future> Future for Dropped<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.future.as_mut().expect("it is not polled again");
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if self.polls == 0 {
            self.future = None;
            return Poll::Ready(None);
        }
        self.polls -= 1;
        Poll::Pending
    }
}

fn dropped<F: Future>(future: F, polls: usize) -> Dropped<F> {
    Dropped { future: Some(Box::pin(future)), polls }
}

/// Counts calls that hooks saw begin and were not told the end of.
#[derive(Clone, Default)]
struct Open(Arc<AtomicUsize>);

impl Open {
    fn begin(&self, frame: &HookFrame) -> Result<Verdict, BoxError> {
        if frame.is_first() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        if frame.method() == "denied" { Err("denied".into()) } else { Ok(Verdict::Pass) }
    }
}

impl Hook for Open {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.begin(frame)
    }

    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.begin(frame)
    }

    fn ended(&self, _: &Call, _: CallEnd) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "an end without a beginning");
    }
}

/// Methods of every kind. None of them waits for anything but its caller.
fn methods(rpc: &Rpc) {
    rpc.register_fn("echo", |value: u64| async move { Ok::<_, BoxError>(value) }).expect("a free name");
    rpc.register_fn("denied", |(): ()| async move { Ok::<_, BoxError>(()) }).expect("a free name");
    rpc.register_fn("fails", |(): ()| async move { Err::<(), _>(RemoteError::new(7, "no")) }).expect("a free name");
    rpc.register("pipe", |mut channel: Channel| async move {
        while let Some(item) = channel.recv::<String>().await? {
            channel.send(&item).await?;
        }
        Ok(())
    })
    .expect("a free name");
    rpc.register("early", |mut channel: Channel| async move {
        let sender = channel.sender();
        let answer = tokio::spawn(async move { sender.send_last(&1).await });
        // Whatever comes: the answer is another task's.
        while channel.recv::<String>().await?.is_some() {}
        _ = answer.await;
        Ok(())
    })
    .expect("a free name");
    rpc.register("back", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let value: u64 = channel.call(&callback, &3).await?;
        channel.send_last(&value).await?;
        Ok(())
    })
    .expect("a free name");
}

/// One of everything that a user can do, up to its end. What fails with the connection has ended, too.
async fn use_peer(peer: Peer, kind: usize, items: usize) {
    match kind {
        0 => _ = peer.call::<_, u64>("echo", &1).await,
        1 => _ = peer.call::<_, ()>("fails", &()).await,
        2 => _ = peer.call::<_, ()>("denied", &()).await,
        3 => _ = peer.notify("echo", &1).await,
        4 => _ = peer.request("pipe").detach("x").await,
        5 => {
            let callback = peer.callback_fn(|value: u64| async move { Ok::<_, BoxError>(value) });
            _ = peer.call::<_, u64>("back", &callback).await;
            callback.release();
        }
        6 => {
            let mut channel = peer.open("early");
            for _ in 0..=items {
                _ = channel.send("item").await;
            }
            // The arguments stay open: the answer ends them.
            while let Ok(Some(_)) = channel.recv::<u64>().await {}
        }
        7 => {
            // A reader in another task, before there is a call.
            let mut channel = peer.open("pipe");
            let sender = channel.sender();
            let reader = tokio::spawn(async move { while let Ok(Some(_)) = channel.recv::<String>().await {} });
            for _ in 0..items {
                _ = sender.send(&"x".repeat(50)).await;
            }
            _ = sender.finish().await;
            drop(sender);
            _ = reader.await;
        }
        _ => {
            let mut channel = peer.open("pipe");
            for _ in 0..items {
                if channel.send(&"x".repeat(100)).await.is_err() || channel.recv::<String>().await.is_err() {
                    return;
                }
            }
            _ = channel.finish().await;
            while let Ok(Some(_)) = channel.recv::<String>().await {}
        }
    }
}

fn rpc(has_hooks: bool) -> (Rpc, Open) {
    let open = Open::default();
    let rpc = if has_hooks { Rpc::new().with_hook(open.clone()) } else { Rpc::new() };
    methods(&rpc);
    (rpc, open)
}

async fn join(framing: Framing, capacity: usize, has_hooks: bool) -> ([Peer; 2], [Open; 2]) {
    let ((initiator, seen_here), (acceptor, seen_there)) = (rpc(has_hooks), rpc(has_hooks));
    let (here, there) = Transport::pair(framing, capacity);
    let (here, there) = tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("a greeting");
    ([here, there], [seen_here, seen_there])
}

fn total(counts: Counts) -> usize {
    counts.incoming + counts.outgoing + counts.handlers + counts.callbacks
}

/// Waits until nothing is left; fails when nothing moves any more and something is.
async fn wait_until_empty(peers: &[Peer; 2], hooks: &[Open; 2], seed: u64) {
    let told = || hooks.each_ref().map(|open| open.0.load(Ordering::Relaxed));
    let is_empty = || peers.iter().all(|peer| total(peer.counts()) == 0) && told() == [0, 0];
    let empty = async {
        while !is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let in_time = timeout(FOR_EVER, empty).await.is_ok();
    assert!(in_time, "seed {seed}: left: {:?}, {:?}, untold: {:?}", peers[0].counts(), peers[1].counts(), told());
}

async fn wait_for_all(calls: &mut JoinSet<Option<()>>, seed: u64) {
    let all = async { while calls.join_next().await.is_some() {} };
    assert!(timeout(FOR_EVER, all).await.is_ok(), "seed {seed}: a call never ends");
}

async fn run(seed: u64) {
    let mut dice = Dice(seed);
    let framing = [Framing::Length, Framing::Newline][dice.below(2)];
    // Small enough that writers wait, down to a few bytes.
    let capacity = [16, 64, 4096][dice.below(3)];
    let (peers, hooks) = join(framing, capacity, dice.below(2) == 0).await;
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let peer = peers[dice.below(2)].clone();
        calls.spawn(dropped(use_peer(peer, dice.below(9), dice.below(4)), dice.below(12)));
        if dice.below(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    wait_for_all(&mut calls, seed).await;
    wait_until_empty(&peers, &hooks, seed).await;
    assert_eq!(peers[0].call::<_, u64>("echo", &seed).await.ok(), Some(seed), "seed {seed}: it still works");

    for _ in 0..CALLS {
        let peer = peers[dice.below(2)].clone();
        calls.spawn(dropped(use_peer(peer, dice.below(9), dice.below(4)), usize::MAX));
    }
    for _ in 0..dice.below(30) {
        tokio::task::yield_now().await;
    }
    let peer = &peers[dice.below(2)];
    match dice.below(3) {
        // Given up itself, too.
        0 => _ = dropped(peer.shutdown(Duration::from_secs(1)), dice.below(4)).await,
        1 => peer.shutdown(Duration::from_secs(1)).await,
        _ => {}
    }
    peer.close();
    wait_for_all(&mut calls, seed).await;
    for peer in &peers {
        assert!(timeout(FOR_EVER, peer.closed()).await.is_ok(), "seed {seed}: a connection never ends");
    }
    wait_until_empty(&peers, &hooks, seed).await;
}

#[tokio::test(start_paused = true)]
async fn dropped_futures_and_ended_connections_leave_nothing_behind() {
    for seed in 0..SEEDS {
        run(seed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_reads_learns_that_another_task_has_replied() {
    let (peers, _) = join(Framing::Length, 4096, false).await;
    let mut channel = peers[0].open("early");
    channel.send("item").await.expect("an open connection");
    while channel.recv::<u64>().await.expect("an answer").is_some() {}
    timeout(FOR_EVER, async {
        while peers[1].counts().handlers > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await
    .expect("the handler returns");
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_before_there_is_a_call_learns_of_the_end() {
    let (peers, _) = join(Framing::Length, 4096, false).await;
    let mut channel = peers[0].open("pipe");
    let reader = tokio::spawn(async move { channel.recv::<String>().await });
    tokio::task::yield_now().await;
    peers[1].close();
    let read = timeout(FOR_EVER, reader).await.expect("the reader returns").expect("no panic");
    assert!(matches!(read, Err(Error::Closed)), "{read:?}");
}

/// Asks a connection how it does when nobody would wake it any more.
struct Asking(Peer);

impl Wake for Asking {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Asking {
    fn drop(&mut self) {
        _ = self.0.counts();
    }
}

/// Waits as such a task, then as another, and gives up as the first again.
fn wait_and_give_up<F: Future>(peer: &Peer, waiting: F) {
    let mut waiting = Box::pin(waiting);
    let asking = || Waker::from(Arc::new(Asking(peer.clone())));
    for waker in [asking(), Waker::noop().clone(), asking()] {
        assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    }
}

#[test]
fn whoever_waits_may_ask_for_the_connection_when_it_is_dropped() {
    let (told, hears) = std::sync::mpsc::channel();
    // On a thread of its own: it would wait for itself for ever.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (caller, server) = (Rpc::new(), Rpc::new());
            server.register_fn("never", |(): ()| pending::<Result<(), BoxError>>()).expect("a free name");
            let reading = |mut channel: Channel| async move {
                _ = channel.recv::<i64>().await?;
                wait_and_give_up(&channel.peer(), channel.recv::<i64>());
                Ok(channel.send_last(&1).await?)
            };
            server.register("read", reading).expect("a free name");
            let (here, there) = Transport::pair(Framing::Length, 4096);
            let (client, _served) =
                tokio::try_join!(caller.handshake(here), server.accept(there)).expect("two peers of one kind");
            wait_and_give_up(&client, client.call::<_, ()>("never", &()));
            let mut channel = client.open("read");
            channel.send(&1).await.expect("it is open");
            wait_and_give_up(&client, channel.recv::<i64>());
            assert_eq!(channel.recv::<i64>().await.expect("a result"), Some(1));
        });
        told.send(())
    });
    hears.recv_timeout(Duration::from_secs(60)).expect("nobody waits for ever, and nothing panics");
}

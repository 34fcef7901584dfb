//! The reference peer as a user calls it: typed calls, JSON, length framing.

use duplex_peer::{BoxError, Callback, Channel, Framing, Limits, Peer, Rpc, Transport};
use tokio::net::TcpListener;

/// One connection, and a callback that its other end may call.
#[derive(Clone)]
pub struct Client {
    peer: Peer,
    callback: std::sync::Arc<Callback>,
}

impl Client {
    /// The connection.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// Limits that fit the largest workload: what the two sides of a benchmark agree on.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.frame = 4 << 20;
    limits.open_calls = 1 << 20;
    // A stream has no flow control of its own: a reader that is slower than the network needs room.
    limits.buffered_items = 1 << 20;
    limits.buffered_bytes = 256 << 20;
    limits
}

/// What the other end of every benchmark serves.
pub fn service() -> Rpc {
    let rpc = Rpc::new().with_limits(limits());
    register(&rpc).expect("names of our own");
    rpc
}

fn register(rpc: &Rpc) -> Result<(), BoxError> {
    rpc.register_fn("sum", |(a, b): (u64, u64)| async move { Ok::<_, BoxError>(a + b) })?;
    rpc.register_fn("echo", |text: String| async move { Ok::<_, BoxError>(text) })?;
    rpc.register("range", |mut channel: Channel| async move {
        let n: u64 = channel.argument().await?;
        for i in 1..n {
            channel.send(&i).await?;
        }
        channel.send_last(&n).await?;
        Ok(())
    })?;
    rpc.register("back", |mut channel: Channel| async move {
        let (name, number): (String, u64) = channel.argument().await?;
        let answer: u64 = channel.call(&name, &number).await?;
        channel.send_last(&answer).await?;
        Ok(())
    })?;
    rpc.register("wait", |mut channel: Channel| async move {
        while channel.recv::<u64>().await?.is_some() {}
        Ok(())
    })?;
    Ok(())
}

/// Connects to a peer of this process that serves [`service`].
pub async fn client() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let server = service();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client below");
        let peer = server.accept(Transport::tcp(stream, Framing::Length)).await.expect("the client greets");
        peer.closed().await;
    });
    let transport = Transport::connect(address, Framing::Length).await.expect("the listener above");
    let peer = Rpc::new().with_limits(limits()).handshake(transport).await.expect("the server answers");
    let callback = peer.callback_fn(|number: u64| async move { Ok::<_, BoxError>(number + 1) });
    Client { peer, callback: std::sync::Arc::new(callback) }
}

/// Small calls per second.
pub async fn sum(client: &Client, n: usize, c: usize) -> f64 {
    super::drive(n, c, |i| {
        let peer = client.peer.clone();
        async move { peer.call("sum", &(i, 2u64)).await.expect("a sum") }
    })
    .await
}

/// Echoes of this text per second.
pub async fn echo(client: &Client, text: &str, n: usize, c: usize) -> f64 {
    super::drive(n, c, |_| {
        let peer = client.peer.clone();
        async move { peer.call::<_, String>("echo", text).await.expect("the text").len() as u64 }
    })
    .await
}

/// Items per second of one streamed result.
pub async fn range(client: &Client, n: usize) -> f64 {
    let start = std::time::Instant::now();
    let mut channel = client.peer.open("range");
    channel.send_last(&(n as u64)).await.expect("an argument");
    let mut seen = 0;
    while let Some(item) = channel.recv::<u64>().await.expect("an item") {
        std::hint::black_box(item);
        seen += 1;
    }
    assert_eq!(seen, n);
    n as f64 / start.elapsed().as_secs_f64()
}

/// Calls per second, each of which calls back before it answers.
pub async fn back(client: &Client, n: usize, c: usize) -> f64 {
    super::drive(n, c, |i| {
        let client = client.clone();
        async move { client.peer.call("back", &(client.callback.name(), i)).await.expect("what the callback says") }
    })
    .await
}

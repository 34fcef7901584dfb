//! A server with a function, a stream, and a method that calls back.
//!
//! Run it: `cargo run --package duplex-peer --example server`, then the client beside it.

use duplex_peer::{Address, BoxError, Channel, Framing, RegisterError, Rpc};

/// What is served: as many connections as come share it.
pub(crate) fn service() -> Result<Rpc, RegisterError> {
    let rpc = Rpc::new();
    // One value in, one value out.
    rpc.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
    // Many values out. A handler of a channel may also read many.
    rpc.register("countdown", |mut channel: Channel| async move {
        let from: u64 = channel.argument().await?;
        for number in (1..=from).rev() {
            channel.send(&number).await?;
        }
        Ok(channel.send_last(&0).await?)
    })?;
    // A callback is a string to whoever is handed it, and called like any method.
    rpc.register("greet", |mut channel: Channel| async move {
        let (name, ask): (String, String) = channel.argument().await?;
        let language: String = channel.call(&ask, &"Which language?").await?;
        let greeting = if language == "fr" { "Bonjour" } else { "Hello" };
        Ok(channel.send_last(&format!("{greeting}, {name}!")).await?)
    })?;
    Ok(rpc)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:7000".to_owned());
    let listener = address.parse::<Address>()?.listen().await?;
    eprintln!("listening on {}", listener.address());
    let serving = service()?.serve(listener, Framing::Length, |taken| match taken {
        Ok(peer) => eprintln!("{}", peer.info()),
        Err(error) => eprintln!("a connection was not taken: {error}"),
    });
    serving.await;
    Ok(())
}

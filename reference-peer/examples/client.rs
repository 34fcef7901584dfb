//! A client that calls a function, reads a stream, and is called back.
//!
//! Run it beside the server: `cargo run --package duplex-peer --example client`.

use std::time::Duration;

use duplex_peer::{Address, BoxError, Framing, Peer, Rpc};

/// One call of each kind; gives what there is to say.
pub(crate) async fn talk(peer: &Peer) -> Result<Vec<String>, BoxError> {
    let mut said = Vec::new();

    let sum: i64 = peer.request("add").timeout(Duration::from_secs(5)).call(&(1, 2)).await?;
    said.push(format!("1 + 2 = {sum}"));

    let mut channel = peer.open("countdown");
    channel.send_last(&3).await?;
    while let Some(number) = channel.recv::<u64>().await? {
        said.push(number.to_string());
    }

    // Dropped, it is gone: a later call of it finds no such method.
    let ask = peer.callback_fn(|question: String| async move {
        eprintln!("the server asks: {question}");
        Ok::<_, BoxError>("fr")
    });
    let greeting: String = peer.call("greet", &("Ada", &ask)).await?;
    said.push(greeting);
    Ok(said)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "tcp://127.0.0.1:7000".to_owned());
    let peer = Rpc::new().connect(&address.parse::<Address>()?, Framing::Length).await?;
    for line in talk(&peer).await? {
        eprintln!("{line}");
    }
    peer.close();
    peer.closed().await;
    Ok(())
}

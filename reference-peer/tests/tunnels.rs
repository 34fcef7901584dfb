//! Channels as streams, sinks and bytes: what is cut off is never taken for whole.

use std::io::ErrorKind;
use std::sync::Arc;

use duplex_peer::{Channel, Codec, Error, Framing, Json, MessagePack, Peer, Rpc, Transport};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

fn echoing() -> Rpc {
    let rpc = Rpc::new();
    rpc.register("echo", |channel: Channel| async move {
        let (mut input, mut output) = tokio::io::split(channel.into_tunnel());
        tokio::io::copy(&mut input, &mut output).await?;
        Ok(output.shutdown().await?)
    })
    .expect("a free name");
    rpc
}

#[tokio::test]
async fn bytes_come_as_they_went_in_both_codecs() {
    let rpc = echoing();
    // Longer than a piece, and not a multiple of three.
    let sent: Vec<u8> = (0..100_001_u32).map(|number| (number % 251) as u8).collect();
    for codec in [Arc::new(Json) as Arc<dyn Codec>, Arc::new(MessagePack)] {
        let (client, _served) = join(&Rpc::new().with_codecs(vec![codec]), &rpc).await;
        let (mut input, mut output) = tokio::io::split(client.open("echo").into_tunnel());
        let writing = async {
            output.write_all(&sent).await?;
            output.shutdown().await
        };
        let mut came = Vec::new();
        let (_, written) = tokio::join!(input.read_to_end(&mut came), writing);
        written.expect("an open tunnel");
        assert!(came == sent, "{} bytes came", came.len());
    }
}

#[tokio::test]
async fn a_tunnel_that_is_cut_off_says_so() {
    let (told, mut hears) = mpsc::unbounded_channel();
    let rpc = Rpc::new();
    rpc.register("drain", move |channel: Channel| {
        let told = told.clone();
        async move {
            let mut came = Vec::new();
            let end = channel.into_tunnel().read_to_end(&mut came).await.map_err(|error| error.kind());
            Ok(told.send((came, end))?)
        }
    })
    .expect("a free name");
    rpc.register("text", |channel: Channel| async move { Ok(channel.send_last(&5).await?) }).expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut cut = client.open("drain").into_tunnel();
    cut.write_all(b"half").await.expect("an open tunnel");
    cut.flush().await.expect("an open tunnel");
    drop(cut);
    assert_eq!(hears.recv().await, Some((b"half".to_vec(), Err(ErrorKind::UnexpectedEof))));
    // What is no bytes is no end either.
    let mut odd = client.open("text").into_tunnel();
    odd.shutdown().await.expect("an open tunnel");
    let error = odd.read_u8().await.expect_err("no bytes came");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[tokio::test]
async fn what_is_written_is_sent_without_a_flush() {
    let rpc = echoing();
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let mut tunnel = client.open("echo").into_tunnel();
    tunnel.write_all(b"hello").await.expect("an open tunnel");
    let mut echoed = [0; 5];
    tunnel.read_exact(&mut echoed).await.expect("what was written");
    assert_eq!(&echoed, b"hello");
}

#[tokio::test]
async fn a_stream_ends_with_its_error() {
    let rpc = Rpc::new();
    rpc.register("broken", |channel: Channel| async move {
        let mut results = channel.sender().into_sink();
        results.send(1).await?;
        results.flush().await?;
        Err("s3cret".into())
    })
    .expect("a free name");
    let (client, _served) = join(&Rpc::new(), &rpc).await;
    let channel = client.open("broken");
    let mut arguments = channel.sender().into_sink::<i64>();
    arguments.close().await.expect("an open connection");
    arguments.close().await.expect("closed is closed");
    let items: Vec<Result<i64, Error>> = channel.into_stream().collect().await;
    assert!(matches!(items.as_slice(), [Ok(1), Err(Error::Remote(_))]), "{items:?}");
}

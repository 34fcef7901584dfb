//! A codec of one's own: JSON behind a checksum, for a wire that may flip a bit.
//!
//! Run it: `cargo run --package duplex-peer --example codec`.

use std::sync::Arc;

use duplex_peer::bytes::{BufMut, Bytes, BytesMut};
use duplex_peer::codec::{Message, Outgoing, Undecodable};
use duplex_peer::{BoxError, Codec, Format, Framing, Json, Rpc, Transport};

/// `x-`, since the registry of the book does not know it.
#[derive(Debug)]
struct Checked;

impl Codec for Checked {
    fn name(&self) -> &str {
        "x-example.checked"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn is_text(&self) -> bool {
        false
    }

    fn decode(&self, frame: Bytes, depth: usize) -> Result<Message, Undecodable> {
        match frame.split_first_chunk() {
            Some((sum, json)) if *sum == checksum(json) => Json.decode(frame.slice(sum.len()..), depth),
            _ => Err(Undecodable("the checksum is wrong".into())),
        }
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        let mut json = BytesMut::new();
        Json.encode(message, &mut json);
        out.put_slice(&checksum(&json));
        out.put_slice(&json);
    }
}

/// FNV-1a.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    bytes.iter().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193)).to_be_bytes()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The acceptor speaks JSON, too; an initiator offers the first of its codecs.
    let server = Rpc::new().with_codecs(vec![Arc::new(Json), Arc::new(Checked)]);
    server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
    let client = Rpc::new().with_codecs(vec![Arc::new(Checked)]);
    let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
    let (peer, _served) = tokio::try_join!(client.handshake(here), server.accept(there))?;
    let sum: i64 = peer.call("add", &(1, 2)).await?;
    eprintln!("{}: 1 + 2 = {sum}", peer.info());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs() {
        main().expect("a sum");
    }

    #[test]
    fn a_flipped_bit_is_no_message() {
        let outgoing = Outgoing { id: None, body: duplex_peer::codec::Body::ResultEnd, more: Some(false), ext: None };
        let mut frame = BytesMut::new();
        Checked.encode(&outgoing, &mut frame);
        assert!(Checked.decode(frame.clone().freeze(), 64).is_ok_and(|message| message.is_itemless_end()));
        for at in 0..frame.len() {
            let mut flipped = frame.clone();
            flipped[at] ^= 1;
            assert!(Checked.decode(flipped.freeze(), 64).is_err());
        }
        for length in 0..frame.len() {
            assert!(Checked.decode(frame.clone().freeze().slice(..length), 64).is_err());
        }
    }
}

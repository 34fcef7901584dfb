//! A codec whose messages are laid out in another way than the two that come with the crate: written with what is public alone.

use std::sync::Arc;

use duplex_peer::bytes::{BufMut, Bytes, BytesMut};
use duplex_peer::codec::{Codec, ErrorMember, IdMember, Kind, Message, More, Outgoing, Undecodable};
use duplex_peer::{BoxError, Channel, Code, EndReason, Error, Ext, Format, Framing, Id, Peer, Raw, RemoteError, Rpc, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A message is a list: type, id, method, payload, more, end, error, ext. No names travel.
#[derive(Debug)]
struct Rows;

impl Codec for Rows {
    fn name(&self) -> &str {
        "x-example.rows"
    }

    fn format(&self) -> Format {
        Format::Json
    }

    fn is_text(&self) -> bool {
        true
    }

    fn decode(&self, frame: Bytes, depth: usize) -> Result<Message, Undecodable> {
        let row: Vec<Value> = serde_json::from_slice(&frame).map_err(|error| Undecodable(error.to_string().into()))?;
        let [kind, id, method, payload, more, end, error, ext] =
            <[Value; 8]>::try_from(row).map_err(|_| Undecodable("a row has eight fields".into()))?;
        if [&payload, &error, &ext].into_iter().any(|value| containers(value) >= depth) {
            return Err(Undecodable("too many containers inside each other".into()));
        }
        let raw = |value: &Value| Raw::encode(Format::Json, value).map_err(|error| Undecodable(error.to_string().into()));
        let mut message = Message::empty(Format::Json);
        message.kind = match kind.as_str() {
            Some("req") => Kind::Request,
            Some("rep") => Kind::Reply,
            _ => Kind::Unknown,
        };
        message.id = match (id.is_null(), id.as_u64().and_then(Id::new)) {
            (true, _) => IdMember::Absent,
            (false, id) => id.map_or(IdMember::Invalid, IdMember::Valid),
        };
        message.method = if method.is_null() { None } else { Some(raw(&method)?) };
        message.payload = raw(&payload)?;
        message.more = if more == true { More::Yes } else { More::No };
        message.end = end == true;
        message.error = match (&error[0], &error[1]) {
            (Value::Null, Value::Null) => ErrorMember::Absent,
            (Value::Number(code), Value::String(text)) if code.is_i64() => {
                ErrorMember::Error(Box::new(RemoteError::new(code.as_i64().unwrap_or_default(), text)))
            }
            _ => ErrorMember::Malformed,
        };
        message.ext = Ext::from_raw(raw(&ext)?).map(Box::new);
        Ok(message)
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        let value = |raw: &Raw| raw.decode::<Value>().expect("values are in the codec's format");
        let body = message.body;
        let row = json!([
            if body.method().is_some() { "req" } else { "rep" },
            message.id.map(Id::number),
            body.method(),
            body.payload().flatten().map(value),
            message.more,
            body.is_itemless_end(),
            body.error().map(|error| (error.code.0, &error.message)),
            message.ext.map(|ext| value(ext.raw())),
        ]);
        out.put_slice(row.to_string().as_bytes());
    }
}

fn containers(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(containers).max().unwrap_or_default(),
        Value::Object(members) => 1 + members.values().map(containers).max().unwrap_or_default(),
        _ => 0,
    }
}

fn rpc() -> Rpc {
    let rpc = Rpc::new().with_codecs(vec![Arc::new(Rows)]);
    rpc.register("total", |mut channel: Channel| async move {
        let mut total = 0;
        while let Some(number) = channel.recv::<i64>().await? {
            total += number;
            channel.send(&total).await?;
        }
        Ok(())
    })
    .expect("a free name");
    rpc.register("apply", |mut channel: Channel| async move {
        let callback: String = channel.argument().await?;
        let seen: Value = channel.call(&callback, &channel.ext().map(|ext| ext.keys())).await?;
        Ok(channel.send_last(&seen).await?)
    })
    .expect("a free name");
    rpc
}

#[tokio::test]
async fn calls_streams_errors_and_ext_go_through() {
    let (here, there) = Transport::pair(Framing::Newline, 4096);
    let (initiator, acceptor) = (rpc(), rpc());
    let (client, _served): (Peer, Peer) =
        tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("a codec that both speak");
    assert_eq!(client.info().codec(), "x-example.rows");

    let mut totals = client.open("total");
    for (number, total) in [(1, 1), (2, 3)] {
        totals.send(&number).await.expect("open");
        assert_eq!(totals.recv::<i64>().await.expect("an item"), Some(total));
    }
    totals.finish().await.expect("open");
    assert_eq!(totals.recv::<i64>().await.expect("the end"), None);

    let callback = client.callback_fn(|keys: Value| async move { Ok::<_, BoxError>(keys) });
    let keys: Value = client.request("apply").ext("tag", "x").expect("text").call(&callback).await.expect("keys");
    assert_eq!(keys, json!(["tag"]));
    let missing = client.call::<_, ()>("nope", &()).await.expect_err("no such method");
    assert_eq!(missing.code(), Some(Code::METHOD_NOT_FOUND));
}

#[tokio::test]
async fn what_it_cannot_decode_closes_the_connection() {
    for nonsense in ["{}", "[1]", "[", &format!("[\"req\",1,\"x\",{}{},0,0,0,0]", "[".repeat(64), "]".repeat(64))] {
        let mut limits = duplex_peer::Limits::default();
        limits.depth = 64;
        let (mut here, there) = tokio::io::duplex(4096);
        here.write_all(format!("SIMPLEX/1.0;x-example.rows\n{nonsense}\n").as_bytes()).await.expect("an open pipe");
        let peer = rpc().with_limits(limits).accept(Transport::new(there, Framing::Newline)).await.expect("a greeting");
        let mut answer = String::new();
        here.read_to_string(&mut answer).await.expect("text");
        assert_eq!(answer, "+OK\n");
        assert!(matches!(peer.end_reason(), Some(EndReason::Undecodable(_))), "{nonsense}");
    }
}

#[tokio::test]
async fn a_peer_without_it_refuses() {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let (initiator, acceptor) = (rpc(), Rpc::new());
    let (refused, refuses) = tokio::join!(initiator.handshake(here), acceptor.accept(there));
    assert!(matches!(refused, Err(Error::Refused(text)) if text == "-ERR unknown codec"));
    assert!(matches!(refuses, Err(Error::Greeting(_))));
}

/// A codec that cannot be offered.
#[derive(Debug)]
struct Named(&'static str);

impl Codec for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn format(&self) -> Format {
        Rows.format()
    }

    fn is_text(&self) -> bool {
        Rows.is_text()
    }

    fn decode(&self, frame: Bytes, depth: usize) -> Result<Message, Undecodable> {
        Rows.decode(frame, depth)
    }

    fn encode(&self, message: &Outgoing<'_>, out: &mut BytesMut) {
        Rows.encode(message, out);
    }
}

#[test]
fn a_name_that_no_greeting_can_carry_is_told_at_once() {
    for name in ["", "Rows", "x;y", "x-of-twenty-one-bytes"] {
        let made = std::panic::catch_unwind(|| Rpc::new().with_codecs(vec![Arc::new(Named(name))]));
        assert!(made.is_err(), "{name}");
    }
    _ = Rpc::new().with_codecs(vec![Arc::new(Named("x-of-twenty-bytes-ok"))]);
}

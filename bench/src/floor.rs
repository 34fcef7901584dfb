//! The floor: the least work that still moves these messages. Length-prefixed frames, typed JSON encode and decode on both
//! sides; no routing, no channels, no limits: the client counts replies.

use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Serialize, Deserialize)]
struct Request<'a, P> {
    r#type: &'a str,
    method: &'a str,
    payload: P,
    id: u64,
}

#[derive(Serialize, Deserialize)]
struct Reply<'a, P> {
    r#type: &'a str,
    id: u64,
    payload: P,
    #[serde(default)]
    more: bool,
}

/// Small calls per second.
pub async fn sum(n: usize, c: usize) -> f64 {
    let served = |frame: &[u8], out: &mut Vec<u8>| {
        let request: Request<(u64, u64)> = parsed(frame);
        put(out, &Reply { r#type: "rep", id: request.id, payload: request.payload.0 + request.payload.1, more: false });
    };
    pump::<_, u64>(served, "sum", |i| (i, 2u64), n, c, n).await
}

/// Echoes of this text per second.
pub async fn echo(text: &str, n: usize, c: usize) -> f64 {
    let served = |frame: &[u8], out: &mut Vec<u8>| {
        let request: Request<String> = parsed(frame);
        put(out, &Reply { r#type: "rep", id: request.id, payload: request.payload, more: false });
    };
    pump::<_, String>(served, "echo", |_| text.to_owned(), n, c, n).await
}

/// Items per second of one streamed result.
pub async fn range(n: usize) -> f64 {
    let served = |frame: &[u8], out: &mut Vec<u8>| {
        let request: Request<u64> = parsed(frame);
        for i in 1..=request.payload {
            put(out, &Reply { r#type: "rep", id: request.id, payload: i, more: i < request.payload });
        }
    };
    pump::<_, u64>(served, "range", |_| n as u64, 1, 1, n).await
}

fn parsed<'a, T: Deserialize<'a>>(frame: &'a [u8]) -> T {
    serde_json::from_slice(frame).expect("a frame of this program")
}

fn put(out: &mut Vec<u8>, message: &impl Serialize) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    serde_json::to_writer(&mut *out, message).expect("a message of this program");
    let length = u32::try_from(out.len() - at - 4).expect("a small frame");
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

/// Hands over every whole frame; returns the bytes that they took.
fn frames(bytes: &[u8], mut take: impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while bytes.len() - at >= 4 {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize;
        if bytes.len() - at - 4 < length {
            break;
        }
        take(&bytes[at + 4..at + 4 + length]);
        at += 4 + length;
    }
    at
}

async fn serve(mut stream: TcpStream, served: fn(&[u8], &mut Vec<u8>)) {
    let (mut inbound, mut out) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 16));
    while stream.read_buf(&mut inbound).await.is_ok_and(|read| read > 0) {
        let used = frames(&inbound, |frame| served(frame, &mut out));
        inbound.drain(..used);
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// Sends `n` requests with `c` in flight until `replies` have come; returns replies per second.
async fn pump<P: Serialize, R: DeserializeOwned>(
    served: fn(&[u8], &mut Vec<u8>),
    method: &str,
    payload: impl Fn(u64) -> P,
    n: usize,
    c: usize,
    replies: usize,
) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("the client below");
        stream.set_nodelay(true).expect("a socket option");
        serve(stream, served).await;
    });
    let mut stream = TcpStream::connect(address).await.expect("the listener above");
    stream.set_nodelay(true).expect("a socket option");
    let (mut inbound, mut out) = (Vec::with_capacity(1 << 16), Vec::with_capacity(1 << 16));
    let request =
        |i: usize, out: &mut Vec<u8>| put(out, &Request { r#type: "req", method, payload: payload(i as u64), id: i as u64 });
    let start = Instant::now();
    let (mut sent, mut done) = (0, 0);
    while sent < c.min(n) {
        sent += 1;
        request(sent, &mut out);
    }
    stream.write_all(&out).await.expect("the server reads");
    while done < replies {
        out.clear();
        stream.read_buf(&mut inbound).await.expect("the server writes");
        let used = frames(&inbound, |frame| {
            let reply: Reply<R> = parsed(frame);
            std::hint::black_box(reply.payload);
            done += 1;
            if sent < n {
                sent += 1;
                request(sent, &mut out);
            }
        });
        inbound.drain(..used);
        if !out.is_empty() {
            stream.write_all(&out).await.expect("the server reads");
        }
    }
    replies as f64 / start.elapsed().as_secs_f64()
}

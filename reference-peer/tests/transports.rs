//! Transports that are no plain byte stream over TCP: WebSocket, Unix sockets, addresses.

use std::sync::Arc;

use duplex_peer::{
    Address, Blame, BoxError, Codec, ConnectError, EndReason, Error, Framing, Json, Limits, MessagePack, Peer, Rpc, Transport,
    WebSocketOptions,
};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as RawError, Message};

fn server() -> Rpc {
    let rpc = Rpc::new();
    rpc.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) }).expect("a free name");
    rpc
}

/// Listens, connects, greets.
async fn join(address: &str, codec: impl Codec) -> (Peer, Peer) {
    let listener = address.parse::<Address>().expect("an address").listen().await.expect("a free address");
    let address = listener.address().clone();
    let (told, mut hears) = mpsc::unbounded_channel();
    tokio::spawn(server().serve(listener, Framing::Length, move |taken| _ = told.send(taken)));
    let caller = Rpc::new().with_codecs(vec![Arc::new(codec)]);
    let client = caller.connect(&address, Framing::Length).await.expect("an answer");
    (client, hears.recv().await.expect("a connection").expect("a greeting"))
}

async fn add_and_close((client, served): (Peer, Peer)) {
    assert_eq!(client.call::<_, i64>("add", &(1, 2)).await.expect("a sum"), 3);
    client.close();
    served.closed().await;
    client.closed().await;
    assert_eq!(served.end_reason(), Some(EndReason::Remote));
}

#[tokio::test]
async fn every_address_that_can_be_listened_on_carries_calls() {
    add_and_close(join("tcp://127.0.0.1:0", Json).await).await;
    add_and_close(join("ws://127.0.0.1:0/rpc", Json).await).await;
    add_and_close(join("ws://127.0.0.1:0", MessagePack).await).await;
}

#[tokio::test]
async fn a_connection_that_is_none_is_told_and_stops_no_other() {
    for (address, nonsense) in [("tcp://127.0.0.1:0", &b"\0\0\0\x04HELO"[..]), ("ws://127.0.0.1:0", b"GET / HTTP/1.0\r\n\r\n")] {
        let rpc = server();
        let listener = address.parse::<Address>().expect("an address").listen().await.expect("a free address");
        let address = listener.address().clone();
        let (told, mut hears) = mpsc::unbounded_channel();
        tokio::spawn(rpc.serve(listener, Framing::Length, move |taken| _ = told.send(taken)));
        let host = address.to_string().rsplit('/').next().map(str::to_owned).expect("a host");
        let mut wrong = TcpStream::connect(host).await.expect("a connection");
        wrong.write_all(nonsense).await.expect("an open connection");
        let error = hears.recv().await.expect("an attempt").expect_err("no peer");
        assert!(matches!(error, Error::Greeting(_) | Error::Connect(_)), "{error}");
        let client = Rpc::new().connect(&address, Framing::Length).await.expect("an answer");
        assert_eq!(client.call::<_, i64>("add", &(1, 2)).await.expect("a sum"), 3);
    }
    let nobody = Rpc::new().connect(&"tcp://127.0.0.1:1".parse().expect("an address"), Framing::Length).await;
    assert!(nobody.is_err_and(|error| error.blame() == Blame::ConnectionGone));
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_carry_calls() {
    let folder = tempfile::tempdir().expect("a folder");
    add_and_close(join(&format!("unix:{}", folder.path().join("peer.sock").display()), Json).await).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_process_is_a_connection_and_its_end_is_the_connections() {
    // It takes the greeting, answers, and ends.
    let child: Address = r#"exec:sh -c "read greeting && echo +OK""#.parse().expect("an address");
    let peer = Rpc::new().handshake(child.connect(Framing::Newline).await.expect("a program")).await.expect("an answer");
    peer.closed().await;
    assert_eq!(peer.end_reason(), Some(EndReason::Remote));
    // One that still has something to do when its input has ended is let do it.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("done");
    let child = format!(r#"exec:sh -c "read greeting && echo +OK; cat; sleep 0.1; touch '{}'""#, path.display());
    let child: Address = child.parse().expect("an address");
    let peer = Rpc::new().handshake(child.connect(Framing::Newline).await.expect("a program")).await.expect("an answer");
    peer.close();
    peer.closed().await;
    assert!(path.exists());
    let missing: Address = "exec:/no/such/program".parse().expect("an address");
    assert!(matches!(missing.connect(Framing::Length).await, Err(ConnectError::Io(..))));
}

#[test]
fn an_address_says_what_is_wrong_with_it() {
    let problems = [
        ("localhost", "it has to be tcp://host:port, ws://host:port/path, unix:path, exec:command or stdio:"),
        ("tcp://localhost", "the port is missing"),
        ("tcp://:1", "the host is missing"),
        ("tcp://::1:7000", "an IPv6 host stands in brackets: [::1]:7000"),
        ("tcp://localhost:70000", "the port is no number up to 65535"),
        ("unix:", "the path of the socket is missing"),
        ("exec: ", "the command is missing"),
        ("exec:a 'b", "a quotation mark is not closed"),
    ];
    for (text, problem) in problems {
        let error = text.parse::<Address>().expect_err("no address");
        assert_eq!(error.to_string(), format!("`{text}` is no address: {problem}"));
    }
    assert!("wss://localhost".parse::<Address>().expect_err("no TLS").to_string().contains("TLS"));
}

type Raw = WebSocketStream<DuplexStream>;

/// A WebSocket client by hand, and a peer that accepts.
async fn by_hand(greeting: Message) -> (Raw, tokio::task::JoinHandle<Result<Peer, duplex_peer::Error>>) {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let opening = tokio::spawn(async move {
        let transport = Transport::accept_websocket(there, &WebSocketOptions::default()).await.expect("a WebSocket");
        server().accept(transport).await
    });
    let (mut socket, _) = tokio_tungstenite::client_async("ws://peer/", here).await.expect("a WebSocket");
    socket.send(greeting).await.expect("an open WebSocket");
    (socket, opening)
}

async fn next(socket: &mut Raw) -> Message {
    socket.next().await.expect("a message").expect("an open WebSocket")
}

/// The code of the next message, which is a close.
async fn close_code(socket: &mut Raw) -> CloseCode {
    match next(socket).await {
        Message::Close(Some(frame)) => frame.code,
        other => panic!("no close: {other:?}"),
    }
}

// r[transport.websocket.message] r[transport.websocket.greeting] r[transport.websocket.kind]
#[tokio::test]
async fn greetings_are_text_and_messages_are_of_their_codecs_kind() {
    let call = r#"{"type":"req","id":1,"method":"add","payload":[1,2]}"#;
    let (mut socket, _peer) = by_hand(Message::text("SIMPLEX/1.0;json")).await;
    assert_eq!(next(&mut socket).await, Message::text("+OK"));
    socket.send(Message::text(call)).await.expect("an open WebSocket");
    assert_eq!(next(&mut socket).await, Message::text(r#"{"type":"rep","id":1,"payload":3,"more":false}"#));
    // The other kind is taken, too. r[transport.websocket.kind.accept]
    socket.send(Message::binary(call.replace(":1,", ":2,"))).await.expect("an open WebSocket");
    assert!(matches!(next(&mut socket).await, Message::Text(text) if text.contains("\"id\":2")));

    let (mut socket, _peer) = by_hand(Message::binary("SIMPLEX/1.0;msgpack")).await;
    assert_eq!(next(&mut socket).await, Message::text("+OK"));
    let call: &[u8] = b"\x84\xa4type\xa3req\xa2id\x01\xa6method\xa3add\xa7payload\x92\x01\x02";
    socket.send(Message::binary(call)).await.expect("an open WebSocket");
    assert!(matches!(next(&mut socket).await, Message::Binary(_)));
}

// r[transport.websocket.keepalive]
#[tokio::test]
async fn an_empty_text_is_a_keepalive_both_ways() {
    let (mut socket, peer) = by_hand(Message::text("SIMPLEX/1.0;json")).await;
    assert_eq!(next(&mut socket).await, Message::text("+OK"));
    let peer = peer.await.expect("no panic").expect("a greeting");
    peer.keepalive().expect("an open connection");
    assert_eq!(next(&mut socket).await, Message::text(""));
    socket.send(Message::text("")).await.expect("an open WebSocket");
    socket.send(Message::text(r#"{"type":"req","id":1,"method":"add","payload":[1,2]}"#)).await.expect("an open WebSocket");
    assert!(matches!(next(&mut socket).await, Message::Text(_)));
    // r[transport.websocket.close]
    peer.close();
    assert_eq!(close_code(&mut socket).await, CloseCode::Normal);
}

// r[limit.outbound-bytes]
#[tokio::test]
async fn pings_of_a_side_that_does_not_read_are_not_all_answered() {
    let (mut socket, _peer) = by_hand(Message::text("SIMPLEX/1.0;json")).await;
    let (ping, count) = (Message::Ping(vec![0; 125].into()), 160_000);
    for _ in 0..count / 1000 {
        for _ in 0..1000 {
            socket.feed(ping.clone()).await.expect("an open WebSocket");
        }
        socket.flush().await.expect("an open WebSocket");
    }
    // More than may wait to be written was sent, and the last pong that does comes before the answer to a call.
    socket.send(Message::text(r#"{"type":"req","id":1,"method":"add","payload":[1,2]}"#)).await.expect("an open WebSocket");
    let mut pongs = 0;
    while !matches!(next(&mut socket).await, Message::Text(text) if text.contains("\"id\":1")) {
        pongs += 1;
    }
    assert!(pongs < count - 20_000, "{pongs} pings were answered");
}

// r[transport.websocket.close]
#[tokio::test]
async fn close_codes_say_why() {
    let call = r#"{"type":"req","id":1,"method":"add","payload":[1,2]}"#;
    let (mut socket, peer) = by_hand(Message::text("SIMPLEX/1.0;json")).await;
    assert_eq!(next(&mut socket).await, Message::text("+OK"));
    socket.send(Message::text(call)).await.expect("an open WebSocket");
    socket.send(Message::text("[]")).await.expect("an open WebSocket");
    // What is due is answered first.
    assert!(matches!(next(&mut socket).await, Message::Text(_)));
    assert_eq!(close_code(&mut socket).await, CloseCode::Protocol);
    let peer = peer.await.expect("no panic").expect("a greeting");
    assert!(matches!(peer.end_reason(), Some(EndReason::Undecodable(_))));

    let (mut socket, peer) = by_hand(Message::text("SIMPLEX/1.0;json")).await;
    assert_eq!(next(&mut socket).await, Message::text("+OK"));
    // The write fails where the peer closes before all of it was read.
    _ = socket.send(Message::text("x".repeat((1 << 20) + 1))).await;
    let code = close_code(&mut socket).await;
    assert_eq!(code, CloseCode::Size);
    let peer = peer.await.expect("no panic").expect("a greeting");
    assert_eq!(peer.end_reason(), Some(EndReason::TooLong(1 << 20)));
}

#[tokio::test]
async fn a_websocket_that_ends_ends_its_calls() {
    let (here, there) = tokio::io::duplex(64 * 1024);
    let accepting = async {
        let mut socket = tokio_tungstenite::accept_async(there).await.expect("a WebSocket");
        assert_eq!(next(&mut socket).await, Message::text("SIMPLEX/1.0;json"));
        socket.send(Message::text("+OK")).await.expect("an open WebSocket");
        assert!(matches!(next(&mut socket).await, Message::Text(_)));
        socket.close(None).await.expect("an open WebSocket");
        while socket.next().await.is_some() {}
    };
    let calling = async {
        let transport = Transport::open_websocket(here, "ws://peer/", &WebSocketOptions::default()).await.expect("a WebSocket");
        let peer = Rpc::new().handshake(transport).await.expect("an answer");
        let lost = peer.call::<_, i64>("add", &(1, 2)).await;
        assert!(matches!(lost, Err(duplex_peer::Error::Closed)));
        peer.closed().await;
    };
    tokio::join!(accepting, calling);
}

/// Listens on an address with the path `/rpc`.
async fn listening(rpc: Rpc) -> (String, mpsc::UnboundedReceiver<Result<Peer, Error>>) {
    let listener = "ws://127.0.0.1:0/rpc".parse::<Address>().expect("an address").listen().await.expect("a free port");
    let address = listener.address().to_string();
    let (told, hears) = mpsc::unbounded_channel();
    tokio::spawn(rpc.serve(listener, Framing::Length, move |taken| _ = told.send(taken)));
    (address, hears)
}

// The clock stands still unless everybody waits.
#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_on_a_websocket_is_not_waited_for() {
    let (address, mut hears) = listening(server()).await;
    let host = address.trim_start_matches("ws://").trim_end_matches("/rpc");
    let _silent = TcpStream::connect(host).await.expect("a connection");
    let taken = hears.recv().await.expect("an attempt");
    assert!(matches!(taken, Err(Error::Greeting(EndReason::GreetingTimeout))), "{taken:?}");

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = format!("ws://{}/rpc", silent.local_addr().expect("an address")).parse().expect("an address");
    let opened = Rpc::new().connect(&address, Framing::Length).await;
    assert!(matches!(opened, Err(Error::Greeting(EndReason::GreetingTimeout))), "{opened:?}");
}

#[tokio::test]
async fn a_listener_takes_its_path_alone() {
    let (address, _hears) = listening(server()).await;
    for (path, is_taken) in [("/rpc", true), ("/rpc?room=3", true), ("/", false), ("/rpc/", false), ("/rp", false)] {
        let address = address.replace("/rpc", path).parse().expect("an address");
        match Rpc::new().connect(&address, Framing::Length).await {
            Ok(_) => assert!(is_taken, "{path}"),
            Err(error) => assert!(!is_taken && error.to_string().contains("404"), "{path}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_websocket_takes_frames_up_to_the_limit_of_its_peers() {
    let mut limits = Limits::default();
    limits.frame = 3 << 20;
    let echoing = Rpc::new().with_limits(limits.clone());
    echoing.register_fn("echo", |text: String| async move { Ok::<_, BoxError>(text) }).expect("a free name");
    let (address, _hears) = listening(echoing).await;
    let client = Rpc::new().with_limits(limits);
    let client = client.connect(&address.parse().expect("an address"), Framing::Length).await.expect("an answer");
    let text = "x".repeat(2 << 20);
    assert!(client.call::<_, String>("echo", &text).await.expect("the text") == text);
}

// r[transport.websocket.origin]
#[tokio::test]
async fn pages_are_taken_from_allowed_origins_only() {
    let default = WebSocketOptions::default();
    let one = default.clone().allow_origin("https://example.org");
    let any = default.clone().allow_any_origin();
    let cases = [
        (&default, None, true),
        (&default, Some("https://example.org"), false),
        (&one, Some("https://example.org"), true),
        (&one, Some("https://example.com"), false),
        (&one, Some("null"), false),
        (&any, Some("https://example.com"), true),
    ];
    for (options, origin, is_taken) in cases {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let mut request = "ws://peer/".into_client_request().expect("a request");
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().expect("a header"));
        }
        let (accepted, opened) =
            tokio::join!(Transport::accept_websocket(there, options), tokio_tungstenite::client_async(request, here));
        assert_eq!(accepted.is_ok(), is_taken, "{origin:?}");
        match opened {
            Ok(_) => assert!(is_taken),
            Err(RawError::Http(response)) => assert_eq!(response.status().as_u16(), 403),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
#[should_panic(expected = "a stream of bytes has no messages")]
fn a_stream_of_bytes_has_no_framing_by_messages() {
    _ = Transport::pair(Framing::Message, 4096);
}

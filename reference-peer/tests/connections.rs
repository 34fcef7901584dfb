//! What a peer, a handler and a hook know of the connection that they are on.

use std::sync::Arc;
use std::time::Duration;

use duplex_peer::middleware::{Authentication, Identity};
use duplex_peer::{
    Address, BoxError, Call, Channel, Code, ConnectionId, EndReason, Error, Framing, Hook, Json, Limits, MessagePack, Peer, Raw,
    Role, Rpc, Transport, TransportKind,
};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

/// Listens on an address, connects to it, greets.
async fn meet(address: &str) -> (Peer, Peer) {
    let listener = address.parse::<Address>().expect("an address").listen().await.expect("a free address");
    let address = listener.address().clone();
    let (told, mut hears) = mpsc::unbounded_channel();
    tokio::spawn(Rpc::new().serve(listener, Framing::Length, move |taken| _ = told.send(taken)));
    let client = Rpc::new().connect(&address, Framing::Length).await.expect("an answer");
    (client, hears.recv().await.expect("a connection").expect("a greeting"))
}

#[tokio::test]
async fn both_sides_know_their_part_and_what_was_agreed() {
    let initiator = Rpc::new().with_codecs(vec![Arc::new(MessagePack), Arc::new(Json)]);
    let (client, served) = join(&initiator, &Rpc::new()).await;
    let (ours, theirs) = (client.info(), served.info());
    assert_eq!((ours.role(), theirs.role()), (Role::Initiator, Role::Acceptor));
    for info in [&ours, &theirs] {
        // Not the first of the acceptor's own.
        assert_eq!(info.codec(), "msgpack");
        assert_eq!((info.framing(), info.transport()), (Framing::Length, TransportKind::Memory));
        assert_eq!((info.remote(), info.local(), info.process()), (None, None, None));
    }
    assert_ne!(ours.id(), theirs.id());
    assert_eq!(ours.to_string(), format!("connection {}: msgpack over memory, to the other side", ours.id()));
}

#[tokio::test]
async fn addresses_are_those_of_the_system() {
    for (address, kind) in [("tcp://127.0.0.1:0", TransportKind::Tcp), ("ws://127.0.0.1:0/rpc", TransportKind::WebSocket)] {
        let (client, served) = meet(address).await;
        let (ours, theirs) = (client.info(), served.info());
        assert_eq!((ours.transport(), theirs.transport()), (kind, kind));
        assert!(ours.local().is_some() && theirs.local().is_some());
        assert_eq!((ours.local(), ours.remote()), (theirs.remote(), theirs.local()));
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_tells_who_is_at_the_other_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_client, served) = meet(&format!("unix:{}", folder.path().join("peer.sock").display())).await;
    let info = served.info();
    let owner = std::os::unix::fs::MetadataExt::uid(&folder.path().metadata().expect("a folder"));
    assert_eq!(info.transport(), TransportKind::Unix);
    assert_eq!(info.credentials().map(|user| user.uid()), Some(owner));
    assert_eq!(info.process(), info.credentials().and_then(|user| user.pid()).and_then(|id| u32::try_from(id).ok()));
}

#[cfg(unix)]
#[tokio::test]
async fn a_child_has_a_process() {
    let child: Address = r#"exec:sh -c "read greeting; echo +OK; read more""#.parse().expect("an address");
    let peer = Rpc::new().connect(&child, Framing::Newline).await.expect("an answer");
    assert_eq!(peer.info().transport(), TransportKind::Child);
    let process = peer.info().process().expect("a running program");
    assert!(peer.info().to_string().ends_with(&format!("json over child, to process {process}")));
}

/// What a transport of TLS would know of the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Certificate(&'static str);

#[tokio::test]
async fn a_judge_and_a_handler_find_what_the_transport_knows() {
    let judge = |_: Option<&Raw>, call: &Call| {
        let Certificate(name) = call.connection().info()?.value()?;
        Some(name)
    };
    let server = Rpc::new().with_hook(Authentication::new(judge));
    server
        .register("whoami", |channel: Channel| async move {
            let Identity(who): Identity<&str> = channel.shared().and_then(Call::value).ok_or("not judged")?;
            let info = channel.peer().info();
            Ok(channel.send_last(&(who, info.transport().to_string(), info.remote())).await?)
        })
        .expect("a free name");
    let client = Rpc::new();
    let (here, there) = tokio::io::duplex(4096);
    let address = "192.0.2.1:4433".parse().expect("an address");
    let there = Transport::new(there, Framing::Length)
        .with_kind(TransportKind::Other("tls"))
        .with_remote(address)
        .with_value(Certificate("ada"));
    let joined = tokio::try_join!(client.handshake(Transport::new(here, Framing::Length)), server.accept(there));
    let (peer, served) = joined.expect("two peers of one kind");
    let told: (String, String, Option<std::net::SocketAddr>) = peer.call("whoami", &()).await.expect("a name");
    assert_eq!(told, ("ada".to_owned(), "tls".to_owned(), Some(address)));
    // Taken away, it counts for no further call.
    assert_eq!(served.info().remove(), Some(Certificate("ada")));
    let refused = peer.call::<_, ()>("whoami", &()).await;
    assert!(matches!(refused, Err(Error::Remote(error)) if error.code == Code::UNAUTHENTICATED));
}

/// Tells what is known of connections when they end.
struct Log(mpsc::UnboundedSender<(ConnectionId, Option<String>)>);

impl Hook for Log {
    fn disconnected(&self, connection: ConnectionId) {
        _ = self.0.send((connection, connection.info().map(|info| info.to_string())));
    }
}

#[tokio::test]
async fn a_connection_is_known_to_hooks_up_to_its_end_and_to_nobody_after() {
    let (told, mut hears) = mpsc::unbounded_channel();
    let server = Rpc::new().with_hook(Log(told));
    let (client, served) = join(&Rpc::new(), &server).await;
    client.close();
    served.closed().await;
    let (id, line) = hears.recv().await.expect("an end");
    assert_eq!(line, Some(format!("connection {id}: json over memory, from the other side")));
    assert_eq!(id.info().map(|info| info.id()), Some(id));
    drop(served);
    // The tasks of the connection let go of it last.
    while id.info().is_some() {
        tokio::task::yield_now().await;
    }
    // One that was never greeted is known too.
    let (mut here, there) = tokio::io::duplex(4096);
    here.write_all(b"HELLO\n").await.expect("an open pipe");
    let refused = server.accept(Transport::new(there, Framing::Newline)).await;
    assert!(matches!(refused, Err(Error::Greeting(_))));
    drop(here);
    let (id, line) = hears.recv().await.expect("an end");
    assert_eq!(line, Some(format!("connection {id}: json over custom, from the other side")));
}

#[tokio::test]
async fn values_are_kept_one_of_each_type() {
    let (client, _served) = join(&Rpc::new(), &Rpc::new()).await;
    let info = client.info();
    assert_eq!((info.insert(1_u8), info.insert("text"), info.insert(2_u8)), (None, None, Some(1)));
    assert_eq!((info.value::<u8>(), info.value::<&str>(), info.value::<u16>()), (Some(2), Some("text"), None));
    assert_eq!((info.remove::<u8>(), info.value::<u8>()), (Some(2), None));
}

#[test]
fn a_runtime_without_a_timer_is_told_to_the_caller_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let greeting = std::panic::AssertUnwindSafe(|| runtime.block_on(join(&Rpc::new(), &Rpc::new())));
    assert!(std::panic::catch_unwind(greeting).is_err());
}

#[tokio::test(start_paused = true)]
async fn all_connections_of_an_rpc_can_be_shut_down() {
    let limit = Duration::from_secs(10);
    let may_end = Arc::new(Semaphore::new(0));
    let server = Rpc::new();
    let waits = Arc::clone(&may_end);
    let slow = move |n: i64| {
        let waits = Arc::clone(&waits);
        async move {
            waits.acquire().await?.forget();
            Ok::<_, BoxError>(n)
        }
    };
    server.register_fn("slow", slow).expect("a free name");
    // One that was told to a clone, one that has nothing to do, and one that never says who it is.
    let (client, served) = join(&Rpc::new(), &server.clone().with_limits(Limits::default())).await;
    let (_idle, idle) = join(&Rpc::new(), &server).await;
    let (_silent, there) = Transport::pair(Framing::Length, 4096);
    let greeting = tokio::spawn({
        let server = server.clone();
        async move { server.accept(there).await }
    });
    let call = tokio::spawn(async move { client.call::<_, i64>("slow", &7).await });
    while served.counts().handlers < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.connections(), 2);
    assert_eq!(server.peers().iter().map(|peer| peer.info().id()).collect::<Vec<_>>(), [served.info().id(), idle.info().id()]);
    let closing = tokio::spawn({
        let server = server.clone();
        async move { server.shutdown(limit).await }
    });
    idle.closed().await;
    assert!(matches!(greeting.await.expect("no panic"), Err(Error::Greeting(EndReason::Local))));
    assert!(served.is_open(), "its call is not answered yet");
    may_end.add_permits(1);
    closing.await.expect("no panic");
    assert_eq!(call.await.expect("no panic").expect("an answer"), 7);
    assert_eq!((server.connections(), served.end_reason()), (0, Some(EndReason::Local)));
}

#[tokio::test(start_paused = true)]
async fn a_greeting_that_is_given_up_leaves_no_connection() {
    let (one, other) = (Rpc::new(), Rpc::new());
    let (here, there) = Transport::pair(Framing::Length, 4096);
    let handshake = one.handshake(here);
    assert!(tokio::time::timeout(Duration::from_secs(1), handshake).await.is_err());
    // The offer was made, and is answered: nobody is there to hear it.
    let peer = other.accept(there).await.expect("a greeting");
    tokio::time::timeout(Duration::from_secs(60), peer.closed()).await.expect("an end");
    assert_eq!(peer.end_reason(), Some(EndReason::Remote));

    let (here, there) = Transport::pair(Framing::Length, 4096);
    assert!(tokio::time::timeout(Duration::from_secs(1), other.accept(there)).await.is_err());
    assert!(matches!(one.handshake(here).await, Err(Error::Greeting(EndReason::Remote))));
    assert_eq!((one.connections(), other.connections()), (0, 0));
}

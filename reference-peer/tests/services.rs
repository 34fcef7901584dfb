//! Calls as `tower` services: layers of that crate around calls of both directions.

use std::sync::Arc;
use std::time::Duration;

use duplex_peer::{BoxError, CallRequest, Channel, Error, Framing, Peer, Raw, RemoteError, Rpc, ServedCall, Transport};
use tokio::sync::Semaphore;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

async fn join(initiator: &Rpc, acceptor: &Rpc) -> (Peer, Peer) {
    let (here, there) = Transport::pair(Framing::Length, 4096);
    tokio::try_join!(initiator.handshake(here), acceptor.accept(there)).expect("two peers of one kind understand each other")
}

#[tokio::test]
async fn a_layer_sheds_what_is_too_much() {
    let (started, release) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let slow = service_fn({
        let (started, release) = (Arc::clone(&started), Arc::clone(&release));
        move |call: ServedCall| {
            let (started, release) = (Arc::clone(&started), Arc::clone(&release));
            async move {
                started.add_permits(1);
                release.acquire().await?.forget();
                // A service reaches back through the connection that the call is on.
                let answer: String = call.peer.call("name", &()).await?;
                Ok::<Raw, BoxError>(Raw::encode(call.argument.format(), &(answer, call.argument.decode::<i64>()?))?)
            }
        }
    });
    let rpc = Rpc::new();
    let guarded =
        ServiceBuilder::new().map_err(|_: BoxError| RemoteError::new(503, "busy")).load_shed().concurrency_limit(1).service(slow);
    rpc.register_service("slow", guarded).expect("a free name");
    let caller = Rpc::new();
    caller.register_fn("name", |(): ()| async { Ok::<_, BoxError>("caller") }).expect("a free name");
    let (client, _served) = join(&caller, &rpc).await;
    let first = tokio::spawn({
        let client = client.clone();
        async move { client.call::<_, (String, i64)>("slow", &1).await }
    });
    started.acquire().await.expect("open").forget();
    let second = client.call::<_, (String, i64)>("slow", &2).await;
    assert!(matches!(second, Err(Error::Remote(error)) if error.code.0 == 503));
    release.add_permits(2);
    assert_eq!(first.await.expect("no panic").expect("a result"), ("caller".to_owned(), 1));
    assert_eq!(client.call::<_, (String, i64)>("slow", &3).await.expect("room again"), ("caller".to_owned(), 3));
}

#[tokio::test(start_paused = true)]
async fn a_layer_gives_calls_up() {
    let rpc = Rpc::new();
    rpc.register("never", |_channel: Channel| std::future::pending()).expect("a free name");
    let (client, served) = join(&Rpc::new(), &rpc).await;
    let mut service = ServiceBuilder::new().timeout(Duration::from_secs(5)).service(client.service());
    let request = CallRequest::new(client.format(), "never", &()).expect("null");
    let given_up = service.ready().await.expect("an open connection").call(request.clone()).await;
    assert!(given_up.is_err_and(|error| error.is::<tower::timeout::error::Elapsed>()));
    assert_eq!(client.counts().outgoing, 0);
    served.close();
    client.closed().await;
    let closed = service.ready().await.expect_err("a closed connection");
    assert!(matches!(closed.downcast_ref::<Error>(), Some(Error::Closed)));
}

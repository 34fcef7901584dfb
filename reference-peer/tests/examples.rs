//! The two example programs that talk to each other, as they stand. The third tests itself.

use duplex_peer::{Address, Framing, Rpc};

#[path = "../examples/client.rs"]
#[expect(dead_code, reason = "its `main` dials an address")]
mod client;
#[path = "../examples/server.rs"]
#[expect(dead_code, reason = "its `main` serves for ever")]
mod server;

#[tokio::test]
async fn the_client_talks_to_the_server() {
    let service = server::service().expect("names of its own");
    let listener = "tcp://127.0.0.1:0".parse::<Address>().expect("an address").listen().await.expect("a free port");
    let address = listener.address().clone();
    tokio::spawn(service.serve(listener, Framing::Length, |_| ()));
    let peer = Rpc::new().connect(&address, Framing::Length).await.expect("a greeting");
    let said = client::talk(&peer).await.expect("answers");
    assert_eq!(said, ["1 + 2 = 3", "3", "2", "1", "0", "Bonjour, Ada!"]);
    assert_eq!(peer.counts().callbacks, 0);
}

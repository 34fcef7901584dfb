//! jsonrpsee over a WebSocket. A server cannot call its client; a subscription is its stream.

use std::sync::Arc;

use jsonrpsee::core::SubscriptionResult;
use jsonrpsee::core::client::{ClientT, SubscriptionClientT};
use jsonrpsee::server::Server;
use jsonrpsee::ws_client::{WsClient, WsClientBuilder};
use jsonrpsee::{RpcModule, rpc_params};

pub type Client = Arc<WsClient>;

pub async fn client() -> Client {
    let server = Server::builder().build("127.0.0.1:0").await.expect("a port");
    let address = server.local_addr().expect("a bound socket has an address");
    tokio::spawn(server.start(module()).stopped());
    let client = WsClientBuilder::default()
        .max_concurrent_requests(4096)
        .max_buffer_capacity_per_subscription(1 << 20)
        .build(format!("ws://{address}"))
        .await;
    Arc::new(client.expect("the server above"))
}

fn module() -> RpcModule<()> {
    let mut module = RpcModule::new(());
    let sum = |params: jsonrpsee::types::Params<'_>, _: &(), _: &_| {
        let (a, b): (u64, u64) = params.parse().expect("two numbers");
        a + b
    };
    module.register_method("sum", sum).expect("a new name");
    let echo = |params: jsonrpsee::types::Params<'_>, _: &(), _: &_| params.one::<String>().expect("a text");
    module.register_method("echo", echo).expect("a new name");
    module
        .register_subscription("range", "item", "unrange", |params, pending, _, _| async move {
            let n: u64 = params.one().expect("a number");
            let sink = pending.accept().await?;
            for i in 1..=n {
                sink.send(serde_json::value::to_raw_value(&i)?).await?;
            }
            SubscriptionResult::Ok(())
        })
        .expect("a new name");
    module
}

pub async fn sum(client: &Client, n: usize, c: usize) -> f64 {
    super::drive(n, c, |i| {
        let client = client.clone();
        async move { client.request::<u64, _>("sum", rpc_params![i, 2u64]).await.expect("a sum") }
    })
    .await
}

pub async fn echo(client: &Client, text: &str, n: usize, c: usize) -> f64 {
    super::drive(n, c, |_| {
        let client = client.clone();
        async move { client.request::<String, _>("echo", rpc_params![text]).await.expect("the text").len() as u64 }
    })
    .await
}

pub async fn range(client: &Client, n: usize) -> f64 {
    let start = std::time::Instant::now();
    let mut items = client.subscribe::<u64, _>("range", rpc_params![n as u64], "unrange").await.expect("a subscription");
    for _ in 0..n {
        std::hint::black_box(items.next().await.expect("an item").expect("a number"));
    }
    n as f64 / start.elapsed().as_secs_f64()
}

//! tarpc with JSON over TCP. It has no streams and no calls back.

use futures::{StreamExt, future};
use tarpc::server::{BaseChannel, Channel};
use tarpc::{client, context};
use tokio_serde::formats::Json;

#[tarpc::service]
pub trait Service {
    async fn sum(a: u64, b: u64) -> u64;
    async fn echo(text: String) -> String;
}

#[derive(Clone)]
struct Served;

impl Service for Served {
    async fn sum(self, _: context::Context, a: u64, b: u64) -> u64 {
        a + b
    }

    async fn echo(self, _: context::Context, text: String) -> String {
        text
    }
}

pub async fn client() -> ServiceClient {
    let mut listener = tarpc::serde_transport::tcp::listen("127.0.0.1:0", Json::default).await.expect("a port");
    let address = listener.local_addr();
    listener.config_mut().max_frame_length(usize::MAX);
    tokio::spawn(async move {
        listener
            .filter_map(|accepted| future::ready(accepted.ok()))
            .map(BaseChannel::with_defaults)
            .for_each_concurrent(None, |channel| {
                channel.execute(Served.serve()).for_each(|call| async {
                    tokio::spawn(call);
                })
            })
            .await;
    });
    let mut connecting = tarpc::serde_transport::tcp::connect(address, Json::default);
    connecting.config_mut().max_frame_length(usize::MAX);
    let transport = connecting.await.expect("the listener above");
    let mut config = client::Config::default();
    config.max_in_flight_requests = 4096;
    config.pending_request_buffer = 4096;
    ServiceClient::new(config, transport).spawn()
}

pub async fn sum(client: &ServiceClient, n: usize, c: usize) -> f64 {
    super::drive(n, c, |i| {
        let client = client.clone();
        async move { client.sum(context::current(), i, 2).await.expect("a sum") }
    })
    .await
}

pub async fn echo(client: &ServiceClient, text: &str, n: usize, c: usize) -> f64 {
    super::drive(n, c, |_| {
        let client = client.clone();
        async move { client.echo(context::current(), text.to_owned()).await.expect("the text").len() as u64 }
    })
    .await
}

//! tonic: protobuf over HTTP/2. A server cannot call its client.

use futures::StreamExt;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

mod pb {
    tonic::include_proto!("echo");
}

use pb::echo_client::EchoClient;
use pb::echo_server::{Echo, EchoServer};
use pb::{Add, Blob, Count, Sum};

struct Served;

#[tonic::async_trait]
impl Echo for Served {
    async fn sum(&self, request: Request<Add>) -> Result<Response<Sum>, Status> {
        let Add { a, b } = request.into_inner();
        Ok(Response::new(Sum { sum: a + b }))
    }

    async fn echo(&self, request: Request<Blob>) -> Result<Response<Blob>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    type RangeStream = futures::stream::BoxStream<'static, Result<Sum, Status>>;

    async fn range(&self, request: Request<Count>) -> Result<Response<Self::RangeStream>, Status> {
        let items = futures::stream::iter((1..=request.into_inner().n).map(|sum| Ok(Sum { sum })));
        Ok(Response::new(Box::pin(items)))
    }
}

pub type Client = EchoClient<Channel>;

pub async fn client() -> Client {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("a bound socket has an address");
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(Server::builder().add_service(EchoServer::new(Served)).serve_with_incoming(incoming));
    EchoClient::connect(format!("http://{address}")).await.expect("the listener above")
}

pub async fn sum(client: &Client, n: usize, c: usize) -> f64 {
    super::drive(n, c, |i| {
        let mut client = client.clone();
        async move { client.sum(Add { a: i.cast_signed(), b: 2 }).await.expect("a sum").into_inner().sum.cast_unsigned() }
    })
    .await
}

pub async fn echo(client: &Client, text: &str, n: usize, c: usize) -> f64 {
    super::drive(n, c, |_| {
        let mut client = client.clone();
        async move { client.echo(Blob { data: text.to_owned() }).await.expect("the text").into_inner().data.len() as u64 }
    })
    .await
}

pub async fn range(client: &Client, n: usize) -> f64 {
    let start = std::time::Instant::now();
    let mut client = client.clone();
    let mut items = client.range(Count { n: i64::try_from(n).expect("few items") }).await.expect("a stream").into_inner();
    let mut seen = 0;
    while let Some(item) = items.next().await {
        std::hint::black_box(item.expect("an item").sum);
        seen += 1;
    }
    assert_eq!(seen, n);
    n as f64 / start.elapsed().as_secs_f64()
}

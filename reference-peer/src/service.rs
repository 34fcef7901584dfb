//! Calls as `tower` services, in both directions: what wraps a service there, such as a timeout or a limit, wraps calls here.
//!
//! A service takes one value and gives one. Streams have no such form: they stay with [`crate::Channel`].

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use duplex_proto::{Ext, Format, Raw};
use serde::Serialize;
use tower_service::Service;

use crate::call::Call;
use crate::channel::Channel;
use crate::error::{BoxError, Error};
use crate::peer::Peer;

/// A call that is to be made: what [`PeerService`] takes.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// The method.
    pub method: Arc<str>,
    /// The argument.
    pub argument: Raw,
    /// The ext.
    pub ext: Option<Ext>,
}

/// A call of the other peer: what a service that is registered takes.
///
/// An argument that does not fit is [`Error::Argument`] of what [`Raw::decode`] says, which the caller is told as -32602; every other
/// error is -32603 to it. A call back goes through `peer`, which knows nothing of this call: `peer.request(name).ext_map(&ext)` takes
/// the ext along.
#[derive(Clone, Debug)]
pub struct ServedCall {
    /// The method.
    pub method: Arc<str>,
    /// The argument.
    pub argument: Raw,
    /// The ext of the call.
    pub ext: Option<Ext>,
    /// What hooks know of the call. `None` without hooks.
    pub call: Option<Arc<Call>>,
    /// The connection that the call is on.
    pub peer: Peer,
}

/// A connection as a service: calls go out, results come back.
///
/// ```
/// use std::time::Duration;
///
/// use duplex_peer::{BoxError, CallRequest, Framing, Rpc, Transport};
/// use tower::{Service, ServiceBuilder, ServiceExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new();
/// server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
///
/// let mut service =
///     ServiceBuilder::new().concurrency_limit(8).timeout(Duration::from_secs(5)).service(client.service());
/// let request = CallRequest::new(client.format(), "add", &(1, 2))?;
/// let sum: i64 = service.ready().await?.call(request).await?.decode()?;
/// assert_eq!(sum, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PeerService {
    peer: Peer,
}

impl CallRequest {
    /// A call with this argument, without ext.
    ///
    /// # Errors
    /// When the argument has no encoding.
    pub fn new<A: Serialize + ?Sized>(format: Format, method: &str, argument: &A) -> Result<Self, Error> {
        Ok(Self { method: method.into(), argument: Raw::encode(format, argument)?, ext: None })
    }
}

impl PeerService {
    pub(crate) fn new(peer: Peer) -> Self {
        Self { peer }
    }
}

impl Service<CallRequest> for PeerService {
    type Response = Raw;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Raw, Error>> + Send>>;

    /// Ready as long as the connection is open; how much may be under way, the layers around say.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(if self.peer.is_open() { Ok(()) } else { Err(Error::Closed) })
    }

    fn call(&mut self, request: CallRequest) -> Self::Future {
        let mut call = self.peer.request(&request.method);
        if let Some(ext) = &request.ext {
            call = call.ext_map(ext);
        }
        Box::pin(async move { call.call_raw(&request.argument).await })
    }
}

/// A handler of the calls that a service takes.
pub(crate) fn handler<S>(service: S) -> impl crate::handler::Handler
where
    S: Service<ServedCall, Response = Raw> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
{
    move |mut channel: Channel| {
        let mut service = service.clone();
        async move {
            let argument = channel.argument_raw().await?;
            let served = ServedCall {
                method: channel.method(),
                argument,
                ext: channel.ext(),
                call: channel.shared_call(),
                peer: channel.peer(),
            };
            poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
            let result = service.call(served).await.map_err(Into::into)?;
            Ok(channel.send_raw(&result, false).await?)
        }
    }
}

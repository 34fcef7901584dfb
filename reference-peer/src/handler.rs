//! What serves a method: a function of a channel. How its end becomes a reply is decided in `channel`.

use std::future::Future;
use std::pin::Pin;

use duplex_proto::{Code, RemoteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::Channel;
use crate::error::{BoxError, Error};

/// Serves a method. Functions from [`Channel`] to a future are handlers.
pub trait Handler: Send + Sync + 'static {
    /// Serves one call. The channel gives the arguments and takes the results.
    fn serve(&self, channel: Channel) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
}

impl<F, Fut> Handler for F
where
    F: Fn(Channel) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    fn serve(&self, channel: Channel) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> {
        Box::pin(self(channel))
    }
}

/// A handler of one value that returns one value.
pub(crate) fn unary<A, R, E, F, Fut>(function: F) -> impl Handler
where
    A: DeserializeOwned + Send + 'static,
    R: Serialize + Send + Sync + 'static,
    E: Into<BoxError> + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    move |mut channel: Channel| {
        let function = function.clone();
        async move {
            let argument = match channel.argument().await {
                Ok(argument) => argument,
                // r[error.payload-unfit]
                Err(Error::Decode(_)) => return Err(RemoteError::of(Code::INVALID_PAYLOAD).into()),
                Err(error) => return Err(error.into()),
            };
            let result = function(argument).await.map_err(Into::into)?;
            channel.send_last(&result).await?;
            Ok(())
        }
    }
}

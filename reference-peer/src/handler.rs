//! What serves a method: a function of a channel, or of a value. How its end becomes a reply is decided in `channel`.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use duplex_proto::Raw;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::Channel;
use crate::error::{BoxError, Error};

/// Serves a method. Functions from [`Channel`] to a future are handlers.
///
/// A handler may wait for as long as it likes, and must not block its thread meanwhile, like any task of tokio: what computes
/// for long belongs into `tokio::task::spawn_blocking`. The connection reads on while a handler waits.
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

/// What a handler of one value will have made of it: an encoded result, or why there is none.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Raw, BoxError>> + Send>>;

/// A handler that needs no channel where its argument has come whole.
pub(crate) trait ValueHandler: Handler {
    /// Serves a call of this argument, once it is polled.
    fn answer(self: Arc<Self>, argument: Raw) -> Answer;
}

/// What is registered under a name.
#[derive(Clone)]
pub(crate) enum Method {
    Channel(Arc<dyn Handler>),
    Value(Arc<dyn ValueHandler>),
}

impl Method {
    pub(crate) fn of(handler: impl Handler) -> Self {
        Self::Channel(Arc::new(handler))
    }

    /// A function of one value that returns one value.
    pub(crate) fn of_value<A, R, E, F, Fut>(function: F) -> Self
    where
        A: DeserializeOwned + Send + 'static,
        R: Serialize + Send + Sync + 'static,
        E: Into<BoxError> + Send + 'static,
        F: Fn(A) -> Fut + Send + Sync + Clone + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
    {
        Self::Value(Arc::new(Unary { function, argument: PhantomData }))
    }

    pub(crate) fn handler(self) -> Arc<dyn Handler> {
        match self {
            Self::Channel(handler) => handler,
            Self::Value(handler) => handler,
        }
    }
}

struct Unary<A, F> {
    function: F,
    argument: PhantomData<fn(A)>,
}

impl<A, R, E, F, Fut> Handler for Unary<A, F>
where
    A: DeserializeOwned + Send + 'static,
    R: Serialize + Send + Sync + 'static,
    E: Into<BoxError> + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    fn serve(&self, mut channel: Channel) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> {
        let function = self.function.clone();
        Box::pin(async move {
            let argument = channel.argument_raw().await?;
            let result = function(fitting(&argument)?).await.map_err(Into::into)?;
            Ok(channel.send_last(&result).await?)
        })
    }
}

impl<A, R, E, F, Fut> ValueHandler for Unary<A, F>
where
    A: DeserializeOwned + Send + 'static,
    R: Serialize + Send + Sync + 'static,
    E: Into<BoxError> + Send + 'static,
    F: Fn(A) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    fn answer(self: Arc<Self>, argument: Raw) -> Answer {
        Box::pin(async move {
            let format = argument.format();
            let fitting = fitting(&argument)?;
            drop(argument);
            let result = (self.function)(fitting).await.map_err(Into::into)?;
            Ok(Raw::encode(format, &result)?)
        })
    }
}

/// r[error.payload-unfit]
fn fitting<A: DeserializeOwned>(argument: &Raw) -> Result<A, Error> {
    argument.decode().map_err(Error::Argument)
}

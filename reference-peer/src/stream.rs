//! Channels as `Stream` and `Sink`, for whoever composes with those.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use duplex_proto::{DecodeError, Raw};
use futures_core::Stream;
use futures_sink::Sink;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::channel::{Channel, Sender};
use crate::error::Error;

type Busy<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The channel comes back with what was read from it.
type ReadBack = (Box<Channel>, Result<Option<Raw>, Error>);

/// The items of a channel, in order.
///
/// ```
/// use duplex_peer::{BoxError, Channel, Framing, Rpc, Transport};
/// use futures_util::{SinkExt, StreamExt, TryStreamExt};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new();
/// server.register("double", |channel: Channel| async move {
///     let results = channel.sender().into_sink();
///     Ok(channel.into_stream::<i64>().map_ok(|number| 2 * number).forward(results).await?)
/// })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
///
/// let channel = client.open("double");
/// let mut arguments = channel.sender().into_sink();
/// for number in [1, 2, 3] {
///     arguments.send(number).await?;
/// }
/// arguments.close().await?;
/// let doubled: Vec<i64> = channel.into_stream::<i64>().try_collect().await?;
/// assert_eq!(doubled, [2, 4, 6]);
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Items<T> {
    reader: Reader,
    unfit: fn(DecodeError) -> Error,
    item: PhantomData<fn() -> T>,
}

/// Takes items and sends them. It is ready again once an item waits to be written.
#[must_use = "a sink does nothing unless it is polled"]
pub struct ItemSink<T> {
    writer: Writer,
    item: PhantomData<fn(T)>,
}

impl<T> Items<T> {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { unfit: channel.unfit(), reader: Reader::new(channel), item: PhantomData }
    }
}

impl<T: DeserializeOwned> Stream for Items<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.reader.poll_next(cx));
        Poll::Ready(item.map(|item| item?.decode().map_err(self.unfit)))
    }
}

impl<T> ItemSink<T> {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { writer: Writer::new(sender), item: PhantomData }
    }
}

impl<T: Serialize> Sink<T> for ItemSink<T> {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.writer.poll_idle(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, item: T) -> Result<(), Error> {
        let item = self.writer.sender.encode(&item)?;
        self.writer.start(item);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.writer.poll_idle(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.writer.poll_close(cx)
    }
}

/// Reads a channel by polling.
pub(crate) struct Reader {
    state: Reading,
}

enum Reading {
    Idle(Box<Channel>),
    Busy(Busy<ReadBack>),
    Over,
}

impl Reader {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { state: Reading::Idle(Box::new(channel)) }
    }

    /// The next item; nothing after the end or an error.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Raw, Error>>> {
        loop {
            match std::mem::replace(&mut self.state, Reading::Over) {
                Reading::Over => return Poll::Ready(None),
                Reading::Idle(mut channel) => {
                    self.state = Reading::Busy(Box::pin(async move {
                        let item = channel.recv_raw().await;
                        (channel, item)
                    }));
                }
                Reading::Busy(mut busy) => match busy.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.state = Reading::Busy(busy);
                        return Poll::Pending;
                    }
                    Poll::Ready((channel, Ok(Some(item)))) => {
                        self.state = Reading::Idle(channel);
                        return Poll::Ready(Some(Ok(item)));
                    }
                    Poll::Ready((_, Ok(None))) => return Poll::Ready(None),
                    Poll::Ready((_, Err(error))) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }
}

/// Writes to a channel by polling.
pub(crate) struct Writer {
    pub(crate) sender: Sender,
    busy: Option<Busy<Result<(), Error>>>,
    is_closed: bool,
}

impl Writer {
    pub(crate) fn new(sender: Sender) -> Self {
        Self { sender, busy: None, is_closed: false }
    }

    /// Begins to send an item. Only when idle.
    pub(crate) fn start(&mut self, item: Raw) {
        let sender = self.sender.clone();
        self.busy = Some(Box::pin(async move { sender.send_raw(&item, true).await }));
    }

    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let Some(busy) = &mut self.busy else { return Poll::Ready(Ok(())) };
        let result = ready!(busy.as_mut().poll(cx));
        self.busy = None;
        Poll::Ready(result)
    }

    pub(crate) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        ready!(self.poll_idle(cx))?;
        if std::mem::replace(&mut self.is_closed, true) {
            return Poll::Ready(Ok(()));
        }
        let sender = self.sender.clone();
        self.busy = Some(Box::pin(async move { sender.finish().await }));
        self.poll_idle(cx)
    }
}

impl<T> std::fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for ItemSink<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ItemSink").finish_non_exhaustive()
    }
}

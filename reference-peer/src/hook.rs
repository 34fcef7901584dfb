//! Middleware: hooks around both directions of a peer.
//!
//! Hooks decide at once and never wait: they run where frames are read and sent. What has to wait belongs in a handler.

use std::sync::Arc;

use duplex_proto::connection::{ArgFrame, CallEnd, Reply, ReplyFrame};
use duplex_proto::{EncodeError, Ext, Format, Id, Raw, RemoteError};
use serde::Serialize;

use crate::call::{Call, ConnectionId};
use crate::error::BoxError;

/// One piece of middleware. Each of the first four methods sees every frame of its direction, and passes it on unless
/// overridden; the other two tell of ends.
///
/// A hook that returns an error, or panics, fails the call: -32603 on the provider's side, [`crate::Error::Hook`] on the caller's.
///
/// ```
/// use duplex_peer::{BoxError, Code, Framing, Hook, HookFrame, RemoteError, Rpc, Transport, Verdict};
///
/// /// Lets a connection call so many times, and no more.
/// struct Quota(u32);
///
/// #[derive(Clone, Copy, Default)]
/// struct Calls(u32);
///
/// impl Hook for Quota {
///     fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
///         if frame.is_first() {
///             let connection = frame.call().connection().info().ok_or("a hook runs on a connection")?;
///             let Calls(so_far) = connection.value().unwrap_or_default();
///             if so_far == self.0 {
///                 return Ok(Verdict::AnswerError(RemoteError::new(429, "that was enough")));
///             }
///             connection.insert(Calls(so_far + 1));
///         }
///         Ok(Verdict::Pass)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new().with_hook(Quota(1));
/// server.register_fn("add", |(a, b): (i64, i64)| async move { Ok::<_, BoxError>(a + b) })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// assert_eq!(client.call::<_, i64>("add", &(1, 2)).await?, 3);
/// let refused = client.call::<_, i64>("add", &(1, 2)).await.unwrap_err();
/// assert_eq!(refused.code(), Some(Code(429)));
/// # Ok(())
/// # }
/// ```
pub trait Hook: Send + Sync + 'static {
    /// A request frame of ours, before it is sent.
    ///
    /// # Errors
    /// The call fails locally.
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        _ = frame;
        Ok(Verdict::Pass)
    }

    /// A request frame of the other peer, before the method is looked up.
    ///
    /// # Errors
    /// The call is answered -32603.
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        _ = frame;
        Ok(Verdict::Pass)
    }

    /// A reply frame of ours, before it is sent.
    ///
    /// # Errors
    /// -32603 is sent in its place, past all hooks.
    fn outbound_reply(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        _ = frame;
        Ok(Verdict::Pass)
    }

    /// A reply frame of the other peer, before the caller sees it.
    ///
    /// # Errors
    /// The call fails locally.
    fn inbound_reply(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        _ = frame;
        Ok(Verdict::Pass)
    }

    /// A call has ended, be it with a terminal reply, with a local failure or with the connection; a notification ends with its
    /// handler, one of ours as soon as it is sent. Told exactly once, and only if this hook saw the call's first frame.
    /// r[middleware.end-once]
    fn ended(&self, call: &Call, end: CallEnd) {
        _ = (call, end);
    }

    /// A connection is over: all its calls have ended, and no frame of it begins to pass any more.
    fn disconnected(&self, connection: ConnectionId) {
        _ = connection;
    }
}

/// What becomes of a frame.
#[derive(Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes on, as the hook left it.
    Pass,
    /// The call ends with this result. On a request: in the handler's place. On a reply: in the reply's place.
    Answer(Raw),
    /// The call ends with this error.
    AnswerError(RemoteError),
}

/// Which part of a call a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// An item; more follow.
    Item,
    /// The last or only item.
    Last,
    /// The end of a stream, without an item. Only ext can be changed.
    End,
    /// The abort of arguments. Only ext can be changed.
    Abort,
    /// An error reply.
    Error,
}

/// A frame as hooks see and change it.
#[derive(Debug)]
pub struct HookFrame {
    pub(crate) call: Arc<Call>,
    pub(crate) is_first: bool,
    pub(crate) id: Option<Id>,
    pub(crate) part: Part,
    pub(crate) format: Format,
    /// The payload of an item; null otherwise.
    pub payload: Raw,
    /// The error of an error reply or abort.
    pub error: Option<RemoteError>,
    /// The ext.
    pub ext: Option<Ext>,
}

impl HookFrame {
    /// The method of the call, as on its first frame. r[stream.args.method]
    #[must_use]
    pub fn method(&self) -> &str {
        self.call.method()
    }

    /// The call that the frame belongs to, the same for all its frames in both directions.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Whether this is the first frame of a call: what is decided once is decided here.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// The id of the call; `None` for a notification and for a call of ours whose first frame is not sent yet.
    #[must_use]
    pub fn id(&self) -> Option<Id> {
        self.id
    }

    /// Which part of the call the frame is.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// Encodes a value for this connection.
    ///
    /// # Errors
    /// When the value has no encoding.
    pub fn encode<T: Serialize + ?Sized>(&self, value: &T) -> Result<Raw, EncodeError> {
        Raw::encode(self.format, value)
    }

    /// The ext, made if there is none.
    pub fn ext_mut(&mut self) -> &mut Ext {
        self.ext.get_or_insert_with(|| Ext::new(self.format))
    }

    fn new(call: Arc<Call>, id: Option<Id>, format: Format, ext: Option<Ext>) -> Self {
        Self { call, is_first: false, id, part: Part::End, format, payload: Raw::null(format), error: None, ext }
    }

    fn of(mut self, part: Part, payload: Option<Raw>, error: Option<RemoteError>) -> Self {
        self.part = part;
        self.payload = payload.unwrap_or(self.payload);
        self.error = error;
        self
    }

    pub(crate) fn from_args(
        call: Arc<Call>,
        is_first: bool,
        id: Option<Id>,
        format: Format,
        ext: Option<Ext>,
        frame: ArgFrame,
    ) -> Self {
        let new = Self { is_first, ..Self::new(call, id, format, ext) };
        match frame {
            ArgFrame::Item(payload) => new.of(Part::Item, Some(payload), None),
            ArgFrame::Last(payload) => new.of(Part::Last, Some(payload), None),
            ArgFrame::End => new,
            ArgFrame::Aborted(error) => new.of(Part::Abort, None, error),
        }
    }

    pub(crate) fn into_args(self) -> ArgFrame {
        match self.part {
            Part::Item => ArgFrame::Item(self.payload),
            Part::Last => ArgFrame::Last(self.payload),
            Part::Abort => ArgFrame::Aborted(self.error),
            Part::End | Part::Error => ArgFrame::End,
        }
    }

    pub(crate) fn from_reply(call: Arc<Call>, id: Option<Id>, format: Format, ext: Option<Ext>, frame: ReplyFrame) -> Self {
        let new = Self::new(call, id, format, ext);
        match frame {
            ReplyFrame::Item(payload) => new.of(Part::Item, Some(payload), None),
            ReplyFrame::Last(payload) => new.of(Part::Last, Some(payload), None),
            ReplyFrame::Error(error) => new.of(Part::Error, None, Some(error)),
            _ => new,
        }
    }

    pub(crate) fn into_reply_frame(self) -> ReplyFrame {
        match (self.part, self.error) {
            (Part::Item, _) => ReplyFrame::Item(self.payload),
            (Part::Last, _) => ReplyFrame::Last(self.payload),
            (_, Some(error)) => ReplyFrame::Error(error),
            (_, None) => ReplyFrame::End,
        }
    }

    /// `Err` is an item that is not terminal.
    pub(crate) fn into_reply(self) -> Result<Reply, Raw> {
        match self.into_reply_frame() {
            ReplyFrame::Item(item) => Err(item),
            ReplyFrame::Last(result) => Ok(Reply::Result(result)),
            ReplyFrame::Error(error) => Ok(Reply::Error(error)),
            _ => Ok(Reply::End),
        }
    }
}

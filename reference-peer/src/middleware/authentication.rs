//! Authentication: the first frame of a call says who calls, or the call is refused. What a credential is, the user says.

use duplex_proto::{Code, Raw, RemoteError};

use crate::call::Call;
use crate::error::BoxError;
use crate::hook::{Hook, HookFrame, Verdict};

/// The key of ext that holds a credential.
const AUTH: &str = "auth";

/// A hook that asks a judge about the credential of each inbound call.
///
/// The judge is given what the first frame carries under `auth`, if anything, and the call; it returns the identity of the
/// caller, or `None` to have the call refused with -32002. It must not wait. A credential that holds for a whole connection, such
/// as a certificate or an earlier call that logged in, is kept with the [`ConnectionInfo`](crate::ConnectionInfo), which shows how.
///
/// The credential itself goes no further: it is taken out of ext, so a call from inside the handler does not carry it on. Calls of
/// this peer's callbacks are inbound calls like all others: the other side sends a credential with them, too, or the judge lets
/// their names pass, which begin with `_callback.`.
///
/// The handler, and every hook behind this one, finds the identity with the call:
///
/// ```
/// use duplex_peer::middleware::{Authentication, Identity};
/// use duplex_peer::{BoxError, Channel, Error, Framing, Raw, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let judge = |credential: Option<&Raw>, _: &_| match credential?.decode::<String>().ok()?.as_str() {
///     "Bearer 3f9a" => Some("ada"),
///     _ => None,
/// };
/// let server = Rpc::new().with_hook(Authentication::new(judge));
/// server.register("whoami", |channel: Channel| async move {
///     let who = channel.shared().and_then(|call| call.value::<Identity<&str>>());
///     Ok(channel.send_last(&who.map(|Identity(who)| who)).await?)
/// })?;
///
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// let name: String = client.request("whoami").ext("auth", "Bearer 3f9a")?.call(&()).await?;
/// assert_eq!(name, "ada");
/// let refused = client.call::<_, String>("whoami", &()).await;
/// assert!(matches!(refused, Err(Error::Remote(error)) if error.code.0 == -32002));
/// # Ok(())
/// # }
/// ```
pub struct Authentication<J> {
    judge: J,
}

/// Who calls, as the judge of [`Authentication`] said it: kept with the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<I>(pub I);

impl<J> Authentication<J> {
    /// Authentication by this judge.
    pub fn new<I>(judge: J) -> Self
    where
        J: Fn(Option<&Raw>, &Call) -> Option<I> + Send + Sync + 'static,
        I: Clone + Send + Sync + 'static,
    {
        Self { judge }
    }
}

impl<J, I> Hook for Authentication<J>
where
    J: Fn(Option<&Raw>, &Call) -> Option<I> + Send + Sync + 'static,
    I: Clone + Send + Sync + 'static,
{
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        let credential = frame.ext.as_ref().and_then(|ext| ext.raw_value(AUTH));
        if credential.is_some() {
            // r[auth.remove] Of later frames too, which are not judged.
            frame.ext_mut().remove(AUTH);
        }
        // r[auth.first-frame]
        if !frame.is_first() {
            return Ok(Verdict::Pass);
        }
        match (self.judge)(credential.as_ref(), frame.call()) {
            Some(identity) => {
                frame.call().insert(Identity(identity));
                Ok(Verdict::Pass)
            }
            // r[auth.refuse]
            None => Ok(Verdict::AnswerError(RemoteError::of(Code::UNAUTHENTICATED))),
        }
    }
}

impl<J> std::fmt::Debug for Authentication<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authentication").finish_non_exhaustive()
    }
}

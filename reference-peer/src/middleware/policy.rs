//! Policy: whether a call may run, decided by the user from the method, the payload and the identity.

use duplex_proto::{Code, RemoteError};

use crate::error::BoxError;
use crate::hook::{Hook, HookFrame, Verdict};

/// A hook that refuses what a decision does not allow, with -32003.
///
/// The decision is asked about every frame of an inbound call, before the method is looked up: a refusal says nothing of what
/// there is. It must not wait. Of a later frame it sees the method of the first one; a refusal then ends the call.
///
/// ```
/// use duplex_peer::middleware::Policy;
/// use duplex_peer::{BoxError, Error, Framing, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new().with_hook(Policy::new(|frame| !frame.method().starts_with("admin.")));
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// let refused = client.call::<_, ()>("admin.stop", &()).await;
/// assert!(matches!(refused, Err(Error::Remote(error)) if error.code.0 == -32003));
/// # Ok(())
/// # }
/// ```
pub struct Policy<D> {
    allows: D,
}

impl<D: Fn(&HookFrame) -> bool + Send + Sync + 'static> Policy<D> {
    /// A policy of this decision: whether the frame may go on.
    pub fn new(allows: D) -> Self {
        Self { allows }
    }
}

impl<D: Fn(&HookFrame) -> bool + Send + Sync + 'static> Hook for Policy<D> {
    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        // r[policy.method] The method that a frame shows is always that of the first one.
        if (self.allows)(frame) {
            return Ok(Verdict::Pass);
        }
        // r[policy.refuse] r[policy.hidden]
        Ok(Verdict::AnswerError(RemoteError::of(Code::FORBIDDEN)))
    }
}

impl<D> std::fmt::Debug for Policy<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").finish_non_exhaustive()
    }
}

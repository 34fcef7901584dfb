//! Tracing: each call is a span, and the other peer is told which, as a W3C `traceparent` in ext.
//!
//! Spans go to whatever subscriber the process has set for the crate `tracing`, with the ids as fields; how they are exported
//! is the subscriber's to say.

use std::fmt;
use std::str::FromStr;

use ::tracing::Span;
use uuid::Uuid;

use crate::call::{Call, Direction};
use crate::error::BoxError;
use crate::hook::{Hook, HookFrame, Verdict};
use duplex_proto::connection::CallEnd;

/// The key of ext that holds a `traceparent`.
pub const TRACE: &str = "trace";

/// A hook that makes a span of every call, in both directions, and continues the trace that a call came with.
///
/// The handler of a call runs inside its span; calls through its channel continue the trace by inheritance. Every other call begins
/// a trace, inside a span of the program too, unless [`TRACE`] is in its ext.
///
/// ```
/// use duplex_peer::middleware::{TraceContext, Tracing};
/// use duplex_peer::{BoxError, Channel, Framing, Rpc, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let server = Rpc::new().with_hook(Tracing::new());
/// server.register("trace", |channel: Channel| async move {
///     let context = channel.shared().and_then(|call| call.value::<TraceContext>()).ok_or("not traced")?;
///     Ok(channel.send_last(&context.to_string()).await?)
/// })?;
/// let (here, there) = Transport::pair(Framing::Length, 64 * 1024);
/// let caller = Rpc::new();
/// let (client, _served) = tokio::try_join!(caller.handshake(here), server.accept(there))?;
/// let came = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context: String = client.request("trace").ext("trace", came)?.call(&()).await?;
/// let (came, context): (TraceContext, TraceContext) = (came.parse()?, context.parse()?);
/// assert_eq!(context.trace_id(), came.trace_id());
/// assert_ne!(context.span_id(), came.span_id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing {
    unsampled: bool,
}

/// Where in a trace a call stands: kept with the call, and written as `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// A text is no `traceparent` of version 00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no traceparent: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits, lower-case hexadecimal, no id all zeros")]
pub struct TraceError;

/// The span of a call: kept with it until its end.
#[derive(Clone, Debug)]
pub(crate) struct CallSpan(pub(crate) Span);

const SAMPLED: u8 = 1;

impl Tracing {
    /// Tracing whose new traces say that they are sampled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tracing whose new traces say that they are not sampled. Traces that come keep what they say.
    #[must_use]
    pub fn unsampled() -> Self {
        Self { unsampled: true }
    }

    fn trace(self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        if frame.is_first() {
            // r[trace.invalid]
            let came = frame.ext.as_ref().and_then(|ext| ext.value::<String>(TRACE)).and_then(Result::ok);
            let parent = came.and_then(|text| text.parse::<TraceContext>().ok());
            // r[trace.continue] r[trace.send]
            let context = parent.map_or_else(|| TraceContext::begin(!self.unsampled), TraceContext::child);
            frame.call().insert(context);
            frame.call().insert(CallSpan(span(frame.call(), context, parent)));
        }
        // A later frame with an ext of its own must not take the place of the first one's.
        if let Some(context) = frame.call().value::<TraceContext>() {
            // r[trace.form]
            let text = context.to_string();
            if frame.ext.as_ref().and_then(|ext| ext.value::<String>(TRACE)).and_then(Result::ok).as_ref() != Some(&text) {
                frame.ext_mut().set(TRACE, &text)?;
            }
        }
        Ok(Verdict::Pass)
    }
}

impl Hook for Tracing {
    fn outbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.trace(frame)
    }

    fn inbound_request(&self, frame: &mut HookFrame) -> Result<Verdict, BoxError> {
        self.trace(frame)
    }

    fn ended(&self, call: &Call, end: CallEnd) {
        if let Some(CallSpan(span)) = call.remove::<CallSpan>() {
            match end {
                CallEnd::Error(code) => span.record("error", code.0),
                CallEnd::Local => span.record("failed", "local"),
                CallEnd::Closed => span.record("failed", "closed"),
                _ => return,
            };
        }
    }
}

fn span(call: &Call, context: TraceContext, parent: Option<TraceContext>) -> Span {
    let kind = match call.direction() {
        Direction::Inbound => "server",
        Direction::Outbound => "client",
    };
    ::tracing::info_span!(
        "call",
        method = call.method(),
        kind,
        connection = %call.connection(),
        trace_id = format_args!("{:032x}", context.trace_id),
        span_id = format_args!("{:016x}", context.span_id),
        parent_id = parent.map(|parent| ::tracing::field::display(format!("{:016x}", parent.span_id))),
        error = ::tracing::field::Empty,
        failed = ::tracing::field::Empty,
    )
}

impl TraceContext {
    /// The first span of a new trace.
    #[must_use]
    pub fn begin(is_sampled: bool) -> Self {
        let flags = if is_sampled { SAMPLED } else { 0 };
        Self { trace_id: Uuid::new_v4().as_u128(), span_id: new_span(), flags }
    }

    /// A further span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: new_span(), ..self }
    }

    /// The id of the trace; never 0.
    #[must_use]
    pub fn trace_id(self) -> u128 {
        self.trace_id
    }

    /// The id of the span; never 0.
    #[must_use]
    pub fn span_id(self) -> u64 {
        self.span_id
    }

    /// The flags, such as 1 for sampled.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }
}

/// A UUID's version is in its first half, which is so never 0.
fn new_span() -> u64 {
    Uuid::new_v4().as_u64_pair().0
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = TraceError;

    fn from_str(text: &str) -> Result<Self, TraceError> {
        let mut parts = text.split('-');
        let mut part = |length: usize| {
            let digits = parts.next().filter(|digits| digits.len() == length).ok_or(TraceError)?;
            // The parser takes a sign and upper case, which a traceparent has not.
            let is_hexadecimal = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            is_hexadecimal.then(|| u128::from_str_radix(digits, 16).ok()).flatten().ok_or(TraceError)
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let span_id = u64::try_from(span_id).map_err(|_| TraceError)?;
        let flags = u8::try_from(flags).map_err(|_| TraceError)?;
        if version != 0 || trace_id == 0 || span_id == 0 || parts.next().is_some() {
            return Err(TraceError);
        }
        Ok(Self { trace_id, span_id, flags })
    }
}

#[cfg(test)]
mod tests {
    use super::TraceContext;

    #[test]
    fn a_traceparent_is_read_and_written_as_it_is() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(text.parse::<TraceContext>().map(|context| context.to_string()), Ok(text.to_owned()));
        let wrong = [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ];
        for text in wrong {
            assert!(text.parse::<TraceContext>().is_err(), "{text}");
        }
    }
}

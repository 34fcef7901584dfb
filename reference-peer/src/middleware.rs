//! The standard middlewares of the book, as hooks: [`Tracing`], [`Authentication`], [`Policy`], [`Deadlines`], [`Transactions`].
//!
//! They are meant to stand in this order, so that what is traced includes what is refused, and a policy knows who asks:
//!
//! ```
//! use duplex_peer::middleware::{Authentication, Deadlines, Identity, Policy, Tracing, Transactions};
//! use duplex_peer::{Raw, Rpc};
//!
//! let rpc = Rpc::new()
//!     .with_hook(Tracing::new())
//!     .with_hook(Authentication::new(|credential: Option<&Raw>, _| match credential?.decode::<String>().ok()?.as_str() {
//!         "Bearer 3f9a" => Some("ada".to_owned()),
//!         _ => None,
//!     }))
//!     .with_hook(Policy::new(|frame| {
//!         let who = frame.call().value::<Identity<String>>();
//!         !frame.method().starts_with("admin.") || who.is_some_and(|Identity(who)| who == "ada")
//!     }))
//!     .with_hook(Deadlines::new())
//!     .with_hook(Transactions::new(|_name| Vec::<String>::new()));
//! # _ = rpc;
//! ```
//!
//! What can be seen of them on the wire is the book's chapter *Standard middlewares*; nothing here knows of a certain
//! application, of a kind of credential or of a database.

mod authentication;
mod deadlines;
mod policy;
mod tracing;
mod transactions;

pub use authentication::{Authentication, Identity};
pub use deadlines::{DEADLINE, Deadlines};
pub(crate) use deadlines::{RunUntil, as_deadline, deadline_of};
pub use policy::Policy;
pub(crate) use tracing::CallSpan;
pub use tracing::{TRACE, TraceContext, TraceError, Tracing};
pub use transactions::{TRANSACTION, Transactions, Unit, UnitName};

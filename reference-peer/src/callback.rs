//! Callbacks: methods under generated names, bound to one connection.

use std::fmt;
use std::sync::{Arc, Weak};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::handler::Method;
use crate::link::Link;

/// What the names of callbacks start with; nobody may register such a name.
pub(crate) const CALLBACK_PREFIX: &str = "_callback.";

/// A callback that the other peer can call, until this value is dropped or the connection ends.
///
/// It serializes as its name: put it into a payload to hand it out.
pub struct Callback {
    name: Arc<str>,
    link: Weak<Link>,
}

impl Callback {
    pub(crate) fn new(link: &Arc<Link>, method: Method) -> Self {
        // The system's cryptographic source: a name is all that it takes to call. r[callback.name] r[callback.name.unique]
        let name: Arc<str> = format!("{CALLBACK_PREFIX}{}", Uuid::new_v4().hyphenated()).into();
        link.add_callback(Arc::clone(&name), method);
        Self { name, link: Arc::downgrade(link) }
    }

    /// The name that the other peer calls.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Releases the callback: from now on it is a missing method. Calls that run already are not touched. r[callback.release]
    pub fn release(self) {}

    /// Keeps the callback until the connection ends.
    pub fn keep(mut self) {
        self.link = Weak::new();
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        if let Some(link) = self.link.upgrade() {
            link.remove_callback(&self.name);
        }
    }
}

impl Serialize for Callback {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Callback").field(&self.name).finish()
    }
}

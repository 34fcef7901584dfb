//! Values found by their type: what programs keep with a call or a connection. Nothing of it is ever sent.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// At most one value of each type.
#[derive(Default)]
pub(crate) struct Values(Mutex<HashMap<TypeId, Box<dyn Any + Send + Sync>>>);

impl Values {
    pub(crate) fn insert<T: Send + Sync + 'static>(&self, value: T) -> Option<T> {
        let earlier = self.lock().insert(TypeId::of::<T>(), Box::new(value));
        earlier.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    pub(crate) fn value<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        self.lock().get(&TypeId::of::<T>()).and_then(|value| value.downcast_ref()).cloned()
    }

    pub(crate) fn remove<T: Send + Sync + 'static>(&self) -> Option<T> {
        let value = self.lock().remove(&TypeId::of::<T>());
        value.and_then(|value| value.downcast().ok()).map(|value| *value)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TypeId, Box<dyn Any + Send + Sync>>> {
        // Nothing but the table is touched under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

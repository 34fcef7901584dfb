//! A hash table that gives and shows its keys in order: what a connection does must not depend on chance.
//!
//! Keys are numbers that the other peer may choose, so the hash is seeded; it is otherwise as cheap as can be, since each frame
//! is looked up several times. How many entries there can be, the limits say.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};

use foldhash::fast::RandomState;

/// Entries by key. Everything but the order is the map's.
#[derive(Clone)]
pub(crate) struct Table<K, V>(HashMap<K, V, RandomState>);

impl<K: Copy + Eq + Hash + Ord, V> Table<K, V> {
    /// The keys, the lowest first.
    pub(crate) fn in_order(&self) -> Vec<K> {
        let mut keys: Vec<K> = self.0.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K, V> Deref for Table<K, V> {
    type Target = HashMap<K, V, RandomState>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<K, V> DerefMut for Table<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Equal tables look equal.
impl<K: Copy + Eq + Hash + Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.in_order().into_iter().map(|key| (key, &self.0[&key]))).finish()
    }
}

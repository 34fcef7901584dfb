//! The map behind every table of a connection.
//!
//! Keys are numbers that the other peer may choose, so the hash is seeded; it is otherwise as cheap as can be, since each frame
//! is looked up several times. How many entries there can be, the limits say.

use std::collections::HashMap;

use foldhash::fast::RandomState;

/// A map from ids or keys.
pub(crate) type Table<K, V> = HashMap<K, V, RandomState>;

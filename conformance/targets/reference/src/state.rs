//! What the conformance service remembers, for the whole process: tokens, sinks, callbacks that were handed out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use duplex_peer::Callback;
use rmpv::Value;
use tokio::sync::{Semaphore, watch};

/// Shared by every connection of the process.
pub(crate) struct State {
    tokens: Mutex<HashMap<String, Arc<Semaphore>>>,
    sinks: Mutex<HashMap<String, Vec<Value>>>,
    sunk: watch::Sender<u64>,
    callbacks: Mutex<HashMap<String, Callback>>,
}

impl State {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            tokens: Mutex::default(),
            sinks: Mutex::default(),
            sunk: watch::Sender::new(0),
            callbacks: Mutex::default(),
        })
    }

    /// Adds a token, which stays until somebody takes it.
    pub(crate) fn release(&self, key: &str) {
        self.tokens_of(key).add_permits(1);
    }

    /// Takes a token, once there is one.
    pub(crate) async fn take(&self, key: &str) {
        let tokens = self.tokens_of(key);
        tokens.acquire().await.expect("invariant: token pools are never closed").forget();
    }

    fn tokens_of(&self, key: &str) -> Arc<Semaphore> {
        Arc::clone(lock(&self.tokens).entry(key.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(0))))
    }

    /// Appends to a sink.
    pub(crate) fn sink(&self, key: &str, value: Value) {
        lock(&self.sinks).entry(key.to_owned()).or_default().push(value);
        self.sunk.send_modify(|count| *count += 1);
    }

    /// What a sink holds, once it holds so many.
    pub(crate) async fn sunk(&self, key: &str, count: usize) -> Vec<Value> {
        let mut changes = self.sunk.subscribe();
        loop {
            let values = lock(&self.sinks).get(key).cloned().unwrap_or_default();
            if values.len() >= count {
                return values;
            }
            changes.changed().await.expect("invariant: the state outlives its users");
        }
    }

    /// Keeps a callback until it is released by name.
    pub(crate) fn keep(&self, callback: Callback) {
        lock(&self.callbacks).insert(callback.name().to_owned(), callback);
    }

    /// Releases a callback.
    pub(crate) fn release_callback(&self, name: &str) {
        let callback = lock(&self.callbacks).remove(name);
        drop(callback);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

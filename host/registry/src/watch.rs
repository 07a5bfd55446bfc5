//! Being told that something changed.
//!
//! A watch keeps the *set* of keys that changed since it was last asked, so it is bounded by the keys
//! there are, may merge changes, and never loses one. It says where to look, not what is there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use runtime::Stop;
use tokio::sync::Notify;

/// Waits for changes below a prefix. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<WatchShared>,
    /// Ends the task that fills it, where there is one.
    end: Option<Stop>,
}

#[derive(Debug)]
pub(crate) struct WatchShared {
    pub(crate) prefix: String,
    pub(crate) session: u64,
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    keys: BTreeSet<String>,
    held: bool,
    closed: bool,
}

impl Watch {
    pub(crate) fn new(shared: Arc<WatchShared>) -> Self {
        Self { shared, end: None }
    }

    /// One that a task fills until `end`.
    pub(crate) fn with_end(shared: Arc<WatchShared>, end: Stop) -> Self {
        Self { shared, end: Some(end) }
    }

    /// The keys that changed since the last call, waiting for the first. `None` when the session is
    /// over. Cancel-safe: a change that was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Option<BTreeSet<String>> {
        loop {
            let woken = self.shared.wake.notified();
            {
                let mut pending = self.shared.lock();
                if !pending.held && !pending.keys.is_empty() {
                    return Some(std::mem::take(&mut pending.keys));
                }
                if pending.closed {
                    return None;
                }
            }
            woken.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(end) = &self.end {
            end.stop();
        }
    }
}

impl WatchShared {
    pub(crate) fn new(prefix: &str, session: u64, held: bool) -> Self {
        let pending = Mutex::new(Pending { held, ..Pending::default() });
        Self { prefix: prefix.to_owned(), session, pending, wake: Notify::new() }
    }

    pub(crate) fn tell(&self, key: &str) {
        if key.starts_with(&self.prefix) {
            self.lock().keys.insert(key.to_owned());
            self.wake.notify_one();
        }
    }

    /// Keeps changes back, or lets them through again.
    pub(crate) fn hold(&self, held: bool) {
        self.lock().held = held;
        self.wake.notify_one();
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

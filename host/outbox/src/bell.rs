//! Tells a service's task which partitions to look at.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hashring::PartitionId;
use tokio::sync::Notify;

/// Rung by whoever commits; it costs them a moment. At most every partition is noted.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    noted: Mutex<BTreeSet<PartitionId>>,
    rung: Notify,
    /// Nothing could be done about it at the moment: it is only noted.
    deaf: AtomicBool,
}

impl Bell {
    /// Something happened in a partition.
    pub(crate) fn ring(&self, partition: PartitionId) {
        let new = self.noted.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        if new && !self.deaf.load(Ordering::SeqCst) {
            self.rung.notify_one();
        }
    }

    /// Whether it is only noted from now on.
    pub(crate) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::SeqCst);
        if !deaf && !self.noted.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            self.rung.notify_one();
        }
    }

    /// What was noted since this was asked last.
    pub(crate) fn take(&self) -> BTreeSet<PartitionId> {
        std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until something is noted. Cancel-safe.
    pub(crate) async fn rung(&self) {
        self.rung.notified().await;
    }
}

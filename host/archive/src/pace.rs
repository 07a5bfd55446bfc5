//! What bulk data passes on its way to this node's disk, so that no send waits behind it.
//!
//! Two bounds. So many bytes at most wait for the archive's writer or are written and not yet answered: it syncs
//! every 8 MiB, so no more than that and one sequence is ever dirty, and a small decision waits for little. And
//! a rate, which those who send decide by how long they wait ([`crate::governor`]).

use std::sync::{Arc, Mutex};

use segment::Times;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::governor::{Governor, Way};
use crate::meters;
use crate::shared::locked;

/// So many KiB are on their way to the disk at once: three sequences, so that one is written while others come.
pub(crate) const IN_FLIGHT_KIB_MAX: usize = 32 << 10;

/// The way to the disk.
#[derive(Debug)]
pub(crate) struct Pace {
    in_flight: Arc<Semaphore>,
    governor: Mutex<Governor>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT_KIB_MAX)),
            governor: Mutex::new(Governor::new(runtime::now())),
        }
    }

    /// Waits until so many bytes may go to the disk; keep what is given back until they were answered.
    /// Cancel-safe; the turn of whoever does not wait any more is lost to all.
    pub(crate) async fn pass(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = (bytes / 1024 + 1).min(IN_FLIGHT_KIB_MAX);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        // Cannot be an error: nobody closes it.
        let permit = Arc::clone(&self.in_flight).acquire_many_owned(kib).await.ok();
        self.turn(Way::Disk, bytes).await;
        permit
    }

    /// Waits until so many bytes may go a way. What a hundred clients bring at once, or what is sent to the other members at
    /// once, takes the processors from whoever sends, long before it comes to a disk. Cancel-safe, as above.
    pub(crate) async fn turn(&self, way: Way, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let wait = locked(&self.governor).pass(way, runtime::now(), bytes);
        if !wait.is_zero() {
            runtime::sleep(wait).await;
        }
    }

    /// Looks at what sends wait for, if it is time to: syncs of the log, and commits.
    pub(crate) fn look(&self, times: impl FnOnce() -> (Times, Times)) {
        let now = runtime::now();
        let mut governor = locked(&self.governor);
        if governor.is_due(now) {
            let (syncs, commits) = times();
            governor.handle_times(now, syncs, commits);
            meters::bulk_rate(governor.rate());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    /// A hundred uploads had a hundred sequences before the writer, and a delete waited behind all of them.
    #[tokio::test]
    async fn no_more_is_on_its_way_to_the_disk_than_may_be() {
        let (pace, sequence) = (Pace::new(), 10 << 20);
        let mut on_their_way = Vec::new();
        for _ in 0..3 {
            on_their_way.push(pace.pass(sequence).await);
        }
        let mut fourth = pin!(pace.pass(sequence));
        let waits = poll_fn(|cx| Poll::Ready(fourth.as_mut().poll(cx).is_pending())).await;
        assert!(waits, "there are 32 MiB");
        on_their_way.pop();
        assert!(fourth.await.is_some());
        // What is larger than all of it passes alone.
        on_their_way.clear();
        assert!(pace.pass(1 << 30).await.is_some());
    }
}

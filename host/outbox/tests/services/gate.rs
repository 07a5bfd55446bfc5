//! Where a node is held between two steps.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or it fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use outbox::{Hook, Point};
use tokio::sync::Semaphore;

use crate::rig::Rig;

/// Holds everything that comes to a point.
pub(crate) struct Gate {
    reached: Arc<AtomicUsize>,
    opens: Arc<Semaphore>,
}

impl Gate {
    pub(crate) fn at(held: Point) -> (Self, Hook) {
        let (reached, opens) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let gate = Self { reached: Arc::clone(&reached), opens: Arc::clone(&opens) };
        let hook = Hook::new(move |_node, point| {
            let (reached, opens) = (Arc::clone(&reached), Arc::clone(&opens));
            async move {
                if point == held {
                    reached.fetch_add(1, Ordering::SeqCst);
                    opens.acquire().await.unwrap().forget();
                }
            }
        });
        (gate, hook)
    }

    /// Until so many have come.
    pub(crate) async fn is_reached(&self, rig: &Rig, count: usize) {
        rig.until("an attempt", || {
            let reached = self.reached.load(Ordering::SeqCst);
            if reached >= count { Ok(()) } else { Err(reached) }
        })
        .await;
    }

    pub(crate) fn opens(&self) {
        self.opens.add_permits(1000);
    }
}

//! What this node's own archive is asked to do: room, pace, and the wait for its answer.

use std::sync::Arc;

use segment::archive as engine;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::lane::Lost;
use crate::room::Room;
use crate::shared::Shared;

impl Shared {
    /// Promises an upload room for its bytes on this node's disks, if there is.
    pub(crate) async fn room(&self, size: u64) -> Result<Room, Lost> {
        let engine = self.engine.clone();
        let free = runtime::blocking(move || engine.room()).await.unwrap_or(0);
        self.rooms.promise(size, free).ok_or_else(|| Lost {
            full: true,
            why: format!("node {} has no room for {size} bytes", self.node),
        })
    }

    /// Lets this node's archive do something, and waits for what becomes of it.
    pub(crate) async fn perform(&self, operation: engine::Operation) -> engine::Answer {
        self.begin_operation(operation).await.wait().await
    }

    /// The same, without waiting for the answer. Digests are computed where that hurts nobody, and once this is
    /// over.
    pub(crate) async fn begin_operation(&self, operation: engine::Operation) -> Performing {
        let passed = self.passed(&operation).await;
        let is_bulk = passed.is_some();
        let (reply, performing) = performing(passed);
        if is_bulk {
            let archive = self.engine.clone();
            self.digest(move || archive.submit(operation, reply)).await;
        } else {
            self.engine.submit(operation, reply);
        }
        performing
    }

    /// The same for bytes that this node has digested itself, as they came.
    pub(crate) async fn begin_own(&self, operation: engine::Operation) -> Performing {
        let passed = self.passed(&operation).await;
        let (reply, performing) = performing(passed);
        self.engine.submit_own(operation, reply);
        performing
    }

    /// Waits until bulk may go to the disk; what is none does not wait.
    async fn passed(&self, operation: &engine::Operation) -> Passed {
        let bytes = operation_bytes(operation);
        if bytes > HEAVY_BYTES { self.pace.pass(bytes).await } else { None }
    }

    /// Computes what takes the processor for some milliseconds, when it is this one's turn: a hundred uploads
    /// that are digested at once would take the processors from everybody who sends. `None` at the end of
    /// the process.
    pub(crate) async fn digest<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        // Cannot be an error: nobody closes it.
        let turn = Arc::clone(&self.digests).acquire_owned().await.ok()?;
        runtime::blocking(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

/// Bytes that take long enough to be written and digested that others should not wait for that.
pub(crate) const HEAVY_BYTES: usize = 64 << 10;

/// What bulk keeps until it was answered.
type Passed = Option<OwnedSemaphorePermit>;

fn performing(passed: Passed) -> (impl FnOnce(engine::Answer) + Send + 'static, Performing) {
    let (reply, answer) = oneshot::channel();
    let reply = move |answer| {
        drop(passed);
        // Whoever does not wait any more does not want to know.
        drop(reply.send(answer));
    };
    (reply, Performing(answer))
}

/// An operation that was given to this node's archive.
#[derive(Debug)]
pub(crate) struct Performing(oneshot::Receiver<engine::Answer>);

impl Performing {
    pub(crate) async fn wait(self) -> engine::Answer {
        let gone = |_gone| Err(engine::Refused::Stopped("it is gone".to_owned()));
        self.0.await.unwrap_or_else(gone)
    }
}

/// Bytes of bulk. Small objects that the log brings are none, and have no digests to be computed.
fn operation_bytes(operation: &engine::Operation) -> usize {
    match operation {
        engine::Operation::Start { slice, .. }
        | engine::Operation::Next { slice, .. }
        | engine::Operation::Mend { slice, .. } => slice.data.len(),
        _ => 0,
    }
}

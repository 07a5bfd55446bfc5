//! What this node's own archive is asked to do: room, pace, and the wait for its answer.

use bytes::Bytes;
use segment::archive as engine;
use tokio::sync::oneshot;

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

    /// Lets this node's archive do something, and waits for what becomes of it. Digests are computed where
    /// that hurts nobody.
    pub(crate) async fn perform(&self, operation: engine::Operation) -> engine::Answer {
        self.begin_operation(operation).await.wait().await
    }

    /// The same, without waiting for the answer.
    pub(crate) async fn begin_operation(&self, operation: engine::Operation) -> Performing {
        let (reply, answer) = oneshot::channel();
        let archive = self.engine.clone();
        let bytes = operation_bytes(&operation);
        let heavy = bytes > (64 << 10);
        let bulk = heavy && !matches!(operation, engine::Operation::Adopt { .. });
        let passed = if bulk { self.pace.pass(bytes).await } else { None };
        let submit = move || {
            archive.submit(operation, move |answer| {
                drop(passed);
                // Whoever does not wait any more does not want to know.
                drop(reply.send(answer));
            });
        };
        if heavy {
            runtime::blocking(submit).await;
        } else {
            submit();
        }
        Performing(answer)
    }
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

fn operation_bytes(operation: &engine::Operation) -> usize {
    match operation {
        engine::Operation::Start { slice, .. }
        | engine::Operation::Next { slice, .. }
        | engine::Operation::Mend { slice, .. } => slice.data.len(),
        engine::Operation::Adopt { entries, .. } => {
            entries.iter().filter_map(|entry| entry.data.as_ref()).map(Bytes::len).sum()
        }
        _ => 0,
    }
}

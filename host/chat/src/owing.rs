//! What services are owed, for whoever brings it to them.
//!
//! The chats only keep the fold of it, because they fold the log and keep its snapshots anyway. Nothing here
//! sends anything.

use std::sync::Arc;

use hashring::PartitionId;
use model::{ChatToken, Outbox};

use crate::Chats;
use crate::lock::locked;
use crate::reign::Reign;

impl Chats {
    /// The epoch in which this node leads a partition and has folded its log; `None` before and after.
    pub fn leads(&self, partition: PartitionId) -> Option<u64> {
        let slot = self.shared.reigns.get(usize::from(partition.0))?;
        let reign = locked(slot).as_ref().map(Arc::clone)?;
        reign.serves().then_some(reign.epoch)
    }

    /// Looks at what a partition owes, if this node leads it in `epoch`, and at the last entry that is committed. Be
    /// quick: commits wait.
    pub fn owed<T>(
        &self,
        partition: PartitionId,
        epoch: u64,
        look: impl FnOnce(&Outbox) -> T,
    ) -> Option<(T, u64)> {
        let reign = self.serving(partition, epoch)?;
        let committed = reign.committed();
        Some((reign.owed(look), committed))
    }

    /// Which of its chat's messages is the one at `index` of the entry at `seq`, from 1; 0 when the chat is
    /// not there any more.
    pub fn number(
        &self,
        partition: PartitionId,
        epoch: u64,
        chat: ChatToken,
        seq: u64,
        index: u32,
    ) -> u64 {
        let chat = self.serving(partition, epoch).and_then(|reign| reign.conversation(chat));
        chat.and_then(|chat| chat.number(seq, index)).unwrap_or(0)
    }

    fn serving(&self, partition: PartitionId, epoch: u64) -> Option<Arc<Reign>> {
        self.shared.reign(partition, epoch).filter(|reign| reign.serves())
    }
}

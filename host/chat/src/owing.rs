//! What services are owed, for whoever brings it to them.
//!
//! The chats only keep the fold of it, because they fold the log and keep its snapshots anyway. Nothing here
//! sends anything.

use std::sync::Arc;
use std::time::Duration;

use hashring::PartitionId;
use model::{ChatToken, Outbox, Outcall, encode};
use segment::LogEntry;

use crate::conversation::Conversation;
use crate::lock::locked;
use crate::reign::Reign;
use crate::{CallContext, Chats, Code, OutcallDone, Request};

/// How long giving a reply to its plugin may take.
const REPLY_MAX: Duration = Duration::from_secs(8);

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

    /// Entries of a partition that this node leads as they are shown: without what was taken back.
    pub fn shown(&self, partition: PartitionId, mut entries: Vec<LogEntry>) -> Vec<LogEntry> {
        let slot = self.shared.reigns.get(usize::from(partition.0));
        let Some(reign) = slot.and_then(|slot| locked(slot).as_ref().map(Arc::clone)) else {
            return entries;
        };
        for logged in &mut entries {
            let chat = encode::chat_of(&logged.payload).and_then(|chat| reign.conversation(chat));
            let anew = chat.and_then(|chat| chat.redacted(|all| all.payload(chat.token, logged)));
            if let Some(payload) = anew {
                logged.payload = payload;
            }
        }
        entries
    }

    /// The first call out of each chat that is `wanted`, with its number in the chat.
    pub fn calls_out(
        &self,
        partition: PartitionId,
        epoch: u64,
        wanted: &dyn Fn(&Outcall) -> bool,
    ) -> Vec<(ChatToken, u64, Arc<Outcall>)> {
        let Some(reign) = self.serving(partition, epoch) else { return Vec::new() };
        let first = |chat: Arc<Conversation>| {
            let calls = chat.calls();
            let mut calls = calls.into_iter();
            let (number, call) = calls.find(|(_, call)| wanted(call))?;
            Some((chat.token, number, call))
        };
        reign.calling().into_iter().filter_map(first).collect()
    }

    /// Tells the plugin that asked for it what became of a call out. Whether that is over: the same again changes
    /// nothing.
    pub async fn call_out_done(&self, done: OutcallDone) -> bool {
        let context = CallContext::of_node(runtime::now() + REPLY_MAX);
        match self.call(Request::OutcallDone(done), context).await {
            Ok(_) => true,
            // Nobody waits where there is no chat any more.
            Err(refusal) => refusal.code == Code::UnknownChat,
        }
    }

    fn serving(&self, partition: PartitionId, epoch: u64) -> Option<Arc<Reign>> {
        self.shared.reign(partition, epoch).filter(|reign| reign.serves())
    }
}

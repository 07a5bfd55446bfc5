//! One epoch in which this node leads a partition: its chats, and the numbering of its entries.
//!
//! A reign begins when replication says so, folds the log, serves, and ends for good when the epoch does;
//! what it had appended and not committed is dropped with it, and the next reign folds the log anew. If
//! nothing was left to drop, and the next one is this node's again, it goes on with the same chats.
//! Entries are numbered and handed to replication under one short lock, so that the order of numbers is
//! the order of the log.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use model::{Change, ChatToken, Entry, Message, Outbox, OutboxEntry};
use replication::Submission;
use replication::core::Outcome;
use runtime::{Instant, Stop};
use tokio::sync::oneshot;

use crate::conversation::Conversation;
use crate::fold::Folds;
use crate::ledger::Ledger;
use crate::lock::locked;

/// How far a reign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It folds the log.
    Loading,
    /// It answers.
    Serving,
    /// It cannot read its log, and answers nobody until it can; what is wrong was logged.
    Broken,
}

/// An epoch that this node leads.
#[derive(Debug)]
pub(crate) struct Reign {
    /// Of which partition.
    pub(crate) partition: PartitionId,
    /// Which epoch.
    pub(crate) epoch: u64,
    /// When it began.
    pub(crate) began: Instant,
    /// How long its chats' people may be silent.
    idle: Option<Duration>,
    phase: Mutex<Phase>,
    closed: Stop,
    chats: Mutex<HashMap<ChatToken, Arc<Conversation>>>,
    log: Mutex<Numbers>,
    recent: Mutex<Recent>,
    /// What is owed to services, after everything that is committed.
    outbox: Mutex<Outbox>,
    /// Chats that wait for calls out.
    calling: Mutex<BTreeSet<ChatToken>>,
    /// The last entry that is known to be committed.
    committed: AtomicU64,
}

/// The log's end, as this reign fills it.
#[derive(Debug)]
struct Numbers {
    /// The place of the next entry.
    next: u64,
    /// Appended and not committed, in order.
    pending: VecDeque<Pending>,
    /// It ended, and everything appended was committed.
    whole: bool,
}

#[derive(Debug)]
struct Pending {
    seq: u64,
    said: Said,
}

/// What an entry says, as far as it is folded here.
#[derive(Debug)]
enum Said {
    /// A chat's turn.
    Turn(Arc<Conversation>, Arc<Entry>),
    /// What is owed to services.
    Outbox(OutboxEntry),
    /// Something else.
    Nothing,
}

/// Which messages are in memory, oldest first, over all chats of the reign.
#[derive(Debug)]
struct Recent {
    queue: VecDeque<(Arc<Conversation>, usize)>,
    bytes: usize,
    bytes_max: usize,
}

/// What has something to do, now that more is committed.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// Chats that do something by themselves, and when.
    pub(crate) due: Vec<(ChatToken, Instant)>,
    /// Chats that ended and are not kept yet, chats in which something was said for the first time, and chats of which an
    /// attachment is to go.
    pub(crate) moments: Vec<Arc<Conversation>>,
}

/// Why an entry was not appended. The log is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAppended {
    /// The reign has ended.
    Closed,
    /// The chat went on since the turn was decided.
    Moved,
    /// Replication has too much to do.
    Full,
}

impl Reign {
    /// An epoch that begins after `seq`. At most `recent_bytes_max` of messages are kept in memory; whoever is silent
    /// for longer than `idle` is not there any more.
    pub(crate) fn new(
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        recent_bytes_max: usize,
        idle: Option<Duration>,
    ) -> Self {
        Self {
            partition,
            epoch,
            began: runtime::now(),
            idle,
            phase: Mutex::new(Phase::Loading),
            closed: Stop::default(),
            chats: Mutex::default(),
            log: Mutex::new(Numbers { next: seq + 1, pending: VecDeque::new(), whole: false }),
            recent: Mutex::new(Recent {
                queue: VecDeque::new(),
                bytes: 0,
                bytes_max: recent_bytes_max,
            }),
            outbox: Mutex::default(),
            calling: Mutex::default(),
            committed: AtomicU64::new(seq),
        }
    }

    /// The last entry that is known to be committed: the view that others are shown may not say it yet.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Acquire)
    }

    /// How far it is.
    pub(crate) fn phase(&self) -> Phase {
        *locked(&self.phase)
    }

    /// Goes on.
    pub(crate) fn set_phase(&self, phase: Phase) {
        *locked(&self.phase) = phase;
    }

    /// Whether it answers.
    pub(crate) fn serves(&self) -> bool {
        self.phase() == Phase::Serving && !self.closed.is_stopped()
    }

    /// Given when the epoch has ended.
    pub(crate) fn closed(&self) -> &Stop {
        &self.closed
    }

    /// Ends it: nothing is appended any more, and whoever waits for it hears that.
    pub(crate) fn close(&self) {
        let mut log = locked(&self.log);
        if !self.closed.is_stopped() {
            log.whole = log.pending.is_empty() && self.phase() == Phase::Serving;
        }
        self.closed.stop();
        log.pending.clear();
    }

    /// Takes over the chats of the reign before, if the opening entry at `seq` follows the last thing that
    /// was appended there, and all of that was committed: then folding the log would make the same of it.
    pub(crate) fn goes_on_from(&self, before: &Self, seq: u64) -> bool {
        let log = locked(&before.log);
        if before.epoch >= self.epoch || !log.whole || log.next != seq {
            return false;
        }
        // Requests of the reign before still look for their chats there.
        let chats = locked(&before.chats).clone();
        *locked(&self.chats) = chats.into_iter().filter(|(_, chat)| chat.next_turn() > 0).collect();
        std::mem::swap(&mut *locked(&self.recent), &mut *locked(&before.recent));
        *locked(&self.outbox) = locked(&before.outbox).clone();
        locked(&self.calling).clone_from(&locked(&before.calling));
        true
    }

    /// A chat.
    pub(crate) fn conversation(&self, token: ChatToken) -> Option<Arc<Conversation>> {
        locked(&self.chats).get(&token).map(Arc::clone)
    }

    /// A chat, made if it is not there.
    pub(crate) fn conversation_or_new(&self, token: ChatToken) -> Arc<Conversation> {
        let mut chats = locked(&self.chats);
        let chat = chats.entry(token).or_insert_with(|| Arc::new(Conversation::new(token)));
        Arc::clone(chat)
    }

    /// Takes the chats that the log before it makes.
    pub(crate) fn fill(&self, folds: Folds) {
        let chat = |(token, fold)| (token, Arc::new(Conversation::from(fold)));
        *locked(&self.chats) = folds.chats.into_iter().map(chat).collect();
        *locked(&self.outbox) = folds.outbox;
        let chats = locked(&self.chats);
        let calling = chats.iter().filter(|(_, chat)| !chat.calls().is_empty());
        *locked(&self.calling) = calling.map(|(token, _)| *token).collect();
    }

    /// Looks at what is owed to services.
    pub(crate) fn owed<T>(&self, look: impl FnOnce(&Outbox) -> T) -> T {
        look(&locked(&self.outbox))
    }

    /// The chats that wait for calls out.
    pub(crate) fn calling(&self) -> Vec<Arc<Conversation>> {
        let calling: Vec<ChatToken> = locked(&self.calling).iter().copied().collect();
        calling.into_iter().filter_map(|token| self.conversation(token)).collect()
    }

    /// Every chat.
    pub(crate) fn conversations(&self) -> Vec<Arc<Conversation>> {
        locked(&self.chats).values().map(Arc::clone).collect()
    }

    /// Forgets a chat that never came to be, or is not to be any more.
    pub(crate) fn forget(&self, token: ChatToken) {
        locked(&self.chats).remove(&token);
    }

    /// Appends a turn of a chat, if the chat is still where the turn was decided and the epoch goes on.
    /// Returns the answer to come.
    pub(crate) fn append(
        &self,
        ledger: &dyn Ledger,
        conversation: &Arc<Conversation>,
        entry: Arc<Entry>,
        payload: Bytes,
        acks: u8,
    ) -> Result<oneshot::Receiver<Outcome>, NotAppended> {
        let mut log = locked(&self.log);
        if self.closed.is_stopped() {
            return Err(NotAppended::Closed);
        }
        // Nothing follows the entry that forgets a chat: it would begin another one.
        if conversation.next_turn() != entry.turn || conversation.forgotten().0 {
            return Err(NotAppended::Moved);
        }
        let seq = log.next;
        let (partition, epoch) = (self.partition, self.epoch);
        let submission = Submission { partition, epoch, seq, payload, acks };
        let answer = ledger.submit(submission).ok_or(NotAppended::Full)?;
        log.next += 1;
        conversation.append(seq, &entry);
        let said = Said::Turn(Arc::clone(conversation), entry);
        log.pending.push_back(Pending { seq, said });
        Ok(answer)
    }

    /// Appends what is no chat's, if the epoch goes on. Returns its place and the answer to come.
    pub(crate) fn append_other(
        &self,
        ledger: &dyn Ledger,
        payload: Bytes,
        acks: u8,
    ) -> Result<(u64, oneshot::Receiver<Outcome>), NotAppended> {
        let said = OutboxEntry::decode(&payload).map_or(Said::Nothing, Said::Outbox);
        let mut log = locked(&self.log);
        if self.closed.is_stopped() {
            return Err(NotAppended::Closed);
        }
        let (seq, partition, epoch) = (log.next, self.partition, self.epoch);
        let submission = Submission { partition, epoch, seq, payload, acks };
        let answer = ledger.submit(submission).ok_or(NotAppended::Full)?;
        log.next += 1;
        log.pending.push_back(Pending { seq, said });
        Ok((seq, answer))
    }

    /// Messages of a chat that are appended and not committed, in their order.
    pub(crate) fn ahead(&self, conversation: &Arc<Conversation>) -> Vec<Arc<Message>> {
        let log = locked(&self.log);
        let own = log.pending.iter().filter_map(|pending| match &pending.said {
            Said::Turn(of, entry) => Arc::ptr_eq(of, conversation).then_some(entry),
            Said::Outbox(_) | Said::Nothing => None,
        });
        own.flat_map(|entry| entry.messages().map(Arc::clone)).collect()
    }

    /// Everything up to `seq` is committed: now it can be seen. Called in order, by one caller.
    pub(crate) fn commit(&self, seq: u64) -> Committed {
        self.committed.fetch_max(seq, Ordering::AcqRel);
        let mut committed = Committed::default();
        let ready: Vec<Pending> = {
            let mut log = locked(&self.log);
            let count = log.pending.partition_point(|pending| pending.seq <= seq);
            log.pending.drain(..count).collect()
        };
        for Pending { seq, said } in ready {
            let (conversation, entry) = match said {
                Said::Turn(conversation, entry) => (conversation, entry),
                Said::Outbox(entry) => {
                    locked(&self.outbox).apply(self.epoch, seq, &entry);
                    continue;
                }
                Said::Nothing => continue,
            };
            locked(&self.outbox).hear(seq, &entry);
            let (weights, wake, first) = conversation.commit(self.epoch, seq, &entry, self.idle);
            locked(&self.recent).keep(&conversation, &weights);
            self.note_calls(&conversation, &entry);
            if conversation.forgotten().1 {
                self.forget(conversation.token);
                continue;
            }
            committed.due.extend(wake.map(|at| (conversation.token, at)));
            let is_moment =
                |change: &Change| matches!(change, Change::End { .. } | Change::Detach { .. });
            if first || entry.changes.iter().any(is_moment) {
                committed.moments.push(conversation);
            }
        }
        committed
    }
}

impl Reign {
    /// Whether a chat waits for calls out, if the entry may have changed it.
    fn note_calls(&self, conversation: &Conversation, entry: &Entry) {
        let about = |change: &Change| {
            matches!(change, Change::Outcall(_) | Change::OutcallDone { .. } | Change::Forget)
        };
        if !entry.changes.iter().any(about) {
            return;
        }
        let calls = !conversation.forgotten().1 && !conversation.calls().is_empty();
        let mut calling = locked(&self.calling);
        match calls {
            true => calling.insert(conversation.token),
            false => calling.remove(&conversation.token),
        };
    }
}

impl Recent {
    /// Keeps these messages of a chat, and lets the oldest go for them. The last one always stays.
    fn keep(&mut self, conversation: &Arc<Conversation>, weights: &[usize]) {
        for weight in weights {
            self.bytes += weight;
            self.queue.push_back((Arc::clone(conversation), *weight));
        }
        while self.bytes > self.bytes_max && self.queue.len() > 1 {
            let Some((oldest, weight)) = self.queue.pop_front() else { return };
            self.bytes -= weight;
            oldest.forget_oldest();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::ChatToken;

    use hashring::PartitionId;

    use super::{Phase, Recent, Reign, locked};
    use crate::conversation::Conversation;

    #[test]
    fn a_reign_goes_on_from_one_that_left_nothing_and_ended_right_before_it() {
        let ended = |phase: Phase| {
            let reign = Reign::new(PartitionId(0), 4, 10, 1000, None);
            reign.set_phase(phase);
            let chat = reign.conversation_or_new(ChatToken([1; 16]));
            let entry = crate::storing::entry(
                &model::Chat::new(ChatToken([1; 16])),
                1,
                vec![model::Change::End { reason: String::new() }],
                None,
            );
            chat.append(11, &entry);
            chat.commit(4, 11, &entry, None);
            reign.conversation_or_new(ChatToken([2; 16]));
            locked(&reign.log).next = 12;
            reign
        };
        let next = |epoch| Reign::new(PartitionId(0), epoch, 12, 1000, None);
        let before = ended(Phase::Serving);
        assert!(!next(5).goes_on_from(&before, 12), "it has not ended");
        before.close();
        assert!(!next(5).goes_on_from(&before, 13), "something came between");
        assert!(!next(4).goes_on_from(&before, 12), "not a later one");
        let after = next(5);
        assert!(after.goes_on_from(&before, 12));
        assert!(after.conversation(ChatToken([1; 16])).is_some());
        assert!(after.conversation(ChatToken([2; 16])).is_none(), "it never came to be");
        assert!(before.conversation(ChatToken([1; 16])).is_some(), "for those who still ask there");

        let loading = ended(Phase::Loading);
        loading.close();
        assert!(!next(5).goes_on_from(&loading, 12));
        let pending = ended(Phase::Serving);
        let chat = pending.conversation(ChatToken([1; 16])).unwrap();
        let entry = crate::storing::entry(&chat.appended(None, 4).chat, 1, Vec::new(), None);
        let left = super::Pending { seq: 12, said: super::Said::Turn(chat, Arc::new(entry)) };
        locked(&pending.log).pending.push_back(left);
        pending.close();
        pending.close();
        assert!(!next(5).goes_on_from(&pending, 12), "something was dropped");
    }

    #[test]
    fn the_oldest_messages_leave_the_memory_and_the_last_one_stays() {
        let chat = Arc::new(Conversation::new(ChatToken([1; 16])));
        let mut recent = Recent { queue: [].into(), bytes: 0, bytes_max: 100 };
        recent.keep(&chat, &[40, 40, 40]);
        assert_eq!((recent.queue.len(), recent.bytes), (2, 80));
        recent.keep(&chat, &[500]);
        assert_eq!((recent.queue.len(), recent.bytes), (1, 500));
    }
}

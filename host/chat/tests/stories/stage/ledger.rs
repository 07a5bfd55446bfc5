//! What a node sees of the world: the log as its chats are given it, and the other nodes, without a network.

use std::sync::Arc;

use bytes::Bytes;
use chat::{Later, Ledger};
use hashring::{NodeId, PartitionId, Partitions};
use replication::core::{Outcome, PartitionView, Role, Why};
use replication::{ANSWER_BYTES_MAX, Anew, ForwardError, Host, RequestHead, RingView, Submission};
use segment::{Base, Kept, LogEntry, Snapshot};
use tokio::sync::oneshot;

use super::world::{Pending, World};

/// One node of it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) world: Arc<World>,
    pub(super) index: usize,
}

impl Ledger for Node {
    fn node(&self) -> NodeId {
        node(self.index)
    }

    fn partitions(&self) -> Partitions {
        Partitions::try_from(1).unwrap()
    }

    fn commit(&self) -> u8 {
        2
    }

    fn copies(&self) -> u8 {
        3
    }

    fn view(&self, _partition: PartitionId) -> Arc<PartitionView> {
        let inner = self.world.look();
        let leads = inner.primary == Some(self.index);
        let leading = leads && inner.leading;
        Arc::new(PartitionView {
            epoch: inner.epoch,
            role: if leads { Role::Primary } else { Role::Member },
            open: inner.primary.is_some(),
            primary: inner.primary.map(node),
            ensemble: (0..3).map(node).collect(),
            wanted: (0..3).map(node).collect(),
            learners: Vec::new(),
            leading,
            live: inner.live,
            closed_for: inner.full.then_some(Why::Full),
            commit: inner.committed,
            committed: inner.at(inner.committed),
            end: inner.log.len() as u64,
            ..PartitionView::default()
        })
    }

    fn view_changed<'a>(
        &'a self,
        partition: PartitionId,
        seen: &'a Arc<PartitionView>,
    ) -> Later<'a, ()> {
        Box::pin(async move {
            loop {
                let changed = self.world.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.view(partition) != *seen {
                    return;
                }
                changed.await;
            }
        })
    }

    fn ring(&self) -> Arc<RingView> {
        Arc::default()
    }

    fn submit(&self, submission: Submission) -> Option<oneshot::Receiver<Outcome>> {
        let (answer, receiver) = oneshot::channel();
        let mut inner = self.world.look();
        let Submission { epoch, seq, payload, acks, .. } = submission;
        if inner.epoch != epoch || inner.primary != Some(self.index) {
            let _gone = answer.send(Outcome::NotCommitted(Why::Deposed));
            return Some(receiver);
        }
        assert_eq!(seq, inner.log.len() as u64 + 1, "entries are numbered without gaps");
        inner.push(epoch, payload);
        inner.pending.push(Pending { seq, acks, answer: Some(answer) });
        drop(inner);
        self.world.appended.notify_one();
        self.world.tell();
        Some(receiver)
    }

    fn confirm(&self, _partition: PartitionId) -> Later<'_, Outcome> {
        let inner = self.world.look();
        let leads = inner.primary == Some(self.index) && inner.confirms;
        let outcome = if leads { Outcome::Done } else { Outcome::NotCommitted(Why::NotLeading) };
        Box::pin(std::future::ready(outcome))
    }

    fn read(
        &self,
        _partition: PartitionId,
        from: u64,
        entries_max: usize,
        bytes_max: usize,
    ) -> Later<'_, Option<Vec<LogEntry>>> {
        let mut inner = self.world.look();
        inner.reads += 1;
        let mut bytes = 0;
        let there = |seq: u64| {
            let base = inner.base.as_ref();
            base.is_none_or(|(base, kept)| seq > base.place.seq || kept.contains(&seq))
        };
        let entries = inner.log.iter().filter(|entry| entry.seq >= from && there(entry.seq));
        let entries = entries.take(entries_max);
        let entries = entries.take_while(|entry| {
            let first = bytes == 0;
            bytes += entry.payload.len();
            first || bytes <= bytes_max
        });
        let entries: Vec<LogEntry> = entries.cloned().collect();
        inner.entries_read += entries.len();
        Box::pin(std::future::ready(Some(entries)))
    }

    fn kept(&self, _partition: PartitionId) -> Option<Kept> {
        let inner = self.world.look();
        inner.snapshot.as_ref().map(|snapshot| Kept { seq: snapshot.place.seq, bytes: 0 })
    }

    fn snapshot(&self, _partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        Box::pin(std::future::ready(self.world.look().snapshot.clone()))
    }

    fn forget_snapshot(&self, _partition: PartitionId) {
        self.world.look().snapshot = None;
    }

    fn keep_snapshot(&self, _partition: PartitionId, snapshot: Snapshot) -> Later<'_, bool> {
        self.world.look().snapshot = Some(snapshot);
        self.world.tell();
        Box::pin(std::future::ready(true))
    }

    fn base(&self, _partition: PartitionId) -> Option<Base> {
        let inner = self.world.look();
        let (Snapshot { place, .. }, kept) = inner.base.as_ref()?;
        Some(Base { place: *place, entries: kept.len() as u64, ..Base::default() })
    }

    fn base_snapshot(&self, _partition: PartitionId) -> Later<'_, Option<Snapshot>> {
        let base = self.world.look().base.as_ref().map(|(base, _)| base.clone());
        Box::pin(std::future::ready(base))
    }

    fn weigh(&self, _: PartitionId, entries_max: u64, _: u64) -> Later<'_, Option<u64>> {
        let end = self.world.look().log.len() as u64;
        Box::pin(std::future::ready(Some(end.saturating_sub(entries_max))))
    }

    fn trim(
        &self,
        _: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        anew: Anew,
    ) -> Later<'_, bool> {
        let mut inner = self.world.look();
        for logged in &mut inner.log {
            if logged.seq <= snapshot.place.seq
                && let Some(payload) = anew(logged)
            {
                logged.payload = payload;
            }
        }
        inner.base = Some((snapshot, kept.into_iter().collect()));
        drop(inner);
        self.world.tell();
        Box::pin(std::future::ready(true))
    }

    fn forward<'a>(
        &'a self,
        to: &'a NodeId,
        head: RequestHead,
        body: Bytes,
    ) -> Later<'a, Result<Bytes, ForwardError>> {
        Box::pin(async move {
            let host = {
                let inner = self.world.look();
                let index = (0..inner.hosts.len()).find(|index| node(*index) == *to);
                index
                    .filter(|index| !inner.cut.contains(index))
                    .and_then(|index| inner.hosts[index].clone())
            };
            let gone = ForwardError::NotRun { to: to.clone(), why: None };
            let host = host.ok_or(gone)?;
            let answer = host.answer(node(self.index), head, body).await;
            if self.world.look().silent.iter().any(|index| node(*index) == *to) {
                return std::future::pending().await;
            }
            match answer {
                Ok(answer) if answer.len() > ANSWER_BYTES_MAX => {
                    Err(ForwardError::Lost { to: to.clone() })
                }
                Ok(answer) => Ok(answer),
                Err(why) => Err(ForwardError::NotRun { to: to.clone(), why: Some(why) }),
            }
        })
    }

    fn wall_ms(&self) -> u64 {
        let mut inner = self.world.look();
        inner.clock_reads += 1;
        inner.wall_ms
    }
}

pub(super) fn node(index: usize) -> NodeId {
    format!("n{index}").parse().unwrap()
}

//! What goes to the disk, and what may only be said once it is there.
//!
//! Operations gather until the core is polled, and become one write with one ticket. An [`After`] goes
//! with the ticket of the last operation before it, so that it follows the sync of everything that was
//! queued when it was asked for.

use std::collections::VecDeque;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use segment::{LogEntry, LogOp};
use wire::{Ack, Looked, Sealed};

use super::Time;

/// The queue to the disk.
#[derive(Debug)]
pub(super) struct Writer {
    ops: Vec<LogOp>,
    afters: Vec<After>,
    /// How many writes were cut off so far: the place in `ops` that a [`Slot`] names is good in one.
    round: u64,
    issued: u64,
    written: u64,
    /// Tickets on their way, and since when.
    under_way: VecDeque<(u64, Time)>,
    waiting: VecDeque<(u64, After)>,
}

/// Something that must not be said before a sync.
#[derive(Clone, Debug)]
pub(super) enum After {
    /// To a primary.
    Ack {
        /// Whom.
        to: NodeId,
        /// What.
        ack: Ack,
    },
    /// To a candidate.
    Sealed {
        /// Whom.
        to: NodeId,
        /// What.
        sealed: Sealed,
    },
    /// To a member that mends its log.
    Looked {
        /// Whom.
        to: NodeId,
        /// What.
        looked: Looked,
    },
    /// To this node as primary: its own log is on disk up to here.
    Own {
        /// Which partition's.
        partition: PartitionId,
        /// In which epoch it leads.
        epoch: u64,
        /// Up to here.
        seq: u64,
    },
    /// To this node as candidate: its own promise is on disk.
    Promised {
        /// Which partition's.
        partition: PartitionId,
        /// The epoch.
        epoch: u64,
    },
}

/// Where the appends of one partition gather within a write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    round: u64,
    at: Option<usize>,
}

impl Writer {
    /// Nothing is queued.
    pub(super) fn new() -> Self {
        Self {
            ops: Vec::new(),
            afters: Vec::new(),
            round: 1,
            issued: 0,
            written: 0,
            under_way: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Queues an entry.
    pub(super) fn append(&mut self, partition: PartitionId, slot: &mut Slot, entry: LogEntry) {
        let open = slot.at.filter(|_| slot.round == self.round).and_then(|at| self.ops.get_mut(at));
        if let Some(LogOp::Append { entries, .. }) = open {
            entries.push(entry);
            return;
        }
        *slot = Slot { round: self.round, at: Some(self.ops.len()) };
        self.ops.push(LogOp::Append { partition, entries: vec![entry] });
    }

    /// Queues anything else. Appends of that partition that follow must not join those before it.
    pub(super) fn push(&mut self, slot: &mut Slot, op: LogOp) {
        slot.at = None;
        self.ops.push(op);
    }

    /// Has something said after everything queued so far is on disk.
    pub(super) fn after(&mut self, after: After) {
        self.afters.push(after);
    }

    /// The log of a partition is about to be cut: what was to be said of it is not true any more by the
    /// time it could be said. Whoever waits for it has lost its epoch.
    pub(super) fn withdraw(&mut self, partition: PartitionId) {
        let stays = |after: &After| match after {
            After::Ack { ack, .. } => ack.partition != partition,
            After::Sealed { sealed, .. } => sealed.partition != partition,
            After::Looked { looked, .. } => looked.partition != partition,
            After::Own { .. } | After::Promised { .. } => true,
        };
        self.afters.retain(stays);
        self.waiting.retain(|(_, after)| stays(after));
    }

    /// What was queued since the last time, as one write.
    pub(super) fn cut_off(&mut self, now: Time) -> Option<(u64, Vec<LogOp>)> {
        let ops = std::mem::take(&mut self.ops);
        let write = (!ops.is_empty()).then(|| {
            self.round += 1;
            self.issued += 1;
            self.under_way.push_back((self.issued, now));
            (self.issued, ops)
        });
        self.waiting.extend(self.afters.drain(..).map(|after| (self.issued, after)));
        write
    }

    /// A ticket and all before it are on disk.
    pub(super) fn written(&mut self, ticket: u64) {
        self.written = self.written.max(ticket.min(self.issued));
        while self.under_way.front().is_some_and(|(issued, _)| *issued <= self.written) {
            self.under_way.pop_front();
        }
    }

    /// The next thing that may be said by now; with `early`, before its sync.
    pub(super) fn due(&mut self, early: bool) -> Option<After> {
        let due = self.waiting.front().is_some_and(|(ticket, _)| early || *ticket <= self.written);
        if due { self.waiting.pop_front().map(|(_, after)| after) } else { None }
    }

    /// Whether the oldest write has been under way for longer than `patience`.
    pub(super) fn stuck(&self, now: Time, patience: Duration) -> bool {
        self.under_way.front().is_some_and(|(_, since)| now.saturating_sub(*since) > patience)
    }

    /// After the process stood still: the writes under way begin anew to be waited for.
    pub(super) fn be_patient(&mut self, now: Time) {
        for (_, since) in &mut self.under_way {
            *since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use segment::Chain;

    use super::*;

    const P: PartitionId = PartitionId(3);

    fn entry(seq: u64) -> LogEntry {
        LogEntry { epoch: 1, seq, chain: Chain::default(), payload: "x".into() }
    }

    fn own(seq: u64) -> After {
        After::Own { partition: P, epoch: 1, seq }
    }

    #[test]
    fn appends_of_a_partition_gather_until_something_comes_between() {
        let (mut writer, mut slot) = (Writer::new(), Slot::default());
        writer.append(P, &mut slot, entry(1));
        writer.append(P, &mut slot, entry(2));
        writer.push(&mut slot, LogOp::Cut { partition: P, after: 1 });
        writer.append(P, &mut slot, entry(2));
        let (ticket, ops) = writer.cut_off(Time::ZERO).unwrap();
        let both = vec![entry(1), entry(2)];
        let expected = [
            LogOp::Append { partition: P, entries: both },
            LogOp::Cut { partition: P, after: 1 },
            LogOp::Append { partition: P, entries: vec![entry(2)] },
        ];
        assert_eq!((ticket, ops.as_slice()), (1, expected.as_slice()));
        writer.append(P, &mut slot, entry(3));
        let (ticket, ops) = writer.cut_off(Time::ZERO).unwrap();
        let alone = [LogOp::Append { partition: P, entries: vec![entry(3)] }];
        assert_eq!((ticket, ops.as_slice()), (2, alone.as_slice()));
    }

    #[test]
    fn what_was_to_be_said_of_a_log_is_not_said_once_it_is_cut() {
        let (mut writer, mut slot) = (Writer::new(), Slot::default());
        let ack = |partition| {
            let ack = Ack { partition, epoch: 1, matched: 1 };
            After::Ack { to: "a".parse().unwrap(), ack }
        };
        writer.append(P, &mut slot, entry(1));
        writer.after(ack(P));
        writer.cut_off(Time::ZERO);
        writer.after(ack(P));
        writer.after(ack(PartitionId(4)));
        writer.withdraw(P);
        writer.cut_off(Time::ZERO);
        writer.written(1);
        let due = writer.due(false);
        assert!(matches!(due, Some(After::Ack { ack, .. }) if ack.partition == PartitionId(4)));
        assert!(writer.due(false).is_none());
    }

    #[test]
    fn what_follows_a_sync_waits_for_all_that_was_queued_before_it() {
        let (mut writer, mut slot) = (Writer::new(), Slot::default());
        writer.append(P, &mut slot, entry(1));
        writer.after(own(1));
        writer.cut_off(Time::ZERO);
        // Nothing to write of its own: still behind the write that is under way.
        writer.after(own(1));
        assert!(writer.cut_off(Time::ZERO).is_none());
        assert!(writer.due(false).is_none());
        assert!(writer.stuck(Duration::from_secs(3), Duration::from_secs(2)));
        writer.written(1);
        assert!(!writer.stuck(Duration::from_secs(3), Duration::from_secs(2)));
        assert!(writer.due(false).is_some() && writer.due(false).is_some());
        assert!(writer.due(false).is_none());
    }
}

//! Comparing the members' logs with their primary's, though nothing is amiss (R32).
//!
//! Now and then a primary reads one committed entry of its own log, any that it has, and asks each member that
//! holds it whether what it has there is the same. The question is an append of nothing after that place, so
//! a member answers it by the rule for all appends: it reads the entry from its own disk, which verifies
//! it, and if the chain is another one an operator hears of it and the log is mended ([`mending`](super::mending)).
//! A chain covers everything before it, and so does the comparison.

use segment::{LogEnd, LogEntry};
use wire::{Append, Message};

use super::convert::to_wire;
use super::partition::{Doing, Partition, ReadFor};
use super::shared::Shared;

impl Partition {
    /// A beat passed: reads an entry to compare, if it is time.
    pub(super) fn tick_compare(&mut self, cx: &mut Shared) {
        let every = cx.config.timings.compare;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let due = cx.now.saturating_sub(leader.compared) >= every;
        let base = self.tail.base().seq;
        if !due || self.commit <= base || leader.followers.is_empty() {
            return;
        }
        leader.compared = cx.now;
        let epoch = leader.epoch;
        let seq = base + 1 + cx.nonce() % (self.commit - base);
        let request = cx.read_one(self.id, seq);
        self.reads.retain(|(_, purpose)| !matches!(purpose, ReadFor::Compare(_)));
        self.reads.push((request, ReadFor::Compare(epoch)));
    }

    /// It was read: asks the members.
    pub(super) fn on_compare_read(&self, cx: &mut Shared, epoch: u64, entries: &[LogEntry]) {
        let Doing::Lead(leader) = &self.doing else { return };
        let Some(entry) = entries.first().filter(|entry| entry.seq <= self.commit) else { return };
        if leader.epoch != epoch {
            return;
        }
        let place = LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain };
        for follower in leader.followers.iter().filter(|follower| follower.holds(place.seq)) {
            if cx.peers.member(&follower.member).is_some() {
                let append = Append {
                    partition: self.id,
                    epoch,
                    prev: to_wire(place),
                    entries: Vec::new(),
                    commit: self.commit,
                };
                cx.send(&follower.member.node, Message::Append(append));
            }
        }
    }
}

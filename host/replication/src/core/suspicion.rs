//! When to take over.
//!
//! At once, if the record names an earlier life of this process or nobody yet; or after a primary was
//! not heard for long enough and enough members agree that they would take part. A vote binds nobody:
//! it only keeps a member that hears badly from disturbing the others. Safety is the registry's
//! compare-and-set and the seal.

use std::collections::BTreeSet;
use std::time::Duration;

use hashring::NodeId;
use registry::PartitionRecord;
use segment::LogEnd;
use wire::{PreVoteAsk, Vote};

use super::convert::to_wire;
use super::partition::{Doing, Partition};
use super::shared::Shared;
use super::{Time, quorum};

/// What a node thinks of a partition's leader, and what it has done about it.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// When the leader was last heard, or its silence began to count.
    since: Time,
    /// When the leader was last heard.
    heard: Option<Time>,
    /// Votes that are being gathered.
    asking: Option<Asking>,
    /// How often it was tried in vain.
    attempts: u32,
    /// When it may be tried again.
    not_before: Time,
}

#[derive(Debug)]
struct Asking {
    epoch: u64,
    since: Time,
    yes: BTreeSet<NodeId>,
}

impl Suspicion {
    /// The leader was heard.
    pub(super) fn heard(&mut self, now: Time) {
        self.since = now;
        self.heard = Some(now);
        self.asking = None;
        self.attempts = 0;
    }

    /// Another epoch began: its leader has not been silent yet.
    pub(super) fn new_epoch(&mut self, now: Time) {
        self.since = now;
        self.heard = None;
        self.asking = None;
    }

    /// The process stood still, and could not have heard anything.
    pub(super) fn be_patient(&mut self, now: Time) {
        self.since = now;
        self.heard = self.heard.map(|_| now);
        self.asking = None;
    }

    /// The partition is open and led by this node.
    pub(super) fn over(&mut self) {
        self.attempts = 0;
        self.asking = None;
    }

    /// How long the leader has been silent.
    pub(super) fn silence(&self, now: Time) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether the leader was really heard within `patience`.
    fn hears(&self, now: Time, patience: Duration) -> bool {
        self.heard.is_some_and(|heard| now.saturating_sub(heard) < patience)
    }
}

impl Partition {
    /// Takes over at once if nobody else can be meant to lead.
    pub(super) fn consider(&mut self, cx: &mut Shared) {
        if cx.now < self.suspicion.not_before || !self.may_take_over(cx) || !cx.ready {
            return;
        }
        let Some(known) = &self.record else { return };
        let record = &known.record;
        let at_once = match &record.primary {
            Some(primary) => *primary == cx.config.node && record.boot < cx.config.boot,
            None => record.ensemble.first().is_some_and(|first| cx.is_me(first)),
        };
        if !at_once || !cx.can_seal(record) {
            return;
        }
        let record = record.clone();
        if !self.resume(cx, &record) {
            self.take_over(cx);
        }
    }

    /// Whether this node could take over at all.
    pub(super) fn may_take_over(&self, cx: &Shared) -> bool {
        let named = self.record.as_ref().is_some_and(|known| {
            // A record behind the promise is of a registry that was put back: it changes nothing.
            known.record.epoch >= self.promised
                && known.record.last_open().1.iter().any(|member| cx.is_me(member))
        });
        named
            && matches!(self.doing, Doing::Follow)
            && !self.blocked()
            && cx.session.is_ok()
            && !cx.draining
            && !cx.writer.stuck(cx.now, cx.config.timings.lead)
    }

    /// Looks whether the leader has been silent for too long, and asks the others.
    pub(super) fn suspect(&mut self, cx: &mut Shared) {
        self.consider(cx);
        let timings = cx.config.timings;
        let asked = self.suspicion.asking.as_ref().map(|asking| asking.since);
        if asked.is_some_and(|since| cx.now.saturating_sub(since) >= timings.resend) {
            self.suspicion.asking = None;
            self.back_off(cx);
        }
        if self.suspicion.asking.is_some()
            || cx.now < self.suspicion.not_before
            || !self.may_take_over(cx)
        {
            return;
        }
        let Some(known) = &self.record else { return };
        let patience = timings.suspect + timings.rank * rank(cx, &known.record);
        if self.suspicion.silence(cx.now) < patience {
            return;
        }
        let record = known.record.clone();
        let end = to_wire(self.tail.end());
        let ask = PreVoteAsk { partition: self.id, epoch: record.epoch, end, ready: cx.ready };
        let yes = BTreeSet::from([cx.config.node.clone()]);
        self.suspicion.asking = Some(Asking { epoch: record.epoch, since: cx.now, yes });
        for member in record.last_open().1 {
            if !cx.is_me(member) {
                cx.send_ask(&member.node, ask);
            }
        }
        self.count_votes(cx);
    }

    /// A vote came.
    pub(super) fn on_vote(&mut self, cx: &mut Shared, from: &NodeId, vote: Vote) {
        let counts =
            self.record.as_ref().is_some_and(|known| cx.counts(from, known.record.last_open().1));
        match &mut self.suspicion.asking {
            Some(asking) if counts && vote.yes && vote.epoch == asking.epoch => {
                asking.yes.insert(from.clone());
            }
            _ => return,
        }
        self.count_votes(cx);
    }

    fn count_votes(&mut self, cx: &mut Shared) {
        let (Some(known), Some(asking)) = (&self.record, &self.suspicion.asking) else { return };
        let (_, ensemble, commit) = known.record.last_open();
        let enough = asking.yes.len() >= quorum::seal(ensemble.len(), commit);
        if enough && asking.epoch == known.record.epoch && self.may_take_over(cx) {
            self.suspicion.asking = None;
            self.take_over(cx);
        }
    }

    /// Whether this node would take part if the asker took over.
    pub(super) fn vote(&self, cx: &Shared, ask: PreVoteAsk) -> Vote {
        let end: LogEnd = self.tail.end();
        let leads = match &self.doing {
            Doing::Lead(leader) => leader.alive,
            Doing::Candidate(_) => true,
            Doing::Follow => self.blocked(),
        };
        let newest = self.record.as_ref().map_or(0, |known| known.record.epoch);
        let near = ask.end.seq.saturating_add(cx.config.limits.behind_entries_max) >= end.seq;
        let yes = !leads
            && !self.suspicion.hears(cx.now, cx.config.timings.suspect)
            && ask.epoch >= newest
            && (ask.ready || !cx.ready)
            && near
            // It could not be given what it lacks by then.
            && ask.end.seq >= self.tail.base().seq;
        Vote { partition: self.id, epoch: ask.epoch, yes, end: to_wire(end) }
    }

    /// So many contradict this node's log that it could not lead: others are let try first.
    pub(super) fn stand_back(&mut self, cx: &mut Shared) {
        self.back_off(cx);
        self.suspicion.not_before = cx.now + 3 * cx.config.timings.retry_max;
    }

    /// It was tried in vain: the next time is a while away, and longer each time.
    pub(super) fn back_off(&mut self, cx: &mut Shared) {
        let timings = cx.config.timings;
        let doubled = timings.rank * 2_u32.saturating_pow(self.suspicion.attempts.min(8));
        let pause = cx.about(doubled.min(timings.retry_max));
        self.suspicion.attempts += 1;
        self.suspicion.not_before = cx.now + pause;
    }
}

/// How many members should try before this node does.
fn rank(cx: &Shared, record: &PartitionRecord) -> u32 {
    let before = record
        .last_open()
        .1
        .iter()
        .filter(|member| record.primary.as_ref() != Some(&member.node) || cx.is_me(member))
        .position(|member| cx.is_me(member));
    before.and_then(|before| u32::try_from(before).ok()).unwrap_or(0)
}

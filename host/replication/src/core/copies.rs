//! The copies on the other members: what each is sent, and what it says it holds.
//!
//! Where one stands is in [`follower`](super::follower); here is what the leader of a partition does
//! with all of them.

use hashring::NodeId;
use segment::LogEntry;
use wire::{Ack, Message, Refuse, RefuseWhy};

use super::follower::{Next, When};
use super::partition::{Doing, Partition, ReadFor};
use super::shared::Shared;

impl Partition {
    /// A member holds something.
    pub(super) fn on_ack(&mut self, cx: &mut Shared, from: &NodeId, ack: Ack) {
        let end = self.tail.end().seq;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let current = ack.epoch == leader.epoch || cx.config.sabotage.any_epoch_acks;
        if !current {
            return;
        }
        if let Some(learner) = leader.changing.learner_of(cx, from) {
            learner.follower.acked(ack.matched.min(end), cx.now);
            let caught_up = learner.follower.matched >= self.commit;
            self.touch(cx);
            if caught_up {
                self.tick_change(cx);
            }
            return;
        }
        if !cx.counts(from, &leader.record.ensemble) {
            return;
        }
        for follower in leader.followers.iter_mut().filter(|f| f.member.node == *from) {
            follower.acked(ack.matched.min(end), cx.now);
        }
        self.touch(cx);
    }

    /// A member takes nothing.
    pub(super) fn on_refuse(&mut self, cx: &mut Shared, from: &NodeId, refuse: Refuse) {
        if let RefuseWhy::Stale { promised } = refuse.why {
            self.depose(cx, promised);
        }
        if refuse.why == RefuseWhy::Divergent {
            self.source_contradicts(cx, from, refuse.epoch);
        }
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return };
        if refuse.epoch != leader.epoch {
            return;
        }
        let gives_up = match refuse.why {
            RefuseWhy::Busy => Some(timings.resend),
            RefuseWhy::Divergent => Some(timings.dead),
            _ => None,
        };
        if let Some(pause) = gives_up
            && leader.changing.learner_of(cx, from).is_some()
        {
            self.dismiss_learner_for(cx, pause);
            return;
        }
        let learner = leader.changing.learner_of(cx, from).map(|learner| &mut learner.follower);
        let members = leader.followers.iter_mut().filter(|follower| {
            follower.member.node == *from && cx.peers.member(&follower.member).is_some()
        });
        for follower in members.chain(learner) {
            match refuse.why {
                RefuseWhy::Gap { after } => {
                    let seq = self.tail.not_above(after.epoch, after.seq);
                    follower.gap(seq, cx.now, timings.beat);
                }
                RefuseWhy::Full => {
                    follower.full = true;
                    follower.pause(cx.now, timings.resend);
                }
                RefuseWhy::Divergent => follower.contradicts(cx.now, timings.retry_max),
                RefuseWhy::Stale { .. } | RefuseWhy::NotMember | RefuseWhy::Busy => {
                    follower.pause(cx.now, timings.retry_max);
                }
            }
        }
        self.touch(cx);
    }

    /// Sends the members what they lack.
    pub(super) fn replicate(&mut self, cx: &mut Shared) {
        let id = self.id;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let reign = leader.reign(id, self.commit);
        let mut slowest = u64::MAX;
        let mut bases = Vec::new();
        for follower in leader.followers.iter_mut().chain(leader.changing.learner_mut()) {
            if cx.peers.member(&follower.member).is_none() {
                continue;
            }
            slowest = slowest.min(follower.matched);
            loop {
                let (now, resend) = (cx.now, cx.config.timings.resend);
                let when = When { now, resend, open: cx.pace.is_open(now) };
                match follower.next(&self.tail, reign, &cx.config.limits, when) {
                    Next::Nothing => break,
                    Next::ReadBase { at } => bases.push((follower.member.node.clone(), at)),
                    Next::Append(append) => {
                        cx.send(&follower.member.node, Message::Append(append));
                    }
                    Next::Read { from, long } => {
                        let request = cx.read(id, from, long);
                        let node = follower.member.node.clone();
                        self.reads.retain(|(_, purpose)| {
                            !matches!(purpose, ReadFor::Follower(to, _) if *to == node)
                        });
                        self.reads.push((request, ReadFor::Follower(node, reign.epoch)));
                    }
                }
            }
        }
        for (node, at) in bases {
            self.read_base(cx, &node, reign.epoch, at);
        }
        let Doing::Lead(leader) = &self.doing else { return };
        // A slow member's entries are kept as long as they are few; then it gets them from the disk.
        let limits = &cx.config.limits;
        let mut gone = self.commit.min(leader.own);
        if self.tail.bytes() <= limits.append_bytes_max {
            gone = gone.min(slowest);
        }
        self.tail.forget(gone, limits.tail_entries_max);
    }

    /// What a member lacks was read.
    pub(super) fn on_follower_read(
        &mut self,
        cx: &mut Shared,
        node: &NodeId,
        epoch: u64,
        entries: Vec<LogEntry>,
    ) {
        let id = self.id;
        let Doing::Lead(leader) = &mut self.doing else { return };
        if leader.epoch != epoch {
            return;
        }
        let reign = leader.reign(id, self.commit);
        let wait = (cx.now, cx.config.timings.beat);
        let followers = leader.followers.iter_mut().chain(leader.changing.learner_mut());
        for follower in followers.filter(|follower| follower.member.node == *node) {
            let limits = &cx.config.limits;
            let appends = follower.read_done(entries.clone(), &self.tail, reign, limits, wait);
            for append in appends {
                let bytes = append.entries.iter().map(|entry| entry.payload.len()).sum();
                cx.pace.gave(bytes, cx.now);
                cx.send(node, Message::Append(append));
            }
        }
        self.touch(cx);
    }
}

//! A log that begins behind a base: trimming it, giving what it stands on to who lacks entries before it,
//! and taking that (R30, R31).
//!
//! What is kept of everything up to the base is on the disk before the log begins there, here as at the member
//! that is given it. One record in the log's own queue makes both current; until that is synced the log from
//! before is what counts, and answers seals.

use bytes::Bytes;
use hashring::NodeId;
use segment::{Base, LogEnd, LogOp};
use wire::{Ack, BaseHave, Message, RefuseWhy};

use super::convert::{to_log, to_wire};
use super::partition::{Doing, Known, Partition, ReadFor};
use super::shared::Shared;
use super::step::{Kept, Step};
use super::writer::After;

/// A base that this node is given.
#[derive(Clone, Debug)]
pub(super) struct Taking {
    from: NodeId,
    epoch: u64,
    base: Base,
}

impl Partition {
    /// What is kept of everything up to `base` is on the disk: the log begins there from now on, if that is
    /// committed and the log has it.
    pub(super) fn trim(&mut self, cx: &mut Shared, base: LogEnd) {
        let committed = base.seq <= self.commit || cx.config.sabotage.trim_early;
        let here = self.tail.epoch_at(base.seq) == Some(base.epoch)
            && self.tail.place(base.seq).is_none_or(|place| place == base);
        // A log that is being mended goes back to a place above its beginning.
        let mends = self.mending.is_some();
        // While somebody is given what the log stands on, it stays: what follows it would be gone.
        let gives = self.gives(cx);
        if mends || gives || !committed || !here || base.seq <= self.tail.base().seq {
            return;
        }
        self.tail.trim(base);
        self.unreadable = self.unreadable.filter(|(seq, _)| *seq > base.seq);
        cx.writer.push(&mut self.slot, LogOp::Base { partition: self.id, base });
        self.touch(cx);
    }

    /// Whether a member is given what the log stands on.
    fn gives(&self, cx: &Shared) -> bool {
        let Doing::Lead(leader) = &self.doing else { return false };
        let learner = leader.changing.learner.as_ref().map(|learner| &learner.follower);
        let mut all = leader.followers.iter().chain(learner);
        all.any(|follower| follower.gives(cx.now) && cx.peers.member(&follower.member).is_some())
    }

    /// Has a piece of the base read for a member.
    pub(super) fn read_base(&mut self, cx: &mut Shared, node: &NodeId, epoch: u64, at: u64) {
        let request = cx.read_base(self.id, at);
        self.reads.retain(|(_, purpose)| !matches!(purpose, ReadFor::Base(to, _) if to == node));
        self.reads.push((request, ReadFor::Base(node.clone(), epoch)));
    }

    /// A piece of the base was read.
    pub(super) fn on_base_read(
        &mut self,
        cx: &mut Shared,
        request: u64,
        base: Base,
        (at, piece): (u64, Option<Bytes>),
    ) {
        let Some(found) = self.reads.iter().position(|(number, _)| *number == request) else {
            return;
        };
        let (_, ReadFor::Base(node, epoch)) = self.reads.swap_remove(found) else { return };
        let (partition, pause) = (self.id, cx.config.timings.beat);
        let Doing::Lead(leader) = &mut self.doing else { return };
        if leader.epoch != epoch {
            return;
        }
        let followers = leader.followers.iter_mut().chain(leader.changing.learner_mut());
        for follower in followers.filter(|follower| follower.member.node == node) {
            let piece = follower.base_read(base, at, piece.clone(), (cx.now, pause));
            if let Some((base, piece)) = piece {
                cx.pace.gave(piece.len(), cx.now);
                let message = wire::Base {
                    partition,
                    epoch,
                    place: to_wire(base.place),
                    digest: base.digest,
                    total: base.bytes,
                    at,
                    piece,
                };
                cx.send(&node, Message::Base(message));
            }
        }
        self.touch(cx);
    }

    /// A member says how much of the base it has.
    pub(super) fn on_base_have(&mut self, cx: &mut Shared, from: &NodeId, have: BaseHave) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        if have.epoch != leader.epoch {
            return;
        }
        let learner = leader.changing.learner_of(cx, from).map(|learner| &mut learner.follower);
        let members = leader.followers.iter_mut().filter(|follower| {
            follower.member.node == *from && cx.peers.member(&follower.member).is_some()
        });
        for follower in members.chain(learner) {
            follower.base_has(to_log(have.place), have.have, cx.now);
        }
        self.touch(cx);
    }

    /// A primary sends a piece of what its log stands on.
    pub(super) fn on_base(&mut self, cx: &mut Shared, from: &NodeId, boot: u64, sent: wire::Base) {
        if !self.follows(cx, from, boot, sent.epoch, true) {
            return;
        }
        // It takes the place of everything that is here: the registry itself has to name who gives it. If that
        // is not known here yet, it is sent again.
        let named = self.record.as_ref().is_some_and(|Known { record, .. }| {
            record.epoch == sent.epoch
                && record.primary.as_ref() == Some(from)
                && record.boot == boot
        });
        if !named {
            return;
        }
        let place = to_log(sent.place);
        let refuse = |it: &Self, cx: &mut Shared, why| it.refuse(cx, from, sent.epoch, why);
        if self.tail.epoch_at(place.seq) == Some(place.epoch) {
            // It is in the log, or was: the log is all that is needed.
            let after = to_wire(self.tail.place(place.seq).unwrap_or(place));
            return refuse(self, cx, RefuseWhy::Gap { after });
        }
        if place.seq <= self.tail.base().seq {
            let after = to_wire(self.tail.base());
            return refuse(self, cx, RefuseWhy::Gap { after });
        }
        if place.seq <= self.commit {
            // Something else is known to be committed there.
            self.contradicted(cx, from, boot, place.seq);
            return refuse(self, cx, RefuseWhy::Divergent);
        }
        let base = Base { place, bytes: sent.total, entries: 0, digest: sent.digest };
        self.taking = Some(Taking { from: from.clone(), epoch: sent.epoch, base });
        let last = sent.at.saturating_add(u64::try_from(sent.piece.len()).unwrap_or(u64::MAX));
        cx.keep(Step::Keep { partition: self.id, base, at: sent.at, piece: sent.piece });
        if cx.config.sabotage.base_unsynced && last >= sent.total {
            self.begin_at(cx, from, sent.epoch, place);
        }
    }

    /// The disk has done with a piece.
    pub(super) fn on_kept(&mut self, cx: &mut Shared, base: Base, kept: Kept) {
        let Some(taking) = self.taking.clone() else { return };
        let same = (taking.base.place, taking.base.digest) == (base.place, base.digest);
        let follows = matches!(self.doing, Doing::Follow) && !self.blocked();
        let follows = follows && self.promised == taking.epoch;
        if !same || !follows {
            return;
        }
        let Taking { from, epoch, base: Base { place, .. } } = taking;
        match kept {
            Kept::Some(have) => {
                let (partition, place) = (self.id, to_wire(place));
                let have = BaseHave { partition, epoch, place, have };
                cx.send(&from, Message::BaseHave(have));
            }
            Kept::All => self.begin_at(cx, &from, epoch, place),
            Kept::Nothing => self.refuse(cx, &from, epoch, RefuseWhy::Full),
        }
    }

    /// The log begins and ends at `place`, which its primary's log has: everything before is kept.
    fn begin_at(&mut self, cx: &mut Shared, from: &NodeId, epoch: u64, place: LogEnd) {
        if place.seq <= self.commit || self.tail.epoch_at(place.seq) == Some(place.epoch) {
            return;
        }
        self.taking = None;
        self.deferred = None;
        self.mending = None;
        self.unreadable = None;
        cx.writer.withdraw(self.id);
        if self.tail.end().seq >= place.seq {
            // What stands there is of an epoch that has lost it.
            let op = LogOp::Cut { partition: self.id, after: place.seq - 1 };
            cx.writer.push(&mut self.slot, op);
        }
        cx.writer.push(&mut self.slot, LogOp::Base { partition: self.id, base: place });
        self.tail.begin(place);
        self.commit = place.seq;
        self.matched = place.seq;
        let ack = Ack { partition: self.id, epoch, matched: place.seq };
        cx.writer.after(After::Ack { to: from.clone(), ack });
        self.touch(cx);
    }
}

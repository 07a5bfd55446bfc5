//! Giving a partition to another member, in good order.
//!
//! First nothing new is admitted and what is under way is committed; then the live member with the
//! longest log is told, and takes over as if this node were gone, without asking for votes. If nothing
//! comes of it this node leads on, for the record is still its own.

use std::collections::BTreeSet;

use hashring::NodeId;
use wire::{HandOver, HandOverAnswer, Message};

use super::Time;
use super::convert::to_wire;
use super::partition::{Doing, Partition};
use super::shared::Shared;

/// A hand-over under way.
#[derive(Debug)]
pub(super) struct HandingOver {
    since: Time,
    /// Who was told.
    to: Option<NodeId>,
    /// Who has said no.
    refused: BTreeSet<NodeId>,
    /// Who may take it; anybody, if nobody is named.
    only: Vec<NodeId>,
}

impl HandingOver {
    fn new(only: Vec<NodeId>, now: Time) -> Self {
        Self { since: now, to: None, refused: BTreeSet::new(), only }
    }

    fn may_take(&self, node: &NodeId) -> bool {
        !self.refused.contains(node) && (self.only.is_empty() || self.only.contains(node))
    }

    /// Whether all who may take it have said no.
    fn is_vain(&self) -> bool {
        !self.only.is_empty() && self.only.iter().all(|node| self.refused.contains(node))
    }
}

/// Peers must have had a registry session, and this node none, for so long before it hands over.
const NO_SESSION: Time = Time::from_secs(30);

impl Partition {
    /// Begins to give the partition away.
    pub(super) fn begin_hand_over(&mut self, cx: &mut Shared) {
        self.begin_hand_over_to(cx, Vec::new());
    }

    /// The same, to one of these; to anybody, if nobody is named.
    pub(super) fn begin_hand_over_to(&mut self, cx: &mut Shared, only: Vec<NodeId>) {
        if let Doing::Lead(leader) = &mut self.doing
            && leader.open()
            && leader.handing.is_none()
        {
            leader.handing = Some(HandingOver::new(only, cx.now));
            self.touch(cx);
        }
    }

    /// Tells the successor, once everything is committed.
    pub(super) fn go_on_handing_over(&mut self, cx: &mut Shared) {
        let end = self.tail.end();
        let commit = self.commit;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let Some(handing) = &mut leader.handing else { return };
        if commit < end.seq || handing.to.is_some() {
            return;
        }
        let patience = cx.config.timings.suspect;
        let wanted = self.wanted.as_ref().map_or(&[][..], |wanted| wanted.members.as_slice());
        let best = leader
            .followers
            .iter()
            .filter(|follower| !follower.full && cx.peers.live(&follower.member, cx.now, patience))
            .filter(|follower| cx.peers.member(&follower.member).is_some_and(|peer| !peer.full))
            .filter(|follower| handing.may_take(&follower.member.node))
            .max_by_key(|follower| (follower.matched, wanted.contains(&follower.member)));
        let Some(best) = best else { return };
        handing.to = Some(best.member.node.clone());
        let hand_over = HandOver { partition: self.id, epoch: leader.epoch, end: to_wire(end) };
        cx.send(&best.member.node, Message::HandOver(hand_over));
    }

    /// A beat passed: begins a hand-over that is due, or ends one that came to nothing.
    pub(super) fn tick_hand_over(&mut self, cx: &mut Shared) {
        let patience = cx.config.timings.hand_over;
        let now = cx.now;
        let over = |since: Time| now.saturating_sub(since) >= patience;
        let Doing::Lead(leader) = &mut self.doing else { return };
        if leader.handing.as_ref().is_some_and(|handing| over(handing.since)) {
            leader.handing = None;
            let alone = !leader
                .followers
                .iter()
                .any(|follower| cx.peers.live(&follower.member, now, cx.config.timings.suspect));
            if cx.draining && alone {
                // Nobody is there to take it, and this process is about to end.
                self.step_down(cx);
                return;
            }
        }
        let others_full = leader.followers.iter().all(|follower| {
            follower.full || cx.peers.member(&follower.member).is_none_or(|peer| peer.full)
        });
        let cut_off = matches!(cx.session, Err(since) if now.saturating_sub(since) >= NO_SESSION)
            && leader
                .followers
                .iter()
                .filter(|follower| {
                    cx.peers.member(&follower.member).is_some_and(|peer| {
                        peer.session_since
                            .is_some_and(|since| now.saturating_sub(since) >= NO_SESSION)
                    })
                })
                .count()
                + 1
                >= usize::from(leader.quorum).max(2);
        let full = cx.full.is_some_and(over) && !others_full;
        if cx.draining || full || cut_off {
            self.begin_hand_over(cx);
        }
    }

    /// The primary wants this node to take over.
    pub(super) fn on_hand_over(&mut self, cx: &mut Shared, from: &NodeId, hand_over: HandOver) {
        let HandOver { partition, epoch, end } = hand_over;
        let taken = self.can_take(cx, from, epoch) && self.matched >= end.seq;
        let answer = HandOverAnswer { partition, epoch, taken };
        cx.send(from, Message::HandOverAnswer(answer));
        if taken {
            self.take_over(cx);
        }
    }

    fn can_take(&self, cx: &Shared, from: &NodeId, epoch: u64) -> bool {
        let theirs = self.record.as_ref().is_some_and(|known| {
            known.record.epoch == epoch && known.record.primary.as_ref() == Some(from)
        });
        theirs && epoch == self.promised && self.may_take_over(cx) && cx.ready && cx.full.is_none()
    }

    /// What the successor says.
    pub(super) fn on_hand_over_answer(
        &mut self,
        cx: &mut Shared,
        from: &NodeId,
        answer: HandOverAnswer,
    ) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        let Some(handing) = &mut leader.handing else { return };
        if leader.epoch == answer.epoch && handing.to.as_ref() == Some(from) && !answer.taken {
            // Another member may; if none does, this node leads on when the time is over.
            handing.refused.extend(handing.to.take());
            if handing.is_vain() {
                leader.handing = None;
            }
            self.touch(cx);
        }
    }
}

//! Beats: who is there, and who leads what.
//!
//! Every beat goes to every connected peer, with the partitions that this node leads and the peer is a
//! member of. A primary that does not hear enough members leaves its partitions out, so that they
//! suspect it. A beat may also be sent between two others, for partitions whose leadership somebody
//! wants confirmed.

use std::collections::BTreeMap;

use hashring::{NodeId, PartitionId};
use registry::Member;
use wire::{Beat, BeatAnswer, Lead, Message};

use super::partition::{Doing, Partition};
use super::{Core, Time};

impl Core {
    /// Time passed.
    pub(super) fn pass(&mut self, now: Time) {
        let timings = self.cx.config.timings;
        // It is woken at every beat: if it was not, the process stood still.
        let late = now.saturating_sub(self.next_beat) >= timings.late;
        self.cx.now = self.cx.now.max(now);
        if late {
            self.cx.peers.be_patient(self.cx.now);
            self.cx.writer.be_patient(self.cx.now);
            self.cx.roll.be_patient(self.cx.now);
            self.each(|at, cx| at.be_patient(cx));
        }
        if now < self.next_beat {
            return;
        }
        self.next_beat = self.cx.now + timings.beat;
        self.cx.hand_overs_left = self.cx.config.limits.learners_max;
        self.each(|at, cx| {
            at.on_tick(cx);
            at.show_ends(cx);
        });
        let all = (0..self.cx.config.partitions).map(PartitionId);
        self.beat(all.collect());
    }

    /// Sends the beat that confirmations wait for, if any do.
    pub(super) fn beat_on_demand(&mut self) {
        let wanted = std::mem::take(&mut self.cx.out.beats);
        if !wanted.is_empty() {
            self.beat(wanted.into_iter().collect());
        }
    }

    /// Tells the peers which of these partitions this node leads.
    fn beat(&mut self, partitions: Vec<PartitionId>) {
        let round = self.cx.peers.begin_round();
        let mut leads: BTreeMap<NodeId, Vec<Lead>> =
            self.cx.peers.connected().map(|(node, _)| (node.clone(), Vec::new())).collect();
        for id in partitions {
            let Some(at) = self.partitions.get(usize::from(id.0)) else { continue };
            let Some((lead, members)) = at.lead() else { continue };
            for member in members {
                if let Some(leads) = leads.get_mut(&member.node) {
                    leads.push(lead);
                }
            }
        }
        let stuck = self.cx.writer.stuck(self.cx.now, self.cx.config.timings.lead);
        let (full, session) = (self.cx.full.is_some(), self.cx.session.is_ok());
        for (node, leads) in leads {
            let epochs = leads.iter().map(|lead| (lead.partition, lead.epoch)).collect();
            self.cx.peers.sent(&node, epochs);
            self.cx.send(&node, Message::Beat(Beat { round, leads, stuck, full, session }));
        }
    }

    /// A peer is there, and leads something.
    pub(super) fn on_beat(&mut self, from: &NodeId, beat: Beat) {
        let now = self.cx.now;
        if let Some(peer) = self.cx.peers.heard(from, now) {
            peer.full = beat.full;
            peer.stuck = beat.stuck;
            peer.session_since = if beat.session { peer.session_since.or(Some(now)) } else { None };
        }
        let mut higher = Vec::new();
        for lead in beat.leads {
            let told = self.with(lead.partition, |at, cx| at.on_lead(cx, from, lead));
            higher.extend(told.flatten());
        }
        let answer = BeatAnswer { round: beat.round, higher };
        self.cx.send(from, Message::BeatAnswer(answer));
    }

    /// A peer has answered a beat.
    pub(super) fn on_beat_answer(&mut self, from: &NodeId, answer: &BeatAnswer) {
        for (partition, epoch) in self.cx.peers.answered(from, answer) {
            let higher = answer.higher.iter().find(|promised| promised.partition == partition);
            self.with(partition, |at, cx| match higher {
                Some(promised) => at.depose(cx, promised.epoch),
                None => at.on_confirmed(cx, from, epoch, answer.round),
            });
        }
    }
}

impl Partition {
    /// What a beat says of this partition, and to whom; `None` if this node does not lead it.
    fn lead(&self) -> Option<(Lead, &[Member])> {
        let (epoch, members) = match &self.doing {
            Doing::Candidate(candidate) if candidate.claimed() => {
                (candidate.epoch(), candidate.sealing())
            }
            Doing::Lead(leader) if leader.alive || !leader.open() => {
                (leader.epoch, leader.record.ensemble.as_slice())
            }
            Doing::Candidate(_) | Doing::Lead(_) | Doing::Follow => return None,
        };
        Some((Lead { partition: self.id, epoch, commit: self.commit }, members))
    }
}

//! Changing who holds a partition, by its primary.
//!
//! The ring says who should; once that has been so for long enough the primary goes there one step at a
//! time ([`plan`](super::plan)). A node that is to be added is given the log first
//! ([`learner`](super::learner)). When it has caught up nothing new is admitted until everything is
//! committed, and then the primary goes the way of every take-over: it claims the next epoch, with the
//! new ensemble, seals the *old* one, and opens when enough of the *new* one hold the opening entry. Who
//! dies on the way leaves a record that the old ensemble takes over from, as if nothing had been tried.
//!
//! A member that is still there goes only when enough of the others have all objects ([`objects`](super::objects)).
//!
//! The commit quorum of the new epoch is the one this node is configured with, as far as the new ensemble
//! can meet it: so a partition that grows from one member to three gets the quorum of three.

use hashring::NodeId;
use registry::{Member, PartitionRecord, PartitionState};

use super::candidate::Candidate;
use super::event::Roster;
use super::follower::Follower;
use super::learner::Learner;
use super::objects::Objects;
use super::partition::{Doing, Known, Partition};
use super::plan::{Aim, Ensembles};
use super::roster::Wanted;
use super::shared::Shared;
use super::step::{Moving, Step};
use super::{Core, Time, quorum};

/// What a primary does about its ensemble.
#[derive(Debug)]
pub(super) struct Changing {
    /// When the epoch began here.
    began: Time,
    pub(super) learner: Option<Learner>,
    /// Nothing new is admitted.
    hold: Option<Hold>,
    /// A claim of the next epoch whose result is not known; it may be won at any time.
    claim: Option<PartitionRecord>,
    /// Nothing is tried before.
    not_before: Time,
    /// Who has all objects.
    pub(super) objects: Objects,
}

/// A change that is about to be made.
#[derive(Debug)]
struct Hold {
    since: Time,
    ensemble: Vec<Member>,
    /// The claim is on its way.
    asked: bool,
}

impl Changing {
    /// Of an epoch that begins.
    pub(super) fn new(now: Time) -> Self {
        let (not_before, objects) = (Time::ZERO, Objects::default());
        Self { began: now, learner: None, hold: None, claim: None, not_before, objects }
    }

    /// Whether sends wait for a change.
    pub(super) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether a record with this nonce is its claim.
    pub(super) fn claims_with(&self, nonce: u64) -> bool {
        self.claim.as_ref().is_some_and(|claim| claim.nonce == nonce)
    }

    /// Its claim of which nobody knows what became, to be made again.
    pub(super) fn take_claim(&mut self) -> Option<PartitionRecord> {
        self.claim.take()
    }

    /// A claim is on its way.
    pub(super) fn put_claim(&mut self, claim: PartitionRecord) {
        self.claim = Some(claim);
    }

    /// The learner's copy.
    pub(super) fn learner_mut(&mut self) -> Option<&mut Follower> {
        self.learner.as_mut().map(|learner| &mut learner.follower)
    }

    /// The learner, if it is this node with the right store.
    pub(super) fn learner_of(&mut self, cx: &Shared, node: &NodeId) -> Option<&mut Learner> {
        self.learner.as_mut().filter(|learner| {
            let member = &learner.follower.member;
            member.node == *node && cx.peers.member(member).is_some()
        })
    }
}

impl Core {
    /// The ring, or who is to leave, is another than before.
    pub(super) fn on_roster(&mut self, mut roster: Roster) {
        let now = self.cx.now;
        let moved = self.cx.roll.take(&roster, now);
        for at in &mut self.partitions {
            if let Some(members) = roster.wanted.remove(&at.id) {
                at.wanted = Some(Wanted::next(at.wanted.take(), members, moved, now));
            }
        }
    }
}

impl Partition {
    /// Tells how far a change is.
    pub(super) fn moving(&self, cx: &mut Shared, how: Moving) {
        cx.tell(Step::Moving { partition: self.id, how });
    }

    /// A beat passed: looks after the learner, and goes on towards the wanted ensemble.
    pub(super) fn tick_change(&mut self, cx: &mut Shared) {
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return };
        if let Some(hold) = &leader.changing.hold {
            if cx.now.saturating_sub(hold.since) >= timings.hold {
                // Its claim may yet be won; until that is known this node leads on.
                leader.changing.hold = None;
                leader.changing.not_before = cx.now + timings.retry_max;
                if leader.changing.learner.is_none() {
                    self.moving(cx, Moving::GivenUp);
                }
                self.touch(cx);
            }
            return;
        }
        if leader.handing.is_some() || cx.draining {
            self.dismiss_learner(cx);
            return;
        }
        self.look_after_learner(cx);
        let Some(wanted) = &self.wanted else { return };
        if !wanted.settled(cx.now, timings.settle) || cx.session.is_err() || !self.is_leading() {
            let Doing::Lead(leader) = &self.doing else { return };
            let learner = leader.changing.learner.as_ref();
            if learner.is_some_and(|it| !wanted.members.contains(&it.follower.member)) {
                self.dismiss_learner(cx);
            }
            return;
        }
        let aim = self.aim(cx);
        match self.once_objects_allow(cx, aim) {
            Aim::Nothing => {
                self.dismiss_learner(cx);
                self.hand_back(cx);
            }
            Aim::HandOver { to } => {
                self.dismiss_learner(cx);
                self.give_to(cx, to);
            }
            Aim::Change { add, drop } => self.go_towards(cx, add, drop),
        }
    }

    fn is_leading(&self) -> bool {
        matches!(&self.doing, Doing::Lead(leader) if leader.leading())
    }

    /// The next step towards the wanted ensemble.
    fn aim(&self, cx: &mut Shared) -> Aim {
        let (Doing::Lead(leader), Some(wanted)) = (&self.doing, &self.wanted) else {
            return Aim::Nothing;
        };
        cx.roll.note(&leader.record.ensemble, cx.now);
        let ensembles = Ensembles {
            now: &leader.record.ensemble,
            wanted: &wanted.members,
            copies: usize::from(cx.config.copies),
            me: &cx.me(),
        };
        let timings = &cx.config.timings;
        ensembles.aim(
            |member| cx.roll.goes(member, cx.now, timings.dead),
            |member| {
                let there = cx.peers.live(member, cx.now, timings.suspect);
                there && cx.peers.member(member).is_some_and(|peer| !peer.full)
            },
        )
    }

    /// Gives up a learner that is gone or takes nothing.
    fn look_after_learner(&mut self, cx: &mut Shared) {
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let Some(learner) = &mut leader.changing.learner else { return };
        learner.tick(self.commit, cx.now, timings.hold);
        let there = cx.peers.live(&learner.follower.member, cx.now, timings.suspect);
        if !there || learner.is_stalled(cx.now) {
            self.dismiss_learner(cx);
        }
    }

    /// Gives the log to nobody for now. What the learner has it keeps.
    pub(super) fn dismiss_learner(&mut self, cx: &mut Shared) {
        self.dismiss_learner_for(cx, cx.config.timings.retry_max);
    }

    /// The same; nothing is tried for about `pause`.
    pub(super) fn dismiss_learner_for(&mut self, cx: &mut Shared, pause: Time) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        leader.changing.hold = None;
        if leader.changing.learner.take().is_some() {
            leader.changing.not_before = cx.now + cx.about(pause);
            cx.feeding.remove(&self.id);
            self.moving(cx, Moving::GivenUp);
            self.touch(cx);
        }
    }

    /// Begins with a learner, or holds sends once there is nothing more to wait for.
    fn go_towards(&mut self, cx: &mut Shared, add: Option<Member>, drop: Option<Member>) {
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let learner = leader.changing.learner.as_ref().map(|learner| &learner.follower.member);
        if learner.is_some() && learner != add.as_ref() {
            self.dismiss_learner(cx);
            return;
        }
        if cx.now < leader.changing.not_before {
            return;
        }
        let caught_up = match (&add, &leader.changing.learner) {
            (Some(add), None) => {
                if cx.feeding.len() >= cx.config.limits.learners_max {
                    return;
                }
                cx.feeding.insert(self.id);
                let boot = cx.peers.member(add).map_or(0, |peer| peer.boot);
                let end = self.tail.end().seq;
                leader.changing.learner = Some(Learner::new(add.clone(), boot, end, cx.now));
                self.moving(cx, Moving::Begun);
                self.touch(cx);
                return;
            }
            (Some(_), Some(learner)) => learner.has_caught_up(cx.now, timings.hold),
            (None, _) => true,
        };
        if !caught_up {
            return;
        }
        let members = self.wanted.as_ref().map_or(&[][..], |wanted| wanted.members.as_slice());
        let ensembles = Ensembles {
            now: &leader.record.ensemble,
            wanted: members,
            copies: usize::from(cx.config.copies),
            me: &cx.me(),
        };
        let ensemble = ensembles.after(add.as_ref(), drop.as_ref());
        let there = ensemble
            .iter()
            .filter(|member| cx.is_me(member) || cx.peers.live(member, cx.now, timings.suspect));
        let enough = there.count() >= usize::from(quorum::commit(cx.config.commit, &ensemble));
        if enough && cx.can_seal(&leader.record) {
            leader.changing.hold = Some(Hold { since: cx.now, ensemble, asked: false });
            if add.is_none() {
                self.moving(cx, Moving::Begun);
            }
            self.touch(cx);
        }
    }

    /// Claims the next epoch, once everything is committed and the learner holds it.
    pub(super) fn go_on_changing(&mut self, cx: &mut Shared) {
        let end = self.tail.end().seq;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let Some(hold) = leader.changing.hold.as_mut().filter(|hold| !hold.asked) else { return };
        let learner = leader.changing.learner.as_ref();
        let held = learner.is_none_or(|learner| learner.follower.matched >= end);
        if self.commit < end || !held {
            return;
        }
        let Some(known) = &self.record else { return };
        if known.record.epoch != leader.epoch || known.record.state != PartitionState::Open {
            return;
        }
        hold.asked = true;
        let ensemble = hold.ensemble.clone();
        // The same claim again, if it may still be under way: of two only one could be told to be ours.
        let claim = match leader.changing.claim.take() {
            Some(claim) if claim.ensemble == ensemble => claim,
            _ => claim(cx, &known.record, ensemble),
        };
        cx.cas(self.id, known.version, claim.clone());
        leader.changing.claim = Some(claim);
    }

    /// The registry has the claim: this node leads the old epoch no longer and seals it.
    pub(super) fn change_won(&mut self, cx: &mut Shared, version: u64) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        let Some(record) = leader.changing.claim.take() else { return };
        let learner = leader.changing.learner.take();
        leader.changing.hold = None;
        self.record = Some(Known { record: record.clone(), version });
        if cx.config.sabotage.change_in_place {
            leader.followers.retain(|follower| record.ensemble.contains(&follower.member));
            leader.followers.extend(learner.map(|learner| learner.follower));
            leader.record = record;
            cx.feeding.remove(&self.id);
            self.touch(cx);
            return;
        }
        self.step_down(cx);
        self.doing = Doing::Candidate(Box::new(Candidate::of_change(record, cx.now)));
        self.suspicion.new_epoch(cx.now);
        self.seal(cx);
    }

    /// The registry has another record than the claim, which tells by itself what that means; or none.
    pub(super) fn change_lost(&mut self, cx: &mut Shared, nonce: u64) {
        let Doing::Lead(leader) = &mut self.doing else { return };
        if leader.changing.claims_with(nonce) {
            leader.changing.claim = None;
            leader.changing.hold = None;
            leader.changing.not_before = cx.now + cx.config.timings.retry_max;
            self.touch(cx);
        }
    }

    /// This node is not to hold the partition: whoever is takes it, and goes on from there.
    fn give_to(&mut self, cx: &mut Shared, to: Vec<NodeId>) {
        let timings = cx.config.timings;
        let Doing::Lead(leader) = &mut self.doing else { return };
        let live = leader.followers.iter().any(|follower| {
            to.contains(&follower.member.node)
                && follower.matched >= self.commit
                && cx.peers.live(&follower.member, cx.now, timings.suspect)
        });
        if !live || cx.now < leader.changing.not_before || cx.hand_overs_left == 0 {
            return;
        }
        cx.hand_overs_left -= 1;
        leader.changing.not_before = cx.now + timings.hand_over + timings.retry_max;
        self.begin_hand_over_to(cx, to);
    }

    /// Gives the partition to the member that should lead it, once this node has led it for long enough
    /// to be sure that the other one stays.
    fn hand_back(&mut self, cx: &mut Shared) {
        let (Doing::Lead(leader), Some(wanted)) = (&self.doing, &self.wanted) else { return };
        let ensemble = &leader.record.ensemble;
        let as_wanted = wanted.members.len() == ensemble.len()
            && wanted.members.iter().all(|member| ensemble.contains(member));
        let led = cx.now.saturating_sub(leader.changing.began) >= cx.config.timings.settle;
        if let Some(first) = wanted.members.first()
            && as_wanted
            && led
            && !cx.is_me(first)
        {
            let to = vec![first.node.clone()];
            self.give_to(cx, to);
        }
    }
}

/// The record of the next epoch, with another ensemble.
fn claim(cx: &mut Shared, known: &PartitionRecord, ensemble: Vec<Member>) -> PartitionRecord {
    if cx.config.sabotage.change_in_place {
        return PartitionRecord { ensemble, nonce: cx.nonce(), ..known.clone() };
    }
    let (prev_epoch, prev_ensemble, prev_commit) = known.last_open();
    PartitionRecord {
        epoch: known.epoch + 1,
        state: PartitionState::Sealing,
        primary: Some(cx.config.node.clone()),
        boot: cx.config.boot,
        commit: quorum::commit(cx.config.commit, &ensemble),
        ensemble,
        prev_epoch,
        prev_ensemble: prev_ensemble.to_vec(),
        prev_commit,
        nonce: cx.nonce(),
    }
}

//! What others are shown of a partition, and when they are told to look again.

use hashring::NodeId;
use registry::PartitionState;

use super::Time;
use super::partition::{Doing, Known, Partition};
use super::shared::Shared;
use super::step::{Step, Why};
use super::view::{LearnerView, PartitionView, Role};

/// What was shown last, without what is costly to compare. Log ends move all the time; they are looked at
/// once a beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Glance {
    epoch: u64,
    open: bool,
    version: u64,
    role: Role,
    leading: bool,
    live: u8,
    closed_for: Option<Why>,
    end: u64,
    commit: u64,
    base: u64,
    /// What a learner holds.
    learner: Option<(u64, u64)>,
    /// How often another ensemble was wanted.
    wanted: u64,
    awaits_objects: bool,
    stale: Time,
    damaged: bool,
    unreadable: bool,
    mended: u64,
}

/// An epoch, and who leads in it.
#[derive(Clone, Copy, Debug)]
struct Reign<'a> {
    epoch: u64,
    /// Others may hear what is committed in it.
    open: bool,
    primary: Option<&'a NodeId>,
}

impl Partition {
    /// The partition as this node knows it.
    pub(super) fn view(&self, cx: &Shared) -> PartitionView {
        let record = self.record.as_ref().map(|known| &known.record);
        let nodes = record.map_or(&[][..], |record| record.ensemble.as_slice());
        let reign = self.reign();
        PartitionView {
            epoch: reign.epoch,
            role: self.role(cx),
            open: reign.open,
            primary: reign.primary.cloned(),
            ensemble: nodes.iter().map(|member| member.node.clone()).collect::<Vec<NodeId>>(),
            stores: nodes.iter().map(|member| member.store).collect(),
            wanted: self.wanted_nodes(),
            learners: self.learners(cx),
            awaits_objects: self.awaits_objects(),
            leading: self.leading(),
            live: self.live(cx),
            closed_for: self.closed_for(cx),
            commit: self.commit,
            committed: self.tail.place(self.commit),
            end: self.tail.end().seq,
            base: self.tail.base().seq,
            stale: self.stale(cx),
            damaged: self.damaged,
            unreadable: self.unreadable.map(|(seq, _)| seq),
            mended: self.mended,
            differing: self.differing(),
        }
    }

    /// Tells the floors above if what they see has changed.
    pub(super) fn show(&mut self, cx: &mut Shared) {
        self.prove();
        let Reign { epoch, open, .. } = self.reign();
        let now = Glance {
            epoch,
            open,
            version: self.record.as_ref().map_or(0, |known| known.version),
            role: self.role(cx),
            leading: self.leading(),
            live: self.live(cx),
            closed_for: self.closed_for(cx),
            damaged: self.damaged,
            unreadable: self.unreadable.is_some(),
            mended: self.mended,
            ..self.shown
        };
        if now != self.shown {
            self.look(cx, now);
        }
    }

    /// A beat passed: the same for what moves all the time.
    pub(super) fn show_ends(&mut self, cx: &mut Shared) {
        self.prove();
        let (end, commit) = (self.tail.end().seq, self.commit);
        // Silence is of interest once it is longer than it ever is in good times.
        let stale = self.stale(cx);
        let stale = if stale > 2 * cx.config.timings.beat { stale } else { Time::ZERO };
        let learner = match &self.doing {
            Doing::Lead(leader) => {
                let learner = leader.changing.learner.as_ref().map(|learner| &learner.follower);
                learner.map(|follower| (follower.matched, follower.given_of().0))
            }
            Doing::Follow | Doing::Candidate(_) => None,
        };
        let wanted = self.wanted.as_ref().map_or(0, |wanted| wanted.version);
        let base = self.tail.base().seq;
        let awaits_objects = self.awaits_objects();
        let now =
            Glance { end, commit, base, learner, wanted, awaits_objects, stale, ..self.shown };
        if now != self.shown {
            self.look(cx, now);
        }
    }

    fn look(&mut self, cx: &mut Shared, now: Glance) {
        self.shown = now;
        cx.tell(Step::Viewed { partition: self.id });
    }

    fn awaits_objects(&self) -> bool {
        matches!(&self.doing, Doing::Lead(leader) if leader.changing.objects.asked)
    }

    fn role(&self, cx: &Shared) -> Role {
        match &self.doing {
            Doing::Candidate(_) => Role::Candidate,
            Doing::Lead(leader) if leader.serving => Role::Primary,
            Doing::Lead(_) => Role::Candidate,
            Doing::Follow if self.blocked() => Role::Mending,
            Doing::Follow => match &self.record {
                Some(known) if known.record.names(&cx.config.node, cx.config.store) => Role::Member,
                Some(_) | None if cx.is_learning(self.id) => Role::Learner,
                Some(_) if self.tail.end().seq > 0 => Role::Retired,
                Some(_) | None => Role::Outside,
            },
        }
    }

    /// Who reigns: what the record says, or what is committed, if that says more. The registry can be away
    /// right after a reign began, and whoever has read of the claim only would wait for it to come back;
    /// but nothing of a reign is committed before its record is open.
    fn reign(&self) -> Reign<'_> {
        let Some(Known { record, .. }) = &self.record else {
            return Reign { epoch: 0, open: false, primary: None };
        };
        match &self.proven {
            Some((epoch, node)) if *epoch >= record.epoch => {
                Reign { epoch: *epoch, open: true, primary: Some(node) }
            }
            Some(_) | None => Reign {
                epoch: record.epoch,
                open: record.state == PartitionState::Open,
                primary: record.primary.as_ref(),
            },
        }
    }

    /// Notes that something of the promised epoch is committed. It stays noted when another is promised: what
    /// is shown does not go back.
    fn prove(&mut self) {
        let known = self.proven.as_ref().map_or(0, |(epoch, _)| *epoch);
        if self.promised > known
            && let Some((node, _)) = &self.promised_to
            && self.tail.epoch_at(self.commit) == Some(self.promised)
        {
            self.proven = Some((self.promised, node.clone()));
        }
    }

    fn wanted_nodes(&self) -> Vec<NodeId> {
        let members = self.wanted.iter().flat_map(|wanted| &wanted.members);
        members.map(|member| member.node.clone()).collect()
    }

    /// Members whose logs contradict this one's, as far as it leads.
    fn differing(&self) -> Vec<NodeId> {
        let Doing::Lead(leader) = &self.doing else { return Vec::new() };
        let differ = leader.followers.iter().filter(|follower| follower.differs);
        differ.map(|follower| follower.member.node.clone()).collect()
    }

    fn learners(&self, cx: &Shared) -> Vec<LearnerView> {
        let Doing::Lead(leader) = &self.doing else { return Vec::new() };
        let end = self.tail.end().seq;
        leader.changing.learner.iter().map(|learner| learner.view(end, cx.now)).collect()
    }

    fn leading(&self) -> bool {
        matches!(&self.doing, Doing::Lead(leader) if leader.leading())
    }

    /// Members that are not suspected. A member that takes nothing because its disk is full is not one
    /// that a send may count on.
    fn live(&self, cx: &Shared) -> u8 {
        let patience = cx.config.timings.suspect;
        let live = match (&self.doing, &self.record) {
            (Doing::Lead(leader), _) => {
                let others = leader.followers.iter().filter(|follower| {
                    !follower.full
                        && !follower.differs
                        && cx.peers.live(&follower.member, cx.now, patience)
                });
                1 + others.count()
            }
            (_, Some(known)) => {
                let members = known.record.ensemble.iter();
                members
                    .filter(|member| cx.is_me(member) || cx.peers.live(member, cx.now, patience))
                    .count()
            }
            (_, None) => 0,
        };
        u8::try_from(live).unwrap_or(u8::MAX)
    }

    fn closed_for(&self, cx: &Shared) -> Option<Why> {
        let Doing::Lead(leader) = &self.doing else { return None };
        let limits = &cx.config.limits;
        let uncommitted = self.tail.end().seq - self.commit.min(self.tail.end().seq);
        let many = usize::try_from(uncommitted).is_ok_and(|n| n >= limits.uncommitted_entries_max)
            || self.tail.bytes() >= limits.uncommitted_bytes_max
            || leader.waits.sending() >= limits.waiting_max;
        if leader.handing.is_some() || leader.changing.holds() || cx.draining {
            Some(Why::HandingOver)
        } else if cx.full.is_some() {
            Some(Why::Full)
        } else if many {
            Some(Why::Overloaded)
        } else {
            None
        }
    }

    fn stale(&self, cx: &Shared) -> Time {
        if self.leading() { Time::ZERO } else { self.suspicion.silence(cx.now) }
    }
}

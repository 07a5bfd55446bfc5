//! The schedules S1 to S12, as far as replication has a part in them: each one accident that a design
//! like ours is known to get wrong, played by hand.
//!
//! What in S7 to S11 concerns chats is told of entries and barriers: a chat's state is a fold of its
//! entries, so what holds for these holds for it.

use registry::{Member, PartitionRecord, PartitionState};
use replication::core::{Outcome, Why};

use crate::agenda::ms;
use crate::disk::Pace;
use crate::registry::Gate;
use crate::stage::{P, Stage};

/// S1. A primary that did not sync what its members committed returns at once: it must not go on in
/// its epoch, and what was committed must be there.
#[test]
fn an_unsynced_primary_that_returns_at_once_begins_anew() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let epoch = stage.world.view(leader, P).epoch;
    stage.world.pace(leader, Pace::Hung);
    let token = stage.send(leader, 2);
    stage.until("the members' commit", |world| world.history.shown(P) >= 2);
    let shown = stage.world.history.shown(P);
    stage.crash(leader);
    stage.good(!stage.has(leader, token), "it was not synced");
    stage.world.restart(leader);
    stage.until("a later epoch", |world| world.history.highest(P) > epoch);
    let next = stage.leader();
    stage.good(stage.world.end(next, P).seq > shown, "the entry is there, and an opening one");
    stage.good(stage.has(next, token), "it was committed");
    stage.heal();
    stage.good(stage.shown(token) == 1, "it was shown once");
}

/// S2. The primary changes the ensemble and dies, and so does the candidate that seals after it: the
/// third must still seal the ensemble of the last *open* epoch.
#[test]
fn candidates_that_die_sealing_a_change_lose_nothing() {
    let mut stage = Stage::new(5, 2);
    let leader = stage.leader();
    let token = stage.commit(leader);
    let others = stage.others();
    let before = stage.world.registry.current(P).clone();
    // The change as a primary records it: one member less, one more, and the same primary.
    let outsider =
        (0..5).find(|node| !before.names(&stage.world.nodes[*node].id, *node as u64 + 1));
    let outsider = outsider.unwrap();
    let joining = &stage.world.nodes[outsider];
    let mut ensemble = before.ensemble.clone();
    ensemble.retain(|member| member.node != stage.world.nodes[others[1]].id);
    ensemble.push(Member { node: joining.id.clone(), store: joining.disk.store });
    let change = PartitionRecord {
        epoch: before.epoch + 1,
        state: PartitionState::Sealing,
        ensemble,
        prev_epoch: before.epoch,
        prev_ensemble: before.ensemble.clone(),
        prev_commit: before.commit,
        nonce: before.nonce ^ 1,
        ..before.clone()
    };
    stage.crash(leader);
    stage.world.registry.put(P, change);
    stage.world.registry.changed(&mut stage.world.agenda, P);
    // The next candidate wins its record and gets no further.
    let sealing = |world: &crate::world::World| {
        let record = world.registry.current(P);
        record.epoch > before.epoch + 1 && record.state == PartitionState::Sealing
    };
    for member in &others {
        stage.world.registry.gate(&mut stage.world.agenda, *member, Gate::After);
    }
    stage.until("a candidate", sealing);
    let record = stage.world.registry.current(P).clone();
    stage.good(record.prev_ensemble == before.ensemble, "the last open ensemble is carried over");
    let candidate = record.primary.and_then(|node| stage.world.index_of(&node)).unwrap();
    stage.crash(candidate);
    for node in 0..5 {
        stage.world.registry.gate(&mut stage.world.agenda, node, Gate::Through);
    }
    stage.world.restart(candidate);
    stage.world.restart(leader);
    let next = stage.leader();
    stage.good(stage.has(next, token), "what was committed is there");
    stage.heal();
}

/// S3, first part. A candidate dies before its partition is recorded open: nobody was shown anything.
#[test]
fn a_candidate_that_dies_before_it_is_recorded_open_showed_nothing() {
    die_around_open(Gate::Before);
}

/// S3, second part. A candidate dies after it was recorded open, and before it knows.
#[test]
fn a_candidate_that_dies_after_it_is_recorded_open_is_followed() {
    die_around_open(Gate::After);
}

fn die_around_open(gate: Gate) {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let token = stage.commit(leader);
    let epoch = stage.world.view(leader, P).epoch;
    stage.crash(leader);
    let recorded = |world: &crate::world::World, state| {
        let record = world.registry.current(P);
        record.epoch > epoch && record.state == state
    };
    stage.until("a candidate", |world| recorded(world, PartitionState::Sealing));
    let record = stage.world.registry.current(P).clone();
    let candidate = record.primary.and_then(|node| stage.world.index_of(&node)).unwrap();
    // Its first compare-and-set is through once it is told; the gate is for the second.
    stage.until("the candidate's promise", |world| {
        world.nodes[candidate].durable(P).promised() == record.epoch
    });
    stage.world.registry.gate(&mut stage.world.agenda, candidate, gate);
    if gate == Gate::After {
        stage.until("open", |world| recorded(world, PartitionState::Open));
    } else {
        stage.pass(1_000);
    }
    stage.good(stage.world.history.highest(P) == epoch, "it must not lead");
    stage.crash(candidate);
    stage.world.registry.gate(&mut stage.world.agenda, candidate, Gate::Through);
    stage.world.restart(leader);
    let next = stage.leader_but(&[candidate]);
    stage.good(stage.has(next, token), "what was committed is there");
    stage.heal();
}

/// S4. A seal comes to a member between the queueing of an entry and its sync: the answer waits for
/// the sync and counts the entry.
#[test]
fn a_seal_between_queue_and_sync_counts_what_was_queued() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let others = stage.others();
    let (slow, cut) = (others[0], others[1]);
    let epoch = stage.world.view(leader, P).epoch;
    stage.world.network.cut(&mut stage.world.agenda, leader, cut);
    stage.world.pace(slow, Pace::Hung);
    let token = stage.send(leader, 2);
    stage.until("the entry in the queue", |world| {
        world.end(slow, P).seq > world.history.shown(P)
            && world.end(slow, P) == world.end(leader, P)
    });
    let end = stage.world.end(slow, P);
    stage.crash(leader);
    // Only the member whose writer hangs can vouch for the entry; the other one takes over and asks.
    stage.until("a candidate", |world| world.registry.current(P).epoch > epoch);
    stage.pass(800);
    stage.good(stage.world.history.highest(P) == epoch, "nobody leads before the answer");
    stage.world.pace(slow, Pace::Normal);
    let next = stage.leader_but(&[leader]);
    stage.good(stage.has(next, token), "the queued entry counted");
    stage.good(stage.world.end(next, P).seq > end.seq, "and the opening one is after it");
    stage.world.restart(leader);
    stage.heal();
    stage.good(stage.shown(token) == 1, "it was shown once");
}

/// S5. A deposed primary returns with a suffix that nobody else has: it is cut, and never counted for
/// the entries that stand at the same places now.
#[test]
fn a_stale_suffix_is_cut_and_does_not_count() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.commit(leader);
    stage.world.isolate(leader);
    let lost: Vec<u64> = (0..20).map(|_| stage.send(leader, 1)).collect();
    stage.pass(100);
    stage.good(lost.iter().all(|token| stage.has(leader, *token)), "it has the suffix");
    let next = stage.leader_but(&[leader]);
    let kept: Vec<u64> = (0..3).map(|_| stage.commit(next)).collect();
    // The third is gone while the first returns: from now on its acks are needed.
    let third = stage.others().into_iter().find(|node| *node != leader).unwrap();
    stage.crash(third);
    stage.world.join(leader);
    let after = stage.commit(next);
    stage.good(
        stage.has(leader, after) && kept.iter().all(|token| stage.has(leader, *token)),
        "held",
    );
    stage.good(lost.iter().all(|token| !stage.has(leader, *token)), "the suffix is gone");
    stage.heal();
    stage.good(lost.iter().all(|token| stage.shown(*token) == 0), "and was never shown");
}

/// S6. With one copy to a commit, nodes are told that from now on it is two. What the first epoch
/// committed on one disk alone must be sealed by that epoch's rule: all members.
#[test]
fn a_higher_commit_seals_by_the_rule_of_the_last_epoch() {
    let mut stage = Stage::new(3, 1);
    let leader = stage.leader();
    stage.world.isolate(leader);
    let token = stage.commit(leader);
    stage.crash(leader);
    stage.world.join(leader);
    for node in 0..3 {
        stage.world.nodes[node].commit = 2;
        if node != leader {
            stage.crash(node);
            stage.world.restart(node);
        }
    }
    stage.pass(11_000);
    stage.good(stage.world.leader(P).is_none(), "two of three do not seal a commit of one");
    stage.world.restart(leader);
    let next = stage.leader();
    stage.good(stage.has(next, token), "the only copy was asked");
    stage.good(stage.world.registry.current(P).commit == 2, "the new epoch has the new rule");
    stage.heal();
}

/// S7. A refusal is about to be answered from a state that saw an entry ("the chat has ended") which
/// is not committed: its barrier must not let it out when the epoch is lost.
#[test]
fn a_barrier_does_not_pass_when_its_epoch_is_lost() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let epoch = stage.world.view(leader, P).epoch;
    stage.world.isolate(leader);
    let end = stage.send(leader, 2);
    let barrier = stage.world.barrier(leader, P, epoch).unwrap();
    let next = stage.leader_but(&[leader]);
    stage.good(!stage.has(next, end), "the entry is withdrawn");
    stage.world.join(leader);
    let outcome = stage.outcome(barrier);
    stage.good(outcome != Outcome::Done, &format!("the barrier: {outcome:?}"));
    let outcome = stage.outcome(end);
    stage.good(matches!(outcome, Outcome::Unknown(_)), &format!("the entry: {outcome:?}"));
    stage.heal();
    stage.good(stage.shown(end) == 0, "nobody saw it");
}

/// S8. A strike is counted by an entry that is withdrawn: the next epoch's state is without it, and a
/// barrier there passes for what that epoch has.
#[test]
fn a_withdrawn_entry_is_not_in_the_next_epoch() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let first = stage.commit(leader);
    stage.world.isolate(leader);
    let strike = stage.send(leader, 2);
    let next = stage.leader_but(&[leader]);
    let second = stage.send(next, 2);
    let epoch = stage.world.view(next, P).epoch;
    let barrier = stage.world.barrier(next, P, epoch).unwrap();
    let outcome = stage.outcome(barrier);
    stage.good(outcome == Outcome::Done, &format!("{outcome:?}"));
    let has = [first, strike, second].map(|token| stage.has(next, token));
    stage.good(has == [true, false, true], "the strike is not counted");
    stage.world.join(leader);
    stage.heal();
    stage.good(!stage.has(leader, strike), "nor where it was made");
}

/// S9. A repeat joins a send that is under way, and a take-over comes between: both are told that
/// nobody knows, and after the take-over the entry is there once.
#[test]
fn a_send_and_its_repeat_survive_a_take_over_as_one_entry() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let epoch = stage.world.view(leader, P).epoch;
    // The members' acks do not reach the primary, which does not sync either: nothing is committed.
    stage.world.pace(leader, Pace::Hung);
    for member in stage.others() {
        stage.world.network.cut(&mut stage.world.agenda, member, leader);
    }
    let send = stage.send(leader, 2);
    let repeat = stage.world.barrier(leader, P, epoch).unwrap();
    stage.until("the members have it", |world| {
        let end = world.end(leader, P);
        end.seq > world.history.shown(P) && (0..3).all(|node| world.nodes[node].log(P).end() == end)
    });
    let next = stage.leader_but(&[leader]);
    stage.good(stage.has(next, send), "it was on two disks");
    stage.world.join(leader);
    let outcomes = [stage.outcome(send), stage.outcome(repeat)];
    let unknown =
        outcomes.iter().all(|it| matches!(it, Outcome::Unknown(_) | Outcome::NotCommitted(_)));
    stage.good(
        unknown && !matches!(outcomes[0], Outcome::NotCommitted(_)),
        &format!("{outcomes:?}"),
    );
    stage.heal();
    stage.good(stage.shown(send) == 1, "once");
}

/// S10. A refusal without effects was answered; after a take-over its entry is still there, so that a
/// repeat is answered the same.
#[test]
fn an_answered_entry_is_there_when_the_next_leader_opens() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let refusal = stage.commit(leader);
    stage.crash(leader);
    let next = stage.leader_but(&[leader]);
    stage.good(stage.has(next, refusal) && stage.shown(refusal) == 1, "it is there");
    stage.world.restart(leader);
    stage.heal();
}

/// S11. A local answer gave a cursor to an entry that is withdrawn: its place is taken by an entry of a
/// higher epoch, by which a reader sees it.
#[test]
fn a_withdrawn_local_cursor_differs_in_its_epoch() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.world.isolate(leader);
    let local = stage.send(leader, 1);
    let Outcome::Local { seq } = stage.outcome(local) else {
        panic!("{}", stage.world.trace);
    };
    let cursor = stage.world.nodes[leader].log(P).at(seq).unwrap();
    let next = stage.leader_but(&[leader]);
    stage.commit(next);
    let there = stage.world.nodes[next].log(P).at(seq).unwrap();
    stage.good(there.epoch > cursor.epoch, "the same seq, another epoch");
    stage.world.join(leader);
    stage.heal();
    stage.good(stage.shown(local) == 0, "nobody was shown it");
}

/// S12. A send waits for all three members and one dies: it is committed, the wait ends without a
/// result, and the next such send is refused at once.
#[test]
fn a_send_for_all_members_ends_when_one_dies() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let dies = stage.others()[0];
    stage.crash(dies);
    let token = stage.send(leader, 3);
    let outcome = stage.outcome(token);
    let unknown = matches!(outcome, Outcome::Unknown(Why::Timeout | Why::TooFewMembers));
    stage.good(unknown, &format!("{outcome:?}"));
    stage.good(stage.shown(token) == 1, "it is committed nevertheless");
    let admits = stage.world.view(leader, P).admits(3);
    stage.good(admits == Err(Why::TooFewMembers), &format!("{admits:?}"));
    stage.good(stage.world.view(leader, P).admits(2).is_ok(), "two are there");
    stage.commit(leader);
    stage.world.restart(dies);
    stage.until("all members again", |world| world.view(leader, P).admits(3).is_ok());
    let token = stage.send(leader, 3);
    let outcome = stage.outcome(token);
    stage.good(matches!(outcome, Outcome::Quorum { .. }), &format!("{outcome:?}"));
    stage.world.run_for(ms(1)).unwrap();
    stage.heal();
}

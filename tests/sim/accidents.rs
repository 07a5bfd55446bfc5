//! Schedules of later numbers than S12 that need nothing but replication: cuts, pauses, damage, and
//! disks that are full or hang.

use hashring::PartitionId;
use replication::core::{Event, Limits, Outcome};
use wire::{Ack, Message};

use crate::agenda::ms;
use crate::disk::Pace;
use crate::node::Came;
use crate::setup::Setup;
use crate::stage::{P, Stage};

/// P9. A primary that is gone is replaced within 5 s: 3 of silence, 1 of rank and chance, 1 of work;
/// also where it led many partitions.
#[test]
fn a_primary_that_is_gone_is_replaced_within_five_seconds() {
    let partitions = 64;
    let mut stage = Stage::of(Setup { partitions, ..Setup::calm(3, 2) });
    let leader = stage.leader();
    let token = stage.commit(leader);
    stage.crash(leader);
    let gone = stage.world.agenda.now();
    stage.until("all led", |world| world.partitions().all(|it| world.leader(it).is_some()));
    let took = stage.world.agenda.now() - gone;
    stage.good(took < ms(5_000), &format!("{took} us"));
    let next = stage.leader();
    stage.good(stage.has(next, token), "nothing is lost");
    stage.world.restart(leader);
    stage.heal();
}

/// S14. A primary offers its partition and the answer is lost: it goes on, or another leads; in any
/// case the partition is led soon, and sends are answered.
#[test]
fn a_lost_hand_over_leaves_the_partition_led() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let token = stage.commit(leader);
    for member in stage.others() {
        stage.world.network.cut(&mut stage.world.agenda, member, leader);
    }
    stage.world.tell(leader, Came::Event(Event::HandOver { partition: P }));
    stage.pass(1_500);
    stage.world.network.heal_all(&mut stage.world.agenda);
    stage.pass(2_500);
    let leads = stage.leader();
    stage.commit(leads);
    stage.good(stage.has(leads, token), "nothing is lost");
    stage.heal();
}

/// A hand-over that nothing disturbs is a matter of moments.
#[test]
fn a_hand_over_takes_less_than_a_second() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let token = stage.commit(leader);
    stage.world.tell(leader, Came::Event(Event::HandOver { partition: P }));
    stage.pass(1_000);
    let next = stage.world.leader(P);
    stage.good(next.is_some_and(|next| next != leader && stage.has(next, token)), "handed over");
    stage.heal();
}

/// A node that drains leads nothing soon, and does not take anything back.
#[test]
fn a_drained_node_leads_nothing() {
    let mut stage = Stage::of(Setup { partitions: 3, ..Setup::calm(3, 2) });
    let leader = stage.leader();
    stage.world.tell(leader, Came::Event(Event::Drain));
    let all = (0..3).map(PartitionId);
    stage.until("led by others", |world| {
        let led = world.nodes[leader].life.as_ref().map(|life| life.core.led());
        let others = all.clone().all(|it| world.leader(it).is_some_and(|node| node != leader));
        led == Some(0) && others
    });
    stage.pass(5_000);
    let led = stage.world.nodes[leader].life.as_ref().map(|life| life.core.led());
    stage.good(led == Some(0), "it takes nothing back");
    stage.crash(leader);
    stage.world.restart(leader);
    stage.heal();
}

/// S15, first part. A primary that is cut from its peers says within 2 s that it does not lead, and
/// does not confirm that it does.
#[test]
fn a_primary_cut_from_its_peers_stops_leading() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.world.isolate(leader);
    let confirm = stage.world.confirm(leader, P).unwrap();
    stage.pass(2_600);
    stage.good(!stage.world.view(leader, P).leading, "it must not say that it leads");
    let outcome = stage.outcome(confirm);
    stage.good(outcome != Outcome::Done, &format!("{outcome:?}"));
    stage.leader_but(&[leader]);
    stage.world.join(leader);
    stage.heal();
}

/// S15, second part. A primary without a registry session goes on.
#[test]
fn a_primary_cut_from_the_registry_goes_on() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    for node in 0..3 {
        stage.world.session(node, false);
    }
    stage.pass(8_000);
    stage.good(stage.world.leader(P) == Some(leader), "the same leader");
    stage.commit(leader);
    stage.heal();
}

/// S16, first part. Two members do not see each other and the third sees both: whoever leads, sends
/// go on.
#[test]
fn a_bridge_keeps_the_partition_led() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let other = stage.others()[0];
    stage.world.network.cut(&mut stage.world.agenda, leader, other);
    stage.world.network.cut(&mut stage.world.agenda, other, leader);
    stage.pass(8_000);
    let epoch = stage.world.registry.current(P).epoch;
    let leads = stage.leader();
    stage.commit(leads);
    stage.pass(8_000);
    let later = stage.world.registry.current(P).epoch;
    stage.good(later <= epoch + 1, &format!("epochs do not chase each other: {epoch}, {later}"));
    stage.heal();
}

/// S16, second part. A primary is heard, but hears nobody: it stops leading, and another one may.
#[test]
fn a_primary_that_hears_nobody_is_replaced() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    for member in stage.others() {
        stage.world.network.cut(&mut stage.world.agenda, member, leader);
    }
    let next = stage.leader_but(&[leader]);
    stage.commit(next);
    stage.heal();
}

/// S17. A primary stands still for longer than its leadership lasts, with sends waiting: it answers
/// nothing from before.
#[test]
fn a_primary_that_stood_still_confirms_before_it_answers() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.commit(leader);
    stage.world.pause(leader);
    let confirm = stage.world.confirm(leader, P).unwrap();
    let next = stage.leader_but(&[leader]);
    let token = stage.commit(next);
    stage.world.resume(leader);
    let outcome = stage.outcome(confirm);
    stage.good(outcome != Outcome::Done, &format!("{outcome:?}"));
    stage.until("the entry", |world| world.end(leader, P) == world.end(next, P));
    stage.good(stage.has(leader, token), "it follows");
    stage.heal();
}

/// S17, second part. A primary stood still, its connections did not end, and it hears neither its
/// successor nor the registry. It must not say that it leads, and learns from a member that it does
/// not.
#[test]
fn a_primary_that_stood_still_asks_before_it_leads() {
    let mut stage = Stage::new(3, 2);
    stage.world.network.set_idle(ms(60_000));
    let leader = stage.leader();
    stage.world.session(leader, false);
    stage.pass(100);
    stage.world.pause(leader);
    stage.until("a candidate", |world| world.registry.current(P).epoch > 1);
    let by = stage.world.registry.current(P).primary.clone().unwrap();
    let second = stage.world.index_of(&by).unwrap();
    stage.world.network.cut(&mut stage.world.agenda, second, leader);
    stage.leader_but(&[leader]);
    stage.pass(5_000);
    let confirm = stage.world.confirm(leader, P).unwrap();
    stage.world.resume(leader);
    stage.pass(1);
    stage.good(!stage.world.view(leader, P).leading, "it cannot know whether it leads");
    let again = stage.world.confirm(leader, P).unwrap();
    let outcomes = [stage.outcome(confirm), stage.outcome(again)];
    stage.good(!outcomes.contains(&Outcome::Done), &format!("{outcomes:?}"));
    stage.heal();
}

/// S18. A deposed primary is connected again before it knows: however often it is asked then, it does
/// not confirm that it leads.
#[test]
fn a_deposed_primary_that_returns_confirms_nothing() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.world.isolate(leader);
    stage.world.session(leader, false);
    let next = stage.leader_but(&[leader]);
    stage.commit(next);
    stage.world.join(leader);
    let asked: Vec<u64> = (0..600)
        .filter_map(|_| {
            stage.pass(1);
            stage.world.confirm(leader, P)
        })
        .collect();
    stage.pass(6_000);
    let done = asked.iter().filter(|token| stage.world.outcome(**token) == Some(Outcome::Done));
    stage.good(asked.len() == 600 && done.count() == 0, "it was deposed");
    stage.heal();
}

/// S21. All processes are gone at once and return: partitions whose leaders return are led at once.
#[test]
fn all_nodes_restart_at_once() {
    let mut stage = Stage::of(Setup { partitions: 3, ..Setup::calm(3, 2) });
    let leader = stage.leader();
    let tokens: Vec<u64> = (0..5).map(|_| stage.commit(leader)).collect();
    (0..3).for_each(|node| stage.crash(node));
    (0..3).for_each(|node| stage.world.restart(node));
    stage.pass(2_000);
    let led = (0..3).filter(|it| stage.world.leader(PartitionId(*it)).is_some()).count();
    stage.good(led == 3, "records name earlier lives: no suspicion is needed");
    let leader = stage.leader();
    stage.good(tokens.iter().all(|token| stage.has(leader, *token)), "nothing is lost");
    stage.heal();
}

/// S22. A member is away for longer than what is kept in memory: it gets the rest from the disk.
#[test]
fn a_member_away_past_the_tail_catches_up() {
    let limits = Limits {
        tail_entries_max: 8,
        append_entries_max: 5,
        in_flight_entries_max: 10,
        ..Limits::default()
    };
    let mut stage = Stage::of(Setup { limits, ..Setup::calm(3, 2) });
    let leader = stage.leader();
    let away = stage.others()[0];
    stage.crash(away);
    let last = (0..200).map(|_| stage.commit(leader)).last().unwrap();
    stage.world.restart(away);
    stage.until("all of it", |world| world.end(away, P) == world.end(leader, P));
    stage.good(stage.has(away, last), "to the last");
    stage.heal();
}

/// S23. A data directory is wiped: the node's word does not count, and the others go on.
#[test]
fn a_wiped_member_does_not_count() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let token = stage.commit(leader);
    let others = stage.others();
    stage.crash(others[0]);
    stage.world.wipe(others[0]);
    stage.world.restart(others[0]);
    stage.commit(leader);
    // Its word is not even heard where it claims to hold everything.
    stage.crash(others[1]);
    let unheard = stage.send(leader, 2);
    let life = stage.world.nodes[leader].life.as_ref().unwrap();
    let epoch = life.core.view(P).epoch;
    let ack = Message::Ack(Ack { partition: P, epoch, matched: u64::MAX });
    let stranger = stage.world.nodes[others[0]].life.as_ref().unwrap();
    if let Some(generation) = stranger.peers.get(&leader).copied() {
        stage.world.network.send(&mut stage.world.agenda, (others[0], leader), generation, ack);
    }
    stage.pass(1_000);
    stage.good(stage.shown(unheard) == 0, "nobody else holds it");
    stage.world.restart(others[1]);
    stage.pass(1_000);
    stage.crash(leader);
    stage.pass(11_000);
    stage.good(stage.world.leader(P).is_none(), "one member and a stranger are no two members");
    stage.world.restart(leader);
    let next = stage.leader();
    stage.good(stage.has(next, token), "nothing is lost");
    stage.heal();
}

/// S24. A member's last entries are damaged and the primary is lost: the damaged log alone with a
/// shorter one must not lead.
#[test]
fn a_damaged_log_does_not_vote_for_a_shorter_one() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let others = stage.others();
    let (damaged, behind) = (others[0], others[1]);
    stage.crash(behind);
    let tokens: Vec<u64> = (0..5).map(|_| stage.commit(leader)).collect();
    stage.crash(leader);
    stage.crash(damaged);
    stage.world.damage(damaged, 3);
    stage.world.restart(damaged);
    stage.world.restart(behind);
    stage.pass(11_000);
    stage.good(stage.world.leader(P).is_none(), "what is lost may be committed");
    stage.world.restart(leader);
    let next = stage.leader();
    stage.good(tokens.iter().all(|token| stage.has(next, *token)), "nothing is lost");
    stage.heal();
}

/// S24, with the primary lost later: what it gave back to the damaged log before is not all that the two
/// of them had committed.
#[test]
fn a_damaged_log_that_was_given_back_a_part_does_not_vote_for_a_shorter_one() {
    let limits = Limits { append_entries_max: 1, ..Limits::default() };
    let mut stage = Stage::of(Setup { limits, ..Setup::calm(3, 2) });
    let leader = stage.leader();
    let others = stage.others();
    let (damaged, behind) = (others[0], others[1]);
    stage.crash(behind);
    let tokens: Vec<u64> = (0..5).map(|_| stage.commit(leader)).collect();
    stage.crash(damaged);
    stage.world.damage(damaged, 3);
    let left = stage.world.end(damaged, P).seq;
    stage.world.restart(damaged);
    stage.until("the first to come back", |world| world.end(damaged, P).seq > left);
    stage.good(!stage.has(damaged, tokens[4]), "not all of them");
    stage.crash(leader);
    stage.world.restart(behind);
    stage.pass(11_000);
    stage.good(stage.world.leader(P).is_none(), "what is missing is committed");
    stage.world.restart(leader);
    let next = stage.leader();
    stage.good(tokens.iter().all(|token| stage.has(next, *token)), "nothing is lost");
    stage.heal();
}

/// S26, first part. A member's disk is full: the others make the commit.
#[test]
fn a_full_member_does_not_stop_the_others() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let full = stage.others()[0];
    stage.world.tell(full, Came::Event(Event::WriterFull(true)));
    stage.pass(500);
    for _ in 0..10 {
        stage.commit(leader);
    }
    stage.heal();
}

/// S26, second part. A primary's disk is full for 2 s: it hands over.
#[test]
fn a_full_primary_hands_over() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.world.tell(leader, Came::Event(Event::WriterFull(true)));
    stage.pass(100);
    stage.good(stage.world.view(leader, P).admits(1).is_err(), "nothing is taken");
    let next = stage.leader_but(&[leader]);
    stage.commit(next);
    stage.heal();
}

/// S29. All registry sessions expire at once and are made anew: no epoch begins for it.
#[test]
fn sessions_that_expire_depose_nobody() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    let epoch = stage.world.view(leader, P).epoch;
    for node in 0..3 {
        stage.world.session(node, false);
    }
    stage.pass(500);
    for node in 0..3 {
        stage.world.session(node, true);
    }
    stage.pass(6_000);
    stage.good(stage.world.registry.current(P).epoch == epoch, "the same epoch");
    stage.commit(leader);
    stage.heal();
}

/// S30. A primary's writer hangs while its members commit for it: it stops leading, and another one
/// leads.
#[test]
fn a_primary_whose_writer_hangs_is_replaced() {
    let mut stage = Stage::new(3, 2);
    let leader = stage.leader();
    stage.world.pace(leader, Pace::Hung);
    let token = stage.send(leader, 2);
    let next = stage.leader_but(&[leader]);
    stage.good(stage.has(next, token), "the members had committed it");
    stage.commit(next);
    stage.world.run_for(ms(100)).unwrap();
    stage.heal();
}

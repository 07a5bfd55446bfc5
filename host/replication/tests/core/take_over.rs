//! A primary is lost, and another member goes on with everything that was acknowledged.

use std::time::Duration;

use replication::core::{Alarm, Event, Outcome, Role, Step, Why};

use crate::stage::{P, Stage, id};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_killed_primary_is_followed_within_five_seconds_and_nothing_committed_is_lost() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    let token = stage.submit("a", "kept", 2);
    stage.quiet();
    assert_eq!(stage.answer("a", token), Some(Outcome::Quorum { seq: 2 }));
    stage.kill("a");
    let time = stage.until("b leads", |stage| stage.view("b").leading);
    assert!(time < 5 * SECOND, "{time:?}");
    assert_eq!(stage.log("b"), ["#1", "kept", "#2"]);
    stage.start("a");
    stage.run(SECOND);
    assert_eq!(stage.log("a"), stage.log("b"));
    assert_eq!(stage.view("a").role, Role::Member);
}

#[test]
fn a_primary_that_returns_at_once_takes_a_new_epoch_and_loses_what_only_it_had_queued() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    for name in ["a", "b", "c"] {
        stage.node(name).hold = true;
    }
    let token = stage.submit("a", "unsynced", 2);
    stage.quiet();
    stage.kill("a");
    stage.release("b");
    stage.release("c");
    stage.start("a");
    stage.run(SECOND);
    let view = stage.view("a");
    assert!(view.leading && view.epoch == 2, "{view:?}");
    assert_eq!(stage.answer("a", token), None);
    assert_eq!(stage.log("a"), ["#1", "unsynced", "#2"], "adopted: two others held it");
    assert_eq!(stage.log("c"), stage.log("a"));
}

#[test]
fn what_only_the_old_primary_held_is_cut_when_it_returns() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.part("a", "b");
    stage.part("a", "c");
    let tokens: Vec<u64> = (0..3).map(|n| stage.submit("a", &format!("lost {n}"), 2)).collect();
    stage.until("b leads", |stage| stage.view("b").leading);
    stage.submit("b", "kept", 2);
    stage.quiet();
    stage.heal();
    stage.run(2 * SECOND);
    assert_eq!(stage.log("a"), ["#1", "#2", "kept"]);
    for token in tokens {
        let outcome = stage.answer("a", token);
        assert!(matches!(outcome, Some(Outcome::Unknown(_))), "{outcome:?}");
    }
    let told = &stage.node("a").told;
    assert!(told.contains(&Step::Closed { partition: P, epoch: 1 }), "{told:?}");
}

#[test]
fn the_best_log_is_fetched_by_a_member_that_lacks_it() {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.limits.append_entries_max = 3;
    for name in ["a", "b", "c"] {
        stage.start(name);
    }
    stage.run(SECOND);
    // b misses the end, and then takes over because c has no session.
    stage.part("a", "b");
    for n in 0..10 {
        stage.submit("a", &format!("entry {n}"), 2);
    }
    stage.quiet();
    stage.tell("c", Event::SessionDown);
    stage.kill("a");
    stage.until("b leads", |stage| stage.view("b").leading);
    assert_eq!(stage.log("b").len(), 12);
    assert_eq!(stage.log("b"), stage.log("c"));
}

#[test]
fn a_seal_of_a_sealing_record_meets_the_quorum_of_the_last_open_one() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.submit("a", "kept", 2);
    stage.quiet();
    stage.kill("a");
    stage.until("b claims", |stage| stage.records[&P].0.epoch == 2);
    let record = stage.records[&P].0.clone();
    assert_eq!((record.prev_epoch, record.prev_commit), (1, 2));
    // It dies before it has opened: the next one carries the last open epoch over.
    if stage.records[&P].0.state == registry::PartitionState::Sealing {
        stage.kill("b");
        stage.start("a");
        stage.until("someone leads", |s| s.view("a").leading || s.view("c").leading);
        assert_eq!(stage.log("c")[..2], ["#1", "kept"]);
    }
}

#[test]
fn two_of_three_lost_means_nobody_leads_until_one_returns() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.submit("a", "kept", 2);
    stage.quiet();
    stage.kill("a");
    stage.kill("b");
    stage.run(20 * SECOND);
    assert!(!stage.view("c").leading);
    assert_eq!(stage.records[&P].0.epoch, 1, "no vote, no epoch");
    stage.start("b");
    let time = stage.until("one leads", |s| s.view("b").leading || s.view("c").leading);
    assert!(time < 10 * SECOND, "{time:?}");
}

#[test]
fn a_damaged_member_does_not_make_a_seal_of_two() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.kill("c");
    stage.submit("a", "kept", 2);
    stage.quiet();
    stage.kill("a");
    stage.kill("b");
    // b and c are there, but b has lost what only a and b held.
    let disk = stage.node("b").disk.get_mut(&P).unwrap();
    disk.entries.pop();
    disk.damaged = true;
    stage.start("b");
    stage.start("c");
    stage.run(20 * SECOND);
    assert!(!stage.view("b").leading && !stage.view("c").leading);
    stage.start("a");
    stage.until("one leads", |s| ["a", "b", "c"].iter().any(|name| s.view(name).leading));
    stage.run(SECOND);
    for name in ["a", "b", "c"] {
        assert_eq!(stage.log(name)[..2], ["#1", "kept"]);
    }
}

#[test]
fn a_partition_is_handed_to_a_member_without_a_pause_for_suspicion() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    let token = stage.submit("a", "under way", 2);
    stage.tell("a", Event::HandOver { partition: P });
    assert_eq!(stage.view("a").admits(2), Err(Why::HandingOver));
    stage.quiet();
    assert_eq!(stage.answer("a", token), Some(Outcome::Quorum { seq: 2 }));
    assert!(!stage.view("a").leading);
    assert!(stage.view("b").leading || stage.view("c").leading);
    assert!(stage.node("a").told.contains(&Step::Closed { partition: P, epoch: 1 }));
}

#[test]
fn a_drained_node_gives_everything_away_and_takes_nothing_back() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.tell("a", Event::Drain);
    stage.quiet();
    assert_eq!(stage.node("a").core.as_ref().unwrap().led(), 0);
    stage.kill("b");
    stage.kill("c");
    stage.run(20 * SECOND);
    assert_eq!(stage.node("a").core.as_ref().unwrap().led(), 0);

    let mut alone = Stage::opened(&["a"], 1);
    alone.tell("a", Event::Drain);
    alone.run(3 * SECOND);
    assert_eq!(alone.node("a").core.as_ref().unwrap().led(), 0, "nobody is there to take it");
    alone.tell("a", Event::StayOn);
    alone.until("a leads again", |stage| stage.view("a").leading);
}

#[test]
fn a_node_that_is_to_stay_takes_over_again() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.tell("a", Event::Drain);
    stage.quiet();
    stage.tell("a", Event::StayOn);
    let leader = ["b", "c"].into_iter().find(|name| stage.view(name).leading).unwrap();
    let other = if leader == "b" { "c" } else { "b" };
    stage.tell(other, Event::Drain);
    stage.kill(leader);
    stage.until("a leads again", |stage| stage.view("a").leading);
    assert!(stage.view("a").admits(2).is_ok(), "and takes sends");
}

#[test]
fn a_hand_over_that_nobody_takes_is_given_up() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    for name in ["b", "c"] {
        stage.tell(name, Event::SessionDown);
    }
    stage.tell("a", Event::HandOver { partition: P });
    stage.run(3 * SECOND);
    let view = stage.view("a");
    assert!(view.leading && view.epoch == 1 && view.admits(2).is_ok(), "{view:?}");
}

#[test]
fn a_bridge_between_two_that_do_not_hear_each_other_keeps_the_primary() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.part("a", "c");
    stage.run(20 * SECOND);
    assert_eq!(stage.records[&P].0.epoch, 1, "b hears the primary and does not vote for c");
    assert!(stage.view("a").leading);
}

#[test]
fn a_primary_that_hears_but_is_not_heard_or_the_reverse_is_replaced() {
    for outward in [true, false] {
        let mut stage = Stage::opened(&["a", "b", "c"], 2);
        for peer in ["b", "c"] {
            let pair = if outward { (id("a"), id(peer)) } else { (id(peer), id("a")) };
            stage.cut.insert(pair);
        }
        let time = stage.until("b leads", |stage| stage.view("b").leading);
        assert!(time < 9 * SECOND, "{time:?}");
    }
}

#[test]
fn the_lower_of_two_lives_of_one_node_stops_itself() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.tell("a", Event::PeerUp { node: id("a"), boot: 9, store: 7 });
    stage.quiet();
    assert!(stage.node("a").stopped);
    let (mut record, version) = stage.records[&P].clone();
    record.primary = Some(id("b"));
    record.boot = 9;
    stage.tell("b", Event::Record { partition: P, record, version: version + 1 });
    stage.quiet();
    assert!(stage.node("b").stopped);
}

#[test]
fn a_record_below_the_promise_changes_nothing_and_an_operator_hears_of_it() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    let old = stage.records[&P].0.clone();
    stage.kill("a");
    stage.until("b leads", |stage| stage.view("b").leading);
    // The registry is put back to what it was before, and everybody starts again.
    for name in ["b", "c"] {
        stage.kill(name);
    }
    stage.records.insert(P, (old, 2));
    for name in ["b", "c"] {
        stage.start(name);
    }
    stage.run(20 * SECOND);
    assert_eq!(stage.records[&P].0.epoch, 1, "epoch 2 is not given out again");
    assert_eq!(stage.node("b").alarms, [Alarm::RegistryBehind]);
}

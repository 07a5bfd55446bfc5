//! Ensembles that change: join, leave, replacement, return, and what goes wrong on the way.

#![expect(clippy::indexing_slicing, reason = "a story's stage is set right")]

use std::time::Duration;

use hashring::PartitionId;
use registry::PartitionState;
use replication::core::{Event, Moving, Outcome, Role, Sabotage, Step};
use wire::Message;

use crate::registry::Cas;
use crate::stage::{P, Stage, id};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Members and others, the first of whom leads; the ring wants the members.
fn stage(members: &[&str], others: &[&str], commit: u8) -> Stage {
    let mut stage = Stage::with_others(members, others, 1, commit);
    begin(&mut stage, members, others);
    stage
}

fn begin(stage: &mut Stage, members: &[&str], others: &[&str]) {
    let all: Vec<&str> = members.iter().chain(others).copied().collect();
    for name in &all {
        stage.start(name);
    }
    stage.ring(&all, &[], members);
    stage.run(MINUTE);
    assert!(stage.view(members[0]).leading, "{:?}", stage.view(members[0]));
}

fn send(stage: &mut Stage, name: &str, texts: &[&str]) {
    for text in texts {
        let token = stage.submit(name, text, 2);
        stage.quiet();
        let answer = stage.answer(name, token);
        assert!(matches!(answer, Some(Outcome::Quorum { .. })), "{text}: {answer:?}");
    }
}

fn open_with(stage: &Stage, ensemble: &str) -> bool {
    stage.ensemble(P) == ensemble && stage.records[&P].0.state == PartitionState::Open
}

#[test]
fn a_node_that_the_ring_wants_learns_the_log_and_takes_the_place_of_another() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    send(&mut stage, "a", &["one", "two"]);
    stage.ring(&["a", "b", "c"], &[], &["a", "b", "c"]);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    stage.run(MINUTE - SECOND);
    assert_eq!(stage.ensemble(P), "abc", "the ring has to settle");
    assert_eq!(stage.view("d").role, Role::Outside);
    stage.until("the change", |stage| open_with(stage, "adb"));
    stage.run(SECOND);
    let record = stage.records[&P].0.clone();
    assert_eq!((record.epoch, record.commit, record.prev_epoch), (2, 2, 1));
    assert_eq!(stage.log("d"), ["#1", "one", "two", "#2"]);
    assert_eq!((stage.view("d").role, stage.view("c").role), (Role::Member, Role::Retired));
    assert_eq!(stage.node("a").moves, [Moving::Begun, Moving::Done]);
    let told: Vec<Step> = std::mem::take(&mut stage.node("a").told);
    let ends =
        [Step::Closed { partition: P, epoch: 1 }, Step::Opened { partition: P, epoch: 2, seq: 4 }];
    assert_eq!(told[told.len() - 2..], ends, "nothing was withdrawn in between");
    send(&mut stage, "a", &["three"]);
    stage.run(SECOND);
    assert_eq!((stage.log("c").len(), stage.log("d").len()), (3, 5));
}

#[test]
fn what_is_sent_during_a_change_waits_and_is_not_lost() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    let mut sent = 0;
    let mut refused = 0;
    while !(open_with(&stage, "adb") && stage.view("a").leading) {
        if stage.view("a").admits(2).is_ok() {
            send(&mut stage, "a", &[&format!("text {sent}")]);
            sent += 1;
        } else {
            refused += 1;
        }
        stage.run(Duration::from_millis(50));
        assert!(sent < 5000);
    }
    assert!(refused < 10, "{refused} times 50 ms");
    stage.run(SECOND);
    for name in ["a", "b", "d"] {
        let log = stage.log(name);
        assert_eq!(log.iter().filter(|text| !text.starts_with('#')).count(), sent, "{name}");
    }
}

fn whole(stage: &mut Stage, names: &[&str]) {
    let epoch = stage.view("a").epoch;
    let whole = names.iter().map(|name| id(name)).collect();
    stage.tell("a", Event::Objects { partition: P, epoch, whole });
}

/// A log is caught up with soon, and the bytes of objects are not: who has neither is no copy.
#[test]
fn a_member_that_is_there_goes_once_enough_of_the_others_have_all_objects() {
    let mut stage = stage(&["a", "b", "c"], &["d", "e"], 2);
    send(&mut stage, "a", &["one"]);
    stage.tell("a", Event::AwaitObjects);
    stage.ring(&["a", "b", "c", "d", "e"], &[], &["a", "d", "b"]);
    stage.run(10 * MINUTE);
    assert_eq!(stage.ensemble(P), "abc", "nobody said who has them");
    assert!(stage.view("a").awaits_objects, "and that is asked");
    whole(&mut stage, &["a", "c"]);
    stage.run(MINUTE);
    assert_eq!(stage.ensemble(P), "abc", "c is to go, and of the others only a has them");
    whole(&mut stage, &["a", "b"]);
    stage.until("d for c", |stage| open_with(stage, "adb"));
    stage.run(SECOND);
    // d owes everything now.
    stage.ring(&["a", "b", "c", "d", "e"], &["b"], &["a", "d", "e"]);
    for _ in 0..20 {
        whole(&mut stage, &["a", "b"]);
        stage.run(10 * SECOND);
    }
    assert_eq!(stage.ensemble(P), "adb", "b says it goes, and is there");
    // It is gone: nobody waits for it.
    stage.kill("b");
    stage.until("e for b", |stage| open_with(stage, "ade"));
}

/// A stage on which b and c sync nothing, and d, which the ring wants, holds everything.
fn only_a_learner_holds_it(sabotage: Sabotage) -> (Stage, u64) {
    let mut stage = Stage::with_others(&["a", "b", "c"], &["d"], 1, 2);
    stage.sabotage = sabotage;
    begin(&mut stage, &["a", "b", "c"], &["d"]);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    stage.node("d").hold = true;
    stage.until("a learner", |stage| stage.view("d").role == Role::Learner);
    for name in ["b", "c"] {
        stage.node(name).hold = true;
    }
    let token = stage.submit("a", "one", 2);
    stage.release("d");
    stage.run(Duration::from_millis(200));
    (stage, token)
}

#[test]
fn a_learner_counts_for_nothing() {
    let (stage, token) = only_a_learner_holds_it(Sabotage::default());
    assert_eq!(stage.log("d").last().unwrap(), "one");
    assert_eq!((stage.answer("a", token), stage.view("a").commit), (None, 1));
    let broken = Sabotage { count_learners: true, ..Sabotage::default() };
    let (stage, token) = only_a_learner_holds_it(broken);
    assert!(stage.answer("a", token).is_some(), "this test would notice");
}

#[test]
fn a_member_that_is_gone_is_replaced_when_it_was_gone_for_long_enough() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    send(&mut stage, "a", &["one"]);
    stage.kill("c");
    stage.ring(&["a", "b", "d"], &[], &["a", "b", "d"]);
    stage.run(595 * SECOND);
    assert_eq!(stage.ensemble(P), "abc");
    stage.until("d for c", |stage| open_with(stage, "abd"));
    stage.run(SECOND);
    assert_eq!(stage.log("d"), ["#1", "one", "#2"]);
    // It comes back with its old log and the ring wants it again.
    stage.start("c");
    send(&mut stage, "a", &["two"]);
    assert_eq!(stage.view("c").role, Role::Retired);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "b", "c"]);
    stage.run(MINUTE);
    stage.until("c again", |stage| open_with(stage, "abc"));
    stage.run(SECOND);
    assert_eq!(stage.log("c"), ["#1", "one", "#2", "two", "#3"]);
}

#[test]
fn a_member_that_returns_in_time_stays_one() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    for _ in 0..3 {
        stage.kill("c");
        stage.ring(&["a", "b", "d"], &[], &["a", "b", "d"]);
        stage.run(300 * SECOND);
        stage.start("c");
        stage.ring(&["a", "b", "c", "d"], &[], &["a", "b", "c"]);
        stage.run(300 * SECOND);
    }
    assert_eq!((stage.ensemble(P), stage.records[&P].0.epoch), ("abc".to_owned(), 1));
    assert_eq!(stage.node("a").moves, []);
}

#[test]
fn a_dead_node_that_is_to_leave_is_replaced_at_once() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    stage.kill("c");
    stage.ring(&["a", "b", "d"], &[], &["a", "b", "d"]);
    stage.run(2 * MINUTE);
    stage.ring(&["a", "b", "d"], &["c"], &["a", "b", "d"]);
    let time = stage.until("d for c", |stage| open_with(stage, "abd"));
    assert!(time < 2 * SECOND, "{time:?}");
}

#[test]
fn a_primary_that_is_to_leave_gives_the_partition_away_and_is_replaced() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    send(&mut stage, "a", &["one"]);
    stage.ring(&["a", "b", "c", "d"], &["a"], &["b", "c", "d"]);
    let time = stage.until("without a", |stage| open_with(stage, "bcd"));
    assert!(time < 5 * SECOND, "{time:?}");
    stage.run(SECOND);
    assert_eq!(stage.view("a").role, Role::Retired);
    assert_eq!(stage.log("d"), ["#1", "one", "#2", "#3"]);
}

#[test]
fn with_too_few_nodes_left_everything_stays_as_it_is() {
    let mut stage = stage(&["a", "b", "c"], &[], 2);
    stage.ring(&["a", "b", "c"], &["c"], &["a", "b"]);
    stage.run(20 * MINUTE);
    assert_eq!((stage.ensemble(P), stage.records[&P].0.epoch), ("abc".to_owned(), 1));
}

#[test]
fn a_wiped_node_is_a_learner_before_it_counts_again() {
    let mut stage = stage(&["a", "b", "c"], &[], 2);
    send(&mut stage, "a", &["one", "two"]);
    stage.wipe("c");
    stage.start("c");
    stage.run(SECOND);
    assert_eq!(stage.log("c"), [] as [&str; 0]);
    stage.ring(&["a", "b", "c"], &[], &["a", "b", "c"]);
    stage.run(MINUTE);
    stage.until("c with its new store", |stage| {
        let (record, _) = &stage.records[&P];
        record.state == PartitionState::Open
            && record.ensemble.iter().any(|member| member.node == id("c") && member.store == 8)
    });
    stage.run(SECOND);
    assert_eq!(stage.log("c"), ["#1", "one", "two", "#2"]);
    assert_eq!(stage.ensemble(P), "abc");
}

#[test]
fn a_cluster_of_one_grows_and_so_does_its_quorum() {
    let mut stage = Stage::with_others(&["a"], &["b", "c"], 1, 2);
    stage.copies = 3;
    begin(&mut stage, &["a"], &["b", "c"]);
    assert_eq!(stage.records[&P].0.commit, 1);
    stage.submit("a", "alone", 1);
    stage.ring(&["a", "b", "c"], &[], &["a", "b", "c"]);
    stage.run(MINUTE);
    stage.until("three", |stage| open_with(stage, "abc"));
    assert_eq!(stage.records[&P].0.commit, 2);
    stage.run(SECOND);
    assert_eq!(stage.log("c"), ["#1", "alone", "#2", "#3"]);
    // S6: what was committed by the quorum of one is still there when the one is lost.
    stage.kill("a");
    stage.until("another leads", |s| s.view("b").leading || s.view("c").leading);
    assert_eq!(stage.log("c")[..2], ["#1", "alone"]);
}

#[test]
fn a_primary_that_dies_in_the_middle_of_a_change_leaves_the_old_ensemble_in_charge() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    send(&mut stage, "a", &["one"]);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    // Nobody can be sealed: the claim stands, and a dies.
    stage.node("d").hold = true;
    stage.until("a learner", |stage| stage.view("d").role == Role::Learner);
    stage.node("b").hold = true;
    stage.node("c").hold = true;
    stage.release("d");
    stage.until("the claim", |stage| stage.records[&P].0.epoch == 2);
    assert_eq!(stage.records[&P].0.state, PartitionState::Sealing);
    stage.kill("a");
    stage.release("b");
    stage.release("c");
    stage.until("another leads", |s| s.view("b").leading || s.view("c").leading);
    let record = stage.records[&P].0.clone();
    assert_eq!((stage.ensemble(P), record.prev_epoch), ("abc".to_owned(), 1));
    // a is missing from now on, and d is still wanted.
    stage.ring(&["b", "c", "d"], &["a"], &["d", "b", "c"]);
    stage.run(MINUTE);
    stage.until("d for a", |stage| open_with(stage, "dbc"));
    stage.run(SECOND);
    assert!(
        stage.log("d").starts_with(&["#1".to_owned(), "one".to_owned()]),
        "{:?}",
        stage.log("d")
    );
}

#[test]
fn without_a_registry_a_change_is_given_up_and_the_primary_leads_on() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    stage.cas = Cas::Lost;
    stage.run(MINUTE - SECOND);
    stage.until("sends are held", |stage| stage.view("a").admits(2).is_err());
    let time = stage.until("sends are taken", |stage| stage.view("a").admits(2).is_ok());
    assert!(time <= 2 * SECOND, "{time:?}");
    send(&mut stage, "a", &["one"]);
    assert_eq!(stage.ensemble(P), "abc");
    stage.cas = Cas::Done;
    stage.until("the change", |stage| open_with(stage, "adb"));
}

#[test]
fn a_claim_whose_answer_is_lost_is_won_when_the_registry_shows_it() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    stage.cas = Cas::DoneUnknown;
    stage.until("the claim", |stage| stage.records[&P].0.epoch == 2);
    send_unchecked(&mut stage);
    stage.cas = Cas::Done;
    let (record, version) = stage.records[&P].clone();
    for name in ["a", "b", "c", "d"] {
        let record = record.clone();
        stage.tell(name, Event::Record { partition: P, record, version });
    }
    stage.until("the change", |stage| open_with(stage, "adb"));
    assert_eq!(stage.records[&P].0.epoch, 2);
}

/// While nobody knows of the claim the primary leads its epoch, and what it appends stays.
fn send_unchecked(stage: &mut Stage) {
    stage.until("it leads on", |stage| stage.view("a").admits(2).is_ok());
    let token = stage.submit("a", "in between", 2);
    stage.quiet();
    assert!(matches!(stage.answer("a", token), Some(Outcome::Quorum { .. })));
}

#[test]
fn only_so_many_partitions_are_moved_at_a_time_and_all_of_them_in_the_end() {
    let mut stage = Stage::with_others(&["a", "b", "c"], &["d"], 6, 2);
    stage.limits.learners_max = 1;
    begin(&mut stage, &["a", "b", "c"], &["d"]);
    stage.ring(&["a", "b", "c", "d"], &[], &["a", "d", "b"]);
    let at_once = |stage: &Stage| {
        let core = stage.nodes[&id("a")].core.as_ref().unwrap();
        (0..6).filter(|n| !core.view(PartitionId(*n)).learners.is_empty()).count()
    };
    stage.node("d").hold = true;
    stage.run(SECOND);
    assert_eq!(at_once(&stage), 1);
    stage.release("d");
    stage.until("all of them", |stage| (0..6).all(|n| stage.ensemble(PartitionId(n)) == "adb"));
    assert_eq!(at_once(&stage), 0);
}

#[test]
fn a_learner_takes_so_many_partitions_and_turns_others_away() {
    let mut stage = Stage::with_others(&["a", "b"], &["d"], 3, 2);
    stage.copies = 3;
    begin(&mut stage, &["a", "b"], &["d"]);
    // a may feed three, d learns one at a time.
    stage.kill("d");
    stage.limits.learners_max = 1;
    stage.start("d");
    stage.limits.learners_max = 3;
    stage.kill("a");
    stage.start("a");
    stage.kill("b");
    stage.start("b");
    stage.ring(&["a", "b", "d"], &[], &["a", "b", "d"]);
    stage.run(MINUTE);
    stage.until("all three", |stage| (0..3).all(|n| stage.ensemble(PartitionId(n)) == "abd"));
    let busy = |message: &Message| matches!(message, Message::Refuse(refuse) if refuse.why == wire::RefuseWhy::Busy);
    assert!(stage.seen.iter().any(|(_, _, message)| busy(message)));
}

#[test]
fn a_partition_goes_back_to_the_node_that_should_lead_it_once_that_is_there_again() {
    let mut stage = stage(&["a", "b", "c"], &[], 2);
    send(&mut stage, "a", &["one"]);
    stage.kill("a");
    stage.ring(&["b", "c"], &[], &["b", "c"]);
    stage.until("another leads", |s| s.view("b").leading || s.view("c").leading);
    stage.start("a");
    stage.ring(&["a", "b", "c"], &[], &["a", "b", "c"]);
    stage.run(MINUTE - SECOND);
    assert!(!stage.view("a").leading, "not before it has stayed for a while");
    let time = stage.until("a leads", |stage| stage.view("a").leading);
    assert!(time < 3 * SECOND, "{time:?}");
    assert_eq!(stage.log("a")[..2], ["#1", "one"]);
}

#[test]
fn a_learner_is_shown_with_what_it_holds() {
    let mut stage = Stage::with_others(&["a", "b"], &["d"], 1, 2);
    stage.copies = 3;
    stage.limits.append_entries_max = 2;
    stage.limits.read_entries_max = 4;
    stage.limits.catch_up_entries_max = 4;
    begin(&mut stage, &["a", "b"], &["d"]);
    for n in 0..50 {
        send(&mut stage, "a", &[&format!("text {n:03}")]);
    }
    // The first of it leaves a's memory.
    stage.node("d").hold = true;
    stage.ring(&["a", "b", "d"], &[], &["a", "b", "d"]);
    stage.until("a learner", |stage| !stage.view("a").learners.is_empty());
    let view = stage.view("a");
    assert_eq!(view.wanted, [id("a"), id("b"), id("d")]);
    assert_eq!((view.learners[0].node.clone(), view.learners[0].matched), (id("d"), 0));
    assert_eq!(view.learners[0].end, 51);
    stage.release("d");
    stage.until("the change", |stage| open_with(stage, "abd"));
    stage.run(SECOND);
    assert!(stage.view("a").learners.is_empty());
    assert_eq!(stage.log("d"), stage.log("a"));
}

#[test]
fn a_node_that_the_record_does_not_name_takes_nothing_from_who_does_not_lead() {
    let mut stage = stage(&["a", "b", "c"], &["d"], 2);
    let append = wire::Append {
        partition: P,
        epoch: 1,
        prev: wire::End::default(),
        entries: Vec::new(),
        commit: 0,
    };
    stage.seen.clear();
    stage.tell("d", Event::Message { from: id("b"), message: Message::Append(append) });
    stage.quiet();
    let refused = stage.seen.iter().any(|(from, to, message)| {
        (from, to) == (&id("d"), &id("b"))
            && matches!(message, Message::Refuse(refuse) if refuse.why == wire::RefuseWhy::NotMember)
    });
    assert!(refused, "{:?}", stage.seen);
}

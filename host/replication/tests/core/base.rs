//! Logs that begin later: who lacks what is before is given what they stand on, and counts when it has it.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a story's stage is set right")]

use std::time::Duration;

use replication::core::{Event, Outcome};
use segment::LogEnd;
use wire::Message;

use crate::stage::{P, Stage, id};

/// Three nodes that give what their logs stand on in small pieces; the first leads.
fn opened() -> Stage {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.limits.append_bytes_max = 1000;
    for name in ["a", "b", "c"] {
        stage.start(name);
    }
    stage.run(Duration::from_millis(500));
    assert!(stage.view("a").leading);
    stage
}

/// Lets the log of a node begin behind what it has committed, but for some entries.
pub(crate) fn trim(stage: &mut Stage, name: &str, left: u64) -> LogEnd {
    let seq = stage.view(name).commit - left;
    let disk = &stage.node(name).disk[&P];
    let entry = disk.entries.iter().find(|entry| entry.seq == seq).expect("it is on the disk");
    let base = LogEnd { epoch: entry.epoch, seq, chain: entry.chain };
    stage.tell(name, Event::Trimmable { partition: P, base });
    stage.quiet();
    base
}

fn says(stage: &mut Stage, count: usize) {
    for number in 0..count {
        let token = stage.submit("a", &format!("entry {number}"), 2);
        stage.quiet();
        assert!(matches!(stage.answer("a", token), Some(Outcome::Quorum { .. })));
    }
}

/// Pieces of a base that were sent to a node.
fn pieces(stage: &Stage, to: &str) -> usize {
    let is = |message: &Message| matches!(message, Message::Base(base) if !base.piece.is_empty());
    stage.seen.iter().filter(|(_, node, message)| *node == id(to) && is(message)).count()
}

#[test]
fn a_trimmed_log_goes_on_and_its_members_need_not_be_trimmed() {
    let mut stage = opened();
    says(&mut stage, 20);
    let base = trim(&mut stage, "a", 5);
    assert_eq!(stage.view("a").base, base.seq);
    assert_eq!(stage.node("a").disk[&P].base, base);
    says(&mut stage, 5);
    let further = trim(&mut stage, "b", 1);
    assert!(further.seq > base.seq);
    says(&mut stage, 5);
    // A comparison, and a take-over by whoever holds most.
    stage.run(Duration::from_secs(65));
    stage.kill("a");
    stage.until("another leads", |stage| stage.view("b").leading || stage.view("c").leading);
    stage.start("a");
    let end = stage.view("b").end.max(stage.view("c").end);
    stage.until("it is back", |stage| stage.view("a").end >= end);
    assert_eq!(pieces(&stage, "a") + pieces(&stage, "b") + pieces(&stage, "c"), 0);
}

#[test]
fn a_log_does_not_begin_where_nothing_is_committed() {
    let mut stage = opened();
    says(&mut stage, 5);
    stage.node("b").hold = true;
    stage.node("c").hold = true;
    stage.submit("a", "alone", 1);
    stage.quiet();
    let commit = stage.view("a").commit;
    let last = stage.node("a").disk[&P].restored().end;
    assert_eq!(last.seq, commit + 1);
    stage.tell("a", Event::Trimmable { partition: P, base: last });
    let other = LogEnd { epoch: 9, seq: commit, ..last };
    stage.tell("a", Event::Trimmable { partition: P, base: other });
    stage.quiet();
    assert_eq!(stage.view("a").base, 0);
}

#[test]
fn a_member_that_was_away_for_long_is_given_what_the_log_stands_on_and_then_the_log() {
    let mut stage = opened();
    says(&mut stage, 5);
    stage.kill("c");
    says(&mut stage, 30);
    let base = trim(&mut stage, "a", 4);
    stage.start("c");
    stage.until("it has all", |stage| stage.view("c").end == stage.view("a").end);
    assert_eq!(stage.view("c").base, base.seq);
    assert_eq!(stage.node("c").disk[&P].base, base);
    assert!(pieces(&stage, "c") > 1);
    // It counts: the others can go.
    says(&mut stage, 3);
    stage.kill("b");
    says(&mut stage, 3);
    stage.run(Duration::from_millis(300));
    assert_eq!(stage.view("c").commit, stage.view("a").commit);
}

#[test]
fn what_is_taken_counts_when_the_record_is_synced_and_until_then_the_old_log_answers() {
    let mut stage = opened();
    says(&mut stage, 5);
    let old = stage.view("c").end;
    stage.kill("c");
    says(&mut stage, 30);
    trim(&mut stage, "a", 4);
    stage.start("c");
    stage.node("c").hold = true;
    stage.run(Duration::from_secs(2));
    assert!(pieces(&stage, "c") > 0);
    assert_eq!(stage.node("c").disk[&P].restored().end.seq, old, "nothing is written yet");
    let acks = stage.seen.iter().filter(|(from, _, message)| {
        *from == id("c") && matches!(message, Message::Ack(ack) if ack.matched > old)
    });
    assert_eq!(acks.count(), 0);
    // Its process dies: it has what it had, and goes on with what it took.
    let before = pieces(&stage, "c");
    stage.kill("c");
    stage.start("c");
    stage.until("it has all", |stage| stage.view("c").end == stage.view("a").end);
    assert!(pieces(&stage, "c") <= before + 1, "only the one that asks how much is there");
}

#[test]
fn a_member_that_could_not_be_given_what_it_lacks_is_not_voted_for() {
    let mut stage = opened();
    says(&mut stage, 5);
    stage.part("a", "b");
    stage.part("b", "c");
    says(&mut stage, 30);
    trim(&mut stage, "a", 0);
    trim(&mut stage, "c", 0);
    stage.kill("a");
    stage.cut.retain(|(from, to)| *from == id("a") || *to == id("a"));
    stage.connect();
    stage.until("c leads", |stage| stage.view("c").leading);
    stage.until("b has all", |stage| stage.view("b").end == stage.view("c").end);
    assert!(stage.view("b").base > 0);
}

/// The primary died, and what its disk has ends before the others' logs begin.
#[test]
fn who_cannot_be_given_the_best_log_lets_its_holder_take_over_and_is_given_what_it_lacks() {
    let mut stage = opened();
    says(&mut stage, 30);
    stage.run(Duration::from_secs(1));
    trim(&mut stage, "b", 0);
    trim(&mut stage, "c", 0);
    stage.kill("a");
    let disk = stage.node("a").disk.get_mut(&P).expect("it has a log");
    disk.entries.truncate(10);
    (disk.damaged, disk.doubted) = (true, 1);
    // It is back before it is missed, and begins at once.
    stage.start("a");
    let others = |stage: &Stage| ["b", "c"].iter().any(|name| stage.view(name).leading);
    let took = stage.until("another leads", others);
    assert!(took < Duration::from_secs(2), "{took:?}");
    stage.until("a has all", |stage| stage.view("a").end == stage.view("b").end);
    assert!(stage.view("a").base > 30 && !stage.view("a").damaged);
    stage.run(Duration::from_secs(1));
    assert_eq!(stage.view("a").commit, stage.view("b").commit);
}

/// Its log is longer than where the best one begins, but is another one there.
#[test]
fn who_shares_nothing_with_the_best_log_lets_its_holder_take_over() {
    let mut stage = opened();
    says(&mut stage, 5);
    stage.part("a", "b");
    stage.part("a", "c");
    for number in 0..40 {
        stage.submit("a", &format!("alone {number}"), 1);
        stage.quiet();
    }
    stage.until("another leads", |stage| stage.view("b").leading || stage.view("c").leading);
    let (leader, other) = if stage.view("b").leading { ("b", "c") } else { ("c", "b") };
    for number in 0..10 {
        stage.submit(leader, &format!("later {number}"), 2);
        stage.quiet();
    }
    stage.run(Duration::from_secs(1));
    trim(&mut stage, other, 2);
    assert!(stage.view("a").end > stage.view(other).end);
    stage.kill(leader);
    stage.cut.clear();
    stage.connect();
    stage.until("the other leads", |stage| stage.view(other).leading);
    stage.until("a has all", |stage| stage.view("a").end == stage.view(other).end);
    assert!(stage.view("a").base > 0);
}

#[test]
fn a_base_is_taken_only_from_whom_the_registry_names() {
    let mut stage = opened();
    says(&mut stage, 5);
    let view = stage.view("b");
    let place = wire::End { epoch: view.epoch + 1, seq: view.end + 100, chain: [1; 16] };
    let (partition, epoch, total) = (P, view.epoch + 1, 10);
    let piece = vec![0; 10].into();
    let given = wire::Base { partition, epoch, place, digest: [0; 32], total, at: 0, piece };
    stage.tell("b", Event::Message { from: id("c"), message: Message::Base(given) });
    stage.quiet();
    assert_eq!((stage.view("b").end, stage.view("b").base), (view.end, 0));
}

#[test]
fn a_learner_is_given_both_at_the_rate_that_is_set_and_shown_on_its_way() {
    let mut stage = Stage::with_others(&["a", "b", "c"], &["d"], 1, 2);
    stage.limits.append_bytes_max = 1000;
    stage.limits.catch_up_rate = Some(2000);
    stage.timings.settle = Duration::from_secs(1);
    for name in ["a", "b", "c", "d"] {
        stage.start(name);
    }
    stage.run(Duration::from_millis(500));
    says(&mut stage, 30);
    trim(&mut stage, "a", 4);
    stage.ring(&["a", "b", "c", "d"], &["c"], &["a", "b", "d"]);
    stage.until("it is on its way", |stage| {
        let learner = stage.view("a").learners.first().cloned();
        learner.is_some_and(|it| it.bytes_done > 2000 && it.bytes_left > 2000 && it.matched == 0)
    });
    // While it is given, the base stays.
    let base = stage.view("a").base;
    trim(&mut stage, "a", 0);
    assert_eq!(stage.view("a").base, base);
    let took = stage.until("d is a member", |stage| stage.ensemble(P) == "abd");
    assert!(took >= Duration::from_secs(2), "10,000 bytes in {took:?}");
    assert_eq!(stage.view("d").base, base);
}

#[test]
fn a_base_that_would_replace_what_is_committed_stops_the_partition() {
    let mut stage = opened();
    says(&mut stage, 5);
    let (view, epoch) = (stage.view("b"), stage.view("a").epoch);
    let place = wire::End { epoch: epoch + 7, seq: view.commit, chain: [1; 16] };
    let forged = wire::Base {
        partition: P,
        epoch,
        place,
        digest: [0; 32],
        total: 10,
        at: 0,
        piece: vec![0; 10].into(),
    };
    stage.tell("b", Event::Message { from: id("a"), message: Message::Base(forged) });
    stage.quiet();
    assert_eq!(stage.node("b").alarms, [replication::core::Alarm::Divergent]);
    assert_eq!(stage.view("b").end, view.end);
}

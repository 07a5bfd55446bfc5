//! What a primary answers, and when it stops doing so.

use std::time::Duration;

use replication::core::{Event, Outcome, Role, Step, Why};

use wire::{Ack, Message};

use crate::stage::{P, Stage, id};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_send_is_answered_when_as_many_members_hold_it_as_it_asked_for() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.node("b").hold = true;
    stage.node("c").hold = true;
    let tokens: Vec<u64> = (1..=3).map(|acks| stage.submit_acks("a", acks)).collect();
    stage.quiet();
    let answers = |stage: &Stage| tokens.iter().map(|t| stage.answer("a", *t)).collect::<Vec<_>>();
    assert_eq!(answers(&stage), [Some(Outcome::Local { seq: 2 }), None, None]);
    stage.release("b");
    assert_eq!(answers(&stage)[1..], [Some(Outcome::Quorum { seq: 3 }), None]);
    stage.release("c");
    assert_eq!(answers(&stage)[2], Some(Outcome::Quorum { seq: 4 }));
    let last = stage.node("a").told.last().cloned();
    assert_eq!(last, Some(Step::Committed { partition: P, epoch: 1, seq: 4 }));
}

#[test]
fn the_primarys_own_disk_is_only_one_of_three() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.node("a").hold = true;
    let (local, quorum) = (stage.submit("a", "one", 1), stage.submit_acks("a", 2));
    stage.quiet();
    assert_eq!(stage.answer("a", quorum), Some(Outcome::Quorum { seq: 3 }));
    assert_eq!(stage.answer("a", local), Some(Outcome::Quorum { seq: 2 }), "better than asked");
}

#[test]
fn what_comes_for_another_place_or_epoch_is_not_appended() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    for (token, epoch, seq) in [(101, 1, 3), (102, 2, 2), (103, 0, 2)] {
        let payload = "\u{1}x".into();
        let event = Event::Submit { token, partition: P, epoch, seq, payload, acks: 2 };
        stage.tell("a", event);
    }
    stage.quiet();
    assert_eq!(stage.answer("a", 101), Some(Outcome::NotCommitted(Why::Moved)));
    assert_eq!(stage.answer("a", 102), Some(Outcome::NotCommitted(Why::NotLeading)));
    assert_eq!(stage.answer("a", 103), Some(Outcome::NotCommitted(Why::NotLeading)));
    assert_eq!(stage.log("a"), ["#1"]);
}

#[test]
fn acknowledgements_of_an_earlier_epoch_or_of_a_stranger_do_not_count() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.kill("a");
    stage.start("a");
    stage.run(SECOND);
    assert_eq!(stage.view("a").epoch, 2);
    stage.node("b").hold = true;
    stage.node("c").hold = true;
    let token = stage.submit("a", "x", 2);
    stage.quiet();
    let ack = |epoch| Message::Ack(Ack { partition: P, epoch, matched: 3 });
    stage.tell("a", Event::Message { from: id("b"), message: ack(1) });
    stage.tell("a", Event::PeerUp { node: id("d"), boot: 1, store: 7 });
    stage.tell("a", Event::Message { from: id("d"), message: ack(2) });
    // The right node, with another disk.
    stage.tell("a", Event::PeerUp { node: id("c"), boot: 2, store: 8 });
    stage.tell("a", Event::Message { from: id("c"), message: ack(2) });
    assert_eq!(stage.view("a").commit, 2);
    assert_eq!(stage.answer("a", token), None);
    stage.tell("a", Event::Message { from: id("b"), message: ack(2) });
    stage.quiet();
    assert_eq!(stage.answer("a", token), Some(Outcome::Quorum { seq: 3 }));
}

#[test]
fn a_barrier_waits_for_what_was_appended_before_it() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.node("b").hold = true;
    stage.node("c").hold = true;
    stage.submit("a", "x", 2);
    let barrier = stage.barrier("a");
    stage.quiet();
    assert_eq!(stage.answer("a", barrier), None);
    stage.release("c");
    assert_eq!(stage.answer("a", barrier), Some(Outcome::Done));
}

#[test]
fn a_confirmation_needs_a_beat_that_was_sent_after_it_was_asked_for() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    let confirm = stage.confirm("a");
    stage.quiet();
    assert_eq!(stage.answer("a", confirm), Some(Outcome::Done), "without waiting for a beat");
    for peer in ["b", "c"] {
        stage.cut.insert((id("a"), id(peer)));
    }
    let confirm = stage.confirm("a");
    stage.run(SECOND);
    assert_eq!(stage.answer("a", confirm), None);
    stage.run(5 * SECOND);
    let outcome = stage.answer("a", confirm);
    assert!(matches!(outcome, Some(Outcome::NotCommitted(_))), "{outcome:?}");
}

#[test]
fn a_primary_that_hears_nobody_stops_leading_and_leads_again_when_it_does() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.part("a", "b");
    stage.part("a", "c");
    stage.run(SECOND);
    assert!(stage.view("a").leading);
    // Before anybody suspects it.
    stage.run(SECOND * 3 / 2);
    let view = stage.view("a");
    assert!(!view.leading && view.role == Role::Primary, "{view:?}");
    assert!(view.admits(1).is_err());
    stage.heal();
    stage.run(SECOND);
    assert!(stage.view("a").leading);
    assert_eq!(stage.view("a").epoch, 1);
}

#[test]
fn after_standing_still_a_primary_confirms_before_it_leads() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.now += 10 * SECOND;
    stage.cut.insert((id("b"), id("a")));
    stage.cut.insert((id("c"), id("a")));
    stage.tell("a", Event::Tick);
    assert!(!stage.view("a").leading, "it cannot know");
    stage.cut.clear();
    stage.run(SECOND);
    assert!(stage.view("a").leading);
}

#[test]
fn a_member_that_was_away_is_given_what_it_lacks_from_the_disk() {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.limits.tail_entries_max = 4;
    stage.limits.append_entries_max = 3;
    stage.limits.append_bytes_max = 64;
    for name in ["a", "b", "c"] {
        stage.start(name);
    }
    stage.run(SECOND);
    stage.kill("c");
    for n in 0..50 {
        stage.submit("a", &format!("entry {n}"), 2);
        stage.quiet();
    }
    assert!(stage.view("a").admits(3).is_err(), "two are there");
    stage.start("c");
    stage.run(SECOND);
    assert_eq!(stage.log("c"), stage.log("a"));
    assert!(stage.view("a").admits(3).is_ok());
    stage.run(SECOND);
    assert_eq!(stage.view("c").commit, 51, "beats tell what is committed");
}

#[test]
fn a_hanging_writer_ends_the_lead() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.node("a").hold = true;
    stage.submit("a", "x", 2);
    stage.run(3 * SECOND);
    assert!(!stage.view("a").leading);
    stage.until("b leads", |stage| stage.view("b").leading);
    assert_eq!(stage.log("b"), ["#1", "x", "#2"], "it was committed by the other two");
    assert!(stage.view("b").admits(2).is_ok());
    assert_eq!(stage.view("b").admits(3), Err(Why::TooFewMembers), "it is there, but cannot write");
}

impl Stage {
    fn submit_acks(&mut self, name: &str, acks: u8) -> u64 {
        self.submit(name, &format!("for {acks}"), acks)
    }
}

//! The first start, and what an epoch waits for before it serves.

use std::time::Duration;

use replication::core::{Outcome, Role, Step};

use crate::registry::Cas;
use crate::stage::{P, Stage};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_member_leads_at_once_when_enough_are_there() {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.start("a");
    stage.run(5 * SECOND);
    assert_eq!(stage.records[&P].0.epoch, 0, "alone it cannot seal, and burns no epoch");
    stage.start("b");
    stage.quiet();
    let view = stage.view("a");
    assert!(view.leading && view.open && view.epoch == 1, "{view:?}");
    assert_eq!(stage.view("b").role, Role::Member);
    assert_eq!(stage.node("a").told, [Step::Opened { partition: P, epoch: 1, seq: 1 }]);
    assert_eq!((stage.log("a"), stage.log("b")), (vec!["#1".into()], vec!["#1".into()]));
}

#[test]
fn the_others_take_over_when_the_first_member_does_not_come() {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.start("b");
    stage.start("c");
    let time = stage.until("b leads", |stage| stage.view("b").leading);
    assert!(time < 5 * SECOND, "{time:?}");
}

#[test]
fn one_node_alone_opens_and_commits() {
    let mut stage = Stage::opened(&["a"], 1);
    let token = stage.submit("a", "hello", 1);
    stage.quiet();
    assert_eq!(stage.answer("a", token), Some(Outcome::Quorum { seq: 2 }));
    let (barrier, confirm) = (stage.barrier("a"), stage.confirm("a"));
    stage.quiet();
    assert_eq!(stage.answer("a", barrier), Some(Outcome::Done));
    assert_eq!(stage.answer("a", confirm), Some(Outcome::Done));
    stage.kill("a");
    stage.start("a");
    stage.quiet();
    assert!(stage.view("a").leading, "its own epoch of an earlier life is taken over at once");
    assert_eq!(stage.log("a"), ["#1", "hello", "#2"]);
}

#[test]
fn all_partitions_open_together_with_few_messages_and_writes() {
    let mut stage = Stage::new(&["a", "b", "c"], 256, 2);
    for name in ["a", "b", "c"] {
        stage.start(name);
    }
    stage.quiet();
    let opened = stage.node("a").told.iter().filter(|step| matches!(step, Step::Opened { .. }));
    assert_eq!(opened.count(), 256);
    let seals = stage.seen.iter().filter(|(.., m)| matches!(m, wire::Message::Seal(_)));
    assert!(seals.count() <= 4, "one a peer, and one more for what came while connecting");
    assert!(stage.node("a").write_count < 12, "{}", stage.node("a").write_count);
}

#[test]
fn nothing_is_served_before_the_record_says_open() {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.cas = Cas::DoneUnknown;
    stage.start("a");
    stage.start("b");
    stage.quiet();
    assert_eq!(stage.records[&P].0.epoch, 1);
    assert!(stage.log("a").is_empty(), "it does not know that it won");
    stage.run(2 * SECOND);
    // Asked again, the registry shows the record that it wrote, and so for the opening.
    stage.cas = Cas::Done;
    stage.run(4 * SECOND);
    assert!(stage.view("a").leading);
    assert_eq!(stage.node("a").told.len(), 1);
}

/// The registry goes away right after a claim, or the open record, was written: who did not hear of it sends
/// people to the new primary all the same.
#[test]
fn members_know_who_leads_from_what_is_committed_when_the_registry_says_less() {
    for cas in [Cas::OpeningUnheard, Cas::Unheard] {
        let mut stage = Stage::opened(&["a", "b", "c"], 2);
        stage.cas = cas;
        stage.kill("a");
        let names = ["b", "c"];
        stage.until("one of them leads", |stage| names.iter().any(|name| stage.view(name).leading));
        stage.run(SECOND);
        let leader = names.into_iter().find(|name| stage.view(name).leading).unwrap();
        for name in names {
            let view = stage.view(name);
            assert!(
                view.open && view.epoch == stage.records[&P].0.epoch,
                "{cas:?} {name}: {view:?}"
            );
            assert_eq!(view.primary, Some(crate::stage::id(leader)), "{cas:?} {name}");
        }
    }
}

/// Before that a claim is only a claim.
#[test]
fn a_claim_that_is_not_open_is_shown_as_it_is() {
    let mut stage = Stage::opened(&["a", "b", "c"], 2);
    stage.cas = Cas::NoOpening;
    stage.kill("a");
    stage.run(8 * SECOND);
    for name in ["b", "c"] {
        let view = stage.view(name);
        assert!(!view.open && view.epoch == stage.records[&P].0.epoch, "{name}: {view:?}");
    }
}

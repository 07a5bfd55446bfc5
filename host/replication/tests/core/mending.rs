//! A log that is not what the others have: found, taken back to where both agree, and given the rest again;
//! or left alone, where not enough speak for one content.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a story's stage is set right")]

use std::time::Duration;

use bytes::Bytes;
use replication::core::{Alarm, Outcome, Role};
use segment::{Chain, LogOp};

use crate::base::trim;
use crate::stage::{P, Stage};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

impl Stage {
    /// What a node's disk holds from its entry `first` on says something else, and all of it verifies.
    fn alter(&mut self, name: &str, first: usize) {
        let disk = self.node(name).disk.get_mut(&P).unwrap();
        let mut chain = match first.checked_sub(2) {
            Some(before) => disk.entries[before].chain,
            None => Chain::default(),
        };
        for entry in &mut disk.entries[first - 1..] {
            entry.payload = Bytes::from([&entry.payload[..], b"?"].concat());
            chain = chain.next(entry.epoch, entry.seq, &entry.payload);
            entry.chain = chain;
        }
    }

    fn alarms(&self, name: &str) -> Vec<Alarm> {
        self.nodes[&crate::stage::id(name)].alarms.clone()
    }

    fn is_mended(&self, name: &str) -> bool {
        let view = self.view(name);
        let same =
            self.log(name) == self.log("a") && self.log(name).iter().all(|it| !it.contains('?'));
        view.role == Role::Member && !view.damaged && same
    }
}

/// Three nodes with twenty entries that all of them hold, few of them in memory.
fn twenty() -> Stage {
    let mut stage = Stage::new(&["a", "b", "c"], 1, 2);
    stage.limits.tail_entries_max = 1;
    for name in ["a", "b", "c"] {
        stage.start(name);
    }
    stage.run(SECOND);
    for n in 0..20 {
        stage.submit("a", &format!("entry {n}"), 3);
        stage.quiet();
    }
    stage.run(SECOND);
    stage
}

#[test]
fn a_member_whose_committed_log_is_another_one_is_found_by_comparison_and_mended() {
    let mut stage = twenty();
    stage.run(10 * MINUTE);
    assert!(["a", "b", "c"].iter().all(|name| stage.alarms(name).is_empty()), "all equal");
    stage.alter("c", 8);
    stage.until_long("c is mended", |stage| stage.view("c").mended == 1 && stage.is_mended("c"));
    assert_eq!(stage.alarms("c"), [Alarm::Divergent]);
    let node = &stage.nodes[&crate::stage::id("c")];
    assert_eq!((node.mended.as_slice(), node.aside.as_slice()), (&[7][..], &[(7, 8)][..]));
    assert!(stage.view("a").leading && stage.view("b").role == Role::Member);
}

#[test]
fn it_is_damaged_on_the_disk_too_until_an_entry_of_a_later_epoch() {
    let mut stage = twenty();
    stage.alter("c", 8);
    stage.until_long("c is mended", |stage| stage.is_mended("c") && stage.view("c").mended == 1);
    assert!(stage.node("c").disk[&P].restored().damaged, "its process knows more than its disk");
    stage.kill("a");
    stage.until("another epoch", |stage| ["b", "c"].iter().any(|name| stage.view(name).leading));
    stage.run(SECOND);
    assert!(!stage.node("c").disk[&P].restored().damaged);
}

#[test]
fn nothing_is_mended_where_only_the_primary_speaks_and_all_of_it_once_another_agrees() {
    let mut stage = twenty();
    stage.kill("b");
    stage.kill("c");
    stage.alter("c", 5);
    stage.start("c");
    stage.until("c is found out", |stage| stage.view("c").role == Role::Mending);
    let token = stage.submit("a", "unsaid", 2);
    stage.run(20 * SECOND);
    let node = stage.node("c");
    assert!(node.mended.is_empty() && node.aside.is_empty(), "one against one");
    assert!(stage.view("a").differing.contains(&crate::stage::id("c")));
    assert!(!matches!(stage.answer("a", token), Some(Outcome::Quorum { .. })));
    stage.start("b");
    stage.until("c is mended", |stage| stage.is_mended("c"));
    assert_eq!(stage.node("c").mended, [4]);
    assert!(stage.log("c").contains(&"unsaid".to_owned()));
}

#[test]
fn what_this_node_helped_to_commit_must_be_on_the_others_before_it_is_dropped() {
    let mut stage = twenty();
    // b says the same where they differ, but lacks what a and c have committed without it.
    stage.kill("b");
    let token = stage.submit("a", "of two", 2);
    stage.run(SECOND);
    assert!(matches!(stage.answer("a", token), Some(Outcome::Quorum { .. })));
    stage.alter("c", 8);
    stage.node("b").hold = true;
    stage.start("b");
    stage.run(5 * MINUTE);
    assert!(stage.node("c").mended.is_empty(), "b has not got it on its disk");
    stage.release("b");
    stage.until_long("c is mended", |stage| stage.is_mended("c") && stage.view("c").mended == 1);
}

#[test]
fn a_primary_that_returns_with_another_log_is_mended_and_never_followed() {
    let mut stage = twenty();
    stage.kill("a");
    stage.alter("a", 3);
    stage.start("a");
    stage.until("another leads", |stage| ["b", "c"].iter().any(|name| stage.view(name).leading));
    stage
        .until_long("a is mended", |stage| stage.view("a").mended == 1 && !stage.view("a").damaged);
    stage.run(SECOND);
    assert_eq!(stage.log("a"), stage.log("b"));
    assert_eq!(stage.log("b"), stage.log("c"));
    assert!(stage.log("a").iter().all(|entry| !entry.contains('?')));
}

#[test]
fn an_entry_that_cannot_be_read_is_mended_while_the_member_goes_on() {
    let mut stage = twenty();
    stage.node("c").disk.get_mut(&P).unwrap().unreadable = vec![6, 11];
    stage.until_long("c is mended", |stage| stage.view("c").mended > 0 && stage.is_mended("c"));
    assert!(stage.alarms("c").iter().all(|alarm| *alarm == Alarm::Unreadable));
    let node = stage.node("c");
    assert!(node.mended.iter().all(|after| [5, 10].contains(after)), "{:?}", node.mended);
}

#[test]
fn while_no_other_member_has_it_an_unreadable_entry_stops_nobody() {
    let mut stage = twenty();
    stage.kill("b");
    stage.tell("c", replication::core::Event::Unreadable { partition: P, seq: 6 });
    for n in 0..100 {
        let token = stage.submit("a", &format!("more {n}"), 2);
        stage.run(SECOND);
        let outcome = stage.answer("a", token);
        assert!(matches!(outcome, Some(Outcome::Quorum { .. })), "{outcome:?} at {n} s");
    }
    assert!(stage.node("c").mended.is_empty());
    assert_eq!(stage.view("c").unreadable, Some(6));
}

#[test]
fn a_primary_that_cannot_read_an_entry_gives_the_partition_away_and_is_mended() {
    let mut stage = twenty();
    stage.node("a").disk.get_mut(&P).unwrap().unreadable = vec![6];
    stage.tell("a", replication::core::Event::Unreadable { partition: P, seq: 6 });
    stage.until("another leads", |stage| ["b", "c"].iter().any(|name| stage.view(name).leading));
    stage
        .until_long("a is mended", |stage| stage.view("a").mended == 1 && !stage.view("a").damaged);
    stage.run(SECOND);
    assert_eq!(stage.log("a"), stage.log("b"));
}

/// What stands where the logs differ is gone from the others: they agree where their logs begin, and the
/// member is given what is kept of everything before.
#[test]
fn a_log_that_differs_before_the_others_begin_is_given_anew() {
    let mut stage = twenty();
    let base = trim(&mut stage, "a", 3);
    trim(&mut stage, "b", 2);
    stage.alter("c", 8);
    stage.until_long("c is mended", |stage| {
        stage.view("c").mended == 1 && !stage.view("c").damaged && stage.view("c").base > 0
    });
    stage.run(SECOND);
    assert_eq!(stage.alarms("c"), [Alarm::Divergent]);
    assert_eq!((stage.view("c").base, stage.view("c").end), (base.seq, stage.view("a").end));
    assert_eq!((stage.log("c"), stage.node("c").mended.clone()), (stage.log("a"), vec![0]));
}

#[test]
fn who_agrees_may_have_a_log_that_begins_later_than_the_primarys() {
    let mut stage = twenty();
    trim(&mut stage, "b", 2);
    stage.alter("c", 8);
    stage.until_long("c is mended", |stage| stage.view("c").mended == 1 && stage.is_mended("c"));
    assert_eq!(stage.node("c").mended, [7]);
}

#[test]
fn a_trimmed_log_that_differs_is_mended_above_where_it_begins() {
    let mut stage = twenty();
    let base = trim(&mut stage, "c", 15);
    // Of what is left of it, the fourth.
    let disk = stage.node("c").disk.get_mut(&P).unwrap();
    let mut chain = disk.entries[2].chain;
    for entry in &mut disk.entries[3..] {
        entry.payload = Bytes::from([&entry.payload[..], b"?"].concat());
        chain = chain.next(entry.epoch, entry.seq, &entry.payload);
        entry.chain = chain;
    }
    stage.until_long("c is mended", |stage| stage.view("c").mended == 1);
    stage.until_long("c is whole", |stage| !stage.view("c").damaged);
    stage.run(SECOND);
    assert_eq!(stage.node("c").mended, [base.seq + 3]);
    assert!(stage.log("a").ends_with(&stage.log("c")));
}

#[test]
fn the_log_goes_back_and_says_that_it_lacks_something_in_one_write() {
    let mut stage = twenty();
    stage.alter("c", 8);
    stage.node("c").hold = true;
    stage.until_long("a write", |stage| {
        let writes = stage.nodes[&crate::stage::id("c")].writes.iter();
        writes.flat_map(|(_, ops)| ops).any(|op| matches!(op, LogOp::Cut { after: 7, .. }))
    });
    let writes = &stage.node("c").writes;
    let one = writes.iter().find(|(_, ops)| ops.contains(&LogOp::Cut { partition: P, after: 7 }));
    let (_, ops) = one.unwrap();
    let doubt = ops.iter().position(|op| matches!(op, LogOp::Doubt { .. })).unwrap();
    let cut = ops.iter().position(|op| matches!(op, LogOp::Cut { .. })).unwrap();
    assert!(doubt < cut, "{ops:?}");
}

//! A member whose log lost its end: what it says of itself, and when it is whole again.

#![expect(clippy::unwrap_used, reason = "a story's helpers")]

use registry::{Member, PartitionRecord};
use replication::core::Event;
use segment::{LogEnd, LogOp, Promise, Restored};
use wire::{Append, Message, Promised, RefuseWhy, Seal};

use crate::member::{NodeB, append, log, refused};
use crate::stage::{P, id};

/// A member whose disk lost what followed these entries of epoch 2.
fn damaged(epochs: &[u64]) -> NodeB {
    let held = log(epochs);
    let last = held.last().unwrap();
    NodeB::with(Restored {
        end: LogEnd { epoch: 2, seq: last.seq, chain: last.chain },
        epochs: vec![(2, 1)],
        promise: Some(Promise { epoch: 2, node: id("a"), boot: 1 }),
        damaged: true,
        ..Restored::default()
    })
}

/// The record of an epoch that this node leads.
fn led(primary: &str, epoch: u64) -> Event {
    let member = |name: &str| Member { node: id(name), store: 7 };
    let first = PartitionRecord::first(vec![member("a"), member("b"), member("c")], 2);
    let record =
        PartitionRecord { epoch, primary: Some(id(primary)), boot: 1, nonce: epoch, ..first };
    Event::Record { partition: P, record, version: epoch }
}

/// Whether it says that it is damaged when c seals epoch 9.
fn says_damaged(b: &mut NodeB) -> bool {
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 9 }] });
    b.says("c", seal);
    let said = b.written(u64::MAX);
    let sealed = said.iter().find_map(|(_, message)| match message {
        Message::SealAnswer(answer) => answer.sealed.first().copied(),
        _ => None,
    });
    sealed.unwrap().damaged
}

#[test]
fn a_damaged_log_is_whole_with_all_that_its_epoch_committed_and_not_with_the_first_that_comes_back()
{
    let whole = [2, 2, 2, 2];
    let given = |from: usize, to: usize| match append(2, &whole[..to], from) {
        Message::Append(append) => Message::Append(Append { commit: 4, ..append }),
        other => other,
    };
    for (to, is_damaged) in [(3, true), (4, false)] {
        let mut b = damaged(&whole[..2]);
        b.tell(led("a", 2));
        b.says("a", given(3, to));
        assert_eq!(b.end(), to as u64);
        assert_eq!(says_damaged(&mut b), is_damaged, "given up to {to}");
    }
}

#[test]
fn a_damaged_member_takes_nothing_before_it_knows_what_it_may_have_promised() {
    let mut b = damaged(&[2, 2]);
    let entry = || append(2, &[2, 2, 2], 3);
    assert!(matches!(refused(&b.says("a", entry())), RefuseWhy::Stale { .. }));
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 4 }] });
    assert!(matches!(refused(&b.says("c", seal)), RefuseWhy::Stale { .. }));
    let promise = Promise { epoch: 3, node: id("c"), boot: 1 };
    let outcome = b.tell(led("c", 3));
    assert_eq!(outcome.ops, [LogOp::Promise { partition: P, promise }]);
    assert_eq!(refused(&b.says("a", entry())), RefuseWhy::Stale { promised: 3 });
    assert_eq!(b.end(), 2);
}

//! Histories that no correct core makes, each of which the book must flag; and good ones it must not.

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use registry::{Member, PartitionRecord, PartitionState};
use segment::{LogEnd, LogEntry, Promise};

use crate::disk::Image;
use crate::invariants::{History, Process, Verdict};

const P: PartitionId = PartitionId(0);

fn node(index: u64) -> NodeId {
    format!("n{index}").parse().unwrap()
}

fn process(index: u64) -> Process {
    Process { node: node(index), boot: 1 }
}

/// A log of entries of these epochs; those of `odd` have other payloads.
fn log_of(epochs: &[u64], odd: u8) -> Image {
    let mut log = Image::default();
    for (seq, epoch) in (1..).zip(epochs) {
        let payload = Bytes::from(vec![odd; 3]);
        let chain = log.end().chain.next(*epoch, seq, &payload);
        log.entries.push(LogEntry { epoch: *epoch, seq, chain, payload });
    }
    log
}

fn log(epochs: &[u64]) -> Image {
    log_of(epochs, 0)
}

fn first() -> PartitionRecord {
    let members = (1..=3).map(|index| Member { node: node(index), store: index });
    PartitionRecord::first(members.collect(), 2)
}

/// The record that replaces one: sealing, by a node, in the next epoch.
fn sealing(before: &PartitionRecord, by: u64) -> PartitionRecord {
    let (prev_epoch, prev_ensemble, prev_commit) = before.last_open();
    PartitionRecord {
        epoch: before.epoch + 1,
        state: PartitionState::Sealing,
        primary: Some(node(by)),
        boot: 1,
        ensemble: before.ensemble.clone(),
        commit: 2,
        prev_epoch,
        prev_ensemble: prev_ensemble.to_vec(),
        prev_commit,
        nonce: before.nonce + 1,
    }
}

fn open(sealing: &PartitionRecord) -> PartitionRecord {
    PartitionRecord { state: PartitionState::Open, nonce: sealing.nonce + 1, ..sealing.clone() }
}

/// A book in which these stores promised `epoch` to a node and hold this log.
fn told(history: &mut History, stores: &[u64], (epoch, by): (u64, u64), log: &Image) -> Verdict {
    for entry in &log.entries {
        history.appended(P, entry)?;
        stores.iter().for_each(|store| history.synced(*store, P, entry));
    }
    let promise = Promise { epoch, node: node(by), boot: 1 };
    stores.iter().try_for_each(|store| history.promises(*store, P, &promise))
}

/// A book in which node 1 leads epoch 1 with three entries, all of them committed.
fn begun() -> (History, PartitionRecord, Image) {
    let mut history = History::default();
    let record = open(&sealing(&first(), 1));
    let log = log(&[1, 1, 1]);
    told(&mut history, &[1, 2], (1, 1), &log).unwrap();
    history.opened(&process(1), (P, 1, 1), Some(&record), &log, 0).unwrap();
    history.committed(&process(1), (P, 1, 3), &record, &log).unwrap();
    (history, record, log)
}

fn check(rule: &'static str, verdict: Verdict) {
    assert_eq!(verdict.map_err(|violation| violation.rule), Err(rule));
}

#[test]
fn a_good_history_is_not_flagged() {
    let (mut history, record, mut log) = begun();
    history.answered((P, 1, 3), &log.entries[2].payload, (2, true, 1), &record).unwrap();
    history.passed(P, 1, 3).unwrap();
    history.knows(&node(2), P, 3, &log).unwrap();
    let next = sealing(&record, 2);
    history.recorded(P, &record, &next).unwrap();
    history.recorded(P, &next, &open(&next)).unwrap();
    log.entries.truncate(3);
    let longer = self::log(&[1, 1, 1, 2]);
    told(&mut history, &[2, 3], (2, 2), &longer).unwrap();
    history.opened(&process(2), (P, 2, 4), Some(&open(&next)), &longer, 0).unwrap();
}

#[test]
fn two_contents_for_one_place() {
    let (mut history, ..) = begun();
    check("I1", history.appended(P, &log_of(&[1], 7).entries[0]));
}

#[test]
fn a_leader_without_what_was_committed() {
    let (mut history, record, _) = begun();
    let short = log(&[1, 1, 2]);
    told(&mut history, &[2, 3], (2, 2), &short).unwrap();
    let record = open(&sealing(&record, 2));
    check("I2", history.opened(&process(2), (P, 2, 3), Some(&record), &short, 0));
}

#[test]
fn a_promise_that_falls() {
    let (mut history, _, log) = begun();
    told(&mut history, &[2], (5, 2), &log).unwrap();
    let promise = Promise { epoch: 4, node: node(3), boot: 1 };
    check("I3", history.promises(2, P, &promise));
}

#[test]
fn one_epoch_promised_to_two() {
    let (mut history, ..) = begun();
    let promise = Promise { epoch: 1, node: node(3), boot: 1 };
    check("I5", history.promises(3, P, &promise));
}

#[test]
fn committed_on_too_few_disks() {
    let (mut history, record, _) = begun();
    let longer = log(&[1, 1, 1, 1]);
    told(&mut history, &[1], (1, 1), &longer).unwrap();
    check("I4", history.committed(&process(1), (P, 1, 4), &record, &longer));
}

#[test]
fn a_stranger_does_not_count() {
    let (mut history, record, _) = begun();
    let longer = log(&[1, 1, 1, 1]);
    told(&mut history, &[1, 9], (1, 1), &longer).unwrap();
    check("I4", history.committed(&process(1), (P, 1, 4), &record, &longer));
}

#[test]
fn a_disk_that_cut_it_does_not_count() {
    let (mut history, record, _) = begun();
    let longer = log(&[1, 1, 1, 1]);
    told(&mut history, &[1, 2], (1, 1), &longer).unwrap();
    history.gone(2, P, 3);
    check("I4", history.committed(&process(1), (P, 1, 4), &record, &longer));
}

#[test]
fn two_leaders_of_one_epoch() {
    let (mut history, record, log) = begun();
    check("I5", history.opened(&process(2), (P, 1, 3), Some(&record), &log, 0));
}

#[test]
fn a_leader_that_is_not_recorded_open() {
    let (mut history, record, _) = begun();
    let longer = log(&[1, 1, 1, 2]);
    told(&mut history, &[2, 3], (2, 2), &longer).unwrap();
    let record = sealing(&record, 2);
    check("I5", history.opened(&process(2), (P, 2, 4), Some(&record), &longer, 0));
}

#[test]
fn commits_of_another_leader() {
    let (mut history, record, log) = begun();
    check("I5", history.committed(&process(2), (P, 1, 3), &record, &log));
}

#[test]
fn a_leader_that_sealed_too_few() {
    let (mut history, record, _) = begun();
    let longer = log(&[1, 1, 1, 2]);
    told(&mut history, &[2], (2, 2), &longer).unwrap();
    let record = open(&sealing(&record, 2));
    check("I6", history.opened(&process(2), (P, 2, 4), Some(&record), &longer, 0));
}

#[test]
fn a_committed_entry_that_is_cut() {
    let (history, _, log) = begun();
    check("I7", history.cut(2, P, &log, 2));
}

#[test]
fn an_answer_for_an_entry_that_is_another() {
    let (history, record, _) = begun();
    check("I7", history.answered((P, 1, 3), b"mine", (2, true, 1), &record));
}

#[test]
fn an_answer_before_enough_hold_it() {
    let (history, record, log) = begun();
    let payload = &log.entries[2].payload;
    check("I4", history.answered((P, 1, 3), payload, (3, true, 1), &record));
    check("I4", history.answered((P, 1, 3), payload, (1, false, 3), &record));
}

#[test]
fn a_quorum_answer_before_the_commit() {
    let (mut history, record, _) = begun();
    let longer = log(&[1, 1, 1, 1]);
    told(&mut history, &[1, 2], (1, 1), &longer).unwrap();
    let payload = &longer.entries[3].payload;
    check("I4", history.answered((P, 1, 4), payload, (2, true, 1), &record));
}

#[test]
fn a_leader_long_after_the_next() {
    let (history, ..) = begun();
    history.leads(&node(1), (P, 1), 60_000_000).unwrap();
    history.leads(&node(2), (P, 0), 1_000_000).unwrap();
    check("R22", history.leads(&node(2), (P, 0), 60_000_000));
}

#[test]
fn a_commit_that_contradicts_another() {
    let (mut history, record, _) = begun();
    let other = log_of(&[1, 1, 1], 7);
    check("I10", history.committed(&process(1), (P, 1, 3), &record, &other));
    check("I10", history.knows(&node(3), P, 3, &other));
}

#[test]
fn belief_in_what_nobody_committed() {
    let (history, _, log) = begun();
    check("I10", history.knows(&node(3), P, 4, &log));
}

#[test]
fn a_barrier_passed_too_early() {
    let (history, ..) = begun();
    check("R14", history.passed(P, 1, 4));
}

#[test]
fn an_ack_of_what_is_not_synced() {
    let (history, _, mut log) = begun();
    check("I4", history.acknowledges(2, (P, 1, 4), &log, None));
    check("I4", history.acknowledges(2, (P, 1, 3), &log, None));
    log.promise = Some(Promise { epoch: 1, node: node(1), boot: 1 });
    history.acknowledges(2, (P, 1, 3), &log, Some(&log.clone())).unwrap();
}

#[test]
fn an_ack_of_a_stale_suffix() {
    let (history, _, mut log) = begun();
    log.promise = Some(Promise { epoch: 2, node: node(2), boot: 1 });
    let primary = self::log(&[1, 1, 2]);
    check("I12", history.acknowledges(2, (P, 2, 3), &log, Some(&primary)));
}

#[test]
fn a_seal_answered_before_its_sync() {
    let (mut history, _, log) = begun();
    check("I4", history.sealed(2, (P, 2, log.end()), &log));
    let more = LogEnd { seq: 4, ..log.end() };
    let promised = Image { promise: Some(Promise { epoch: 2, node: node(2), boot: 1 }), ..log };
    check("I4", history.sealed(2, (P, 2, more), &promised));
}

#[test]
fn an_ack_of_what_came_after_a_seal() {
    let (mut history, _, mut log) = begun();
    log.promise = Some(Promise { epoch: 2, node: node(2), boot: 1 });
    history.sealed(2, (P, 2, log.at(2).unwrap()), &log).unwrap();
    history.acknowledges(2, (P, 1, 2), &log, None).unwrap();
    check("R10", history.acknowledges(2, (P, 1, 3), &log, None));
}

#[test]
fn a_record_that_forgets_the_last_open_epoch() {
    let (history, record, _) = begun();
    let once = sealing(&record, 2);
    let mut twice = sealing(&once, 3);
    assert_eq!(twice.prev_epoch, record.epoch);
    history.recorded(P, &once, &twice).unwrap();
    twice.prev_epoch = once.epoch;
    check("R1", history.recorded(P, &once, &twice));
}

#[test]
fn a_record_opened_by_another() {
    let (history, record, _) = begun();
    let once = sealing(&record, 2);
    let stolen = PartitionRecord { primary: Some(node(3)), ..open(&once) };
    check("R1", history.recorded(P, &once, &stolen));
}

#[test]
fn a_record_whose_ensemble_shrinks() {
    let (history, record, _) = begun();
    let mut smaller = sealing(&record, 2);
    smaller.ensemble.pop();
    check("R1", history.recorded(P, &record, &smaller));
}

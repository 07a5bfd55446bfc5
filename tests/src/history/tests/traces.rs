//! Notes of nodes that no correct node makes.

use crate::history::{Trace, Verdict, check_traces};

const fn synced(at: u64, epoch: u64, store: u64) -> Trace {
    Trace::Synced { at, partition: 1, epoch, seq: 5, store }
}

const fn acked(at: u64, epoch: u64, w: u8) -> Trace {
    Trace::Acked { at, partition: 1, epoch, seq: 5, w }
}

const fn sealed(at: u64, epoch: u64) -> Trace {
    Trace::Sealed { at, partition: 1, epoch }
}

fn check(traces: &[Trace], verdicts: &[Verdict]) {
    let found: Vec<Verdict> = check_traces(traces).found.keys().copied().collect();
    assert_eq!(found, verdicts);
}

#[test]
fn an_acknowledgement_waits_for_as_many_syncs_as_it_says() {
    check(&[synced(10, 1, 1), synced(20, 1, 2), acked(21, 1, 2)], &[]);
    check(&[synced(10, 1, 1), synced(20, 1, 2), acked(19, 1, 2)], &[Verdict::Undurable]);
    check(&[synced(10, 1, 1), synced(11, 1, 1), acked(30, 1, 2)], &[Verdict::Undurable]);
    check(&[synced(10, 2, 1), acked(30, 1, 1)], &[Verdict::Undurable]);
}

#[test]
fn nothing_is_completed_in_an_epoch_that_was_sealed() {
    let before = [synced(10, 1, 1), synced(20, 1, 2), sealed(25, 2), acked(30, 1, 2)];
    check(&before, &[]);
    let after = [synced(10, 1, 1), sealed(15, 2), synced(20, 1, 2), acked(30, 1, 2)];
    check(&after, &[Verdict::LateAck]);
    let own = [sealed(5, 1), synced(10, 1, 1), synced(20, 1, 2), acked(30, 1, 2)];
    check(&own, &[]);
}

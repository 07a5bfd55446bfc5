//! What a member is sent next, and what of it is counted.

use super::*;

const REIGN: Reign = Reign { partition: PartitionId(0), epoch: 2, commit: 0 };

fn tail(entries: u64) -> Tail {
    let mut tail = Tail::default();
    for seq in 1..=entries {
        let payload = Bytes::from_static(b"12345678");
        let chain = tail.end().chain.next(2, seq, &payload);
        tail.push(&LogEntry { epoch: 2, seq, chain, payload });
    }
    tail
}

fn follower(next: u64) -> Follower {
    Follower::new(Member { node: "b".parse().unwrap(), store: 1 }, 8, next, Time::ZERO)
}

fn at(now: Time) -> When {
    When { now, open: true, resend: Duration::from_secs(1) }
}

fn limits() -> Limits {
    Limits { in_flight_entries_max: 4, append_entries_max: 2, ..Limits::default() }
}

/// The place before and the seqs of what is sent next.
fn sent(follower: &mut Follower, tail: &Tail, now: Time) -> Option<(u64, Vec<u64>)> {
    match follower.next(tail, REIGN, &limits(), at(now)) {
        Next::Append(append) => {
            let seqs = append.entries.iter().map(|entry| entry.seq).collect();
            Some((append.prev.seq, seqs))
        }
        Next::Nothing => None,
        Next::Read { from, .. } => panic!("reads from {from}"),
        Next::ReadBase { at } => panic!("reads the base from {at}"),
    }
}

#[test]
fn one_append_probes_and_then_a_bounded_number_is_under_way() {
    let (tail, mut b) = (tail(9), follower(2));
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((1, vec![2, 3])));
    assert_eq!(sent(&mut b, &tail, Time::ZERO), None, "not before it has matched");
    b.acked(3, Time::ZERO);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((3, vec![4, 5])));
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((5, vec![6, 7])));
    assert_eq!(sent(&mut b, &tail, Time::ZERO), None, "four are under way");
    b.acked(5, Time::ZERO);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((7, vec![8, 9])));
}

#[test]
fn a_gap_goes_back_at_once_and_after_a_pause_where_it_makes_no_sense() {
    let (tail, mut b) = (tail(9), follower(8));
    let second = Duration::from_secs(1);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((7, vec![8, 9])));
    b.gap(2, Time::ZERO, second);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((2, vec![3, 4])));
    b.acked(4, Time::ZERO);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((4, vec![5, 6])));
    b.gap(1, Time::ZERO, second);
    assert_eq!(b.matched, 1, "its disk has lost what it acknowledged");
    assert_eq!(sent(&mut b, &tail, Time::ZERO), None, "after a pause");
    assert_eq!(sent(&mut b, &tail, second), Some((1, vec![2, 3])));
    b.acked(3, second);
    b.connected(second, 8);
    assert_eq!(b.matched, 3, "the same process holds what it held");
    b.connected(second, 9);
    assert_eq!(b.matched, 0, "another process says anew what it holds");
    assert_eq!(sent(&mut b, &tail, second), Some((3, vec![4, 5])));
}

#[test]
fn an_overdue_acknowledgement_is_asked_for_without_sending_the_entries_again() {
    let (tail, mut b) = (tail(3), follower(4));
    b.acked(1, Time::ZERO);
    b.next = 2;
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((1, vec![2, 3])));
    let second = Duration::from_secs(1);
    b.tick(second / 2, second, true);
    assert_eq!(sent(&mut b, &tail, second), None);
    b.tick(second, second, true);
    assert_eq!(sent(&mut b, &tail, second), Some((3, vec![])));
    assert_eq!(sent(&mut b, &tail, second), None);
}

#[test]
fn what_is_not_in_memory_is_read_after_the_place_before_it() {
    let (mut tail, mut b) = (tail(5), follower(2));
    let held: Vec<_> = (1..=5).filter_map(|seq| tail.entry(seq)).collect();
    tail.forget(4, 1);
    let next = b.next(&tail, REIGN, &limits(), at(Time::ZERO));
    assert!(matches!(next, Next::Read { from: 1, .. }), "{next:?}");
    assert_eq!(sent(&mut b, &tail, Time::ZERO), None, "one read at a time");
    let wait = (Time::ZERO, Duration::from_secs(1));
    let done = b.read_done(held[..1].to_vec(), &tail, REIGN, &limits(), wait);
    assert_eq!(done, [], "the place alone is no append");
    let next = b.next(&tail, REIGN, &limits(), at(Time::ZERO));
    assert!(matches!(next, Next::Read { from: 2, long: false }), "{next:?}");
    let done = b.read_done(held[1..3].to_vec(), &tail, REIGN, &limits(), wait);
    assert_eq!((done.len(), done[0].prev.seq, done[0].entries.len()), (1, 1, 2));
    b.acked(3, Time::ZERO);
    assert!(matches!(b.next(&tail, REIGN, &limits(), at(Time::ZERO)), Next::Read { from: 4, .. }));
    let done = b.read_done(Vec::new(), &tail, REIGN, &limits(), wait);
    assert_eq!(done, [], "the disk has not got it yet");
    assert_eq!(sent(&mut b, &tail, Time::ZERO), None, "later");
}

#[test]
fn a_learner_is_asked_first_and_then_given_long_pieces_up_to_a_bound() {
    let mut tail = tail(20);
    let held: Vec<_> = (1..=20).filter_map(|seq| tail.entry(seq)).collect();
    tail.forget(20, 1);
    let limits = Limits { catch_up_entries_max: 7, ..limits() };
    let wait = (Time::ZERO, Duration::from_secs(1));
    let member = Member { node: "d".parse().unwrap(), store: 1 };
    let mut d = Follower::learner(member, 8, 20, Time::ZERO);
    assert_eq!(sent(&mut d, &tail, Time::ZERO), Some((20, vec![])));
    d.gap(0, Time::ZERO, wait.1);
    let next = d.next(&tail, REIGN, &limits, at(Time::ZERO));
    assert!(matches!(next, Next::Read { from: 1, long: false }), "{next:?}");
    let done = d.read_done(held.clone(), &tail, REIGN, &limits, wait);
    assert_eq!(done.len(), 1, "no more before it says that it is there");
    d.acked(2, Time::ZERO);
    let next = d.next(&tail, REIGN, &limits, at(Time::ZERO));
    assert!(matches!(next, Next::Read { from: 3, long: true }), "{next:?}");
    let done = d.read_done(held[2..10].to_vec(), &tail, REIGN, &limits, wait);
    let seqs = |append: &Append| (append.prev.seq, append.entries.len());
    assert_eq!(done.iter().map(seqs).collect::<Vec<_>>(), [(2, 2), (4, 2), (6, 2), (8, 2)]);
    assert!(matches!(d.next(&tail, REIGN, &limits, at(Time::ZERO)), Next::Nothing));
    d.acked(4, Time::ZERO);
    assert!(matches!(d.next(&tail, REIGN, &limits, at(Time::ZERO)), Next::Read { from: 11, .. }));
    assert_eq!((d.taken.entries, d.taken.bytes), (4, 32));
}

#[test]
fn who_lacks_what_is_before_the_log_is_given_what_that_stands_on() {
    let mut tail = tail(9);
    tail.trim(tail.place(6).unwrap());
    let mut b = follower(9);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((8, vec![9])));
    b.gap(3, Time::ZERO, Duration::ZERO);
    let base = Base { place: tail.base(), bytes: 10, ..Base::default() };
    let next = |b: &mut Follower, open| {
        let when = When { open, ..at(Time::ZERO) };
        match b.next(&tail, REIGN, &limits(), when) {
            Next::ReadBase { at } => Some(at),
            Next::Nothing => None,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(next(&mut b, false), None, "not now");
    assert_eq!(next(&mut b, true), Some(0));
    assert_eq!(next(&mut b, true), None, "it is being read");
    let piece = || Some(Bytes::from_static(b"0123456789"));
    let read = b.base_read(base, 0, piece(), (Time::ZERO, Duration::ZERO));
    assert_eq!(read, piece().map(|piece| (base, piece)));
    b.base_has(tail.base(), 10, Time::ZERO);
    assert_eq!((next(&mut b, true), b.given_of()), (None, (10, 10)), "it has to sync it");
    b.acked(6, Time::ZERO);
    assert_eq!(sent(&mut b, &tail, Time::ZERO), Some((6, vec![7, 8])));
    assert!(!b.gives(Time::ZERO));
}

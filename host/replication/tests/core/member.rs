//! One member, spoken to by hand: what it takes, what it answers and what it refuses.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a story's helpers")]

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hashring::NodeId;
use registry::{Member, PartitionRecord};
use replication::core::{
    Alarm, Core, CoreConfig, Event, Limits, Role, Sabotage, Step, Timings, opened_record,
};
use segment::{Chain, LogEnd, LogEntry, LogOp, Promise, Restored};
use wire::{
    Ack, Append, Beat, End, Entry, Fetch, Fetched, Lead, Message, PreVote, PreVoteAsk, Promised,
    RefuseWhy, Seal, Sealed,
};

use crate::stage::{P, id};

/// Node b, connected to a and c.
pub(crate) struct NodeB {
    core: Core,
    now: Duration,
}

/// What came of something.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) ops: Vec<LogOp>,
    said: Vec<(NodeId, Message)>,
    alarms: Vec<Alarm>,
    reads: Vec<(u64, u64)>,
}

/// A log of entries of these epochs; entries of one epoch and place are the same, whatever is below.
pub(crate) fn log(epochs: &[u64]) -> Vec<LogEntry> {
    let mut chain = Chain::default();
    let mut entries = Vec::new();
    for (epoch, seq) in epochs.iter().zip(1..) {
        let payload = Bytes::from(format!("\u{1}{epoch}/{seq}"));
        chain = chain.next(*epoch, seq, &payload);
        entries.push(LogEntry { epoch: *epoch, seq, chain, payload });
    }
    entries
}

fn end(log: &[LogEntry]) -> End {
    let end = |entry: &LogEntry| End { epoch: entry.epoch, seq: entry.seq, chain: entry.chain.0 };
    log.last().map_or_else(End::default, end)
}

fn wire(entries: &[LogEntry]) -> Vec<Entry> {
    let entry = |entry: &LogEntry| Entry {
        epoch: entry.epoch,
        seq: entry.seq,
        chain: entry.chain.0,
        payload: entry.payload.clone(),
    };
    entries.iter().map(entry).collect()
}

/// What a primary of `epoch` with this log sends from its entry `from` on.
pub(crate) fn append(epoch: u64, epochs: &[u64], from: usize) -> Message {
    let log = log(epochs);
    let (before, entries) = log.split_at(from - 1);
    Message::Append(Append {
        partition: P,
        epoch,
        prev: end(before),
        entries: wire(entries),
        commit: 0,
    })
}

impl NodeB {
    pub(crate) fn with(disk: Restored) -> Self {
        let config = CoreConfig {
            node: id("b"),
            store: 7,
            boot: 3,
            partitions: 1,
            copies: 3,
            commit: 2,
            timings: Timings::default(),
            limits: Limits::default(),
            sabotage: Sabotage::default(),
        };
        let core = Core::new(config, BTreeMap::from([(P, disk)]), 1);
        let mut member = Self { core, now: Duration::ZERO };
        for node in ["a", "c"] {
            member.tell(Event::PeerUp { node: id(node), boot: 1, store: 7 });
        }
        member
    }

    /// With a log of these epochs in memory and on disk, all from a's last epoch.
    fn holding(epochs: &[u64]) -> Self {
        let mut member = Self::with(Restored::default());
        let epoch = *epochs.last().unwrap();
        member.says("a", append(epoch, epochs, 1));
        member.tell(Event::Written { ticket: 1 });
        member
    }

    pub(crate) fn tell(&mut self, event: Event) -> Outcome {
        self.core.handle(self.now, event);
        let mut outcome = Outcome::default();
        while let Some(step) = self.core.poll() {
            match step {
                Step::Write { ops, .. } => outcome.ops.extend(ops),
                Step::Send { to, message } => outcome.said.push((to, message)),
                Step::Alarm { alarm, .. } => outcome.alarms.push(alarm),
                Step::Read { request, from, .. } => outcome.reads.push((request, from)),
                Step::Viewed { .. } => {}
                step => panic!("a member does not {step:?}"),
            }
        }
        outcome
    }

    pub(crate) fn says(&mut self, from: &str, message: Message) -> Outcome {
        self.tell(Event::Message { from: id(from), message })
    }

    pub(crate) fn written(&mut self, ticket: u64) -> Vec<(NodeId, Message)> {
        self.tell(Event::Written { ticket }).said
    }

    pub(crate) fn end(&self) -> u64 {
        self.core.view(P).end
    }
}

fn ack(epoch: u64, matched: u64) -> (NodeId, Message) {
    (id("a"), Message::Ack(Ack { partition: P, epoch, matched }))
}

pub(crate) fn refused(outcome: &Outcome) -> RefuseWhy {
    match outcome.said.as_slice() {
        [(_, Message::Refuse(refuse))] => refuse.why,
        said => panic!("no refusal: {said:?}"),
    }
}

#[test]
fn an_append_is_acknowledged_after_the_sync_of_entries_and_promise() {
    let mut b = NodeB::with(Restored::default());
    let outcome = b.says("a", append(1, &[1, 1], 1));
    let promise = Promise { epoch: 1, node: id("a"), boot: 1 };
    let ops = [
        LogOp::Promise { partition: P, promise },
        LogOp::Append { partition: P, entries: log(&[1, 1]) },
    ];
    assert_eq!((outcome.ops.as_slice(), outcome.said.len()), (&ops[..], 0));
    b.says("a", append(1, &[1, 1, 1], 3));
    assert_eq!(b.written(1), [ack(1, 2)]);
    assert_eq!(b.written(2), [ack(1, 3)]);
    // Again: nothing to write, and still an answer.
    let outcome = b.says("a", append(1, &[1, 1, 1], 2));
    assert_eq!((outcome.ops.len(), outcome.said.as_slice()), (0, &[ack(1, 3)][..]));
}

#[test]
fn what_a_higher_epoch_has_replaced_is_cut_from_the_first_conflict_on() {
    let mut b = NodeB::holding(&[1, 1, 2, 2]);
    let outcome = b.says("a", append(4, &[1, 1, 3, 4], 1));
    let promise = Promise { epoch: 4, node: id("a"), boot: 1 };
    let ops = [
        LogOp::Promise { partition: P, promise },
        LogOp::Cut { partition: P, after: 2 },
        LogOp::Append { partition: P, entries: log(&[1, 1, 3, 4])[2..].to_vec() },
    ];
    assert_eq!(outcome.ops, ops);
    assert_eq!(b.written(2), [ack(4, 4)]);
}

#[test]
fn a_longer_log_is_not_cut_where_nothing_contradicts_it() {
    let mut b = NodeB::holding(&[1, 1, 1]);
    let outcome = b.says("a", append(1, &[1, 1], 2));
    assert_eq!((outcome.ops.len(), b.end()), (0, 3));
    assert_eq!(outcome.said, [ack(1, 3)], "verified before in this epoch");
    // In a new epoch only what is verified in it counts, not the end of the log.
    b.says("a", append(2, &[1, 1], 2));
    assert_eq!(b.written(2), [ack(2, 2)]);
    assert_eq!(b.end(), 3);
}

#[test]
fn a_place_that_is_not_there_is_answered_with_the_last_one_that_may_be() {
    let mut b = NodeB::holding(&[1, 1, 3]);
    let cases: [(&[u64], usize, u64); 3] =
        [(&[1, 1, 3, 4, 4], 5, 3), (&[1, 1, 2, 2, 4], 5, 2), (&[1, 2, 2, 2, 4], 4, 2)];
    for (epochs, from, last) in cases {
        let outcome = b.says("a", append(4, epochs, from));
        let after = end(&log(&[1, 1, 3])[..usize::try_from(last).unwrap()]);
        assert_eq!(refused(&outcome), RefuseWhy::Gap { after }, "{epochs:?}");
    }
}

#[test]
fn a_lower_epoch_and_another_life_of_the_same_are_refused() {
    let mut b = NodeB::holding(&[1, 3]);
    let stale = RefuseWhy::Stale { promised: 3 };
    assert_eq!(refused(&b.says("c", append(2, &[1, 2], 2))), stale);
    b.tell(Event::PeerUp { node: id("a"), boot: 2, store: 7 });
    assert_eq!(refused(&b.says("a", append(3, &[1, 3, 3], 3))), stale, "resumed by a new life");
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 3 }] });
    assert_eq!(refused(&b.says("c", seal)), stale, "promised to another");
    assert_eq!(b.end(), 2);
}

#[test]
fn what_is_committed_is_never_cut() {
    let mut b = NodeB::holding(&[1, 1, 1]);
    let lead = Lead { partition: P, epoch: 1, commit: 2 };
    let beat = Beat { round: 1, leads: vec![lead], stuck: false, full: false, session: true };
    b.says("a", Message::Beat(beat));
    assert_eq!(b.core.view(P).commit, 2);
    let outcome = b.says("c", append(2, &[1, 2], 2));
    assert_eq!(refused(&outcome), RefuseWhy::Divergent);
    assert_eq!(outcome.alarms, [Alarm::Divergent]);
    // Nobody leads that epoch yet: it proves nothing, and who has what was committed is followed.
    assert_eq!((b.core.view(P).role, b.end()), (Role::Outside, 3));
    let outcome = b.says("c", append(3, &[1, 1, 1, 3], 4));
    assert_eq!((b.end(), outcome.said.len()), (4, 0), "it is taken: {outcome:?}");
}

#[test]
fn another_chain_at_one_place_is_not_taken() {
    let mut b = NodeB::holding(&[1, 1]);
    let Message::Append(mut other) = append(1, &[1, 1, 1], 3) else { panic!() };
    other.prev.chain[0] ^= 1;
    assert_eq!(refused(&b.says("a", Message::Append(other))), RefuseWhy::Divergent);
}

#[test]
fn entries_that_do_not_follow_each_other_change_nothing() {
    let good = |n: usize| log(&vec![1; n]);
    let spoil: [fn(&mut Vec<Entry>); 4] = [
        |entries| entries[1].seq += 1,
        |entries| entries[1].chain[3] ^= 1,
        |entries| entries[1].payload = "\u{1}other".into(),
        |entries| entries[1].epoch = 9,
    ];
    for spoil in spoil {
        let mut b = NodeB::holding(&[1]);
        let mut entries = wire(&good(3)[1..]);
        spoil(&mut entries);
        let prev = end(&good(1));
        let append = Append { partition: P, epoch: 1, prev, entries, commit: 0 };
        let outcome = b.says("a", Message::Append(append));
        assert_eq!((outcome, b.end()), (Outcome::default(), 1));
    }
}

#[test]
fn entries_of_epochs_that_fall_or_are_not_yet_change_nothing() {
    for epochs in [[1, 9, 9], [3, 2, 2]] {
        let mut b = NodeB::holding(&epochs[..1]);
        let outcome = b.says("a", append(4, &epochs, 2));
        assert!(outcome.said.is_empty() && b.end() == 1, "{outcome:?}");
    }
}

#[test]
fn what_is_cut_before_its_sync_is_not_acknowledged_after_it() {
    let mut b = NodeB::holding(&[1]);
    // All at once, after standing still: a second entry, a seal, and what the sealer adopted.
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 2 }] });
    let messages = [("a", append(1, &[1, 1], 2)), ("c", seal), ("c", append(2, &[1, 2], 2))];
    for (from, message) in messages {
        b.core.handle(b.now, Event::Message { from: id(from), message });
    }
    b.tell(Event::Tick);
    let ack = Message::Ack(Ack { partition: P, epoch: 2, matched: 2 });
    assert_eq!(b.written(2), [(id("c"), ack)]);
}

#[test]
fn a_seal_covers_what_is_queued_and_nothing_lower_is_taken_after_it() {
    let mut b = NodeB::holding(&[1]);
    b.says("a", append(1, &[1, 1], 2));
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 2 }] });
    let outcome = b.says("c", seal.clone());
    assert!(outcome.said.is_empty(), "before the sync");
    assert_eq!(refused(&b.says("a", append(1, &[1, 1, 1], 3))), RefuseWhy::Stale { promised: 2 });
    // The acknowledgement of what was queued before is still true: the seal tells of it too.
    assert_eq!(b.written(2), [ack(1, 2)]);
    let sealed = Sealed {
        partition: P,
        epoch: 2,
        end: end(&log(&[1, 1])),
        base: 0,
        commit: 0,
        damaged: false,
    };
    let answer = wire::SealAnswer { sealed: vec![sealed] };
    assert_eq!(b.written(3), [(id("c"), Message::SealAnswer(answer.clone()))]);
    let again = b.says("c", seal);
    assert_eq!(again.ops, []);
    assert_eq!(again.said, [(id("c"), Message::SealAnswer(answer))], "asked again");
}

#[test]
fn the_sealed_log_is_given_to_the_candidate_and_to_nobody_else() {
    let mut b = NodeB::holding(&[1, 1, 2]);
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 5 }] });
    b.says("c", seal);
    b.written(2);
    let fetch = |after| Message::Fetch(Fetch { partition: P, epoch: 5, after });
    let outcome = b.says("c", fetch(end(&log(&[1]))));
    let fetched = Fetched {
        partition: P,
        epoch: 5,
        prev: end(&log(&[1])),
        entries: wire(&log(&[1, 1, 2])[1..]),
    };
    assert_eq!(outcome.said, [(id("c"), Message::Fetched(fetched))]);
    // A place that is not in the log: the last one that may be in both.
    let outcome = b.says("c", fetch(end(&log(&[1, 1, 1, 1]))));
    let prev = end(&log(&[1, 1]));
    let fetched = Fetched { partition: P, epoch: 5, prev, entries: Vec::new() };
    assert_eq!(outcome.said, [(id("c"), Message::Fetched(fetched))]);
    let outcome = b.says("a", fetch(end(&log(&[1]))));
    assert_eq!(refused(&outcome), RefuseWhy::Stale { promised: 5 });
}

#[test]
fn a_place_below_what_is_in_memory_is_read_before_it_is_compared() {
    let held = log(&[1, 1, 1]);
    let last = held.last().unwrap();
    let restored = Restored {
        end: LogEnd { epoch: 1, seq: 3, chain: last.chain },
        epochs: vec![(1, 1)],
        promise: Some(Promise { epoch: 1, node: id("a"), boot: 1 }),
        ..Restored::default()
    };
    for honest in [true, false] {
        let mut b = NodeB::with(restored.clone());
        let Message::Append(mut append) = append(2, &[1, 2], 2) else { panic!() };
        if !honest {
            append.prev.chain[0] ^= 1;
            append.entries.clear();
        }
        let outcome = b.says("c", Message::Append(append));
        let [(request, 1)] = outcome.reads[..] else { panic!("{outcome:?}") };
        let entries = Some(held[..1].to_vec());
        let outcome = b.tell(Event::Read { partition: P, request, entries });
        if honest {
            assert_eq!(b.end(), 2);
            assert!(outcome.ops.contains(&LogOp::Cut { partition: P, after: 1 }), "{outcome:?}");
        } else {
            assert_eq!(refused(&outcome), RefuseWhy::Divergent);
            assert_eq!(b.end(), 3);
        }
    }
}

/// Entries were withdrawn, and the cut is still on its way to the disk: what is read from there ends where the
/// log has others.
#[test]
fn what_was_withdrawn_is_not_given_away_while_it_is_still_on_the_disk() {
    let disk = log(&[1, 1, 1, 1, 1, 1]);
    let last = disk.last().unwrap();
    let mut b = NodeB::with(Restored {
        end: LogEnd { epoch: 1, seq: 6, chain: last.chain },
        epochs: vec![(1, 1)],
        promise: Some(Promise { epoch: 1, node: id("a"), boot: 1 }),
        ..Restored::default()
    });
    // The place after which it is cut has to be read, too.
    let outcome = b.says("c", append(2, &[1, 1, 1, 2], 4));
    let [(request, 3)] = outcome.reads[..] else { panic!("{outcome:?}") };
    b.tell(Event::Read { partition: P, request, entries: Some(disk[2..3].to_vec()) });
    assert_eq!(b.end(), 4);
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 5 }] });
    b.says("c", seal);
    b.written(1);
    b.written(2);
    let fetch = Message::Fetch(Fetch { partition: P, epoch: 5, after: end(&disk[..1]) });
    let mut outcome = b.says("c", fetch);
    while let [(request, from)] = outcome.reads[..] {
        // As if nothing were written yet.
        let from = usize::try_from(from).unwrap();
        let entries = Some(disk[from - 1..].to_vec());
        outcome = b.tell(Event::Read { partition: P, request, entries });
    }
    let fetched =
        Fetched { partition: P, epoch: 5, prev: end(&disk[..1]), entries: wire(&disk[1..3]) };
    assert_eq!(outcome.said, [(id("c"), Message::Fetched(fetched))]);
}

#[test]
fn a_full_disk_refuses_entries_but_promises_and_keeps_openings() {
    let mut b = NodeB::holding(&[1]);
    b.tell(Event::WriterFull(true));
    assert_eq!(refused(&b.says("a", append(1, &[1, 1], 2))), RefuseWhy::Full);
    let seal = Message::Seal(Seal { seals: vec![Promised { partition: P, epoch: 2 }] });
    assert_eq!(b.says("c", seal).ops.len(), 1);
    let member = Member { node: id("c"), store: 7 };
    let record = PartitionRecord::first(vec![member], 1);
    let payload: Bytes = [vec![0], postcard::to_stdvec(&record).unwrap()].concat().into();
    assert_eq!(opened_record(&payload), Some(record));
    let before = log(&[1]);
    let chain = before[0].chain.next(2, 2, &payload);
    let opening = LogEntry { epoch: 2, seq: 2, chain, payload };
    let append =
        Append { partition: P, epoch: 2, prev: end(&before), entries: wire(&[opening]), commit: 0 };
    assert_eq!(b.says("c", Message::Append(append)).ops.len(), 1);
    assert_eq!(b.end(), 2);
}

#[test]
fn a_vote_is_no_while_the_leader_is_heard_or_the_asker_is_far_behind() {
    let mut b = NodeB::holding(&[1]);
    let ask = |seq, ready| {
        let end = End { epoch: 1, seq, ..End::default() };
        Message::PreVote(PreVote { asks: vec![PreVoteAsk { partition: P, epoch: 1, end, ready }] })
    };
    let vote = |b: &mut NodeB, ask: Message| match b.says("c", ask).said.as_slice() {
        [(_, Message::PreVoteAnswer(answer))] => answer.votes[0].yes,
        said => panic!("{said:?}"),
    };
    assert!(vote(&mut b, ask(1, true)), "never heard");
    let lead = Lead { partition: P, epoch: 1, commit: 0 };
    let beat = Beat { round: 1, leads: vec![lead], stuck: false, full: false, session: true };
    b.says("a", Message::Beat(beat));
    assert!(!vote(&mut b, ask(1, true)), "it is heard");
    for _ in 0..20 {
        b.now += Duration::from_millis(200);
        b.tell(Event::Tick);
    }
    assert!(vote(&mut b, ask(1, true)), "silent for four seconds");
    assert!(!vote(&mut b, ask(1, false)), "the asker lacks a live generation");

    let member = |node: &str| Member { node: id(node), store: 7 };
    let mut record = PartitionRecord::first(vec![member("a"), member("b"), member("c")], 2);
    (record.epoch, record.primary) = (2, Some(id("a")));
    b.tell(Event::Record { partition: P, record, version: 4 });
    assert!(!vote(&mut b, ask(1, true)), "the asker's record is an old one");

    let mut far = NodeB::with(Restored {
        end: LogEnd { epoch: 1, seq: 10_001, ..LogEnd::default() },
        epochs: vec![(1, 1)],
        ..Restored::default()
    });
    assert!(vote(&mut far, ask(1, true)));
    assert!(!vote(&mut far, ask(0, true)), "ten thousand and one behind");
}

//! One member, as its primary sees it: what it holds in this epoch, and what it is sent next.
//!
//! Entries are sent ahead of acknowledgements up to a bound. A refusal, or a new connection, begins
//! again from a place that the member may share, with one append at a time until it says that it does.

use std::collections::VecDeque;
use std::time::Duration;

use hashring::PartitionId;
use registry::Member;
use segment::{LogEnd, LogEntry};
use wire::Append;

use super::Time;
use super::config::Limits;
use super::convert::{entry_to_wire, to_wire};
use super::tail::Tail;

/// A member other than the primary.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) member: Member,
    /// Its process life.
    boot: u64,
    /// The last seq it has acknowledged in this epoch.
    pub(super) matched: u64,
    /// When it last confirmed the epoch.
    pub(super) heard: Time,
    /// The last beat with which it did.
    pub(super) round: u64,
    /// It said that its disk is full.
    pub(super) full: bool,
    /// It said that its log contradicts what it was sent.
    pub(super) differs: bool,
    /// The next seq to send.
    next: u64,
    /// Nothing up to here is under way.
    floor: u64,
    /// Until it has acknowledged where `next` is, one append at a time.
    probing: bool,
    /// An append is under way.
    awaiting: bool,
    /// It should be asked whether it is at `next`, even if there is nothing to send.
    ask: bool,
    sent: Time,
    not_before: Time,
    /// The appends under way.
    under_way: VecDeque<Piece>,
    /// Payload bytes in them.
    bytes: usize,
    /// It may have as much under way as a learner.
    wide: bool,
    /// What it has taken since it is followed.
    pub(super) taken: Taken,
    /// What it is to get is being read from the disk.
    reading: bool,
    /// A place of the log that was read for it.
    place: Option<LogEnd>,
}

/// An append under way.
#[derive(Clone, Copy, Debug)]
struct Piece {
    last: u64,
    entries: u64,
    bytes: usize,
}

/// How much a follower has taken.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taken {
    pub(super) entries: u64,
    /// Payload bytes.
    pub(super) bytes: u64,
}

/// What a follower is to be sent.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing now.
    Nothing,
    /// This.
    Append(Append),
    /// What the disk holds from this seq on.
    Read {
        /// The first seq to read.
        from: u64,
        /// A piece of many appends, and not of one.
        long: bool,
    },
}

/// What an append says beside its entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reign {
    pub(super) partition: PartitionId,
    pub(super) epoch: u64,
    pub(super) commit: u64,
}

impl Follower {
    /// A member that may share everything before `next`.
    pub(super) fn new(member: Member, boot: u64, next: u64, now: Time) -> Self {
        Self {
            member,
            boot,
            matched: 0,
            heard: now,
            round: 0,
            full: false,
            differs: false,
            next,
            floor: next.saturating_sub(1),
            probing: true,
            awaiting: false,
            ask: false,
            sent: now,
            not_before: Time::ZERO,
            under_way: VecDeque::new(),
            bytes: 0,
            wide: false,
            taken: Taken::default(),
            reading: false,
            place: None,
        }
    }

    /// A node that is not a member yet and may hold anything: it is asked first, and then given the log
    /// in long pieces.
    pub(super) fn learner(member: Member, boot: u64, end: u64, now: Time) -> Self {
        Self { ask: true, wide: true, ..Self::new(member, boot, end + 1, now) }
    }

    /// It has acknowledged.
    pub(super) fn acked(&mut self, matched: u64, now: Time) {
        self.matched = self.matched.max(matched);
        self.next = self.next.max(matched + 1);
        self.heard = now;
        self.sent = now;
        self.full = false;
        self.differs = false;
        self.not_before = now;
        self.probing = false;
        self.awaiting = self.next > self.matched + 1;
        while let Some(piece) = self.under_way.pop_front_if(|piece| piece.last <= matched) {
            self.bytes -= piece.bytes;
            self.taken.entries += piece.entries;
            self.taken.bytes += u64::try_from(piece.bytes).unwrap_or(0);
        }
    }

    /// Whether it has said in this epoch that it holds everything up to `seq`, and is sent what follows.
    pub(super) fn holds(&self, seq: u64) -> bool {
        !self.probing && self.matched >= seq
    }

    /// It may share everything up to `seq`, but not what it was sent.
    pub(super) fn gap(&mut self, seq: u64, now: Time, pause: Duration) {
        if std::mem::take(&mut self.differs) {
            self.not_before = now;
        }
        if seq > self.floor || seq < self.matched {
            // Not a step back: whoever answers so again and again is not asked in a hurry. An answer
            // that was under way when the step was made ends the pause with the next acknowledgement.
            self.not_before = now + pause;
        }
        // Answers keep their order: if it has acknowledged more than it holds, its disk has lost it.
        self.matched = self.matched.min(seq);
        self.restart(seq + 1);
    }

    /// It takes nothing for now.
    pub(super) fn pause(&mut self, now: Time, pause: Duration) {
        self.not_before = now + pause;
        self.restart(self.next.min(self.floor.max(self.matched) + 1));
    }

    /// Its log contradicts what it was sent: what it has counts for nothing.
    pub(super) fn contradicts(&mut self, now: Time, pause: Duration) {
        self.differs = true;
        self.pause(now, pause);
        self.matched = 0;
    }

    /// It is connected, maybe anew: what it had not acknowledged may be lost. A new process has to say
    /// again what its disk holds.
    pub(super) fn connected(&mut self, now: Time, boot: u64) {
        self.not_before = now;
        self.restart(self.next.min(self.floor.max(self.matched) + 1));
        if self.boot != boot {
            self.boot = boot;
            self.matched = 0;
        }
    }

    fn restart(&mut self, next: u64) {
        self.next = next;
        self.floor = next - 1;
        self.probing = true;
        self.awaiting = false;
        self.ask = true;
        self.under_way.clear();
        self.bytes = 0;
        self.reading = false;
    }

    /// A beat passed: asks whether it is there, if it owes an acknowledgement or has not been `heard`.
    pub(super) fn tick(&mut self, now: Time, resend: Duration, heard: bool) {
        if self.awaiting && now.saturating_sub(self.sent) >= resend {
            self.awaiting = false;
            self.ask = true;
        }
        self.ask |= !heard;
    }

    /// What to send next.
    pub(super) fn next(&mut self, tail: &Tail, reign: Reign, limits: &Limits, now: Time) -> Next {
        if self.reading || now < self.not_before || (self.probing && self.awaiting) {
            return Next::Nothing;
        }
        let ahead = self.next - 1 - self.floor.max(self.matched).min(self.next - 1);
        let (entries_max, bytes_max) = match self.wide {
            true => (limits.catch_up_entries_max, limits.catch_up_bytes_max),
            false => (limits.in_flight_entries_max, usize::MAX),
        };
        let full =
            usize::try_from(ahead).is_ok_and(|n| n >= entries_max) || self.bytes >= bytes_max;
        let nothing = self.next > tail.end().seq || full;
        if nothing && !self.ask {
            return Next::Nothing;
        }
        let Some(prev) = self.prev(tail) else { return self.read(self.next - 1, limits) };
        let wanted = if nothing { 0 } else { tail.end().seq + 1 - self.next };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let mut entries = Vec::with_capacity(wanted.min(limits.append_entries_max));
        let mut bytes = 0;
        let mut seq = self.next;
        while !nothing && seq <= tail.end().seq && entries.len() < limits.append_entries_max {
            let Some(entry) = tail.entry(seq) else { break };
            bytes += entry.payload.len();
            if bytes > limits.append_bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(entry_to_wire(entry));
            seq += 1;
        }
        if entries.is_empty() && !nothing {
            return self.read(self.next, limits);
        }
        Next::Append(self.send(reign, prev, entries, now))
    }

    /// The place before `next`, in memory or as it was read.
    fn prev(&self, tail: &Tail) -> Option<LogEnd> {
        let read = || self.place.filter(|place| place.seq + 1 == self.next);
        tail.place(self.next - 1).or_else(read)
    }

    /// How much comes from the disk is not known before: one piece more at a time.
    fn read(&mut self, from: u64, limits: &Limits) -> Next {
        let long = self.wide && !self.probing;
        if !long && self.bytes >= limits.append_bytes_max {
            return Next::Nothing;
        }
        self.reading = true;
        Next::Read { from, long }
    }

    fn send(&mut self, reign: Reign, prev: LogEnd, entries: Vec<wire::Entry>, now: Time) -> Append {
        if let Some(last) = entries.last() {
            let bytes = entries.iter().map(|entry| entry.payload.len()).sum();
            self.next = last.seq + 1;
            let count = u64::try_from(entries.len()).unwrap_or(0);
            self.under_way.push_back(Piece { last: last.seq, entries: count, bytes });
            self.bytes += bytes;
        }
        self.ask = false;
        if !self.awaiting {
            self.awaiting = true;
            self.sent = now;
        }
        let Reign { partition, epoch, commit } = reign;
        Append { partition, epoch, prev: to_wire(prev), entries, commit }
    }

    /// What was read for it: what it is to be sent of that, and whether it was of any use.
    pub(super) fn read_done(
        &mut self,
        mut entries: Vec<LogEntry>,
        tail: &Tail,
        reign: Reign,
        limits: &Limits,
        (now, pause): (Time, Duration),
    ) -> Vec<Append> {
        if !std::mem::take(&mut self.reading) {
            return Vec::new();
        }
        if entries.first().is_some_and(|first| first.seq + 1 == self.next) {
            self.place = Some(place(&entries.remove(0)));
            if entries.is_empty() {
                return Vec::new();
            }
        }
        let mut appends = Vec::new();
        let mut rest = entries.into_iter().peekable();
        while let Some(prev) = self.prev(tail)
            && rest.peek().is_some_and(|first| first.seq == self.next)
        {
            let entries = piece(&mut rest, limits);
            self.place = entries.last().map(place);
            let entries = entries.into_iter().map(entry_to_wire).collect();
            appends.push(self.send(reign, prev, entries, now));
            if self.probing {
                break;
            }
        }
        if appends.is_empty() {
            self.not_before = now + pause;
        }
        appends
    }
}

/// As much as one append carries.
fn piece(
    rest: &mut std::iter::Peekable<std::vec::IntoIter<LogEntry>>,
    limits: &Limits,
) -> Vec<LogEntry> {
    let mut entries: Vec<LogEntry> = Vec::new();
    let mut bytes = 0;
    while entries.len() < limits.append_entries_max
        && let Some(entry) = rest.next_if(|entry| {
            entries.is_empty() || bytes + entry.payload.len() <= limits.append_bytes_max
        })
    {
        bytes += entry.payload.len();
        entries.push(entry);
    }
    entries
}

fn place(entry: &LogEntry) -> LogEnd {
    LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REIGN: Reign = Reign { partition: PartitionId(0), epoch: 2, commit: 0 };

    fn tail(entries: u64) -> Tail {
        let mut tail = Tail::default();
        for seq in 1..=entries {
            let payload = bytes::Bytes::from_static(b"12345678");
            let chain = tail.end().chain.next(2, seq, &payload);
            tail.push(&LogEntry { epoch: 2, seq, chain, payload });
        }
        tail
    }

    fn follower(next: u64) -> Follower {
        Follower::new(Member { node: "b".parse().unwrap(), store: 1 }, 8, next, Time::ZERO)
    }

    fn limits() -> Limits {
        Limits { in_flight_entries_max: 4, append_entries_max: 2, ..Limits::default() }
    }

    /// The place before and the seqs of what is sent next.
    fn sent(follower: &mut Follower, tail: &Tail, now: Time) -> Option<(u64, Vec<u64>)> {
        match follower.next(tail, REIGN, &limits(), now) {
            Next::Append(append) => {
                let seqs = append.entries.iter().map(|entry| entry.seq).collect();
                Some((append.prev.seq, seqs))
            }
            Next::Nothing => None,
            Next::Read { from, .. } => panic!("reads from {from}"),
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
        let next = b.next(&tail, REIGN, &limits(), Time::ZERO);
        assert!(matches!(next, Next::Read { from: 1, .. }), "{next:?}");
        assert_eq!(sent(&mut b, &tail, Time::ZERO), None, "one read at a time");
        let wait = (Time::ZERO, Duration::from_secs(1));
        let done = b.read_done(held[..1].to_vec(), &tail, REIGN, &limits(), wait);
        assert_eq!(done, [], "the place alone is no append");
        let next = b.next(&tail, REIGN, &limits(), Time::ZERO);
        assert!(matches!(next, Next::Read { from: 2, long: false }), "{next:?}");
        let done = b.read_done(held[1..3].to_vec(), &tail, REIGN, &limits(), wait);
        assert_eq!((done.len(), done[0].prev.seq, done[0].entries.len()), (1, 1, 2));
        b.acked(3, Time::ZERO);
        assert!(matches!(b.next(&tail, REIGN, &limits(), Time::ZERO), Next::Read { from: 4, .. }));
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
        let next = d.next(&tail, REIGN, &limits, Time::ZERO);
        assert!(matches!(next, Next::Read { from: 1, long: false }), "{next:?}");
        let done = d.read_done(held.clone(), &tail, REIGN, &limits, wait);
        assert_eq!(done.len(), 1, "no more before it says that it is there");
        d.acked(2, Time::ZERO);
        let next = d.next(&tail, REIGN, &limits, Time::ZERO);
        assert!(matches!(next, Next::Read { from: 3, long: true }), "{next:?}");
        let done = d.read_done(held[2..10].to_vec(), &tail, REIGN, &limits, wait);
        let seqs = |append: &Append| (append.prev.seq, append.entries.len());
        assert_eq!(done.iter().map(seqs).collect::<Vec<_>>(), [(2, 2), (4, 2), (6, 2), (8, 2)]);
        assert!(matches!(d.next(&tail, REIGN, &limits, Time::ZERO), Next::Nothing));
        d.acked(4, Time::ZERO);
        assert!(matches!(d.next(&tail, REIGN, &limits, Time::ZERO), Next::Read { from: 11, .. }));
        assert_eq!((d.taken.entries, d.taken.bytes), (4, 32));
    }
}

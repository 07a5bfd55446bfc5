//! One member, as its primary sees it: what it holds in this epoch, and what it is sent next.
//!
//! Entries are sent ahead of acknowledgements up to a bound. A refusal, or a new connection, begins
//! again from a place that the member may share, with one append at a time until it says that it does.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hashring::PartitionId;
use registry::Member;
use segment::{Base, LogEnd, LogEntry};
use wire::Append;

use super::Time;
use super::config::Limits;
use super::convert::{entry_to_wire, to_wire};
use super::giving::Giving;
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
    /// It lacks entries before the log's beginning, and is given what that stands on.
    giving: Option<Giving>,
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
    /// What the log stands on, from this byte on.
    ReadBase {
        /// Where the piece begins.
        at: u64,
    },
    /// What the disk holds from this seq on.
    Read {
        /// The first seq to read.
        from: u64,
        /// A piece of many appends, and not of one.
        long: bool,
    },
}

/// When something is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct When {
    pub(super) now: Time,
    /// Who is behind may be given something now.
    pub(super) open: bool,
    /// What is not answered for so long is sent again.
    pub(super) resend: Duration,
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
            giving: None,
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
        if self.giving.as_ref().is_some_and(|giving| giving.place().seq <= matched) {
            self.given(now);
        }
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

    /// It has all of the base, and its log goes on there.
    fn given(&mut self, now: Time) {
        if let Some(giving) = self.giving.take() {
            self.taken.bytes += giving.total();
            self.restart(self.matched + 1);
            self.not_before = now;
        }
    }

    /// Whether it is given what the log stands on, and takes it.
    pub(super) fn gives(&self, now: Time) -> bool {
        self.giving.as_ref().is_some_and(|giving| giving.goes_on(now))
    }

    /// How much of the base it has, and how long that is.
    pub(super) fn given_of(&self) -> (u64, u64) {
        self.giving.as_ref().map_or((0, 0), |giving| (giving.have, giving.total()))
    }

    /// A piece of the base was read for it: what it is to be sent.
    pub(super) fn base_read(
        &mut self,
        base: Base,
        at: u64,
        piece: Option<Bytes>,
        (now, pause): (Time, Duration),
    ) -> Option<(Base, Bytes)> {
        let giving = self.giving.as_mut()?;
        match giving.piece(base, at, piece, now) {
            Some(piece) => Some((giving.base(), piece)),
            None => {
                self.not_before = now + pause;
                None
            }
        }
    }

    /// It has so much of the base.
    pub(super) fn base_has(&mut self, place: LogEnd, have: u64, now: Time) {
        self.heard = now;
        self.full = false;
        if let Some(giving) = self.giving.as_mut().filter(|giving| giving.place() == place) {
            giving.has(have, now);
        }
    }

    /// What to send next to who lacks entries before the log's beginning.
    fn next_base(
        &mut self,
        base: LogEnd,
        limits: &Limits,
        (now, resend): (Time, Duration),
    ) -> Next {
        if self.giving.as_ref().is_none_or(|giving| giving.place() != base) {
            self.giving = Some(Giving::new(base, now));
        }
        let window = limits.catch_up_bytes_max;
        let at = self.giving.as_mut().and_then(|giving| giving.read(now, window, resend));
        at.map_or(Next::Nothing, |at| Next::ReadBase { at })
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
        if let Some(giving) = &mut self.giving {
            giving.restart();
        }
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
    pub(super) fn next(&mut self, tail: &Tail, reign: Reign, limits: &Limits, when: When) -> Next {
        let now = when.now;
        if now < self.not_before {
            return Next::Nothing;
        }
        if self.next <= tail.base().seq {
            return match when.open {
                true => self.next_base(tail.base(), limits, (now, when.resend)),
                false => Next::Nothing,
            };
        }
        self.giving = None;
        if self.reading || (self.probing && self.awaiting) {
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
        let Some(prev) = self.prev(tail) else { return self.read(self.next - 1, limits, when) };
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
            return self.read(self.next, limits, when);
        }
        Next::Append(self.send(reign, prev, entries, now))
    }

    /// The place before `next`, in memory or as it was read.
    fn prev(&self, tail: &Tail) -> Option<LogEnd> {
        let read = || self.place.filter(|place| place.seq + 1 == self.next);
        tail.place(self.next - 1).or_else(read)
    }

    /// How much comes from the disk is not known before: one piece more at a time.
    fn read(&mut self, from: u64, limits: &Limits, when: When) -> Next {
        let long = self.wide && !self.probing;
        if !when.open {
            return Next::Nothing;
        }
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
#[path = "follower_tests.rs"]
mod tests;

//! What a member does: append what the primary sends, promise and answer seals, give its log to a
//! candidate.
//!
//! An append is checked before anything of it is taken: its epoch against the promise, the place before
//! it against the own log, its entries against their chains. Only then is something cut, and only from
//! the first entry on that another epoch has replaced.

use hashring::NodeId;
use segment::{LogEnd, LogEntry, LogOp};
use wire::{
    Ack, Append, Entry, Fetch, Fetched, Lead, Message, Promised, Refuse, RefuseWhy, Sealed,
};

use super::convert::{entry_to_log, entry_to_wire, to_log, to_wire};
use super::opening;
use super::partition::{Partition, ReadFor};
use super::shared::Shared;
use super::writer::After;

/// An append that waits until the place before it is read from the disk.
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) from: NodeId,
    pub(super) boot: u64,
    pub(super) append: Append,
}

/// Why entries do not fit the own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// They do not follow each other as they claim; nobody who is right sends that.
    Malformed,
    /// The place of this seq holds something else, or something committed is contradicted.
    Divergent(u64),
}

impl Partition {
    /// A primary sent entries.
    pub(super) fn on_append(&mut self, cx: &mut Shared, from: &NodeId, boot: u64, append: Append) {
        // The reserve has room for promises and openings, not for more.
        let more = append.entries.iter().any(|entry| !opening::is_opening(&entry.payload));
        if !self.follows(cx, from, boot, append.epoch, more) {
            return;
        }
        let prev = to_log(append.prev);
        if self.tail.epoch_at(prev.seq) != Some(prev.epoch) {
            let after = self.hint(prev);
            self.refuse(cx, from, append.epoch, RefuseWhy::Gap { after: to_wire(after) });
            return;
        }
        let Some(place) = self.place_or_read(cx, prev.seq) else {
            self.deferred = Some(Deferred { from: from.clone(), boot, append });
            return;
        };
        let (epoch, commit) = (append.epoch, append.commit);
        let fits = match place == prev {
            true => self.take(cx, prev, append.entries, epoch),
            false => Err(Misfit::Divergent(prev.seq)),
        };
        match fits {
            Ok(last) => self.matches(cx, from, epoch, last, commit),
            Err(Misfit::Malformed) => {}
            Err(Misfit::Divergent(seq)) => {
                self.contradicted(cx, from, boot, seq);
                self.refuse(cx, from, epoch, RefuseWhy::Divergent);
            }
        }
    }

    /// Whether what a primary sends in `epoch` is looked at; `more` needs room on the disk. If so the epoch is
    /// promised, and otherwise the primary is told why not.
    pub(super) fn follows(
        &mut self,
        cx: &mut Shared,
        from: &NodeId,
        boot: u64,
        epoch: u64,
        more: bool,
    ) -> bool {
        if let Some(why) = self.refuses(cx, from, boot, epoch, more) {
            self.refuse(cx, from, epoch, why);
            return false;
        }
        if epoch > self.promised {
            self.depose(cx, epoch);
            self.promise(cx, epoch, from, boot);
        } else if self.promised_to.is_none() {
            self.promise(cx, epoch, from, boot);
        }
        true
    }

    /// Why what a primary sends is not looked at.
    fn refuses(
        &self,
        cx: &mut Shared,
        from: &NodeId,
        boot: u64,
        epoch: u64,
        more: bool,
    ) -> Option<RefuseWhy> {
        if self.blocked() {
            return Some(RefuseWhy::Divergent);
        }
        let own = self.own_epoch().is_some_and(|own| own >= epoch);
        if own || self.forgot || !self.accepts(cx, epoch, from, boot) {
            return Some(RefuseWhy::Stale { promised: self.promised });
        }
        let known = self.record.as_ref().map(|known| &known.record);
        let outside = known.filter(|record| {
            record.epoch == epoch && !record.names(&cx.config.node, cx.config.store)
        });
        if let Some(record) = outside {
            // Whoever leads by the record may give the log to anybody, who counts for nothing by it.
            if record.primary.as_ref() != Some(from) || record.boot != boot {
                return Some(RefuseWhy::NotMember);
            }
            if !cx.learns(self.id) {
                return Some(RefuseWhy::Busy);
            }
        }
        (cx.full.is_some() && more).then_some(RefuseWhy::Full)
    }

    /// Everything up to `last` is equal to the primary's log.
    fn matches(&mut self, cx: &mut Shared, from: &NodeId, epoch: u64, last: u64, commit: u64) {
        self.matched = self.matched.max(last);
        self.commit = self.commit.max(commit.min(self.matched));
        let end = self.tail.end();
        if self.damaged && end.epoch == epoch && self.matched == end.seq && commit <= end.seq {
            // An entry of this epoch: all that any epoch before it may have committed is below it. So is
            // all that this epoch has, some of it maybe with what this node had acknowledged and lost.
            self.damaged = false;
        }
        let claimed = if cx.config.sabotage.ack_log_end { end.seq } else { self.matched };
        let ack = Ack { partition: self.id, epoch, matched: claimed };
        cx.writer.after(After::Ack { to: from.clone(), ack });
        self.tail.forget(self.commit, cx.config.limits.tail_entries_max);
        self.touch(cx);
    }

    /// Takes entries that follow `prev`, which is in the log; the last seq that is equal then.
    pub(super) fn take(
        &mut self,
        cx: &mut Shared,
        prev: LogEnd,
        entries: Vec<Entry>,
        epoch: u64,
    ) -> Result<u64, Misfit> {
        let entries: Vec<LogEntry> = entries.into_iter().map(entry_to_log).collect();
        let new = self.first_new(prev, &entries, epoch)?;
        let last = entries.last().map_or(prev.seq, |entry| entry.seq);
        let mut before = prev;
        for (at, entry) in entries.into_iter().enumerate() {
            if at < new {
                before = LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain };
                continue;
            }
            if at == new && self.tail.end().seq > before.seq {
                cx.writer.withdraw(self.id);
                cx.writer
                    .push(&mut self.slot, LogOp::Cut { partition: self.id, after: before.seq });
                self.tail.cut(before);
            }
            self.tail.push(&entry);
            cx.writer.append(self.id, &mut self.slot, entry);
        }
        if cx.config.sabotage.cut_to_append
            && let Some(place) = self.tail.place(last)
            && self.tail.end().seq > last
        {
            cx.writer.withdraw(self.id);
            cx.writer.push(&mut self.slot, LogOp::Cut { partition: self.id, after: last });
            self.tail.cut(place);
        }
        Ok(last)
    }

    /// The index of the first entry that the log does not hold. Checks all of them before one is taken.
    fn first_new(&self, prev: LogEnd, entries: &[LogEntry], epoch: u64) -> Result<usize, Misfit> {
        let mut before = prev;
        let mut new = None;
        for (at, entry) in entries.iter().enumerate() {
            let follows =
                entry.seq == before.seq + 1 && (before.epoch.max(1)..=epoch).contains(&entry.epoch);
            if !follows {
                return Err(Misfit::Malformed);
            }
            let same = new.is_none() && self.tail.epoch_at(entry.seq) == Some(entry.epoch);
            let place = self.tail.place(entry.seq).filter(|_| same);
            match place {
                Some(place) if place.chain != entry.chain => {
                    return Err(Misfit::Divergent(entry.seq));
                }
                Some(_) => {}
                None => {
                    if before.chain.next(entry.epoch, entry.seq, &entry.payload) != entry.chain {
                        return Err(Misfit::Malformed);
                    }
                }
            }
            if !same && new.is_none() {
                if entry.seq <= self.commit {
                    return Err(Misfit::Divergent(entry.seq));
                }
                new = Some(at);
            }
            before = LogEnd { epoch: entry.epoch, seq: entry.seq, chain: entry.chain };
        }
        Ok(new.unwrap_or(entries.len()))
    }

    /// Where to look for the last common entry: the last one here that is not above `prev`. Its chain
    /// is not looked at.
    fn hint(&self, prev: LogEnd) -> LogEnd {
        let seq = self.tail.shared(prev.epoch, prev.seq);
        let epoch = self.tail.epoch_at(seq).unwrap_or(0);
        self.tail.place(seq).unwrap_or_else(|| LogEnd { epoch, seq, ..LogEnd::default() })
    }

    /// A candidate asks for a promise and what the log is.
    pub(super) fn on_seal(&mut self, cx: &mut Shared, from: &NodeId, boot: u64, epoch: u64) {
        if self.blocked() {
            self.refuse(cx, from, epoch, RefuseWhy::Divergent);
            return;
        }
        let own = self.own_epoch().is_some_and(|own| own >= epoch);
        if own || self.forgot || !self.accepts(cx, epoch, from, boot) {
            self.refuse(cx, from, epoch, RefuseWhy::Stale { promised: self.promised });
            return;
        }
        if epoch > self.promised || self.promised_to.is_none() {
            self.depose(cx, epoch);
            self.promise(cx, epoch, from, boot);
        }
        self.suspicion.heard(cx.now);
        let sealed = self.sealed(epoch);
        if cx.config.sabotage.late_sync {
            cx.send_sealed(from, sealed);
        } else {
            cx.writer.after(After::Sealed { to: from.clone(), sealed });
        }
    }

    /// What this node says when it is sealed.
    pub(super) fn sealed(&self, epoch: u64) -> Sealed {
        Sealed {
            partition: self.id,
            epoch,
            end: to_wire(self.tail.end()),
            base: self.tail.base().seq,
            commit: self.commit,
            damaged: self.damaged,
        }
    }

    /// A candidate asks for entries.
    pub(super) fn on_fetch(&mut self, cx: &mut Shared, from: &NodeId, boot: u64, fetch: Fetch) {
        if self.blocked() {
            self.refuse(cx, from, fetch.epoch, RefuseWhy::Divergent);
            return;
        }
        if fetch.epoch != self.promised || !self.accepts(cx, fetch.epoch, from, boot) {
            self.refuse(cx, from, fetch.epoch, RefuseWhy::Stale { promised: self.promised });
            return;
        }
        let after = to_log(fetch.after);
        if self.tail.epoch_at(after.seq) != Some(after.epoch) {
            let prev = to_wire(self.hint(after));
            let fetched =
                Fetched { partition: self.id, epoch: fetch.epoch, prev, entries: Vec::new() };
            cx.send(from, Message::Fetched(fetched));
            return;
        }
        self.give(cx, from, boot, fetch);
    }

    /// Gives a candidate what follows an entry that it and this node hold, from memory or the disk.
    fn give(&mut self, cx: &mut Shared, to: &NodeId, boot: u64, fetch: Fetch) {
        let after = to_log(fetch.after);
        let end = self.tail.end().seq;
        let from = match self.tail.place(after.seq) {
            Some(place) if place != after => {
                self.contradicted(cx, to, boot, after.seq);
                return self.refuse(cx, to, fetch.epoch, RefuseWhy::Divergent);
            }
            Some(_) => after.seq + 1,
            // The entry itself, to compare its chain.
            None => after.seq,
        };
        let most = cx.config.limits.append_entries_max;
        let held: Vec<LogEntry> =
            (from..=end).map_while(|seq| self.tail.entry(seq)).take(most).collect();
        if from > after.seq && (from > end || !held.is_empty()) {
            return self.send_fetched(cx, to, &fetch, held);
        }
        let request = cx.read(self.id, from, false);
        self.reads.retain(|(_, purpose)| !matches!(purpose, ReadFor::Fetch(..)));
        self.reads.push((request, ReadFor::Fetch(to.clone(), boot, fetch)));
    }

    /// What a candidate asked for was read.
    pub(super) fn on_fetch_read(
        &mut self,
        cx: &mut Shared,
        (to, boot): (&NodeId, u64),
        fetch: Fetch,
        entries: Vec<LogEntry>,
    ) {
        if fetch.epoch != self.promised {
            return;
        }
        match entries.first() {
            Some(first) if first.seq == fetch.after.seq => {
                let (epoch, seq, chain) = (first.epoch, first.seq, first.chain);
                self.tail.note(LogEnd { epoch, seq, chain });
                self.give(cx, to, boot, fetch);
            }
            Some(first) if first.seq == fetch.after.seq + 1 => {
                self.send_fetched(cx, to, &fetch, entries);
            }
            // Not there: the candidate asks again.
            Some(_) | None => {}
        }
    }

    /// Gives a candidate what follows the entry it holds.
    fn send_fetched(&self, cx: &mut Shared, to: &NodeId, fetch: &Fetch, entries: Vec<LogEntry>) {
        let mut room = cx.config.limits.append_bytes_max;
        let mut fits = |entry: &LogEntry| {
            let left = room.checked_sub(entry.payload.len());
            let first = room == cx.config.limits.append_bytes_max;
            room = left.unwrap_or(0);
            left.is_some() || first
        };
        let entries =
            entries.into_iter().take_while(|entry| fits(entry)).map(entry_to_wire).collect();
        let (partition, epoch, prev) = (self.id, fetch.epoch, fetch.after);
        cx.send(to, Message::Fetched(Fetched { partition, epoch, prev, entries }));
    }

    /// A node says that it leads this partition. What it should know instead, if it is wrong.
    pub(super) fn on_lead(
        &mut self,
        cx: &mut Shared,
        from: &NodeId,
        lead: Lead,
    ) -> Option<Promised> {
        let newest = self.newest_epoch();
        if lead.epoch < newest && !cx.config.sabotage.no_fence {
            return Some(Promised { partition: self.id, epoch: newest });
        }
        self.depose(cx, lead.epoch);
        let holder = self.promised_to.as_ref().map(|(to, _)| to);
        if lead.epoch == self.promised && holder.is_some_and(|to| to != from) {
            return None;
        }
        self.suspicion.heard(cx.now);
        if lead.epoch == self.promised && lead.commit.min(self.matched) > self.commit {
            self.commit = lead.commit.min(self.matched);
            self.tail.forget(self.commit, cx.config.limits.tail_entries_max);
        }
        None
    }

    /// Tells that nothing was taken.
    pub(super) fn refuse(&self, cx: &mut Shared, to: &NodeId, epoch: u64, why: RefuseWhy) {
        let refuse = Refuse { partition: self.id, epoch, why };
        cx.send(to, Message::Refuse(refuse));
    }
}

//! Whose turn it is, where a service gets one transaction after another from the whole cluster.
//!
//! A node sends to such a service only while it holds the turn: a record in the registry, changed by compare-and-set
//! and renewed while it is used. Clocks of different nodes are never compared. A holder counts from when it sent its
//! last renewal, the others from when they first saw it; an attempt begins only if all of it ends before the holder's
//! time does, and the others wait for longer than that. So two attempts of two nodes never overlap, whoever is cut
//! off, and whatever becomes of a write on its way. Not even what gives the turn back is waited for: nothing begins
//! from the moment it is decided. One thing no rule helps against: a process that stands still (SIGSTOP, a virtual
//! machine that is moved) between its last look at the clock and its first byte to the service goes on when it goes
//! on. Without the registry nobody renews, and it stops.
//!
//! It is told what was read and written, and asked what to read and write next. One thing at a time.

use std::time::Duration;

use runtime::Instant;
use serde::{Deserialize, Serialize};

/// So long a turn lasts since its holder sent its last renewal, on the holder's clock.
pub const TURN: Duration = Duration::from_secs(40);
/// So much of it has to be left for an attempt to begin: as long as one can take.
pub const TURN_LEFT: Duration = Duration::from_secs(30);
/// How often it is renewed while it is used.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// What has not changed for so long on another node's clock is over: longer than [`TURN`].
const ABANDONED: Duration = Duration::from_secs(45);
/// If others want it, it is passed on after so long, or so many transactions.
const SHARE: Duration = Duration::from_secs(1);
const SHARE_MAX: u32 = 10;
/// How often who waits looks though nothing was told.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon it is tried again after the registry did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Who holds it, as the registry says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnRecord {
    /// The node; empty: nobody.
    pub holder: String,
    /// Its process life.
    pub boot: u64,
    /// Rises with every holder.
    pub term: u64,
}

/// What was found in the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnSeen {
    /// The record, with the version of its key.
    pub record: Option<(TurnRecord, u64)>,
    /// The latest process life of the node that the record names, as far as that is known.
    pub boot: u64,
    /// Whether another node waits for it.
    pub wanted: bool,
    /// Whether others can see that this node waits.
    pub marked: bool,
}

/// What to do with the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnStep {
    /// Read all of [`TurnSeen`].
    Read,
    /// Write the record, if its key has this version; `None`: if there is none.
    Write {
        /// The version that must stand there.
        expect: Option<u64>,
        /// What to write.
        record: TurnRecord,
    },
    /// Let the holder see that this node waits, or does not any more.
    Mark(bool),
}

/// The turn of one service, as one node sees it.
#[derive(Debug)]
pub struct Turn {
    node: String,
    boot: u64,
    /// What is known to stand, and since when it has not changed as far as was seen.
    seen: Option<(TurnSeen, Instant)>,
    held: Option<Held>,
    /// When the write that is under way was sent, and what it says.
    writing: Option<(Instant, TurnRecord)>,
    asking: bool,
    /// A write has an end that nobody knows: the turn may be this node's, held or not.
    unsure: bool,
    marked: bool,
    wants: bool,
    idle: bool,
    /// It was passed on, and until then others take it first.
    yields: Option<Instant>,
    /// It is to be read then.
    look: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    /// When the last renewal that is known to stand was sent.
    sent: Instant,
    since: Instant,
    /// Transactions since then.
    done: u32,
}

impl Turn {
    /// Of `node` in its process life `boot`, before anything is known.
    pub fn new(node: &str, boot: u64, now: Instant) -> Self {
        Self {
            node: node.to_owned(),
            boot,
            seen: None,
            held: None,
            writing: None,
            asking: false,
            unsure: false,
            marked: false,
            wants: false,
            idle: true,
            yields: None,
            look: now,
        }
    }

    /// Whether there is something to send, and whether nothing is under way.
    pub fn handle_work(&mut self, wants: bool, idle: bool) {
        (self.wants, self.idle) = (wants, idle);
    }

    /// A transaction was tried.
    pub fn handle_tried(&mut self) {
        if let Some(held) = &mut self.held {
            held.done = held.done.saturating_add(1);
        }
    }

    /// Something changed in the registry.
    pub fn handle_news(&mut self, now: Instant) {
        self.look = self.look.min(now);
    }

    /// What [`TurnStep::Read`] found; `None`: nothing could be read.
    pub fn handle_read(&mut self, seen: Option<TurnSeen>, now: Instant) {
        self.asking = false;
        let Some(seen) = seen else {
            self.look = now + AGAIN;
            return;
        };
        (self.look, self.unsure) = (now + LOOK_EVERY, false);
        let version = |seen: &TurnSeen| seen.record.as_ref().map(|(_, version)| *version);
        let since = match &self.seen {
            Some((known, since)) if version(known) == version(&seen) => *since,
            Some(_) | None => now,
        };
        if !self.is_mine(&seen) {
            self.held = None;
        }
        self.marked = seen.marked;
        self.seen = Some((seen, since));
    }

    /// Whether [`TurnStep::Write`] wrote, and the version; `None`: it did not, or nobody knows.
    pub fn handle_written(&mut self, version: Option<u64>, now: Instant) {
        self.asking = false;
        let Some((sent, record)) = self.writing.take() else { return };
        let Some(version) = version else {
            // What stands says so. What is held is held for as long as it was before; what was given back is not.
            (self.seen, self.look, self.unsure) = (None, now, true);
            return;
        };
        let held = match self.held {
            Some(held) => Held { sent, ..held },
            None => Held { sent, since: now, done: 0 },
        };
        self.held = (record.holder == self.node).then_some(held);
        let (boot, wanted) = (self.boot, self.seen.as_ref().is_some_and(|(seen, _)| seen.wanted));
        self.yields = (self.held.is_none() && wanted).then(|| now + SHARE);
        let (record, marked) = (Some((record, version)), self.marked);
        self.seen = Some((TurnSeen { record, boot, wanted, marked }, now));
        // Who waits may have begun to meanwhile.
        self.look = self.look.min(now + LOOK_EVERY);
    }

    /// [`TurnStep::Mark`] is over. Whether it was done is seen when it is read again.
    pub fn handle_marked(&mut self) {
        self.asking = false;
        self.marked = !self.marked;
    }

    /// What to do now. It is taken for begun, and nothing else is until it is over.
    pub fn poll(&mut self, now: Instant) -> Option<TurnStep> {
        if self.asking {
            return None;
        }
        let step = self.next(now)?;
        self.asking = true;
        if let TurnStep::Write { record, .. } = &step {
            if record.holder.is_empty() {
                // Whoever reads it may begin before this node hears that it is written.
                self.held = None;
            }
            self.writing = Some((now, record.clone()));
        }
        Some(step)
    }

    fn next(&self, now: Instant) -> Option<TurnStep> {
        let Some((seen, since)) = &self.seen else {
            let asks = self.wants || self.held.is_some() || self.unsure;
            return (asks && now >= self.look).then_some(TurnStep::Read);
        };
        if let Some(held) = &self.held {
            if self.marked {
                return Some(TurnStep::Mark(false));
            }
            if now >= self.look {
                return Some(TurnStep::Read);
            }
            return self.ends_or_renews(*held, seen, now);
        }
        if !self.wants {
            // It was given back, or taken, by a write that nobody heard the end of.
            let back = self.is_mine(seen) && self.idle;
            let unmark = self.marked.then_some(TurnStep::Mark(false));
            return back.then(|| self.write(seen, "")).or(unmark);
        }
        if now >= self.look {
            return Some(TurnStep::Read);
        }
        let yields = self.yields.is_some_and(|until| now < until);
        if self.is_mine(seen) || (self.is_free(seen, *since, now) && !yields) {
            return Some(self.write(seen, &self.node));
        }
        (!self.marked).then_some(TurnStep::Mark(true))
    }

    fn ends_or_renews(&self, held: Held, seen: &TurnSeen, now: Instant) -> Option<TurnStep> {
        let shared = now >= held.since + SHARE || held.done >= SHARE_MAX || !self.wants;
        let passes = self.idle && seen.wanted && shared;
        let due = now >= held.sent + RENEW_EVERY;
        let unused = self.idle && !self.wants && due;
        if passes || unused {
            return Some(self.write(seen, ""));
        }
        due.then(|| self.write(seen, &self.node))
    }

    fn write(&self, seen: &TurnSeen, holder: &str) -> TurnStep {
        let (record, expect) = match &seen.record {
            Some((record, version)) => (record.clone(), Some(*version)),
            None => (TurnRecord { holder: String::new(), boot: 0, term: 0 }, None),
        };
        let new = holder == self.node && !self.is_mine(seen);
        let term = record.term + u64::from(new);
        let record = TurnRecord { holder: holder.to_owned(), boot: self.boot, term };
        TurnStep::Write { expect, record }
    }

    fn is_mine(&self, seen: &TurnSeen) -> bool {
        let mine = |record: &TurnRecord| record.holder == self.node && record.boot == self.boot;
        seen.record.as_ref().is_some_and(|(record, _)| mine(record))
    }

    fn is_free(&self, seen: &TurnSeen, since: Instant, now: Instant) -> bool {
        let Some((record, _)) = &seen.record else { return true };
        let boot = if record.holder == self.node { self.boot } else { seen.boot };
        record.holder.is_empty() || boot > record.boot || now >= since + ABANDONED
    }

    /// What gives it back, if it is held. `idle`: nothing is under way, and nothing will be.
    pub fn given_back(&self, idle: bool) -> Option<TurnStep> {
        let (seen, _) = self.seen.as_ref().filter(|_| self.held.is_some() && idle)?;
        Some(self.write(seen, ""))
    }

    /// Until when an attempt may begin; `None`: none may.
    pub fn until(&self) -> Option<Instant> {
        self.held.map(|held| held.sent + (TURN - TURN_LEFT))
    }

    /// Whether this node holds it, as far as it knows.
    pub fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// When [`Turn::poll`] has something to say at the latest, if nothing happens.
    pub fn next_timeout(&self) -> Option<Instant> {
        if self.asking {
            return None;
        }
        // Each of these is a moment at which `next` has something to say: otherwise who asks would not rest.
        match (&self.held, &self.seen) {
            (None, None) if !self.wants && !self.unsure => None,
            (_, None) => Some(self.look),
            (None, _) if !self.wants => None,
            (Some(held), Some((seen, _))) => {
                let share = (seen.wanted && self.idle).then(|| held.since + SHARE);
                let due = self.look.min(held.sent + RENEW_EVERY);
                Some(share.map_or(due, |share| share.min(due)))
            }
            (None, Some((seen, since))) => {
                let free = seen.record.as_ref().is_none_or(|(record, _)| record.holder.is_empty());
                let due = self.look.min(*since + ABANDONED);
                Some(self.yields.filter(|_| free).map_or(due, |yields| yields.min(due)))
            }
        }
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;

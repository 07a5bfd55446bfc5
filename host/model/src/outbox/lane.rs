//! What one partition owes to one service.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::entry::{Dialect, EventPlace, FrozenId, Part};

/// A transaction: events under an id, which are sent until they are done with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// Its id.
    pub id: FrozenId,
    /// What is sent.
    pub part: Part,
}

/// An event that was put aside because the service does not take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// Where it stands.
    pub event: EventPlace,
    /// What it was sent under last, alone.
    pub id: FrozenId,
    /// In whose words.
    pub dialect: Dialect,
    /// In which version of them.
    pub render: u8,
    /// SHA-256 of what was sent.
    pub hash: [u8; 32],
    /// What the service said to it last.
    pub status: Option<u16>,
    /// When it was put aside, in Unix milliseconds.
    pub time_ms: u64,
}

/// What is owed: in the order of the log, first what is cut, then what is not.
///
/// `concerned = done + parked + abandoned + pending`, always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Events that concerned it so far, as far as they are counted: those from before it began are when they
    /// are cut.
    pub concerned: u64,
    /// Of them, taken by the service.
    pub done: u64,
    /// Put aside.
    pub parked: u64,
    /// Given up.
    pub abandoned: u64,
    /// Counted and in no transaction yet.
    pub uncut: u64,
    /// No event before this place is uncut: an entry, and one of its messages.
    pub scan: (u64, u32),
    /// Where it began: what is before is not counted before it is cut.
    pub began: u64,
    /// Not done with; the first is sent, the others wait for it.
    pub unfinished: VecDeque<Arc<Frozen>>,
    /// What was put aside, oldest first.
    pub dead: Vec<Dead>,
}

impl Lane {
    /// Events that are neither done, nor put aside, nor given up.
    pub fn pending(&self) -> u64 {
        self.uncut + self.unfinished.iter().map(|frozen| count(&frozen.part.events)).sum::<u64>()
    }

    /// Whether anything is pending, or may be.
    pub fn has_work(&self) -> bool {
        self.is_ripe() || !self.unfinished.is_empty()
    }

    /// Whether there is something to cut, or may be.
    pub fn is_ripe(&self) -> bool {
        self.uncut > 0 || self.scan.0 < self.began
    }

    /// One more event concerns it.
    pub(super) fn concern(&mut self, seq: u64, index: u32) {
        if self.uncut == 0 && self.scan.0 >= self.began {
            self.scan = (seq, index);
        }
        self.concerned += 1;
        self.uncut += 1;
    }

    /// Events are frozen.
    pub(super) fn cut(&mut self, id: FrozenId, part: &Part, upto: (u64, u32)) {
        for event in &part.events {
            if event.seq > self.began {
                self.uncut = self.uncut.saturating_sub(1);
            } else {
                self.concerned += 1;
            }
        }
        self.scan = upto.max(self.scan);
        if !part.events.is_empty() {
            self.unfinished.push_back(Arc::new(Frozen { id, part: part.clone() }));
        }
    }

    /// What was put aside goes again, behind what may be under way.
    pub(super) fn replay(&mut self, id: FrozenId) {
        let Some(at) = self.dead.iter().position(|dead| dead.id == id) else { return };
        let dead = self.dead.remove(at);
        self.parked = self.parked.saturating_sub(1);
        let place = self.unfinished.len().min(1);
        self.unfinished.insert(place, Arc::new(dead.frozen()));
    }

    /// A transaction is given up, if it was there.
    pub(super) fn abandon(&mut self, id: FrozenId) {
        let Some(at) = self.unfinished.iter().position(|frozen| frozen.id == id) else { return };
        if let Some(frozen) = self.unfinished.remove(at) {
            self.abandoned += count(&frozen.part.events);
        }
    }

    /// A transaction is over, if it was there. What is put aside was sent alone.
    pub(super) fn settle(
        &mut self,
        id: FrozenId,
        again: Vec<Frozen>,
        parked: &[EventPlace],
        status: Option<u16>,
        time_ms: u64,
    ) {
        let Some(at) = self.unfinished.iter().position(|frozen| frozen.id == id) else { return };
        let Some(frozen) = self.unfinished.remove(at) else { return };
        let left: u64 = again.iter().map(|again| count(&again.part.events)).sum();
        self.done += count(&frozen.part.events).saturating_sub(left + count(parked));
        self.parked += count(parked);
        let Part { dialect, render, hash, .. } = frozen.part;
        let dead =
            |event: &EventPlace| Dead { event: *event, id, dialect, render, hash, status, time_ms };
        self.dead.extend(parked.iter().map(dead));
        for (offset, again) in again.into_iter().enumerate() {
            self.unfinished.insert(at + offset, Arc::new(again));
        }
    }
}

impl Dead {
    /// The transaction that it was.
    fn frozen(self) -> Frozen {
        let Self { event, id, dialect, render, hash, .. } = self;
        Frozen { id, part: Part { dialect, render, events: vec![event], hash, rounds: 0 } }
    }
}

fn count(events: &[EventPlace]) -> u64 {
    u64::try_from(events.len()).unwrap_or(u64::MAX)
}

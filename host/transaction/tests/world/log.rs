//! One partition's log, as a model: what is committed, who leads it, what of it is still on disks.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::{
    Body, Change, Cursor, Entry, EventPlace, FrozenId, Lane, Message, Outbox, OutboxChange,
    OutboxEntry, Route,
};
use transaction::{Event, Owed};

use crate::SERVICE;

/// What an entry says.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    Opening,
    Chat(Entry),
    Outbox(OutboxEntry),
}

#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) entries: Vec<(u64, Said)>,
    pub(crate) committed: usize,
    pub(crate) fold: Outbox,
    pub(crate) leader: usize,
    pub(crate) epoch: u64,
    /// The entry that the leader's engine waits for.
    pub(crate) awaited: Option<usize>,
    /// Entries that are on no disk any more.
    gone: BTreeSet<u64>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self {
            entries: Vec::new(),
            committed: 0,
            fold: Outbox::default(),
            leader: 0,
            epoch: 0,
            awaited: None,
            gone: BTreeSet::new(),
        }
    }

    pub(crate) fn append(&mut self, said: Said) -> usize {
        self.entries.push((self.epoch, said));
        self.entries.len()
    }

    pub(crate) fn lane(&self) -> &Lane {
        &self.fold.service(SERVICE).expect("it was described at first").lane
    }

    /// What it owes.
    pub(crate) fn owed(&self) -> Option<Owed> {
        let booked = self.fold.service(SERVICE)?;
        Some(Owed {
            front: booked.lane.unfinished.front().map(Arc::clone),
            more: booked.lane.unfinished.len() > 1,
            ripe: booked.lane.is_ripe(),
            dead: booked.lane.dead.len(),
        })
    }

    /// Whether a committed entry froze a transaction of this id.
    pub(crate) fn froze(&self, id: FrozenId) -> bool {
        let at = usize::try_from(id.seq).expect("short");
        if at == 0 || at > self.committed {
            return false;
        }
        let (epoch, Said::Outbox(entry)) = &self.entries[at - 1] else { return false };
        let parts = entry.changes.iter().map(|change| match change {
            OutboxChange::Cut { .. } => 1,
            OutboxChange::Settle { again, .. } => again.len(),
            _ => 0,
        });
        *epoch == id.epoch && usize::from(id.index) < parts.sum()
    }

    /// An entry of a chat, if it can still be read.
    pub(crate) fn chat(&self, seq: u64) -> Option<(u64, &Entry)> {
        let at = usize::try_from(seq).expect("short");
        let (epoch, said) = self.entries.get(at.checked_sub(1)?)?;
        match said {
            Said::Chat(entry) if !self.gone.contains(&seq) => Some((*epoch, entry)),
            _ => None,
        }
    }

    pub(crate) fn event(&self, place: &EventPlace) -> Option<Event> {
        let (_, entry) = self.chat(place.seq)?;
        let message = entry.messages().nth(place.index as usize)?;
        let cursor = Cursor { epoch: place.epoch, seq: place.number };
        Some(Event { chat: entry.chat, cursor, message: Arc::clone(message) })
    }

    /// What would be sent if only the first and the last event were known, and the filter of now.
    pub(crate) fn range(&self, places: &[EventPlace]) -> Vec<Event> {
        let booked = self.fold.service(SERVICE).expect("described");
        let (first, last) = (places[0].seq, places[places.len() - 1].seq);
        let mut events = Vec::new();
        for seq in first..=last {
            let Some((epoch, entry)) = self.chat(seq) else { continue };
            for (index, message) in (0..).zip(entry.messages()) {
                if message.route != Route::Nobody && booked.record.wants(&message.kind) {
                    events.extend(self.event(&EventPlace { seq, index, epoch, number: seq }));
                }
            }
        }
        events
    }

    /// What nobody needs any more is forgotten: with a shelf, all but what the service is owed.
    pub(crate) fn trim(&mut self, shelf: bool) {
        let listed: BTreeSet<u64> = self.fold.listed().collect();
        let uncut = self.fold.looks_from().unwrap_or(u64::MAX);
        let committed = 1..=self.committed as u64;
        let needed = |seq: &u64| shelf && (*seq >= uncut || listed.contains(seq));
        self.gone.extend(committed.filter(|seq| !needed(seq)));
    }

    /// A committed message is not to be read any more.
    pub(crate) fn redact(&mut self, seq: u64) {
        let at = usize::try_from(seq).expect("short");
        let Some((_, Said::Chat(entry))) = self.entries.get_mut(at - 1) else { return };
        for change in &mut entry.changes {
            if let Change::Message(message) = change {
                let left = Message { body: Body::Text(String::new()), ..Message::clone(message) };
                *message = Arc::new(left);
                return;
            }
        }
    }
}

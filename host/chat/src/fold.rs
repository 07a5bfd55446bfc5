//! What a chat's committed entries make of it: the fold, with nothing of an epoch in it.
//!
//! Chat, keys and places follow from the entries alone, so that every member, and whoever goes on from a
//! [snapshot](crate::snapshot), makes the same of the same log.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::encode;
use model::{Chat, ChatToken, Cursor, Entry, Keys, Outbox, OutboxEntry, is_outbox};
use segment::{LogEnd, LogEntry};

use crate::Sabotage;
use crate::places::Places;
use crate::redacted::{Anew, Redacted};

/// The first byte of a payload that is replication's own: the record of the epoch.
const OPENING: u8 = 0;

/// From this first byte on a payload is not the chats': others know what it says.
const OTHERS: u8 = 64;

/// One chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fold {
    pub(crate) chat: Arc<Chat>,
    pub(crate) keys: Keys,
    pub(crate) places: Places,
    pub(crate) redacted: Redacted,
    /// The last cursor of a chat that ended.
    pub(crate) ended_at: Option<Cursor>,
}

/// All chats of a partition after its log up to one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folds {
    pub(crate) chats: HashMap<ChatToken, Fold>,
    /// Entries that are not the chats'. They are kept, whatever becomes of the log.
    pub(crate) others: Vec<u64>,
    /// What is owed to services.
    pub(crate) outbox: Outbox,
    /// Entries with messages of chats that were forgotten before every service had them: these are kept too.
    pub(crate) shelf: Vec<u64>,
    /// That entry.
    pub(crate) place: LogEnd,
}

/// An entry cannot be folded. Nothing was made of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfolded {
    /// It is not the next one. The log lacks what should stand there.
    #[error("entry {seq} stands where {wanted} should")]
    Misplaced {
        /// Which.
        seq: u64,
        /// Which should.
        wanted: u64,
    },
    /// It is of another version, or broken. A newer node may know it.
    #[error("entry {seq} cannot be understood: {source}")]
    Strange {
        /// Which.
        seq: u64,
        /// In which way.
        source: encode::DecodeError,
    },
}

impl Fold {
    /// A chat before its first entry.
    pub(crate) fn new(token: ChatToken) -> Self {
        Self {
            chat: Arc::new(Chat::new(token)),
            keys: Keys::default(),
            places: Places::default(),
            redacted: Redacted::default(),
            ended_at: None,
        }
    }

    /// Folds the chat's next entry, which stands at `seq`.
    pub(crate) fn apply(&mut self, epoch: u64, seq: u64, entry: &Entry) {
        if let Some(remembered) = &entry.remembered {
            self.keys.remember(remembered, (seq, entry.time_ms), self.chat.messages);
        }
        for (sender, key) in entry.settled() {
            self.keys.settle(sender, key, seq, self.chat.messages);
        }
        self.settle(epoch, seq, entry);
    }

    /// The entries with its messages that services may still be owed when it is forgotten: none in which something
    /// was taken back, because nothing knows of that from then on.
    fn owed(&self) -> impl Iterator<Item = u64> {
        let taken = self.redacted.iter();
        let taken: HashSet<u64> = taken
            .filter_map(|(number, _)| self.places.place(number))
            .map(|place| place.entry)
            .collect();
        self.places.entries().filter(move |seq| !taken.contains(seq))
    }

    /// The same of one whose keys were remembered before.
    pub(crate) fn settle(&mut self, epoch: u64, seq: u64, entry: &Entry) {
        for _message in entry.messages() {
            self.places.push(epoch, seq);
        }
        self.redacted.follow(seq, entry);
        Arc::make_mut(&mut self.chat).apply(entry);
        if self.ended_at.is_none() && self.chat.ended_ms.is_some() {
            self.ended_at = Some(self.places.head());
        }
    }
}

impl Folds {
    /// The entries that are read again, whatever becomes of the others: those with messages, those with the
    /// answer to a key, those that are not the chats', and those that services are still owed.
    pub(crate) fn kept(&self) -> Vec<u64> {
        let mut kept = self.others.clone();
        kept.extend(&self.shelf);
        kept.extend(self.outbox.listed());
        for fold in self.chats.values() {
            kept.extend(fold.places.entries());
            kept.extend(fold.keys.entries());
        }
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    /// How those are written anew: without what was taken back.
    pub(crate) fn anew(&self) -> Anew {
        let mut anew = Anew::default();
        for (token, fold) in &self.chats {
            anew.add(*token, &fold.redacted);
        }
        anew
    }

    /// The last entry that took something back; 0 if there is none.
    pub(crate) fn redacted(&self) -> u64 {
        self.chats.values().map(|fold| fold.redacted.last()).max().unwrap_or(0)
    }

    /// Only what is uncut somewhere is looked for by its place; what is frozen is listed.
    fn clear_shelf(&mut self) {
        match self.outbox.looks_from() {
            _ if self.shelf.is_empty() => {}
            None => self.shelf.clear(),
            Some(from) => self.shelf.retain(|seq| *seq >= from),
        }
    }

    /// About how many those are.
    pub(crate) fn kept_count(&self) -> u64 {
        let messages: u64 = self.chats.values().map(|fold| fold.places.count()).sum();
        messages.saturating_add(u64::try_from(self.others.len()).unwrap_or(u64::MAX))
    }

    /// The seq of the entry to fold next.
    pub(crate) fn next(&self) -> u64 {
        self.place.seq + 1
    }

    /// Folds the partition's next entry.
    ///
    /// # Errors
    /// [`Unfolded`]; everything is as it was.
    pub(crate) fn apply(&mut self, logged: &LogEntry, sabotage: Sabotage) -> Result<(), Unfolded> {
        let LogEntry { epoch, seq, chain, payload } = logged;
        if *seq != self.next() {
            return Err(Unfolded::Misplaced { seq: *seq, wanted: self.next() });
        }
        let kind = payload.first().copied();
        if is_outbox(payload) {
            let entry = OutboxEntry::decode(payload).map_err(|_newer| {
                let source = encode::DecodeError::Kind;
                Unfolded::Strange { seq: *seq, source }
            })?;
            self.outbox.apply(*epoch, *seq, &entry);
            self.clear_shelf();
        } else if kind.is_some_and(|kind| kind >= OTHERS) {
            self.others.push(*seq);
        } else if kind != Some(OPENING) {
            let mut entry = encode::decode(payload)
                .map_err(|source| Unfolded::Strange { seq: *seq, source })?;
            if sabotage.forget_keys {
                entry.remembered = None;
            }
            let fold = self.chats.entry(entry.chat).or_insert_with(|| Fold::new(entry.chat));
            fold.apply(*epoch, *seq, &entry);
            self.outbox.hear(*seq, &entry);
            if fold.chat.forgotten
                && let Some(forgotten) = self.chats.remove(&entry.chat)
            {
                self.shelf.extend(forgotten.owed());
                self.shelf.sort_unstable();
                self.shelf.dedup();
                self.clear_shelf();
            }
        }
        self.place = LogEnd { epoch: *epoch, seq: *seq, chain: *chain };
        Ok(())
    }
}

//! Which messages of a chat were taken back, and how its entries are written from then on.
//!
//! Pure. The log says it once; it is folded with the chat, so that whoever takes over shows no more than whoever led it
//! before. What the log still has of such a message is left out of what is kept of it when it is trimmed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use model::encode;
use model::{Change, ChatToken, Entry, Message, MessageId, REDACTED_MAX, Redaction};
use segment::LogEntry;
use serde::{Deserialize, Serialize};

/// What was taken back in one chat, by the number of the message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Redacted(BTreeMap<u64, TakenBack>);

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TakenBack {
    pub(crate) id: MessageId,
    /// The entry that says so.
    pub(crate) seq: u64,
    pub(crate) why: Arc<Redaction>,
}

/// How entries of chats are written anew: without what was taken back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Anew(HashMap<ChatToken, HashMap<MessageId, Arc<Redaction>>>);

impl Redacted {
    /// Follows the chat's entry at `seq`.
    pub(crate) fn follow(&mut self, seq: u64, entry: &Entry) {
        for change in &entry.changes {
            if let Change::Redact { id, number, reason, by } = change {
                let (by, reason, time_ms) = (by.clone(), reason.clone(), entry.time_ms);
                let why = Arc::new(Redaction { by, reason, time_ms });
                self.put(*number, TakenBack { id: *id, seq, why });
            }
        }
    }

    /// One more of what [`Redacted::iter`] gave. What was said first stays, and of more than a chat remembers nothing
    /// is said.
    pub(crate) fn put(&mut self, number: u64, taken: TakenBack) {
        if self.0.len() < REDACTED_MAX {
            self.0.entry(number).or_insert(taken);
        }
    }

    /// Everything, by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &TakenBack)> {
        self.0.iter().map(|(number, taken)| (*number, taken))
    }

    /// Why message `number` says nothing any more, if that is so.
    pub(crate) fn find(&self, number: u64) -> Option<&Arc<Redaction>> {
        self.0.get(&number).map(|taken| &taken.why)
    }

    /// Whether the chat remembers no more of them.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= REDACTED_MAX
    }

    /// The last entry that took something back; 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.0.values().map(|taken| taken.seq).max().unwrap_or(0)
    }

    /// The payload with which an entry of its chat is shown, if that is another one than it has.
    pub(crate) fn payload(&self, chat: ChatToken, logged: &LogEntry) -> Option<Bytes> {
        let mut anew = Anew::default();
        anew.add(chat, self);
        anew.payload(logged)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An entry whose first message is that behind `before`, as it is shown now.
    pub(crate) fn show(&self, entry: &mut Entry, before: u64) {
        if self.is_empty() {
            return;
        }
        let messages = entry.changes.iter_mut().filter_map(|change| match change {
            Change::Message(message) => Some(message),
            _ => None,
        });
        for (number, message) in (before + 1..).zip(messages) {
            *message = shown(message, self.find(number));
        }
    }
}

/// A message as it is shown, if it was taken back for this.
pub(crate) fn shown(message: &Arc<Message>, why: Option<&Arc<Redaction>>) -> Arc<Message> {
    match why.filter(|_| message.redaction().is_none()) {
        Some(why) => Arc::new(message.redacted(why)),
        None => Arc::clone(message),
    }
}

impl Anew {
    /// Adds what was taken back in a chat.
    pub(crate) fn add(&mut self, chat: ChatToken, redacted: &Redacted) {
        if !redacted.is_empty() {
            let all = redacted.0.values().map(|taken| (taken.id, Arc::clone(&taken.why)));
            self.0.insert(chat, all.collect());
        }
    }

    /// The payload that an entry has from now on, if that is another one.
    pub(crate) fn payload(&self, logged: &LogEntry) -> Option<Bytes> {
        let redacted = self.0.get(&encode::chat_of(&logged.payload)?)?;
        let mut entry = encode::decode(&logged.payload).ok()?;
        if !entry.redact(|id| redacted.get(&id)) {
            return None;
        }
        // It is shorter than it was, or longer by a few words: it can be read again.
        encode::encode(&entry).ok().map(Bytes::from)
    }
}

//! What the committed logs say of the chats: a fold of its own, fed entry by entry as they are committed.
//!
//! Whatever anybody is told is held against it. It knows nothing of nodes: one entry after the other, of
//! each partition, and each must make sense after the one before.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashring::PartitionId;
use model::encode;
use model::{Answer, Change, Chat, ChatToken, Cursor, Entry, Message};

use crate::invariants::{Verdict, must};

/// The first byte of a payload that is replication's own.
const OPENING: u8 = 0;

/// One message that is committed.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) cursor: Cursor,
    pub(crate) message: Arc<Message>,
}

/// What a key was answered.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) answer: Answer,
    /// The message that was stored for it.
    pub(crate) said: Option<Said>,
}

/// One chat.
#[derive(Debug)]
pub(crate) struct OfChat {
    pub(crate) chat: Chat,
    pub(crate) messages: Vec<Said>,
    /// By sender and key.
    pub(crate) keys: BTreeMap<(String, String), Kept>,
    strikes: u8,
    /// It is forgotten: nothing follows, and nobody is told of it who asks from then on.
    forgotten: bool,
}

/// All chats of a world.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) chats: BTreeMap<ChatToken, OfChat>,
    fed: BTreeMap<PartitionId, u64>,
}

impl Oracle {
    /// How much of a partition it has been given.
    pub(crate) fn fed(&self, partition: PartitionId) -> u64 {
        self.fed.get(&partition).copied().unwrap_or(0)
    }

    /// The next committed entry of a partition.
    pub(crate) fn feed(
        &mut self,
        partition: PartitionId,
        epoch: u64,
        seq: u64,
        payload: &[u8],
    ) -> Verdict {
        let fed = self.fed.entry(partition).or_default();
        must(seq == *fed + 1, "I2", || format!("{partition:?} {seq} is committed after {fed}"))?;
        *fed = seq;
        if payload.first() == Some(&OPENING) {
            return Ok(());
        }
        match encode::decode(payload) {
            Ok(entry) => self.take(epoch, &entry),
            Err(error) => must(false, "I1", || format!("{partition:?} {seq}: {error}")),
        }
    }

    fn take(&mut self, epoch: u64, entry: &Entry) -> Verdict {
        let token = entry.chat;
        let of = self.chats.entry(token).or_insert_with(|| OfChat {
            chat: Chat::new(token),
            messages: Vec::new(),
            keys: BTreeMap::new(),
            strikes: 0,
            forgotten: false,
        });
        must(!of.forgotten, "I7", || format!("{token:?} is forgotten, and goes on: {entry:?}"))?;
        must(entry.turn == of.chat.turn, "R12", || {
            format!("{token:?}: turn {} is committed after {} turns", entry.turn, of.chat.turn)
        })?;
        must(entry.time_ms >= of.chat.clock_ms, "P11", || {
            format!("{token:?}: the clock falls from {} to {}", of.chat.clock_ms, entry.time_ms)
        })?;
        let over = of.chat.ended_ms.is_some() && entry.messages().next().is_some();
        must(!over, "I7", || format!("{token:?}: a message after the end: {entry:?}"))?;
        let begins = entry.changes.iter().any(|it| matches!(it, Change::Create { .. }));
        must(begins == (entry.turn == 0), "R12", || format!("{token:?} begins with {entry:?}"))?;
        let first = of.messages.len();
        for message in entry.messages() {
            let cursor = Cursor { epoch, seq: of.messages.len() as u64 + 1 };
            of.messages.push(Said { cursor, message: Arc::clone(message) });
        }
        if entry.changes.contains(&Change::Forget) {
            must(of.chat.ended_ms.is_some(), "I7", || format!("{token:?} is forgotten, and open"))?;
            of.forgotten = true;
        }
        of.chat.apply(entry);
        let Some(kept) = &entry.remembered else { return Ok(()) };
        let said = match &kept.answer {
            Answer::Stored { own, .. } => {
                let said = of.messages.get(first + usize::try_from(*own).unwrap_or(usize::MAX));
                must(said.is_some(), "I9", || format!("{token:?}: stored nothing: {entry:?}"))?;
                said.cloned()
            }
            Answer::Refused { reason, .. } => {
                must(of.messages.len() == first, "I9", || {
                    format!("refused, and there: {entry:?}")
                })?;
                if let Some(strike) = reason.strip_prefix("strike ") {
                    of.strikes = of.strikes.wrapping_add(1);
                    must(strike == of.strikes.to_string(), "I7", || {
                        format!("{token:?}: strike {strike} is the {}.: {entry:?}", of.strikes)
                    })?;
                }
                None
            }
            // Nobody is kept back in these worlds.
            Answer::Held { .. } => {
                must(false, "P4", || format!("{token:?}: a message is held: {entry:?}"))?;
                None
            }
        };
        let key = (kept.sender.clone(), kept.key.clone());
        let answer = kept.answer.clone();
        let before = of.keys.insert(key, Kept { answer, said });
        must(before.is_none(), "I9", || format!("{token:?}: a key twice: {before:?}, {entry:?}"))
    }

    /// A committed message.
    pub(crate) fn said(&self, token: ChatToken, seq: u64) -> Option<&Said> {
        let at = usize::try_from(seq.checked_sub(1)?).ok()?;
        self.chats.get(&token)?.messages.get(at)
    }

    /// How many messages of a chat are committed.
    pub(crate) fn count(&self, token: ChatToken) -> u64 {
        self.chats.get(&token).map_or(0, |of| of.messages.len() as u64)
    }

    /// What a key was answered.
    pub(crate) fn kept(&self, token: ChatToken, sender: &str, key: &str) -> Option<&Kept> {
        self.chats.get(&token)?.keys.get(&(sender.to_owned(), key.to_owned()))
    }

    /// Whether a chat is forgotten.
    pub(crate) fn is_forgotten(&self, token: ChatToken) -> bool {
        self.chats.get(&token).is_some_and(|of| of.forgotten)
    }

    /// How many are.
    pub(crate) fn forgotten(&self) -> u64 {
        self.chats.values().map(|of| u64::from(of.forgotten)).sum()
    }

    /// Whether a chat is over.
    pub(crate) fn is_over(&self, token: ChatToken) -> bool {
        self.chats.get(&token).is_some_and(|of| of.chat.ended_ms.is_some())
    }
}

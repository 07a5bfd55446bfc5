//! What the committed logs say of the chats: a fold of its own, fed entry by entry as they are committed.
//!
//! Whatever anybody is told is held against it. It knows nothing of nodes: one entry after the other, of
//! each partition, and each must make sense after the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashring::PartitionId;
use model::encode;
use model::{Answer, Change, Chat, ChatStatus, ChatToken, Cursor, Entry, Message, MessageId};

use super::handlers::{KEEPER, text};
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
    /// The message that was kept back for it, whatever became of that.
    pub(crate) held: Option<MessageId>,
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
    /// The latest generation of the handlers that decided about one of its messages.
    generation: u64,
    /// Timers that were started, each under a name of its own.
    started: BTreeSet<String>,
    /// Timers and holds that ended by themselves, as their handler said.
    ended: BTreeSet<String>,
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
            generation: 0,
            started: BTreeSet::new(),
            ended: BTreeSet::new(),
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
        of.waits_rightly(entry)?;
        let first = of.messages.len();
        for message in entry.messages() {
            let cursor = Cursor { epoch, seq: of.messages.len() as u64 + 1 };
            of.messages.push(Said { cursor, message: Arc::clone(message) });
            of.is_of_no_earlier_generation(message)?;
            of.ends_once(message)?;
        }
        if entry.changes.contains(&Change::Forget) {
            must(of.chat.ended_ms.is_some(), "I7", || format!("{token:?} is forgotten, and open"))?;
            of.forgotten = true;
        }
        of.chat.apply(entry);
        of.settle(entry, first)?;
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
            // Nobody telephones here.
            Answer::Held { .. } | Answer::Twiml { .. } => None,
        };
        let held = match &kept.answer {
            Answer::Held { id } => Some(*id),
            Answer::Stored { .. } | Answer::Refused { .. } | Answer::Twiml { .. } => None,
        };
        let key = (kept.sender.clone(), kept.key.clone());
        let answer = kept.answer.clone();
        let before = of.keys.insert(key, Kept { answer, said, held });
        must(before.is_none(), "I9", || format!("{token:?}: a key twice: {before:?}, {entry:?}"))
    }

    /// Whether nothing in any chat waits for anything.
    pub(crate) fn rests(&self) -> bool {
        self.chats.values().all(|of| of.chat.waiting.is_none())
    }

    /// How many timers and holds ended by themselves.
    pub(crate) fn ended(&self) -> u64 {
        self.chats.values().map(|of| of.ended.len() as u64).sum()
    }

    /// I14: every timer that was started went off, unless its chat is over. Asked when all of them rest.
    pub(crate) fn all_ended(&self) -> Verdict {
        for (token, of) in &self.chats {
            let silent = of.started.iter().find(|name| !of.ended.contains(*name));
            let good = of.chat.status == ChatStatus::Ended || silent.is_none();
            must(good, "I14", || format!("{token:?}: timer {silent:?} never went off"))?;
        }
        Ok(())
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

impl OfChat {
    /// I13: generations rise. I14: what ends was there until now.
    fn waits_rightly(&mut self, entry: &Entry) -> Verdict {
        let mut chat = self.chat.clone();
        for change in &entry.changes {
            let waiting = chat.waiting.as_deref();
            let (rule, good) = match change {
                Change::Lineup(lineup) => ("I13", lineup.generation >= chat.generation),
                Change::TimerStart { name, .. } => ("I14", self.started.insert(name.clone())),
                Change::TimerEnd { plugin, name } => {
                    let key = (plugin.clone(), name.clone());
                    ("I14", waiting.is_some_and(|waiting| waiting.timers.contains_key(&key)))
                }
                Change::Lift { id, .. } | Change::Settle { id, .. } => {
                    ("I14", waiting.is_some_and(|waiting| waiting.holds(*id, KEEPER)))
                }
                _ => ("I14", true),
            };
            must(good, rule, || format!("{change:?} in {:?}: {entry:?}", chat.waiting))?;
            chat.change(change, entry.time_ms);
        }
        Ok(())
    }

    /// I13: who decides about a message is of the generation that decided before, or of a later one.
    fn is_of_no_earlier_generation(&mut self, message: &Message) -> Verdict {
        let stamp = message.stamps.iter().find(|stamp| stamp.plugin == "strict");
        let Some(generation) = stamp.and_then(|stamp| stamp.version.parse().ok()) else {
            return Ok(());
        };
        // One that was kept back was decided about when it was sent.
        if self.keys.values().any(|kept| kept.held == Some(message.id)) {
            return Ok(());
        }
        must(generation >= self.generation, "I13", || {
            format!("generation {generation} decides after {}: {message:?}", self.generation)
        })?;
        self.generation = generation;
        Ok(())
    }

    /// I14: a timer or a hold ends by itself once.
    fn ends_once(&mut self, message: &Message) -> Verdict {
        if message.sender != chat::SYSTEM {
            return Ok(());
        }
        match text(&message.body).strip_prefix("ended ") {
            Some(what) => {
                let first = self.ended.insert(what.to_owned());
                must(first, "I14", || format!("{what} ends again: {message:?}"))
            }
            None => Ok(()),
        }
    }

    /// What became of messages that were kept back, for their keys.
    fn settle(&mut self, entry: &Entry, first: usize) -> Verdict {
        for change in &entry.changes {
            let Change::Settle { id, sender, key, dropped } = change else { continue };
            let said = self.messages.iter().skip(first).find(|said| said.message.id == *id);
            let said = said.cloned();
            must(said.is_some() != dropped.is_some(), "I14", || {
                format!("stored or dropped, one of both: {entry:?}")
            })?;
            let kept = self.keys.get_mut(&(sender.clone(), key.clone()));
            must(kept.is_some(), "I9", || format!("held, and its key is unknown: {entry:?}"))?;
            if let Some(kept) = kept {
                kept.said = said;
                kept.answer = match dropped.clone() {
                    None => Answer::Stored { own: 0, skew_ms: None },
                    Some(dropped) => Answer::Refused {
                        plugin: dropped.plugin,
                        reason_code: dropped.code,
                        reason: dropped.reason,
                        retry_after_ms: None,
                    },
                };
            }
        }
        Ok(())
    }
}

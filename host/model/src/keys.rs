//! The idempotency keys a chat remembers.
//!
//! By count and never by clock: a node whose clock jumps must not forget what it answered. What Twilio was
//! told is kept beside, however much is said in the chat meanwhile: for so long as Twilio may ask again, by the times in the
//! log, and by count too. What is kept
//! is small, because a busy chat has ten thousand of them: hashes, and where the entry stands that holds
//! the answer. Two keys that differ have different hashes as far as anybody can make them: sixteen bytes
//! of SHA-256 over both parts with their lengths.

use std::collections::hash_map::Entry as Slot;
use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Answer, Remembered};

/// Keys of one chat that are remembered.
pub const KEYS_MAX: usize = 10_000;

/// So many keys are looked through for one: fewer bytes than a cache's line each.
const FEW: usize = 8;

/// So long after it was given an answer to Twilio is remembered, on the chat's clock: seven days.
pub const TOLD_FOR_MS: u64 = 7 * 86_400_000;

/// Answers to Twilio of one chat that are remembered: more calls than that in a week have no chat.
pub const TOLD_MAX: usize = 10_000;

/// A sender's key, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyHash([u8; 16]);

impl KeyHash {
    /// The key `key` of `sender`; equal keys of two senders are two keys.
    pub fn of(sender: &str, key: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(u64::try_from(sender.len()).unwrap_or(u64::MAX).to_le_bytes())
            .chain_update(sender)
            .chain_update(key)
            .finalize();
        Self(first_half(&digest))
    }
}

/// Where the answer to a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Half of the hash of what was asked.
    body: [u8; 16],
    /// The log entry that holds the answer.
    pub seq: u64,
    /// How many messages the chat had before that entry.
    pub messages_before: u64,
}

impl Known {
    /// Whether it was the same that was asked.
    pub fn is_for(&self, body_hash: &[u8; 32]) -> bool {
        self.body == first_half(body_hash)
    }
}

/// What a chat remembers, oldest first to go. Nearly all chats have few keys, which are looked through; the others find
/// theirs by hash.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// All of them, as long as there are not many.
    few: Vec<(KeyHash, Known)>,
    many: Option<Box<Many>>,
}

/// More than a few, or some of what Twilio was told.
#[derive(Clone, Debug, Default)]
struct Many {
    known: HashMap<KeyHash, Known>,
    order: VecDeque<KeyHash>,
    /// Those of what Twilio was told, and when that was.
    told: VecDeque<(KeyHash, u64)>,
}

impl Keys {
    /// What is known of a key.
    pub fn find(&self, key: KeyHash) -> Option<Known> {
        match &self.many {
            Some(many) => many.known.get(&key).copied(),
            None => self.few.iter().find(|(of, _)| *of == key).map(|(_, known)| *known),
        }
    }

    /// Remembers the answer that entry `seq` of `time_ms` holds. A key that is known keeps its first answer.
    pub fn remember(
        &mut self,
        remembered: &Remembered,
        (seq, time_ms): (u64, u64),
        messages_before: u64,
    ) {
        let key = KeyHash::of(&remembered.sender, &remembered.key);
        let known = Known { body: first_half(&remembered.body_hash), seq, messages_before };
        match remembered.answer {
            Answer::Twiml { .. } => self.put_told(key, known, time_ms),
            Answer::Stored { .. } | Answer::Refused { .. } | Answer::Held { .. } => {
                self.put(key, known);
            }
        }
    }

    /// Everything that is remembered by count, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (KeyHash, Known)> {
        let many = self.many.iter().flat_map(|many| {
            many.order.iter().filter_map(|key| Some((*key, *many.known.get(key)?)))
        });
        self.few.iter().copied().chain(many)
    }

    /// What Twilio was told and when, oldest first.
    pub fn told(&self) -> impl Iterator<Item = (KeyHash, Known, u64)> {
        self.many.iter().flat_map(|many| {
            let known =
                |(key, time_ms): &(KeyHash, u64)| Some((*key, *many.known.get(key)?, *time_ms));
            many.told.iter().filter_map(known)
        })
    }

    /// The entries that hold the answers.
    pub fn entries(&self) -> impl Iterator<Item = u64> {
        let many = self.many.iter().flat_map(|many| many.known.values());
        self.few.iter().map(|(_, known)| known).chain(many).map(|known| known.seq)
    }

    /// Remembers one more of what [`Keys::told`] gave. What is older than that by seven days is forgotten.
    pub fn put_told(&mut self, key: KeyHash, known: Known, time_ms: u64) {
        self.many().put_told(key, known, time_ms);
    }

    /// Remembers one more of what [`Keys::iter`] gave.
    pub fn put(&mut self, key: KeyHash, known: Known) {
        if self.many.is_some() || self.few.len() >= FEW {
            self.many().put(key, known);
        } else if self.few.iter().all(|(of, _)| *of != key) {
            if self.few.is_empty() {
                self.few.reserve_exact(1);
            }
            self.few.push((key, known));
        }
    }

    /// The answer to a key is final now, and entry `seq` holds it. A key that was forgotten stays so.
    pub fn settle(&mut self, sender: &str, key: &str, seq: u64, messages_before: u64) {
        let key = KeyHash::of(sender, key);
        let known = match &mut self.many {
            Some(many) => many.known.get_mut(&key),
            None => self.few.iter_mut().find(|(of, _)| *of == key).map(|(_, known)| known),
        };
        if let Some(known) = known {
            known.seq = seq;
            known.messages_before = messages_before;
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.many.as_ref().map_or(self.few.len(), |many| many.known.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From here on they are many.
    fn many(&mut self) -> &mut Many {
        let Self { few, many } = self;
        many.get_or_insert_with(|| {
            let mut many = Box::<Many>::default();
            std::mem::take(few).into_iter().for_each(|(key, known)| many.put(key, known));
            many
        })
    }
}

impl Many {
    fn put_told(&mut self, key: KeyHash, known: Known, time_ms: u64) {
        match self.known.entry(key) {
            Slot::Occupied(_first) => return,
            Slot::Vacant(free) => free.insert(known),
        };
        self.told.push_back((key, time_ms));
        let is_old = |&(_, told_ms): &(KeyHash, u64)| told_ms < time_ms.saturating_sub(TOLD_FOR_MS);
        while self.told.len() > TOLD_MAX || self.told.front().is_some_and(is_old) {
            let Some((oldest, _)) = self.told.pop_front() else { return };
            self.known.remove(&oldest);
        }
    }

    fn put(&mut self, key: KeyHash, known: Known) {
        match self.known.entry(key) {
            Slot::Occupied(_first) => return,
            Slot::Vacant(free) => free.insert(known),
        };
        self.order.push_back(key);
        if self.order.len() > KEYS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

/// What is remembered counts, and not how it is found.
impl PartialEq for Keys {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter()) && self.told().eq(other.told())
    }
}

impl Eq for Keys {}

fn first_half(hash: &[u8]) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(hash) {
        *to = *from;
    }
    half
}

#[cfg(test)]
mod tests {
    use super::{FEW, KEYS_MAX, KeyHash, Keys, TOLD_FOR_MS, TOLD_MAX};
    use crate::{Answer, Remembered};

    fn remembered(sender: &str, key: &str, body: u8) -> Remembered {
        Remembered {
            sender: sender.to_owned(),
            key: key.to_owned(),
            body_hash: [body; 32],
            answer: Answer::Stored { own: 0, skew_ms: None },
        }
    }

    #[test]
    fn a_key_belongs_to_its_sender() {
        let mut keys = Keys::default();
        keys.remember(&remembered("alice", "k", 1), (7, 1), 0);
        assert!(keys.find(KeyHash::of("alice", "k")).is_some_and(|known| known.is_for(&[1; 32])));
        assert!(keys.find(KeyHash::of("alice", "k")).is_some_and(|known| !known.is_for(&[2; 32])));
        assert_eq!(keys.find(KeyHash::of("bob", "k")), None);
        assert_eq!(keys.find(KeyHash::of("alic", "ek")), None);
    }

    #[test]
    fn the_first_answer_stays() {
        let mut keys = Keys::default();
        keys.remember(&remembered("alice", "k", 1), (7, 1), 0);
        keys.remember(&remembered("alice", "k", 2), (8, 1), 1);
        assert_eq!(keys.find(KeyHash::of("alice", "k")).map(|known| known.seq), Some(7));
        assert_eq!(keys.len(), 1);
    }

    #[test]
    fn what_was_given_out_in_order_makes_the_same_again() {
        let mut keys = Keys::default();
        for n in 0..5 {
            keys.remember(&remembered("alice", &n.to_string(), 1), (n, 1), n);
        }
        let mut again = Keys::default();
        keys.iter().for_each(|(key, known)| again.put(key, known));
        assert_eq!(again, keys);
    }

    #[test]
    fn however_many_there_are_each_is_found_and_the_first_answer_stays() {
        let mut keys = Keys::default();
        let hash = |n: u64| KeyHash::of("alice", &n.to_string());
        for n in 1..=3 * u64::try_from(FEW).unwrap() {
            keys.remember(&remembered("alice", &n.to_string(), 1), (n, 1), n);
            keys.remember(&remembered("alice", &n.to_string(), 1), (100 + n, 1), n);
            keys.settle("alice", "1", 50 + n, n);
            let found = |of: u64| keys.find(hash(of)).map(|known| known.seq);
            assert!((2..=n).all(|of| found(of) == Some(of)), "of {n}");
            assert_eq!((found(1), found(n + 1)), (Some(50 + n), None));
            assert!(keys.iter().map(|(key, _)| key).eq((1..=n).map(hash)));
            assert_eq!((keys.len(), keys.entries().count()), (keys.iter().count(), keys.len()));
        }
    }

    fn told(key: &str) -> Remembered {
        let answer = Answer::Twiml { text: "<Response/>".to_owned() };
        Remembered { answer, ..remembered("system", key, 1) }
    }

    #[test]
    fn what_twilio_was_told_is_remembered_for_a_week_whatever_is_said() {
        let mut keys = Keys::default();
        keys.remember(&told("first"), (1, 1_000), 0);
        for n in 0..=KEYS_MAX {
            let seq = 2 + u64::try_from(n).unwrap();
            keys.remember(&remembered("alice", &n.to_string(), 1), (seq, 1_000), seq);
        }
        let first = KeyHash::of("system", "first");
        keys.remember(&told("second"), (20_000, 1_000 + TOLD_FOR_MS), 0);
        assert_eq!(keys.find(first).map(|known| known.seq), Some(1), "for exactly so long");
        assert_eq!(keys.entries().count(), KEYS_MAX + 2);
        let mut again = Keys::default();
        keys.iter().for_each(|(key, known)| again.put(key, known));
        keys.told().for_each(|(key, known, time_ms)| again.put_told(key, known, time_ms));
        assert_eq!(again, keys);
        keys.remember(&told("third"), (20_001, 1_001 + TOLD_FOR_MS), 0);
        assert_eq!((keys.find(first), keys.told().count()), (None, 2));
    }

    #[test]
    fn no_more_of_what_twilio_was_told_is_remembered_than_that() {
        let mut keys = Keys::default();
        for n in 0..=TOLD_MAX {
            keys.remember(&told(&n.to_string()), (u64::try_from(n).unwrap(), 5), 0);
        }
        assert_eq!((keys.len(), keys.find(KeyHash::of("system", "0"))), (TOLD_MAX, None));
    }

    #[test]
    fn the_oldest_is_forgotten_by_count() {
        let mut keys = Keys::default();
        for n in 0..=KEYS_MAX {
            let seq = u64::try_from(n).unwrap();
            keys.remember(&remembered("alice", &n.to_string(), 1), (seq, 1), seq);
        }
        assert_eq!(keys.len(), KEYS_MAX);
        assert_eq!(keys.find(KeyHash::of("alice", "0")), None);
        assert!(keys.find(KeyHash::of("alice", "1")).is_some());
        assert!(keys.find(KeyHash::of("alice", &KEYS_MAX.to_string())).is_some());
    }
}

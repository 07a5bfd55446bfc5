//! What one call has asked for so far, and the notes as it sees them.
//!
//! Nothing here has happened yet. The buffer leaves with the call's answer or is dropped with its
//! store; either way the guest reads its own writes while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::series::{SAMPLES_MAX, Sample};
use crate::{Effect, Notes};

/// Most effects of one call: all of them go into one log entry.
const EFFECTS_MAX: usize = 64;

/// Most bytes of effects of one call, for the same reason.
const EFFECT_BYTES_MAX: usize = 256 << 10;

/// Why something was not taken into the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The call has asked for too much.
    Call,
    /// The plugin would keep more in this chat than it was granted.
    Notes,
}

/// Effects and notes of one call.
#[derive(Debug)]
pub(crate) struct Buffer {
    effects: Vec<Effect>,
    effect_bytes: usize,
    /// As the chat had them when the call began.
    before: Arc<Notes>,
    /// What this call changed; `None` is a deletion.
    changed: BTreeMap<String, Option<Vec<u8>>>,
    notes_bytes_max: u64,
    /// What was counted and observed.
    pub(crate) samples: Vec<Sample>,
    pub(crate) samples_dropped: u64,
}

impl Buffer {
    /// An empty buffer over the notes `before`, which may grow to `notes_bytes_max`.
    pub(crate) fn new(before: Arc<Notes>, notes_bytes_max: u64) -> Self {
        Self {
            effects: Vec::new(),
            effect_bytes: 0,
            before,
            changed: BTreeMap::new(),
            notes_bytes_max,
            samples: Vec::new(),
            samples_dropped: 0,
        }
    }

    /// What was asked for so far, beside notes.
    pub(crate) fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// Takes a sample; beyond what one call may leave it only counts.
    pub(crate) fn sample(&mut self, sample: Sample) {
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        } else {
            self.samples_dropped += 1;
        }
    }

    /// Takes an effect of about `bytes`.
    pub(crate) fn push(&mut self, effect: Effect, bytes: usize) -> Result<(), Full> {
        self.room(1, bytes)?;
        self.effect_bytes = self.effect_bytes.saturating_add(bytes);
        self.effects.push(effect);
        Ok(())
    }

    /// A note as this call sees it.
    pub(crate) fn note(&self, key: &str) -> Option<&[u8]> {
        match self.changed.get(key) {
            Some(changed) => changed.as_deref(),
            None => self.before.get(key).map(Vec::as_slice),
        }
    }

    /// Sets a note, or deletes it with `None`. Deleting what is not there changes nothing.
    pub(crate) fn set_note(&mut self, key: String, value: Option<Vec<u8>>) -> Result<(), Full> {
        let old = self.note(&key).map(|old| note_bytes(&key, old));
        let new = value.as_deref().map(|new| note_bytes(&key, new));
        if old.is_none() && new.is_none() {
            return Ok(());
        }
        if new > old {
            let grown = self.notes_bytes() + new.unwrap_or(0) - old.unwrap_or(0);
            if u64::try_from(grown).unwrap_or(u64::MAX) > self.notes_bytes_max {
                return Err(Full::Notes);
            }
        }
        let pending = self.changed.get(&key).map(|old| change_bytes(&key, old.as_deref()));
        let bytes = change_bytes(&key, value.as_deref());
        self.effect_bytes -= pending.unwrap_or(0);
        if let Err(full) = self.room(usize::from(pending.is_none()), bytes) {
            self.effect_bytes += pending.unwrap_or(0);
            return Err(full);
        }
        self.effect_bytes += bytes;
        self.changed.insert(key, value);
        Ok(())
    }

    /// How many notes have to be looked at to answer for their keys.
    pub(crate) fn notes_count(&self) -> usize {
        self.before.len() + self.changed.len()
    }

    /// At most `limit` keys that begin with `prefix`, in order.
    pub(crate) fn keys(&self, prefix: &str, limit: usize) -> Vec<String> {
        let mut keys: Vec<&String> = self
            .before
            .range(prefix.to_owned()..)
            .map(|(key, _)| key)
            .take_while(|key| key.starts_with(prefix))
            .filter(|key| !self.changed.contains_key(*key))
            .collect();
        let set = self.changed.range(prefix.to_owned()..).filter(|(_, value)| value.is_some());
        keys.extend(set.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)));
        keys.sort();
        keys.into_iter().take(limit).cloned().collect()
    }

    /// Everything that was asked for: first in the order of asking, then the notes, each once.
    pub(crate) fn into_effects(self) -> Vec<Effect> {
        let mut effects = self.effects;
        effects.extend(self.changed.into_iter().map(|(key, value)| Effect::Note { key, value }));
        effects
    }

    fn room(&self, more: usize, bytes: usize) -> Result<(), Full> {
        let count = self.effects.len() + self.changed.len() + more;
        let fits =
            count <= EFFECTS_MAX && self.effect_bytes.saturating_add(bytes) <= EFFECT_BYTES_MAX;
        if fits { Ok(()) } else { Err(Full::Call) }
    }

    /// What all notes weigh as this call sees them.
    fn notes_bytes(&self) -> usize {
        let kept = self.before.iter().filter(|(key, _)| !self.changed.contains_key(*key));
        let kept = kept.map(|(key, value)| note_bytes(key, value)).sum::<usize>();
        let set = self.changed.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        kept + set.map(|(key, value)| note_bytes(key, value)).sum::<usize>()
    }
}

fn note_bytes(key: &str, value: &[u8]) -> usize {
    key.len() + value.len()
}

fn change_bytes(key: &str, value: Option<&[u8]>) -> usize {
    note_bytes(key, value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Buffer, Full};
    use crate::{Effect, Notes};
    use std::sync::Arc;

    fn buffer(bytes_max: u64) -> Buffer {
        let before = Notes::from([("a/1".to_owned(), vec![1; 7]), ("b".to_owned(), vec![2; 9])]);
        Buffer::new(Arc::new(before), bytes_max)
    }

    #[test]
    fn a_call_reads_its_own_writes_and_each_note_is_one_effect() {
        let mut buffer = buffer(1000);
        buffer.set_note("a/2".to_owned(), Some(b"x".to_vec())).unwrap();
        buffer.set_note("a/2".to_owned(), Some(b"y".to_vec())).unwrap();
        buffer.set_note("a/1".to_owned(), None).unwrap();
        buffer.set_note("never".to_owned(), None).unwrap();
        assert_eq!(buffer.note("a/2"), Some(&b"y"[..]));
        assert_eq!(buffer.note("a/1"), None);
        assert_eq!(buffer.keys("", 10), ["a/2", "b"]);
        assert_eq!(buffer.keys("a/", 10), ["a/2"]);
        assert_eq!(
            buffer.into_effects(),
            [
                Effect::Note { key: "a/1".to_owned(), value: None },
                Effect::Note { key: "a/2".to_owned(), value: Some(b"y".to_vec()) },
            ]
        );
    }

    #[test]
    fn notes_stay_below_what_was_granted_and_shrinking_is_always_possible() {
        let mut buffer = buffer(20);
        assert_eq!(buffer.set_note("c".to_owned(), Some(vec![0; 1])), Err(Full::Notes));
        buffer.set_note("b".to_owned(), Some(vec![0; 8])).unwrap();
        assert_eq!(buffer.set_note("b".to_owned(), Some(vec![0; 10])), Err(Full::Notes));
        buffer.set_note("b".to_owned(), None).unwrap();
        buffer.set_note("c".to_owned(), Some(vec![0; 9])).unwrap();
    }

    #[test]
    fn a_call_can_ask_only_for_so_much() {
        let mut buffer = buffer(u64::MAX);
        for _ in 0..64 {
            buffer.push(Effect::StartChat, 1).unwrap();
        }
        assert_eq!(buffer.push(Effect::StartChat, 1), Err(Full::Call));
        assert_eq!(buffer.set_note("x".to_owned(), Some(vec![])), Err(Full::Call));
        let mut buffer = self::buffer(u64::MAX);
        assert_eq!(buffer.set_note("x".to_owned(), Some(vec![0; 300_000])), Err(Full::Call));
        buffer.set_note("x".to_owned(), Some(vec![0; 200_000])).unwrap();
        buffer.set_note("x".to_owned(), Some(vec![0; 250_000])).unwrap();
        assert_eq!(buffer.push(Effect::StartChat, 100_000), Err(Full::Call));
    }
}

//! What a plugin keeps in a chat, what it decided there before, and what was said before.

use std::sync::Arc;

use model::{Cursor, Participant};

use super::{Answer, error, fault, full, no_chat};
use crate::bindings::carillon::plugin::{history, kv, recall, types as wit};
use crate::state::State;
use crate::{Earlier, check, convert};

/// Most keys in one answer.
const KEYS_MAX: u32 = 1_000;

/// Most earlier messages in one answer.
const MESSAGES_MAX: u32 = 100;

/// Bytes of their bodies: the guest must hold them too.
const MESSAGES_BYTES_MAX: usize = 256 << 10;

impl kv::Host for State {
    fn get(&mut self, key: String) -> wasmtime::Result<Answer<Option<Vec<u8>>>> {
        let value = self.call().map(drop).map(|()| self.buffer.note(&key).map(Vec::from));
        let bytes = value.as_ref().ok().and_then(Option::as_ref).map_or(0, Vec::len);
        self.charge(key.len().saturating_add(bytes))?;
        Ok(value)
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<Answer<()>> {
        self.charge(key.len().saturating_add(value.len()).saturating_add(self.notes_price()))?;
        Ok(note(self, key, Some(value)))
    }

    fn delete(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        self.charge(key.len().saturating_add(self.notes_price()))?;
        Ok(note(self, key, None))
    }

    fn keys(&mut self, prefix: String, limit: u32) -> wasmtime::Result<Answer<Vec<String>>> {
        if let Err(unavailable) = self.call() {
            return Ok(Err(unavailable));
        }
        let limit = usize::try_from(limit.min(KEYS_MAX)).unwrap_or_default();
        self.charge(prefix.len().saturating_add(self.notes_price()))?;
        let keys = self.buffer.keys(&prefix, limit);
        self.charge(keys.iter().map(String::len).sum())?;
        Ok(Ok(keys))
    }
}

impl State {
    /// What it costs to go through all notes.
    fn notes_price(&self) -> usize {
        self.buffer.notes_count().saturating_mul(8)
    }
}

impl recall::Host for State {
    fn mine(&mut self, limit: u32) -> wasmtime::Result<Answer<Vec<recall::Entry>>> {
        self.charge(0)?;
        let decisions = self.call().map(|call| call.decisions.as_ref().map(Arc::clone));
        let decisions = match decisions {
            Ok(decisions) => decisions.unwrap_or_default(),
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let skipped = decisions.len().saturating_sub(limit);
        let entries: Vec<recall::Entry> = decisions
            .iter()
            .skip(skipped)
            .map(|decision| recall::Entry {
                at: convert::position(decision.at),
                message: decision.message.to_string(),
                verdict: decision.verdict.clone(),
                notes: decision.notes.clone(),
                version: decision.version.clone(),
            })
            .collect();
        let pairs = entries.iter().flat_map(|entry| &entry.notes);
        self.charge(pairs.map(|(name, value)| name.len() + value.len()).sum())?;
        Ok(Ok(entries))
    }
}

impl history::Host for State {
    async fn before(
        &mut self,
        at: wit::Position,
        limit: u32,
    ) -> wasmtime::Result<Answer<Vec<wit::Message>>> {
        self.charge(0)?;
        let past = match self.call() {
            Ok(call) => call.past.as_ref().map(Arc::clone),
            Err(unavailable) => return Ok(Err(unavailable)),
        };
        let Some(past) = past else {
            return Ok(Err(error("unavailable", "there is no history here".to_owned())));
        };
        if self.history_left == 0 {
            let detail = "this call has read as many messages as it was granted".to_owned();
            return Ok(Err(error("quota", detail)));
        }
        let limit = limit.min(self.history_left).min(MESSAGES_MAX);
        let at = Cursor { epoch: at.epoch, seq: at.seq };
        let Some(mut found) = past.before(at, usize::try_from(limit).unwrap_or(0)).await else {
            let detail = "earlier messages cannot be read at the moment".to_owned();
            return Ok(Err(error("unavailable", detail)));
        };
        let mut bytes = 0;
        let fit = found.iter().rev().take_while(|earlier| {
            bytes += earlier.message.body.len();
            bytes <= MESSAGES_BYTES_MAX
        });
        let fit = fit.count();
        found.drain(..found.len() - fit);
        self.charge(found.iter().map(|earlier| earlier.message.body.len()).sum())?;
        self.history_left -= u32::try_from(found.len()).unwrap_or(u32::MAX).min(self.history_left);
        let roster = self.call().map(|call| Arc::clone(&call.roster)).unwrap_or_default();
        let messages = found.iter().map(|Earlier { at, message }| {
            let sender = roster.get(&message.sender).map(convert::participant);
            let sender = sender.unwrap_or_else(|| {
                convert::participant(&Participant {
                    id: message.sender.clone(),
                    ..Participant::default()
                })
            });
            convert::message(Some(*at), message, sender)
        });
        Ok(Ok(messages.collect()))
    }
}

fn note(state: &mut State, key: String, value: Option<Vec<u8>>) -> Answer<()> {
    if state.call.is_none() {
        return Err(no_chat());
    }
    check::note_key(&key).map_err(fault)?;
    state.buffer.set_note(key, value).map_err(full)
}

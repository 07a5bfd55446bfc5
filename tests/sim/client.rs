//! What clients asked and what they were told.
//!
//! A payload carries the token of who asked, so that an entry anywhere can be traced to its asker.

use std::collections::BTreeMap;

use bytes::Bytes;
use hashring::PartitionId;
use replication::core::Outcome;

use crate::agenda::{Time, ms};
use crate::invariants::{Verdict, must};

/// A core answers after at most 5 s; a slow turn may come on top.
const ANSWER_MAX: Time = ms(6_000);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// An entry at this seq, held by so many members.
    Entry { seq: u64, acks: u8 },
    /// That everything up to `covers` is committed; known when the core hears of it.
    Barrier { covers: Option<u64> },
    /// That the node leads: higher than `above`, and having shown what was `shown`.
    Leads { above: u64, shown: u64 },
}

/// Something that a client asked of a node's core.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) node: usize,
    pub(crate) boot: u64,
    pub(crate) partition: PartitionId,
    pub(crate) epoch: u64,
    pub(crate) wish: Wish,
    pub(crate) payload: Bytes,
    pub(crate) asked: Time,
    pub(crate) outcome: Option<Outcome>,
}

/// Everything that was asked in one world, by token.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    asks: BTreeMap<u64, Ask>,
    /// Those below are answered or have nobody left to answer.
    first_open: u64,
}

impl Asks {
    /// A token for something new.
    pub(crate) fn next(&self) -> u64 {
        self.asks.last_key_value().map_or(1, |(token, _)| token + 1)
    }

    pub(crate) fn push(&mut self, ask: Ask) -> u64 {
        let token = self.next();
        self.asks.insert(token, ask);
        token
    }

    pub(crate) fn ask(&self, token: u64) -> Option<&Ask> {
        self.asks.get(&token)
    }

    pub(crate) fn ask_mut(&mut self, token: u64) -> Option<&mut Ask> {
        self.asks.get_mut(&token)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, &Ask)> {
        self.asks.iter().map(|(token, ask)| (*token, ask))
    }

    /// I15: everybody whose node lives, and did not stand still, is answered in time. `lives` tells for
    /// a node and boot since when it runs without a pause.
    pub(crate) fn in_time(
        &mut self,
        now: Time,
        lives: impl Fn(usize, u64) -> Option<Time>,
    ) -> Result<usize, crate::invariants::Violation> {
        let mut open = 0;
        let mut first = None;
        for (token, ask) in self.asks.range(self.first_open..) {
            let since = lives(ask.node, ask.boot);
            let (None, Some(since)) = (ask.outcome, since) else { continue };
            open += 1;
            first = first.or(Some(*token));
            let late = now > ask.asked.max(since) + ANSWER_MAX;
            let verdict: Verdict =
                must(!late, "I15", || format!("{token} is not answered: {ask:?}"));
            verdict?;
        }
        self.first_open = first.unwrap_or_else(|| self.next());
        Ok(open)
    }
}

const MARK: &[u8] = b"ask:";

/// The payload of a token, so long.
pub(crate) fn payload(token: u64, length: usize) -> Bytes {
    let mut bytes = MARK.to_vec();
    bytes.extend_from_slice(&token.to_le_bytes());
    bytes.resize(bytes.len().max(length), b'.');
    Bytes::from(bytes)
}

/// The token in a payload, if a client made it.
pub(crate) fn token_of(payload: &[u8]) -> Option<u64> {
    let rest = payload.strip_prefix(MARK)?;
    Some(u64::from_le_bytes(rest.get(..8)?.try_into().ok()?))
}

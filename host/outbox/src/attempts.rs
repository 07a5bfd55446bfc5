//! The last attempts, for whoever wants to know why something is stuck.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use transaction::{Attempt, Outcome, TransactionId};

/// So many of a service are kept, in memory: a restart forgets them.
const KEPT: usize = 1000;

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Of which transaction.
    pub id: TransactionId,
    /// When it ended, in Unix milliseconds.
    pub at_ms: u64,
    /// How many events it carried.
    pub events: usize,
    /// How it ended.
    pub outcome: Outcome,
    /// The answer's status.
    pub status: Option<u16>,
    /// How long it took.
    pub ms: u32,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// The first bytes of the answer.
    pub head: Bytes,
}

impl AttemptRecord {
    pub(crate) fn of(id: TransactionId, events: usize, attempt: &Attempt) -> Self {
        let Attempt { outcome, status, ms, head, error, .. } = attempt;
        Self {
            id,
            at_ms: runtime::wall_ms(),
            events,
            outcome: *outcome,
            status: *status,
            ms: *ms,
            error: error.clone(),
            head: head.clone(),
        }
    }
}

/// The last attempts of one service on this node.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    kept: Mutex<VecDeque<AttemptRecord>>,
}

impl Attempts {
    pub(crate) fn push(&self, record: AttemptRecord) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(record);
    }

    /// Newest first.
    pub(crate) fn list(&self) -> Vec<AttemptRecord> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().rev().cloned().collect()
    }
}

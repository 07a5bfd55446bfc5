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
            // A part of the body would keep all of it.
            head: Bytes::copy_from_slice(head),
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

#[cfg(test)]
mod tests {
    use model::FrozenId;

    use super::*;

    #[test]
    fn what_is_kept_of_an_answer_does_not_keep_the_rest_of_it() {
        let body = Bytes::from(vec![b'a'; 64 << 10]);
        let attempt = Attempt {
            outcome: Outcome::Done,
            status: Some(200),
            ms: 1,
            head: body.slice(..1024),
            body: body.clone(),
            failed: Vec::new(),
            retry_after: None,
            error: None,
        };
        let record = AttemptRecord::of(TransactionId::of(1, 1, FrozenId::default()), 1, &attempt);
        assert_eq!(record.head, attempt.head);
        assert!(!body.as_ptr_range().contains(&record.head.as_ptr()), "it is a copy");
    }
}

//! What waits for the writer: bounded, in order, taken all at once.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hashring::PartitionId;

use crate::{LogOp, SubmitError};

/// So many submissions wait at most: one comes per poll of the core, so this is never reached by a disk
/// that works.
const SUBMISSIONS_MAX: usize = 16 * 1024;
/// So many payload bytes wait at most: some seconds of a slow disk.
const BYTES_MAX: usize = 256 << 20;

/// Operations that belong together, and the ticket that confirms them.
pub(crate) type Submission = (u64, Vec<LogOp>);

/// The queue between submitters and the one writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<Submission>,
    bytes: usize,
    /// Something waits that is worth a sync.
    urgent: bool,
    /// The writer waits for anything.
    hints_wake: bool,
    /// The writer lets more come together, and is woken only for an ending.
    gathering: bool,
    ending: Ending,
    stopped: bool,
}

/// Whether and how the writer should end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It goes on.
    #[default]
    No,
    /// After writing what waits.
    Drain,
    /// At once, as if the process had been killed.
    Abandon,
}

impl Queue {
    /// Adds a submission.
    pub(crate) fn submit(&self, ticket: u64, ops: Vec<LogOp>) -> Result<(), SubmitError> {
        let bytes = ops.iter().map(bytes).sum::<usize>();
        let urgent = !ops.iter().all(|op| matches!(op, LogOp::Commit { .. }));
        let mut state = self.lock();
        if state.stopped || state.ending != Ending::No {
            return Err(SubmitError::Stopped);
        }
        // A submission larger than the bound passes alone: it must be possible to write it at all.
        let full = !state.waiting.is_empty() && state.bytes.saturating_add(bytes) > BYTES_MAX;
        if full || state.waiting.len() >= SUBMISSIONS_MAX {
            return Err(SubmitError::Busy(ops));
        }
        state.waiting.push((ticket, ops));
        state.bytes += bytes;
        // A hint rides with what is written next: it is not worth waking the writer for, as long as it
        // wakes by itself soon.
        let wake = !state.gathering && ((urgent && !state.urgent) || state.hints_wake);
        state.urgent |= urgent;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Lets more come together for so long; an ending is heard at once.
    pub(crate) fn gather(&self, pause: Duration) {
        let mut state = self.lock();
        state.gathering = true;
        let waited = self.wake.wait_timeout_while(state, pause, |state| state.ending == Ending::No);
        waited.unwrap_or_else(PoisonError::into_inner).0.gathering = false;
    }

    /// Takes everything that waits into `taken`, which must be empty. Waits until there is something
    /// worth waking for, the writer should end, or `patience` is over.
    pub(crate) fn take(
        &self,
        taken: &mut Vec<Submission>,
        wait: Wait,
        patience: Duration,
    ) -> Ending {
        let mut state = self.lock();
        state.hints_wake = wait == Wait::Anything;
        let idle = |state: &mut State| {
            let something = state.urgent || (state.hints_wake && !state.waiting.is_empty());
            !something && state.ending == Ending::No
        };
        let waited = self.wake.wait_timeout_while(state, patience, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::swap(&mut state.waiting, taken);
        state.bytes = 0;
        state.urgent = false;
        state.hints_wake = false;
        state.ending
    }

    /// Waits while there is no room on the disk; nothing is taken.
    pub(crate) fn pause(&self, patience: Duration) -> Ending {
        let state = self.lock();
        let waited =
            self.wake.wait_timeout_while(state, patience, |state| state.ending == Ending::No);
        waited.unwrap_or_else(PoisonError::into_inner).0.ending
    }

    /// Tells the writer to end.
    pub(crate) fn end(&self, ending: Ending) {
        self.lock().ending = ending;
        self.wake.notify_one();
    }

    /// Takes nothing any more, and drops what waits.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.waiting = Vec::new();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Whatever comes.
    Anything,
    /// What is worth a sync. It soon writes anyway, and takes hints along then.
    Urgent,
}

/// Hints that were not written yet, the highest of each partition.
pub(crate) type Hints = BTreeMap<PartitionId, u64>;

/// What an operation weighs in the queue.
fn bytes(op: &LogOp) -> usize {
    match op {
        LogOp::Append { entries, .. } => {
            entries.iter().map(|entry| entry.payload.len().saturating_add(64)).sum()
        }
        LogOp::Cut { .. }
        | LogOp::Promise { .. }
        | LogOp::Doubt { .. }
        | LogOp::Commit { .. }
        | LogOp::Base { .. }
        | LogOp::Release { .. } => 64,
    }
}

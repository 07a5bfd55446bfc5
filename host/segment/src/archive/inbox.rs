//! What waits for the writer: bounded, in order, each with whom to answer.

use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::archive::fact::Fact;
use crate::archive::name::Upload;
use crate::archive::operation::{Answer, Operation, Refused};
use crate::archive::relocation::Relocation;
use crate::ledger::Position;

/// So many operations wait at most: several from each upload that may be under way.
const OPERATIONS_MAX: usize = 1024;
/// So many bytes wait at most: a second or so of a slow disk.
const BYTES_MAX: usize = 128 << 20;

/// Is told what became of an operation. Called on the writer's thread, so it must not wait.
pub(crate) type Reply = Box<dyn FnOnce(Answer) + Send>;

/// Something for the writer to do.
pub(crate) enum Command {
    /// From outside.
    Operate(Operation, Reply),
    /// Compaction has written another file: what is in it, and which files it replaces.
    Relocate(Relocation, Box<dyn FnOnce(Result<(), Refused>) + Send>),
    /// A scrub came so far.
    Scrubbed(Position),
    /// A sequence was found broken.
    Broken(Upload, u32),
    /// The records of facts were found broken: the index has what they said.
    Again(Vec<Fact>),
}

/// The queue between many and the one writer.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Command>,
    bytes: usize,
    ending: Ending,
    /// Why nothing is taken any more.
    stopped: Option<String>,
}

/// Whether and how the writer should end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It goes on.
    #[default]
    No,
    /// After doing what waits.
    Drain,
    /// At once, as if the process had been killed.
    Abandon,
}

impl Inbox {
    /// Adds an operation, or answers at once why not.
    pub(crate) fn submit(&self, operation: Operation, reply: Reply) {
        let weight = operation.weight();
        let mut state = self.lock();
        let refused = match &state.stopped {
            Some(why) => Some(Refused::Stopped(why.clone())),
            None if state.ending != Ending::No => {
                Some(Refused::Stopped("it is closing".to_owned()))
            }
            // One that is larger than the bound passes alone: it must be possible at all.
            None if state.waiting.len() >= OPERATIONS_MAX => Some(Refused::Busy),
            None if state.bytes > 0 && state.bytes + weight > BYTES_MAX => Some(Refused::Busy),
            None => None,
        };
        if let Some(refused) = refused {
            drop(state);
            reply(Err(refused));
            return;
        }
        state.bytes += weight;
        state.waiting.push(Command::Operate(operation, reply));
        drop(state);
        self.wake.notify_one();
    }

    /// Adds something of ours: rare, and one at a time.
    pub(crate) fn command(&self, command: Command) {
        let mut state = self.lock();
        if state.stopped.is_none() {
            state.waiting.push(command);
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Whether anything waits.
    pub(crate) fn waits(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Takes everything that waits. Waits until there is something, the writer should end, or `patience`
    /// is over.
    pub(crate) fn take(&self, patience: Duration) -> (Vec<Command>, Ending) {
        let state = self.lock();
        let idle = |state: &mut State| state.waiting.is_empty() && state.ending == Ending::No;
        let waited = self.wake.wait_timeout_while(state, patience, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.bytes = 0;
        (std::mem::take(&mut state.waiting), state.ending)
    }

    /// Waits while there is no room on the disk.
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

    /// Takes nothing any more, and answers what waits. How many that were is returned.
    pub(crate) fn stop(&self, why: &str) -> usize {
        let mut state = self.lock();
        state.stopped = Some(why.to_owned());
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        let count = waiting.len();
        for command in waiting {
            command.refuse(why);
        }
        count
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Command {
    fn refuse(self, why: &str) {
        match self {
            Self::Operate(_, reply) => reply(Err(Refused::Stopped(why.to_owned()))),
            Self::Relocate(_, reply) => reply(Err(Refused::Stopped(why.to_owned()))),
            Self::Scrubbed(_) | Self::Broken(..) | Self::Again(_) => {}
        }
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, bytes, ending, stopped } = self;
        let waiting = waiting.len();
        f.debug_struct("State")
            .field("waiting", &waiting)
            .field("bytes", bytes)
            .field("ending", ending)
            .field("stopped", stopped)
            .finish()
    }
}

//! What is known of a plugin's calls after they are over: what its guests said, and how they failed.
//!
//! For its author and its operator, on this node, since it started: the latest of both, bounded in bytes.
//! One journal belongs to one plugin of one node and outlives its generations, so that what the former
//! version said is still there after a swap.

mod errors;
mod lines;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{ChatToken, MessageId};

pub use errors::ErrorEntry;
pub use lines::{LinesPage, LogLine};

use crate::Call;

use errors::Errors;
use lines::Lines;

/// The journal of one plugin. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    lines: Lines,
    errors: Errors,
}

/// Which call it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The chat; `None` while a guest checks its configuration.
    pub chat: Option<ChatToken>,
    /// The message it was asked about, if it was asked about one.
    pub message: Option<MessageId>,
}

impl Subject {
    /// The chat that `call` is about, and the message if it is about one.
    pub(crate) fn of(call: &Call, message: Option<MessageId>) -> Self {
        Self { chat: Some(call.context.chat), message }
    }
}

impl Journal {
    /// What guests said after the line `after`, of one chat or of all, oldest first.
    pub fn lines(&self, chat: Option<ChatToken>, after: u64) -> LinesPage {
        self.kept().lines.page(chat, after)
    }

    /// How calls failed, the latest first; failures that are alike are one entry.
    pub fn errors(&self) -> Vec<ErrorEntry> {
        self.kept().errors.all()
    }

    pub(crate) fn say(&self, level: &'static str, version: &Arc<str>, of: Subject, text: String) {
        let at_ms = runtime::wall_ms();
        self.kept().lines.push(level, version, of, text, at_ms);
    }

    pub(crate) fn fail(&self, kind: &'static str, version: &Arc<str>, of: Subject, text: String) {
        let at_ms = runtime::wall_ms();
        self.kept().errors.push(kind, version, of, text, at_ms);
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! An archive without threads: its writer works when it is told to, on the thread that tells it.
//!
//! For simulations, in which one thread decides what happens when. It is the same writer with the same files; only
//! nobody else gives it turns. Whoever waits here for the writer, as a compaction does, gives it one.

use std::fmt;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::archive::store::{Archive, Shared};
use crate::archive::writer::Writer;

/// A writer that can be given a turn.
pub(crate) trait Turn: Send {
    /// Does everything that waits; whether it goes on.
    fn turn(&mut self) -> bool;
}

impl<F: Fn(&str) + Send> Turn for Writer<F> {
    fn turn(&mut self) -> bool {
        self.until_ended(|writer| writer.batch(Duration::ZERO))
    }
}

/// The writer, until it ends.
pub(crate) struct Hand(Mutex<Option<Box<dyn Turn>>>);

impl Hand {
    pub(crate) fn new(writer: Box<dyn Turn>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(writer))))
    }

    fn turn(&self) {
        // Whoever it tells something may tell it something: it is at it already.
        let Ok(mut slot) = self.0.try_lock() else { return };
        let goes_on = slot.as_mut().is_some_and(|writer| writer.turn());
        if !goes_on {
            *slot = None;
        }
    }
}

impl Shared {
    /// Lets the writer work, if it only does when it is told to.
    pub(crate) fn nudge(&self) {
        if let Some(hand) = self.hand.get().and_then(Weak::upgrade) {
            hand.turn();
        }
    }
}

impl Archive {
    /// Lets the writer of an archive that was opened by hand do everything that waits. Whoever waits for it is
    /// answered meanwhile, on this thread.
    pub fn turn(&self) {
        self.shared().nudge();
    }

    /// Whether anything waits for the writer.
    pub fn waits(&self) -> bool {
        self.shared().inbox.waits()
    }
}

impl fmt::Debug for Hand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hand")
    }
}

//! What reaches the driver from outside its task: one bounded queue, and beside it what the log's
//! writer tells, which may neither wait nor be lost and therefore has no queue at all.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use hashring::{NodeId, PartitionId};
use runtime::Instant;
use segment::Notice;
use tokio::sync::{Notify, mpsc, oneshot};
use wire::Message;

use crate::Submission;
use crate::core::{Event, Outcome};
use crate::peer::Link;

/// Commands that may wait. Submissions beyond it are refused at the door; a peer's messages beyond it
/// wait in its connection, whose window stops the peer. Far more than one round of the log's writer
/// lets pile up.
pub(crate) const COMMANDS_WAITING_MAX: usize = 16 << 10;

/// Something for the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// An event of the core that needs nothing of the driver.
    Event(Event),
    /// An entry to append.
    Submit {
        /// Which.
        submission: Submission,
        /// Of a message, when that was.
        began: Option<Instant>,
        /// Who waits.
        reply: oneshot::Sender<Outcome>,
    },
    /// A barrier.
    Barrier {
        /// Of which partition.
        partition: PartitionId,
        /// In which epoch.
        epoch: u64,
        /// Who waits.
        reply: oneshot::Sender<Outcome>,
    },
    /// Whether this node leads, as of now.
    Confirm {
        /// Which partition.
        partition: PartitionId,
        /// Who waits.
        reply: oneshot::Sender<Outcome>,
    },
    /// A connection has greeted.
    PeerUp(Box<Link>),
    /// A peer said something on its connection of this generation: what came in one piece, in order.
    Messages {
        /// Who.
        from: NodeId,
        /// Over which of its connections.
        generation: u64,
        /// What.
        messages: Vec<Message>,
    },
    /// A connection ended.
    PeerDown {
        /// Whose.
        node: NodeId,
        /// Which of its connections.
        generation: u64,
    },
}

/// The driver's queue, from the side of those who fill it.
pub(crate) type Inbox = mpsc::Sender<Command>;

/// What the log's writer tells: make it first, give [`Notices::tell`] to the log, then this to
/// [`crate::bind`]. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Notices {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    written: AtomicU64,
    full: AtomicBool,
    failed: OnceLock<String>,
    wake: Notify,
}

impl Notices {
    /// Takes a notice. Never waits: later tickets stand for earlier ones, so there is nothing to queue.
    pub fn tell(&self, notice: Notice) {
        match notice {
            Notice::Written { ticket } => {
                self.shared.written.fetch_max(ticket, Ordering::Release);
            }
            Notice::Full(full) => self.shared.full.store(full, Ordering::Release),
            // The first failure is the cause of the others.
            Notice::Failed { text } => drop(self.shared.failed.set(text)),
        }
        self.shared.wake.notify_one();
    }

    /// Waits for something new. Cancel-safe.
    pub(crate) async fn told(&self) {
        self.shared.wake.notified().await;
    }

    /// The highest ticket that is on disk.
    pub(crate) fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Acquire)
    }

    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Acquire)
    }

    /// What failed, if the log is of no use any more.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.shared.failed.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn notices_are_merged_and_none_is_lost_before_anybody_asks() {
        let notices = Notices::default();
        let writer = notices.clone();
        for ticket in [1, 2, 3] {
            writer.tell(Notice::Written { ticket });
        }
        writer.tell(Notice::Full(true));
        notices.told().await;
        assert_eq!((notices.written(), notices.is_full()), (3, true));
        assert_eq!(notices.failure(), None);
        writer.tell(Notice::Failed { text: "first".to_owned() });
        writer.tell(Notice::Failed { text: "second".to_owned() });
        notices.told().await;
        assert_eq!(notices.failure(), Some("first"));
    }
}

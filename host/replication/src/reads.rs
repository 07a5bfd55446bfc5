//! Reads of this node's own log that the core asks for, on a thread of their own: a primary feeding a
//! member that is behind must not make the driver wait for a disk.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hashring::PartitionId;
use segment::Log;

use crate::core::Event;
use crate::inbox::{Command, Inbox};

/// Reads that wait. The core asks for one a partition and member at a time; beyond it a read counts as
/// failed, and the core asks again.
const READS_WAITING_MAX: usize = 4096;

/// One read.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) partition: PartitionId,
    pub(crate) request: u64,
    pub(crate) from: u64,
    pub(crate) entries_max: usize,
    pub(crate) bytes_max: usize,
}

/// The thread, from the side of the driver. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Reads {
    queue: SyncSender<Read>,
}

impl Reads {
    pub(crate) fn start(log: Log, inbox: Inbox) -> std::io::Result<Self> {
        let (queue, wanted) = sync_channel(READS_WAITING_MAX);
        runtime::thread("log-reads", move || read_all(&log, &wanted, &inbox))?;
        Ok(Self { queue })
    }

    /// Queues a read, or tells at once that it failed.
    pub(crate) fn submit(&self, read: Read) -> Option<Event> {
        let (partition, request) = (read.partition, read.request);
        let refused = self.queue.try_send(read).is_err();
        refused.then_some(Event::Read { partition, request, entries: None })
    }
}

fn read_all(log: &Log, wanted: &Receiver<Read>, inbox: &Inbox) {
    while let Ok(read) = wanted.recv() {
        let Read { partition, request, from, entries_max, bytes_max } = read;
        let entries = match log.read(partition, from, entries_max, bytes_max) {
            Ok(entries) => Some(entries),
            Err(error) => {
                tracing::error!(%partition, from, %error, "the log cannot be read");
                None
            }
        };
        let event = Event::Read { partition, request, entries };
        if inbox.blocking_send(Command::Event(event)).is_err() {
            return;
        }
    }
}

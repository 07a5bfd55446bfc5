//! Reads of this node's own log that the core asks for, on a thread of their own: a primary feeding a
//! member that is behind must not make the driver wait for a disk.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use hashring::PartitionId;
use segment::{Log, ReadError};

use crate::core::Event;
use crate::evidence;
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

/// What is to be put aside before it is dropped.
#[derive(Debug)]
pub(crate) struct Aside {
    pub(crate) partition: PartitionId,
    pub(crate) after: u64,
    pub(crate) differs: u64,
}

#[derive(Debug)]
enum Job {
    Read(Read),
    PutAside(Aside),
}

/// The thread, from the side of the driver. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Reads {
    queue: SyncSender<Job>,
}

impl Reads {
    /// `folder` is where evidence is put.
    pub(crate) fn start(log: Log, folder: PathBuf, inbox: Inbox) -> std::io::Result<Self> {
        let (queue, wanted) = sync_channel(READS_WAITING_MAX);
        let thread = Thread { log, folder, inbox };
        runtime::thread("log-reads", move || thread.run(&wanted))?;
        Ok(Self { queue })
    }

    /// Queues a read, or tells at once that it failed.
    pub(crate) fn submit(&self, read: Read) -> Option<Event> {
        let (partition, request) = (read.partition, read.request);
        let refused = self.queue.try_send(Job::Read(read)).is_err();
        refused.then_some(Event::Read { partition, request, entries: None })
    }

    /// Queues what is to be put aside, or tells at once that it was not.
    pub(crate) fn put_aside(&self, aside: Aside) -> Option<Event> {
        let Aside { partition, after, .. } = aside;
        let refused = self.queue.try_send(Job::PutAside(aside)).is_err();
        refused.then_some(Event::PutAside { partition, after, done: false })
    }
}

struct Thread {
    log: Log,
    folder: PathBuf,
    inbox: Inbox,
}

impl Thread {
    fn run(self, wanted: &Receiver<Job>) {
        while let Ok(job) = wanted.recv() {
            let heard = match job {
                Job::Read(read) => self.read(&read),
                Job::PutAside(aside) => self.put_aside(&aside),
            };
            if !heard {
                return;
            }
        }
    }

    /// `false` when nobody listens any more.
    fn tell(&self, event: Event) -> bool {
        self.inbox.blocking_send(Command::Event(event)).is_ok()
    }

    fn read(&self, read: &Read) -> bool {
        let Read { partition, request, from, entries_max, bytes_max } = *read;
        let entries = match self.log.read(partition, from, entries_max, bytes_max) {
            Ok(entries) => Some(entries),
            Err(error) => {
                tracing::error!(%partition, from, %error, "the log cannot be read");
                if let Some(event) = unreadable(&error)
                    && !self.tell(event)
                {
                    return false;
                }
                None
            }
        };
        self.tell(Event::Read { partition, request, entries })
    }

    fn put_aside(&self, aside: &Aside) -> bool {
        let Aside { partition, after, differs } = *aside;
        let kept = evidence::put_aside(&self.log, &self.folder, partition, after, differs);
        let path = evidence::path(&self.folder, partition);
        match &kept {
            Ok(()) => tracing::error!(
                %partition, differs, path = %path.display(),
                "what this log has from entry {differs} on is not what the others have: it is put aside, and the \
                 log is taken back to entry {after}"
            ),
            Err(error) => tracing::error!(
                %partition, path = %path.display(), %error,
                "what differs could not be put aside: the log stays as it is, and it is tried again"
            ),
        }
        self.tell(Event::PutAside { partition, after, done: kept.is_ok() })
    }
}

/// What the core is told of a read that failed: only of what is not what was written.
pub(crate) fn unreadable(error: &ReadError) -> Option<Event> {
    match error {
        ReadError::Damaged { partition, seq, .. } => {
            Some(Event::Unreadable { partition: *partition, seq: *seq })
        }
        ReadError::Disk { .. } | ReadError::Index { .. } | ReadError::NotIndexed { .. } => None,
    }
}

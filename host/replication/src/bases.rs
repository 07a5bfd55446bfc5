//! Pieces of what logs stand on, read for others and kept of others, on a thread of their own: to verify all of
//! it takes as long as to read it, and neither the driver nor the reads of a log may wait for that.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bytes::Bytes;
use hashring::PartitionId;
use segment::{Base, BaseTaken, Log};

use crate::core::{Event, Kept};
use crate::inbox::{Command, Inbox};

/// Pieces that wait: what may be under way of two learners, and of two that this node is itself. Beyond that
/// one counts as failed, and the core asks again.
const WAITING_MAX: usize = 256;

/// Something to do.
#[derive(Debug)]
pub(crate) enum BaseWork {
    /// Read a piece.
    Read { partition: PartitionId, request: u64, at: u64, bytes_max: usize },
    /// Keep one.
    Keep { partition: PartitionId, base: Base, at: u64, piece: Bytes },
}

/// The thread, from the side of the driver. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Bases {
    queue: SyncSender<BaseWork>,
}

impl Bases {
    pub(crate) fn start(log: Log, inbox: Inbox) -> std::io::Result<Self> {
        let (queue, wanted) = sync_channel(WAITING_MAX);
        runtime::thread("log-bases", move || work_all(&log, &wanted, &inbox))?;
        Ok(Self { queue })
    }

    /// Queues it, or tells at once that it failed.
    pub(crate) fn submit(&self, work: BaseWork) -> Option<Event> {
        let failed = match &work {
            BaseWork::Read { partition, request, at, .. } => unread(*partition, *request, *at),
            BaseWork::Keep { partition, base, .. } => {
                Event::Kept { partition: *partition, base: *base, kept: Kept::Nothing }
            }
        };
        self.queue.try_send(work).is_err().then_some(failed)
    }
}

fn unread(partition: PartitionId, request: u64, at: u64) -> Event {
    Event::BaseRead { partition, request, base: Base::default(), at, piece: None }
}

fn work_all(log: &Log, wanted: &Receiver<BaseWork>, inbox: &Inbox) {
    while let Ok(work) = wanted.recv() {
        let event = match work {
            BaseWork::Read { partition, request, at, bytes_max } => {
                match log.base_piece(partition, at, bytes_max) {
                    Ok((base, piece)) => {
                        Event::BaseRead { partition, request, base, at, piece: Some(piece) }
                    }
                    Err(error) => {
                        tracing::warn!(%partition, %error, "what a log stands on cannot be read");
                        unread(partition, request, at)
                    }
                }
            }
            BaseWork::Keep { partition, base, at, piece } => {
                let kept = match log.take_base(partition, base, at, &piece) {
                    Ok(BaseTaken::Some(have)) => Kept::Some(have),
                    Ok(BaseTaken::All) => Kept::All,
                    Err(error) => {
                        tracing::warn!(%partition, error = &error as &dyn std::error::Error,
                            "what another log stands on cannot be kept");
                        Kept::Nothing
                    }
                };
                Event::Kept { partition, base, kept }
            }
        };
        if inbox.blocking_send(Command::Event(event)).is_err() {
            return;
        }
    }
}

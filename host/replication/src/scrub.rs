//! Reads the whole log again and again, slowly, so that an entry that does not verify any more is found while
//! other members have it (R32c).
//!
//! It is a reader like any other: what it finds the core is told, which mends it. How far it came is kept
//! in the data folder (`scrub`), so that a node that is restarted often gets through as well.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use runtime::{KeptFile, Stop};
use segment::{Log, LogEntry, ReadError};
use serde::{Deserialize, Serialize};

use crate::inbox::{Command, Inbox};
use crate::metric;
use crate::reads::unreadable;

const MAGIC: [u8; 8] = *b"CRLNSCRB";
const VERSION: u32 = 1;
/// Its three numbers, with room.
const BYTES_MAX: usize = 64;

/// Read at a time: a few milliseconds of a disk.
const PIECE_BYTES: usize = 1 << 20;
/// Entries read at a time: their places are looked up together.
const PIECE_ENTRIES: usize = 1024;
/// What an entry takes on the disk beside its payload.
const HEAD_BYTES: u64 = 56;
/// How far it came is kept so often.
const KEEP_BYTES: u64 = 16 << 20;
/// A small log is not read over and over.
const ROUND_MIN: Duration = Duration::from_secs(60);

/// How far it came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    partition: u16,
    /// The next entry to read.
    next: u64,
    /// How often it went through everything.
    rounds: u64,
}

/// What came of one piece.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Piece {
    bytes: u64,
    /// All partitions were gone through.
    round: bool,
}

/// A scrub of one node's log.
pub(crate) struct Scrub {
    node: NodeId,
    log: Log,
    file: KeptFile,
    partitions: u16,
    /// Bytes a second.
    rate: u64,
    inbox: Inbox,
    place: Place,
    /// Bytes since the place was kept.
    since: u64,
    found: VecDeque<crate::core::Event>,
}

impl Scrub {
    /// `folder` is the data folder, `rate` in bytes a second. Blocks.
    pub(crate) fn new(
        node: NodeId,
        log: Log,
        folder: &Path,
        partitions: u16,
        rate: u64,
        inbox: Inbox,
    ) -> Self {
        let file = KeptFile::new(folder.join("scrub"), MAGIC, VERSION, BYTES_MAX);
        // What cannot be read is begun anew: nothing is lost by that.
        let kept = file.read().ok().flatten();
        let place: Option<Place> = kept.and_then(|body| postcard::from_bytes(&body).ok());
        let place = place.filter(|place| place.partition < partitions).unwrap_or_default();
        Self { node, log, file, partitions, rate, inbox, place, since: 0, found: VecDeque::new() }
    }

    /// Reads until the node stops.
    pub(crate) async fn run(mut self, stop: Stop) {
        let mut began = runtime::now();
        loop {
            let Some((scrub, piece)) = runtime::blocking(move || {
                let piece = self.piece();
                (self, piece)
            })
            .await
            else {
                return;
            };
            self = scrub;
            metric::scrubbed(&self.node, piece.bytes);
            while let Some(event) = self.found.pop_front() {
                if self.inbox.send(Command::Event(event)).await.is_err() {
                    return;
                }
            }
            let mut pause =
                Duration::from_micros(piece.bytes.saturating_mul(1_000_000) / self.rate);
            if piece.round {
                metric::scrub_round(&self.node);
                pause = pause.max(ROUND_MIN.saturating_sub(runtime::now() - began));
                began = runtime::now() + pause;
            }
            tokio::select! { biased;
                () = stop.stopped() => return,
                () = runtime::sleep(pause) => {}
            }
        }
    }

    /// Reads one piece, and notes what was found and how far it came.
    fn piece(&mut self) -> Piece {
        let Place { partition, next, .. } = self.place;
        let partition = PartitionId(partition);
        let read = self.log.read(partition, next.max(1), PIECE_ENTRIES, self.bytes_max());
        let mut piece = Piece::default();
        match read {
            Ok(entries) if !entries.is_empty() => {
                piece.bytes = entries.iter().map(size).sum();
                self.place.next = entries.last().map_or(next, |last| last.seq.saturating_add(1));
            }
            Err(error @ ReadError::Damaged { seq, .. }) => {
                tracing::error!(node = %self.node, %partition, %error, "the scrub found an entry that cannot be read");
                self.found.extend(unreadable(&error));
                piece.bytes = HEAD_BYTES;
                self.place.next = seq.saturating_add(1);
            }
            Ok(_) | Err(_) => {
                if let Err(error) = read {
                    tracing::warn!(node = %self.node, %partition, %error, "the scrub goes on elsewhere");
                }
                piece.round = partition.0.saturating_add(1) >= self.partitions;
                self.place.next = 1;
                self.place.partition = if piece.round { 0 } else { partition.0 + 1 };
                self.place.rounds += u64::from(piece.round);
            }
        }
        self.since = self.since.saturating_add(piece.bytes);
        if piece.round || self.since >= KEEP_BYTES {
            self.since = 0;
            self.keep();
        }
        piece
    }

    /// No more at once than a second's worth.
    fn bytes_max(&self) -> usize {
        PIECE_BYTES.min(usize::try_from(self.rate).unwrap_or(PIECE_BYTES))
    }

    fn keep(&self) {
        let kept = postcard::to_stdvec(&self.place).map_err(std::io::Error::other);
        if let Err(error) = kept.and_then(|body| self.file.replace(&body)) {
            tracing::warn!(node = %self.node, %error, "how far the scrub came is not kept: it is tried again");
        }
    }
}

fn size(entry: &LogEntry) -> u64 {
    HEAD_BYTES.saturating_add(u64::try_from(entry.payload.len()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::sync::mpsc::channel;

    use bytes::Bytes;
    use segment::{Chain, LogConfig, LogEnd, LogOp, Notice, Reserve};
    use tokio::sync::mpsc;

    use super::*;
    use crate::core::Event;

    /// A log of some entries in partitions 1 and 3.
    fn log(folder: &Path) -> Log {
        let (told, notices) = channel();
        let config = LogConfig {
            folder: folder.join("logs"),
            store: 5,
            partitions: 4,
            value_file_bytes_max: 1 << 20,
            reserve: Reserve::Bytes(0),
        };
        let (log, _) = Log::open(config, move |notice| drop(told.send(notice))).unwrap();
        for (ticket, partition) in [(1, PartitionId(1)), (2, PartitionId(3))] {
            let mut chain = Chain::default();
            let entries = (1..=5).map(|seq| {
                let payload = Bytes::from(format!("entry {seq} of {}", partition.0));
                chain = chain.next(1, seq, &payload);
                LogEntry { epoch: 1, seq, chain, payload }
            });
            let entries = entries.collect();
            log.submit(ticket, vec![LogOp::Append { partition, entries }]).unwrap();
        }
        while !matches!(notices.recv().unwrap(), Notice::Written { ticket: 2 }) {}
        log
    }

    fn scrub(folder: &Path, log: &Log) -> (Scrub, mpsc::Receiver<Command>) {
        let (inbox, heard) = mpsc::channel(8);
        (Scrub::new("n1".parse().unwrap(), log.clone(), folder, 4, 1 << 20, inbox), heard)
    }

    /// Pieces until it has gone through everything.
    fn round(scrub: &mut Scrub) -> u64 {
        let mut bytes = 0;
        loop {
            let piece = scrub.piece();
            bytes += piece.bytes;
            if piece.round {
                return bytes;
            }
        }
    }

    #[test]
    fn it_goes_through_everything_and_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let (mut first, _heard) = scrub(folder.path(), &log);
        assert_eq!(round(&mut first), 10 * (HEAD_BYTES + "entry 1 of 1".len() as u64));
        assert!(first.found.is_empty());
        assert_eq!(first.place, Place { partition: 0, next: 1, rounds: 1 });
        first.piece();
        first.piece();
        first.keep();
        let (second, _heard) = scrub(folder.path(), &log);
        assert_eq!(second.place, Place { partition: 1, next: 6, rounds: 1 });
        std::fs::write(folder.path().join("scrub"), b"?").unwrap();
        let (third, _heard) = scrub(folder.path(), &log);
        assert_eq!(third.place, Place::default(), "nothing is lost by beginning anew");
    }

    #[test]
    fn a_log_that_begins_later_is_gone_through_from_what_is_kept_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let (mut scrub, _heard) = scrub(folder.path(), &log);
        // It stands in the middle of what goes.
        scrub.place = Place { partition: 1, next: 2, rounds: 0 };
        let entries = log.read(PartitionId(1), 1, 3, 1 << 20).unwrap();
        let LogEntry { epoch, seq, chain, .. } = entries[2];
        let base = LogEnd { epoch, seq, chain };
        let mut draft = log.draft_base(PartitionId(1), base, 1000).unwrap();
        draft.part(b"made of it").unwrap();
        draft.entry(&entries[1]).unwrap();
        draft.finish().unwrap();
        log.submit(3, vec![LogOp::Base { partition: PartitionId(1), base }]).unwrap();
        while log.base(PartitionId(1)).is_none() {
            std::thread::yield_now();
        }
        let entry = HEAD_BYTES + "entry 1 of 1".len() as u64;
        assert_eq!(round(&mut scrub), (1 + 2 + 5) * entry);
        assert_eq!(round(&mut scrub), (1 + 2 + 5) * entry);
        assert!(scrub.found.is_empty(), "{:?}", scrub.found);
    }

    #[test]
    fn an_entry_that_does_not_verify_is_told_and_what_follows_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path());
        let path = folder.path().join("logs/00000001.values");
        let bytes = std::fs::read(&path).unwrap();
        let text = b"entry 2 of 3";
        let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"E", at as u64).unwrap();
        let (mut scrub, _heard) = scrub(folder.path(), &log);
        let bytes = round(&mut scrub);
        let found: Vec<Event> = scrub.found.into();
        assert!(
            matches!(found[..], [Event::Unreadable { partition: PartitionId(3), seq: 2 }]),
            "{found:?}"
        );
        assert!(bytes > 8 * HEAD_BYTES, "the others are read: {bytes}");
    }
}

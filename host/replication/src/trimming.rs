//! Letting the log of a partition begin later than with its first entry, as the floors above ask for it.
//!
//! They say what is to be kept: what they made of the log up to a place, and which entries. That is written
//! beside; then the core is told, and decides.

use std::sync::Arc;

use bytes::Bytes;
use hashring::PartitionId;
use segment::{Base, BaseDraft, BaseError, LogEntry, Snapshot};

use crate::Replication;
use crate::core::Event;
use crate::inbox::Command;

/// The payload with which an entry is kept, where that is another one than it has in the log. The same on every node
/// for the same log, and the same again for an entry that was written anew before.
pub type Anew = Arc<dyn Fn(&LogEntry) -> Option<Bytes> + Send + Sync>;

/// Entries and bytes that are read at a time when a log is trimmed.
const PIECE_ENTRIES: usize = 512;
const PIECE_BYTES: usize = 1 << 20;

impl Replication {
    /// What a partition's log begins with on this node; `None` if that is its first entry.
    pub fn base(&self, partition: PartitionId) -> Option<Base> {
        self.shared.log.base(partition)
    }

    /// What was made of the log up to its base, from a thread that may block. `None` if it has none, or it
    /// cannot be read, which is in the log. Cancel-safe.
    pub async fn base_snapshot(&self, partition: PartitionId) -> Option<Snapshot> {
        let log = self.shared.log.clone();
        match runtime::blocking(move || log.base_parts(partition)).await? {
            Ok(snapshot) => snapshot,
            Err(error) => {
                tracing::error!(%partition, error = &error as &dyn std::error::Error,
                    "ALARM: what the log of this partition stands on cannot be read");
                None
            }
        }
    }

    /// As [`segment::Log::weigh`] tells it, from a thread that may block; `None` if that cannot be told.
    /// Cancel-safe.
    pub async fn weigh(
        &self,
        partition: PartitionId,
        entries_max: u64,
        bytes_max: u64,
    ) -> Option<u64> {
        let log = self.shared.log.clone();
        runtime::blocking(move || log.weigh(partition, entries_max, bytes_max)).await?.ok()
    }

    /// Lets the log of a partition begin behind the snapshot's place, which is committed: of the entries up to
    /// there only those of `kept` stay, in a file beside, each as `anew` writes it. Whether that was written; when the log begins there
    /// its view tells. It is written in pieces, and rests in between as a snapshot does. Cancelling it leaves
    /// the log as it is.
    pub async fn trim(
        &self,
        partition: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        anew: Anew,
    ) -> bool {
        match self.write_base(partition, snapshot, kept, anew).await {
            Some(Ok(base)) => {
                let event = Event::Trimmable { partition, base: base.place };
                self.shared.inbox.send(Command::Event(event)).await.is_ok()
            }
            Some(Err(error)) => {
                tracing::warn!(%partition, error = &error as &dyn std::error::Error,
                    "the log stays as long as it is");
                false
            }
            None => false,
        }
    }

    /// `None` when the runtime is shutting down, or an entry that is to be kept cannot be read, which is in
    /// the log.
    async fn write_base(
        &self,
        partition: PartitionId,
        snapshot: Snapshot,
        kept: Vec<u64>,
        anew: Anew,
    ) -> Option<Result<Base, BaseError>> {
        let Snapshot { place, parts } = snapshot;
        // A guess: how long the entries are is not known before they are read.
        let before = self.base(partition).map_or(0, |base| base.bytes);
        let parts_bytes: usize = parts.iter().map(Bytes::len).sum();
        let bytes = before.saturating_add(u64::try_from(parts_bytes).unwrap_or(u64::MAX));
        let log = self.shared.log.clone();
        let draft = move || {
            let mut draft = log.draft_base(partition, place, bytes)?;
            parts.iter().try_for_each(|part| draft.part(part))?;
            Ok(draft)
        };
        let mut draft: BaseDraft = match runtime::blocking(draft).await? {
            Ok(draft) => draft,
            Err(error) => return Some(Err(error)),
        };
        let mut rest = kept.as_slice();
        while let Some(first) = rest.first() {
            let began = runtime::now();
            let page = self.read(partition, *first, PIECE_ENTRIES, PIECE_BYTES).await?;
            let last = page.last()?.seq;
            let mut wanted: Vec<LogEntry> = page
                .into_iter()
                .filter(|entry| entry.seq <= place.seq && rest.binary_search(&entry.seq).is_ok())
                .collect();
            let until = rest.partition_point(|seq| *seq <= last);
            if wanted.len() != until {
                tracing::error!(%partition, from = first, "entries that are to be kept are missing");
                return None;
            }
            rest = rest.get(until..).unwrap_or_default();
            let anew = Arc::clone(&anew);
            let add = move || {
                for entry in &mut wanted {
                    if let Some(payload) = anew(entry) {
                        entry.payload = payload;
                    }
                    draft.entry(entry)?;
                }
                Ok(draft)
            };
            match runtime::blocking(add).await? {
                Ok(further) => draft = further,
                Err(error) => return Some(Err(error)),
            }
            runtime::sleep(runtime::now() - began).await;
        }
        runtime::blocking(move || draft.finish()).await
    }
}

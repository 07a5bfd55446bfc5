//! The cache file's keeper: takes notes at once, writes them together a little later.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::Stop;
use tokio::sync::Notify;

use super::cache::{Cache, CacheError, Changes, Kept};
use super::entry::Content;
use super::following::note_all;
use super::shared::{Shared, locked};

/// Notes of this long share one write: a path that changes all the time must not write all the time.
const GATHER: Duration = Duration::from_secs(1);
/// How often what has not changed is noted again: by so much an age after a crash may be too high.
const NOTE_EVERY: Duration = Duration::from_secs(300);

/// What the file said at the start, and what it is to say.
#[derive(Debug)]
pub(crate) struct Memory {
    cache: Cache,
    known: Mutex<BTreeMap<String, Kept>>,
    pending: Mutex<Changes>,
    noted: Notify,
    /// Notes are taken; not with a file that is somebody else's.
    writes: bool,
}

impl Memory {
    /// Opens the file. One that cannot be read is told, and believed in nothing.
    pub(crate) fn open(path: &Path) -> Self {
        let cache = Cache::new(path);
        let (known, writes) = match cache.load() {
            Ok(known) => (known, true),
            Err(error) => {
                tracing::warn!(%error, "nothing is remembered from before");
                let foreign = matches!(error, CacheError::Foreign { .. });
                (BTreeMap::new(), !foreign)
            }
        };
        Self {
            cache,
            known: Mutex::new(known),
            pending: Mutex::default(),
            noted: Notify::new(),
            writes,
        }
    }

    /// What was known of `path` before this process, and how long ago.
    pub(crate) fn recall(&self, path: &str) -> Option<(Content, Duration)> {
        let known = locked(&self.known);
        let kept = known.get(path)?;
        let age = Duration::from_millis(runtime::wall_ms().saturating_sub(kept.known_ms));
        Some((kept.content.clone(), age))
    }

    /// Notes that this is so now.
    pub(crate) fn note(&self, path: &str, content: &Content) {
        if !self.writes {
            return;
        }
        let content = content.is_worth_keeping().then(|| content.clone());
        locked(&self.pending).insert(path.to_owned(), (runtime::wall_ms(), content));
        self.noted.notify_one();
    }

    /// Writes what was noted.
    pub(crate) async fn flush(&self, shared: &Shared) {
        let changes = std::mem::take(&mut *locked(&self.pending));
        if changes.is_empty() {
            return;
        }
        let cache = self.cache.clone();
        if let Some(Err(error)) = runtime::blocking(move || cache.save(&changes)).await {
            shared.meters.cache_failed.increment(1);
            tracing::warn!(%error, "last known values are not remembered");
        }
    }
}

/// Writes until `stop`, and once more then.
pub(crate) async fn remember(shared: Arc<Shared>, stop: Stop) {
    let Some(memory) = &shared.memory else { return };
    loop {
        tokio::select! {
            biased;
            () = stop.stopped() => break,
            () = memory.noted.notified() => {
                tokio::select! {
                    biased;
                    () = stop.stopped() => break,
                    () = runtime::sleep(GATHER) => memory.flush(&shared).await,
                }
            }
            () = runtime::sleep(NOTE_EVERY) => note_all(&shared),
        }
    }
    note_all(&shared);
    memory.flush(&shared).await;
}

//! The log's figures. The writer's handles are made once, so that counting costs no look-up.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

/// What the writer counts.
pub(crate) struct Measures {
    sync_seconds: Histogram,
    batch_entries: Histogram,
    batch_bytes: Histogram,
    entries: Counter,
    bytes: Counter,
    full: Gauge,
}

impl Measures {
    pub(crate) fn new() -> Self {
        Self {
            sync_seconds: histogram!("carillon_log_sync_seconds"),
            batch_entries: histogram!("carillon_log_batch_entries"),
            batch_bytes: histogram!("carillon_log_batch_bytes"),
            entries: counter!("carillon_log_entries_total"),
            bytes: counter!("carillon_log_bytes_total"),
            full: gauge!("carillon_log_disk_full"),
        }
    }

    /// One batch was written and synced.
    pub(crate) fn batch(&self, took: Duration, entries: usize, bytes: usize) {
        self.sync_seconds.record(took);
        // Batches of marks and hints alone would only say how idle the node is.
        if entries > 0 {
            self.batch_entries.record(figure(entries));
            self.batch_bytes.record(figure(bytes));
        }
        self.entries.increment(u64::try_from(entries).unwrap_or(u64::MAX));
        self.bytes.increment(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(crate) fn full(&self, full: bool) {
        self.full.set(if full { 1.0 } else { 0.0 });
    }
}

/// A place was found that is not what was written.
pub(crate) fn damage() {
    counter!("carillon_log_damages_total").increment(1);
}

/// A snapshot of so many bytes was written.
pub(crate) fn snapshot_written(bytes: u64) {
    counter!("carillon_snapshots_written_total").increment(1);
    counter!("carillon_snapshots_bytes_total").increment(bytes);
}

/// What is kept below a log's base was written anew, with so many bytes.
pub(crate) fn base_written(bytes: u64) {
    counter!("carillon_bases_written_total").increment(1);
    counter!("carillon_bases_bytes_total").increment(bytes);
}

/// Value files that no log needs were removed.
pub(crate) fn value_files_released(count: u64) {
    counter!("carillon_value_files_released_total").increment(count);
}

/// A snapshot was there and could not be used.
pub(crate) fn snapshot_ignored(why: &'static str) {
    counter!("carillon_snapshots_ignored_total", "why" => why).increment(1);
}

fn figure(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

//! The archive's figures.

use std::time::Duration;

use metrics::{counter, gauge, histogram};

/// A batch was synced and indexed.
pub(crate) fn batch(took: Duration, answers: usize, bytes: u64) {
    histogram!("carillon_archive_sync_seconds").record(took);
    counter!("carillon_archive_synced_answers_total").increment(count(answers));
    counter!("carillon_archive_written_bytes_total").increment(bytes);
}

/// A segment of so many bytes became final.
pub(crate) fn added(bytes: u64) {
    counter!("carillon_archive_finals_total").increment(1);
    counter!("carillon_archive_added_bytes_total").increment(bytes);
}

/// A segment of so many bytes was collected.
pub(crate) fn removed(bytes: u64) {
    counter!("carillon_archive_removed_bytes_total").increment(bytes);
}

/// So many bytes were read out.
pub(crate) fn retrieved(bytes: usize) {
    counter!("carillon_archive_retrieved_bytes_total").increment(count(bytes));
}

/// An operation was refused.
pub(crate) fn refused() {
    counter!("carillon_archive_refusals_total").increment(1);
}

/// Uploads were given up without having been cancelled.
pub(crate) fn given_up(uploads: usize) {
    counter!("carillon_archive_given_up_total").increment(count(uploads));
}

/// Operations were answered that nobody knows whether they were done.
pub(crate) fn lost(operations: usize) {
    counter!("carillon_archive_lost_answers_total").increment(count(operations));
}

/// So many uploads are under way.
pub(crate) fn active(uploads: usize) {
    gauge!("carillon_archive_uploads").set(f64::from(u32::try_from(uploads).unwrap_or(u32::MAX)));
}

/// A space has so many value files, and so much is free on its disk.
pub(crate) fn space(space: u32, files: usize, free: Option<u64>) {
    let label = [("space", space.to_string())];
    let files = f64::from(u32::try_from(files).unwrap_or(u32::MAX));
    gauge!("carillon_archive_space_files", &label).set(files);
    // In MiB, of which a number without fractions can count enough.
    let free = free.map(|free| f64::from(u32::try_from(free >> 20).unwrap_or(u32::MAX)));
    gauge!("carillon_archive_space_free_bytes", &label)
        .set(free.map_or(0.0, |mib| mib * 1_048_576.0));
}

/// Something is not what was written.
pub(crate) fn damage() {
    counter!("carillon_archive_damages_total").increment(1);
}

/// A fact whose record was broken was written once more.
pub(crate) fn written_again() {
    counter!("carillon_archive_written_again_total").increment(1);
}

/// So many bytes were verified by a scrub.
pub(crate) fn scrubbed(bytes: u64) {
    counter!("carillon_archive_scrubbed_bytes_total").increment(bytes);
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

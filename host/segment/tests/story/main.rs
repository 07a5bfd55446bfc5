//! What becomes of the logs through restarts, crashes and broken disks.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where a step fails"
)]

mod support;

mod backup;
mod base;
mod base_random;
mod broken_disk;
mod contents;
mod damage;
mod data_folder;
mod format;
mod full_disk;
mod index;
mod power_cut;
mod random;
mod snapshot;
mod torn_end;

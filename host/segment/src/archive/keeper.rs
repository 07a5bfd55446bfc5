//! The thread that keeps the archive while nobody asks it to: compaction and scrub, at a pace.

use std::sync::Arc;
use std::time::Duration;

use crate::archive::pace::Pace;
use crate::archive::store::Shared;
use crate::archive::{compaction, scrub};

/// What is worth compacting is looked for this often.
const COMPACT_EVERY: Duration = Duration::from_secs(600);
/// And it rests for so many times as long as that took.
const REST: u32 = 4;
/// A scrub begins so long after the last one ended.
const SCRUB_EVERY: Duration = Duration::from_secs(24 * 3600);
/// A scrub goes on in steps of so many bytes, between which its position is kept.
const STEP_BYTES: u64 = 64 << 20;
/// The figures of the spaces are told this often.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// The thread looks at the clock this often.
const TICK: Duration = Duration::from_secs(1);

/// How fast the archive is kept in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// Bytes a second that a scrub reads, and compaction copies.
    pub bytes_per_second: u64,
}

/// Keeps until the archive ends.
pub(crate) fn run(shared: &Arc<Shared>, keeping: Keeping) {
    let pace = Pace::limited(&shared.bell, keeping.bytes_per_second);
    let mut compact_at = runtime::now() + COMPACT_EVERY;
    let mut scrub_at = runtime::now() + TICK;
    let mut tell_at = runtime::now();
    while !shared.bell.wait(TICK) {
        let now = runtime::now();
        if now >= tell_at {
            shared.tell_spaces();
            tell_at = now + TELL_EVERY;
        }
        if now >= compact_at {
            match compaction::pass(shared, runtime::wall_ms(), &pace) {
                Ok(done) if done.files > 0 => tracing::info!(?done, "the archive was compacted"),
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "compaction stopped; it is tried again"),
            }
            // Where looking takes long, it looks less often.
            let took = runtime::now().saturating_duration_since(now);
            compact_at = runtime::now() + COMPACT_EVERY.max(took * REST);
        }
        if now >= scrub_at {
            scrub_at = match scrub::step(shared, STEP_BYTES, &pace) {
                Ok(done) if done.complete => runtime::now() + SCRUB_EVERY,
                Ok(_) => now,
                Err(error) => {
                    tracing::warn!(%error, "the scrub stopped; it goes on later");
                    runtime::now() + COMPACT_EVERY
                }
            };
        }
    }
}

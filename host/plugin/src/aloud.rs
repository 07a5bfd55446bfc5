//! How much of what a plugin says goes into the node's own log.
//!
//! That log is everybody's, and on somebody's disk: a guest that says a few lines about every message would
//! fill it. Its own journal, which is a ring, takes every line all the same.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::Instant;

/// So many lines at once: a start, or a burst of trouble, is told whole.
const LINES_MAX: u32 = 1_000;
/// One line in so long, once those are used up: ten a second can be read by nobody, and are no burden.
const LINE_EVERY: Duration = Duration::from_millis(100);

/// What one plugin may still say aloud.
#[derive(Debug)]
pub(crate) struct Aloud {
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    since: Instant,
    left_out: u64,
}

impl Default for Aloud {
    fn default() -> Self {
        let bucket = Bucket { left: LINES_MAX, since: runtime::now(), left_out: 0 };
        Self { bucket: Mutex::new(bucket) }
    }
}

impl Aloud {
    /// Whether a line may be said now; if so, how many were left out since the last one that was said.
    pub(crate) fn admit(&self, now: Instant) -> Option<u64> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(bucket.since);
        let come = passed.as_millis() / LINE_EVERY.as_millis();
        if come > 0 {
            let come = u32::try_from(come).unwrap_or(LINES_MAX);
            bucket.left = bucket.left.saturating_add(come).min(LINES_MAX);
            bucket.since = now;
        }
        if bucket.left == 0 {
            bucket.left_out = bucket.left_out.saturating_add(1);
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::{Aloud, LINE_EVERY, LINES_MAX};

    #[test]
    fn a_burst_is_told_and_a_flood_is_not() {
        let (aloud, now) = (Aloud::default(), runtime::now());
        let said = (0..LINES_MAX * 2).filter(|_| aloud.admit(now).is_some()).count();
        assert_eq!(said, LINES_MAX as usize);
        assert_eq!(aloud.admit(now + LINE_EVERY), Some(u64::from(LINES_MAX)), "and how many more");
        assert_eq!(aloud.admit(now + LINE_EVERY), None);
        let later = now + LINE_EVERY * 3;
        assert_eq!((aloud.admit(later), aloud.admit(later)), (Some(1), Some(0)));
        assert_eq!(aloud.admit(later), None);
    }
}

//! What is cut together.

use std::time::Duration;

/// How much one transaction may carry, and how long is waited for it to fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events.
    pub events: usize,
    /// Bytes of the body as it is sent. One event goes however long it is.
    pub bytes: usize,
    /// How long is waited for more.
    pub linger: Duration,
}

/// Events of one transaction at most, whatever is configured.
pub const EVENTS_MAX: usize = 100;

impl Default for BatchLimits {
    fn default() -> Self {
        Self { events: EVENTS_MAX, bytes: 256 << 10, linger: Duration::ZERO }
    }
}

impl BatchLimits {
    /// Whether so much is as much as fits.
    pub fn is_full(&self, events: usize, bytes: usize) -> bool {
        events >= self.events.clamp(1, EVENTS_MAX) || bytes >= self.bytes
    }

    /// How many of `events`, which make a body of `bytes`, are to be written out next: all of them when they
    /// fit, and otherwise fewer. Asked again with what came of it.
    pub fn fewer(&self, events: usize, bytes: usize) -> usize {
        if events <= 1 || bytes <= self.bytes {
            return events;
        }
        // In proportion, and in any case one less, so that it ends.
        let fit = events.saturating_mul(self.bytes) / bytes.max(1);
        fit.clamp(1, events - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_full_by_events_or_by_bytes() {
        let limits = BatchLimits { events: 3, bytes: 1000, linger: Duration::ZERO };
        assert!(!limits.is_full(2, 999));
        assert!(limits.is_full(3, 0) && limits.is_full(1, 1000));
        assert!(BatchLimits { events: 500, ..limits }.is_full(100, 0), "more than may be listed");
    }

    #[test]
    fn what_is_too_long_is_made_shorter_until_it_fits_or_is_one() {
        let limits = BatchLimits { events: 100, bytes: 1000, linger: Duration::ZERO };
        assert_eq!(limits.fewer(10, 1000), 10);
        assert_eq!(limits.fewer(10, 2000), 5);
        assert_eq!(limits.fewer(10, 1001), 9);
        assert_eq!(limits.fewer(2, 1_000_000), 1);
        assert_eq!(limits.fewer(1, 1_000_000), 1, "one goes however long it is");
    }
}

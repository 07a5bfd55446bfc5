//! How long something takes while somebody waits for it, a sync of the log or the commit of a message: what bulk data
//! goes by, to stay out of the way.
//!
//! A histogram in buckets of half an octave, written and read by anybody, without a lock. It only counts up: who wants to
//! know of a while takes it twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets: the last one is a bit more than an hour.
const BUCKETS: usize = 64;

/// Entries that begin so or higher are of nobody who sends: see *Chat entries* in the description of formats.
const NOT_SENT: u8 = 64;

/// Counts.
#[derive(Debug)]
pub struct Pulse([AtomicU64; BUCKETS]);

/// What was counted up to a moment, or between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times([u64; BUCKETS]);

impl Default for Pulse {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Pulse {
    /// It took so long.
    pub fn beat(&self, took: Duration) {
        if let Some(bucket) = self.0.get(bucket(took)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn times(&self) -> Times {
        Times(std::array::from_fn(|at| {
            self.0.get(at).map_or(0, |bucket| bucket.load(Ordering::Relaxed))
        }))
    }
}

impl Default for Times {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl Times {
    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut since = *self;
        since.0.iter_mut().zip(before.0).for_each(|(count, before)| {
            *count = count.saturating_sub(before);
        });
        since
    }

    /// With one more, that took so long. For tests of who goes by it.
    #[must_use]
    pub fn with(mut self, took: Duration) -> Self {
        if let Some(count) = self.0.get_mut(bucket(took)) {
            *count += 1;
        }
        self
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// So many of a hundred took at most this long; up to half an octave more is told. Nothing if there was none.
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let count = self.count();
        let wanted = count.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (at, bucket) in self.0.iter().enumerate() {
            seen += bucket;
            if seen >= wanted {
                return Some(upper(at));
            }
        }
        None
    }
}

/// Whether somebody who sends waits for an entry with this payload.
pub fn is_sent(payload: &[u8]) -> bool {
    payload.first().is_some_and(|first| *first < NOT_SENT)
}

/// Of microseconds: two for each doubling.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).clamp(1, 1 << 31);
    let octave = us.ilog2();
    let upper_half = us * us > 1 << (2 * octave + 1);
    usize::try_from(2 * octave).unwrap_or(BUCKETS) + usize::from(upper_half)
}

/// The longest time of a bucket.
fn upper(bucket: usize) -> Duration {
    let half_octaves = u32::try_from(bucket).unwrap_or(0) + 1;
    Duration::from_micros(1_u64.checked_shl(half_octaves).unwrap_or(u64::MAX).isqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_was_counted_is_told_within_half_an_octave() {
        for us in [1, 2, 3, 7, 100, 1_000, 5_000, 12_345, 1_000_000, 3_600_000_000] {
            let took = Duration::from_micros(us);
            let told = Times::default().with(took).percentile(99).unwrap();
            let capped = took.min(Duration::from_micros(1 << 31));
            assert!(told >= capped.min(upper(BUCKETS - 2)), "{us}: {told:?}");
            assert!(told.as_micros() <= capped.as_micros() * 3 / 2 + 1, "{us}: {told:?}");
        }
    }

    #[test]
    fn percentiles_are_of_what_came_since() {
        let pulse = Pulse::default();
        pulse.beat(ms(500));
        let before = pulse.times();
        (0..99).for_each(|_| pulse.beat(ms(1)));
        pulse.beat(ms(40));
        let since = pulse.times().since(&before);
        assert_eq!(since.count(), 100);
        assert!(since.percentile(50).unwrap() < ms(2));
        assert!(since.percentile(99).unwrap() < ms(2));
        assert!(since.percentile(100).unwrap() >= ms(40));
        assert_eq!(Times::default().percentile(99), None);
    }
}

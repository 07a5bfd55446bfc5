//! Many durations in little room, with their percentiles.
//!
//! A histogram whose buckets widen with what they hold: 64 to each doubling, so that a percentile is
//! right to within 2 %, from nanoseconds to hours. Adding is one increment, so measuring costs nothing
//! beside what is measured.

use std::time::Duration;

/// Buckets to each doubling.
const FINENESS_BITS: u32 = 6;
const FINENESS: usize = 1 << FINENESS_BITS;
/// Doublings up to 2^44 ns, which is nearly five hours; longer counts as that.
const DOUBLINGS: usize = 44 - FINENESS_BITS as usize + 1;

/// How long things took.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; FINENESS * DOUBLINGS], total: 0 }
    }
}

impl Latencies {
    /// One more.
    pub(crate) fn add(&mut self, took: Duration) {
        let last = self.counts.len() - 1;
        if let Some(count) = self.counts.get_mut(bucket(took).min(last)) {
            *count += 1;
        }
        self.total += 1;
    }

    /// All of another's.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.total
    }

    /// What so many of a thousand did not exceed, in milliseconds; `None` of nothing.
    pub(crate) fn per_mille_ms(&self, per_mille: u64) -> Option<f64> {
        let wanted = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let found = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(middle_ns(found) / 1e6)
    }

    /// The median.
    pub(crate) fn p50_ms(&self) -> Option<f64> {
        self.per_mille_ms(500)
    }

    /// What one in a hundred exceeds.
    pub(crate) fn p99_ms(&self) -> Option<f64> {
        self.per_mille_ms(990)
    }

    /// What one in a thousand exceeds.
    pub(crate) fn p999_ms(&self) -> Option<f64> {
        self.per_mille_ms(999)
    }
}

/// The first doublings share the buckets of width one; each later one has [`FINENESS`] of its own.
fn bucket(took: Duration) -> usize {
    let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(FINENESS_BITS + 1);
    let within = usize::try_from(ns >> shift).unwrap_or(usize::MAX);
    FINENESS * shift as usize + within
}

fn middle_ns(bucket: usize) -> f64 {
    if bucket < FINENESS * 2 {
        return bucket as f64;
    }
    let shift = bucket / FINENESS - 1;
    let within = bucket - FINENESS * shift;
    let width = 2f64.powi(i32::try_from(shift).unwrap_or(i32::MAX));
    (within as f64 + 0.5) * width
}

#[cfg(test)]
mod tests {
    use super::{Latencies, bucket, middle_ns};
    use std::time::Duration;

    #[test]
    fn percentiles_are_right_to_within_two_percent() {
        let mut latencies = Latencies::default();
        for us in 1..=10_000 {
            latencies.add(Duration::from_micros(us));
        }
        assert_eq!(latencies.count(), 10_000);
        for (per_mille, ms) in [(500, 5.0), (990, 9.9), (999, 9.99), (1000, 10.0)] {
            let found = latencies.per_mille_ms(per_mille).unwrap();
            assert!((found - ms).abs() <= ms * 0.02, "{per_mille}: {found} is not {ms}");
        }
    }

    #[test]
    fn every_duration_has_a_bucket_and_buckets_rise() {
        let mut before = 0;
        for power in 0..44 {
            for ns in [1u64 << power, (1 << power) + (1 << power) / 2] {
                let found = bucket(Duration::from_nanos(ns));
                assert!(found >= before, "{ns}");
                let error = (middle_ns(found) - ns as f64).abs() / ns as f64;
                assert!(error < 0.02, "{ns}: {error}");
                before = found;
            }
        }
        let mut latencies = Latencies::default();
        latencies.add(Duration::MAX);
        latencies.add(Duration::ZERO);
        assert_eq!(latencies.count(), 2);
    }

    #[test]
    fn merging_is_adding_and_nothing_has_no_median() {
        let (mut one, mut other) = (Latencies::default(), Latencies::default());
        assert_eq!(one.p50_ms(), None);
        one.add(Duration::from_millis(1));
        other.add(Duration::from_millis(9));
        one.merge(&other);
        assert_eq!(one.count(), 2);
        assert!(one.p50_ms().unwrap() < 1.02 && one.p999_ms().unwrap() > 8.9);
    }
}

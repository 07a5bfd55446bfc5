//! What guests count and observe, as series of the node's own metrics.
//!
//! Samples leave a call as its effects do: with its answer, or not at all. How many series a plugin makes
//! is bounded for the life of the process, because a series is never forgotten; whatever is beyond is
//! dropped and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use metrics::{Counter, Histogram, counter, histogram};

/// Most series of one plugin, by its name; generations share them.
const SERIES_MAX: usize = 50;

/// Most samples of one call.
pub(crate) const SAMPLES_MAX: usize = 64;

/// Longest name of a series.
const NAME_BYTES_MAX: usize = 64;

/// More in one go is a mistake; the sum must not wrap.
const COUNT_MAX: u64 = 1 << 40;

/// One thing a guest counted or observed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sample {
    /// So many more.
    Count(String, u64),
    /// This value.
    Value(String, f64),
}

/// The series of every plugin of a host.
#[derive(Default)]
pub(crate) struct Series {
    plugins: Mutex<BTreeMap<String, BTreeMap<String, Meters>>>,
}

#[derive(Default)]
struct Meters {
    count: Option<Counter>,
    value: Option<Histogram>,
}

impl Series {
    /// Takes what a call of `plugin` leaves.
    pub(crate) fn record(&self, plugin: &str, samples: &[Sample], dropped: u64) {
        if samples.is_empty() && dropped == 0 {
            return;
        }
        let mut plugins = self.plugins.lock().unwrap_or_else(PoisonError::into_inner);
        let series = plugins.entry(plugin.to_owned()).or_default();
        let mut dropped = dropped;
        for sample in samples {
            if !take(plugin, series, sample) {
                dropped += 1;
            }
        }
        if dropped > 0 {
            counter!("carillon_plugin_samples_dropped_total", "plugin" => plugin.to_owned())
                .increment(dropped);
        }
    }
}

/// Whether there is a series for it.
fn take(plugin: &str, series: &mut BTreeMap<String, Meters>, sample: &Sample) -> bool {
    let (Sample::Count(name, _) | Sample::Value(name, _)) = sample;
    if !series.contains_key(name) && (series.len() >= SERIES_MAX || !is_name(name)) {
        return false;
    }
    let meters = series.entry(name.clone()).or_default();
    let labels = || [("plugin", plugin.to_owned()), ("name", name.clone())];
    match sample {
        Sample::Count(_, by) => meters
            .count
            .get_or_insert_with(|| counter!("carillon_plugin_count_total", &labels()))
            .increment((*by).min(COUNT_MAX)),
        Sample::Value(_, value) if value.is_finite() => meters
            .value
            .get_or_insert_with(|| histogram!("carillon_plugin_value", &labels()))
            .record(*value),
        Sample::Value(..) => return false,
    }
    true
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Series").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{SERIES_MAX, Sample, take};

    fn count(name: &str) -> Sample {
        Sample::Count(name.to_owned(), 1)
    }

    #[test]
    fn a_plugin_has_only_so_many_series_and_each_has_a_plain_name() {
        let mut series = BTreeMap::new();
        for bad in ["", "Upper", "a b", "1st", &"x".repeat(65)] {
            assert!(!take("p", &mut series, &count(bad)), "{bad:?}");
        }
        for number in 0..SERIES_MAX {
            assert!(take("p", &mut series, &count(&format!("n{number}"))));
        }
        assert!(!take("p", &mut series, &count("one.more")));
        assert!(take("p", &mut series, &count("n0")), "those that are there go on");
        assert!(take("p", &mut series, &Sample::Value("n0".to_owned(), 1.5)));
        assert!(!take("p", &mut series, &Sample::Value("n0".to_owned(), f64::NAN)));
        assert_eq!(series.len(), SERIES_MAX);
    }
}

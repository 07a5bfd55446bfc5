//! How calls are counted: by plugin, version and outcome, with time and fuel.

use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::Failure;

/// One word per way a call can end.
const OUTCOMES: [&str; 15] = [
    "pass",
    "accept",
    "rewrite",
    "reject",
    "hold",
    "done",
    "trap",
    "fuel",
    "deadline",
    "memory",
    "bad-output",
    "refused",
    "busy",
    "paused",
    "absent",
];

/// The meters of one version of a plugin, looked up once.
pub(crate) struct Meters {
    calls: [Counter; OUTCOMES.len()],
    seconds: Histogram,
    fuel: Histogram,
}

impl Meters {
    pub(crate) fn new(plugin: &str, version: &str) -> Self {
        let labels = [("plugin", plugin.to_owned()), ("version", version.to_owned())];
        let [plugin, version] = labels.clone();
        Self {
            calls: OUTCOMES.map(|outcome| {
                let outcome = ("outcome", outcome.to_owned());
                counter!("carillon_plugin_calls_total", &[plugin.clone(), version.clone(), outcome])
            }),
            seconds: histogram!("carillon_plugin_call_seconds", &labels),
            fuel: histogram!("carillon_plugin_call_fuel", &labels),
        }
    }

    /// Counts a call: the word of its answer and its fuel, or its failure.
    pub(crate) fn record(&self, result: Result<(&'static str, u64), &Failure>, took: Duration) {
        let outcome = match result {
            Ok((answer, _fuel)) => answer,
            Err(failure) => failure.name(),
        };
        let index = OUTCOMES.iter().position(|each| *each == outcome);
        if let Some(counter) = index.and_then(|index| self.calls.get(index)) {
            counter.increment(1);
        }
        self.seconds.record(took);
        if let Ok((_answer, fuel)) = result {
            // A histogram is of floats; fuel stays far below where they lose whole numbers.
            self.fuel.record(f64::from(u32::try_from(fuel).unwrap_or(u32::MAX)));
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

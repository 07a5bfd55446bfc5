//! What is counted of plugins on their way.

use metrics::{counter, gauge, histogram};

/// A version was prepared, or not: at which step it failed.
pub(crate) fn prepared(outcome: &'static str) {
    counter!("carillon_plugin_prepared_total", "outcome" => outcome).increment(1);
}

/// A change ended: `live`, `lost`, `failed`, `unsure`.
pub(crate) fn changed(outcome: &'static str) {
    counter!("carillon_plugin_changes_total", "outcome" => outcome).increment(1);
}

/// A version ran beside the live one, and may become live or not.
pub(crate) fn tried(outcome: &'static str) {
    counter!("carillon_plugin_trials_total", "outcome" => outcome).increment(1);
}

/// A version broke its guard, and was rolled back or not.
pub(crate) fn guarded(outcome: &'static str) {
    counter!("carillon_plugin_guard_total", "outcome" => outcome).increment(1);
}

/// A component was asked of other nodes, and came or not.
pub(crate) fn fetched(outcome: &'static str) {
    counter!("carillon_plugin_fetches_total", "outcome" => outcome).increment(1);
}

/// What stands in the registry was no record, or an earlier one.
pub(crate) fn foreign() {
    counter!("carillon_plugin_records_refused_total").increment(1);
}

/// A new set became live here, so long after it was learned of.
pub(crate) fn switched(node: &str, number: u64, took: std::time::Duration) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge, and far below 2^53")]
    let number = number as f64;
    gauge!("carillon_plugin_generation", "node" => node.to_owned()).set(number);
    histogram!("carillon_plugin_switch_seconds").record(took);
}

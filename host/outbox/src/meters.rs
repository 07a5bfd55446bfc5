//! What is counted of a service; attempts are by whoever makes them.

use metrics::{Counter, Gauge, counter, gauge};
use transaction::Cause;

#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) cut: Counter,
    pub(crate) recut: Counter,
    pub(crate) parked: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) lag: Gauge,
    pub(crate) lag_seconds: Gauge,
    pub(crate) failing: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) up: Gauge,
    pub(crate) turn: Gauge,
}

impl Meters {
    pub(crate) fn new(service: &str) -> Self {
        let counted = |name: &'static str| counter!(name, "service" => service.to_owned());
        let gauged = |name: &'static str| gauge!(name, "service" => service.to_owned());
        Self {
            cut: counted("carillon_service_transactions_total"),
            recut: counted("carillon_service_recut_total"),
            parked: counted("carillon_service_parked_total"),
            abandoned: counted("carillon_service_abandoned_total"),
            lag: gauged("carillon_service_lag_events"),
            lag_seconds: gauged("carillon_service_lag_seconds"),
            failing: gauged("carillon_service_failing_lanes"),
            in_flight: gauged("carillon_service_in_flight"),
            up: gauged("carillon_service_up"),
            turn: gauged("carillon_service_turn"),
        }
    }

    /// Nothing is sent any more.
    pub(crate) fn stopped(&self, service: &str, cause: Cause) {
        let service = service.to_owned();
        counter!("carillon_service_stops_total", "service" => service, "cause" => cause.word())
            .increment(1);
    }
}

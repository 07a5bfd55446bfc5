//! What is counted of a service.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use transaction::{Cause, Outcome};

#[derive(Debug)]
pub(crate) struct Meters {
    done: Counter,
    refused: Counter,
    gone: Counter,
    failed: Counter,
    seconds: Histogram,
    pub(crate) cut: Counter,
    pub(crate) recut: Counter,
    pub(crate) parked: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) lag: Gauge,
    pub(crate) in_flight: Gauge,
    pub(crate) up: Gauge,
    pub(crate) turn: Gauge,
}

impl Meters {
    pub(crate) fn new(service: &str) -> Self {
        let named = |outcome: &'static str| {
            let service = service.to_owned();
            counter!("carillon_service_attempts_total", "service" => service, "outcome" => outcome)
        };
        let counted = |name: &'static str| counter!(name, "service" => service.to_owned());
        let gauged = |name: &'static str| gauge!(name, "service" => service.to_owned());
        Self {
            done: named("done"),
            refused: named("refused"),
            gone: named("gone"),
            failed: named("failed"),
            seconds: histogram!("carillon_service_attempt_seconds", "service" => service.to_owned()),
            cut: counted("carillon_service_transactions_total"),
            recut: counted("carillon_service_recut_total"),
            parked: counted("carillon_service_parked_total"),
            abandoned: counted("carillon_service_abandoned_total"),
            lag: gauged("carillon_service_lag_events"),
            in_flight: gauged("carillon_service_in_flight"),
            up: gauged("carillon_service_up"),
            turn: gauged("carillon_service_turn"),
        }
    }

    /// Nothing is sent any more.
    pub(crate) fn stopped(&self, service: &str, cause: Cause) {
        let labels = [("service", service.to_owned()), ("cause", cause.word().to_owned())];
        counter!("carillon_service_stops_total", &labels).increment(1);
    }

    pub(crate) fn attempt(&self, outcome: Outcome, ms: u32) {
        self.seconds.record(f64::from(ms) / 1000.0);
        let counter = match outcome {
            Outcome::Done => &self.done,
            Outcome::Refused => &self.refused,
            Outcome::Gone => &self.gone,
            Outcome::Retry { .. } => &self.failed,
        };
        counter.increment(1);
    }
}

//! What is counted, and how it is shown.
//!
//! The recorder belongs to the process: nodes that share one share it. Install it before anything below
//! counts, because a handle made earlier counts into nothing.

use std::sync::OnceLock;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use hyper::StatusCode;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

static RENDERER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Upper ends of the ranges of every `…_seconds`: one send takes a fraction of a millisecond when the
/// machine is quiet, and half a minute is the longest anybody waits.
const SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// How often histograms are folded, so that what was counted and never asked for takes no room.
pub(crate) const FOLD_EVERY: Duration = Duration::from_secs(5);

/// Makes this process count. Does nothing the second time, or when another recorder was installed.
pub fn install_metrics() {
    renderer();
}

/// Everything counted so far, in Prometheus' text format.
pub(crate) fn render() -> String {
    renderer().map(PrometheusHandle::render).unwrap_or_default()
}

/// Folds what histograms have collected.
pub(crate) fn fold() {
    if let Some(handle) = renderer() {
        handle.run_upkeep();
    }
}

fn renderer() -> Option<&'static PrometheusHandle> {
    RENDERER
        .get_or_init(|| {
            let seconds = Matcher::Suffix("_seconds".to_owned());
            let builder = PrometheusBuilder::new().set_buckets_for_metric(seconds, &SECONDS);
            match builder.and_then(PrometheusBuilder::install_recorder) {
                Ok(handle) => Some(handle),
                Err(error) => {
                    tracing::warn!(%error, "nothing will be counted");
                    None
                }
            }
        })
        .as_ref()
}

/// What is counted for one endpoint. Handles are made once: a request must not look them up.
#[derive(Debug)]
pub(crate) struct EndpointCounters {
    answers: [Counter; 3],
    seconds: Histogram,
}

impl EndpointCounters {
    pub(crate) fn new(endpoint: &'static str) -> Self {
        let answers = ["2xx", "4xx", "5xx"].map(|class| {
            ::metrics::counter!("carillon_http_requests_total", "endpoint" => endpoint, "status" => class)
        });
        let seconds =
            ::metrics::histogram!("carillon_http_request_seconds", "endpoint" => endpoint);
        Self { answers, seconds }
    }

    pub(crate) fn count(&self, status: StatusCode, took: Duration) {
        let [done, refused, failed] = &self.answers;
        let counter = match status.as_u16() {
            ..400 => done,
            400..500 => refused,
            500.. => failed,
        };
        counter.increment(1);
        self.seconds.record(took);
    }
}

/// Counts a problem by its code. Problems are rare, or else there are worse problems than a look-up.
pub(crate) fn count_problem(code: &'static str) {
    ::metrics::counter!("carillon_http_problems_total", "code" => code).increment(1);
}

/// What is counted of connections.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionCounters {
    /// Open now.
    pub(crate) open: Gauge,
    /// Told to come back later: there are as many as may be.
    pub(crate) turned_away: Counter,
    /// The same: as many of this address.
    pub(crate) crowded: Counter,
    /// Closed because the client was too slow.
    pub(crate) too_slow: Counter,
}

impl ConnectionCounters {
    /// Of the clients' listener, `http`, or the operators', `admin`.
    pub(crate) fn new(listener: &str) -> Self {
        let name = |what: &str| format!("carillon_{listener}_connections{what}");
        Self {
            open: ::metrics::gauge!(name("")),
            turned_away: ::metrics::counter!(name("_turned_away_total"), "of" => "all"),
            crowded: ::metrics::counter!(name("_turned_away_total"), "of" => "address"),
            too_slow: ::metrics::counter!(name("_too_slow_total")),
        }
    }
}

//! What a measurement found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::latency::Latencies;

/// All figures of one run. Times are milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Acknowledged sends.
    pub(crate) sends: u64,
    /// Sends that were not.
    pub(crate) errors: u64,
    /// Those by what was answered.
    pub(crate) errors_by_code: BTreeMap<String, u64>,
    /// Acknowledged sends a second.
    pub(crate) per_second: f64,
    #[serde(flatten)]
    pub(crate) sent: Percentiles,
    /// From the acknowledgement of a message until a reader that waits has it.
    pub(crate) delivered_p50_ms: Option<f64>,
    /// Of one in a hundred.
    pub(crate) delivered_p99_ms: Option<f64>,
    #[serde(flatten)]
    pub(crate) alone: Option<Alone>,
    #[serde(flatten)]
    pub(crate) floor: Option<Floor>,
    /// `per_second` by `http_per_second`.
    pub(crate) ratio: Option<f64>,
}

/// How long a send took.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    p999_ms: Option<f64>,
}

/// One client that has the nodes for itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Alone {
    /// Its sends.
    pub(crate) alone_p50_ms: Option<f64>,
    /// From its acknowledgement until a reader that waits has it.
    pub(crate) alone_delivered_p50_ms: Option<f64>,
    /// What its sends may take: twice the sum of the floor's three.
    pub(crate) alone_bound_ms: Option<f64>,
}

/// What a send cannot be faster than, measured in the same run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Floor {
    /// 200 bytes appended to a preallocated file and synced.
    pub(crate) fdatasync_p50_ms: f64,
    /// The same, of one in a hundred.
    pub(crate) fdatasync_p99_ms: f64,
    /// 200 bytes there and back between two nodes.
    pub(crate) quic_p50_ms: f64,
    /// `GET /healthz` by one client.
    pub(crate) http_p50_ms: f64,
    /// `GET /healthz` by as many clients as send.
    pub(crate) http_per_second: f64,
}

impl Percentiles {
    /// Of these.
    pub(crate) fn of(latencies: &Latencies) -> Self {
        Self {
            p50_ms: latencies.p50_ms(),
            p99_ms: latencies.p99_ms(),
            p999_ms: latencies.p999_ms(),
        }
    }
}

impl Report {
    /// Adds what was measured beside it, and what follows from both.
    pub(crate) fn set_floor(&mut self, floor: Floor) {
        self.ratio = (floor.http_per_second > 0.0).then(|| self.per_second / floor.http_per_second);
        if let Some(alone) = &mut self.alone {
            let sum = floor.fdatasync_p50_ms + floor.quic_p50_ms + floor.http_p50_ms;
            alone.alone_bound_ms = Some(2.0 * sum);
        }
        self.floor = Some(floor);
    }

    /// Lines for people.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<(&str, String)> = vec![
            ("sends", self.sends.to_string()),
            ("errors", self.errors.to_string()),
            ("sends a second", format!("{:.0}", self.per_second)),
            ("send p50", ms(self.sent.p50_ms)),
            ("send p99", ms(self.sent.p99_ms)),
            ("send p99.9", ms(self.sent.p999_ms)),
            ("acknowledged to read p50", ms(self.delivered_p50_ms)),
            ("acknowledged to read p99", ms(self.delivered_p99_ms)),
        ];
        if let Some(alone) = self.alone {
            rows.push(("one client alone p50", ms(alone.alone_p50_ms)));
            if alone.alone_bound_ms.is_some() {
                rows.push(("  2 x (fdatasync + QUIC + HTTP)", ms(alone.alone_bound_ms)));
            }
            rows.push(("  acknowledged to read p50", ms(alone.alone_delivered_p50_ms)));
        }
        if let Some(floor) = self.floor {
            rows.push(("floor: append + fdatasync p50", ms(Some(floor.fdatasync_p50_ms))));
            rows.push(("floor: append + fdatasync p99", ms(Some(floor.fdatasync_p99_ms))));
            rows.push(("floor: QUIC round trip p50", ms(Some(floor.quic_p50_ms))));
            rows.push(("floor: HTTP round trip p50", ms(Some(floor.http_p50_ms))));
            rows.push(("floor: HTTP a second", format!("{:.0}", floor.http_per_second)));
        }
        if let Some(ratio) = self.ratio {
            rows.push(("sends / HTTP a second", format!("{ratio:.3}")));
        }
        let mut text = String::new();
        for (name, value) in &rows {
            _ = writeln!(text, "{name:<32}{value:>12}");
        }
        for (code, count) in &self.errors_by_code {
            _ = writeln!(text, "  error {code:<24}{count:>12}");
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn ms(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3} ms"))
}

#[cfg(test)]
mod tests {
    use super::{Alone, Floor, Report};

    #[test]
    fn a_report_is_one_flat_object() {
        let mut report = Report { sends: 10, per_second: 5.0, ..Report::default() };
        report.alone = Some(Alone {
            alone_p50_ms: Some(0.5),
            alone_delivered_p50_ms: None,
            alone_bound_ms: None,
        });
        report.set_floor(Floor {
            fdatasync_p50_ms: 0.1,
            quic_p50_ms: 0.2,
            http_p50_ms: 0.3,
            http_per_second: 20.0,
            ..Floor::default()
        });
        let json = serde_json::to_value(&report).unwrap();
        for key in [
            "sends",
            "errors",
            "per_second",
            "p50_ms",
            "p99_ms",
            "p999_ms",
            "delivered_p50_ms",
            "delivered_p99_ms",
            "fdatasync_p50_ms",
            "quic_p50_ms",
            "http_p50_ms",
            "http_per_second",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["ratio"], 0.25);
        assert!((json["alone_bound_ms"].as_f64().unwrap() - 1.2).abs() < 1e-9);
        assert!(report.table().lines().all(|line| line.len() >= 44));
    }
}

//! How long after its acknowledgement a message is with a reader who waits.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use runtime::Instant;

use super::latency::Latencies;

/// Messages of which one end is still missing, at most; more are not measured.
const OPEN_MAX: usize = 100_000;

/// Meets the two ends of each message, whichever comes first.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<String, (End, Instant)>,
    took: Latencies,
}

/// Which end of a message's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its sender has the answer.
    Acknowledged,
    /// A reader has it.
    Read,
}

impl Deliveries {
    /// One end was reached now.
    pub(super) fn reached(&self, id: &str, end: End, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.open.remove(id) {
            // Read before its sender heard of it: no time at all.
            Some((End::Read, _)) if end == End::Acknowledged => inner.took.add(Duration::ZERO),
            Some((End::Acknowledged, began)) if end == End::Read => {
                inner.took.add(now.saturating_duration_since(began));
            }
            Some(_) => {}
            None if inner.open.len() < OPEN_MAX => {
                inner.open.insert(id.to_owned(), (end, now));
            }
            None => {}
        }
    }

    /// What was measured.
    pub(super) fn took(&self) -> Latencies {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).took.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::{Deliveries, End};

    #[test]
    fn each_message_is_measured_once_whichever_end_comes_first() {
        let deliveries = Deliveries::default();
        let now = runtime::now();
        let later = now + std::time::Duration::from_millis(10);
        deliveries.reached("a", End::Acknowledged, now);
        deliveries.reached("a", End::Read, later);
        deliveries.reached("b", End::Read, now);
        deliveries.reached("b", End::Acknowledged, later);
        deliveries.reached("c", End::Read, now);
        let took = deliveries.took();
        assert_eq!(took.count(), 2);
        assert!(took.p99_ms().unwrap() > 9.0 && took.p50_ms().unwrap() < 1.0);
    }
}

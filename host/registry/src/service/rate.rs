//! How fast the ensemble is asked.
//!
//! Every call of a program's registry, its own and those that watches cause, goes through one allowance:
//! a burst at once, then a steady rate. Callers over it wait, they are not refused; what bounds their
//! wait is the time each call has.

use std::time::Duration;

use runtime::Instant;

/// The allowance. It remembers one moment: when everything taken so far is paid back.
#[derive(Debug)]
pub(crate) struct Rate {
    /// What one call costs.
    interval: Duration,
    /// How far ahead may be taken.
    burst: Duration,
    paid_at: Instant,
}

impl Rate {
    /// `per_second` calls a second and `burst` at once; nothing of either is 0.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst.max(1), paid_at: now }
    }

    /// Takes one call, or says how long to wait before asking again.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let paid_at = self.paid_at.max(now) + self.interval;
        let ahead = paid_at.saturating_duration_since(now);
        if ahead > self.burst {
            return Err(ahead - self.burst);
        }
        self.paid_at = paid_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use std::time::Duration;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let start = runtime::now();
        let mut rate = Rate::new(10, 3, start);
        for _ in 0..3 {
            assert_eq!(rate.take(start), Ok(()));
        }
        let wait = Duration::from_millis(100);
        assert_eq!(rate.take(start), Err(wait));
        assert_eq!(rate.take(start + wait), Ok(()));
        assert_eq!(rate.take(start + wait), Err(wait));
    }

    #[test]
    fn rest_gives_the_burst_back_and_no_more() {
        let start = runtime::now();
        let mut rate = Rate::new(10, 3, start);
        let later = start + Duration::from_secs(60);
        let taken = (0..10).filter(|_| rate.take(later).is_ok()).count();
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_rate_of_nothing_is_the_slowest_there_is() {
        let start = runtime::now();
        let mut rate = Rate::new(0, 0, start);
        assert_eq!(rate.take(start), Ok(()));
        assert_eq!(rate.take(start), Err(Duration::from_secs(1)));
    }
}

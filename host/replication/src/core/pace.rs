//! How much a node gives to all who are behind, in bytes a second.
//!
//! What is given is counted when it is known how much it was; then nothing more is begun until the time for
//! it has passed. So the rate holds on the average, and over a beat it can be exceeded by a beat's worth.

use std::time::Duration;

use super::Time;

/// A rate, and what was given lately.
#[derive(Debug)]
pub(super) struct Pace {
    /// Bytes a second; `None`: any.
    rate: Option<u64>,
    /// What was given by now is paid for at this time.
    paid: Time,
}

/// So much time may be saved up while nothing is given: everybody is looked at once a beat.
const SAVED: Duration = Duration::from_millis(250);

impl Pace {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), paid: Time::ZERO }
    }

    /// Whether something may be begun.
    pub(super) fn is_open(&self, now: Time) -> bool {
        self.rate.is_none() || self.paid <= now
    }

    /// So many bytes were given.
    pub(super) fn gave(&mut self, bytes: usize, now: Time) {
        let Some(rate) = self.rate else { return };
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let micros = bytes.saturating_mul(1_000_000) / rate;
        self.paid = self.paid.max(now.saturating_sub(SAVED)) + Duration::from_micros(micros);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn what_is_given_takes_its_time_and_little_is_saved_up() {
        let mut pace = Pace::new(Some(1_000_000));
        assert!(pace.is_open(ms(10_000)));
        pace.gave(250_000, ms(10_000));
        assert!(pace.is_open(ms(10_000)), "saved up");
        pace.gave(100_000, ms(10_000));
        assert!(!pace.is_open(ms(10_099)) && pace.is_open(ms(10_100)));
        let (mut given, mut now) = (0, ms(20_000));
        while now < ms(30_000) {
            while pace.is_open(now) {
                pace.gave(64 << 10, now);
                given += 64 << 10;
            }
            now += ms(7);
        }
        assert!((9_900_000..10_500_000).contains(&given), "{given} bytes in ten seconds");
    }

    #[test]
    fn without_a_rate_anything_may_be_begun() {
        let mut pace = Pace::new(None);
        pace.gave(usize::MAX, ms(1));
        assert!(pace.is_open(ms(1)));
    }
}

//! How long to wait before trying again.
//!
//! Exponential with full jitter: the wait is drawn evenly between nothing and a ceiling that doubles,
//! so that many who failed together do not come back together. The dice is thrown by the caller, who
//! alone knows whether this run must be repeatable; nothing here waits.

use std::time::Duration;

/// The waits of one series of attempts. Forget it, or call [`Backoff::reset`], after a success.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Ceilings `first`, 2 × `first`, 4 × `first` … and never above `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        let first = first.min(cap);
        Self { first, cap, ceiling: first }
    }

    /// The next wait. `dice` is a random number; the same numbers give the same waits.
    pub fn next(&mut self, dice: u32) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = ceiling.saturating_mul(2).min(self.cap);
        ceiling.mul_f64(f64::from(dice) / f64::from(u32::MAX))
    }

    /// Begins again at the first ceiling.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::Backoff;
    use std::time::Duration;

    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_millis(350);

    #[test]
    fn the_ceiling_doubles_up_to_the_cap_and_begins_again_after_a_reset() {
        let mut backoff = Backoff::new(FIRST, CAP);
        let highest: Vec<u128> = (0..4).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(highest, [100, 200, 350, 350]);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX), FIRST);
    }

    #[test]
    fn the_wait_is_anywhere_below_the_ceiling() {
        assert_eq!(Backoff::new(FIRST, CAP).next(0), Duration::ZERO);
        let half = Backoff::new(FIRST, CAP).next(u32::MAX / 2);
        assert!(half > FIRST.mul_f64(0.49) && half < FIRST.mul_f64(0.51), "{half:?}");
    }

    #[test]
    fn a_first_wait_above_the_cap_is_cut_to_it() {
        assert_eq!(Backoff::new(CAP * 2, CAP).next(u32::MAX), CAP);
    }
}

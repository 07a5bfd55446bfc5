//! When something that failed is tried again.
//!
//! Exponential with full jitter: the wait is drawn evenly between nothing and a ceiling that doubles, so
//! that many who failed together do not come back together; and never sooner than the service asked for.
//! A success begins it anew.

use std::time::Duration;

use runtime::Backoff;

use crate::answer::RETRY_AFTER_MAX;

/// How long is waited at first and at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The first ceiling.
    pub first: Duration,
    /// No ceiling is above it.
    pub cap: Duration,
    /// What fails for so long is given up, or put aside.
    pub give_up: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            cap: Duration::from_secs(300),
            give_up: Duration::from_secs(72 * 3600),
        }
    }
}

impl Retry {
    /// After so many failures in a row the waits grow no more.
    pub fn steps(&self) -> u32 {
        let mut ceiling = self.first.max(Duration::from_millis(1));
        let mut steps = 1;
        while ceiling < self.cap && steps < STEPS_MAX {
            (ceiling, steps) = (ceiling.saturating_mul(2), steps + 1);
        }
        steps
    }
}

/// Doublings that are counted: a millisecond is longer than any cap by then.
const STEPS_MAX: u32 = 64;

/// The waits of one series of failures.
#[derive(Clone, Debug)]
pub struct Schedule {
    backoff: Backoff,
    step: u32,
}

impl Schedule {
    /// Before the first failure.
    pub fn new(retry: Retry) -> Self {
        Self { backoff: Backoff::new(retry.first, retry.cap), step: 0 }
    }

    /// After so many failures in a row that were counted elsewhere.
    pub fn at(retry: Retry, step: u32) -> Self {
        let mut schedule = Self::new(retry);
        for _failure in 0..step.min(STEPS_MAX) {
            schedule.backoff.next(0);
        }
        Self { step, ..schedule }
    }

    /// The wait after one more failure. The same `dice` gives the same wait; the highest gives the ceiling
    /// itself.
    pub fn next(&mut self, dice: u32, retry_after: Option<Duration>) -> Duration {
        self.step = self.step.saturating_add(1);
        let asked = retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.backoff.next(dice).max(asked)
    }

    /// How many failures there were in a row.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// It succeeded: begins anew.
    pub fn reset(&mut self) {
        self.backoff.reset();
        self.step = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(retry: Retry, count: usize) -> Vec<u64> {
        let mut schedule = Schedule::new(retry);
        (0..count).map(|_| schedule.next(u32::MAX, None).as_secs()).collect()
    }

    /// The waits of the scheduler that this one comes from: 2, 4, 8 … and never above 512 s.
    #[test]
    fn without_jitter_the_waits_are_the_vector_that_is_known() {
        let (first, cap) = (Duration::from_secs(2), Duration::from_secs(512));
        let retry = Retry { first, cap, ..Retry::default() };
        assert_eq!(seconds(retry, 11), [2, 4, 8, 16, 32, 64, 128, 256, 512, 512, 512]);
    }

    #[test]
    fn a_success_begins_anew() {
        let mut schedule = Schedule::new(Retry::default());
        let first = schedule.next(u32::MAX, None);
        schedule.next(u32::MAX, None);
        assert_eq!(schedule.step(), 2);
        schedule.reset();
        assert_eq!((schedule.next(u32::MAX, None), schedule.step()), (first, 1));
    }

    #[test]
    fn what_was_counted_elsewhere_goes_on_from_there() {
        let retry = Retry::default();
        let mut counted = Schedule::at(retry, 3);
        assert_eq!((counted.step(), counted.next(u32::MAX, None)), (3, retry.first * 8));
        let longest = Schedule::at(retry, u32::MAX).next(u32::MAX, None);
        assert_eq!((longest, retry.steps()), (retry.cap, 10), "1, 2, 4 … 256, 300 s");
        let hours = Duration::from_secs(7200);
        assert_eq!(Retry { first: hours, cap: hours, ..retry }.steps(), 1);
    }

    #[test]
    fn what_the_service_asks_for_is_the_least_and_has_a_bound() {
        let mut schedule = Schedule::new(Retry::default());
        let minute = Duration::from_secs(60);
        assert_eq!(schedule.next(0, Some(minute)), minute);
        assert_eq!(schedule.next(0, Some(RETRY_AFTER_MAX * 30)), RETRY_AFTER_MAX);
        assert_eq!(schedule.next(0, None), Duration::ZERO);
    }
}

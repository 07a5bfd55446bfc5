//! How fast work goes that nobody waits for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Tells the keeping thread to end, and is what it waits on.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    ending: Mutex<bool>,
    rung: Condvar,
}

impl Bell {
    /// Ends whoever waits, and all who will.
    pub(crate) fn ring(&self) {
        *self.ending.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.rung.notify_all();
    }

    /// Waits; whether it rang.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let ending = self.ending.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.rung.wait_timeout_while(ending, patience, |ending| !*ending);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// So many bytes a second, or as fast as it goes.
#[derive(Debug)]
pub(crate) struct Pace<'a>(Option<(&'a Bell, u64)>);

impl<'a> Pace<'a> {
    /// As fast as it goes.
    pub(crate) fn free() -> Self {
        Self(None)
    }

    /// At most so many bytes a second, until the bell rings.
    pub(crate) fn limited(bell: &'a Bell, bytes_per_second: u64) -> Self {
        Self(Some((bell, bytes_per_second.max(1))))
    }

    /// Waits as long as so many bytes should take. `false` if the work should end.
    pub(crate) fn spend(&self, bytes: u64) -> bool {
        let Some((bell, rate)) = self.0 else { return true };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        !bell.wait(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.0.is_some_and(|(bell, _)| bell.wait(Duration::ZERO))
    }
}

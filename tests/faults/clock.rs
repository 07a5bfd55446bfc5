//! The one clock of a history: microseconds since it began, never stepping.

use runtime::Instant;

/// When a history began. Copies are the same clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        Self(runtime::now())
    }

    /// Microseconds since it began.
    pub(crate) fn us(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The instant of a moment.
    pub(crate) fn at(self, us: u64) -> Instant {
        self.0 + std::time::Duration::from_micros(us)
    }
}

//! What time it is, for tokens.
//!
//! Nowhere else does the wall clock decide anything. Here it must, because a token says when it ends, so
//! a clock that is set back must not bring back what had ended: time is the later of the wall clock and
//! of what it was at the start plus what has passed since. A clock that is set forward ends tokens early,
//! which is the safe side, until it is set right.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use runtime::Instant;

/// How far the wall clock may be behind before it is worth a line.
const BEHIND: Duration = Duration::from_secs(30);
/// How often that line is written.
const AGAIN: Duration = Duration::from_secs(60);

/// The time, which never goes back.
#[derive(Debug)]
pub(super) struct Time {
    began: Instant,
    began_ms: u64,
    /// When the last line was written, in milliseconds since `began`; 0: never.
    told_ms: AtomicU64,
}

impl Time {
    /// From now on.
    pub(super) fn begin() -> Self {
        Self { began: runtime::now(), began_ms: runtime::wall_ms(), told_ms: AtomicU64::new(0) }
    }

    /// Unix seconds.
    pub(super) fn now_s(&self) -> u64 {
        let passed_ms = millis(runtime::now().saturating_duration_since(self.began));
        let wall_ms = runtime::wall_ms();
        let now_ms = later(self.began_ms.saturating_add(passed_ms), wall_ms);
        if now_ms - wall_ms > millis(BEHIND) {
            self.tell(passed_ms, now_ms - wall_ms);
        }
        now_ms / 1000
    }

    fn tell(&self, passed_ms: u64, behind_ms: u64) {
        let told = self.told_ms.load(Ordering::Relaxed);
        if told == 0 || passed_ms.saturating_sub(told) > millis(AGAIN) {
            self.told_ms.store(passed_ms.max(1), Ordering::Relaxed);
            tracing::warn!(
                behind_ms,
                "the wall clock was set back: tokens are judged by the time before that until the node starts again"
            );
        }
    }
}

/// The later of what must have become of the time, and what the wall clock says.
const fn later(expected_ms: u64, wall_ms: u64) -> u64 {
    if expected_ms > wall_ms { expected_ms } else { wall_ms }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Time, later};

    #[test]
    fn a_clock_that_is_set_back_brings_nothing_back() {
        assert_eq!(later(5000, 1000), 5000);
        assert_eq!(later(5000, 9000), 9000);
        let time = Time { began_ms: runtime::wall_ms() + 3_600_000, ..Time::begin() };
        assert!(time.now_s() >= runtime::wall_ms() / 1000 + 3599);
    }
}

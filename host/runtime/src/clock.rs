//! The clocks: monotonic for every decision, wall for display only.

#![expect(clippy::disallowed_methods, reason = "this is the one home of the clocks")]

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use std::time::Instant;
pub use tokio::time::error::Elapsed;

/// The monotonic clock.
pub fn now() -> Instant {
    Instant::now()
}

/// Unix milliseconds, UTC. For display and logs: no decision may depend on it.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Waits. Cancel-safe: dropping it forgets the wait.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Waits until `deadline`. Cancel-safe.
pub async fn sleep_until(deadline: Instant) {
    tokio::time::sleep_until(deadline.into()).await;
}

/// Gives `future` at most `duration`. On [`Elapsed`] the future was dropped where it stood.
///
/// # Errors
/// [`Elapsed`] when time ran out.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    tokio::time::timeout(duration, future).await
}

//! The clocks: monotonic for every decision, wall for display only.

#![expect(clippy::disallowed_methods, reason = "this is the one home of the clocks")]

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use std::time::Instant;

use crate::simulated;

/// Time ran out. The future was dropped where it stood; what it had done by then stays done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("time ran out")]
pub struct Elapsed(());

impl Elapsed {
    pub(crate) const fn new() -> Self {
        Self(())
    }
}

/// The monotonic clock, or the one of the simulation that this thread is in.
pub fn now() -> Instant {
    simulated::current().map_or_else(Instant::now, |clock| clock.now())
}

/// Unix milliseconds, UTC, or what the simulation says that this thread is in. For display and logs: no decision
/// may depend on it.
pub fn wall_ms() -> u64 {
    if let Some(wall_ms) = simulated::current().and_then(|clock| clock.wall_ms()) {
        return wall_ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Waits. Cancel-safe: dropping it forgets the wait.
pub async fn sleep(duration: Duration) {
    match simulated::current() {
        Some(clock) => {
            let deadline = clock.now() + duration;
            clock.sleep_until(deadline).await;
        }
        None => tokio::time::sleep(duration).await,
    }
}

/// Waits until `deadline`. Cancel-safe.
pub async fn sleep_until(deadline: Instant) {
    match simulated::current() {
        Some(clock) => clock.sleep_until(deadline).await,
        None => tokio::time::sleep_until(deadline.into()).await,
    }
}

/// Gives `future` at most `duration`. On [`Elapsed`] the future was dropped where it stood.
///
/// # Errors
/// [`Elapsed`] when time ran out.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let future = std::pin::pin!(future);
    match simulated::current() {
        Some(clock) => clock.timeout(duration, future).await,
        None => tokio::time::timeout(duration, future).await.map_err(|_tokios| Elapsed::new()),
    }
}

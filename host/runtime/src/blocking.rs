//! Work that blocks, away from the tasks.

use crate::simulated;

/// Runs `work` on a thread where blocking hurts nobody. `None` when the runtime is shutting down, or
/// when `work` panicked, which is then in the log. Dropping the future does not stop the work. In a
/// simulation there is one thread, on which it is done at once.
pub async fn blocking<T, F>(work: F) -> Option<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if simulated::current().is_some() {
        return Some(work());
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            if error.is_panic() {
                tracing::error!(%error, "work on a blocking thread panicked");
            }
            None
        }
    }
}

//! Waiting for a condition, with a deadline.

use std::fmt::Debug;
use std::time::Duration;

use runtime::Instant;

/// Longer than anything here takes on a loaded machine; it only ends tests that would never end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until when a test is patient.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Default for Deadline {
    fn default() -> Self {
        Self(runtime::now() + PATIENCE)
    }
}

impl Deadline {
    /// Until so much later.
    pub fn after(patience: Duration) -> Self {
        Self(runtime::now() + patience)
    }

    /// Fails the test when time is up, saying what it waited for and what it saw last.
    pub fn check(self, what: &str, seen: &impl Debug) {
        assert!(runtime::now() < self.0, "waited in vain for {what}; last seen: {seen:?}");
    }
}

/// Asks until `ask` gives an `Ok`, and fails the test with the last `Err` when it never does.
pub async fn eventually<T, E: Debug>(what: &str, ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    until(Deadline::default(), what, ask).await
}

/// The same, for what takes longer by its own rules.
pub async fn until<T, E: Debug>(
    deadline: Deadline,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => deadline.check(what, &error),
        }
        runtime::sleep(Duration::from_millis(10)).await;
    }
}

//! When a request with many bytes is made again, where, and when no more.
//!
//! Unlike [`crate::call`] it may take any time as long as it goes on: what is bounded is how long it fails.

use std::sync::atomic::Ordering;
use std::time::Duration;

use runtime::{Backoff, Instant};

use crate::call::{Missed, RETRY_CAP, RETRY_FIRST};
use crate::{Client, Error, Target};

/// The tries of one request.
#[derive(Debug)]
pub(crate) struct Tries {
    client: Client,
    tried: Vec<Target>,
    backoff: Backoff,
    /// Since when it fails, without a byte in between.
    failing: Option<Instant>,
    nobody: bool,
}

impl Tries {
    pub(crate) fn new(client: &Client) -> Self {
        let nobody = !client.shared.answered.load(Ordering::Relaxed);
        let backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        Self { client: client.clone(), tried: Vec::new(), backoff, failing: None, nobody }
    }

    /// Where it is made next.
    pub(crate) fn target(&self) -> Result<Target, Missed> {
        self.client.choose(&self.tried).map_err(|error| Missed { target: None, error })
    }

    /// It goes on: whatever failed before is forgotten.
    pub(crate) fn went_on(&mut self) {
        if self.failing.take().is_some() {
            self.tried.clear();
            self.backoff = Backoff::new(RETRY_FIRST, RETRY_CAP);
        }
        self.nobody = false;
        self.client.shared.answered.store(true, Ordering::Relaxed);
        self.client.shared.note_trouble(None);
    }

    /// A try failed: waits until the next one, if there is one.
    ///
    /// # Errors
    /// The same, when it is no use.
    pub(crate) async fn again(&mut self, missed: Missed) -> Result<(), Error> {
        let Missed { target, error } = missed;
        let (shared, now) = (&self.client.shared, runtime::now());
        if let Some(target) = target {
            if error.is_silence() {
                shared.nodes.shun(&target, now);
            }
            // A node that was asked twice has been everywhere in between.
            if self.tried.contains(&target) {
                self.tried.clear();
            }
            self.tried.push(target);
        }
        let since = *self.failing.get_or_insert(now);
        self.nobody &= error.finds_nobody();
        let options = &shared.options;
        let patience = options.nobody.filter(|_| self.nobody).unwrap_or(options.give_up);
        let asked_for = error.problem().and_then(|problem| problem.retry_after_ms);
        let asked_for = Duration::from_millis(asked_for.unwrap_or_default().into());
        let pause = self.backoff.next(rand::random()).max(asked_for);
        if !error.is_retryable() || now + pause >= since + patience.min(options.give_up) {
            return Err(error);
        }
        tracing::debug!(%error, "trying again");
        shared.note_trouble(Some(error.to_string()));
        runtime::sleep(pause).await;
        Ok(())
    }
}

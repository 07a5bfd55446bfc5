//! Before a node gives away what it leads, or stops: it begins no attempt any more, hears out those under way, and has the
//! log say what was taken, so that whoever leads next sends nothing twice.
//!
//! That has an end either way. Who asks for it waits for as long as it likes; and what could not be given away by
//! [`DRAIN_MAX`] goes on here: nobody else would send it.

use std::time::Duration;

use runtime::Instant;
use tokio::sync::watch;

use crate::running::Task;
use crate::services::Services;

/// So long a service is sent nothing because of a drain: longer than giving everything away takes where somebody is there
/// to take it, and no longer than an attempt may.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What is wanted of a service's task, and how far it is.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    until: watch::Sender<Option<Instant>>,
    quiet: watch::Sender<bool>,
}

impl Drain {
    fn begin(&self, until: Instant) {
        self.quiet.send_replace(false);
        self.until.send_replace(Some(until));
    }

    fn end(&self) {
        self.until.send_replace(None);
    }

    /// Waits until nothing is under way. Dropping it stops the waiting only.
    async fn is_quiet(&self) {
        // Cannot be an error: the sender is here.
        drop(self.quiet.subscribe().wait_for(|quiet| *quiet).await);
    }

    /// Follows what is wanted.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<Instant>> {
        self.until.subscribe()
    }
}

impl Services {
    /// Begins no attempt any more, for half a minute at most, and returns when none is under way and the log knows what was
    /// taken. Dropping it stops the waiting only: what is under way then is sent again by whoever leads next.
    pub async fn drain(&self) {
        let until = runtime::now() + DRAIN_MAX;
        let all = || self.running().values().map(|running| &running.drain);
        all().for_each(|drain| drain.begin(until));
        futures_util::future::join_all(all().map(Drain::is_quiet)).await;
    }

    /// Goes on after [`Services::drain`]: what is led here is sent from here.
    pub fn go_on(&self) {
        self.running().values().for_each(|running| running.drain.end());
    }
}

impl Task {
    /// Begins nothing while it is drained.
    pub(crate) fn drains(&mut self, now: Instant) {
        let until = *self.running.drain.until.borrow();
        self.engine.set_draining(until.is_some_and(|until| now < until));
    }

    /// Says whether nothing is under way any more, if somebody waits for that.
    pub(crate) fn tell_quiet(&self) {
        let quiet =
            self.engine.is_draining() && self.engine.is_quiet() && !self.calls.are_under_way();
        let was = |told: &mut bool| std::mem::replace(told, quiet) != quiet;
        self.running.drain.quiet.send_if_modified(was);
    }
}

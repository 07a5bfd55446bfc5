//! A service's task does what the cluster has agreed on, and has the cluster told what it found out.
//!
//! Before the record of its service is known nothing is sent: it may be stopped. A stop that was found out here
//! counts here at once, and is written until it stands in the registry: a record that does not say so yet does not
//! undo it.

use std::sync::Arc;

use runtime::Instant;
use transaction::{Cause, State, Told};

use crate::agreed::{Agreed, Stopped};
use crate::agreeing::{Agreements, Known};
use crate::question::Wish;
use crate::running::Task;
use crate::working::{Happened, Work};

impl Task {
    /// Whether it is known what the cluster has agreed on, and what was before this node began.
    pub(crate) fn knows(&self) -> bool {
        self.known.is_some() && self.memory.is_clear()
    }

    /// Does what was agreed on last.
    pub(crate) fn obey(&mut self, now: Instant) {
        let Some(latest) = self.agreed.borrow_and_update().clone() else { return };
        if self.known.as_ref() == Some(&latest) {
            return;
        }
        let terms = Arc::new(latest.agreed.terms.clone());
        self.engine.set_linger(terms.batch().linger);
        self.running.work.set_terms(terms);
        let stopped = latest.agreed.stopped.as_ref().map(|stopped| stopped.cause);
        if stopped.is_some() {
            self.unwritten = None;
        }
        if self.unwritten.is_none() {
            self.engine.service_mut().obey(stopped, now);
        }
        self.known = Some(latest);
        self.recall(now);
        self.tell();
    }

    /// Does what somebody wants. `looked`: what is agreed on was read after it was said.
    pub(crate) fn fulfil(&mut self, wish: Wish, looked: bool) {
        let now = runtime::now();
        self.obey(now);
        let stopped = self.stopped().is_some();
        if matches!(wish, Wish::Wake | Wish::Resume) {
            self.memory.wakes();
        }
        let service = self.engine.service_mut();
        match wish {
            Wish::Wake if looked && stopped => {}
            Wish::Wake => {
                self.unwritten.take_if(|cause| matches!(cause, Cause::Gone | Cause::GaveUp));
                service.wake(now);
            }
            Wish::Pause if !looked => service.pause(now),
            Wish::Resume if !looked => {
                self.unwritten = None;
                self.engine.service_mut().resume(now);
            }
            // The record says so, or already something else.
            Wish::Pause | Wish::Resume => {}
            Wish::IsUp => {
                self.engine.hear(true, now);
                if self.engine.service().state() == State::Up {
                    // Nothing is told of it here; and what this node may just be writing is not true any more.
                    self.memory.ends();
                }
            }
            Wish::IsDown => self.engine.hear(false, now),
        }
        self.tell();
    }

    /// What the cluster's record says.
    pub(crate) fn stopped(&self) -> Option<&Stopped> {
        self.known.as_ref().and_then(|known: &Known| known.agreed.stopped.as_ref())
    }

    /// Says what the service has become, if it is another thing: to people, to the other nodes, and to the registry.
    pub(crate) fn tell(&mut self) {
        let work = Arc::clone(&self.running.work);
        let service = &work.config.name;
        match self.engine.told() {
            None => {}
            Some(Told::Down) => {
                tracing::warn!(
                    service,
                    "the service is down: its events wait, and it is tried again"
                );
                self.doing.push(Box::pin(Arc::clone(&work).spread(Wish::IsDown)));
            }
            Some(Told::Recovered) => {
                tracing::info!(service, "the service is up again");
                self.memory.ends();
                self.doing.push(Box::pin(Arc::clone(&work).spread(Wish::IsUp)));
            }
            Some(Told::Stopped(cause)) => {
                work.meters.stopped(service, cause);
                self.memory.ends();
                if self.stopped().is_none_or(|stopped| stopped.cause != cause) {
                    // A pause is only written by whoever wants it.
                    self.unwritten = Some(cause).filter(|cause| *cause != Cause::Paused);
                }
                let why = cause.word();
                if cause == Cause::Paused {
                    tracing::warn!(service, "nothing is sent to this service until it is resumed");
                } else {
                    tracing::error!(
                        service,
                        why,
                        "ALARM: nothing is sent to this service any more, see carillon service show"
                    );
                }
            }
        }
    }

    /// Has what was found out here written, if it is not yet.
    pub(crate) fn note_stop(&mut self) {
        let Some(cause) = self.unwritten.filter(|_| !self.noting) else { return };
        self.noting = true;
        self.doing.push(Box::pin(Arc::clone(&self.running.work).note_stop(cause)));
    }

    /// It was tried to have it written.
    pub(crate) fn noted(&mut self, written: bool) {
        self.noting = false;
        if written {
            self.unwritten = None;
            self.obey(runtime::now());
        }
    }
}

impl Work {
    /// Has the cluster's record say that nothing is sent. One that says so already stays as it is.
    async fn note_stop(self: Arc<Self>, cause: Cause) -> Happened {
        let node = self.desk.node();
        let at_ms = runtime::wall_ms();
        let stop = |agreed: &Agreed| {
            let stopped = Some(Stopped { cause, at_ms, node: node.clone() });
            agreed.stopped.is_none().then(|| agreed.with_stopped(stopped))
        };
        let agreements: &Agreements = &self.agreements;
        let written = agreements.change(&self.config.name, stop).await;
        if let Err(error) = &written {
            let service = &self.config.name;
            tracing::debug!(service, %error, "that the service is stopped is not written yet");
        }
        Happened::Noted { written: written.is_ok() }
    }
}

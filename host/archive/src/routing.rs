//! Who is asked: the node that leads a partition, wherever it is.
//!
//! Every question can be asked again without harm: it names its upload, or brings a key of its own, or
//! changes nothing the second time. So it is asked until there is an answer or the time is up.

use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::Role;
use replication::{ForwardError, RequestHead};
use runtime::Instant;

use crate::leading::{Interrupt, left};
use crate::question::{Answer, Ask, Question, Reply};
use crate::shared::Shared;
use crate::spoken::{decode, encode};
use crate::{Code, Outcome, Refusal};

/// So long a leader that could not be asked is given before somebody is asked again.
const PAUSE: Duration = Duration::from_millis(100);
/// The node that is asked has so much less time, so that its answer arrives before the asker is gone.
const MARGIN: Duration = Duration::from_millis(50);
/// One node is waited for at most so long: it may be dead, and somebody else lead.
const ONE_MAX: Duration = Duration::from_secs(6);

impl Shared {
    /// Asks the node that leads a partition.
    pub(crate) async fn ask(
        &self,
        partition: PartitionId,
        ask: Ask,
        until: Instant,
    ) -> Result<Reply, Refusal> {
        // It may have been done by somebody who did not say so.
        let mut appended = false;
        let mut hint: Option<NodeId> = None;
        loop {
            if runtime::now() >= until {
                return Err(if appended && !matches!(ask, Ask::Find { .. }) {
                    Refusal::unknown("the node that was asked did not say what became of it")
                } else {
                    Refusal::not_committed(Code::NoQuorum, "nobody leads the partition in time")
                });
            }
            let view = self.replication.view(partition);
            let here = view.role == Role::Primary;
            let there = hint
                .take()
                .or_else(|| view.primary.clone().filter(|node| view.open && *node != self.node));
            if here {
                if let Some(reign) = self.reign(partition, view.epoch)
                    && view.leading
                {
                    match self.lead(&reign, &ask, until).await {
                        Ok(reply) => return Ok(reply),
                        Err(Interrupt::Refused(refusal)) => {
                            return Err(refused(refusal, appended));
                        }
                        Err(Interrupt::Moved { appended: maybe }) => appended |= maybe,
                    }
                }
            } else if let Some(node) = there {
                match self.ask_there(&node, partition, &ask, until).await {
                    Ok(Answer::Done(Err(refusal))) if refusal.outcome == Some(Outcome::Unknown) => {
                        appended = true;
                    }
                    Ok(Answer::Done(done)) => {
                        return done.map_err(|refusal| refused(refusal, appended));
                    }
                    Ok(Answer::Elsewhere(other)) => {
                        hint = other.filter(|other| *other != node && *other != self.node);
                        if hint.is_some() {
                            continue;
                        }
                    }
                    Err(ForwardError::NotRun { .. }) => {}
                    Err(ForwardError::Lost { .. } | ForwardError::Late { .. }) => appended = true,
                }
            }
            let reigns = self.reigns_changed.notified();
            tokio::select! { biased;
                () = reigns => {}
                () = self.replication.view_changed(partition, &view) => {}
                () = runtime::sleep(PAUSE.min(left(until))) => {}
            }
        }
    }

    async fn ask_there(
        &self,
        node: &NodeId,
        partition: PartitionId,
        ask: &Ask,
        until: Instant,
    ) -> Result<Answer, ForwardError> {
        let question = Question::Ask(partition, ask.clone());
        tokio::select! { biased;
            answer = self.question(node, &question, left(until).min(ONE_MAX)) => answer,
            () = self.overtaken(node, partition) => Err(ForwardError::Late { to: node.clone() }),
        }
    }

    /// Waits until somebody else leads, and for a moment: what the node did before that it may still say. A
    /// node that died says nothing, and its connection can take seconds to be given up.
    async fn overtaken(&self, node: &NodeId, partition: PartitionId) {
        let mut view = self.replication.view(partition);
        let known = view.epoch;
        loop {
            let other = view.primary.as_ref().is_some_and(|primary| primary != node);
            if view.open && other && view.epoch > known {
                break;
            }
            self.replication.view_changed(partition, &view).await;
            view = self.replication.view(partition);
        }
        runtime::sleep(PAUSE).await;
    }

    /// Asks a node something.
    pub(crate) async fn question(
        &self,
        node: &NodeId,
        question: &Question,
        wait: Duration,
    ) -> Result<Answer, ForwardError> {
        let wait_ms = u32::try_from(wait.saturating_sub(MARGIN).as_millis()).unwrap_or(u32::MAX);
        let head = RequestHead { hop: 1, wait_ms };
        let asked = self.replication.forward(node, head, encode(question));
        let answer = runtime::timeout(wait, asked).await;
        let answer = answer.unwrap_or_else(|_late| Err(ForwardError::Late { to: node.clone() }))?;
        // A node of another version did nothing, and asking it again is in vain.
        Ok(decode(&answer).unwrap_or_else(|strange| {
            self.strange(node, strange);
            Answer::Done(Err(strange.refusal(node)))
        }))
    }
}

/// A refusal of who was asked last. That nothing was done is no longer known if somebody was asked before who may have
/// done it, and did not say so.
fn refused(refusal: Refusal, maybe_before: bool) -> Refusal {
    match refusal.outcome {
        Some(Outcome::NotCommitted) if maybe_before => {
            Refusal { outcome: Some(Outcome::Unknown), ..refusal }
        }
        _ => refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The primary appended and was lost; the next one had too few members yet, and its refusal was told as if nothing
    /// could have been done. The entry was committed.
    #[test]
    fn that_nothing_was_done_is_not_said_when_somebody_before_may_have_done_it() {
        let refusal = || Refusal::not_committed(Code::NoQuorum, "too few");
        assert_eq!(refused(refusal(), false), refusal());
        let after = refused(refusal(), true);
        assert_eq!((after.code, after.outcome), (Code::NoQuorum, Some(Outcome::Unknown)));
        let certain = Refusal::new(Code::AlreadyFinal, "it is there");
        assert_eq!(refused(certain.clone(), true), certain);
    }
}

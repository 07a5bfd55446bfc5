//! Who answers a request: this node, the one that leads its chat, or nobody at the moment.
//!
//! A request that is interrupted starts again with whoever leads by then. Nothing here is tried without
//! end: somebody must lead within the configured patience, and a request is sent on only so often. What may
//! have been stored already is only tried again if it has a key.

use std::sync::Arc;
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use replication::core::{PartitionView, Role, Why};
use runtime::Instant;

use crate::chats::{Asked, Shared, is_read};
use crate::forward::{Answer, Destination, Unanswered};
use crate::lock::locked;
use crate::members::Joiner;
use crate::ran::{Interrupt, Ran, because, behind, not_committed, unknown};
use crate::reign::{Phase, Reign};
use crate::{Code, Page, Read, Refusal, Request, RequestOutcome, Response};

/// How often one request is begun, on this node or on another. Patience ends most of them before.
const TRIES_MAX: usize = 16;

/// So long a leader that could not be asked is given before it is asked again, if nobody else leads by then;
/// and one that was asked, to say what it did, once somebody else leads.
const PAUSE: Duration = Duration::from_millis(250);

/// Who leads a partition.
#[derive(Debug)]
pub(crate) enum Leader {
    /// This node, in this epoch.
    Here(Arc<Reign>),
    /// That one, as far as this one knows.
    There(NodeId),
    /// Nobody, or nobody who can be asked yet.
    Nobody,
    /// This node, and it cannot read its log.
    Broken,
}

/// What a request has gone through.
#[derive(Debug, Default)]
struct Journey {
    tries: usize,
    /// Until when somebody must have run it.
    until: Option<Instant>,
    /// It may have had its effect.
    appended: bool,
    /// It has waited for messages, on a reign that ended.
    parked: bool,
    /// Who led it last had not what the asker has seen.
    behind: bool,
    /// Whom to ask, because somebody said so.
    hint: Option<NodeId>,
}

impl Shared {
    /// Answers a request about a chat that exists, or ought to.
    pub(crate) async fn route(
        &self,
        partition: PartitionId,
        request: &Request,
        asked: &Asked<'_>,
    ) -> Answer {
        let writes = !is_read(request);
        let mut journey = Journey::default();
        loop {
            let patience = runtime::now() + self.config.patience;
            let until = *journey.until.get_or_insert_with(|| patience.min(asked.deadline));
            journey.tries += 1;
            if journey.tries > TRIES_MAX || runtime::now() >= until {
                return Answer::Done(journey.gives_up(request, asked));
            }
            let known = self.ledger.view(partition).epoch;
            let leader = match journey.hint.take() {
                Some(node) => Leader::There(node),
                None => self.settle(partition, writes, until).await,
            };
            match leader {
                Leader::Here(reign) => match self.run(&reign, request, asked).await {
                    Ok(response) => return Answer::Done(Ok(response)),
                    Err(Interrupt::Refused(refusal)) => {
                        return Answer::Done(Err(journey.refused(*refusal)));
                    }
                    Err(Interrupt::Ended { appended }) => {
                        self.meters.restarted.increment(1);
                        if appended && !request.is_keyed() {
                            return Answer::Done(Err(unknown()));
                        }
                        journey.appended |= appended;
                        journey.parked = true;
                        journey.until = None;
                    }
                    Err(Interrupt::Behind) => {
                        journey.behind = true;
                        Box::pin(self.another_leader(partition, until)).await;
                    }
                },
                // Not what says that nothing was done, if an earlier try here was appended.
                Leader::There(_) if asked.context.hop > 0 && journey.appended => {
                    return Answer::Done(Err(unknown()));
                }
                Leader::There(node) if asked.context.hop > 0 => {
                    return Answer::Elsewhere(Some(node));
                }
                Leader::There(node) => {
                    journey.behind = false;
                    let to = Destination { node: &node, partition, known };
                    let sent_on = self.send_on(to, request, asked, &mut journey);
                    let sent_on = Box::pin(self.unless_stopping(request, asked, sent_on));
                    if let Some(result) = sent_on.await {
                        return Answer::Done(result);
                    }
                    if journey.hint.is_none() {
                        Box::pin(self.another_leader(partition, until)).await;
                    }
                }
                Leader::Nobody => {
                    journey.behind = false;
                    return Answer::Done(journey.gives_up(request, asked));
                }
                Leader::Broken => {
                    let detail = "the node that leads this chat cannot read its log";
                    return Answer::Done(Err(
                        journey.refused(not_committed(Code::NotReady, detail))
                    ));
                }
            }
        }
    }

    /// A reader who waits at another node is sent away when this one stops.
    async fn unless_stopping(
        &self,
        request: &Request,
        asked: &Asked<'_>,
        sent_on: impl Future<Output = Option<Result<Response, Refusal>>>,
    ) -> Option<Result<Response, Refusal>> {
        let Request::Read(read) = request else { return sent_on.await };
        if asked.waits_until == asked.began {
            return sent_on.await;
        }
        tokio::select! {
            biased;
            answer = sent_on => answer,
            () = self.stopping.stopped() => {
                let page = sent_away(read, asked).map(Response::Page);
                let stopping = || Refusal::new(Code::NotReady, "this node is stopping");
                Some(page.ok_or_else(stopping))
            }
        }
    }

    /// Asks another node. `None`: it should be asked again, or somebody else.
    async fn send_on(
        &self,
        to: Destination<'_>,
        request: &Request,
        asked: &Asked<'_>,
        journey: &mut Journey,
    ) -> Option<Result<Response, Refusal>> {
        match self.forward(to, request, asked).await {
            Ok(Answer::Done(Err(refusal))) => Some(Err(journey.refused(refusal))),
            Ok(Answer::Done(done)) => Some(done),
            Ok(Answer::Elsewhere(other)) => {
                journey.hint = other.filter(|other| other != to.node && *other != self.node);
                journey.parked = true;
                None
            }
            Err(Unanswered::NotRun) => None,
            Err(Unanswered::Lost) => {
                // It was run there for as long as it took; who leads by now has the whole patience.
                journey.until = None;
                journey.parked = true;
                let safe = match request {
                    Request::Send(_)
                    | Request::OutcallDone(_)
                    | Request::Twilio(_)
                    | Request::Redact(_) => {
                        // Once more with its key, and not more often than that.
                        let first = !journey.appended;
                        journey.appended = true;
                        first
                    }
                    Request::Read(_)
                    | Request::Show { .. }
                    | Request::Owners { .. }
                    | Request::Typing { .. }
                    | Request::Mark { .. } => true,
                    Request::Create { .. }
                    | Request::Join { .. }
                    | Request::Leave { .. }
                    | Request::End { .. } => false,
                };
                if safe { None } else { Some(Err(unknown())) }
            }
        }
    }

    /// Runs a request on a reign. Sends are by far the most frequent ones: everything else is put away while
    /// it runs, so that a send does not carry the room for it along.
    async fn run(&self, reign: &Reign, request: &Request, asked: &Asked<'_>) -> Ran {
        let ignored = self.config.sabotage.ignore_seen;
        if !ignored && asked.context.seen.is_some_and(|seen| seen.epoch > reign.epoch) {
            return Err(Interrupt::Behind);
        }
        match request {
            Request::Send(send) => {
                let ran = self.send(reign, send, asked).await;
                self.count(&ran, asked);
                ran
            }
            Request::Read(read) => Box::pin(self.read(reign, read, asked)).await,
            Request::Show { token, confirmed } => {
                Box::pin(self.show(reign, *token, *confirmed, asked)).await
            }
            Request::Join { token, id, role, attrs } => {
                let joiner = Joiner { id, role: role.as_deref(), attrs };
                Box::pin(self.join(reign, *token, joiner, asked)).await
            }
            Request::Leave { token, id } => Box::pin(self.leave(reign, *token, id, asked)).await,
            Request::End { token, sender } => {
                Box::pin(self.end(reign, *token, sender.as_deref(), asked)).await
            }
            Request::OutcallDone(done) => Box::pin(self.outcall_done(reign, done, asked)).await,
            Request::Twilio(telephone) => Box::pin(self.twilio(reign, telephone, asked)).await,
            Request::Typing { token, sender, typing } => {
                Box::pin(self.types(reign, (*token, sender, *typing), asked)).await
            }
            Request::Mark { token, sender, upto } => {
                Box::pin(self.mark(reign, (*token, sender, *upto), asked)).await
            }
            Request::Redact(redact) => Box::pin(self.redact(reign, redact, asked)).await,
            // Neither is about a chat that is led somewhere.
            Request::Create { .. } | Request::Owners { .. } => {
                Err(Refusal::new(Code::Internal, "a request went the wrong way").into())
            }
        }
    }

    /// Who leads `partition` now.
    pub(crate) fn leader(
        &self,
        partition: PartitionId,
        writes: bool,
    ) -> (Leader, Arc<PartitionView>) {
        let view = self.ledger.view(partition);
        let leader = match &view.primary {
            _ if view.role == Role::Primary => {
                let reign = self.reigns.get(usize::from(partition.0));
                let reign = reign.and_then(|reign| locked(reign).as_ref().map(Arc::clone));
                let reign = reign.filter(|reign| reign.epoch == view.epoch);
                let able = view.leading
                    && !(writes
                        && matches!(view.closed_for, Some(Why::HandingOver | Why::Deposed)));
                match reign {
                    Some(reign) if reign.phase() == Phase::Broken => Leader::Broken,
                    Some(reign) if able && reign.serves() => Leader::Here(reign),
                    _ => Leader::Nobody,
                }
            }
            Some(node) if view.open && *node != self.node => Leader::There(node.clone()),
            Some(_) | None => Leader::Nobody,
        };
        (leader, view)
    }

    /// Waits until somebody leads `partition`, at most until `until`.
    pub(crate) async fn settle(
        &self,
        partition: PartitionId,
        writes: bool,
        until: Instant,
    ) -> Leader {
        // Nearly always somebody leads: then nothing is registered anywhere.
        let (leader, _) = self.leader(partition, writes);
        if !matches!(leader, Leader::Nobody) {
            return leader;
        }
        Box::pin(self.wait_for_leader(partition, writes, until)).await
    }

    async fn wait_for_leader(
        &self,
        partition: PartitionId,
        writes: bool,
        until: Instant,
    ) -> Leader {
        loop {
            let reigns = self.reigns_changed.notified();
            tokio::pin!(reigns);
            reigns.as_mut().enable();
            let (leader, view) = self.leader(partition, writes);
            if !matches!(leader, Leader::Nobody) {
                return leader;
            }
            tokio::select! {
                biased;
                () = reigns => {}
                () = self.ledger.view_changed(partition, &view) => {}
                () = runtime::sleep_until(until) => return leader,
            }
        }
    }

    /// Waits until somebody else leads `partition`, or for a moment, at most until `until`.
    async fn another_leader(&self, partition: PartitionId, until: Instant) {
        let before = self.ledger.view(partition);
        let until = until.min(runtime::now() + PAUSE);
        let mut seen = Arc::clone(&before);
        let other = async {
            loop {
                self.ledger.view_changed(partition, &seen).await;
                seen = self.ledger.view(partition);
                if (seen.epoch, seen.role, &seen.primary)
                    != (before.epoch, before.role, &before.primary)
                {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = other => {}
            () = runtime::sleep_until(until) => {}
        }
    }

    /// Waits until somebody else than the asked node leads, and for a moment: what it did before that it may
    /// still say. A node that died says nothing, and its connection can take seconds to be given up.
    pub(crate) async fn overtaken(&self, asked: Destination<'_>) {
        let mut view = self.ledger.view(asked.partition);
        while !asked.is_overtaken(&view) {
            self.ledger.view_changed(asked.partition, &view).await;
            view = self.ledger.view(asked.partition);
        }
        runtime::sleep(PAUSE).await;
    }

    fn count(&self, ran: &Ran, asked: &Asked<'_>) {
        let meters = &self.meters;
        let counter = match ran {
            Ok(Response::Sent(sent)) if sent.replay => &meters.replayed,
            Ok(_) => {
                meters.send_seconds.record(runtime::now() - asked.began);
                &meters.stored
            }
            Err(Interrupt::Refused(refusal)) => match refusal.outcome {
                Some(RequestOutcome::Unknown) => {
                    let request_id = &asked.context.request_id;
                    tracing::warn!(request_id, %refusal, "outcome unknown");
                    &meters.unknown
                }
                Some(RequestOutcome::NotCommitted) => &meters.not_committed,
                None => &meters.refused,
            },
            Err(Interrupt::Ended { .. } | Interrupt::Behind) => return,
        };
        counter.increment(1);
    }
}

/// Nothing, for a reader who is to come back with the same cursor. Not for one who has a right to more: by
/// what they have seen, or because they asked for everything there is.
fn sent_away(read: &Read, asked: &Asked<'_>) -> Option<Page> {
    let after = read.after.unwrap_or_default();
    let told = !read.confirmed && asked.context.seen.is_none_or(|seen| seen <= after);
    told.then(|| Page::empty(after))
}

impl Journey {
    /// A refusal, after what the request has gone through: what it says about *this* try is not all.
    fn refused(&self, mut refusal: Refusal) -> Refusal {
        // A 409 or a 422 comes from a log that the first try is not in; it will not get into it.
        let lasting = matches!(
            refusal.code,
            Code::Rejected
                | Code::IllegalTransition
                | Code::IdempotencyConflict
                | Code::ChatEnded
                | Code::ChatFull
        );
        if self.appended && !lasting {
            refusal.outcome = Some(RequestOutcome::Unknown);
        }
        refusal
    }

    /// Nobody could be asked any more, or nobody who is as far as the asker.
    fn gives_up(&self, request: &Request, asked: &Asked<'_>) -> Result<Response, Refusal> {
        if let Request::Read(read) = request {
            // Somebody who waited is sent away to come back with the same cursor, to whoever leads then.
            if self.parked
                && asked.waits_until > asked.began
                && let Some(page) = sent_away(read, asked)
            {
                return Ok(Response::Page(page));
            }
        }
        let reads = is_read(request);
        if reads && self.behind {
            return Err(behind());
        }
        if reads {
            return Err(Refusal::new(Code::NotReady, "nobody leads this chat at the moment"));
        }
        if self.behind {
            return Err(self.refused(behind().with_outcome(RequestOutcome::NotCommitted)));
        }
        Err(self.refused(because(Why::NotLeading, RequestOutcome::NotCommitted)))
    }
}

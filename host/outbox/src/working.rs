//! What a service's task has done: cutting, sending, settling, describing. Each is a future that owns what
//! it needs, and says in the end what became of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hashring::PartitionId;
use model::{ChatToken, Dialect, EventPlace, Frozen, FrozenId, OutboxChange, OutboxEntry, Part};
use replication::core::Outcome as Committed;
use runtime::Instant;
use tokio::sync::Semaphore;
use transaction::{
    Attempt, Cutting, Ended, Event, Instances, Names, Outcome, Owed, Rendered, Settlement,
    TransactionId, Tried, VERSION, Verdict, render,
};

use crate::agreed::Terms;
use crate::agreeing::Agreements;
use crate::attempts::{AttemptRecord, Attempts};
use crate::config::ServiceConfig;
use crate::courier::Courier;
use crate::desk::{Call, Desk};
use crate::everywhere;
use crate::hook::{Point, Says};
use crate::keeping::Judged;
use crate::meters::Meters;
use crate::question::{Question, Wish};
use crate::reading;
use crate::turning::Turned;

/// What became of it.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Something was to be appended; whether it is committed.
    Appended { partition: PartitionId, epoch: u64, committed: bool },
    /// The service was to be described to a partition.
    Described { partition: PartitionId, committed: bool },
    /// A call of a plugin was made.
    Made { partition: PartitionId, call: Call, attempt: Attempt },
    /// A plugin was given a reply; whether that is over.
    Replied { partition: PartitionId, chat: ChatToken, number: u64, over: bool },
    /// Other nodes were told something.
    Spread,
    /// The cluster's record was to say that the service is stopped; whether it does.
    Noted { written: bool },
    /// It was looked how long things have waited.
    Judged(Vec<Judged>),
    /// A step towards the service's turn is over.
    Turned(Turned),
    /// A transaction was tried.
    Tried { partition: PartitionId, frozen: Arc<Frozen>, tried: Tried },
}

/// What all of it needs.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) courier: Arc<dyn Courier>,
    pub(crate) config: ServiceConfig,
    /// What the cluster has agreed on; before that is known, what the file says.
    pub(crate) terms: Mutex<Arc<Terms>>,
    pub(crate) agreements: Arc<Agreements>,
    /// Which instance is tried next, where it has several.
    pub(crate) instances: Mutex<Instances>,
    pub(crate) names: Names,
    pub(crate) attempts: Attempts,
    pub(crate) meters: Meters,
    /// Attempts of all services that may be under way on this node, but for one of each.
    pub(crate) room: Arc<Semaphore>,
}

impl Work {
    /// What the cluster has agreed on.
    pub(crate) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_terms(&self, terms: Arc<Terms>) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    /// What a lane owes, in an epoch that this node leads. The outer `None`: it does not; the inner: the
    /// service was not described there.
    pub(crate) fn owed(&self, partition: PartitionId, epoch: u64) -> Option<Option<Owed>> {
        let mut owed = None;
        self.desk.owed(partition, epoch, &mut |outbox| {
            owed = outbox.service(&self.config.name).map(|booked| Owed {
                front: booked.lane.unfinished.front().map(Arc::clone),
                more: booked.lane.unfinished.len() > 1,
                ripe: booked.lane.is_ripe(),
                dead: booked.lane.dead.len(),
            });
        })?;
        Some(owed)
    }

    /// Tells the other nodes. Who does not hear it finds out by itself.
    pub(crate) async fn spread(self: Arc<Self>, wish: Wish) -> Happened {
        let service = self.config.name.clone();
        everywhere::ask_others(&*self.desk, &Question::Wish { service, wish }).await;
        Happened::Spread
    }

    /// Says in a partition's log what concerns the service from here on.
    pub(crate) async fn describe(
        self: Arc<Self>,
        partition: PartitionId,
        epoch: u64,
        changes: Vec<OutboxChange>,
    ) -> Happened {
        let committed = self.append(partition, epoch, changes).await;
        Happened::Described { partition, committed }
    }

    /// Freezes what is ripe.
    pub(crate) async fn cut(
        self: Arc<Self>,
        partition: PartitionId,
        epoch: u64,
        settled: Option<FrozenId>,
    ) -> Happened {
        let changes = self.cut_changes(partition, epoch, settled).await;
        let committed = match changes {
            Some(changes) => self.append(partition, epoch, changes).await,
            None => false,
        };
        Happened::Appended { partition, epoch, committed }
    }

    async fn cut_changes(
        &self,
        partition: PartitionId,
        epoch: u64,
        settled: Option<FrozenId>,
    ) -> Option<Vec<OutboxChange>> {
        let (service, batch) = (self.config.name.clone(), self.terms().batch());
        let mut begun = None;
        let committed = self.desk.owed(partition, epoch, &mut |outbox| {
            begun = outbox
                .service(&service)
                .map(|booked| (Cutting::new(booked, batch), booked.record.dialect));
        })?;
        let (mut cutting, dialect) = begun?;
        if !reading::fill(&*self.desk, partition, &mut cutting, committed).await {
            return None;
        }
        let (events, hash) = self.freeze(partition, epoch, dialect, &mut cutting)?;
        let (from, upto) = (cutting.from(), cutting.upto());
        if from == upto && settled.is_none() {
            return None;
        }
        self.meters.cut.increment(u64::from(!events.is_empty()));
        let done = settled.map(|id| OutboxChange::Settle {
            service: service.clone(),
            id,
            again: Vec::new(),
            parked: Vec::new(),
            status: None,
        });
        let part = Part { dialect, render: VERSION, events, hash, rounds: 0 };
        let cut = OutboxChange::Cut { service, part, from, upto };
        Some(done.into_iter().chain([cut]).collect())
    }

    /// Writes out as much of what was found as fits, and keeps only that.
    fn freeze(
        &self,
        partition: PartitionId,
        epoch: u64,
        dialect: Dialect,
        cutting: &mut Cutting,
    ) -> Option<(Vec<EventPlace>, [u8; 32])> {
        let batch = self.terms().batch();
        let mut places = Vec::new();
        let mut events = Vec::new();
        for found in cutting.found() {
            let (chat, seq, index) = (found.chat, found.seq, found.index);
            let number = self.desk.number(partition, epoch, chat, seq, index);
            places.push(EventPlace { seq, index, epoch: found.epoch, number });
            let cursor = model::Cursor { epoch: found.epoch, seq: number };
            events.push(Event { chat, cursor, message: Arc::clone(&found.message) });
        }
        loop {
            let rendered = self.unnamed(dialect, VERSION, &events)?;
            let fit = batch.fewer(events.len(), rendered.body.len());
            if fit == events.len() {
                return Some((places, rendered.hash));
            }
            cutting.keep(fit);
            events.truncate(fit);
            places.truncate(fit);
        }
    }

    /// Its bytes, before it has an id.
    fn unnamed(&self, dialect: Dialect, version: u8, events: &[Event]) -> Option<Rendered> {
        let id = TransactionId::of(0, 0, FrozenId::default());
        render(dialect, version, &id, events, &self.names)
    }

    /// Says in the log how a transaction ended.
    pub(crate) async fn settle(
        self: Arc<Self>,
        partition: PartitionId,
        epoch: u64,
        settlement: Settlement,
    ) -> Happened {
        let Settlement { id, again, parked, status } = settlement;
        let mut parts = Some(Vec::new());
        for piece in again {
            let Some(made) = &mut parts else { break };
            match self.part(partition, &piece.events, piece.rounds).await {
                Some(Some(part)) => made.push(part),
                // Nothing of it is there any more.
                Some(None) => {}
                None => parts = None,
            }
        }
        let committed = match parts {
            Some(again) => {
                self.meters.recut.increment(u64::try_from(again.len()).unwrap_or(0));
                self.tell_parked(partition, &parked, status);
                let service = self.config.name.clone();
                let change = OutboxChange::Settle { service, id, again, parked, status };
                self.append(partition, epoch, vec![change]).await
            }
            None => false,
        };
        Happened::Appended { partition, epoch, committed }
    }

    fn tell_parked(&self, partition: PartitionId, parked: &[EventPlace], status: Option<u16>) {
        self.meters.parked.increment(u64::try_from(parked.len()).unwrap_or(0));
        for event in parked {
            let (service, seq, index) = (&self.config.name, event.seq, event.index);
            tracing::warn!(service, %partition, seq, index, status,
                "the service does not take this event: it is put aside, see carillon service dlq");
        }
    }

    /// Events under a new id; the inner `None` when none of them is there any more.
    async fn part(
        &self,
        partition: PartitionId,
        places: &[EventPlace],
        rounds: u8,
    ) -> Option<Option<Part>> {
        let found = reading::events(&*self.desk, partition, places).await?;
        if found.is_empty() {
            return Some(None);
        }
        let dialect = self.terms().dialect;
        let kept = found.iter().filter_map(|(number, _)| places.get(*number).copied()).collect();
        let events: Vec<Event> = found.into_iter().map(|(_, event)| event).collect();
        let rendered = self.unnamed(dialect, VERSION, &events)?;
        let (render, hash) = (VERSION, rendered.hash);
        Some(Some(Part { dialect, render, events: kept, hash, rounds }))
    }

    /// Appends an entry and waits until it is committed; whether it is.
    pub(crate) async fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        changes: Vec<OutboxChange>,
    ) -> bool {
        append(&*self.desk, partition, epoch, changes).await
    }

    /// Waits for a test, if there is one.
    pub(crate) async fn reached(&self, point: Point) {
        reached(&*self.desk, point).await;
    }

    /// Writes a transaction out and tries it. `wait`: others are under way, and there must be room for it; `until`:
    /// after that it may not begin any more.
    pub(crate) async fn send(
        self: Arc<Self>,
        partition: PartitionId,
        frozen: Arc<Frozen>,
        wait: bool,
        until: Option<Instant>,
    ) -> Happened {
        let _room = match wait {
            // Cannot be an error: nobody closes it.
            true => self.room.acquire().await.ok(),
            false => None,
        };
        let tried = self.try_once(partition, &frozen, until).await;
        Happened::Tried { partition, frozen, tried }
    }

    async fn try_once(
        &self,
        partition: PartitionId,
        frozen: &Frozen,
        until: Option<Instant>,
    ) -> Tried {
        let Frozen { id, part } = frozen;
        let cancelled = |verdict| Tried { verdict, ended: Ended::Cancelled, status: None };
        let id = TransactionId::of(self.desk.cluster(), partition.0, *id);
        let Some(found) = reading::events(&*self.desk, partition, &part.events).await else {
            return cancelled(Verdict::Later);
        };
        let left: Vec<usize> = found.iter().map(|(number, _)| *number).collect();
        let events: Vec<Event> = found.into_iter().map(|(_, event)| event).collect();
        let rendered = render(part.dialect, part.render, &id, &events, &self.names);
        let same = rendered.filter(|rendered| rendered.hash == part.hash);
        let Some(rendered) = same.filter(|_| part.dialect == self.terms().dialect) else {
            return cancelled(Verdict::Differs { left });
        };
        let target = match self.target().await {
            Ok(target) => target,
            Err(attempt) => return self.tell(id, &events, &attempt),
        };
        if until.is_some_and(|until| runtime::now() > until) {
            // It would not be over before its turn is.
            return cancelled(Verdict::Later);
        }
        self.reached(Point::Sending).await;
        let attempt = self.deliver(&target, &rendered, until).await;
        self.reached(Point::Answered).await;
        self.tell(id, &events, &attempt)
    }

    /// Notes an attempt, and says what it means.
    fn tell(&self, id: TransactionId, events: &[Event], attempt: &Attempt) -> Tried {
        self.attempts.push(AttemptRecord::of(id, events.len(), attempt));
        let (service, status, error) = (&self.config.name, attempt.status, &attempt.error);
        tracing::debug!(service, %id, outcome = ?attempt.outcome, status, error, "attempt");
        let numbers: BTreeMap<String, usize> =
            events.iter().enumerate().map(|(at, it)| (it.message.id.to_string(), at)).collect();
        let verdict = match attempt.outcome {
            Outcome::Done => {
                let failed = attempt.failed.iter().filter_map(|id| numbers.get(id).copied());
                Verdict::Taken { failed: failed.collect() }
            }
            Outcome::Refused => Verdict::Refused,
            Outcome::Gone | Outcome::Retry { .. } => Verdict::Later,
        };
        Tried { verdict, ended: ended(attempt), status }
    }
}

/// Appends an entry and waits until it is committed; whether it is. There is no other end to the wait than that of
/// the epoch.
pub(crate) async fn append(
    desk: &dyn Desk,
    partition: PartitionId,
    epoch: u64,
    changes: Vec<OutboxChange>,
) -> bool {
    let says = Says::of(&changes);
    let entry = OutboxEntry { time_ms: runtime::wall_ms(), changes };
    let payload = Bytes::from(entry.encode());
    reached(desk, Point::Appending(says)).await;
    let Some(answer) = desk.append(partition, epoch, payload) else { return false };
    reached(desk, Point::Appended(says)).await;
    match answer.await {
        Ok(Committed::Quorum { .. } | Committed::Done) => {
            reached(desk, Point::Committed(says)).await;
            true
        }
        Ok(Committed::NotCommitted(_)) => {
            desk.give_up(partition, epoch);
            false
        }
        Ok(Committed::Local { .. } | Committed::Unknown(_)) | Err(_) => false,
    }
}

/// Waits for a test, if there is one.
async fn reached(desk: &dyn Desk, point: Point) {
    if let Some(hook) = desk.hook() {
        hook.reached(&desk.node(), point).await;
    }
}

/// What an attempt says of its service.
pub(crate) fn ended(attempt: &Attempt) -> Ended {
    match attempt.outcome {
        Outcome::Done | Outcome::Refused => Ended::Answered,
        Outcome::Gone => Ended::Gone,
        Outcome::Retry { connected } => {
            let (retry_after, silent) = (attempt.retry_after, attempt.status.is_none());
            Ended::Failed { retry_after, silent, connected }
        }
    }
}

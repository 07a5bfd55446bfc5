//! What a service's task has done: cutting, sending, settling, describing. Each is a future that owns what
//! it needs, and says in the end what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hashring::PartitionId;
use model::{ChatToken, Dialect, EventPlace, Frozen, FrozenId, OutboxChange, OutboxEntry, Part};
use replication::core::Outcome as Committed;
use runtime::Instant;
use tokio::sync::Semaphore;
use transaction::{
    Attempt, Cutting, Ended, Event, Instances, Names, Outcome, Owed, Piece, Rendered, Settlement,
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
use crate::lagging::Ages;
use crate::meters::Meters;
use crate::outage::Remembered;
use crate::question::{Question, Wish};
use crate::reading;
use crate::series::Noted;
use crate::turning::Turned;

/// What became of it.
#[derive(Debug)]
pub(crate) enum Happened {
    /// Something was to be appended; whether it is committed.
    Appended { partition: PartitionId, epoch: u64, committed: bool },
    /// The service was to be described to a partition.
    Described { partition: PartitionId, committed: bool },
    /// A call of a plugin was made.
    /// Nothing: it might not be made any more.
    Made { partition: PartitionId, call: Call, attempt: Option<Attempt> },
    /// A plugin was given a reply; whether that is over.
    Replied { partition: PartitionId, chat: ChatToken, number: u64, over: bool },
    /// Other nodes were told something.
    Spread,
    /// The cluster's record was to say that the service is stopped; whether it does.
    Noted { written: bool },
    /// What outlives this node of an outage was read or written.
    Remembered(Remembered),
    /// What outlives this node of how lanes fail was read or written.
    NotedSeries(Noted),
    /// It was looked how long things have waited.
    Judged(Vec<Judged>),
    /// It was looked how old what is owed is.
    Aged(Ages),
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
    /// Lanes of all services that are read for at the same time.
    pub(crate) pages: Arc<Semaphore>,
    /// Whether nothing may be sent, also of what was decided before that was so.
    pub(crate) halted: AtomicBool,
}

/// Under which conditions an attempt was decided. They may have changed when it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    /// The epoch in which its lane is led here.
    pub(crate) epoch: u64,
    /// Others are under way: there must be room for it.
    pub(crate) wait: bool,
    /// After that it may not begin any more.
    pub(crate) until: Option<Instant>,
}

impl Work {
    /// What the cluster has agreed on.
    pub(crate) fn terms(&self) -> Arc<Terms> {
        Arc::clone(&self.terms.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_terms(&self, terms: Arc<Terms>) {
        *self.terms.lock().unwrap_or_else(PoisonError::into_inner) = terms;
    }

    /// Whether nothing may be sent from now on.
    pub(crate) fn halt(&self, halted: bool) {
        self.halted.store(halted, Ordering::SeqCst);
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.halted.load(Ordering::SeqCst)
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
        let changes = {
            // A page of the log and what is written out of it are in memory until it is known what is said.
            let _page = self.pages.acquire().await.ok();
            self.cut_changes(partition, epoch, settled).await
        };
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
        let Settlement { id, again, parked, lost, status } = settlement;
        let service = self.config.name.clone();
        let committed = if lost > 0 {
            let given_up =
                self.append(partition, epoch, vec![OutboxChange::Abandon { service, id }]);
            let committed = given_up.await;
            if committed {
                self.tell_lost(partition, lost);
            }
            committed
        } else if let Some(again) = self.parts(partition, again).await {
            self.meters.recut.increment(u64::try_from(again.len()).unwrap_or(0));
            self.tell_parked(partition, &parked, status);
            let change = OutboxChange::Settle { service, id, again, parked, status };
            self.append(partition, epoch, vec![change]).await
        } else {
            false
        };
        Happened::Appended { partition, epoch, committed }
    }

    /// Events were to be sent, and are not in the log any more.
    fn tell_lost(&self, partition: PartitionId, events: usize) {
        self.meters.abandoned.increment(u64::try_from(events).unwrap_or(0));
        let service = &self.config.name;
        tracing::error!(service, %partition, events,
            "ALARM: events that this service is owed are not in the log any more: they are given up, \
             see carillon service dlq, and look for what else this partition has lost");
    }

    fn tell_parked(&self, partition: PartitionId, parked: &[EventPlace], status: Option<u16>) {
        self.meters.parked.increment(u64::try_from(parked.len()).unwrap_or(0));
        for event in parked {
            let (service, seq, index) = (&self.config.name, event.seq, event.index);
            tracing::warn!(service, %partition, seq, index, status,
                "the service does not take this event: it is put aside, see carillon service dlq");
        }
    }

    /// Events under new ids; `None` when the log cannot be read.
    async fn parts(&self, partition: PartitionId, pieces: Vec<Piece>) -> Option<Vec<Part>> {
        let _page = self.pages.acquire().await.ok();
        let mut parts = Vec::new();
        for Piece { events, rounds } in pieces {
            parts.extend(self.part(partition, &events, rounds).await?);
        }
        Some(parts)
    }

    /// What is there of them; and what is not, by itself, to be given up when it is to be sent: no bytes have its hash.
    async fn part(
        &self,
        partition: PartitionId,
        places: &[EventPlace],
        rounds: u8,
    ) -> Option<Vec<Part>> {
        let found = reading::events(&*self.desk, partition, places).await?;
        let dialect = self.terms().dialect;
        let made = |events, hash| Part { dialect, render: VERSION, events, hash, rounds };
        let there: BTreeSet<usize> = found.iter().map(|(number, _)| *number).collect();
        let (mut left, mut gone) = (Vec::new(), Vec::new());
        for (number, place) in places.iter().enumerate() {
            let of = if there.contains(&number) { &mut left } else { &mut gone };
            of.push(*place);
        }
        let mut parts = Vec::new();
        if !left.is_empty() {
            let events: Vec<Event> = found.into_iter().map(|(_, event)| event).collect();
            parts.push(made(left, self.unnamed(dialect, VERSION, &events)?.hash));
        }
        if !gone.is_empty() {
            parts.push(made(gone, [0; 32]));
        }
        Some(parts)
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

    /// Writes a transaction out and tries it, if it may still be tried when there is room for it.
    pub(crate) async fn send(
        self: Arc<Self>,
        partition: PartitionId,
        frozen: Arc<Frozen>,
        chance: Chance,
    ) -> Happened {
        let _room = match chance.wait {
            // Cannot be an error: nobody closes it.
            true => self.room.acquire().await.ok(),
            false => None,
        };
        let tried = self.try_once(partition, &frozen, chance).await;
        Happened::Tried { partition, frozen, tried }
    }

    async fn try_once(&self, partition: PartitionId, frozen: &Frozen, chance: Chance) -> Tried {
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
        self.reached(Point::Sending).await;
        // What was waited for may have taken long, and a take-over, a pause or the end of a turn came meanwhile.
        if self.is_halted() || !self.may_begin(partition, chance) {
            return cancelled(Verdict::Later);
        }
        self.reached(Point::Allowed).await;
        let attempt = self.deliver(&target, &rendered, chance.until).await;
        self.reached(Point::Answered).await;
        self.tell(id, &events, &attempt)
    }

    /// Whether a lane is still led here, and an attempt that begins now is over before its turn is.
    fn may_begin(&self, partition: PartitionId, chance: Chance) -> bool {
        let leads = self.desk.leads(partition) == Some(chance.epoch);
        leads && chance.until.is_none_or(|until| runtime::now() <= until)
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

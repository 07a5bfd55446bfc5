//! The task of one service: tells its engine what happened, and has done what it decides.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hashring::PartitionId;
use runtime::{Instant, Stop};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use transaction::{Attempt, Cause, Ended, Engine, Failing, State, Step, Turn};

use crate::agreeing::Known;
use crate::bell::Bell;
use crate::calls::{Calls, Todo};
use crate::desk::Call;
use crate::draining::Drain;
use crate::keeping::Keeping;
use crate::lagging::Lagging;
use crate::outage::Memory;
use crate::question::Wish;
use crate::series::Notes;
use crate::working::{Chance, Happened, Work, ended};

/// How often all partitions are looked at: what could not be done is done again then, and what this node has
/// begun to lead is found.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A service is described anew only while no more than so many descriptions are needed to know what concerned
/// it: they stay while it is down.
const DESCRIPTIONS_MAX: usize = 32;

/// A wish, whether the record was looked at since it was said, and where its fulfilment is told.
pub(crate) type Command = (Wish, bool, oneshot::Sender<()>);

/// What can be seen of a service without asking its task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) state: State,
    pub(crate) since: Instant,
    pub(crate) in_flight: usize,
    /// Lanes that fail by themselves.
    pub(crate) failing: Failing,
    /// How long the oldest event waits that is owed here.
    pub(crate) lag_ms: Option<u64>,
    /// When it was stopped, in Unix milliseconds, if the cluster's record says so.
    pub(crate) stopped_ms: Option<u64>,
}

pub(crate) type Doing = Pin<Box<dyn Future<Output = Happened> + Send>>;

/// One service on this node.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) work: Arc<Work>,
    pub(crate) bell: Bell,
    pub(crate) seen: Mutex<Seen>,
    pub(crate) commands: mpsc::Sender<Command>,
    /// When the service said last that it is there.
    pub(crate) pinged: Mutex<Option<Instant>>,
    /// Whether this node goes.
    pub(crate) drain: Drain,
}

/// What its task owns.
pub(crate) struct Task {
    pub(crate) running: Arc<Running>,
    pub(crate) engine: Engine,
    pub(crate) calls: Calls,
    pub(crate) doing: FuturesUnordered<Doing>,
    describing: BTreeSet<PartitionId>,
    /// Where that could not be done: not before all are looked at again.
    undescribed: BTreeSet<PartitionId>,
    /// What the cluster has agreed on, as it comes in.
    pub(crate) agreed: watch::Receiver<Option<Known>>,
    /// What of it is done here; nothing: nobody knows yet.
    pub(crate) known: Option<Known>,
    /// Why it was stopped here, while the registry does not say so.
    pub(crate) unwritten: Option<Cause>,
    pub(crate) noting: bool,
    /// Where one transaction follows another in the whole cluster: whose turn it is.
    pub(crate) turn: Option<Turn>,
    pub(crate) keeping: Keeping,
    pub(crate) lagging: Lagging,
    /// What outlives this node of an outage.
    pub(crate) memory: Memory,
    /// What outlives it of how lanes fail by themselves.
    pub(crate) notes: Notes,
}

impl Running {
    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until the node stops. What is under way is dropped then: the log says how far it was.
pub(crate) async fn run(
    running: Arc<Running>,
    agreed: watch::Receiver<Option<Known>>,
    stirred: Arc<Notify>,
    mut commands: mpsc::Receiver<Command>,
    stop: Stop,
) {
    let began = runtime::now();
    let engine = Engine::new(running.work.config.engine(), began);
    let doing = FuturesUnordered::new();
    let (describing, undescribed) = (BTreeSet::new(), BTreeSet::new());
    let config = &running.work.config;
    let calls = Calls::new(config.retry, config.outcall_give_up);
    let (known, unwritten, noting, turn) = (None, None, false, None);
    let mut drains = running.drain.subscribe();
    let mut task = Task {
        running,
        engine,
        calls,
        doing,
        describing,
        undescribed,
        agreed,
        known,
        unwritten,
        noting,
        turn,
        keeping: Keeping::default(),
        lagging: Lagging::default(),
        memory: Memory::default(),
        notes: Notes::default(),
    };
    let mut look = began;
    loop {
        let now = runtime::now();
        task.obey(now);
        task.drains(now);
        if now >= look {
            // The first time at once, and then not when all other services of the node do.
            let every = if look == began { LOOK_EVERY.mul_f64(rand::random()) } else { LOOK_EVERY };
            look = now + every;
            task.look_at_all(now);
            task.look_for_lag(now);
            task.note_stop();
            task.remember(now);
            task.note_series(now);
        }
        if task.knows() {
            task.begin_all(now);
        }
        task.show();
        task.tell_quiet();
        let calls = task.calls.next_timeout(task.engine.may_send());
        let turn = task.turn.as_ref().and_then(Turn::next_timeout);
        let next = task.engine.next_timeout().into_iter().chain(calls).chain(turn).min();
        // Before it knows it begins nothing, whatever is due.
        let next = next.filter(|_due| task.knows());
        let until = next.map_or(look, |next| next.min(look));
        tokio::select! { biased;
            () = stop.stopped() => return task.give_turn_back().await,
            Some(happened) = task.doing.next(), if !task.doing.is_empty() => task.happened(happened),
            Some((wish, looked, told)) = commands.recv() => {
                task.fulfil(wish, looked);
                task.show();
                // If nobody waits any more it is done all the same.
                let _heard = told.send(());
            }
            Ok(()) = task.agreed.changed() => {}
            Ok(()) = drains.changed() => {}
            () = stirred.notified() => task.stirred(),
            () = task.running.bell.rung() => {}
            () = runtime::sleep_until(until.max(now)) => {}
        }
    }
}

impl Task {
    /// Begins what can be begun.
    fn begin_all(&mut self, now: Instant) {
        for partition in self.running.bell.take() {
            self.look_at(partition, now);
        }
        self.take_turn(now);
        while let Some(step) = self.engine.poll(now) {
            self.begin(step);
        }
        self.begin_calls(now);
        self.keep(now);
    }

    fn look_at_all(&mut self, now: Instant) {
        let mut lag = 0;
        self.undescribed.clear();
        let work = Arc::clone(&self.running.work);
        for partition in work.desk.partitions().all() {
            self.look_at(partition, now);
            if let Some(epoch) = work.desk.leads(partition) {
                work.desk.owed(partition, epoch, &mut |outbox| {
                    let booked = outbox.service(&work.config.name);
                    lag += booked.map_or(0, |booked| booked.lane.pending());
                });
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "it is for a curve")]
        work.meters.lag.set(lag as f64);
        if lag == 0 {
            self.lagging.none();
        }
        let lag_ms = self.lagging.lag_ms().unwrap_or(0);
        work.meters.lag_seconds.set(Duration::from_millis(lag_ms).as_secs_f64());
    }

    /// Tells the engine what a partition owes, and describes the service there if that is wanting.
    fn look_at(&mut self, partition: PartitionId, now: Instant) {
        let work = Arc::clone(&self.running.work);
        let Some(epoch) = work.desk.leads(partition) else {
            self.engine.handle_closed(partition.0);
            self.calls.handle_calls(partition, Vec::new());
            return;
        };
        let name = &work.config.name;
        let calls = work.desk.calls(partition, epoch, &|call| call.service == *name);
        self.calls.handle_calls(partition, calls);
        let mut wanting = None;
        if let Some(known) = self.known.as_ref().filter(|_| !self.undescribed.contains(&partition))
        {
            work.desk.owed(partition, epoch, &mut |outbox| {
                let booked = outbox.service(name);
                let full = booked.is_some_and(|it| it.descriptions() > DESCRIPTIONS_MAX);
                let changes = known.agreed.changes(name, booked.map(|booked| &booked.record));
                wanting = changes.filter(|_| !full);
            });
        }
        if let Some(changes) = wanting
            && self.describing.insert(partition)
        {
            self.doing.push(Box::pin(Arc::clone(&work).describe(partition, epoch, changes)));
        }
        match work.owed(partition, epoch) {
            Some(Some(owed)) => self.engine.handle_owed(partition.0, epoch, owed, now),
            Some(None) | None => self.engine.handle_closed(partition.0),
        }
    }

    fn begin(&self, step: Step) {
        let work = Arc::clone(&self.running.work);
        self.doing.push(match step {
            Step::Cut { lane, epoch, settled } => {
                Box::pin(work.cut(PartitionId(lane), epoch, settled))
            }
            Step::Settle { lane, epoch, settlement } => {
                Box::pin(work.settle(PartitionId(lane), epoch, settlement))
            }
            Step::Send { lane, epoch, frozen } => {
                let wait = self.engine.service().in_flight() > 1;
                let until = self.turn.as_ref().and_then(Turn::until);
                let chance = Chance { epoch, wait, until };
                Box::pin(work.send(PartitionId(lane), frozen, chance))
            }
        });
    }

    fn begin_calls(&mut self, now: Instant) {
        self.calls.handle_wakes(self.engine.service().wakes());
        let wall_ms = runtime::wall_ms();
        while let Some(todo) = self.calls.poll(self.engine.may_send(), now, wall_ms) {
            let work = Arc::clone(&self.running.work);
            self.doing.push(match todo {
                Todo::Make(partition, call) => {
                    let others = self.engine.service().in_flight() > 0;
                    self.engine.service_mut().begin();
                    Box::pin(work.call(partition, call, others))
                }
                Todo::Reply(partition, reply) => Box::pin(work.reply(partition, reply)),
            });
        }
    }

    /// A call of a plugin was made. That its path is gone says nothing of the service.
    fn made(
        &mut self,
        partition: PartitionId,
        call: &Call,
        attempt: Option<&Attempt>,
        now: Instant,
    ) {
        let (key, dice) = ((partition, call.chat), rand::random());
        let Some(attempt) = attempt else {
            self.engine.service_mut().end(partition.0, Ended::Cancelled, 0, now, dice);
            self.calls.handle_unmade(key, call.number, now);
            return;
        };
        let ended = match ended(attempt) {
            Ended::Gone => Ended::Answered,
            ended => ended,
        };
        let working = self.engine.working() + self.calls.working();
        self.engine.service_mut().end(partition.0, ended, working, now, dice);
        let age = runtime::wall_ms().saturating_sub(call.outcall.queued_ms);
        let age = Duration::from_millis(age);
        self.calls.handle_made(key, call.number, attempt, age, now, dice);
    }

    fn happened(&mut self, happened: Happened) {
        let now = runtime::now();
        match happened {
            Happened::Spread => {}
            Happened::Aged(ages) => self.lagging.aged(ages),
            Happened::Noted { written } => self.noted(written),
            Happened::Remembered(remembered) => self.remembered(remembered, now),
            Happened::NotedSeries(noted) => self.noted_series(noted, now),
            Happened::Judged(judged) => self.judged(&judged),
            Happened::Turned(turned) => self.turned(turned, now),
            Happened::Made { partition, call, attempt } => {
                self.made(partition, &call, attempt.as_ref(), now);
            }
            Happened::Replied { partition, chat, number, over } => {
                self.calls.handle_told((partition, chat), number, over, now);
                self.look_at(partition, now);
            }
            Happened::Described { partition, committed } => {
                self.describing.remove(&partition);
                if !committed {
                    self.undescribed.insert(partition);
                }
                self.look_at(partition, now);
            }
            Happened::Appended { partition, epoch, committed } => {
                let owed = self.running.work.owed(partition, epoch).flatten();
                let owed = owed.filter(|_| committed);
                let known = owed.is_some();
                self.engine.handle_appended(partition.0, epoch, owed, now);
                self.kept(partition);
                if !known {
                    // It may be led otherwise, or not at all.
                    self.look_at(partition, now);
                }
            }
            Happened::Tried { partition, frozen, tried } => {
                let dice = rand::random();
                self.engine.handle_tried(partition.0, &frozen, &tried, now, dice);
                self.turn.iter_mut().for_each(Turn::handle_tried);
            }
        }
        self.tell();
    }

    fn show(&mut self) {
        self.engine.handle_timeout(runtime::now());
        self.tell();
        let service = self.engine.service();
        let (state, since, in_flight) = (service.state(), service.since(), service.in_flight());
        let (failing, lag_ms) = (self.engine.failing(), self.lagging.lag_ms());
        let stopped_ms = self.stopped().map(|stopped| stopped.at_ms);
        let meters = &self.running.work.meters;
        meters.up.set(f64::from(u8::from(state == State::Up)));
        meters.failing.set(u32::try_from(failing.lanes).map_or(f64::MAX, f64::from));
        meters.in_flight.set(u32::try_from(in_flight).map_or(f64::MAX, f64::from));
        self.running.work.halt(matches!(state, State::Stopped(_)));
        self.running.bell.set_deaf(self.engine.is_full() || !self.knows());
        let mut seen = self.running.seen.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Seen { state, since, in_flight, failing, lag_ms, stopped_ms };
    }
}

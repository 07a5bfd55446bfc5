//! The services of this node, as others hold them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use hashring::PartitionId;
use model::{Dead, Dialect, OutboxChange};
use runtime::Tasks;
use tokio::sync::{Semaphore, mpsc, oneshot};
use transaction::{Event, Names, State, TransactionId};

use crate::attempts::{AttemptRecord, Attempts};
use crate::bell::Bell;
use crate::config::ServiceConfig;
use crate::courier::Courier;
use crate::desk::Desk;
use crate::meters::Meters;
use crate::reading;
use crate::running::{self, Running, Seen, Wish};
use crate::working::Work;

/// Attempts under way on a node, over all services; beside them each service has one of its own, so that one
/// that hangs keeps nobody waiting.
const IN_FLIGHT_MAX: usize = 256;

/// Wishes that wait for a service's task: it fulfils them at once.
const WISHES_MAX: usize = 16;

/// Events that are shown, or replayed in one entry, at once: each is read from the log.
pub const LETTERS_MAX: usize = 1000;

/// No such service is configured on this node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node has no service {0}")]
pub struct Unknown(pub String);

/// A service, as this node sees it.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// In whose words it is spoken to.
    pub dialect: Dialect,
    /// What it is taken for here.
    pub state: State,
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// In how long it is tried again, in milliseconds, if it waits.
    pub next_ms: Option<u64>,
    /// Attempts under way.
    pub in_flight: usize,
    /// Events that it is owed by the partitions this node leads.
    pub pending: u64,
    /// Events it took of them.
    pub done: u64,
    /// Events put aside.
    pub parked: u64,
    /// Partitions of which this node knows that.
    pub partitions: usize,
}

/// An event that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// In whose log it stands.
    pub partition: PartitionId,
    /// What it was sent under last.
    pub id: TransactionId,
    /// What is known of it.
    pub dead: Dead,
    /// The event, if the log gives it.
    pub event: Option<Event>,
}

/// The services of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Services {
    desk: Arc<dyn Desk>,
    running: Arc<BTreeMap<String, Arc<Running>>>,
}

impl Services {
    /// Starts a task for each service. It brings what the partitions owe that `desk` says this node leads, by
    /// `courier`.
    pub fn start(
        desk: Arc<dyn Desk>,
        courier: Arc<dyn Courier>,
        configs: Vec<ServiceConfig>,
        names: &Names,
        tasks: &Tasks,
    ) -> Self {
        let room = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
        let mut all = BTreeMap::new();
        for config in configs {
            let (commands, wishes) = mpsc::channel(WISHES_MAX);
            let name = config.name.clone();
            let meters = Meters::new(&name);
            let work = Arc::new(Work {
                desk: Arc::clone(&desk),
                courier: Arc::clone(&courier),
                config,
                names: names.clone(),
                attempts: Attempts::default(),
                meters,
                room: Arc::clone(&room),
            });
            let seen = Seen { state: State::Up, since: runtime::now(), in_flight: 0 };
            let (bell, seen) = (Bell::default(), Mutex::new(seen));
            let running = Arc::new(Running { work, bell, seen, commands });
            all.insert(name, Arc::clone(&running));
            tasks.spawn("outbox", running::run(running, wishes, tasks.stop().clone()));
        }
        Self { desk, running: Arc::new(all) }
    }

    /// Something was committed in a partition, or it is led otherwise. Costs a moment.
    pub fn ring(&self, partition: PartitionId) {
        for running in self.running.values() {
            running.bell.ring(partition);
        }
    }

    /// All services, by name.
    pub fn list(&self) -> Vec<ServiceView> {
        self.running.values().map(|running| self.view(running)).collect()
    }

    /// One service.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn show(&self, name: &str) -> Result<ServiceView, Unknown> {
        self.named(name).map(|running| self.view(running))
    }

    /// It is there: everything is tried at once.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn wake(&self, name: &str) -> Result<(), Unknown> {
        self.wish(name, Wish::Wake).await
    }

    /// Nothing is sent to it until it is resumed.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn pause(&self, name: &str) -> Result<(), Unknown> {
        self.wish(name, Wish::Pause).await
    }

    /// What was stopped goes on.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn resume(&self, name: &str) -> Result<(), Unknown> {
        self.wish(name, Wish::Resume).await
    }

    /// The last attempts of this node, newest first.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn attempts(&self, name: &str) -> Result<Vec<AttemptRecord>, Unknown> {
        self.named(name).map(|running| running.work.attempts.list())
    }

    /// What was put aside in the partitions that this node leads, at most [`LETTERS_MAX`].
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn dead_letters(&self, name: &str) -> Result<Vec<DeadLetter>, Unknown> {
        self.named(name)?;
        let mut letters = Vec::new();
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            for dead in self.dead(name, partition, epoch) {
                if letters.len() == LETTERS_MAX {
                    return Ok(letters);
                }
                letters.push(self.letter(partition, dead).await);
            }
        }
        Ok(letters)
    }

    /// Has sent again what was put aside: all of it, or only `events`, by their messages' ids. How many.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn replay(&self, name: &str, events: Option<&[String]>) -> Result<usize, Unknown> {
        let work = Arc::clone(&self.named(name)?.work);
        let mut replayed = 0;
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            let mut changes = Vec::new();
            for dead in self.dead(name, partition, epoch) {
                let wanted = match events {
                    None => true,
                    Some(events) => {
                        let event = self.letter(partition, dead).await.event;
                        event.is_some_and(|event| events.contains(&event.message.id.to_string()))
                    }
                };
                if wanted && changes.len() < LETTERS_MAX {
                    changes.push(OutboxChange::Replay { service: name.to_owned(), id: dead.id });
                }
            }
            let count = changes.len();
            if count > 0 && work.append(partition, epoch, changes).await {
                replayed += count;
                self.ring(partition);
            }
        }
        Ok(replayed)
    }

    fn dead(&self, name: &str, partition: PartitionId, epoch: u64) -> Vec<Dead> {
        let mut found = Vec::new();
        self.desk.owed(partition, epoch, &mut |outbox| {
            let dead = outbox.service(name).into_iter().flat_map(|booked| &booked.lane.dead);
            found.extend(dead.copied());
        });
        found
    }

    async fn letter(&self, partition: PartitionId, dead: Dead) -> DeadLetter {
        let events = reading::events(&*self.desk, partition, &[dead.event]).await;
        let event = events.and_then(|events| events.into_iter().next()).map(|(_, event)| event);
        let id = TransactionId::of(self.desk.cluster(), partition.0, dead.id);
        DeadLetter { partition, id, dead, event }
    }

    async fn wish(&self, name: &str, wish: Wish) -> Result<(), Unknown> {
        let running = self.named(name)?;
        let (told, heard) = oneshot::channel();
        if running.commands.send((wish, told)).await.is_ok() {
            // An error means that the node stops: then nothing is sent anyway.
            let _done = heard.await;
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Result<&Arc<Running>, Unknown> {
        self.running.get(name).ok_or_else(|| Unknown(name.to_owned()))
    }

    fn view(&self, running: &Running) -> ServiceView {
        let config = &running.work.config;
        let Seen { state, since, in_flight } = running.seen();
        let now = runtime::now();
        let whole = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let mut view = ServiceView {
            name: config.name.clone(),
            url: config.url.clone(),
            dialect: config.dialect,
            state,
            for_ms: whole(now.saturating_duration_since(since)),
            next_ms: match state {
                State::Down { until } => Some(whole(until.saturating_duration_since(now))),
                State::Up | State::Recovering | State::Stopped(_) => None,
            },
            in_flight,
            pending: 0,
            done: 0,
            parked: 0,
            partitions: 0,
        };
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            self.desk.owed(partition, epoch, &mut |outbox| {
                let Some(booked) = outbox.service(&config.name) else { return };
                view.pending += booked.lane.pending();
                view.done += booked.lane.done;
                view.parked += booked.lane.parked;
                view.partitions += 1;
            });
        }
        view
    }
}

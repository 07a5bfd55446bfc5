//! The services of this node, as others hold them.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hashring::{NodeId, PartitionId};
use model::{Dead, FrozenId, OutboxChange};
use runtime::{Instant, Tasks};
use tokio::sync::{Semaphore, mpsc, oneshot};
use transaction::{Failing, Names, State, TransactionId};

use crate::agreed::Agreed;
use crate::agreeing::Agreements;
use crate::attempts::{AttemptRecord, Attempts};
use crate::bell::Bell;
use crate::config::ServiceConfig;
use crate::courier::Courier;
use crate::desk::Desk;
use crate::draining::Drain;
use crate::meters::Meters;
use crate::question::Wish;
use crate::reading;
use crate::running::{self, Running, Seen};
use crate::unserved;
use crate::view::{Condition, DeadLetter, Letter, ServiceView};
use crate::working::Work;

/// Attempts under way on a node, over all services; beside them each service has one of its own, so that one
/// that hangs keeps nobody waiting.
const IN_FLIGHT_MAX: usize = 256;

/// Lanes, over all services, that are cut at the same time on a node: each holds up to a page of the log and a batch, so
/// that all of them hold 40 MiB, also when hundreds of services with hundreds of lanes go on at once. What is cut waits
/// for its commit without them.
const PAGES_MAX: usize = 32;

/// Wishes that wait for a service's task: it fulfils them at once.
const WISHES_MAX: usize = 16;

/// Pings of a service that count: every one asks all nodes.
const PING_EVERY: Duration = Duration::from_secs(1);

/// Events that are shown, or replayed in one entry, at once: each is read from the log.
pub const LETTERS_MAX: usize = 1000;

/// No such service is configured. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no service {0} in the configuration of any node that was heard")]
pub struct Unknown(pub String);

/// Why a wish was not fulfilled. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WishError {
    /// No such service. Nothing was done; see which there are.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// It has to stand in the registry, and that cannot be reached. Try again when it is back.
    #[error("the registry cannot be reached, and without it not all nodes would hear it")]
    Away,
    /// Nodes still have it in their files, or did not say whether they do. Take it out of them first.
    #[error("{service} is still, or may be, in the file of {}: take it out of [services] there first", .nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", "))]
    Configured {
        /// Which.
        service: String,
        /// Whose files.
        nodes: Vec<NodeId>,
    },
    /// What stands in the registry is no record of a service. An operator mends or removes it.
    #[error("what stands in the registry of this service cannot be used: {0}")]
    Broken(String),
}

/// The services of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Services {
    desk: Arc<dyn Desk>,
    running: Arc<BTreeMap<String, Arc<Running>>>,
    agreements: Arc<Agreements>,
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
        let pages = Arc::new(Semaphore::new(PAGES_MAX));
        let files = configs.iter().map(|config| (config.name.clone(), config.terms())).collect();
        let agreements = Arc::new(Agreements::new(Arc::clone(&desk), files));
        if !agreements.is_absent() {
            let (follows, keeps) = (Arc::clone(&agreements), Arc::clone(&agreements));
            tasks.spawn("service records", follows.follow(tasks.stop().clone()));
            tasks.spawn("service books", keeps.keep_books(tasks.stop().clone()));
        }
        let ends = unserved::end(Arc::clone(&desk), Arc::clone(&agreements), tasks.stop().clone());
        tasks.spawn("calls nobody makes", ends);
        let mut all = BTreeMap::new();
        for config in configs {
            let Some((agreed, stirred)) = agreements.subscribe(&config.name) else { continue };
            let (commands, wishes) = mpsc::channel(WISHES_MAX);
            let name = config.name.clone();
            let meters = Meters::new(&name);
            let work = Arc::new(Work {
                desk: Arc::clone(&desk),
                courier: Arc::clone(&courier),
                terms: Mutex::new(Arc::new(config.terms())),
                agreements: Arc::clone(&agreements),
                instances: Mutex::default(),
                config,
                names: names.clone(),
                attempts: Attempts::default(),
                meters,
                room: Arc::clone(&room),
                pages: Arc::clone(&pages),
                halted: AtomicBool::new(false),
            });
            let seen = Seen {
                state: State::Up,
                since: runtime::now(),
                in_flight: 0,
                failing: Failing::default(),
                lag_ms: None,
                stopped_ms: None,
            };
            let (bell, seen) = (Bell::default(), Mutex::new(seen));
            let (pinged, drain) = (Mutex::default(), Drain::default());
            let running = Arc::new(Running { work, bell, seen, commands, pinged, drain });
            all.insert(name, Arc::clone(&running));
            let stop = tasks.stop().clone();
            tasks.spawn("outbox", running::run(running, agreed, stirred, wishes, stop));
        }
        Self { desk, running: Arc::new(all), agreements }
    }

    /// Something was committed in a partition, or it is led otherwise. Costs a moment: woken is who is owed something there.
    pub fn ring(&self, partition: PartitionId) {
        if self.running.is_empty() {
            return;
        }
        let led = self.desk.leads(partition).and_then(|epoch| {
            let calls = self.desk.calls(partition, epoch, &|_any| true);
            let called = |name: &str| calls.iter().any(|call| call.outcall.service == name);
            self.desk.owed(partition, epoch, &mut |outbox| {
                let owes = |name: &str| outbox.service(name).is_some_and(|it| it.lane.has_work());
                let woken = self.running.iter().filter(|(name, _)| owes(name) || called(name));
                woken.for_each(|(_, running)| running.bell.ring(partition));
            })
        });
        if led.is_none() {
            self.running.values().for_each(|running| running.bell.ring(partition));
        }
    }

    /// The service registry has news of the instances at `url`: what waits for one is tried.
    pub async fn news_of(&self, url: &str) {
        for running in self.running.values().filter(|running| running.work.config.url == url) {
            let (told, heard) = oneshot::channel();
            if running.commands.send((Wish::Wake, true, told)).await.is_ok() {
                // An error means that the node stops: then nothing is sent anyway.
                let _done = heard.await;
            }
        }
    }

    /// All services, by name.
    pub fn list(&self) -> Vec<ServiceView> {
        let own = self.running.values().map(|running| self.view(running));
        let strangers = self.agreements.strangers().into_iter();
        let strangers = strangers.filter(|(_, agreed)| !agreed.forgotten);
        own.chain(strangers.map(|(name, agreed)| self.stranger(name, &agreed))).collect()
    }

    /// Asks a service whether it is there; nothing follows from the answer.
    ///
    /// # Errors
    /// [`Unknown`].
    pub async fn test(&self, name: &str) -> Result<AttemptRecord, Unknown> {
        let work = Arc::clone(&self.named(name)?.work);
        Ok(work.ping().await)
    }

    /// The last attempts of this node, newest first.
    ///
    /// # Errors
    /// [`Unknown`].
    pub(crate) fn attempts(&self, name: &str) -> Result<Vec<AttemptRecord>, Unknown> {
        self.named(name).map(|running| running.work.attempts.list())
    }

    /// What was put aside in the partitions that this node leads, at most [`LETTERS_MAX`]; whether there is more.
    ///
    /// # Errors
    /// [`Unknown`].
    pub(crate) async fn dead_letters(
        &self,
        name: &str,
    ) -> Result<(Vec<DeadLetter>, bool), Unknown> {
        self.named(name)?;
        let mut letters = Vec::new();
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            letters.extend(self.abandoned(name, partition, epoch));
            for dead in self.dead(name, partition, epoch) {
                if letters.len() >= LETTERS_MAX {
                    return Ok((letters, true));
                }
                letters.push(self.letter(partition, dead).await);
            }
        }
        Ok((letters, false))
    }

    /// Has sent again what was put aside: all of it, or only `events`, by their messages' ids. How many, and whether
    /// there are more.
    ///
    /// # Errors
    /// [`Unknown`].
    pub(crate) async fn replay(
        &self,
        name: &str,
        events: Option<&[String]>,
    ) -> Result<(usize, bool), Unknown> {
        let work = Arc::clone(&self.named(name)?.work);
        let (mut replayed, mut more) = (0, false);
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            let mut changes = Vec::new();
            for dead in self.dead(name, partition, epoch) {
                let wanted = match events {
                    None => true,
                    Some(events) => {
                        let event = self.letter(partition, dead).await.event;
                        event.is_some_and(|event| events.contains(&event.message.to_string()))
                    }
                };
                if wanted && changes.len() >= LETTERS_MAX {
                    more = true;
                    break;
                }
                if wanted {
                    changes.push(OutboxChange::Replay { service: name.to_owned(), id: dead.id });
                }
            }
            let count = changes.len();
            if count > 0 && work.append(partition, epoch, changes).await {
                replayed += count;
                self.ring(partition);
            } else {
                // It may be led by somebody else now.
                more |= count > 0;
            }
        }
        Ok((replayed, more))
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
        let event = events.and_then(|events| events.into_iter().next());
        let event = event.map(|(_, event)| Letter {
            message: event.message.id,
            chat: event.chat,
            cursor: event.cursor,
        });
        let id = TransactionId::of(self.desk.cluster(), partition.0, dead.id);
        DeadLetter { id, status: dead.status, time_ms: dead.time_ms, event, abandoned: 0 }
    }

    /// What a partition has given up, in one line.
    fn abandoned(&self, name: &str, partition: PartitionId, epoch: u64) -> Option<DeadLetter> {
        let mut abandoned = 0;
        self.desk.owed(partition, epoch, &mut |outbox| {
            abandoned = outbox.service(name).map_or(0, |booked| booked.lane.abandoned);
        });
        let id = TransactionId::of(self.desk.cluster(), partition.0, FrozenId::default());
        let (status, time_ms, event) = (None, 0, None);
        (abandoned > 0).then_some(DeadLetter { id, status, time_ms, event, abandoned })
    }

    /// Whether a ping counts: not so soon after another one. Where the service is not known, others may know it.
    pub(crate) fn pings(&self, name: &str) -> bool {
        let Ok(running) = self.named(name) else { return true };
        let mut pinged = running.pinged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = runtime::now();
        let counts = pinged.is_none_or(|pinged| now >= pinged + PING_EVERY);
        if counts {
            *pinged = Some(now);
        }
        counts
    }

    pub(crate) fn running(&self) -> &BTreeMap<String, Arc<Running>> {
        &self.running
    }

    pub(crate) fn desk(&self) -> &Arc<dyn Desk> {
        &self.desk
    }

    pub(crate) fn agreements(&self) -> &Arc<Agreements> {
        &self.agreements
    }

    /// Fulfils a wish here. What the cluster's record says of it counts: it is looked at first.
    pub(crate) async fn wish(&self, name: &str, wish: Wish) -> Result<(), Unknown> {
        let running = self.named(name)?;
        let looked = match wish {
            Wish::Wake | Wish::Pause | Wish::Resume => self.agreements.look(name).await,
            Wish::IsUp | Wish::IsDown => false,
        };
        let (told, heard) = oneshot::channel();
        if running.commands.send((wish, looked, told)).await.is_ok() {
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
        let Seen { state, since, in_flight, failing, lag_ms, stopped_ms } = running.seen();
        let now = runtime::now();
        let whole = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let ago = |then: Instant| whole(now.saturating_duration_since(then));
        let until = |then: Instant| whole(then.saturating_duration_since(now));
        let mut view = ServiceView {
            url: config.url.clone(),
            state: match state {
                State::Up => Condition::Up,
                State::Recovering => Condition::Recovering,
                State::Down { .. } => Condition::Down,
                State::Stopped(_) => Condition::Stopped,
            },
            cause: match state {
                State::Stopped(cause) => Some(cause),
                State::Up | State::Recovering | State::Down { .. } => None,
            },
            for_ms: match (state, stopped_ms) {
                (State::Stopped(_), Some(at_ms)) => runtime::wall_ms().saturating_sub(at_ms),
                _ => ago(since),
            },
            next_ms: match state {
                State::Down { until: then } => Some(until(then)),
                State::Up => failing.next.map(until),
                State::Recovering | State::Stopped(_) => None,
            },
            failing: u64::try_from(failing.lanes).unwrap_or(u64::MAX),
            failing_ms: failing.since.map(ago),
            lag_ms,
            in_flight: u64::try_from(in_flight).unwrap_or(u64::MAX),
            configured: true,
            ..ServiceView::unconfigured(config.name.clone(), running.work.terms().dialect)
        };
        self.count(&mut view);
        view.lag_ms.take_if(|_lag_ms| view.pending == 0);
        view
    }

    /// A service that this node does not have in its file.
    fn stranger(&self, name: String, agreed: &Agreed) -> ServiceView {
        let mut view = ServiceView::unconfigured(name, agreed.terms.dialect);
        self.count(&mut view);
        view
    }

    /// Adds up what the partitions owe that this node leads.
    fn count(&self, view: &mut ServiceView) {
        for partition in self.desk.partitions().all() {
            let Some(epoch) = self.desk.leads(partition) else { continue };
            self.desk.owed(partition, epoch, &mut |outbox| {
                let Some(booked) = outbox.service(&view.name) else { return };
                view.pending += booked.lane.pending();
                view.done += booked.lane.done;
                view.parked += booked.lane.parked;
                view.abandoned += booked.lane.abandoned;
                view.partitions += 1;
            });
        }
    }
}

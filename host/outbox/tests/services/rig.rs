//! Nodes, their logs and a clock.

#![expect(clippy::unwrap_used, reason = "what a test needs is there, or it fails")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use model::Dialect;
use outbox::{Hook, Keep, Order, ServiceConfig, ServiceView, Services};
use registry::{Cas, Registry, Session};
use runtime::{EnteredClock, SimulatedClock, Stop, Tasks};
use serde_json::Value;
use tempfile::TempDir;
use transaction::{BatchLimits, Names, Retry, Sender, SenderConfig};

use crate::ledger::{Ledger, Seat};
use crate::service::Service;

/// The clock is moved by so much: little beside every time that an attempt has, so that what goes over a
/// socket is there before it is late.
const STEP: Duration = Duration::from_millis(50);
/// So often everybody is let act between two moves.
const TURNS: usize = 64;
/// Nothing here takes longer, as the clock goes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// The name of the service that most is about.
pub(crate) const CRM: &str = "crm";

/// A cluster in memory.
pub(crate) struct Rig {
    pub(crate) ledger: Ledger,
    books: Option<Books>,
    clock: SimulatedClock,
    passed: Cell<Duration>,
    _entered: EnteredClock,
}

/// The registry of a cluster, with a session of nobody's.
struct Books {
    registry: Registry,
    reader: Session,
    _folder: TempDir,
}

/// A node that runs.
pub(crate) struct Node {
    pub(crate) services: Services,
    seat: Arc<Seat>,
    tasks: Tasks,
}

impl Rig {
    /// Partitions that node `a` leads.
    pub(crate) fn new(partitions: u16) -> Self {
        let clock = SimulatedClock::new();
        let entered = clock.enter();
        let ledger = Ledger::new(partitions, "a");
        Self { ledger, books: None, clock, passed: Cell::default(), _entered: entered }
    }

    /// The same, with a registry.
    pub(crate) fn with_registry(partitions: u16) -> Self {
        let folder = TempDir::new().unwrap();
        let registry = Registry::embedded(folder.path()).unwrap();
        let reader = registry.session(&"nobody".parse().unwrap());
        let books = Some(Books { registry, reader, _folder: folder });
        Self { books, ..Self::new(partitions) }
    }

    /// Starts a node.
    pub(crate) fn start(&self, name: &str, configs: Vec<ServiceConfig>) -> Node {
        self.start_with(name, configs, SenderConfig::default())
    }

    /// Starts a node that sends like this.
    pub(crate) fn start_with(
        &self,
        name: &str,
        configs: Vec<ServiceConfig>,
        sends: SenderConfig,
    ) -> Node {
        self.start_at(self.seat(name, None), configs, sends)
    }

    /// Starts a node that waits for this between its steps.
    pub(crate) fn start_hooked(&self, name: &str, configs: Vec<ServiceConfig>, hook: Hook) -> Node {
        self.start_at(self.seat(name, Some(hook)), configs, SenderConfig::default())
    }

    fn seat(&self, name: &str, hook: Option<Hook>) -> Arc<Seat> {
        let node = name.parse().unwrap();
        let session = self.books.as_ref().map(|books| books.registry.session(&node));
        self.ledger.seat(name, hook, session)
    }

    fn start_at(&self, seat: Arc<Seat>, configs: Vec<ServiceConfig>, sends: SenderConfig) -> Node {
        let tasks = Tasks::current(Stop::default());
        let sender = Sender::new(sends).unwrap();
        let names = Names { cluster: "example.org".to_owned() };
        let desk = Arc::clone(&seat);
        let services = Services::start(desk, Arc::new(sender), configs, &names, &tasks);
        self.ledger.tells(&services);
        Node { services, seat, tasks }
    }

    /// Says texts in a partition.
    pub(crate) fn says(&self, partition: u16, numbers: std::ops::Range<usize>) -> Vec<String> {
        let texts = numbers.map(|number| format!("{partition}-{number}"));
        let said = texts.inspect(|text| _ = self.ledger.say(partition, text));
        said.collect()
    }

    /// Lets everybody act, without that time passes.
    pub(crate) async fn settles(&self) {
        for _turn in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    /// Waits for what the registry is writing: its thread knows nothing of the clock.
    async fn writes(&self) {
        let Some(books) = &self.books else { return };
        // What was written before this is written when this was refused.
        let (key, data) = ("nothing".to_owned(), Some(Vec::new()));
        let refused = books.reader.cas(Cas { key, expect: Some(1), data }).await;
        assert!(refused.unwrap().is_err());
        self.settles().await;
    }

    /// What stands in the registry.
    pub(crate) async fn stands(&self, key: &str) -> Option<Value> {
        self.writes().await;
        let value = self.books.as_ref().unwrap().reader.get(key).await.unwrap()?;
        Some(serde_json::from_slice(&value.data).unwrap())
    }

    /// Lets everybody do all that needs no time.
    pub(crate) async fn acts(&self) {
        for _often in 0..20 {
            self.settles().await;
        }
    }

    /// Lets time pass.
    pub(crate) async fn passes(&self, time: Duration) {
        let end = self.passed.get() + time;
        while self.passed.get() < end {
            self.settles().await;
            let before = self.passed.replace(end.min(self.passed.get() + STEP));
            // Often enough: everything that the registry is asked for may take seconds.
            if before.as_secs() < self.passed.get().as_secs() {
                self.writes().await;
            }
            self.clock.set(self.passed.get());
        }
        self.settles().await;
    }

    /// Lets time pass until something is so.
    pub(crate) async fn until<T: Debug>(&self, what: &str, mut ask: impl FnMut() -> Result<(), T>) {
        let end = self.passed.get() + PATIENCE;
        while let Err(seen) = ask() {
            assert!(self.passed.get() < end, "waited in vain for {what}: {seen:?}");
            self.passes(STEP).await;
        }
    }

    /// Until the service has taken just this, in this order.
    pub(crate) async fn arrives(&self, service: &Service, said: &[String]) {
        self.until("everything to arrive", || {
            let taken = service.taken();
            if taken.len() >= said.len() { Ok(()) } else { Err(taken) }
        })
        .await;
        assert_eq!(service.taken(), said);
        service.checks(&self.ledger);
    }

    /// Until it has taken just this of a partition, in this order.
    pub(crate) async fn arrives_in(&self, service: &Service, partition: u16, said: &[String]) {
        let begins = format!("{partition}-");
        let ours = || -> Vec<String> {
            service.taken().into_iter().filter(|text| text.starts_with(&begins)).collect()
        };
        self.until("everything to arrive", || {
            let taken = ours();
            if taken.len() >= said.len() { Ok(()) } else { Err(taken) }
        })
        .await;
        assert_eq!(ours(), said);
    }

    /// Until a service is owed nothing, which the log knows.
    pub(crate) async fn is_settled(&self, partition: u16) {
        self.until("nothing to be owed", || {
            let lane = self.ledger.lane(partition, CRM);
            match lane {
                Some(lane) if lane.pending() == 0 && lane.unfinished.is_empty() => Ok(()),
                other => Err(other),
            }
        })
        .await;
    }

    /// Until so many requests have come.
    pub(crate) async fn came(&self, service: &Service, count: usize) {
        self.until("a request", || {
            let seen = service.seen();
            if seen.len() >= count { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

impl Node {
    /// How the service does.
    pub(crate) fn view(&self) -> ServiceView {
        self.services.list().into_iter().find(|view| view.name == CRM).unwrap()
    }

    /// It is gone in the middle of whatever it did.
    pub(crate) async fn dies(self) {
        self.tasks.finish().await;
        if let Some(session) = &self.seat.session {
            session.end().await;
        }
    }

    /// It reaches the registry no more, or again.
    pub(crate) fn cuts(&self, cut: bool) {
        self.seat.session.iter().for_each(|session| session.set_cut(cut));
    }
}

/// A service as a node's file would describe it.
pub(crate) fn described(name: &str, url: &str) -> ServiceConfig {
    ServiceConfig {
        name: name.to_owned(),
        url: url.to_owned(),
        dialect: Dialect::Matrix,
        secret_file: None,
        secrets: BTreeMap::new(),
        outcall_give_up: Duration::from_secs(3600),
        kinds: vec!["*".to_owned()],
        allow_private: vec!["127.0.0.0/8".parse().unwrap()],
        batch: BatchLimits::default(),
        parallel: 16,
        retry: Retry { cap: Duration::from_secs(30), ..Retry::default() },
        from_start: true,
        order: Order::Chat,
        keep: Keep::default(),
    }
}

pub(crate) fn crm(service: &Service) -> ServiceConfig {
    described(CRM, &service.url())
}

//! The archive of one process life: the real one, with its writer, run by one thread in an order that is always the
//! same.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use archive::Archive;
use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use replication::core::PartitionView;
use replication::{NotRun, RequestHead, Stream};
use runtime::{EnteredClock, SimulatedClock, Stop, Tasks};
use segment::archive::{Archive as Engine, ArchiveConfig, SpaceConfig};
use segment::{Disk, Reserve};

use super::clients::{self, What};
use super::disk::Volatile;
use super::port::{Port, Standing, Wanted};
use crate::agenda::Time;

/// Rounds of a run; more means that something never comes to rest.
const ROUNDS_MAX: usize = 20_000;
/// So many rounds in which nothing was done are the end: what wakes others may need one.
const QUIET_ROUNDS: usize = 4;
/// The longest a node waits for another's answer.
const CALL_MAX: Duration = Duration::from_secs(60);
/// A value file is rolled over before it would become larger.
const FILE_BYTES: u64 = 1 << 20;

/// Where the archives of a node are: one for each of its stores.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) folder: PathBuf,
    pub(crate) disk: Arc<Volatile>,
}

impl Home {
    /// How the archive of a store is kept.
    pub(crate) fn config(&self, node: &NodeId, store: u64) -> ArchiveConfig {
        config(&self.of(store), node, store)
    }

    /// Where it is.
    pub(crate) fn of(&self, store: u64) -> PathBuf {
        self.folder.join(format!("{store:016x}"))
    }
}

pub(crate) fn config(folder: &Path, node: &NodeId, store: u64) -> ArchiveConfig {
    ArchiveConfig {
        home: folder.to_owned(),
        node: node.clone(),
        store,
        spaces: vec![SpaceConfig { id: 1, root: folder.join("spaces.d"), takes: true }],
        reserve: Reserve::Bytes(0),
        value_file_bytes_max: FILE_BYTES,
        idle_max: Duration::from_secs(1800),
        hidden_for: Duration::from_secs(3600),
        grace: Duration::from_secs(10 * 24 * 3600),
        keeping: None,
    }
}

/// The archive of one life.
#[derive(Debug)]
pub(crate) struct Vault {
    pub(crate) archive: Archive,
    pub(crate) engine: Engine,
    port: Arc<Port>,
    tasks: Tasks,
    clock: SimulatedClock,
    /// When it is run next, and its writer.
    pub(crate) planned: Option<Time>,
    pub(crate) shelving: Option<Time>,
    /// What it had let go when it was looked at.
    pub(crate) left: BTreeSet<u16>,
    executor: tokio::runtime::Runtime,
}

impl Vault {
    pub(crate) fn new(
        port: Port,
        home: &Home,
        (node, store): (&NodeId, u64),
        config: archive::Config,
        wall_ms: u64,
    ) -> Self {
        let executor = tokio::runtime::Builder::new_current_thread().build().expect("an executor");
        let tasks = Tasks::new(executor.handle().clone(), Stop::default());
        let clock = SimulatedClock::new();
        let entered = clock.enter();
        clock.set_wall(wall_ms);
        let disk = Arc::<Volatile>::clone(&home.disk) as Arc<dyn Disk>;
        let failed = |text: &str| panic!("the archive fails: {text}");
        let opened = Engine::open_by_hand(disk, home.config(node, store), failed);
        let (engine, found) = opened.expect("an archive");
        assert_eq!(found.damages, [], "{node} finds damage in store {store}");
        let port = Arc::new(port);
        let append = Arc::<Port>::clone(&port);
        let standing = Standing(Arc::clone(&port));
        let archive = Archive::new(standing, append, engine.clone(), config, &tasks);
        drop(entered);
        Self {
            archive,
            engine,
            port,
            tasks,
            clock,
            planned: None,
            shelving: None,
            left: BTreeSet::new(),
            executor,
        }
    }

    /// Its clock, set to a time since the life began.
    fn at(&self, time: Time, wall_ms: u64) -> EnteredClock {
        let entered = self.clock.enter();
        self.clock.set_wall(wall_ms);
        self.clock.set(Duration::from_micros(time));
        entered
    }

    /// Lets everything go on that can, at a time since the life began. Gives what the archive wants then.
    pub(crate) fn run(&self, time: Time, wall_ms: u64) -> Result<VecDeque<Wanted>, String> {
        let _entered = self.at(time, wall_ms);
        let rests = self.executor.block_on(async {
            let mut quiet = 0;
            for _ in 0..ROUNDS_MAX {
                let before = self.port.steps();
                tokio::task::yield_now().await;
                quiet = if self.port.steps() == before { quiet + 1 } else { 0 };
                if quiet == QUIET_ROUNDS {
                    return true;
                }
            }
            false
        });
        if !rests {
            return Err("the archive is never done".to_owned());
        }
        match self.tasks.failed() {
            Some(panic) => Err(format!("a task of the archive panicked: {panic}")),
            None => Ok(self.port.take()),
        }
    }

    /// The writer does what waits for it.
    pub(crate) fn shelve(&self, time: Time, wall_ms: u64) {
        let _entered = self.at(time, wall_ms);
        self.engine.turn();
    }

    /// When somebody wants to be woken next, since the life began.
    pub(crate) fn wakes(&self) -> Option<Time> {
        let next = self.clock.next()?;
        Some(u64::try_from(next.as_micros()).unwrap_or(u64::MAX / 2))
    }

    /// Lets a test do something with the archive's own files, on its clock.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Engine) -> T) -> T {
        let _entered = self.clock.enter();
        work(&self.engine)
    }

    /// The process is gone.
    pub(crate) fn abandon(&self) {
        let _entered = self.clock.enter();
        self.engine.abandon();
    }

    pub(crate) fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let _entered = self.clock.enter();
        self.port.opened(partition, epoch, seq);
        self.archive.opened(partition, epoch, seq);
    }

    pub(crate) fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let _entered = self.clock.enter();
        self.archive.committed(partition, epoch, seq);
    }

    pub(crate) fn closed(&self, partition: PartitionId, epoch: u64) {
        let _entered = self.clock.enter();
        self.archive.closed(partition, epoch);
        self.port.closed(partition);
    }

    pub(crate) fn show(&self, partition: PartitionId, view: PartitionView) {
        self.port.show(partition, view);
    }

    /// A client asks.
    pub(crate) fn ask(&self, operation: u64, what: What) {
        let (archive, port) = (self.archive.clone(), Arc::clone(&self.port));
        self.spawn("client", async move {
            let heard = Box::new(clients::perform(&archive, what).await);
            port.want(Wanted::Done { operation, heard });
        });
    }

    /// Another node asks.
    pub(crate) fn answer(&self, call: u64, from: NodeId, head: RequestHead, body: Bytes) {
        let (archive, port) = (self.archive.clone(), Arc::clone(&self.port));
        self.spawn("node", async move {
            let wait = Duration::from_millis(head.wait_ms.into()).min(CALL_MAX);
            let answer: Result<Result<Bytes, NotRun>, _> =
                runtime::timeout(wait, archive.answer(from, head, &body)).await;
            // Nobody waits any more.
            if let Ok(answer) = answer {
                port.want(Wanted::Answered { call, answer });
            }
        });
    }

    /// Another node begins a stream.
    pub(crate) fn serve(&self, from: NodeId, body: Bytes, stream: Stream) {
        let archive = self.archive.clone();
        self.spawn("stream", async move {
            if archive.streams(&body) {
                archive.stream(&from, &body, stream).await;
            }
        });
    }

    fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let port = Arc::clone(&self.port);
        let mut future = Box::pin(future);
        let counted = std::future::poll_fn(move |cx| -> Poll<()> {
            port.step();
            future.as_mut().poll(cx)
        });
        self.tasks.spawn(name, counted);
    }
}

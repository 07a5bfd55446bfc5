//! What the parts of this crate share on a node: what they stand on, who waits for what, and how much there may
//! be of each at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hashring::{NodeId, PartitionId};
use runtime::{Instant, Tasks};
use segment::LogEnd;
use segment::archive::{self as engine, CollectionName, UnifiedId, Upload, Versioning};
use tokio::sync::{Notify, Semaphore};

use crate::archive::Append;
use crate::buffers::Buffers;
use crate::ground::Ground;
use crate::pace::Pace;
use crate::question::{Ask, Reply};
use crate::reign::Reign;
use crate::request::{Made, Name};
use crate::room::Rooms;
use crate::spoken::Strange;
use crate::{Code, Config, Found, Refusal, meters, place};

/// Uploads at once on a node, and as many of other nodes.
const UPLOADS_MAX: usize = 256;
/// Segments that are read at once on a node, and as many for other nodes.
const READS_MAX: usize = 256;
/// Partitions whose logs are read at once.
const CATCH_UPS_MAX: usize = 4;
/// A collection is kept in mind once it is known; there are no more than that.
const KNOWN_MAX: usize = 65_536;

/// Half of the processors, rounded down, are left to everybody else: where there is one, none is.
fn digests() -> usize {
    std::thread::available_parallelism().map_or(1, |all| all.get().div_ceil(2))
}

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) replication: Arc<dyn Ground>,
    pub(crate) node: NodeId,
    pub(crate) append: Arc<dyn Append>,
    /// This node's own archive.
    pub(crate) engine: engine::Archive,
    /// What earlier stores of this node left.
    pub(crate) earlier: OnceLock<Vec<engine::Archive>>,
    pub(crate) config: Config,
    pub(crate) tasks: Tasks,
    pub(crate) reigns: Box<[Mutex<Option<Arc<Reign>>>]>,
    /// A reign began or ended.
    pub(crate) reigns_changed: Notify,
    /// Partitions that this node leads, of which something is to be applied.
    pub(crate) ready: Mutex<BTreeSet<PartitionId>>,
    pub(crate) ready_rung: Notify,
    /// One at a time reads a partition's log. How far it was read: everything of it up to there is applied.
    pub(crate) catching_up: Box<[tokio::sync::Mutex<LogEnd>]>,
    pub(crate) catch_ups: Semaphore,
    /// Something may be owed, or undecided.
    pub(crate) owing_rung: Notify,
    /// Uploads of this process life.
    count: AtomicU64,
    /// With how many parts of this node are at each.
    pub(crate) under_way: Mutex<BTreeMap<u64, u32>>,
    pub(crate) uploads: Semaphore,
    pub(crate) upload_kib: Arc<Semaphore>,
    pub(crate) held_uploads: Semaphore,
    pub(crate) held_kib: Semaphore,
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) pace: Pace,
    pub(crate) buffers: Arc<Buffers>,
    /// So many sequences are digested at once.
    pub(crate) digests: Arc<Semaphore>,
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) served: Semaphore,
    collections: Mutex<BTreeMap<CollectionName, Versioning>>,
    /// Nodes of other versions, each told of once.
    strangers: Mutex<BTreeSet<NodeId>>,
}

impl Shared {
    pub(crate) fn new(
        replication: Arc<dyn Ground>,
        append: Arc<dyn Append>,
        engine: engine::Archive,
        config: Config,
        tasks: &Tasks,
    ) -> Self {
        let partitions = usize::from(replication.partitions().count());
        Self {
            node: replication.node().clone(),
            replication,
            append,
            engine,
            earlier: OnceLock::new(),
            config,
            tasks: tasks.clone(),
            reigns: (0..partitions).map(|_| Mutex::default()).collect(),
            reigns_changed: Notify::new(),
            ready: Mutex::default(),
            ready_rung: Notify::new(),
            catching_up: (0..partitions).map(|_| tokio::sync::Mutex::default()).collect(),
            catch_ups: Semaphore::new(CATCH_UPS_MAX),
            owing_rung: Notify::new(),
            count: AtomicU64::new(0),
            under_way: Mutex::default(),
            uploads: Semaphore::new(UPLOADS_MAX),
            upload_kib: Arc::new(Semaphore::new(config.memory_kib)),
            held_uploads: Semaphore::new(UPLOADS_MAX),
            held_kib: Semaphore::new(config.memory_kib),
            rooms: Arc::default(),
            pace: Pace::new(),
            buffers: Arc::default(),
            digests: Arc::new(Semaphore::new(digests())),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            served: Semaphore::new(READS_MAX),
            collections: Mutex::default(),
            strangers: Mutex::default(),
        }
    }

    /// The reign of a partition, if it is that epoch's.
    pub(crate) fn reign(&self, partition: PartitionId, epoch: u64) -> Option<Arc<Reign>> {
        self.reign_now(partition).filter(|reign| reign.epoch == epoch)
    }

    /// The reign of a partition, if this node leads it.
    pub(crate) fn reign_now(&self, partition: PartitionId) -> Option<Arc<Reign>> {
        let slot = self.reigns.get(usize::from(partition.0))?;
        locked(slot).as_ref().map(Arc::clone)
    }

    /// Something of a partition that this node leads can be applied.
    pub(crate) fn is_ready(&self, partition: PartitionId) {
        locked(&self.ready).insert(partition);
        self.ready_rung.notify_one();
    }

    /// Another node says what this one does not understand.
    pub(crate) fn strange(&self, node: &NodeId, strange: Strange) {
        meters::not_understood();
        if locked(&self.strangers).insert(node.clone()) {
            tracing::warn!("{}", strange.refusal(node));
        }
    }

    /// A new upload of this process life.
    pub(crate) fn upload(&self) -> Upload {
        let count = self.count.fetch_add(1, Ordering::SeqCst) + 1;
        Upload { node: self.node.clone(), boot: self.config.boot, count }
    }

    /// Something that no other request is repeated with.
    pub(crate) fn unique(&self) -> String {
        format!("\u{0}{}", self.upload())
    }

    pub(crate) fn is_under_way(&self, count: u64) -> bool {
        locked(&self.under_way).contains_key(&count)
    }

    /// Uploads under way that this node coordinates, and that other nodes bring to it.
    pub(crate) fn uploads_under_way(&self) -> (usize, usize) {
        let taken = |places: &Semaphore| UPLOADS_MAX - places.available_permits().min(UPLOADS_MAX);
        (taken(&self.uploads), taken(&self.held_uploads))
    }

    /// How many members must hold what is committed.
    pub(crate) fn commit(&self) -> usize {
        usize::from(self.replication.commit())
    }

    /// Makes a collection, or finds out how it keeps versions.
    pub(crate) async fn collection(
        &self,
        name: &CollectionName,
        make: Option<Versioning>,
        until: Instant,
    ) -> Result<Made, Refusal> {
        let partition = place::of_collection(self.replication.partitions(), name);
        let asked = Ask::Collection { name: name.clone(), make };
        match self.ask(partition, asked, until).await? {
            Reply::Made(made) => {
                let mut known = locked(&self.collections);
                if known.len() < KNOWN_MAX {
                    known.insert(name.clone(), made.versioning);
                }
                Ok(made)
            }
            _ => Err(misplaced()),
        }
    }

    /// How a collection keeps versions. It never changes.
    pub(crate) async fn versioned(
        &self,
        name: &CollectionName,
        until: Instant,
    ) -> Result<Versioning, Refusal> {
        let known = locked(&self.collections).get(name).copied();
        if let Some(known) = known.or_else(|| self.engine.versioning(name)) {
            return Ok(known);
        }
        Ok(self.collection(name, None, until).await?.versioning)
    }

    pub(crate) async fn find(
        &self,
        name: &Name,
        version: Option<UnifiedId>,
        until: Instant,
    ) -> Result<Found, Refusal> {
        self.versioned(&name.collection, until).await?;
        let partition = place::of_name(self.replication.partitions(), name)?;
        let asked = Ask::Find { name: name.clone(), version };
        match self.ask(partition, asked, until).await? {
            Reply::Found(found) => Ok(*found),
            _ => Err(misplaced()),
        }
    }

    pub(crate) async fn version(
        &self,
        name: &Name,
        asked: Result<Ask, Refusal>,
        until: Instant,
    ) -> Result<UnifiedId, Refusal> {
        let partition = place::of_name(self.replication.partitions(), name)?;
        match self.ask(partition, asked?, until).await? {
            Reply::Version(version) => Ok(version),
            _ => Err(misplaced()),
        }
    }
}

/// Counts what is refused.
pub(crate) fn told<T>(done: Result<T, Refusal>) -> Result<T, Refusal> {
    done.inspect_err(|refusal| meters::refused(refusal.code))
}

/// Two nodes do not mean the same.
pub(crate) fn misplaced() -> Refusal {
    Refusal::new(Code::Internal, "the answer is none to what was asked")
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).finish_non_exhaustive()
    }
}

//! The handle, and what the parts of this crate share.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use replication::core::Outcome;
use replication::{Answering, NotRun, Replication, RequestHead, Stream, Streaming};
use runtime::{Instant, Tasks};
use segment::LogEnd;
use segment::archive::{self as engine, CollectionName, UnifiedId, Upload, Versioning};
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::pace::Pace;
use crate::question::{Ask, Question, Reply, Stream as Opening};
use crate::reign::Reign;
use crate::request::Name;
use crate::room::Rooms;
use crate::spoken::{self, Strange, begun, decode, encode, is_stream};
use crate::{
    Code, Delete, Found, List, Listing, Refusal, applying, holding, left, meters, paying, place,
    question, serving, undecided, unfinished,
};

/// Uploads at once on a node, and as many of other nodes.
const UPLOADS_MAX: usize = 256;
/// Segments that are read at once on a node, and as many for other nodes.
const READS_MAX: usize = 256;
/// Partitions whose logs are read at once.
const CATCH_UPS_MAX: usize = 4;
/// A collection is kept in mind once it is known; there are no more than that.
const KNOWN_MAX: usize = 65_536;

/// Appends to the log of a partition, beside what the chats append.
pub trait Append: Send + Sync + 'static {
    /// Appends, if this node leads the partition in `epoch`. Returns the entry's place and the answer to
    /// come, or `None`, and then nothing was appended.
    fn append(
        &self,
        partition: PartitionId,
        epoch: u64,
        payload: Bytes,
        acks: u8,
    ) -> Option<(u64, oneshot::Receiver<Outcome>)>;
    /// What was appended was refused after all: nothing more must be appended in that epoch.
    fn give_up(&self, partition: PartitionId, epoch: u64);
}

/// What an operator, or a test, decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's process life.
    pub boot: u64,
    /// After so long an entry that was appended is of unknown outcome, and asked for again.
    pub timeout: Duration,
    /// So long an upload waits for the rest of the members, once enough have it.
    pub slack: Duration,
    /// So long a client may send nothing of a body.
    pub silence: Duration,
    /// So old must an upload that is held be before anybody asks what becomes of it.
    pub undecided: Duration,
    /// So old must it be to be given up although its coordinator cannot be asked.
    pub abandoned: Duration,
    /// So long another node may say nothing in the middle of what it brings or reads. Longer than a slow client
    /// can make a coordinator wait.
    pub stalled: Duration,
    /// So long a holder may take to give a piece to whoever reads: longer than a disk does that is not broken.
    pub holder: Duration,
    /// So long nothing may come of an archive of parts before it is given up.
    pub unfinished: Duration,
    /// How often a node looks whether what it holds of partitions that it has left is needed no more.
    pub left: Duration,
    /// Bytes of uploads in memory, in KiB: of those this node coordinates, and as many of others'. More than a
    /// sequence.
    pub memory_kib: usize,
    /// Rules to break on purpose.
    pub sabotage: Sabotage,
}

/// Rules to break on purpose, to see that it shows. All false is correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// What is held for long is given up here, and the log is not asked.
    pub held_by_age: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            boot: 1,
            timeout: Duration::from_secs(5),
            slack: Duration::from_secs(5),
            silence: Duration::from_secs(60),
            undecided: Duration::from_secs(60),
            abandoned: Duration::from_secs(3600),
            stalled: Duration::from_secs(300),
            holder: Duration::from_secs(15),
            unfinished: Duration::from_secs(7 * 24 * 3600),
            left: Duration::from_secs(600),
            memory_kib: 128 << 10,
            sabotage: Sabotage::default(),
        }
    }
}

/// The archive of a cluster, as one node answers for it. Clones are the same.
#[derive(Clone, Debug)]
pub struct Archive {
    pub(crate) shared: Arc<Shared>,
}

/// What the parts share.
pub(crate) struct Shared {
    pub(crate) replication: Replication,
    pub(crate) node: NodeId,
    pub(crate) append: Arc<dyn Append>,
    /// This node's own archive.
    pub(crate) engine: engine::Archive,
    /// What earlier stores of this node left.
    pub(crate) earlier: OnceLock<Vec<engine::Archive>>,
    pub(crate) config: Config,
    pub(crate) tasks: Tasks,
    reigns: Box<[Mutex<Option<Arc<Reign>>>]>,
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
    pub(crate) reads: Arc<Semaphore>,
    pub(crate) served: Semaphore,
    collections: Mutex<BTreeMap<CollectionName, Versioning>>,
    /// Nodes of other versions, each told of once.
    strangers: Mutex<BTreeSet<NodeId>>,
}

impl Archive {
    /// The archive that stands on these; its tasks are among `tasks`. Tell it of what becomes of partitions,
    /// and let it answer other nodes: nothing is answered here before that.
    pub fn new(
        replication: Replication,
        append: Arc<dyn Append>,
        engine: engine::Archive,
        config: Config,
        tasks: &Tasks,
    ) -> Self {
        let partitions = usize::from(replication.partitions().count());
        let shared = Arc::new(Shared {
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
            reads: Arc::new(Semaphore::new(READS_MAX)),
            served: Semaphore::new(READS_MAX),
            collections: Mutex::default(),
            strangers: Mutex::default(),
        });
        let archive = Self { shared };
        archive.begin("archive-apply", applying::apply);
        archive.begin("archive-follow", applying::follow);
        archive.begin("archive-pay", paying::pay);
        archive.begin("archive-undecided", undecided::decide);
        archive.begin("archive-unfinished", unfinished::give_up);
        archive.begin("archive-left", left::give_back);
        archive
    }

    fn begin<F>(&self, name: &'static str, work: impl FnOnce(Arc<Shared>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, work) = (self.shared.tasks.stop().clone(), work(Arc::clone(&self.shared)));
        self.shared.tasks.spawn(name, async move {
            tokio::select! { biased;
                () = stop.stopped() => {}
                () = work => {}
            }
        });
    }

    /// Makes a collection, for ever; whether it is new. Again alike changes nothing.
    ///
    /// # Errors
    /// [`Code::CollectionExists`] and those of every request.
    pub async fn create_collection(
        &self,
        name: &CollectionName,
        versioning: Versioning,
        until: Instant,
    ) -> Result<bool, Refusal> {
        let made = self.shared.collection(name, Some(versioning), until).await;
        told(made.map(|made| made.now))
    }

    /// What a key shows, or another version of it that can be seen.
    ///
    /// # Errors
    /// [`Code::UnknownCollection`], [`Code::NotFound`], [`Code::UnknownVersion`] and those of every request.
    pub async fn find(
        &self,
        name: &Name,
        version: Option<UnifiedId>,
        until: Instant,
    ) -> Result<Found, Refusal> {
        told(self.shared.find(name, version, until).await)
    }

    /// Hides everything that the key has now, or one version; the delete's own version is told.
    ///
    /// # Errors
    /// [`Code::UnknownCollection`], [`Code::UnknownVersion`] and those of every request.
    pub async fn delete(&self, delete: Delete, until: Instant) -> Result<UnifiedId, Refusal> {
        let Delete { name, version: target, repeat } = delete;
        let repeat = repeat.unwrap_or_else(|| self.shared.unique());
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked =
            asked.map(|versioning| Ask::Delete { name: name.clone(), versioning, target, repeat });
        told(self.shared.version(&name, asked, until).await)
    }

    /// Begins an archive of several parts; its version is told.
    ///
    /// # Errors
    /// [`Code::UnknownCollection`] and those of every request.
    pub async fn start(
        &self,
        name: &Name,
        repeat: Option<String>,
        until: Instant,
    ) -> Result<UnifiedId, Refusal> {
        let repeat = repeat.unwrap_or_else(|| self.shared.unique());
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked = asked.map(|versioning| Ask::Start { name: name.clone(), versioning, repeat });
        told(self.shared.version(name, asked, until).await)
    }

    /// Makes it whole: its parts must be 1 to the last one.
    ///
    /// # Errors
    /// [`Code::UnknownVersion`], [`Code::WrongOrder`], [`Code::AlreadyFinal`] and those of every request.
    pub async fn finish(
        &self,
        name: &Name,
        version: UnifiedId,
        until: Instant,
    ) -> Result<(), Refusal> {
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked = asked.map(|versioning| Ask::Finish { name: name.clone(), versioning, version });
        told(self.shared.version(name, asked, until).await.map(drop))
    }

    /// Gives it up, or hides it when it was whole.
    ///
    /// # Errors
    /// [`Code::UnknownVersion`] and those of every request.
    pub async fn abort(
        &self,
        name: &Name,
        version: UnifiedId,
        until: Instant,
    ) -> Result<(), Refusal> {
        let asked = self.shared.versioned(&name.collection, until).await;
        let asked = asked.map(|versioning| Ask::Abort { name: name.clone(), versioning, version });
        told(self.shared.version(name, asked, until).await.map(drop))
    }

    /// What a collection shows: all that was acknowledged before, of all partitions.
    ///
    /// # Errors
    /// [`Code::UnknownCollection`]; [`Code::NotReady`] when a partition cannot be asked.
    pub async fn list(&self, list: List, until: Instant) -> Result<Listing, Refusal> {
        told(self.shared.list(list, until).await)
    }

    /// How far this node's archive has taken over what the log of a partition decides: an entry up to here
    /// is needed no more.
    pub fn applied(&self, partition: PartitionId) -> LogEnd {
        self.shared.engine.applied(partition.0)
    }

    /// Up to which entry of a partition's log this node has, synced and in its own files, all bytes that entries bring:
    /// up to there they are needed no more. 0 if that is not known, or something of it is lacking.
    pub async fn kept(&self, partition: PartitionId) -> u64 {
        self.shared.kept(partition).await
    }

    /// How many segments are known to be not whole on this node.
    pub fn owed(&self) -> usize {
        self.shared.engine.owed()
    }

    /// What earlier stores of this node left: bytes that are owed are looked for there first. Once.
    pub fn read_also(&self, earlier: Vec<engine::Archive>) {
        if self.shared.earlier.set(earlier).is_err() {
            tracing::error!("earlier stores were named before, and those are read");
        }
        self.shared.owing_rung.notify_one();
    }

    /// Uploads under way that this node coordinates, and that other nodes bring to it.
    pub fn under_way(&self) -> (usize, usize) {
        let taken = |places: &Semaphore| UPLOADS_MAX - places.available_permits().min(UPLOADS_MAX);
        (taken(&self.shared.uploads), taken(&self.shared.held_uploads))
    }

    /// How much more memory, in KiB, uploads may take that this node coordinates.
    pub fn memory_kib_left(&self) -> usize {
        self.shared.upload_kib.available_permits()
    }

    /// This node's own archive.
    pub fn engine(&self) -> &engine::Archive {
        &self.shared.engine
    }

    /// This node leads `epoch`. See [`replication::Host`].
    pub fn opened(&self, partition: PartitionId, epoch: u64, seq: u64) {
        let Some(slot) = self.shared.reigns.get(usize::from(partition.0)) else { return };
        let reign = Arc::new(Reign::new(partition, epoch, seq));
        if let Some(before) = locked(slot).replace(Arc::clone(&reign)) {
            before.closed.stop();
        }
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn("archive-open", async move {
            let stop = shared.tasks.stop().clone();
            tokio::select! { biased;
                () = stop.stopped() => {}
                () = reign.closed.stopped() => {}
                () = applying::open(&shared, &reign) => {}
            }
            shared.reigns_changed.notify_waiters();
        });
    }

    /// Everything up to `seq` is committed. See [`replication::Host`].
    pub fn committed(&self, partition: PartitionId, epoch: u64, seq: u64) {
        if self.shared.reign(partition, epoch).is_some_and(|reign| reign.commit(seq)) {
            self.shared.is_ready(partition);
        }
    }

    /// This node does not lead `epoch` any more. See [`replication::Host`].
    pub fn closed(&self, partition: PartitionId, epoch: u64) {
        let Some(slot) = self.shared.reigns.get(usize::from(partition.0)) else { return };
        if let Some(reign) = locked(slot).take_if(|reign| reign.epoch <= epoch) {
            reign.closed.stop();
        }
        self.shared.reigns_changed.notify_waiters();
    }

    /// Runs a request of another node, for which [`crate::is_question`] is true.
    pub fn answer(&self, from: NodeId, head: RequestHead, body: &[u8]) -> Answering {
        let shared = Arc::clone(&self.shared);
        let asked = decode::<Question>(body);
        Box::pin(async move {
            if shared.tasks.stop().is_stopped() {
                return Err(NotRun::Stopping);
            }
            let until = runtime::now() + Duration::from_millis(head.wait_ms.into());
            let answer = match asked {
                Err(strange @ Strange::Version(_)) => {
                    shared.strange(&from, strange);
                    return Ok(spoken::not_understood());
                }
                Err(strange @ Strange::Broken) => {
                    question::Answer::Done(Err(strange.refusal(&shared.node)))
                }
                Ok(Question::Ask(partition, ask)) => {
                    shared.answer_here(partition, ask, until).await
                }
                Ok(Question::List(list)) => {
                    question::Answer::Done(shared.list_here(list, until).await)
                }
                Ok(Question::Has(partition)) => {
                    question::Answer::Done(Ok(shared.has(partition).await))
                }
                Ok(Question::Upload(upload)) => {
                    let boot = shared.config.boot;
                    let under_way = boot == upload.boot && shared.is_under_way(upload.count);
                    question::Answer::Done(Ok(Reply::Upload { boot, under_way }))
                }
            };
            tracing::trace!(%from, "a question about objects");
            Ok(encode(&answer))
        })
    }

    /// Whether a request begins a stream of this crate.
    pub fn streams(&self, body: &[u8]) -> bool {
        is_stream(body)
    }

    /// Serves it.
    pub fn stream(&self, from: &NodeId, body: &[u8], mut stream: Stream) -> Streaming {
        let shared = Arc::clone(&self.shared);
        let opening = begun(body);
        let from = from.clone();
        Box::pin(async move {
            match opening {
                Ok(Opening::Bring(begin)) => holding::hold(&shared, &from, begin, stream).await,
                Ok(Opening::Fetch { at, part, from, until }) => {
                    serving::serve(&shared, at, part, from..until, stream).await;
                }
                Err(strange) => {
                    shared.strange(&from, strange);
                    // If the other is gone it does not need to know.
                    let frame = spoken::frame_not_understood();
                    let said = stream.send(&frame, &[]);
                    drop(runtime::timeout(shared.config.stalled, said).await);
                    stream.finish();
                }
            }
        })
    }
}

impl Shared {
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
    fn unique(&self) -> String {
        format!("\u{0}{}", self.upload())
    }

    pub(crate) fn is_under_way(&self, count: u64) -> bool {
        locked(&self.under_way).contains_key(&count)
    }

    /// How many members must hold what is committed.
    pub(crate) fn commit(&self) -> usize {
        usize::from(self.replication.commit())
    }

    /// Makes a collection, or finds out how it keeps versions.
    async fn collection(
        &self,
        name: &CollectionName,
        make: Option<Versioning>,
        until: Instant,
    ) -> Result<crate::request::Made, Refusal> {
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

    async fn version(
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

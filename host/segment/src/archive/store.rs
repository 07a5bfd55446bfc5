//! The archive of one node: the handle.
//!
//! An operation is verified on the caller's thread, so that digests of many uploads are computed side by
//! side, and then handed to the one thread that writes. Reading happens on the caller's thread and never
//! waits for the writer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use hashring::NodeId;

use crate::Reserve;
use crate::archive::applied::Applied;
use crate::archive::by_hand::Hand;
use crate::archive::debt::Debts;
use crate::archive::inbox::{Ending, Inbox, Reply};
use crate::archive::index::{Index, Usage};
use crate::archive::keeper::{self, Keeping};
use crate::archive::name::CollectionName;
use crate::archive::operation::{Answer, Digests, Operation, Refused};
use crate::archive::pace::Bell;
use crate::archive::spaces::{SpaceConfig, Spaces};
use crate::archive::undecided::Undecided;
use crate::archive::writer::Writer;
use crate::archive::{OpenError, ReadError, Versioning, measure, recovery};
use crate::disk::{Disk, SystemDisk};
use crate::ledger::Position;

/// So many damages are remembered; all are counted and logged.
const DAMAGES_MAX: usize = 1000;

/// Where the archive is and how it is kept.
#[derive(Clone, Debug)]
pub struct ArchiveConfig {
    /// The folder of its index and of the list of its spaces; made if it is not there.
    pub home: PathBuf,
    /// Whose it is.
    pub node: NodeId,
    /// The data directory's number: value files of another are not taken.
    pub store: u64,
    /// Where its value files are.
    pub spaces: Vec<SpaceConfig>,
    /// What stays free on the disk of each space.
    pub reserve: Reserve,
    /// A value file is rolled over before it would become larger, in bytes.
    pub value_file_bytes_max: u64,
    /// An upload of which nothing came for so long is given up.
    pub idle_max: Duration,
    /// Hidden bytes are collected after so long.
    pub hidden_for: Duration,
    /// Tombstones are collected after so long: longer than any copy can be away and come back.
    pub grace: Duration,
    /// How it is kept in the background; `None` to do so only when asked.
    pub keeping: Option<Keeping>,
}

/// What a start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Value files.
    pub files: usize,
    /// Those of them that had to be read: they were left open, or the index lacked them.
    pub scanned: usize,
    /// Bytes at the ends of files that were never confirmed and are gone.
    pub cut_bytes: u64,
    /// Uploads that had not become final, and are given up: of those that have something in the files that had to be read.
    /// What is under way when an archive is closed is in [`Ended`].
    pub given_up: u64,
    /// What was found broken.
    pub damages: Vec<Damaged>,
}

/// A place where a value file is not what was written, or no file. It is left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The value file.
    pub file: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// What is wrong.
    pub what: String,
}

/// What an end left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Uploads that were under way, and are given up.
    pub active: usize,
    /// Operations that were answered that nobody knows whether they were done.
    pub lost: usize,
}

/// The archive of one node. Clones are the same; when the last is dropped, what waits is done and
/// answered, and the drop returns.
#[derive(Clone, Debug)]
pub struct Archive {
    running: Arc<Running>,
}

/// What the handle, the writer and the readers share.
pub(crate) struct Shared {
    pub(crate) config: ArchiveConfig,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) spaces: Spaces,
    pub(crate) index: Index,
    pub(crate) inbox: Inbox,
    /// The number of the next value file.
    pub(crate) next_file: AtomicU32,
    /// Files that may not be compacted now: sequences of uploads under way are in them.
    pub(crate) pinned: Mutex<BTreeSet<u32>>,
    /// Which space each value file is in.
    placed: Mutex<BTreeMap<u32, u32>>,
    collections: Mutex<BTreeMap<CollectionName, Versioning>>,
    applied: Mutex<BTreeMap<u16, Applied>>,
    debts: Mutex<Debts>,
    undecided: Mutex<Undecided>,
    /// Shards that this node has no part in: compaction collects what is here of them.
    left: Mutex<BTreeSet<u16>>,
    damages: Mutex<Vec<Damaged>>,
    /// Files that compaction leaves alone until the next start: it found them damaged.
    spared: Mutex<BTreeSet<u32>>,
    /// Files that the index has forgotten and that are not removed yet: no pass begins before they are.
    forgotten: Mutex<BTreeSet<u32>>,
    /// How far the scrub came, once it has begun.
    pub(crate) scrub: Mutex<Option<Position>>,
    pub(crate) bell: Bell,
    /// The writer, if it has no thread.
    pub(crate) hand: OnceLock<Weak<Hand>>,
    retrieved: AtomicU64,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    ended: Arc<Mutex<Ended>>,
    /// It ends with the last handle.
    _hand: Option<Arc<Hand>>,
}

/// An archive that is recovered, and whose writer does not work yet.
struct Ready<F> {
    shared: Arc<Shared>,
    writer: Writer<F>,
    ended: Arc<Mutex<Ended>>,
    found: Found,
}

impl Archive {
    /// Opens the archive: recovers what is there, then starts the writer. `failed` is told, on the
    /// writer's thread, when nobody knows any more what is on the disk: the process must then end.
    ///
    /// # Errors
    /// [`OpenError`]; damage is none, it is in [`Found`].
    pub fn open(
        config: ArchiveConfig,
        failed: impl Fn(&str) + Send + 'static,
    ) -> Result<(Self, Found), OpenError> {
        Self::open_on(Arc::new(SystemDisk), config, failed)
    }

    /// The same on another disk.
    ///
    /// # Errors
    /// The same.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: ArchiveConfig,
        failed: impl Fn(&str) + Send + 'static,
    ) -> Result<(Self, Found), OpenError> {
        let home = config.home.clone();
        let refused = |source| OpenError::Disk { file: home.clone(), source };
        let Ready { shared, mut writer, ended, found } = Self::ready(disk, config, failed)?;
        let thread = runtime::thread("archive-writer", move || writer.run()).map_err(refused)?;
        let writer = Mutex::new(Some(thread));
        let keeping = shared.config.keeping;
        let running = Running { shared, writer, keeper: Mutex::default(), ended, _hand: None };
        if let Some(keeping) = keeping {
            let shared = Arc::clone(&running.shared);
            let keep = move || keeper::run(&shared, keeping);
            let thread = runtime::thread("archive-keeper", keep).map_err(refused)?;
            *running.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        }
        Ok((Self { running: Arc::new(running) }, found))
    }

    /// The same without threads: it does what waits when [`Archive::turn`] says so, and keeps nothing in the
    /// background.
    ///
    /// # Errors
    /// The same.
    pub fn open_by_hand(
        disk: Arc<dyn Disk>,
        config: ArchiveConfig,
        failed: impl Fn(&str) + Send + 'static,
    ) -> Result<(Self, Found), OpenError> {
        let Ready { shared, writer, ended, found } = Self::ready(disk, config, failed)?;
        let hand = Hand::new(Box::new(writer));
        // It is new: nobody has set it.
        drop(shared.hand.set(Arc::downgrade(&hand)));
        let (writer, keeper) = (Mutex::default(), Mutex::default());
        let running = Running { shared, writer, keeper, ended, _hand: Some(hand) };
        Ok((Self { running: Arc::new(running) }, found))
    }

    fn ready<F: Fn(&str) + Send + 'static>(
        disk: Arc<dyn Disk>,
        config: ArchiveConfig,
        failed: F,
    ) -> Result<Ready<F>, OpenError> {
        let home = config.home.clone();
        let refused = |source| OpenError::Disk { file: home.clone(), source };
        fs::create_dir_all(&home).map_err(refused)?;
        let ready = recovery::recover(disk.as_ref(), &config)?;
        let filling = |source| OpenError::Filling { source };
        let applied = ready.index.applied().map_err(filling)?;
        let fences = ready.index.fences().map_err(filling)?;
        let undecided = Undecided::new(ready.index.undecided().map_err(filling)?, &fences);
        let shared = Arc::new(Shared {
            collections: Mutex::new(ready.index.collections().map_err(filling)?),
            disk,
            spaces: ready.spaces,
            index: ready.index,
            inbox: Inbox::default(),
            next_file: AtomicU32::new(ready.last.saturating_add(1)),
            pinned: Mutex::default(),
            applied: Mutex::new(applied),
            debts: Mutex::default(),
            undecided: Mutex::new(undecided),
            left: Mutex::default(),
            placed: Mutex::new(ready.placed),
            damages: Mutex::new(ready.found.damages.clone()),
            spared: Mutex::default(),
            forgotten: Mutex::default(),
            scrub: Mutex::default(),
            bell: Bell::default(),
            hand: OnceLock::new(),
            retrieved: AtomicU64::new(0),
            config,
        });
        let ended = Arc::new(Mutex::new(Ended::default()));
        let writer =
            Writer::new(Arc::clone(&shared), ready.writer, fences, Arc::clone(&ended), failed);
        Ok(Ready { shared, writer, ended, found: ready.found })
    }

    /// Does an operation, and tells `reply` what became of it: at once or later, on this thread or the
    /// writer's, and always once. Digests are computed here, which takes some milliseconds for each MiB:
    /// call it where that hurts nobody.
    pub fn submit(&self, operation: Operation, reply: impl FnOnce(Answer) + Send + 'static) {
        self.submit_with(Digests::Told, operation, Box::new(reply));
    }

    /// The same for bytes of which this process has just computed the digests itself, and has had them in memory ever
    /// since: they are not computed again. What came from anywhere else must be given to [`Archive::submit`].
    pub fn submit_own(&self, operation: Operation, reply: impl FnOnce(Answer) + Send + 'static) {
        self.submit_with(Digests::Own, operation, Box::new(reply));
    }

    fn submit_with(&self, whose: Digests, operation: Operation, reply: Reply) {
        match operation.verify(whose) {
            Ok(()) => self.running.shared.inbox.submit(operation, reply),
            Err(refused) => {
                measure::refused();
                reply(Err(refused));
            }
        }
    }

    /// Does an operation and waits for what becomes of it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn perform(&self, operation: Operation) -> Answer {
        let (reply, answer) = sync_channel(1);
        self.submit(operation, move |answer| {
            // Nobody else has the other end, and it waits.
            let _heard = reply.send(answer);
        });
        self.shared().nudge();
        answer.recv().unwrap_or_else(|_gone| Err(Refused::Stopped("it is gone".to_owned())))
    }

    /// Which store of its node it is.
    pub fn store(&self) -> u64 {
        self.shared().config.store
    }

    /// Bytes that are free for value files. It asks the system, and may wait for it.
    pub fn room(&self) -> u64 {
        self.shared().spaces.room(self.shared().disk.as_ref())
    }

    /// What each collection holds.
    ///
    /// # Errors
    /// The index could not be read.
    pub fn usage(&self) -> Result<BTreeMap<CollectionName, Usage>, ReadError> {
        let mut usage: BTreeMap<CollectionName, Usage> = self
            .shared()
            .collections()
            .keys()
            .map(|name| (name.clone(), Usage::default()))
            .collect();
        usage.extend(self.shared().index.usage()?);
        Ok(usage)
    }

    /// Bytes that were read out since the start.
    pub fn retrieved_bytes(&self) -> u64 {
        self.shared().retrieved.load(Ordering::Relaxed)
    }

    /// What was found damaged since the start, the start included; at most 1,000 places.
    pub fn damages(&self) -> Vec<Damaged> {
        self.shared().damages().clone()
    }

    /// Does what waits, answers it, closes the open value file and says what was under way. Nothing is
    /// taken any more. A second call says nothing new.
    pub fn close(&self) -> Ended {
        self.running.end(Ending::Drain);
        *self.running.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the writer at once, as if the process had been killed. For tests of what a restart makes of
    /// that.
    pub fn abandon(&self) {
        self.running.end(Ending::Abandon);
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }
}

impl Shared {
    pub(crate) fn collections(&self) -> MutexGuard<'_, BTreeMap<CollectionName, Versioning>> {
        self.collections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn versioning(&self, name: &CollectionName) -> Option<Versioning> {
        self.collections().get(name).copied()
    }

    pub(crate) fn applied(&self) -> MutexGuard<'_, BTreeMap<u16, Applied>> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn debts(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn undecided(&self) -> MutexGuard<'_, Undecided> {
        self.undecided.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn left(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn placed(&self) -> MutexGuard<'_, BTreeMap<u32, u32>> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pinned(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.pinned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn spared(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.spared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn forgotten(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.forgotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a value file is; `None` if there is no such file.
    pub(crate) fn path(&self, file: u32) -> Option<PathBuf> {
        let space = self.placed().get(&file).copied()?;
        self.spaces.path(space, file)
    }

    /// Tells the figures of each space.
    pub(crate) fn tell_spaces(&self) {
        let mut files = BTreeMap::<u32, usize>::new();
        for space in self.placed().values() {
            *files.entry(*space).or_default() += 1;
        }
        for (space, free) in self.spaces.free(self.disk.as_ref()) {
            measure::space(space, files.get(&space).copied().unwrap_or(0), free);
        }
    }

    /// Something is not what was written.
    pub(crate) fn damaged(&self, damaged: Damaged) {
        let Damaged { file, offset, what } = &damaged;
        tracing::error!(file = %file.display(), offset, what, "damage in the archive");
        measure::damage();
        let mut damages = self.damages();
        if damages.len() < DAMAGES_MAX && !damages.contains(&damaged) {
            damages.push(damaged);
        }
    }

    pub(crate) fn retrieved(&self, bytes: usize) {
        self.retrieved.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        measure::retrieved(bytes);
    }

    fn damages(&self) -> MutexGuard<'_, Vec<Damaged>> {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn end(&self, ending: Ending) {
        // First: it may wait for the writer.
        self.shared.bell.ring();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if keeper.is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the archive's keeper panicked");
        }
        let thread = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.shared.inbox.end(ending);
        self.shared.nudge();
        let Some(thread) = thread else { return };
        // The last handle may have been dropped by whom the writer told something.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the archive's writer panicked");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end(Ending::Drain);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("home", &self.config.home).finish_non_exhaustive()
    }
}

//! The registry of one process: compare-and-set and watch over a local file.
//!
//! Same semantics as a ZooKeeper ensemble, so that nothing above can tell: versions, results that are
//! independent within a batch, ephemerals that go with their session, watches that are told late and
//! merged. One thread owns the file; what several sessions ask for at once shares one sync. A write is
//! visible only once it would survive a crash. Ephemerals never reach the disk.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use rustix::fs::FlockOperation;
use tokio::sync::oneshot;

use crate::journal::{Journal, Op, OpenError, apply};
use crate::watch::WatchShared;
use crate::{Cas, CasError, Error, Value};

/// Batches waiting for the writer: far above what three nodes can have in flight (one each, and a few
/// registrations); beyond it a caller is told that the registry is out of reach.
const BATCHES_QUEUED_MAX: usize = 1024;
/// Batches that share one sync.
const BATCHES_A_SYNC_MAX: usize = 256;

/// Replies to one batch.
pub(crate) type BatchResult = Result<Vec<Result<u64, CasError>>, Error>;

#[derive(Debug)]
pub(crate) struct Embedded {
    shared: Arc<Shared>,
    /// Taken away when dropped, which ends the writer.
    batches: Option<SyncSender<Batch>>,
    writer: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// A sync failed: what the disk holds is unknown, so nothing is accepted any more.
    failed: AtomicBool,
    sessions: AtomicU64,
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    durable: BTreeMap<String, Value>,
    ephemeral: BTreeMap<String, (u64, Value)>,
    watches: Vec<Weak<WatchShared>>,
    /// Rises with every accepted write; an ephemeral's version is its value then.
    version: u64,
}

#[derive(Debug)]
struct Batch {
    writes: Vec<Cas>,
    reply: oneshot::Sender<BatchResult>,
}

impl Embedded {
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenError> {
        let disk = |source| OpenError::Disk { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(disk)?;
        let lock = File::create(folder.join("lock")).map_err(disk)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_busy| OpenError::InUse { path: folder.to_owned() })?;
        let (journal, durable) = Journal::open(folder)?;
        let version = durable.values().map(|value| value.version).max().unwrap_or(0);
        let state = State { durable, version, ..State::default() };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            failed: AtomicBool::new(false),
            sessions: AtomicU64::new(0),
            _lock: lock,
        });
        let (batches, queue) = sync_channel(BATCHES_QUEUED_MAX);
        let writer = Arc::clone(&shared);
        let writer = runtime::thread("registry", move || writer.write_all(journal, &queue));
        Ok(Self { shared, batches: Some(batches), writer: Some(writer.map_err(disk)?) })
    }

    pub(crate) fn new_session(&self) -> u64 {
        self.shared.sessions.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        let state = self.shared.lock();
        state.durable.get(key).or_else(|| state.ephemeral.get(key).map(|(_, value)| value)).cloned()
    }

    pub(crate) fn list(&self, prefix: &str) -> Vec<(String, Value)> {
        let state = self.shared.lock();
        let durable = state.durable.iter();
        let all = durable.chain(state.ephemeral.iter().map(|(key, (_, value))| (key, value)));
        let mut found: Vec<_> = all
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    pub(crate) async fn cas_many(&self, writes: Vec<Cas>) -> BatchResult {
        let (reply, answer) = oneshot::channel();
        let batches = self.batches.as_ref().ok_or(Error::Failed)?;
        batches.try_send(Batch { writes, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Error::Unreachable,
            TrySendError::Disconnected(_) => Error::Failed,
        })?;
        answer.await.map_err(|_gone| Error::Failed)?
    }

    /// Puts an ephemeral; one of another session is not replaced.
    pub(crate) fn put_ephemeral(
        &self,
        session: u64,
        key: &str,
        data: Vec<u8>,
    ) -> Result<(), CasError> {
        let mut state = self.shared.lock();
        if let Some(value) = state.durable.get(key) {
            return Err(CasError { current: Some(value.clone()) });
        }
        if let Some((owner, value)) = state.ephemeral.get(key)
            && *owner != session
        {
            return Err(CasError { current: Some(value.clone()) });
        }
        state.version += 1;
        let version = state.version;
        state.ephemeral.insert(key.to_owned(), (session, Value { data, version }));
        state.tell(key);
        Ok(())
    }

    /// Takes away an ephemeral of this session.
    pub(crate) fn remove_ephemeral(&self, session: u64, key: &str) {
        let mut state = self.shared.lock();
        if state.ephemeral.get(key).is_some_and(|(owner, _)| *owner == session) {
            state.ephemeral.remove(key);
            state.tell(key);
        }
    }

    /// Ends a session: its ephemerals go, its watches close.
    pub(crate) fn end_session(&self, session: u64) {
        let mut state = self.shared.lock();
        let gone: Vec<_> = state
            .ephemeral
            .iter()
            .filter(|(_, (owner, _))| *owner == session)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            state.ephemeral.remove(&key);
            state.tell(&key);
        }
        state.each_watch(|watch| {
            if watch.session == session {
                watch.close();
            }
        });
    }

    pub(crate) fn watch(&self, prefix: &str, session: u64, held: bool) -> Arc<WatchShared> {
        let watch = Arc::new(WatchShared::new(prefix, session, held));
        let mut state = self.shared.lock();
        state.watches.retain(|watch| watch.strong_count() > 0);
        state.watches.push(Arc::downgrade(&watch));
        watch
    }

    /// Keeps a session's watches back, or lets them through.
    pub(crate) fn hold_watches(&self, session: u64, held: bool) {
        self.shared.lock().each_watch(|watch| {
            if watch.session == session {
                watch.hold(held);
            }
        });
    }
}

/// Waits for the writer, so that the folder can be opened again at once.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the registry's writer panicked");
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer's thread: ends when every handle is gone.
    fn write_all(&self, mut journal: Journal, queue: &Receiver<Batch>) {
        while let Ok(first) = queue.recv() {
            let mut batches = vec![first];
            batches.extend(queue.try_iter().take(BATCHES_A_SYNC_MAX - 1));
            self.write(&mut journal, batches);
        }
    }

    fn write(&self, journal: &mut Journal, batches: Vec<Batch>) {
        let mut accepted = BTreeMap::new();
        let mut ops = Vec::new();
        let mut answers = Vec::new();
        {
            // Only this thread changes what is durable, so a judgement stays true until it is applied.
            let mut state = self.lock();
            for batch in batches {
                let results = batch.writes.into_iter().map(|cas| {
                    let current = match accepted.get(&cas.key) {
                        Some(newer) => Option::<Value>::clone(newer),
                        None => state.current(&cas.key),
                    };
                    if current.as_ref().map(|value| value.version) != cas.expect {
                        return Err(CasError { current });
                    }
                    state.version += 1;
                    let version = state.version;
                    let (value, op) = match cas.data {
                        Some(data) => (
                            Some(Value { data: data.clone(), version }),
                            Op::Put { key: cas.key.clone(), version, data },
                        ),
                        None => (None, Op::Delete { key: cas.key.clone(), version }),
                    };
                    accepted.insert(cas.key, value);
                    ops.push(op);
                    Ok(version)
                });
                let results: Vec<_> = results.collect();
                answers.push((batch.reply, results));
            }
        }
        let failed = self.failed.load(Ordering::Relaxed);
        if !failed
            && !ops.is_empty()
            && let Err(error) = journal.append(&ops)
        {
            tracing::error!(%error, "the registry journal cannot be written: nothing is accepted any more");
            self.failed.store(true, Ordering::Relaxed);
        }
        if self.failed.load(Ordering::Relaxed) {
            answers.into_iter().for_each(|(reply, _)| drop(reply.send(Err(Error::Unknown))));
            return;
        }
        let mut state = self.lock();
        for op in ops {
            let key = match &op {
                Op::Put { key, .. } | Op::Delete { key, .. } => key.clone(),
            };
            apply(&mut state.durable, op);
            state.tell(&key);
        }
        if let Err(error) = journal.compact_if_large(&state.durable) {
            tracing::warn!(%error, "the registry journal could not be rewritten; it goes on growing");
        }
        drop(state);
        // A caller that stopped waiting has no use for the answer.
        answers.into_iter().for_each(|(reply, results)| drop(reply.send(Ok(results))));
    }
}

impl State {
    fn current(&self, key: &str) -> Option<Value> {
        self.durable.get(key).or_else(|| self.ephemeral.get(key).map(|(_, value)| value)).cloned()
    }

    fn tell(&mut self, key: &str) {
        self.each_watch(|watch| watch.tell(key));
    }

    fn each_watch(&mut self, with: impl Fn(&WatchShared)) {
        self.watches.retain(|watch| watch.upgrade().inspect(|watch| with(watch)).is_some());
    }
}

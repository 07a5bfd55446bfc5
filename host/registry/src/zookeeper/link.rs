//! A node's session with the ensemble: the handle, and what its tasks share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::zookeeper::Client;
use runtime::{Stop, Tasks};
use tokio::sync::{Notify, watch};

use super::config::ZooKeeperConfig;
use super::kept::Kept;
use super::problem::Problem;
use super::tree::Tree;
use super::{keeper, kept, owner, watching};
use crate::reach::Reach;
use crate::watch::{Watch, WatchShared};
use crate::{Cas, CasError, Error, Value};

/// How long the goodbye to the ensemble may take.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// One node's session, whatever becomes of the ensemble's own. Dropping it ends both.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    tasks: Tasks,
}

/// What the tasks of one [`Link`] share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Arc<ZooKeeperConfig>,
    pub(crate) tree: Tree,
    pub(crate) reach: Arc<Reach>,
    /// The client of the ensemble's present session; none while there is no session.
    pub(crate) live: watch::Sender<Option<Live>>,
    pub(crate) kept: Kept,
    /// Sessions that the ensemble gave so far.
    incarnation: AtomicU64,
    /// Told to the owner: this incarnation's client has ended without a word.
    pub(crate) over: AtomicU64,
    pub(crate) over_told: Notify,
    problem: Mutex<Option<Problem>>,
    watches: Mutex<Vec<Weak<WatchShared>>>,
}

/// The client of one session of the ensemble.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) client: Client,
    pub(crate) incarnation: u64,
}

impl Link {
    /// Begins; it connects by itself. To be called within a runtime.
    pub(crate) fn start(config: &Arc<ZooKeeperConfig>, reach: Arc<Reach>) -> Self {
        let shared = Arc::new(Shared {
            config: Arc::clone(config),
            tree: Tree::new(config),
            reach,
            live: watch::Sender::default(),
            kept: Kept::default(),
            incarnation: AtomicU64::new(0),
            over: AtomicU64::new(0),
            over_told: Notify::new(),
            problem: Mutex::default(),
            watches: Mutex::default(),
        });
        let tasks = Tasks::current(Stop::default());
        let stop = tasks.stop().clone();
        tasks.spawn("registry session", owner::run(Arc::clone(&shared), stop.clone()));
        tasks.spawn("registry ephemerals", kept::run(Arc::clone(&shared), stop.clone()));
        let link = Self { shared, tasks };
        if let Some(path) = &config.cache {
            let (shared, watch) = (Arc::clone(&link.shared), link.watch("", false));
            let task = keeper::run(shared, watch, path.clone(), stop);
            link.tasks.spawn("registry cache", task);
        }
        link
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Value>, Error> {
        let shared = &self.shared;
        shared.read(|live| async move { shared.tree.get(&live.client, key).await }).await
    }

    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>, Error> {
        let shared = &self.shared;
        shared.read(|live| async move { shared.tree.list(&live.client, prefix).await }).await
    }

    pub(crate) async fn cas_many(
        &self,
        writes: Vec<Cas>,
    ) -> Result<Vec<Result<u64, CasError>>, Error> {
        let (shared, writes) = (&self.shared, &writes);
        let call = |live: Live| async move { shared.tree.cas_many(&live.client, writes).await };
        shared.call(Error::Unknown, call).await
    }

    pub(crate) async fn put_ephemeral(
        &self,
        key: &str,
        data: Vec<u8>,
    ) -> Result<Result<(), CasError>, Error> {
        let (shared, bytes) = (&self.shared, &data);
        let call = |live: Live| async move {
            let put = shared.tree.put_ephemeral(&live.client, key, bytes).await?;
            Ok(put.map(|()| live.incarnation))
        };
        match shared.call(Error::Unknown, call).await? {
            Ok(incarnation) => {
                let current = incarnation == shared.incarnation();
                if shared.kept.keep(key, data, current) {
                    self.keep_folder(super::tree::folder(key));
                }
                Ok(Ok(()))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    pub(crate) async fn remove_ephemeral(&self, key: &str) -> Result<(), Error> {
        let shared = &self.shared;
        shared.kept.forget(key);
        let call =
            |live: Live| async move { shared.tree.remove_ephemeral(&live.client, key).await };
        shared.call(Error::Unknown, call).await
    }

    /// A watch whose owner is outside of this crate.
    pub(crate) fn watch(&self, prefix: &str, held: bool) -> Watch {
        let watch = Arc::new(WatchShared::new(prefix, 0, held));
        let stop = self.tasks.stop().child();
        {
            let mut watches = self.shared.lock_watches();
            watches.retain(|watch| watch.strong_count() > 0);
            watches.push(Arc::downgrade(&watch));
        }
        let task = watching::run(Arc::clone(&self.shared), Arc::clone(&watch), stop.clone());
        self.tasks.spawn("registry watch", task);
        Watch::with_end(watch, stop)
    }

    /// Keeps all watches back, or lets them through.
    pub(crate) fn hold_watches(&self, held: bool) {
        for watch in self.shared.lock_watches().iter().filter_map(Weak::upgrade) {
            watch.hold(held);
        }
    }

    /// Ends the session, so that the others need not wait for it to expire.
    pub(crate) async fn end(&self) {
        let client = self.shared.live.borrow().as_ref().map(|live| live.client.state_watcher());
        self.tasks.finish().await;
        let Some(mut state) = client else { return };
        let ended = async { while !state.changed().await.is_terminated() {} };
        if runtime::timeout(GOODBYE_MAX, ended).await.is_err() {
            tracing::info!("the registry was not told goodbye: it will miss this node by itself");
        }
    }

    /// Notices when somebody takes away what stands in this folder.
    fn keep_folder(&self, folder: &str) {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let mut watch = self.watch(&prefix, false);
        let shared = Arc::clone(&self.shared);
        self.tasks.spawn("registry ephemerals of a folder", async move {
            // Ends with the session, which ends its watches.
            while let Some(keys) = watch.changed().await {
                shared.kept.look_at(keys.iter());
            }
        });
    }
}

/// Without a goodbye of its own: the tasks end, and with the last of them the client, which takes leave
/// if there still is a runtime.
impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.stop().stop();
    }
}

impl Shared {
    /// The present client, at once.
    fn live(&self) -> Result<Live, Error> {
        self.live.borrow().clone().ok_or(Error::Unreachable)
    }

    /// A read: what has no answer in time is as if it had not been asked.
    async fn read<T, F>(&self, call: impl FnOnce(Live) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        self.call(Error::Unreachable, call).await
    }

    /// One call within its deadline; `late` is what it means when there is no answer.
    pub(crate) async fn call<T, F>(
        &self,
        late: Error,
        call: impl FnOnce(Live) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let live = self.live()?;
        match runtime::timeout(self.config.timeout, call(live)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(late),
        }
    }

    /// The client of this incarnation has ended without a word.
    pub(crate) fn tell_over(&self, incarnation: u64) {
        self.over.fetch_max(incarnation, Ordering::Relaxed);
        self.over_told.notify_one();
    }

    /// How many sessions the ensemble gave so far.
    pub(crate) fn incarnation(&self) -> u64 {
        self.incarnation.load(Ordering::Relaxed)
    }

    /// The ensemble gave a session.
    pub(crate) fn begin(&self, client: Client) -> Live {
        let incarnation = self.incarnation.fetch_add(1, Ordering::Relaxed) + 1;
        let live = Live { client, incarnation };
        self.live.send_replace(Some(live.clone()));
        live
    }

    /// Why there is no session; `None`: there is.
    pub(crate) fn problem(&self) -> Option<Problem> {
        self.lock_problem().clone()
    }

    /// Notes why there is no session; says whether that is news.
    pub(crate) fn note(&self, problem: Option<Problem>) -> bool {
        let mut noted = self.lock_problem();
        let news = *noted != problem;
        *noted = problem;
        news
    }

    fn lock_problem(&self) -> MutexGuard<'_, Option<Problem>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_watches(&self) -> MutexGuard<'_, Vec<Weak<WatchShared>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

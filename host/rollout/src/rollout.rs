//! The rollout of one node: what it has, what is live on it, and the way in.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use hashring::NodeId;
use plugin::Plugin;
use replication::{Answering, Replication};
use runtime::Tasks;
use tokio::sync::{Semaphore, watch};

use crate::artefacts::{Artefact, ArtefactError, Artefacts};
use crate::audit::{Audit, AuditLine};
use crate::beside::Running;
use crate::fetching::PIECES_AT_ONCE;
use crate::last::LastKnown;
use crate::progress::Progress;
use crate::record::LiveSet;
use crate::settings::{Lineup, Settings};
use crate::versions::{Key, Versions};
use crate::{Digest, StartError, following, guarding};

/// The rollout of one node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Rollout {
    pub(crate) shared: Arc<Shared>,
}

/// What the parts of this crate share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) artefacts: Arc<Artefacts>,
    pub(crate) last: Arc<LastKnown>,
    audit: Arc<Audit>,
    pub(crate) versions: Versions,
    pub(crate) live: watch::Sender<Option<Arc<Lineup>>>,
    /// Why this node is not where the registry is, in words.
    pub(crate) behind: watch::Sender<Option<Behind>>,
    /// What this node was told to make live, and has not.
    pub(crate) target: Mutex<Option<LiveSet>>,
    /// The highest number that this node, or its disk, has known.
    pub(crate) highest: AtomicU64,
    pub(crate) network: OnceLock<Network>,
    /// One change at a time is asked of one node.
    pub(crate) changing: Arc<Semaphore>,
    pub(crate) progress: Mutex<Option<Progress>>,
    /// One version at a time is tried by one node: a change of another plugin need not wait for it.
    pub(crate) trying: Semaphore,
    /// How far that is, or what became of it.
    pub(crate) trial: Mutex<Option<Progress>>,
    /// What runs beside the live versions here.
    pub(crate) running: Running,
    pub(crate) pieces: Semaphore,
}

/// Why a node is not where the registry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Behind {
    /// In words.
    pub(crate) what: String,
    /// Whether trying again could help.
    pub(crate) passes: bool,
}

/// The other nodes, once this one is one of them.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) replication: Replication,
    pub(crate) tasks: Tasks,
}

impl Rollout {
    /// Opens the folder. Nothing is live yet. Blocks.
    ///
    /// # Errors
    /// [`StartError::Folder`].
    pub fn open(settings: Settings) -> Result<Self, StartError> {
        let artefacts = Artefacts::open(&settings.folder).map_err(StartError::Folder)?;
        let last = LastKnown::new(&settings.folder);
        let audit = Audit::open(&settings.folder);
        let shared = Shared {
            artefacts: Arc::new(artefacts),
            last: Arc::new(last),
            audit: Arc::new(audit),
            versions: Versions::default(),
            live: watch::Sender::new(None),
            behind: watch::Sender::new(None),
            target: Mutex::new(None),
            highest: AtomicU64::new(0),
            network: OnceLock::new(),
            changing: Arc::new(Semaphore::new(1)),
            progress: Mutex::new(None),
            trying: Semaphore::new(1),
            trial: Mutex::new(None),
            running: Running::default(),
            pieces: Semaphore::new(PIECES_AT_ONCE),
            settings,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// From now on it follows the registry and answers other nodes. To be called once, before the node is
    /// one of them.
    pub fn run(&self, replication: &Replication, tasks: &Tasks) {
        let network = Network { replication: replication.clone(), tasks: tasks.clone() };
        if self.shared.network.set(network).is_ok() {
            tasks.spawn("live plugins", following::run(Arc::clone(&self.shared)));
            tasks.spawn("guards of plugins", guarding::run(Arc::clone(&self.shared)));
        }
    }

    /// Answers what another node asks about components; see [`crate::is_question`].
    pub fn answer(&self, from: NodeId, body: &Bytes) -> Answering {
        self.shared.answer(from, body)
    }

    /// What is live on this node; `None`: nothing yet.
    pub fn live(&self) -> Option<Arc<Lineup>> {
        self.shared.live.borrow().clone()
    }

    /// Why this node is not where the registry is, if it is not.
    pub fn behind(&self) -> Option<String> {
        self.shared.behind.borrow().as_ref().map(|behind| behind.what.clone())
    }

    /// Waits until something is live on this node. Cancel-safe.
    ///
    /// # Errors
    /// Why nothing can be, if waiting does not help.
    pub async fn ready(&self) -> Result<(), String> {
        let (mut live, mut behind) = (self.shared.live.subscribe(), self.shared.behind.subscribe());
        loop {
            if live.borrow_and_update().is_some() {
                return Ok(());
            }
            if let Some(behind) = &*behind.borrow_and_update()
                && !behind.passes
            {
                return Err(behind.what.clone());
            }
            // The senders live as long as this.
            tokio::select! {
                _ = live.changed() => {}
                _ = behind.changed() => {}
            }
        }
    }

    /// A version that is ready here.
    pub fn version(&self, name: &str, digest: Digest) -> Option<Arc<Plugin>> {
        self.shared.versions.ready(&(name.to_owned(), digest))
    }

    /// What was done to the plugins of this node, the oldest first.
    pub fn audit(&self) -> Vec<AuditLine> {
        self.shared.told()
    }
}

impl Shared {
    /// The number that is live here; 0: none.
    pub(crate) fn number(&self) -> u64 {
        self.live.borrow().as_ref().map_or(0, |lineup| lineup.set.number)
    }

    /// The highest number this node knows of.
    pub(crate) fn highest(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Every version that is live, was, or is about to be.
    pub(crate) fn named(&self) -> BTreeSet<Key> {
        let lineup = self.live.borrow().clone();
        let target = crate::changing::locked(&self.target).clone();
        let sets = lineup.iter().map(|lineup| &lineup.set).chain(&target);
        sets.flat_map(LiveSet::named).map(|(name, digest)| (name.to_owned(), digest)).collect()
    }

    /// Keeps a component on the disk.
    pub(crate) async fn keep(
        &self,
        artefact: &Artefact,
        digest: Digest,
    ) -> Result<bool, ArtefactError> {
        let in_use = self.named().into_iter().map(|(_, digest)| digest).collect();
        let (artefacts, artefact) = (Arc::clone(&self.artefacts), artefact.clone());
        let kept = runtime::blocking(move || artefacts.keep(&artefact, digest, &in_use)).await;
        let gone = || std::io::Error::other("the runtime is shutting down");
        let path = self.settings.folder.clone();
        let kept = kept.ok_or_else(|| ArtefactError::Disk { path, source: gone() })??;
        self.settings.reached(crate::Point::Kept).await;
        Ok(kept)
    }

    /// The last lines of the audit log, the oldest first.
    pub(crate) fn told(&self) -> Vec<AuditLine> {
        self.audit.told()
    }

    /// Adds a line to the audit log.
    pub(crate) async fn write(&self, line: AuditLine) {
        let audit = Arc::clone(&self.audit);
        // A runtime that is shutting down takes the line with it.
        let _written = runtime::blocking(move || audit.write(line)).await;
    }

    /// Adds lines that another will follow soon.
    pub(crate) async fn note(&self, lines: Vec<AuditLine>) {
        let audit = Arc::clone(&self.audit);
        // As above.
        let note = move || lines.into_iter().for_each(|line| audit.note(line));
        let _noted = runtime::blocking(note).await;
    }
}

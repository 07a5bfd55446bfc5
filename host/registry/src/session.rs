//! A node's own view of the registry.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hashring::NodeId;
use tokio::sync::watch as state;

use crate::cache::LastKnown;
use crate::embedded::Embedded;
use crate::journal::OpenError;
use crate::reach::Reach;
use crate::watch::Watch;
use crate::zookeeper::{Link, Problem, ZooKeeperConfig};

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Longest value, in bytes: a ZooKeeper server takes a request of 1 MiB, with path and access rules in it.
const DATA_BYTES_MAX: usize = 1_000_000;

/// A registry. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Registry {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Embedded(Arc<Embedded>),
    ZooKeeper(Arc<ZooKeeperConfig>),
}

/// A node's session with the registry: what it put there as ephemeral goes when it is dropped, without a
/// goodbye, as it would in a crash.
///
/// It outlives the sessions of a ZooKeeper ensemble: when the ensemble has ended one, the next begins by
/// itself, what was put as ephemeral is put again, and watches report everything as maybe changed.
/// [`Session::incarnation`] counts them.
#[derive(Debug)]
pub struct Session {
    node: NodeId,
    reach: Arc<Reach>,
    side: Side,
}

/// The registry's side of a session.
#[derive(Debug)]
enum Side {
    Embedded { embedded: Arc<Embedded>, id: u64 },
    ZooKeeper(Link),
}

/// Whether the registry can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionState {
    /// Calls are answered.
    Connected,
    /// They are not; the session may still live.
    Disconnected,
}

/// What stands under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The bytes.
    pub data: Vec<u8>,
    /// Rises with every write of the key.
    pub version: u64,
}

/// One conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cas {
    /// Where.
    pub key: String,
    /// The version that must stand there; `None`: nothing may.
    pub expect: Option<u64>,
    /// What to put; `None` deletes.
    pub data: Option<Vec<u8>>,
}

/// Another writer was first. Nothing was written; decide again from what stands there now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another writer was first")]
pub struct CasError {
    /// What stands there.
    pub current: Option<Value>,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The registry cannot be reached. Nothing was written; the caller goes on with what it knows and
    /// tries again later.
    #[error("the registry cannot be reached")]
    Unreachable,
    /// The answer was lost. It may or may not have been written; read again and compare.
    #[error("the registry's answer was lost")]
    Unknown,
    /// The registry has stopped. Nothing more will be written; the node has to be started again.
    #[error("the registry has stopped")]
    Failed,
    /// The registry's access rules forbid it. Nothing was written under this key, of others of the same
    /// batch nothing is known; an operator has to correct the user, or the rules.
    #[error(
        "the registry's access rules forbid {key:?}: correct registry.digest_file, or the znode's ACL"
    )]
    Denied {
        /// The key.
        key: String,
    },
    /// The registry cannot do it. Nothing was written under this key, of others of the same batch nothing
    /// is known; trying again changes nothing.
    #[error("the registry refuses {key:?}: {text}")]
    Refused {
        /// The key.
        key: String,
        /// Why.
        text: String,
    },
    /// The key or the value is too long. Nothing was written; it is a fault of the caller.
    #[error("key {key:?} is over 1,024 bytes, or its value over 1,000,000")]
    TooLarge {
        /// The key.
        key: String,
    },
}

impl Registry {
    /// Opens the registry in `folder`, for this process alone.
    ///
    /// # Errors
    /// [`OpenError`] when another process has it open, or the file cannot be used.
    pub fn embedded(folder: &Path) -> Result<Self, OpenError> {
        Ok(Self { kind: Kind::Embedded(Arc::new(Embedded::open(folder)?)) })
    }

    /// The registry on a ZooKeeper ensemble. Nobody is asked before there is a session.
    ///
    /// # Errors
    /// [`Problem`] when the configuration cannot be meant.
    pub fn zookeeper(config: ZooKeeperConfig) -> Result<Self, Problem> {
        config.check()?;
        Ok(Self { kind: Kind::ZooKeeper(Arc::new(config)) })
    }

    /// What this node's disk says that the registry last said, if that is kept and there is any. Reads the
    /// file; for showing, and never for deciding.
    pub fn last_known(&self) -> Option<LastKnown> {
        match &self.kind {
            Kind::Embedded(_) => None,
            Kind::ZooKeeper(config) => config.cache.as_deref().and_then(LastKnown::read),
        }
    }

    /// A session of `node`'s own. With ZooKeeper it connects by itself, at once and whenever it has to; to
    /// be called within a runtime, and gone when that is dropped.
    ///
    /// # Panics
    /// With ZooKeeper, outside of a runtime.
    pub fn session(&self, node: &NodeId) -> Session {
        let node = node.clone();
        match &self.kind {
            Kind::Embedded(embedded) => {
                let id = embedded.new_session();
                let side = Side::Embedded { embedded: Arc::clone(embedded), id };
                Session { node, reach: Arc::new(Reach::new(true)), side }
            }
            Kind::ZooKeeper(config) => {
                let reach = Arc::new(Reach::new(false));
                let side = Side::ZooKeeper(Link::start(config, Arc::clone(&reach)));
                Session { node, reach, side }
            }
        }
    }
}

impl Session {
    /// Whose it is.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// What stands under `key`.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`].
    pub async fn get(&self, key: &str) -> Result<Option<Value>, Error> {
        self.reachable()?;
        match &self.side {
            Side::Embedded { embedded, .. } => Ok(embedded.get(key)),
            Side::ZooKeeper(link) => link.get(key).await,
        }
    }

    /// Everything whose key begins with `prefix`, by key.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Denied`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>, Error> {
        self.reachable()?;
        match &self.side {
            Side::Embedded { embedded, .. } => Ok(embedded.list(prefix)),
            Side::ZooKeeper(link) => link.list(prefix).await,
        }
    }

    /// Conditional writes, each with a result of its own (the new version). Cancelling it leaves the
    /// result unknown.
    ///
    /// # Errors
    /// [`Error`], for all of them.
    pub async fn cas_many(&self, writes: Vec<Cas>) -> Result<Vec<Result<u64, CasError>>, Error> {
        self.reachable()?;
        if let Some(cas) = writes.iter().find(|cas| {
            cas.key.len() > KEY_BYTES_MAX
                || cas.data.as_ref().is_some_and(|data| data.len() > DATA_BYTES_MAX)
        }) {
            return Err(Error::TooLarge { key: cas.key.clone() });
        }
        let results = match &self.side {
            Side::Embedded { embedded, .. } => embedded.cas_many(writes).await?,
            Side::ZooKeeper(link) => link.cas_many(writes).await?,
        };
        // Cut off while it was under way: the write stands, its writer does not learn of it.
        if self.reach.is_cut() {
            return Err(Error::Unknown);
        }
        Ok(results)
    }

    /// One conditional write.
    ///
    /// # Errors
    /// [`Error`]; the inner result is the write's own.
    pub async fn cas(&self, write: Cas) -> Result<Result<u64, CasError>, Error> {
        let results = self.cas_many(vec![write]).await?;
        results.into_iter().next().ok_or(Error::Failed)
    }

    /// Puts a key that goes with this session. One of another session is left as it is, also one of an
    /// earlier session of this node: it goes by itself, so try again.
    ///
    /// # Errors
    /// [`Error`]; the inner error says who stands there.
    pub async fn put_ephemeral(
        &self,
        key: &str,
        data: Vec<u8>,
    ) -> Result<Result<(), CasError>, Error> {
        self.reachable()?;
        match &self.side {
            Side::Embedded { embedded, id } => Ok(embedded.put_ephemeral(*id, key, data)),
            Side::ZooKeeper(link) => link.put_ephemeral(key, data).await,
        }
    }

    /// Takes away a key that this session put, and does not put it again. One of another session stays.
    ///
    /// # Errors
    /// [`Error`]; then it may still stand, and goes with the session.
    pub async fn remove_ephemeral(&self, key: &str) -> Result<(), Error> {
        match &self.side {
            Side::Embedded { embedded, id } => {
                self.reachable()?;
                embedded.remove_ephemeral(*id, key);
                Ok(())
            }
            Side::ZooKeeper(link) => link.remove_ephemeral(key).await,
        }
    }

    /// Watches every key that begins with `prefix`, from now on: watch first, then read. It may report
    /// keys that did not change.
    pub fn watch(&self, prefix: &str) -> Watch {
        let cut = self.reach.is_cut();
        match &self.side {
            Side::Embedded { embedded, id } => Watch::new(embedded.watch(prefix, *id, cut)),
            Side::ZooKeeper(link) => link.watch(prefix, cut),
        }
    }

    /// Follows whether the registry can be reached.
    pub fn state(&self) -> state::Receiver<SessionState> {
        self.reach.subscribe()
    }

    /// How many sessions the registry gave this one so far: rises when it ended one, with everything that
    /// was ephemeral, and began the next.
    pub fn incarnation(&self) -> u64 {
        match &self.side {
            Side::Embedded { .. } => 1,
            Side::ZooKeeper(link) => link.shared.incarnation(),
        }
    }

    /// Why there is no session with the registry, in words, if that is so and known.
    pub fn problem(&self) -> Option<Problem> {
        match &self.side {
            Side::Embedded { .. } => None,
            Side::ZooKeeper(link) => link.shared.problem(),
        }
    }

    /// As [`Registry::last_known`].
    pub fn last_known(&self) -> Option<LastKnown> {
        match &self.side {
            Side::Embedded { .. } => None,
            Side::ZooKeeper(link) => link.shared.config.cache.as_deref().and_then(LastKnown::read),
        }
    }

    /// Waits until the registry can be reached. Cancel-safe.
    ///
    /// # Errors
    /// The [`Problem`] as soon as it is known to be one that only a person mends, or what is known of it
    /// when `within` is over; `None` if that is nothing.
    pub async fn connected(&self, within: Duration) -> Result<(), Option<Problem>> {
        /// How often it is looked whether there is no point in waiting.
        const LOOK: Duration = Duration::from_millis(50);
        let deadline = runtime::now() + within;
        let mut state = self.state();
        loop {
            if *state.borrow_and_update() == SessionState::Connected {
                return Ok(());
            }
            let problem = self.problem();
            let permanent = problem.as_ref().is_some_and(Problem::is_permanent);
            if permanent || runtime::now() >= deadline {
                return Err(problem);
            }
            drop(runtime::timeout(LOOK, state.changed()).await);
        }
    }

    /// Ends the session with a goodbye, so that others need not wait until it is missed; calls fail from
    /// now on. Takes at most a second or so.
    pub async fn end(&self) {
        match &self.side {
            Side::Embedded { embedded, id } => embedded.end_session(*id),
            Side::ZooKeeper(link) => link.end().await,
        }
        self.reach.set_connected(false);
    }

    /// Cuts this session off from the registry, or connects it again: calls fail, watches are late.
    /// What a demonstration or a test does to one node.
    pub fn set_cut(&self, cut: bool) {
        self.reach.set_cut(cut);
        match &self.side {
            Side::Embedded { embedded, id } => embedded.hold_watches(*id, cut),
            Side::ZooKeeper(link) => link.hold_watches(cut),
        }
    }

    fn reachable(&self) -> Result<(), Error> {
        if self.reach.is_connected() { Ok(()) } else { Err(Error::Unreachable) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Side::Embedded { embedded, id } = &self.side {
            embedded.end_session(*id);
        }
    }
}

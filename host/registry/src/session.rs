//! A node's own view of the registry.

use std::path::Path;
use std::sync::Arc;

use hashring::NodeId;
use tokio::sync::watch as state;

use crate::embedded::Embedded;
use crate::journal::OpenError;
use crate::watch::Watch;

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 1024;
/// Longest value, in bytes: what ZooKeeper takes by default.
const DATA_BYTES_MAX: usize = 1 << 20;

/// A registry. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Registry {
    embedded: Arc<Embedded>,
}

/// A session with the registry: what it put there as ephemeral goes when it is dropped, without a
/// goodbye, as it would in a crash.
#[derive(Debug)]
pub struct Session {
    embedded: Arc<Embedded>,
    id: u64,
    node: NodeId,
    state: state::Sender<SessionState>,
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
    /// The key or the value is too long. Nothing was written; it is a fault of the caller.
    #[error("key {key:?} is over 1,024 bytes, or its value over 1 MiB")]
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
        Ok(Self { embedded: Arc::new(Embedded::open(folder)?) })
    }

    /// A session of `node`'s own.
    pub fn session(&self, node: &NodeId) -> Session {
        Session {
            embedded: Arc::clone(&self.embedded),
            id: self.embedded.new_session(),
            node: node.clone(),
            state: state::Sender::new(SessionState::Connected),
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
    /// [`Error::Unreachable`].
    #[expect(clippy::unused_async, reason = "a registry across a network answers later")]
    pub async fn get(&self, key: &str) -> Result<Option<Value>, Error> {
        self.reachable()?;
        Ok(self.embedded.get(key))
    }

    /// Everything whose key begins with `prefix`, by key.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    #[expect(clippy::unused_async, reason = "a registry across a network answers later")]
    pub async fn list(&self, prefix: &str) -> Result<Vec<(String, Value)>, Error> {
        self.reachable()?;
        Ok(self.embedded.list(prefix))
    }

    /// Conditional writes, each with a result of its own (the new version), in one sync. Cancelling it
    /// leaves the result unknown.
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
        let results = self.embedded.cas_many(writes).await?;
        // Cut off while it was under way: the write stands, its writer does not learn of it.
        self.reachable().map_err(|_cut| Error::Unknown)?;
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

    /// Puts a key that goes with this session. One of another session is left as it is.
    ///
    /// # Errors
    /// [`Error::Unreachable`]; the inner error says who stands there.
    #[expect(clippy::unused_async, reason = "a registry across a network answers later")]
    pub async fn put_ephemeral(
        &self,
        key: &str,
        data: Vec<u8>,
    ) -> Result<Result<(), CasError>, Error> {
        self.reachable()?;
        Ok(self.embedded.put_ephemeral(self.id, key, data))
    }

    /// Watches every key that begins with `prefix`, from now on: watch first, then read.
    pub fn watch(&self, prefix: &str) -> Watch {
        let held = self.reachable().is_err();
        Watch { shared: self.embedded.watch(prefix, self.id, held) }
    }

    /// Follows whether the registry can be reached.
    pub fn state(&self) -> state::Receiver<SessionState> {
        self.state.subscribe()
    }

    /// Cuts this session off from the registry, or connects it again: calls fail, watches are late.
    /// What a demonstration or a test does to one node.
    pub fn set_cut(&self, cut: bool) {
        let state = if cut { SessionState::Disconnected } else { SessionState::Connected };
        self.state.send_replace(state);
        self.embedded.hold_watches(self.id, cut);
    }

    fn reachable(&self) -> Result<(), Error> {
        match *self.state.borrow() {
            SessionState::Connected => Ok(()),
            SessionState::Disconnected => Err(Error::Unreachable),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.embedded.end_session(self.id);
    }
}

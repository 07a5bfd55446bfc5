//! A node's data directory: locked by one process, and belonging to one node.
//!
//! ```text
//! lock        held while the process lives
//! identity    node, store, boot, partitions, cluster, positions
//! logs/       value files and their index
//! ```
//!
//! Opening begins no boot: a start that fails for another reason must not look like a life that others
//! may have heard of. [`Folder::begin`] does, once the node is about to be told to anybody.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use hashring::{NodeId, Position};
use rustix::fs::FlockOperation;

use crate::disk::sync_folder;
use crate::identity::{Identity, NoIdentity, random};

/// A data directory that this process holds. Dropping it lets another process have it.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    identity: Identity,
    first: bool,
    /// The lock ends with it.
    _lock: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it. Nothing was changed; stop that one, or give this node a folder of its own.
    #[error("data folder {path} is in use by another process: stop it, or set another node.data")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// It belongs to another node. Nothing was changed; name this node as it was, or give it another
    /// folder.
    #[error(
        "data folder {path} belongs to node {found}, and this is {wanted}: set node.id to {found}, or \
         another node.data"
    )]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: NodeId,
        /// Who wants it.
        wanted: NodeId,
    },
    /// It was made with another number of partitions. Nothing was changed; the number is fixed when a
    /// cluster begins.
    #[error(
        "data folder {path} was made with {found} partitions: set cluster.partitions to {found}, it \
         cannot be changed to {wanted}"
    )]
    OtherPartitions {
        /// The folder.
        path: PathBuf,
        /// The number it was made with.
        found: u16,
        /// The number that is wanted.
        wanted: u16,
    },
    /// The identity file does not verify. Nothing was changed; without it nobody knows what the node
    /// promised: remove the folder, and the node begins anew and catches up from the others.
    #[error(
        "{path} is damaged: remove the data folder, and the node catches up from the others as a new one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// There are logs and no identity. Nothing was changed; the folder was copied in part, or its
    /// identity was removed.
    #[error("data folder {path} has logs but no identity file: restore it, or remove the folder")]
    NoIdentity {
        /// The folder.
        path: PathBuf,
    },
    /// A newer version wrote it. Nothing was changed; start that version again.
    #[error("{path} was written by a newer version: start that version")]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// The disk refused. Nothing that was there is lost; see the cause.
    #[error("data folder {path}")]
    Disk {
        /// The folder or file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Folder {
    /// Takes a data directory for a node, and makes it if there is none. `positions` is asked only for a
    /// new one.
    ///
    /// # Errors
    /// [`FolderError`].
    pub fn open(
        path: &Path,
        node: &NodeId,
        partitions: u16,
        positions: impl FnOnce() -> Vec<Position>,
    ) -> Result<Self, FolderError> {
        let disk = |source| FolderError::Disk { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(disk)?;
        let lock = lock(path)?;
        let read = Identity::read(path);
        let first = matches!(read, Err(NoIdentity::Missing));
        let identity = match read {
            Ok(identity) => identity,
            Err(NoIdentity::Missing) if path.join("logs").exists() => {
                return Err(FolderError::NoIdentity { path: path.to_owned() });
            }
            Err(NoIdentity::Missing) => Identity {
                node: node.clone(),
                store: random().map_err(disk)?,
                boot: 0,
                partitions,
                cluster: None,
                positions: positions(),
            },
            Err(NoIdentity::Broken) => {
                return Err(FolderError::Damaged { path: path.join("identity") });
            }
            Err(NoIdentity::Newer) => {
                return Err(FolderError::Newer { path: path.join("identity") });
            }
            Err(NoIdentity::Disk(source)) => return Err(disk(source)),
        };
        if identity.node != *node {
            let (found, wanted) = (identity.node, node.clone());
            return Err(FolderError::OtherNode { path: path.to_owned(), found, wanted });
        }
        if identity.partitions != partitions {
            let (found, wanted) = (identity.partitions, partitions);
            return Err(FolderError::OtherPartitions { path: path.to_owned(), found, wanted });
        }
        if first {
            identity.write(path).map_err(disk)?;
        }
        Ok(Self { path: path.to_owned(), identity, first, _lock: lock })
    }

    /// Whose a data directory is and its store, without taking it; `None` if that cannot be told, or there is none.
    pub fn look(path: &Path) -> Option<(NodeId, u64)> {
        Identity::read(path).ok().map(|identity| (identity.node, identity.store))
    }

    /// Keeps to which cluster the folder belongs.
    ///
    /// # Errors
    /// [`FolderError::Disk`].
    pub fn set_cluster(&mut self, cluster: u64) -> Result<(), FolderError> {
        self.replace(Identity { cluster: Some(cluster), ..self.identity.clone() })
    }

    /// Begins a process life: keeps its number, and returns once that would survive a crash. Another store
    /// than before is begun because nobody can rely on what the old one promised: its logs are kept
    /// aside, under its name, and nothing reads them. Only before the log is opened.
    ///
    /// # Errors
    /// [`FolderError::Disk`].
    pub fn begin(&mut self, store: u64, boot: u64) -> Result<(), FolderError> {
        let disk = |source| FolderError::Disk { path: self.path.clone(), source };
        let (logs, old) = (self.logs(), self.identity.store);
        if store != old && logs.exists() {
            // First: a new store with the old logs would not open.
            fs::rename(&logs, self.path.join(format!("logs.{old:016x}"))).map_err(disk)?;
            sync_folder(&self.path).map_err(disk)?;
        }
        self.replace(Identity { store, boot, ..self.identity.clone() })
    }

    /// Whose it is.
    pub fn node(&self) -> &NodeId {
        &self.identity.node
    }

    /// Its number: random, and new when everything in it was lost.
    pub fn store(&self) -> u64 {
        self.identity.store
    }

    /// The number of the process life that was begun last; 0 before the first.
    pub fn boot(&self) -> u64 {
        self.identity.boot
    }

    /// Whether there was nothing here before.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// To which cluster it belongs, if that is known yet.
    pub fn cluster(&self) -> Option<u64> {
        self.identity.cluster
    }

    /// How many partitions the cluster has.
    pub fn partitions(&self) -> u16 {
        self.identity.partitions
    }

    /// The node's places on the ring, chosen once.
    pub fn positions(&self) -> &[Position] {
        &self.identity.positions
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the logs are.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    fn replace(&mut self, identity: Identity) -> Result<(), FolderError> {
        let path = || self.path.clone();
        identity.write(&self.path).map_err(|source| FolderError::Disk { path: path(), source })?;
        self.identity = identity;
        Ok(())
    }
}

/// The lock belongs to the opened file, so a second opening in the same process is refused as well.
fn lock(path: &Path) -> Result<File, FolderError> {
    let disk = |source| FolderError::Disk { path: path.to_owned(), source };
    let options = File::options().read(true).write(true).create(true).truncate(false).to_owned();
    let file = options.open(path.join("lock")).map_err(disk)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::InUse { path: path.to_owned() }),
        Err(error) => Err(disk(error.into())),
    }
}

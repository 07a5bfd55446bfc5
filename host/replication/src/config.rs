//! What a node's replication is told once.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use hashring::{NodeId, PartitionId, Partitions, Position, Spread};
use registry::Session;
use segment::{Folder, Log, Restored};

use crate::Notices;
use crate::core::{Limits, Timings};
use crate::tls::Credentials;

/// What the build says of itself: whatever `CARILLON_BUILD` was when it was built, a commit for instance.
pub const BUILD: &str = match option_env!("CARILLON_BUILD") {
    Some(build) if !build.is_empty() => build,
    Some(_) | None => "unknown",
};

/// Who a node is, where it answers, and how many hold what.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its id.
    pub node: NodeId,
    /// How many partitions the cluster has, or will have.
    pub partitions: Partitions,
    /// How many members a partition has.
    pub copies: u8,
    /// How many members must hold an entry before it is shown, in epochs that this node opens.
    pub commit: u8,
    /// What two copies must not share.
    pub spread: Spread,
    /// Its places on the ring.
    pub positions: Vec<Position>,
    /// Where it listens for other nodes. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// What other nodes are told to dial; empty: the address listened on.
    pub advertise: String,
    /// Where it answers clients: the URL.
    pub http: String,
    /// Its failure domain, or nothing.
    pub zone: String,
    /// How many shares of the ring it asks for.
    pub weight: u32,
    /// How long the core is patient.
    pub timings: Timings,
    /// How many bytes a second of its own log it reads to see that they are still what was written; 0: none.
    pub scrub: u64,
    /// Bytes a second that it gives to all together who are behind; `None`: as many as go.
    pub catch_up: Option<u64>,
}

/// What a node's replication is made of.
pub struct Parts {
    /// The node's own session with the registry. It is ended with the driver.
    pub session: Session,
    /// What it shows other nodes.
    pub credentials: Credentials,
    /// Its data folder, [enlisted](crate::enlist). It is let go with the driver.
    pub folder: Folder,
    /// The log in it, which tells `notices`.
    pub log: Log,
    /// What the log held when it was opened.
    pub restored: BTreeMap<PartitionId, Restored>,
    /// What the log tells.
    pub notices: Notices,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// The largest payload of an entry. With its neighbours in one append it still fits a frame.
pub const ENTRY_BYTES_MAX: usize = 768 << 10;

/// The core's bounds, with appends that fit a frame whether or not the last entry crosses the bound.
pub(crate) fn limits() -> Limits {
    Limits { append_bytes_max: 192 << 10, ..Limits::default() }
}

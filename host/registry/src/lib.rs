//! Membership, partition records, compare-and-set and watch.
//!
//! A small tree of keys that every node sees: who is a member, who stands where on the ring, who holds
//! which partition. It is asked when something changes and never on the path of a message. Liveness it
//! reports is a hint; safety rests on compare-and-set alone.
//!
//! [`Registry::embedded`] serves the nodes of one process from a file; [`Registry::zookeeper`] is for the
//! nodes of many. [`service`] is another thing over the same ensemble: the registry for other programs.

#![forbid(unsafe_code)]

mod cache;
mod codec;
mod embedded;
mod ensemble;
mod journal;
mod membership;
mod observer;
mod partition;
mod reach;
pub mod service;
mod session;
mod watch;
mod zookeeper;

pub use self::zookeeper::{Digest, Problem, ZooKeeperConfig};
pub use cache::LastKnown;
pub use codec::{COUNT_MAX, DecodeError, Record, decode, encode};
pub use journal::OpenError;
pub use membership::{
    CLUSTER, ClusterRecord, EndpointInfo, MEMBERS, MemberRecord, PARTITIONS, POSITIONS,
    PositionData, PositionRecord, REGISTRATIONS, ServerInfo, ServiceInfo, member_key,
    partition_key, partition_of, position_key, position_of, registration_key, ring,
};
pub use observer::{ClusterView, Observer};
pub use partition::{Member, PartitionRecord, PartitionState};
pub use session::{Cas, CasError, Error, Registry, Session, SessionState, Value};
pub use watch::Watch;

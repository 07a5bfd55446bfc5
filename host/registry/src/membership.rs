//! What nodes write of themselves, and under which names.

use hashring::{NodeId, PartitionId, Position, Ring, RingNode};
use serde::{Deserialize, Serialize};

use crate::codec::{COUNT_MAX, Record};

/// `cluster`: written once, after all partition records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterRecord {
    /// Random; every HELLO names it.
    pub id: u64,
    /// How many partitions, for ever.
    pub partitions: u16,
}

/// `members/<node>`: stays when the node is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberRecord {
    /// The node's data directory.
    pub store: u64,
    /// Its latest process life.
    pub boot: u64,
    /// An operator wants it to hold nothing any more. It stays so, restarts included, until somebody
    /// takes it back; a record without it is of a node that stays.
    #[serde(default, skip_serializing_if = "is_false")]
    pub leaving: bool,
    /// An operator has this life give everything away. The next one begins without it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub draining: bool,
}

impl Record for ClusterRecord {}

impl Record for MemberRecord {
    fn fault(&self) -> Option<&'static str> {
        (self.boot > COUNT_MAX).then_some("no node has begun so many lives")
    }
}

impl Record for PositionRecord {}

/// What is usual is not written, so that records of nodes that stay look as they always did.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// `hashring/<position>`: there while the node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionRecord {
    /// The service as other programs know it.
    pub service_info: ServiceInfo,
    /// What this service's own nodes need of each other.
    pub data: PositionData,
}

/// A service, its process and where it answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceInfo {
    /// The service.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its build.
    pub build: String,
    /// Short name of the machine.
    pub hostname: String,
    /// Full name of the machine.
    pub fqdn: String,
    /// Unique for this process.
    pub key: String,
    /// Where it answers.
    pub servers: Vec<ServerInfo>,
}

/// One server of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// `http`, `quic`.
    pub name: String,
    /// Its addresses.
    pub endpoints: Vec<EndpointInfo>,
}

/// One address of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Host name or address.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `http`, `carillon`.
    pub protocol: String,
    /// `tcp`, `udp`.
    pub transport: String,
}

/// A node's own half of a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionData {
    /// Its id.
    pub node: NodeId,
    /// Its failure domain, or nothing.
    pub zone: String,
    /// How many shares of the ring it asked for.
    pub weight: u32,
    /// Where it answers other nodes: `host:port`.
    pub quic: String,
    /// Where it answers clients: the URL.
    pub http: String,
    /// SHA-256 of its certificate, in hex.
    pub fingerprint: String,
    /// SHA-256 of the authority's certificate that signed it, in hex; nothing, if it does not say.
    #[serde(default)]
    pub authority: String,
}

/// The key of the cluster's own record.
pub const CLUSTER: &str = "cluster";
/// What the keys of positions begin with.
pub const POSITIONS: &str = "hashring/";
/// What the keys of members begin with.
pub const MEMBERS: &str = "members/";
/// What the keys of processes begin with.
pub const REGISTRATIONS: &str = "registry/";
/// What the keys of partitions begin with.
pub const PARTITIONS: &str = "partitions/";

/// `partitions/007`.
pub fn partition_key(partition: PartitionId) -> String {
    format!("{PARTITIONS}{partition}")
}

/// The partition of a key, if it is one.
pub fn partition_of(key: &str) -> Option<PartitionId> {
    key.strip_prefix(PARTITIONS)?.parse().ok().map(PartitionId)
}

/// `members/n1`.
pub fn member_key(node: &NodeId) -> String {
    format!("{MEMBERS}{node}")
}

/// `hashring/cfcd208495d565ef66e7dff9f98764da`.
pub fn position_key(position: Position) -> String {
    format!("{POSITIONS}{position}")
}

/// `registry/carillon_0123456789abcdef`: one process of a service, there while it is.
pub fn registration_key(service: &ServiceInfo) -> String {
    format!("{REGISTRATIONS}{}_{}", service.name, service.key)
}

/// The position of a key, if it is one.
pub fn position_of(key: &str) -> Option<Position> {
    key.strip_prefix(POSITIONS)?.parse().ok()
}

/// The ring of these position records.
pub fn ring<'a>(records: impl Iterator<Item = (Position, &'a PositionRecord)>) -> Ring {
    let mut nodes: Vec<RingNode> = Vec::new();
    for (position, record) in records {
        match nodes.iter_mut().find(|node| node.id == record.data.node) {
            Some(node) => node.positions.push(position),
            None => nodes.push(RingNode {
                id: record.data.node.clone(),
                host: record.service_info.hostname.clone(),
                zone: record.data.zone.clone(),
                positions: vec![position],
            }),
        }
    }
    Ring::new(nodes)
}

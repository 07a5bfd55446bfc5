//! The JSON that operators read and write.

use hashring::NodeId;
use serde::{Deserialize, Serialize};

use super::{About, Going, Movement, PartitionInfo, Partitions};

/// `POST /admin/v1/ring/leave`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leave {
    pub(super) node: String,
    /// `false` takes it back.
    pub(super) leaving: Option<bool>,
    /// Also if too few would stay.
    pub(super) force: Option<bool>,
}

/// `POST /admin/v1/drain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    /// `false` takes it back.
    pub(super) draining: Option<bool>,
    /// Also if nobody else could lead.
    pub(super) force: Option<bool>,
}

/// What an operator says of a node, as one word.
pub(super) fn going(goes: Option<bool>, force: Option<bool>) -> Going {
    match (goes.unwrap_or(true), force.unwrap_or(false)) {
        (true, false) => Going::Going,
        (true, true) => Going::Anyway,
        (false, _) => Going::Staying,
    }
}

#[derive(Debug, Serialize)]
pub(super) struct LeavingShape<'a> {
    pub(super) node: &'a NodeId,
    pub(super) leaving: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct DrainingShape {
    pub(super) draining: bool,
    pub(super) led: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct AboutShape<'a> {
    name: &'static str,
    version: &'a str,
    build: &'a str,
    node: &'a NodeId,
    incarnation: u64,
    store: String,
    cluster: Option<String>,
    uptime_ms: u64,
    http: &'a str,
    draining: bool,
    led: usize,
    registry: RegistryShape,
}

#[derive(Debug, Serialize)]
struct RegistryShape {
    kind: &'static str,
    reached: bool,
    unreached_ms: u64,
}

impl<'a> AboutShape<'a> {
    pub(super) fn new(about: &'a About) -> Self {
        let registry = about.registry;
        Self {
            name: "carillon",
            version: &about.version,
            build: &about.build,
            node: &about.node,
            incarnation: about.incarnation,
            store: hex(about.store),
            cluster: about.cluster.map(hex),
            uptime_ms: about.uptime_ms,
            http: &about.http,
            draining: about.draining,
            led: about.led,
            registry: RegistryShape {
                kind: registry.kind,
                reached: registry.unreached_ms == 0,
                unreached_ms: registry.unreached_ms,
            },
        }
    }
}

/// As these numbers are in log lines.
fn hex(number: u64) -> String {
    format!("{number:016x}")
}

#[derive(Debug, Serialize)]
pub(super) struct PartitionsShape<'a> {
    copies: u8,
    commit: u8,
    spread: &'static str,
    settle_ms: u64,
    partitions: Vec<PartitionShape<'a>>,
}

#[derive(Debug, Serialize)]
struct PartitionShape<'a> {
    partition: u16,
    epoch: u64,
    state: &'static str,
    primary: Option<&'a NodeId>,
    role: &'static str,
    ensemble: &'a [NodeId],
    wanted: &'a [NodeId],
    end: u64,
    commit: u64,
    lag: u64,
    stale_ms: u64,
    moves: Vec<MovementShape<'a>>,
    log: LogShape,
    differing: &'a [NodeId],
}

#[derive(Debug, Serialize)]
struct LogShape {
    damaged: bool,
    unreadable: Option<u64>,
    mended: u64,
    evidence: bool,
}

#[derive(Debug, Serialize)]
struct MovementShape<'a> {
    node: &'a NodeId,
    bytes_done: u64,
    bytes_total: u64,
    left_ms: Option<u64>,
}

impl<'a> PartitionsShape<'a> {
    pub(super) fn new(all: &'a Partitions) -> Self {
        Self {
            copies: all.copies,
            commit: all.commit,
            spread: all.spread,
            settle_ms: all.settle_ms,
            partitions: all.partitions.iter().map(PartitionShape::new).collect(),
        }
    }
}

impl<'a> PartitionShape<'a> {
    fn new(info: &'a PartitionInfo) -> Self {
        Self {
            partition: info.partition.0,
            epoch: info.epoch,
            state: info.state,
            primary: info.primary.as_ref(),
            role: info.role,
            ensemble: &info.ensemble,
            wanted: &info.wanted,
            end: info.end,
            commit: info.commit,
            // Entries of this node's log that are not known to be committed.
            lag: info.end.saturating_sub(info.commit),
            stale_ms: info.stale_ms,
            moves: info.moves.iter().map(MovementShape::new).collect(),
            log: LogShape {
                damaged: info.log.damaged,
                unreadable: info.log.unreadable,
                mended: info.log.mended,
                evidence: info.log.evidence,
            },
            differing: &info.differing,
        }
    }
}

impl<'a> MovementShape<'a> {
    fn new(movement: &'a Movement) -> Self {
        let Movement { node, bytes_done, bytes_total, left_ms } = movement;
        Self { node, bytes_done: *bytes_done, bytes_total: *bytes_total, left_ms: *left_ms }
    }
}

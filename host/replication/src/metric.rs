//! What replication counts. Several nodes may share a process, so everything says whose it is.

use hashring::NodeId;
use wire::RefuseWhy;

use crate::core::{Alarm, Moving};

/// A connection to a peer came up or went down.
pub(crate) fn connected(node: &NodeId, up: bool) {
    let gauge = metrics::gauge!("carillon_peers_connected", "node" => node.to_string());
    if up { gauge.increment(1) } else { gauge.decrement(1) }
}

/// A connection was closed because of what came over it.
pub(crate) fn malformed(node: &NodeId) {
    metrics::counter!("carillon_peer_malformed_total", "node" => node.to_string()).increment(1);
}

/// An append, a seal or a question of another node was refused; nothing was changed by it.
pub(crate) fn turned_away(node: &NodeId, why: RefuseWhy) {
    let why = match why {
        RefuseWhy::Stale { .. } => "stale",
        RefuseWhy::Gap { .. } => "gap",
        RefuseWhy::Full => "full",
        RefuseWhy::NotMember => "not-member",
        RefuseWhy::Divergent => "divergent",
        RefuseWhy::Busy => "busy",
    };
    let labels = [("node", node.to_string()), ("why", why.to_owned())];
    metrics::counter!("carillon_peer_turned_away_total", &labels).increment(1);
}

/// A greeting was refused, here or there.
pub(crate) fn refused(node: &NodeId) {
    metrics::counter!("carillon_peer_refused_total", "node" => node.to_string()).increment(1);
}

/// A peer did not answer when it was dialled, or its connection ended before it had greeted.
pub(crate) fn unreachable(node: &NodeId) {
    let node = node.to_string();
    metrics::counter!("carillon_peer_unreachable_total", "node" => node).increment(1);
}

/// A call of another node was turned away because too many run.
pub(crate) fn busy(node: &NodeId) {
    metrics::counter!("carillon_forward_busy_total", "node" => node.to_string()).increment(1);
}

/// Somebody should look.
pub(crate) fn alarm(node: &NodeId, alarm: Alarm) {
    let kind = match alarm {
        Alarm::Divergent => "divergent",
        Alarm::Unreadable => "unreadable",
        Alarm::RegistryBehind => "registry-behind",
        Alarm::Damaged => "damaged",
    };
    let labels = [("node", node.to_string()), ("kind", kind.to_owned())];
    metrics::counter!("carillon_partition_alarms_total", &labels).increment(1);
}

/// A log was taken back to what the others have.
pub(crate) fn mended(node: &NodeId) {
    metrics::counter!("carillon_logs_mended_total", "node" => node.to_string()).increment(1);
}

/// The scrub has read so many bytes.
pub(crate) fn scrubbed(node: &NodeId, bytes: u64) {
    let label = [("node", node.to_string())];
    metrics::counter!("carillon_log_scrubbed_bytes_total", &label).increment(bytes);
}

/// The scrub went through everything.
pub(crate) fn scrub_round(node: &NodeId) {
    metrics::counter!("carillon_log_scrub_rounds_total", "node" => node.to_string()).increment(1);
}

/// Whether the registry can be reached, and how many sessions it gave.
pub(crate) fn registry(node: &NodeId, connected: bool, incarnation: u64) {
    let label = || [("node", node.to_string())];
    metrics::gauge!("carillon_registry_connected", &label()).set(if connected { 1.0 } else { 0.0 });
    metrics::counter!("carillon_registry_sessions_total", &label()).absolute(incarnation);
}

/// Something in the registry is not what belongs there, and was passed over: `place`, `member`,
/// `partition`, `cluster`, or a `taken` place.
pub(crate) fn foreign(node: &NodeId, kind: &'static str) {
    let labels = [("node", node.to_string()), ("kind", kind.to_owned())];
    metrics::counter!("carillon_registry_foreign_total", &labels).increment(1);
}

/// A change of an ensemble began, was done or came to nothing.
pub(crate) fn moving(node: &NodeId, how: Moving) {
    let how = match how {
        Moving::Begun => "begun",
        Moving::Done => "done",
        Moving::GivenUp => "given-up",
    };
    let labels = [("node", node.to_string()), ("how", how.to_owned())];
    metrics::counter!("carillon_ensemble_changes_total", &labels).increment(1);
}

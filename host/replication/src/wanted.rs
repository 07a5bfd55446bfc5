//! Who should hold what, out of the ring and the members' records.
//!
//! Every node works it out for itself, and equal views give equal answers. Nodes that are to leave are no
//! candidates; those that are not on the ring are none either, and how long they are missing is the
//! core's affair.

use std::collections::BTreeMap;

use hashring::{NodeId, Position};
use registry::{Member, MemberRecord, PositionRecord};

use crate::config::Config;
use crate::core::Roster;

/// The roster that follows from what stands in the registry.
pub(crate) fn roster(
    places: &[(Position, PositionRecord)],
    lives: &BTreeMap<NodeId, MemberRecord>,
    config: &Config,
) -> Roster {
    let life = |record: &PositionRecord| lives.get(&record.data.node);
    let present: BTreeMap<NodeId, u64> = places
        .iter()
        .filter_map(|(_, record)| Some((record.data.node.clone(), life(record)?.store)))
        .collect();
    let stays = places.iter().filter(|(_, record)| life(record).is_some_and(|life| !life.leaving));
    let ring = registry::ring(stays.map(|(position, record)| (*position, record)));
    let member = |node| Some(Member { store: *present.get(&node)?, node });
    let wanted = config.partitions.all().map(|partition| {
        let copies = usize::from(config.copies);
        let mut nodes = config.partitions.wanted(&ring, partition, copies, config.spread);
        // Who gives everything away is wanted for its copy, and not to lead.
        nodes.sort_by_key(|node| lives.get(node).is_some_and(|life| life.draining));
        (partition, nodes.into_iter().filter_map(member).collect())
    });
    let leaving = lives.iter().filter(|(_, life)| life.leaving).map(|(node, _)| node.clone());
    Roster { leaving: leaving.collect(), wanted: wanted.collect(), present }
}

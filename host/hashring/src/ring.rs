//! The set of positions at one moment.
//!
//! A ring is a value: when membership changes, make a new one and compare ([`crate::change`]). Liveness
//! is not considered: an absent node keeps its place, so that every node computes the same answers.
//!
//! A look-up wants the first position strictly greater than a key's. Positions are spread evenly, so a
//! table over the leading bits leads to within a few of the answer, and a short walk finds it: one or
//! two cache misses, where a binary search over 64,000 positions takes a dozen.

use std::collections::BTreeSet;

use crate::{NodeId, Position};

/// A node as the ring sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingNode {
    /// Its name.
    pub id: NodeId,
    /// The machine it runs on; nodes of one host share its fate.
    pub host: String,
    /// The failure domain its host stands in; empty when there are none.
    pub zone: String,
    /// Its places.
    pub positions: Vec<Position>,
}

/// Which nodes share a fate and so count as one when copies are placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// Each node for itself.
    #[default]
    Node,
    /// One copy a host.
    Host,
    /// One copy a zone.
    Zone,
}

/// Positions and who stands there.
#[derive(Clone, Debug, Default)]
pub struct Ring {
    nodes: Vec<RingNode>,
    /// Sorted; no position twice.
    places: Vec<Place>,
    /// For each value of the leading bits, the first place not below it.
    table: Vec<u32>,
    table_bits: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    position: Position,
    node: u32,
}

impl Ring {
    /// A ring of these nodes. Two nodes on one position: the smaller id keeps it, so that every node
    /// computes the same ring.
    pub fn new(mut nodes: Vec<RingNode>) -> Self {
        nodes.sort_by(|a, b| a.id.cmp(&b.id));
        nodes.dedup_by(|a, b| a.id == b.id);
        let mut places = Vec::new();
        for (node, index) in nodes.iter().zip(0_u32..) {
            places.extend(node.positions.iter().map(|&position| Place { position, node: index }));
        }
        places.sort_by_key(|place| (place.position, place.node));
        places.dedup_by_key(|place| place.position);
        let table_bits = places.len().checked_ilog2().map_or(0, |bits| (bits + 1).min(20));
        let mut table = Vec::with_capacity(1 << table_bits);
        let mut at = 0_u32;
        let mut rest = places.iter().peekable();
        for slot in 0..1_u128 << table_bits {
            while rest.next_if(|place| leading(place.position, table_bits) < slot).is_some() {
                at += 1;
            }
            table.push(at);
        }
        Self { nodes, places, table, table_bits }
    }

    /// The nodes, by id.
    pub fn nodes(&self) -> &[RingNode] {
        &self.nodes
    }

    /// Every position and its node, in ring order.
    pub fn positions(&self) -> impl Iterator<Item = (Position, &NodeId)> {
        self.places.iter().filter_map(|place| Some((place.position, &self.node(place.node)?.id)))
    }

    /// The node at the first position strictly greater than `key`, wrapping; `None` on an empty ring.
    pub fn owner(&self, key: Position) -> Option<&NodeId> {
        let place = self.places.get(self.first_after(key)).or_else(|| self.places.first())?;
        self.node(place.node).map(|node| &node.id)
    }

    /// The nodes a key should live on, in order: walking from its owner, each node once, and with
    /// [`Spread::Host`] or [`Spread::Zone`] only the first of those that share one.
    pub fn preference(&self, key: Position, count: usize, spread: Spread) -> Vec<NodeId> {
        let mut kept = Vec::with_capacity(count);
        let mut seen = BTreeSet::new();
        let start = self.first_after(key);
        let (before, after) = self.places.split_at(start.min(self.places.len()));
        for place in after.iter().chain(before) {
            if kept.len() == count {
                break;
            }
            let Some(node) = self.node(place.node) else { continue };
            let domain = match spread {
                Spread::Node => node.id.as_str(),
                Spread::Host => node.host.as_str(),
                // Without zones, a host is the smallest thing known to fail alone.
                Spread::Zone if node.zone.is_empty() => node.host.as_str(),
                Spread::Zone => node.zone.as_str(),
            };
            // A node is in exactly one domain, so a new domain is also a new node.
            if seen.insert(domain) {
                kept.push(node.id.clone());
            }
        }
        kept
    }

    /// The share of the ring that each node owns, in parts of 1, by id.
    pub fn shares(&self) -> Vec<(NodeId, f64)> {
        let mut shares: Vec<_> = self.nodes.iter().map(|node| (node.id.clone(), 0.0)).collect();
        let mut previous = self.places.last().map_or(Position(0), |place| place.position);
        for place in &self.places {
            let width = place.position.0.wrapping_sub(previous.0);
            let whole = self.places.len() == 1;
            if let Some((_, share)) =
                usize::try_from(place.node).ok().and_then(|n| shares.get_mut(n))
            {
                *share += if whole { 1.0 } else { fraction(width) };
            }
            previous = place.position;
        }
        shares
    }

    /// The largest share divided by the mean: 1 is perfect balance; `None` on an empty ring.
    pub fn balance(&self) -> Option<f64> {
        let shares = self.shares();
        let largest = shares.iter().map(|(_, share)| *share).fold(0.0, f64::max);
        let count = u32::try_from(shares.len()).ok().filter(|_| !self.places.is_empty())?;
        Some(largest * f64::from(count))
    }

    fn node(&self, index: u32) -> Option<&RingNode> {
        self.nodes.get(usize::try_from(index).ok()?)
    }

    /// Index of the first place strictly after `key`; the number of places when there is none.
    fn first_after(&self, key: Position) -> usize {
        let slot = usize::try_from(leading(key, self.table_bits)).unwrap_or(0);
        let start = self.table.get(slot).map_or(0, |&at| usize::try_from(at).unwrap_or(0));
        let walk = self.places.get(start..).unwrap_or_default();
        start + walk.iter().take_while(|place| place.position <= key).count()
    }
}

fn leading(position: Position, bits: u32) -> u128 {
    position.0.checked_shr(128 - bits).unwrap_or(0)
}

/// `width` as a part of the whole ring.
fn fraction(width: u128) -> f64 {
    // 32 leading bits are precise to one part in four thousand million, enough to print.
    let leading = u32::try_from(width >> 96).unwrap_or(u32::MAX);
    f64::from(leading) / 4_294_967_296.0
}

//! Prints how evenly rings of several sizes share out keys and copies, and how much of each moves when
//! one more node joins.

#![expect(clippy::print_stdout, reason = "a measurement prints")]

use std::collections::BTreeMap;

use hashring::{NodeId, Partitions, Position, Ring, RingNode, Spread, moves};

const COPIES: usize = 3;
const KEYS: u32 = 1_000_000;

fn ring(nodes: u32) -> Result<Ring, Box<dyn std::error::Error>> {
    let mut ring = Vec::new();
    for n in 0..nodes {
        let id: NodeId = format!("n{n}").parse()?;
        let positions = (0..64).map(|p| Position::of_key(format!("{n} {p}").as_bytes())).collect();
        ring.push(RingNode { id, host: format!("h{n}"), zone: String::new(), positions });
    }
    Ok(Ring::new(ring))
}

/// Copies on the fullest node, beside the mean.
fn copies(ring: &Ring, partitions: Partitions, nodes: u32) -> f64 {
    let mut held: BTreeMap<NodeId, u32> = BTreeMap::new();
    for partition in partitions.all() {
        for node in partitions.wanted(ring, partition, COPIES, Spread::Node) {
            *held.entry(node).or_default() += 1;
        }
    }
    let (most, all) = (held.values().max().copied().unwrap_or(0), held.values().sum::<u32>());
    f64::from(most) * f64::from(nodes) / f64::from(all)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let partitions = Partitions::try_from(256)?;
    println!("nodes  keys max/mean  copies max/mean  keys moved by a join  copies moved by a join");
    for nodes in [3, 10, 100, 1000] {
        let (before, after) = (ring(nodes)?, ring(nodes + 1)?);
        let moved = (0..KEYS).filter(|key| {
            let at = Position::of_key(&key.to_le_bytes());
            before.owner(at) != after.owner(at)
        });
        let moved = f64::from(u32::try_from(moved.count())?) / f64::from(KEYS);
        let moving = moves(&before, &after, partitions, COPIES, Spread::Node);
        let entering: usize = moving.iter().map(|change| change.entering().count()).sum();
        let all = f64::from(u32::from(partitions.count())) * f64::from(u32::try_from(COPIES)?);
        let entering = f64::from(u32::try_from(entering)?) / all;
        println!(
            "{nodes:5}  {:13.2}  {:15.2}  {:11.3}% of {:.3}%  {:13.2}% of {:.2}%",
            before.balance().unwrap_or(f64::NAN),
            copies(&before, partitions, nodes),
            moved * 100.0,
            100.0 / f64::from(nodes + 1),
            entering * 100.0,
            100.0 / f64::from(nodes + 1),
        );
    }
    Ok(())
}

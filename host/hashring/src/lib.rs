//! Positions, the ring, preference lists and partitions.
//!
//! Where a chat should live is a function of its token and of one set of positions, the same on every
//! node. Pure: no I/O, no clock, no randomness; who is alive, and who holds a partition at the moment,
//! is known elsewhere.

#![forbid(unsafe_code)]

mod change;
mod node;
mod partition;
mod position;
mod ring;

pub use change::{Move, moves};
pub use node::{InvalidNodeId, NodeId};
pub use partition::{InvalidPartitions, PartitionId, Partitions};
pub use position::{InvalidPosition, Position};
pub use ring::{Ring, RingNode, Spread};

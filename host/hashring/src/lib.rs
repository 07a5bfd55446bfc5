//! Positions, the ring, preference lists and partitions. Pure: no I/O, no clock.

mod node;
mod partition;

pub use node::{InvalidNodeId, NodeId};
pub use partition::PartitionId;

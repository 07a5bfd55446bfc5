//! One of the ring's equal ranges, and who should hold it.
//!
//! A cluster's partitions are as many as a power of two up to 256, so that a partition is the leading
//! bits of a key's position and its number fits the first byte of a message id. Who *does* hold a
//! partition stands in the registry, not here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{NodeId, Position, Ring, Spread};

/// The number of a partition: the leading bits of a key's position. At most 256 exist in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

/// How many partitions a cluster has: a power of two from 1 to 256, fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Partitions {
    bits: u8,
}

/// The count is not a power of two from 1 to 256. No cluster can be made with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} partitions: the number is a power of two from 1 to 256")]
pub struct InvalidPartitions(pub u16);

impl Partitions {
    /// How many there are.
    pub fn count(self) -> u16 {
        1 << self.bits
    }

    /// The partition of a key.
    pub fn of_key(self, key: &[u8]) -> PartitionId {
        self.of_position(Position::of_key(key))
    }

    /// The partition of a position.
    pub fn of_position(self, position: Position) -> PartitionId {
        let leading = position.0.checked_shr(128 - u32::from(self.bits)).unwrap_or(0);
        PartitionId(u16::try_from(leading).unwrap_or(0))
    }

    /// All of them, in order.
    pub fn all(self) -> impl Iterator<Item = PartitionId> {
        (0..self.count()).map(PartitionId)
    }

    /// The first position after the partition's range, wrapping to 0 after the last.
    pub fn end(self, partition: PartitionId) -> Position {
        let next = u128::from(partition.0) + 1;
        Position(next.checked_shl(128 - u32::from(self.bits)).unwrap_or(0))
    }

    /// The nodes that should hold `partition`: the walk begins with the first position at or after the
    /// end of its range. Shorter than `copies` when the ring has not that many places.
    pub fn wanted(
        self,
        ring: &Ring,
        partition: PartitionId,
        copies: usize,
        spread: Spread,
    ) -> Vec<NodeId> {
        // "At or after the end" is "strictly after the last position of the range".
        let last = Position(self.end(partition).0.wrapping_sub(1));
        ring.preference(last, copies, spread)
    }
}

impl TryFrom<u16> for Partitions {
    type Error = InvalidPartitions;

    fn try_from(count: u16) -> Result<Self, InvalidPartitions> {
        match count.checked_ilog2() {
            Some(bits) if count.is_power_of_two() && bits <= 8 => {
                Ok(Self { bits: u8::try_from(bits).unwrap_or(8) })
            }
            _ => Err(InvalidPartitions(count)),
        }
    }
}

impl From<Partitions> for u16 {
    fn from(partitions: Partitions) -> Self {
        partitions.count()
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_the_leading_bits() {
        let partitions = Partitions::try_from(256).unwrap();
        // MD5 of "0" is cfcd…
        assert_eq!(partitions.of_key(b"0"), PartitionId(0xcf));
        assert_eq!(partitions.end(PartitionId(0)), Position(1 << 120));
        assert_eq!(partitions.end(PartitionId(255)), Position(0));
        let one = Partitions::try_from(1).unwrap();
        assert_eq!(one.of_key(b"0"), PartitionId(0));
        assert_eq!(one.end(PartitionId(0)), Position(0));
    }

    #[test]
    fn only_powers_of_two_up_to_256_are_counts() {
        for bad in [0, 3, 255, 257, 512] {
            assert_eq!(Partitions::try_from(bad), Err(InvalidPartitions(bad)));
        }
        assert_eq!(Partitions::try_from(64).unwrap().count(), 64);
    }
}

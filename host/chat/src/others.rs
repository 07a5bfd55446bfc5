//! What stands in the log between the entries of chats and brings bytes that whoever takes it over keeps elsewhere.
//!
//! Such an entry is kept below a base for ever, and need not keep its bytes: they are on this node a second time. What that
//! says of entries is no matter of this crate; the node tells, and in tests whoever plays it does.

use std::fmt;

use bytes::Bytes;
use hashring::PartitionId;

use crate::ledger::Later;

/// Keeps elsewhere what entries that are no chat's bring.
pub trait Others: fmt::Debug + Send + Sync + 'static {
    /// Up to which entry of a partition's log this node has all that they bring, synced; 0 if that is not known now. The
    /// log does not begin behind that.
    fn kept(&self, partition: PartitionId) -> Later<'_, u64>;
    /// The payload without those bytes, if it has any: the same for everybody, whoever has them.
    fn anew(&self, payload: &[u8]) -> Option<Bytes>;
}

//! What a transaction carries, and what it is once it is written out.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use model::{ChatToken, Cursor, FrozenId, Message};
use serde::{Deserialize, Serialize};

/// A visible message of a committed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The chat it was said in.
    pub chat: ChatToken,
    /// Where it stands among the chat's messages.
    pub cursor: Cursor,
    /// The message as it is stored.
    pub message: Arc<Message>,
}

/// What a transaction is called for ever: the cluster, and the entry that froze it.
///
/// An entry's place is never given twice, and the entry is committed before the first attempt, so an id
/// never repeats. `index` counts the transactions of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TransactionId {
    /// The cluster's own number.
    pub cluster: u32,
    /// The partition whose log holds the entry.
    pub partition: u16,
    /// The entry's epoch.
    pub epoch: u64,
    /// The entry's number.
    pub seq: u64,
    /// Which of the entry's transactions.
    pub index: u16,
}

impl TransactionId {
    /// The id of what is called `id` in a partition's log.
    pub fn of(cluster: u32, partition: u16, id: FrozenId) -> Self {
        let FrozenId { epoch, seq, index } = id;
        Self { cluster, partition, epoch, seq, index }
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, partition, epoch, seq, index } = self;
        write!(f, "{cluster:08x}-{partition:x}-{epoch:x}-{seq:x}-{index:x}")
    }
}

/// Names that stand in what is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The cluster's name, the part after the colon in a Matrix id.
    pub cluster: String,
}

/// A request as it is sent, but for the address and what proves who sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// `PUT` or `POST`.
    pub method: &'static str,
    /// What follows the service's URL; empty for nothing.
    pub path: String,
    /// Of the body.
    pub content_type: &'static str,
    /// Further headers, none of them secret.
    pub headers: Vec<(String, String)>,
    /// The transaction's id as text; a dialect may sign it.
    pub id: String,
    /// The bytes.
    pub body: Bytes,
    /// SHA-256 over dialect, version and body: never over an address, a secret or a time.
    pub hash: [u8; 32],
}

//! What others may see of a partition on this node.

use std::time::Duration;

use hashring::NodeId;

use super::step::Why;

/// What a node does for a partition at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// No record is known yet, or it does not name this node's store.
    #[default]
    Outside,
    /// It appends what the primary sends.
    Member,
    /// It takes over.
    Candidate,
    /// It serves.
    Primary,
    /// It contradicts the others and waits for an operator.
    Stopped,
}

/// A partition as this node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionView {
    /// The epoch of the record.
    pub epoch: u64,
    /// What this node does for it.
    pub role: Role,
    /// Whether the record says open.
    pub open: bool,
    /// Who leads it, by the record.
    pub primary: Option<NodeId>,
    /// Who should hold it.
    pub ensemble: Vec<NodeId>,
    /// This node is primary and enough others are there to say so.
    pub leading: bool,
    /// Members that are not suspected, this one included.
    pub live: u8,
    /// As primary: why nothing new should be sent.
    pub closed_for: Option<Why>,
    /// Everything up to here is known to be committed.
    pub commit: u64,
    /// The log's last seq.
    pub end: u64,
    /// How long ago the leader was heard; zero while leading.
    pub stale: Duration,
}

impl PartitionView {
    /// Whether a send that wants `acks` members can be taken now. Ask before anything is done for it.
    ///
    /// # Errors
    /// Why not; nothing was appended.
    pub fn admits(&self, acks: u8) -> Result<(), Why> {
        match self.closed_for {
            Some(why) => Err(why),
            None if !self.leading => Err(Why::NotLeading),
            None if acks > self.live => Err(Why::TooFewMembers),
            None => Ok(()),
        }
    }
}

//! What others may see of a partition on this node.

use std::time::Duration;

use hashring::NodeId;
use segment::LogEnd;

use super::step::Why;

/// What a node does for a partition at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// No record is known yet, or it does not name this node's store.
    #[default]
    Outside,
    /// The record does not name it, and the primary gives it the log, so that it can be named.
    Learner,
    /// The record does not name it any more; its log is still there.
    Retired,
    /// It appends what the primary sends.
    Member,
    /// It takes over.
    Candidate,
    /// It serves.
    Primary,
    /// Its log contradicts the others', and takes and says nothing until it is mended.
    Mending,
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
    /// With which store each of them should, in the same order.
    pub stores: Vec<u64>,
    /// Who should hold it by the ring, in order; empty until that is known.
    pub wanted: Vec<NodeId>,
    /// As primary: whom it gives the log, so that they can become members.
    pub learners: Vec<LearnerView>,
    /// As primary: a member that is there is to be dropped, which waits until it is known that enough others have all
    /// objects.
    pub awaits_objects: bool,
    /// This node is primary and enough others are there to say so.
    pub leading: bool,
    /// Members that are not suspected, this one included.
    pub live: u8,
    /// As primary: why nothing new should be sent.
    pub closed_for: Option<Why>,
    /// Everything up to here is known to be committed.
    pub commit: u64,
    /// The same with its epoch and chain, by which it can be recognised on the disk: what stands there at this
    /// seq may still be something that was withdrawn. `None` while the chain is not in memory.
    pub committed: Option<LogEnd>,
    /// The log's last seq.
    pub end: u64,
    /// The log begins behind this seq: of what is before, only what is kept is there.
    pub base: u64,
    /// How long ago the leader was heard; zero while leading.
    pub stale: Duration,
    /// The log lost something, and its word counts for little until it is whole again.
    pub damaged: bool,
    /// An entry that cannot be read on this node's disk.
    pub unreadable: Option<u64>,
    /// How often this process took its log back to what the others have.
    pub mended: u64,
    /// As primary: members whose logs contradict this one's.
    pub differing: Vec<NodeId>,
}

/// A node that is given a partition's log to become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LearnerView {
    /// Which node.
    pub node: NodeId,
    /// What it holds of the primary's log, up to this seq.
    pub matched: u64,
    /// Where the primary's log ends.
    pub end: u64,
    /// Payload bytes it has taken since it began.
    pub bytes_done: u64,
    /// What is left in payload bytes, reckoned from what it has taken; 0 as long as that says nothing.
    pub bytes_left: u64,
    /// How long ago it began.
    pub age: Duration,
}

impl LearnerView {
    /// How long the rest will take if it goes on as it went; `None` as long as nothing is known.
    pub fn time_left(&self) -> Option<Duration> {
        let rate = (self.bytes_done > 0 && !self.age.is_zero()).then(|| {
            let millis = u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX);
            self.bytes_left.saturating_mul(millis) / self.bytes_done
        });
        rate.map(Duration::from_millis)
    }
}

impl PartitionView {
    /// Who should hold it, each with the store that the record names.
    pub fn members(&self) -> impl Iterator<Item = (&NodeId, u64)> {
        self.ensemble.iter().zip(self.stores.iter().copied())
    }

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

//! What nodes say to each other: one struct a row of the message table in the replication rules.
//!
//! The sender's node, boot and store are not in here. They belong to the connection, are checked once
//! in its greeting, and reach the core beside the message. Many partitions share one beat, seal or
//! vote, so that a node that leads a hundred partitions still sends one frame.

use bytes::Bytes;
use hashring::PartitionId;
use serde::{Deserialize, Serialize};

/// First 16 bytes of SHA-256 over the chain before, the epoch, the seq and the payload.
pub type Chain = [u8; 16];

/// Anything one node's replication says to another's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// "I am here, and this I lead."
    Beat(Beat),
    /// Answer to a beat.
    BeatAnswer(BeatAnswer),
    /// Entries from a primary.
    Append(Append),
    /// They are on disk here.
    Ack(Ack),
    /// They are not taken.
    Refuse(Refuse),
    /// "Would you let me take over?"
    PreVote(PreVote),
    /// Answer to a pre-vote.
    PreVoteAnswer(PreVoteAnswer),
    /// "Take nothing below these epochs any more, and tell what you hold."
    Seal(Seal),
    /// Answer to a seal.
    SealAnswer(SealAnswer),
    /// "Send what follows this entry."
    Fetch(Fetch),
    /// Answer to a fetch.
    Fetched(Fetched),
    /// "Take over from me."
    HandOver(HandOver),
    /// Answer to a hand-over.
    HandOverAnswer(HandOverAnswer),
    /// "What have you there?"
    Look(Look),
    /// Answer to a look.
    Looked(Looked),
    /// A piece of what is kept below a log's beginning, from a primary.
    Base(Base),
    /// Answer to such a piece.
    BaseHave(BaseHave),
}

/// One log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// In which epoch it was appended.
    pub epoch: u64,
    /// Its place in the partition's log: 1, 2, 3 …
    pub seq: u64,
    /// Over it and all before it.
    pub chain: Chain,
    /// What it says; not looked at here.
    pub payload: Bytes,
}

/// A place in a log: after this entry. All zeros is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct End {
    /// Epoch of the entry.
    pub epoch: u64,
    /// Its seq.
    pub seq: u64,
    /// Its chain.
    pub chain: Chain,
}

/// Every 250 ms, or on demand for some partitions. A partition that is absent means nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beat {
    /// Rises with every beat of this process; the answer repeats it.
    pub round: u64,
    /// What the sender leads, or is a candidate for.
    pub leads: Vec<Lead>,
    /// The sender's writer hangs.
    pub stuck: bool,
    /// The sender's disk is full.
    pub full: bool,
    /// The sender has a registry session.
    pub session: bool,
}

/// One partition in a beat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lead {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch it is led in.
    pub epoch: u64,
    /// Everything up to this seq is committed.
    pub commit: u64,
}

/// Answer to a [`Beat`]: led partitions that are not in `higher` are confirmed at their epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatAnswer {
    /// The round of the beat.
    pub round: u64,
    /// Partitions of the beat for which the answerer has promised a higher epoch.
    pub higher: Vec<Promised>,
}

/// A promise, as told to one who asked with a lower epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch below which nothing is taken.
    pub epoch: u64,
}

/// Entries of one partition, from its primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Append {
    /// The partition.
    pub partition: PartitionId,
    /// The primary's epoch; entries may be older.
    pub epoch: u64,
    /// The entry before the first one here, as the primary has it.
    pub prev: End,
    /// In order, without gaps; empty to ask whether `prev` matches.
    pub entries: Vec<Entry>,
    /// Everything up to this seq is committed.
    pub commit: u64,
}

/// Everything up to `matched` is equal to the primary's log, and on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The partition.
    pub partition: PartitionId,
    /// In which epoch it was verified; of use in that epoch only.
    pub epoch: u64,
    /// The last seq verified in that epoch. The log may go on behind it.
    pub matched: u64,
}

/// Nothing of an append, a fetch or a seal was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refuse {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch of what is refused.
    pub epoch: u64,
    /// Why.
    pub why: RefuseWhy,
}

/// Why an append, a fetch or a seal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefuseWhy {
    /// A higher epoch is promised; the sender is deposed.
    Stale {
        /// The promise.
        promised: u64,
    },
    /// `prev` is not in the log. Send what follows `after`, or something before it.
    Gap {
        /// The refuser's last entry that is not above `prev`, by epoch and by seq.
        after: End,
    },
    /// The disk is full; try again later.
    Full,
    /// The record known here does not name the refuser's store.
    NotMember,
    /// The logs contradict each other: nothing is taken or said of this partition.
    Divergent,
    /// The refuser is a learner of as many partitions as it can be at a time; try again later.
    Busy,
}

/// Asked by a member that no longer hears a partition's primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVote {
    /// The partitions.
    pub asks: Vec<PreVoteAsk>,
}

/// One partition of a [`PreVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVoteAsk {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch of the record as the asker knows it.
    pub epoch: u64,
    /// Where the asker's log ends.
    pub end: End,
    /// The asker has every live plugin generation.
    pub ready: bool,
}

/// Answer to a [`PreVote`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreVoteAnswer {
    /// One for each ask.
    pub votes: Vec<Vote>,
}

/// One partition of a [`PreVoteAnswer`]. It binds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that was asked with.
    pub epoch: u64,
    /// Whether the voter would take part.
    pub yes: bool,
    /// Where the voter's log ends.
    pub end: End,
}

/// From a candidate that won the compare-and-set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The partitions and the candidate's epochs.
    pub seals: Vec<Promised>,
}

/// Answer to a [`Seal`], after the promises and all that was queued before them are on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealAnswer {
    /// One for each partition sealed.
    pub sealed: Vec<Sealed>,
}

/// One partition of a [`SealAnswer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The partition.
    pub partition: PartitionId,
    /// The candidate's epoch, now promised to it.
    pub epoch: u64,
    /// Where the log ends.
    pub end: End,
    /// After which seq the log begins.
    pub base: u64,
    /// What is known to be committed.
    pub commit: u64,
    /// The log lost entries to damage; its end says little.
    pub damaged: bool,
}

/// From a candidate to the member with the best log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// The partition.
    pub partition: PartitionId,
    /// The candidate's epoch.
    pub epoch: u64,
    /// An entry the asker holds.
    pub after: End,
}

/// Answer to a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The partition.
    pub partition: PartitionId,
    /// The candidate's epoch.
    pub epoch: u64,
    /// The entry before the first one here. If it is not the one asked for, that one is not in the
    /// answerer's log: this is its last that is not above it, and there are no entries.
    pub prev: End,
    /// What follows, as much as fits a frame.
    pub entries: Vec<Entry>,
}

/// From a primary to the member it wants as successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// The partition.
    pub partition: PartitionId,
    /// The primary's epoch.
    pub epoch: u64,
    /// Where its log ends; all of it is committed.
    pub end: End,
}

/// Answer to a [`HandOver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOverAnswer {
    /// The partition.
    pub partition: PartitionId,
    /// The primary's epoch.
    pub epoch: u64,
    /// Whether the receiver goes on to take over.
    pub taken: bool,
}

/// From a member whose log contradicts its primary's, to the others: what do their disks hold?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch that is open.
    pub epoch: u64,
    /// The place that is asked for.
    pub seq: u64,
}

/// Answer to a [`Look`], of a member that has promised that epoch and whose log is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// The partition.
    pub partition: PartitionId,
    /// The epoch.
    pub epoch: u64,
    /// The entry at that place, as its disk has it; its last one, if the log is shorter.
    pub place: End,
    /// Everything up to here was verified in this epoch, and is on its disk.
    pub verified: u64,
    /// Everything up to here is known to be committed.
    pub commit: u64,
}

/// A piece of a base: what a log's beginning stands on, given to whom lacks entries before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The partition.
    pub partition: PartitionId,
    /// The primary's epoch.
    pub epoch: u64,
    /// The primary's log begins behind this entry.
    pub place: End,
    /// SHA-256 of the contents, at their end.
    pub digest: [u8; 32],
    /// How long the contents are.
    pub total: u64,
    /// Where in the contents the piece begins.
    pub at: u64,
    /// The piece; empty to ask how much is there.
    pub piece: Bytes,
}

/// Answer to a [`Base`] piece: from where to go on. When all is there and on disk an [`Ack`] follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseHave {
    /// The partition.
    pub partition: PartitionId,
    /// The primary's epoch.
    pub epoch: u64,
    /// Of which base.
    pub place: End,
    /// So many bytes of its contents are there.
    pub have: u64,
}

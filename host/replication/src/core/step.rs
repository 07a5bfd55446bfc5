//! What a core wants done.

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use registry::PartitionRecord;
use segment::{Base, LogOp};
use wire::Message;

/// Something to do. In the order of [`Core::poll`](super::Core::poll).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write, in this order; then tell [`Event::Written`](super::Event::Written). Tickets rise.
    Write {
        /// What to answer with.
        ticket: u64,
        /// What to write.
        ops: Vec<LogOp>,
    },
    /// Tell a connected peer. May be lost with the connection; otherwise order is kept, partition by
    /// partition.
    Send {
        /// Whom.
        to: NodeId,
        /// What.
        message: Message,
    },
    /// Replace a partition's record if its version is still this one.
    Cas {
        /// Which partition.
        partition: PartitionId,
        /// The version it must have; `None`: there must be none.
        expect: Option<u64>,
        /// The new record.
        record: PartitionRecord,
    },
    /// Read this node's own log; answer with [`Event::Read`](super::Event::Read).
    Read {
        /// Which partition.
        partition: PartitionId,
        /// What to answer with.
        request: u64,
        /// The first seq.
        from: u64,
        /// At most so many.
        entries_max: usize,
        /// At most so many payload bytes, but at least one entry.
        bytes_max: usize,
    },
    /// Put what this node's log has after `after` aside, as evidence: it is about to be dropped. Answer with
    /// [`Event::PutAside`](super::Event::PutAside).
    PutAside {
        /// Which partition.
        partition: PartitionId,
        /// The last entry that stays.
        after: u64,
        /// The first that differs from what the others have, or cannot be read.
        differs: u64,
    },
    /// The log went back to what the others have, and is given the rest again. To be counted.
    Mended {
        /// Which partition.
        partition: PartitionId,
        /// The last entry that stayed.
        after: u64,
    },
    /// Read a piece of what this node's log stands on; answer with
    /// [`Event::BaseRead`](super::Event::BaseRead).
    ReadBase {
        /// Which partition.
        partition: PartitionId,
        /// What to answer with.
        request: u64,
        /// Where the piece begins.
        at: u64,
        /// At most so many bytes.
        bytes_max: usize,
    },
    /// Keep a piece of what another node's log stands on; answer with [`Event::Kept`](super::Event::Kept). When
    /// all of it is there it is verified and synced, and no log begins there yet.
    Keep {
        /// Which partition.
        partition: PartitionId,
        /// Of which base; how many entries are kept in it is not known.
        base: Base,
        /// Where the piece begins.
        at: u64,
        /// The piece.
        piece: Bytes,
    },
    /// This node leads: the record says open, and everything up to `seq` is committed.
    Opened {
        /// Which partition.
        partition: PartitionId,
        /// Its epoch.
        epoch: u64,
        /// The seq of the opening entry.
        seq: u64,
    },
    /// This node does not lead that epoch any more. What was not committed may vanish.
    Closed {
        /// Which partition.
        partition: PartitionId,
        /// The epoch it led.
        epoch: u64,
    },
    /// Everything up to `seq` is committed. Only told while this node leads.
    Committed {
        /// Which partition.
        partition: PartitionId,
        /// The epoch it leads.
        epoch: u64,
        /// The last committed seq.
        seq: u64,
    },
    /// The answer to a submit, a barrier or a confirm. Each gets exactly one.
    Answer {
        /// The asker's token.
        token: u64,
        /// The answer.
        outcome: Outcome,
    },
    /// [`Core::view`](super::Core::view) of this partition changed.
    Viewed {
        /// Which.
        partition: PartitionId,
    },
    /// A change of a partition's ensemble, by this node as its primary. To be counted.
    Moving {
        /// Which partition.
        partition: PartitionId,
        /// How far it is.
        how: Moving,
    },
    /// End the process; it must not go on.
    Stop {
        /// Why.
        reason: StopReason,
    },
    /// Tell an operator.
    Alarm {
        /// Which partition.
        partition: PartitionId,
        /// What about.
        alarm: Alarm,
    },
}

/// What is there of a base after a piece more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The first so many bytes.
    Some(u64),
    /// All of it, verified and synced: a log may begin there.
    All,
    /// It could not be written; it may be tried again.
    Nothing,
}

/// How a submit, a barrier or a confirm ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed, and as many members as asked for hold it in this epoch.
    Quorum {
        /// Its place.
        seq: u64,
    },
    /// As many members as asked for hold it, fewer than make a commit: it can vanish with them.
    Local {
        /// Its place.
        seq: u64,
    },
    /// A barrier is passed, or leadership confirmed.
    Done,
    /// Nothing was appended.
    NotCommitted(Why),
    /// Appended, and it may or may not stay.
    Unknown(Why),
}

/// Why there is no better answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// This node does not lead the partition, or does not know any more whether it does.
    NotLeading,
    /// Another epoch began.
    Deposed,
    /// It took too long.
    Timeout,
    /// Fewer members are there than must hold it.
    TooFewMembers,
    /// Too much is waiting already.
    Overloaded,
    /// The disk is full.
    Full,
    /// The log's end is not where the sender thought.
    Moved,
    /// The partition is being handed to another member, or to another ensemble.
    HandingOver,
}

/// How far a change of an ensemble is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moving {
    /// It began: a learner is given the log, or a member is about to be dropped.
    Begun,
    /// The epoch of the new ensemble is open.
    Done,
    /// It came to nothing for now, and is tried again later.
    GivenUp,
}

/// Why the process must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Another process runs under this node's name, and it started later.
    Twin,
}

/// What an operator should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Two members hold different entries for one place, or one that was committed is contradicted. If enough
    /// others agree, this node's log is mended; if not, it takes and says nothing.
    Divergent,
    /// An entry of this node's log cannot be read. It is mended if enough others have it.
    Unreadable,
    /// The registry's record is older than what this node has promised.
    RegistryBehind,
    /// A member with damage does not count in a seal, and without it there are too few.
    Damaged,
}

//! What happens to a core.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use hashring::{NodeId, PartitionId};
use registry::{Member, PartitionRecord};
use segment::{Base, LogEnd, LogEntry};
use wire::Message;

use super::step::Kept;

/// Something that happened. Late and repeated ones are normal; each carries what it takes to see that.
#[derive(Clone, Debug)]
pub enum Event {
    /// Time passed. Needed at [`Core::next_timeout`](super::Core::next_timeout).
    Tick,
    /// A peer said something, over the connection that its last `PeerUp` told of. Nothing that an
    /// older connection still held may come after that `PeerUp`.
    Message {
        /// Who: the name in the certificate.
        from: NodeId,
        /// What.
        message: Message,
    },
    /// A peer is connected, maybe again. What was sent to it before and not answered is lost.
    PeerUp {
        /// Who.
        node: NodeId,
        /// Its process life.
        boot: u64,
        /// Its data directory.
        store: u64,
    },
    /// A peer's connection ended. Nothing is sent to it until it is up again.
    PeerDown {
        /// Who.
        node: NodeId,
    },
    /// The registry session was made.
    SessionUp,
    /// The registry session was lost.
    SessionDown,
    /// A partition's record, as just read.
    Record {
        /// Which.
        partition: PartitionId,
        /// What it says.
        record: PartitionRecord,
        /// The version a compare-and-set of it must expect.
        version: u64,
    },
    /// A partition's record was looked for, and there is none.
    RecordGone {
        /// Which.
        partition: PartitionId,
    },
    /// Who is on the ring, and who should hold what by it. Told whenever that is another than before.
    Roster(Box<Roster>),
    /// How a compare-and-set ended.
    CasDone {
        /// Which partition's.
        partition: PartitionId,
        /// The nonce of the record that was to be written.
        nonce: u64,
        /// How.
        result: CasResult,
    },
    /// Every operation up to and with this ticket is on disk.
    Written {
        /// The ticket of a [`Step::Write`](super::Step::Write).
        ticket: u64,
    },
    /// What a [`Step::Read`](super::Step::Read) found.
    Read {
        /// Which partition.
        partition: PartitionId,
        /// Which read.
        request: u64,
        /// From the seq asked for, without gaps; `None` if the log could not be read.
        entries: Option<Vec<LogEntry>>,
    },
    /// An entry of this node's own log cannot be read: what stands there is not what was written.
    Unreadable {
        /// Which partition.
        partition: PartitionId,
        /// Which entry.
        seq: u64,
    },
    /// A [`Step::PutAside`](super::Step::PutAside) ended.
    PutAside {
        /// Which partition.
        partition: PartitionId,
        /// The seq it was to be put aside after.
        after: u64,
        /// Whether it is on disk.
        done: bool,
    },
    /// What is kept of everything up to `base`, which is committed, is on the disk: the log may begin there.
    Trimmable {
        /// Which partition's.
        partition: PartitionId,
        /// The last entry that the log need not have any more.
        base: LogEnd,
    },
    /// What a [`Step::ReadBase`](super::Step::ReadBase) found.
    BaseRead {
        /// Which partition.
        partition: PartitionId,
        /// Which read.
        request: u64,
        /// The base that the log has.
        base: Base,
        /// Where the piece begins.
        at: u64,
        /// `None` if it could not be read.
        piece: Option<Bytes>,
    },
    /// How a [`Step::Keep`](super::Step::Keep) ended.
    Kept {
        /// Which partition.
        partition: PartitionId,
        /// Of which base.
        base: Base,
        /// How.
        kept: Kept,
    },
    /// Whether the disk is full. Told before the writer has to refuse: a refused write is kept by the
    /// driver and tried again, with nothing overtaking it.
    WriterFull(bool),
    /// Whether the plugin generations that are live in the cluster are loaded here. True at first.
    Ready(bool),
    /// Appends an entry. Once it is in the right epoch and place it is never refused, because whoever
    /// sent it has already counted on it; ask [`PartitionView::admits`](super::PartitionView::admits)
    /// before.
    Submit {
        /// Comes back with the answer.
        token: u64,
        /// Which partition.
        partition: PartitionId,
        /// The epoch it is meant for.
        epoch: u64,
        /// The place it is meant for.
        seq: u64,
        /// What it says.
        payload: Bytes,
        /// How many members must hold it before the answer, this node included.
        acks: u8,
    },
    /// Asks to be told when everything appended so far is committed.
    Barrier {
        /// Comes back with the answer.
        token: u64,
        /// Which partition.
        partition: PartitionId,
        /// In which epoch it was appended.
        epoch: u64,
    },
    /// Asks whether this node still leads, as of now.
    Confirm {
        /// Comes back with the answer.
        token: u64,
        /// Which partition.
        partition: PartitionId,
    },
    /// Give one partition to another member, whichever holds most.
    HandOver {
        /// Which partition.
        partition: PartitionId,
    },
    /// Give everything away and take nothing over any more. When [`Core::led`](super::Core::led) is 0
    /// there is nothing left to give.
    Drain,
    /// Takes that back: what comes to this node is taken over again.
    StayOn,
    /// From now on a member that is there is dropped only once enough of the others have all objects.
    AwaitObjects,
    /// Who has all objects of a partition that this node leads, as was found out a moment ago. It counts for half a
    /// minute.
    Objects {
        /// Which partition.
        partition: PartitionId,
        /// In which epoch.
        epoch: u64,
        /// Members that know every object and lack nothing of any.
        whole: BTreeSet<NodeId>,
    },
}

/// Who there is, and who should hold what. Several nodes may see it differently for a while: it decides
/// what is tried, and never what counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// Every node on the ring, with its data directory.
    pub present: BTreeMap<NodeId, u64>,
    /// Nodes that are to hold nothing any more, on the ring or not.
    pub leaving: BTreeSet<NodeId>,
    /// For each partition who should hold it, the one that should lead it first: out of those present and
    /// not leaving, at most `copies`, spread as configured. A partition that is absent stays as it is.
    pub wanted: BTreeMap<PartitionId, Vec<Member>>,
}

/// How a compare-and-set ended.
#[derive(Clone, Debug)]
pub enum CasResult {
    /// The record is written.
    Won {
        /// Its version.
        version: u64,
    },
    /// The record was another one.
    Lost {
        /// That record and its version, if there is one.
        current: Option<(PartitionRecord, u64)>,
    },
    /// Nobody knows; it is tried again with the same nonce.
    Unknown,
}

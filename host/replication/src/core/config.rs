//! What a core is told once: who it is, its quorum, and how long to be patient.

use std::time::Duration;

use hashring::NodeId;

/// Who this node is and how it should replicate.
#[derive(Clone, Debug)]
pub struct CoreConfig {
    /// This node.
    pub node: NodeId,
    /// Its data directory.
    pub store: u64,
    /// This life of its process; higher than any before.
    pub boot: u64,
    /// How many partitions the cluster has.
    pub partitions: u16,
    /// How many members a partition should have, where this node leads it.
    pub copies: u8,
    /// How many members make an entry committed, in epochs that this node opens.
    pub commit: u8,
    /// How long to be patient.
    pub timings: Timings,
    /// How much may wait.
    pub limits: Limits,
    /// Rules to break, so that a simulation can show that it notices. The node never sets this.
    pub sabotage: Sabotage,
}

/// How long to be patient. The defaults are the promised ones.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    /// Between two beats.
    pub beat: Duration,
    /// After so long without a primary's lead beat it is suspected; a peer, without any message.
    pub suspect: Duration,
    /// After so long without enough peers, or of a hanging writer, a primary stops leading.
    pub lead: Duration,
    /// After so long a send, a barrier or a confirmation is answered without a result.
    pub answer: Duration,
    /// After so long without progress a candidate gives up.
    pub progress: Duration,
    /// What each place in the ensemble waits longer than the one before it takes over.
    pub rank: Duration,
    /// A tick so late means that the process stood still.
    pub late: Duration,
    /// How long a hand-over, or a full disk, is looked at before something else is done.
    pub hand_over: Duration,
    /// After so long without an answer something is sent again.
    pub resend: Duration,
    /// The longest pause between two attempts to take over one partition.
    pub retry_max: Duration,
    /// The ring must have been the same for so long before an ensemble follows it.
    pub settle: Duration,
    /// A member whose node is not on the ring is replaced after so long; at once if its node is leaving.
    pub dead: Duration,
    /// How long sends wait at most for a change of the ensemble; and a learner has caught up when it
    /// holds what was committed so long ago.
    pub hold: Duration,
    /// Between two comparisons of the members' logs with their primary's.
    pub compare: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            beat: Duration::from_millis(250),
            suspect: Duration::from_secs(3),
            lead: Duration::from_secs(2),
            answer: Duration::from_secs(5),
            progress: Duration::from_secs(3),
            rank: Duration::from_millis(500),
            late: Duration::from_secs(1),
            hand_over: Duration::from_secs(2),
            resend: Duration::from_secs(1),
            retry_max: Duration::from_secs(4),
            settle: Duration::from_secs(60),
            dead: Duration::from_secs(600),
            hold: Duration::from_secs(1),
            compare: Duration::from_secs(60),
        }
    }
}

/// How much may wait. Each is a bound on memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Uncommitted entries of one partition: at some 10,000 a second, a tenth of a second of them.
    pub uncommitted_entries_max: usize,
    /// Uncommitted payload bytes of one partition.
    pub uncommitted_bytes_max: usize,
    /// Sends of one partition that wait for more members than make a commit; also barriers, also
    /// confirmations.
    pub waiting_max: usize,
    /// Entries on their way to one member and not yet acknowledged.
    pub in_flight_entries_max: usize,
    /// Entries in one append.
    pub append_entries_max: usize,
    /// Payload bytes in one append; one frame carries it with room to spare. A longer entry goes alone.
    /// A member that is behind is given what was not in memory while less than this is under way to it.
    pub append_bytes_max: usize,
    /// Epochs and chains of the log's last entries that are kept in memory, beside the uncommitted.
    pub tail_entries_max: usize,
    /// A member that is so many entries behind another does not get its vote.
    pub behind_entries_max: u64,
    /// Partitions of which a node feeds a learner at a time; and of which one is a learner.
    pub learners_max: usize,
    /// Bytes read from the log on disk at a time, for a member that is behind.
    pub read_bytes_max: usize,
    /// Entries read so.
    pub read_entries_max: usize,
    /// Payload bytes from the disk that are on their way to one learner. With the number of learners, what
    /// waits for one peer at most.
    pub catch_up_bytes_max: usize,
    /// Entries on their way to one learner.
    pub catch_up_entries_max: usize,
    /// Bytes a second that a node gives to all together who are behind, from its disk; `None`: as many as
    /// go.
    pub catch_up_rate: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            uncommitted_entries_max: 1024,
            uncommitted_bytes_max: 4 << 20,
            waiting_max: 4096,
            in_flight_entries_max: 1024,
            append_entries_max: 256,
            append_bytes_max: 256 << 10,
            tail_entries_max: 1024,
            behind_entries_max: 10_000,
            learners_max: 2,
            read_bytes_max: 1 << 20,
            read_entries_max: 4096,
            catch_up_bytes_max: 8 << 20,
            catch_up_entries_max: 32 << 10,
            catch_up_rate: None,
        }
    }
}

/// Rules to break on purpose. All false is correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Takes appends, seals and acks of lower epochs than promised.
    pub no_fence: bool,
    /// Adopts its own log without asking anyone else.
    pub no_seal: bool,
    /// Counts acks of older epochs.
    pub any_epoch_acks: bool,
    /// Acknowledges before the disk does.
    pub ack_before_sync: bool,
    /// Answers a seal before the disk has the promise.
    pub late_sync: bool,
    /// Shows and answers before the commit.
    pub show_before_commit: bool,
    /// A restarted primary goes on in its epoch.
    pub resume: bool,
    /// Serves before the record says open.
    pub serve_before_open: bool,
    /// Acknowledges its log's end instead of what it verified in this epoch.
    pub ack_log_end: bool,
    /// Takes the ensemble to seal from a record that is itself sealing.
    pub prev_from_sealing: bool,
    /// A member's log ends where the last append ends, also when it held more.
    pub cut_to_append: bool,
    /// Seals the ensemble that a change leads to instead of the one it comes from.
    pub seal_own_ensemble: bool,
    /// Counts a learner as if it were a member.
    pub count_learners: bool,
    /// Changes an ensemble within the epoch: nothing is sealed.
    pub change_in_place: bool,
    /// Counts a node as a member whatever its store.
    pub count_by_node: bool,
    /// Takes its log back to what the primary alone says, and counts as whole at once.
    pub mend_alone: bool,
    /// Lets the log begin behind an entry that is not committed.
    pub trim_early: bool,
    /// Lets the log begin where it was given a base before that is synced.
    pub base_unsynced: bool,
    /// After a change, serves and commits by the new ensemble before the record says open.
    pub c_early: bool,
}

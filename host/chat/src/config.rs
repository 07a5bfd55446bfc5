//! What an operator, or a test, decides about chats.

use std::time::Duration;

use hashring::Spread;

/// Bytes of everybody in a chat: ids, roles, states and pairs, as [`crate::effects`] counts them. What a
/// chat looks like must fit into one answer between nodes (2 MiB), also with the chat's own pairs, which
/// are 64 of at most 4 KiB and a name: a chat that outgrew it could be shown by one node only.
pub(crate) const ROSTER_BYTES_MAX: usize = 1 << 20;

/// How much a chat may hold and how long things may take. What is not here is a constant beside the code
/// that enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The largest body of a message, in bytes.
    pub message_bytes_max: usize,
    /// Readers that wait at once on this node.
    pub waiting_max: usize,
    /// How many may be in a chat that names no lower limit.
    pub roster_max: usize,
    /// Messages kept in memory so that readers who keep up cost no disk, in bytes, for the whole node.
    pub recent_bytes_max: usize,
    /// After so long a send that was appended is answered `unknown`.
    pub timeout: Duration,
    /// So long a request waits for somebody to lead its partition.
    pub patience: Duration,
    /// A partition's snapshot is due after so many entries, or more if it is large.
    pub snapshot_entries: u64,
    /// What two copies must not share: as the ring places them.
    pub spread: Spread,
    /// When chats that nobody ended are ended, and those that are over are forgotten.
    pub collect: Collect,
    /// How long a participant may be silent before they are `unavailable`; `None`: for ever.
    pub idle: Option<Duration>,
    /// How much of a log stays when it is trimmed; `None`: it is not.
    pub trim: Option<Trim>,
    /// Rules to break, so that a simulation can show that it notices. The node never sets this.
    pub sabotage: Sabotage,
}

/// When chats that nobody ended are ended, when those that are over are forgotten, and how much of that is done
/// at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collect {
    /// How often a node looks for them among the chats it leads.
    pub every: Duration,
    /// How long it rests after each that it ends or forgets.
    pub pause: Duration,
    /// How long a chat that is past its duration is still open.
    pub grace: Duration,
    /// A chat that never started is ended when nothing was done in it for so long; `None`: never.
    pub idle: Option<Duration>,
    /// How long they must have been over; `None`: none is ever forgotten.
    pub forget: Option<Duration>,
}

/// What stays of a log whose beginning goes: the last entries within both bounds, so that a member that was away
/// for a while is given these and not all that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// Entries.
    pub entries: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

impl Default for Trim {
    fn default() -> Self {
        Self { entries: 10_000, bytes: 64 << 20 }
    }
}

impl Default for Collect {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(60),
            pause: Duration::from_millis(100),
            grace: Duration::from_secs(360),
            idle: None,
            forget: None,
        }
    }
}

impl Config {
    /// The grace of chats that are past their duration, in milliseconds.
    pub(crate) fn grace_ms(&self) -> u64 {
        u64::try_from(self.collect.grace.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Rules to break on purpose. All false is correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// The keys of a chat are not folded with it: who takes over knows none of them.
    pub forget_keys: bool,
    /// A key counts for a minute by the wall clock.
    pub keys_by_clock: bool,
    /// What was read from appended state is answered before it is committed.
    pub no_barrier: bool,
    /// That there is no such chat is said by whoever once led.
    pub no_confirm: bool,
    /// A reader is answered by whoever is asked, however far they have read elsewhere.
    pub ignore_seen: bool,
    /// A cursor is a number, whatever its epoch.
    pub plain_cursors: bool,
    /// A timer that went off runs on.
    pub timers_stay: bool,
    /// A chat is shown to whatever generation of the handlers is live, also to an earlier one than before.
    pub any_generation: bool,
    /// A snapshot is made of whatever stands in the log, and believed whatever stands there.
    pub believe_snapshots: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            message_bytes_max: 64 << 10,
            waiting_max: 5000,
            roster_max: 10_000,
            recent_bytes_max: 64 << 20,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(2),
            snapshot_entries: 4096,
            spread: Spread::Node,
            collect: Collect::default(),
            idle: None,
            trim: None,
            sabotage: Sabotage::default(),
        }
    }
}

//! What an operator, or a test, decides about the archive, with defaults one can defend.

use std::time::Duration;

/// What an operator, or a test, decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The node's process life.
    pub boot: u64,
    /// After so long an entry that was appended is of unknown outcome, and asked for again.
    pub timeout: Duration,
    /// So long an upload waits for the rest of the members, once enough have it.
    pub slack: Duration,
    /// So long a client may send nothing of a body.
    pub silence: Duration,
    /// So long must an upload be held, in this process life, before anybody asks what becomes of it.
    pub undecided: Duration,
    /// And so long to be given up although its coordinator cannot be asked.
    pub abandoned: Duration,
    /// So long another node may say nothing in the middle of what it brings or reads. Longer than a slow client
    /// can make a coordinator wait.
    pub stalled: Duration,
    /// So long a holder may take to give a piece to whoever reads: longer than a disk does that is not broken.
    pub holder: Duration,
    /// So long nothing may come of an archive of parts before it is given up.
    pub unfinished: Duration,
    /// How often a node looks whether what it holds of partitions that it has left is needed no more.
    pub left: Duration,
    /// How often a member compares what it shows of objects with what their primaries do.
    pub compare: Duration,
    /// Keys that are looked at for one answer about what there is, whether they show anything or not.
    pub looked_max: usize,
    /// Bytes of uploads in memory, in KiB: of those this node coordinates, and as many of others'. More than a
    /// sequence.
    pub memory_kib: usize,
    /// Rules to break on purpose.
    pub sabotage: Sabotage,
}

/// Rules to break on purpose, to see that it shows. All false is correct.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// What is held for long is given up here, and the log is not asked.
    pub held_by_age: bool,
    /// A final is asked for before the members have said that they hold all of it.
    pub final_before_held: bool,
    /// A member says that it holds all of it before that is synced.
    pub held_unsynced: bool,
    /// A node that has left a partition gives back at once what it held, and asks nobody.
    pub left_at_once: bool,
    /// What a key shows is told by a node that may lead no more.
    pub read_unconfirmed: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            boot: 1,
            timeout: Duration::from_secs(5),
            slack: Duration::from_secs(5),
            silence: Duration::from_secs(60),
            undecided: Duration::from_secs(60),
            abandoned: Duration::from_secs(3600),
            stalled: Duration::from_secs(300),
            holder: Duration::from_secs(15),
            unfinished: Duration::from_secs(7 * 24 * 3600),
            left: Duration::from_secs(600),
            compare: Duration::from_secs(3600),
            // Well under a second of a slow disk.
            looked_max: 16_384,
            memory_kib: 128 << 10,
            sabotage: Sabotage::default(),
        }
    }
}

//! What a check found: how often each thing that must never be, and examples.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::history::{Act, Durability, Operation, Outcome};

/// Findings that are told; a broken run has thousands of one kind, and they say the same.
const FINDINGS_PER_VERDICT: u64 = 10;

/// What must never be. A run is good when it has none of any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// A quorum acknowledged it and a member does not have it in the end.
    Lost,
    /// Nobody sent it, or not yet; or somebody was shown it and it is gone.
    Phantom,
    /// One message stands at two places, or one id names two messages.
    Duplicate,
    /// One place was seen with two contents.
    Forked,
    /// Numbers are missing between the first message and the last of a page.
    Gap,
    /// What began after something had ended stands before it, or an epoch falls.
    Inverted,
    /// It was refused, and is there.
    RefusedRead,
    /// One key has two messages, or its repeats got two answers.
    KeySplit,
    /// An answer is older than what its client had seen.
    Session,
    /// A confirmed read misses what was acknowledged before it began.
    Stale,
    /// A quorum acknowledged it in an epoch that was known to be over before it was sent.
    LateAck,
    /// An acknowledgement was given before enough had synced.
    Undurable,
    /// Two members differ in the end.
    Diverged,
    /// A chat was not read to its end from any member: nothing can be said of it.
    Unread,
    /// The history is not one that can be judged: its body was sent under two keys.
    Malformed,
}

impl Verdict {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 15] = [
        Self::Lost,
        Self::Phantom,
        Self::Duplicate,
        Self::Forked,
        Self::Gap,
        Self::Inverted,
        Self::RefusedRead,
        Self::KeySplit,
        Self::Session,
        Self::Stale,
        Self::LateAck,
        Self::Undurable,
        Self::Diverged,
        Self::Unread,
        Self::Malformed,
    ];

    /// In words, for the table.
    pub fn words(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Phantom => "phantom",
            Self::Duplicate => "duplicate",
            Self::Forked => "two contents at one place",
            Self::Gap => "gap",
            Self::Inverted => "order inversion",
            Self::RefusedRead => "refused but read",
            Self::KeySplit => "two answers for one key",
            Self::Session => "session violation",
            Self::Stale => "stale confirmed read",
            Self::LateAck => "late acknowledgement",
            Self::Undurable => "acknowledged before synced",
            Self::Diverged => "members differ",
            Self::Unread => "chat not read in the end",
            Self::Malformed => "malformed history",
        }
    }
}

/// One example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub verdict: Verdict,
    /// Where, and what was seen.
    pub text: String,
}

/// What was done, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Tries of sends.
    pub sends: u64,
    /// Tries that were acknowledged by a quorum.
    pub quorum: u64,
    /// Tries that were acknowledged by fewer.
    pub local: u64,
    /// Acknowledgements, of both kinds, that repeated an earlier one.
    pub replays: u64,
    /// Tries that were held.
    pub held: u64,
    /// Tries that were refused for good.
    pub refused: u64,
    /// Tries that certainly had no effect.
    pub not_committed: u64,
    /// Tries whose end nobody knows.
    pub unknown: u64,
    /// Pages that were read.
    pub reads: u64,
    /// Of those, confirmed ones.
    pub confirmed_reads: u64,
    /// Of those, with a cursor that the answer had to reach.
    pub session_reads: u64,
    /// Reads without an answer.
    pub failed_reads: u64,
    /// Messages in pages.
    pub read_messages: u64,
    /// Chats.
    pub chats: u64,
    /// Chats times members that were read in the end.
    pub surveys: u64,
    /// Messages there in the end.
    pub messages: u64,
    /// Messages whose every try ended unknown, and that are there.
    pub recovered: u64,
    /// Messages that fewer than a quorum acknowledged, and that are not there: allowed, and said so.
    pub local_lost: u64,
    /// Acknowledgements by fewer than a quorum in an epoch that was known to be over.
    pub local_late: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How often each thing was found that must never be. What is not here was not found.
    pub found: BTreeMap<Verdict, u64>,
    /// Examples, a few of each.
    pub findings: Vec<Finding>,
    /// What the history holds.
    pub counts: Counts,
}

impl Report {
    /// Whether nothing was found.
    pub fn is_zero(&self) -> bool {
        self.found.is_empty()
    }

    /// How often it was found.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.found.get(&verdict).copied().unwrap_or_default()
    }

    /// Adds what another check found; counts of operations are not added.
    pub fn absorb(&mut self, other: Self) {
        for (verdict, count) in other.found {
            *self.found.entry(verdict).or_default() += count;
        }
        self.findings.extend(other.findings);
    }

    pub(super) fn find(&mut self, verdict: Verdict, text: impl FnOnce() -> String) {
        let count = self.found.entry(verdict).or_default();
        *count += 1;
        if *count <= FINDINGS_PER_VERDICT {
            self.findings.push(Finding { verdict, text: text() });
        }
    }
}

impl Counts {
    pub(super) fn count(&mut self, history: &[Operation]) {
        for operation in history {
            match &operation.act {
                Act::Send(sending) => self.count_try(&sending.outcome),
                Act::Read(reading) => {
                    let Some(page) = &reading.page else {
                        self.failed_reads += 1;
                        continue;
                    };
                    self.reads += 1;
                    self.confirmed_reads += u64::from(reading.confirmed);
                    let session = reading.after.is_some() || reading.seen.is_some();
                    self.session_reads += u64::from(session);
                    self.read_messages += page.messages.len() as u64;
                }
                Act::Final(_) => self.surveys += 1,
            }
        }
    }

    fn count_try(&mut self, outcome: &Outcome) {
        self.sends += 1;
        let count = match outcome {
            Outcome::Ok(stored) => {
                self.replays += u64::from(stored.replay);
                match stored.durability {
                    Durability::Quorum => &mut self.quorum,
                    Durability::Local => &mut self.local,
                }
            }
            Outcome::Held { .. } => &mut self.held,
            Outcome::Refused { .. } => &mut self.refused,
            Outcome::NotCommitted { .. } => &mut self.not_committed,
            Outcome::Unknown { .. } => &mut self.unknown,
        };
        *count += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in Verdict::ALL {
            writeln!(f, "{:30} {}", verdict.words(), self.count(verdict))?;
        }
        for finding in &self.findings {
            writeln!(f, "  {}: {}", finding.verdict.words(), finding.text)?;
        }
        let counts = &self.counts;
        writeln!(
            f,
            "sends {}: quorum {}, local {}, replayed {}, held {}, refused {}, not committed {}, unknown {}",
            counts.sends,
            counts.quorum,
            counts.local,
            counts.replays,
            counts.held,
            counts.refused,
            counts.not_committed,
            counts.unknown
        )?;
        writeln!(
            f,
            "reads {}: confirmed {}, with a cursor {}, failed {}, messages {}",
            counts.reads,
            counts.confirmed_reads,
            counts.session_reads,
            counts.failed_reads,
            counts.read_messages
        )?;
        write!(
            f,
            "in the end: {} chats, {} read, {} messages, recovered {}, local lost {}, local late {}",
            counts.chats,
            counts.surveys,
            counts.messages,
            counts.recovered,
            counts.local_lost,
            counts.local_late
        )
    }
}

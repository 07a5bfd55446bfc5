//! What a node tells of its services: how each does, and what one did not take.

use model::{ChatToken, Cursor, Dialect, MessageId};
use serde::{Deserialize, Serialize};
use transaction::{Cause, TransactionId};

/// What a service is taken for, as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Condition {
    /// Its events are sent.
    Up,
    /// It is tried.
    Recovering,
    /// Nothing is sent for a while.
    Down,
    /// Nothing is sent until somebody says so.
    Stopped,
}

impl Condition {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Recovering => "recovering",
            Self::Down => "down",
            Self::Stopped => "stopped",
        }
    }
}

/// A service, as a node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// In whose words it is spoken to.
    pub dialect: Dialect,
    /// What it is taken for there.
    pub state: Condition,
    /// Why it is stopped.
    pub cause: Option<Cause>,
    /// For how long, in milliseconds; what is down, or tried, since it was first found down.
    pub for_ms: u64,
    /// In how long it is tried again, in milliseconds, if it waits, or the first of its failing lanes does.
    pub next_ms: Option<u64>,
    /// Partitions whose first transaction was tried and not taken.
    pub failing: u64,
    /// For how long the one fails that does so longest, in milliseconds.
    pub failing_ms: Option<u64>,
    /// How long the oldest event waits, in milliseconds, as it was seen a few seconds ago.
    pub lag_ms: Option<u64>,
    /// Attempts under way.
    pub in_flight: u64,
    /// Events that it is owed by the partitions that node leads.
    pub pending: u64,
    /// Events it took of them.
    pub done: u64,
    /// Events put aside.
    pub parked: u64,
    /// Events given up.
    pub abandoned: u64,
    /// Of how many partitions that is.
    pub partitions: u64,
    /// Whether that node has it in its file: otherwise what it owes waits.
    pub configured: bool,
}

impl ServiceView {
    /// Of a service that this node does not have in its file, before anything is counted: what it owes waits.
    pub fn unconfigured(name: String, dialect: Dialect) -> Self {
        Self {
            name,
            url: String::new(),
            dialect,
            state: Condition::Stopped,
            cause: None,
            for_ms: 0,
            next_ms: None,
            failing: 0,
            failing_ms: None,
            lag_ms: None,
            in_flight: 0,
            pending: 0,
            done: 0,
            parked: 0,
            abandoned: 0,
            partitions: 0,
            configured: false,
        }
    }
}

/// An event that was put aside, or how many a partition has given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What it was sent under last.
    pub id: TransactionId,
    /// What the service said to it last.
    pub status: Option<u16>,
    /// When it was put aside, in Unix milliseconds.
    pub time_ms: u64,
    /// The event, if the log gives it.
    pub event: Option<Letter>,
    /// So many events of the partition were given up; 0: this is an event that was put aside.
    pub abandoned: u64,
}

/// An event, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The message.
    pub message: MessageId,
    /// Its chat.
    pub chat: ChatToken,
    /// Where it stands there.
    pub cursor: Cursor,
}

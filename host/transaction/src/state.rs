//! What a service is taken for, why it is stopped, and what an attempt says of it.

use std::time::Duration;

use runtime::Instant;
use serde::{Deserialize, Serialize};

/// Why nothing is sent until somebody says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// An operator said so.
    Paused,
    /// It said that it is not there any more.
    Gone,
    /// It was down for too long.
    GaveUp,
    /// It refused everything.
    RefusesAll,
}

impl Cause {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Gone => "gone",
            Self::GaveUp => "gave-up",
            Self::RefusesAll => "refuses-all",
        }
    }
}

/// What a service is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// All lanes are sent.
    Up,
    /// Nothing is sent until then.
    Down {
        /// When it is tried again.
        until: Instant,
    },
    /// One probe is under way, or begins as soon as there is something to send.
    Recovering,
    /// Nothing is sent until somebody says so.
    Stopped(Cause),
}

impl State {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down { .. } => "down",
            Self::Recovering => "recovering",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// How an attempt ended, as far as the service is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It answered, and said yes or that it will never take this.
    Answered,
    /// It answered otherwise, or not in time.
    Failed {
        /// How long it asked us to wait.
        retry_after: Option<Duration>,
        /// Whether nothing was answered at all.
        silent: bool,
        /// Whether there was a connection.
        connected: bool,
    },
    /// It is not there any more.
    Gone,
    /// The attempt was not made after all.
    Cancelled,
}

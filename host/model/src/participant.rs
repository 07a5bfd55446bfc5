//! Who is in a chat, and in which state a chat is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Attrs;

/// What a participant takes in an answer besides texts: lengths, times, the ordinal.
const PARTICIPANT_BYTES: usize = 32;

/// What a pair takes besides its texts.
const PAIR_BYTES: usize = 6;

/// Somebody in a chat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Participant {
    /// Unique in its chat.
    pub id: String,
    /// As what they joined; empty when they did not say.
    pub role: String,
    /// `connected`, `disconnected` or `unavailable`.
    pub status: String,
    /// When they were last heard, in Unix milliseconds on the chat's clock.
    pub heard_ms: u64,
    /// The how manieth to join, counted from 1; never given twice in a chat.
    pub ordinal: u32,
    /// Free pairs.
    pub attrs: Attrs,
}

impl Participant {
    /// What they take in an answer between nodes, at most.
    pub fn bytes(&self) -> usize {
        Self::bytes_of(&self.id, &self.role, &self.status, &self.attrs)
    }

    /// The same of somebody who would be this.
    pub fn bytes_of(id: &str, role: &str, status: &str, attrs: &Attrs) -> usize {
        let pairs: usize = attrs.iter().map(|(name, value)| Self::pair_bytes(name, value)).sum();
        PARTICIPANT_BYTES + id.len() + role.len() + status.len() + pairs
    }

    /// What one pair of it takes.
    pub const fn pair_bytes(name: &str, value: &str) -> usize {
        PAIR_BYTES + name.len() + value.len()
    }
}

/// How far a chat has come. It only goes forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatStatus {
    /// Created and not started.
    #[default]
    Pending,
    /// Started; its duration counts from here.
    Started,
    /// Over: nothing can be sent any more, reading goes on.
    Ended,
}

impl ChatStatus {
    /// The word used outside: `pending`, `started`, `ended`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Started => "started",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for ChatStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

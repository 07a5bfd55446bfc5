//! Who is in a chat, and in which state a chat is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Attrs;

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

//! What a handler answered, checked like what a client sends.

use model::Body;

use crate::Effect;

/// What a message handler answered. Its output has been checked like a client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What becomes of the message.
    pub verdict: Verdict,
    /// Kept beside the message.
    pub notes: Vec<(String, String)>,
    /// What it asked for, in the order of asking.
    pub effects: Vec<Effect>,
    /// What the call cost: the same again for the same call.
    pub fuel: u64,
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No opinion: the next handler decides.
    Pass,
    /// Accepted, and the rest of the chain is not asked.
    Accept,
    /// Goes on with another body.
    Rewrite(Body),
    /// Stored nowhere. The effects of this call are committed all the same.
    Reject {
        /// Stable, for programs.
        code: String,
        /// For people.
        reason: String,
        /// When it makes sense to try again.
        retry_after_ms: Option<u32>,
    },
    /// Kept back until this plugin releases or drops it, or until its deadline.
    Hold {
        /// Why, for people.
        reason: String,
        /// How long, from the message's time on.
        deadline_ms: u32,
        /// Whether it is stored then, or dropped.
        accept: bool,
    },
}

impl Verdict {
    /// The word in a stamp: `pass`, `accept`, `rewrite`, `reject`, `hold`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Accept => "accept",
            Self::Rewrite(_) => "rewrite",
            Self::Reject { .. } => "reject",
            Self::Hold { .. } => "hold",
        }
    }
}

/// What another handler answered: what it was asked for, and its effects.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered<T> {
    /// The answer.
    pub answer: T,
    /// What it asked for, in the order of asking.
    pub effects: Vec<Effect>,
    /// What the call cost: the same again for the same call.
    pub fuel: u64,
}

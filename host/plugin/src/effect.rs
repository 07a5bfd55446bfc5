//! What a handler can ask for.
//!
//! Nothing of it has happened: whoever called puts it into the log, with the message or the event it was
//! asked for, or drops it.

use model::{Attrs, Body, MessageId, Route};

/// Something a handler asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Keep a note in this chat; `None` forgets it.
    Note {
        /// The key.
        key: String,
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// Add a message. It does not pass through the chain.
    Post(Draft),
    /// A pair on the chat.
    ChatAttr {
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A pair on a member.
    MemberAttr {
        /// Who.
        member: String,
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A member's status.
    MemberStatus {
        /// Who; not necessarily a member yet.
        member: String,
        /// `connected`, `disconnected` or `unavailable`.
        status: String,
    },
    /// Pending becomes started.
    StartChat,
    /// The chat ends.
    EndChat {
        /// Why, in words.
        reason: String,
    },
    /// A message that this plugin keeps back is let go.
    Release {
        /// Which.
        message: MessageId,
    },
    /// A message that this plugin keeps back is stored nowhere.
    DropHeld {
        /// Which.
        message: MessageId,
        /// Why, in words.
        reason: String,
    },
    /// A timer starts, in place of one of the same name.
    StartTimer {
        /// Its name, this plugin's own.
        name: String,
        /// How long it runs.
        after_ms: u32,
    },
    /// A timer is stopped.
    CancelTimer {
        /// Its name.
        name: String,
    },
    /// A service outside is to be called.
    Outcall {
        /// Which service; it was granted.
        service: String,
        /// Path and query.
        path: String,
        /// Headers; secrets are still named, not filled in.
        headers: Attrs,
        /// What is sent.
        body: Vec<u8>,
        /// Comes back with the answer; empty when none is wanted.
        correlation: String,
    },
}

/// A message that a handler adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The id it was promised.
    pub id: MessageId,
    /// What it is.
    pub kind: String,
    /// To whom it goes.
    pub route: Route,
    /// What it says.
    pub body: Body,
    /// Free pairs.
    pub attrs: Attrs,
}

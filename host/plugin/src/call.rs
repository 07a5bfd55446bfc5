//! One call of a handler: what goes in, and what comes out.
//!
//! Plain data on both sides. A handler performs nothing: what it asked for is a list of effects, and
//! whoever called commits them with the message (or with its refusal), or drops them.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Attrs, Body, ChatStatus, ChatToken, Cursor, Message, MessageId, Participant, Route};

/// What one plugin keeps in one chat.
pub type Notes = BTreeMap<String, Vec<u8>>;

/// Who is in the chat, by id.
pub type Roster = BTreeMap<String, Participant>;

/// Everything a handler is told. Cheap to clone: what is big is shared.
#[derive(Clone, Debug)]
pub struct Call {
    /// The chat.
    pub context: Context,
    /// What somebody wants to say.
    pub message: Arc<Message>,
    /// Who says it. For a first message this is who they will be once it is accepted.
    pub sender: Participant,
    /// What this plugin has kept in this chat.
    pub notes: Arc<Notes>,
    /// Who is in the chat.
    pub roster: Arc<Roster>,
    /// How the ids of added messages are made.
    pub ids: Ids,
    /// The only randomness there is: derived from chat, epoch, turn and plugin, so that a call can be
    /// made again exactly.
    pub seed: u64,
}

/// The chat, as a handler sees it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The chat.
    pub chat: ChatToken,
    /// Its last message.
    pub head: Cursor,
    /// The chat's clock: the only one there is.
    pub now_ms: u64,
    /// How far it has come.
    pub status: ChatStatus,
    /// When it started.
    pub started_ms: Option<u64>,
    /// How long it may last.
    pub max_duration_ms: Option<u64>,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// How many are.
    pub participants: u32,
    /// Free pairs on the chat.
    pub chat_attrs: Arc<Attrs>,
}

/// The parts of [`MessageId::derive`], and the index that the next added message gets.
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    /// The chat's partition.
    pub partition: u8,
    /// The chat.
    pub chat: ChatToken,
    /// Under which epoch this turn is appended.
    pub epoch: u64,
    /// The chat's turn.
    pub turn: u64,
    /// Index of the next added message; 0 is the sender's own.
    pub next_index: u32,
}

/// What a handler answered. Its output has been checked like a client's.
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
}

impl Verdict {
    /// The word in a stamp: `pass`, `accept`, `rewrite`, `reject`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Accept => "accept",
            Self::Rewrite(_) => "rewrite",
            Self::Reject { .. } => "reject",
        }
    }
}

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

//! What the chats of a cluster answer.
//!
//! Plain data that crosses nodes in postcard. How it looks to clients is `api`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashring::{NodeId, PartitionId};
use model::{Attrs, Chat, ChatStatus, ChatToken, Cursor, Message, MessageId, Participant};
use serde::{Deserialize, Serialize};

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Create`.
    Created(Created),
    /// To `Show`.
    Chat(Box<ChatView>),
    /// To `Join`.
    Joined {
        /// The how manieth to join.
        ordinal: u32,
    },
    /// To `Leave`; also when they were not there.
    Left,
    /// To `Send`: stored.
    Sent(Sent),
    /// To `Send`: a handler keeps it back.
    Held {
        /// The id it will have.
        id: MessageId,
        /// Whether this is the first answer again.
        replay: bool,
    },
    /// To `Read`.
    Page(Page),
    /// To `End`; also when it had ended before.
    Ended {
        /// The chat's last cursor.
        cursor: Cursor,
        /// When it ended.
        ended_ms: u64,
    },
    /// To `Owners`.
    Owners(Owners),
    /// To `OutcallDone`.
    OutcallDone {
        /// Whether the chat waited for it: an answer that it has had changes nothing.
        waited: bool,
    },
    /// To `Twilio`.
    Twiml {
        /// What Twilio is to do.
        text: String,
        /// Whether this is the first answer again.
        replay: bool,
    },
    /// To `Typing` and `Mark`.
    Noted,
    /// To `Redact`; also when it was before.
    Redacted {
        /// The message as everybody is shown it from now on.
        stored: Stored,
        /// The version of the object that still has what it said: as the chat was archived before.
        archive: Option<u64>,
    },
}

/// A chat that exists now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// Its name.
    pub token: ChatToken,
    /// Before its first message.
    pub cursor: Cursor,
    /// Pending.
    pub status: ChatStatus,
    /// When.
    pub created_ms: u64,
}

/// A chat as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatView {
    /// Its name.
    pub token: ChatToken,
    /// How far it has come.
    pub status: ChatStatus,
    /// Its last message.
    pub cursor: Cursor,
    /// When it was created.
    pub created_ms: u64,
    /// When it started.
    pub started_ms: Option<u64>,
    /// When it ended.
    pub ended_ms: Option<u64>,
    /// How long it may last after it started, in seconds.
    pub max_duration_s: Option<u64>,
    /// How many may be in it.
    pub max_participants: Option<u32>,
    /// Who is in it, by ordinal.
    pub participants: Vec<Participant>,
    /// Free pairs.
    pub attrs: Attrs,
    /// How much it waits for.
    pub pending: Pending,
    /// The handlers that see its messages, with their versions.
    pub plugins: BTreeMap<String, String>,
    /// The version of the object that it is archived as, if it is.
    pub archive: Option<u64>,
}

/// How much a chat waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Messages that are kept back.
    pub held: usize,
    /// Timers that run.
    pub timers: usize,
    /// Calls out that nobody has answered.
    pub outcalls: usize,
}

impl Pending {
    pub(crate) fn of(chat: &Chat) -> Self {
        chat.waiting.as_ref().map_or_else(Self::default, |waiting| Self {
            held: waiting.held.len(),
            timers: waiting.timers.len(),
            outcalls: waiting.outcalls.len(),
        })
    }

    /// Whether it waits for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How many hold a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The commit quorum, or more if more were asked for.
    Quorum,
    /// The primary alone, because no more was asked for.
    Local,
}

/// A message that is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Whether this is the first answer again.
    pub replay: bool,
    /// Where the message stands.
    pub cursor: Cursor,
    /// The sender's clock minus ours.
    pub skew_ms: Option<i64>,
    /// How many hold it.
    pub durability: Durability,
    /// As it was stored: a handler may have rewritten it.
    pub message: Arc<Message>,
    /// What handlers added in the same turn.
    pub also: Vec<MessageId>,
}

/// A message and its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Where it stands.
    pub cursor: Cursor,
    /// What was said.
    pub message: Arc<Message>,
}

/// Messages in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The messages the reader may see.
    pub messages: Vec<Stored>,
    /// To read on from; counts hidden messages too.
    pub cursor: Cursor,
    /// The chat's last message.
    pub head: Cursor,
    /// Whether there is more between `cursor` and `head`.
    pub more: bool,
    /// The cursor that the reader came with is of a message that is not in the chat any more, if it ever was: what they have
    /// seen after this cursor does not count, and what comes after it is new to them.
    pub gap: Option<Cursor>,
    /// What changed of what is not written, for those who want to be told.
    pub pulse: Option<Box<Pulse>>,
}

/// A moment of what is known of a chat's people and not written. Only equality means something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulseAt {
    /// The epoch of the leader who told it: another one knows nothing of it.
    pub epoch: u64,
    /// How much had happened by then.
    pub count: u64,
}

/// What changed of a chat's people. Each part that is there is the whole of it as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// As of when.
    pub at: PulseAt,
    /// Who types.
    pub typing: Option<Vec<String>>,
    /// How far who has read.
    pub read: Option<BTreeMap<String, Cursor>>,
    /// Who is there.
    pub people: Option<Arc<People>>,
}

/// Who is in a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// How far the chat has come.
    pub status: ChatStatus,
    /// By ordinal.
    pub participants: Vec<Person>,
}

/// Somebody in a chat, as far as it changes by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Unique in the chat.
    pub id: String,
    /// As what they joined.
    pub role: String,
    /// `connected`, `disconnected` or `unavailable`.
    pub status: String,
    /// When they were last heard.
    pub heard_ms: u64,
    /// The how manieth to join.
    pub ordinal: u32,
}

/// Who holds a chat, and who should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owners {
    /// The chat's partition.
    pub partition: PartitionId,
    /// Its epoch.
    pub epoch: u64,
    /// Who leads it.
    pub primary: Option<NodeId>,
    /// Who holds it.
    pub ensemble: Vec<NodeId>,
    /// Who should hold it, by the ring.
    pub wanted: Vec<NodeId>,
}

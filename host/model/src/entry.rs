//! One log entry of a chat: a turn's changes, and what the turn answered.
//!
//! A turn is whatever one request made of a chat: the message, the joins and effects that came with
//! it, and the answer its key is remembered with, in one entry, so that they exist together or not at
//! all. Replicas never run handlers: the entry already holds the results.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Attrs, ChatToken, Decision, Happened, Hold, Lineup, Message, MessageId, Outcall, Plan,
};

/// What one turn did to a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The chat.
    pub chat: ChatToken,
    /// The chat's turn: 0 creates it, then 1, 2, 3 …
    pub turn: u64,
    /// Unix milliseconds on the chat's clock.
    pub time_ms: u64,
    /// In this order.
    pub changes: Vec<Change>,
    /// The answer to keep for the request's key, if it had one.
    pub remembered: Option<Remembered>,
}

/// One change of a chat's state. Messages are numbered in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The chat begins; only in turn 0.
    Create {
        /// How long it may last after it started, in seconds.
        max_duration_s: Option<u64>,
        /// How many may be in it.
        max_participants: Option<u32>,
        /// Free pairs.
        attrs: Attrs,
    },
    /// Somebody said something. Shared, because the entry, its readers and its sender's answer hold it.
    Message(Arc<Message>),
    /// Somebody joined, or changed role or attributes by joining again.
    Join {
        /// Who.
        id: String,
        /// As what.
        role: String,
        /// Free pairs.
        attrs: Attrs,
    },
    /// Somebody left.
    Leave {
        /// Who.
        id: String,
    },
    /// A participant's status: `connected`, `disconnected`, `unavailable`.
    MemberStatus {
        /// Who.
        id: String,
        /// The status.
        status: String,
    },
    /// A pair on a participant.
    MemberAttr {
        /// Who.
        id: String,
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// A pair on the chat.
    ChatAttr {
        /// The pair's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Pending becomes started.
    Start,
    /// The chat ends.
    End {
        /// Why, in words.
        reason: String,
    },
    /// A plugin's note in this chat; `None` deletes it.
    Note {
        /// Whose.
        plugin: String,
        /// The key.
        key: String,
        /// The value.
        value: Option<Vec<u8>>,
    },
    /// From this turn on the chat is handled by this generation of the handlers or a later one.
    Generation(u64),
    /// A message is kept back.
    Hold {
        /// As it will be stored, but for its time.
        message: Arc<Message>,
        /// The idempotency key under which it was sent.
        key: String,
        /// Who keeps it back.
        holds: Vec<Hold>,
    },
    /// One of several who keep a message back lets it go; the others still keep it.
    Lift {
        /// Which message.
        id: MessageId,
        /// Who lets it go.
        plugin: String,
    },
    /// A message is kept back no longer. If it is to be stored, it follows in the same entry.
    Settle {
        /// Which message.
        id: MessageId,
        /// Who sent it.
        sender: String,
        /// Under which idempotency key.
        key: String,
        /// Why it is stored nowhere, if it is not.
        dropped: Option<Dropped>,
    },
    /// A timer starts, in place of one of the same name.
    TimerStart {
        /// Whose.
        plugin: String,
        /// Its name.
        name: String,
        /// How long it runs.
        after_ms: u32,
    },
    /// A timer is no more: it was cancelled, or this is the turn in which it went off.
    TimerEnd {
        /// Whose.
        plugin: String,
        /// Its name.
        name: String,
    },
    /// Something has happened that is to be told.
    Tell {
        /// What.
        what: Happened,
        /// How many events led to it.
        depth: u8,
    },
    /// Listeners were told of what had happened, oldest first.
    Told {
        /// Of how many events.
        count: u32,
    },
    /// A call out is asked for.
    Outcall(Arc<Outcall>),
    /// A call out is answered, or given up.
    OutcallDone {
        /// Its number in the chat.
        number: u64,
    },
    /// What a plugin decided, and what it noted beside the message.
    Decided {
        /// Whose.
        plugin: String,
        /// The decision.
        decision: Decision,
    },
    /// The chat is forgotten: its token means nothing any more. It was over, and this is its last change.
    Forget,
    /// From this turn on the chat is handled by these handlers, or later ones: as [`Change::Generation`], which
    /// is how it was written before, and who they are.
    Lineup(Arc<Lineup>),
    /// The message of this turn as it came, where a handler refused or rewrote it. It changes nothing and is
    /// shown to nobody: with it the decision can be made again.
    Asked(Arc<Message>),
    /// What is to become of the chat, which is over.
    Planned(Arc<Plan>),
    /// What was planned is done.
    Kept {
        /// The version of the object that the chat is archived as, if it is.
        archive: Option<u64>,
    },
    /// What a message said is taken back.
    Redact {
        /// Which message.
        id: MessageId,
        /// Its number in the chat, from 1.
        number: u64,
        /// Why, in words.
        reason: String,
        /// Who took it back; empty if they did not say.
        by: String,
    },
    /// What is planned for the chat while it goes on.
    Standing(Arc<Plan>),
    /// No message names this attachment any more: it is to be deleted.
    Detach {
        /// Its key in the collection of attachments.
        key: String,
        /// Its version.
        version: u64,
    },
    /// It is.
    Detached {
        /// Its version.
        version: u64,
    },
}

/// Why a message that was kept back is stored nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Who had kept it back.
    pub plugin: String,
    /// For programs: `dropped`, `hold-expired`, `chat-ended`.
    pub code: String,
    /// In words.
    pub reason: String,
}

impl Entry {
    /// The messages in it, in their order.
    pub fn messages(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.changes.iter().filter_map(|change| match change {
            Change::Message(message) => Some(message),
            _ => None,
        })
    }

    /// The message of its turn as it came, if a handler refused or rewrote it.
    pub fn asked(&self) -> Option<&Arc<Message>> {
        self.changes.iter().find_map(|change| match change {
            Change::Asked(message) => Some(message),
            _ => None,
        })
    }

    /// What became in it of messages that were kept back: sender and key of each.
    pub fn settled(&self) -> impl Iterator<Item = (&str, &str)> {
        self.changes.iter().filter_map(|change| match change {
            Change::Settle { sender, key, .. } => Some((sender.as_str(), key.as_str())),
            _ => None,
        })
    }
}

/// A key and what its first request was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Who sent; a key belongs to its sender.
    pub sender: String,
    /// The idempotency key.
    pub key: String,
    /// SHA-256 over the decoded fields of the request, without `sent_ms`.
    pub body_hash: [u8; 32],
    /// What was answered.
    pub answer: Answer,
}

/// The answer to repeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Stored: the request's own message is the first of this entry that is not a plugin's.
    Stored {
        /// Which of the entry's messages is the request's own, counted from 0; the others are `also`.
        own: u32,
        /// The sender's clock minus ours, in milliseconds.
        skew_ms: Option<i64>,
    },
    /// A handler refused it.
    Refused {
        /// Which plugin.
        plugin: String,
        /// Its reason code.
        reason_code: String,
        /// In words.
        reason: String,
        /// When it makes sense to try again.
        retry_after_ms: Option<u32>,
    },
    /// It is kept back. What becomes of it is in the entry that settles it.
    Held {
        /// The id it will have.
        id: MessageId,
    },
    /// Twilio asked, and a handler answered this.
    Twiml {
        /// What Twilio is to do.
        text: String,
    },
}

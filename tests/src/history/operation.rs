//! One thing that a client asked, and what it was told.

use std::fmt;

use model::{ChatToken, Cursor, MessageId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::text;

/// One operation of one client on one chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// When it began, in microseconds on the history's clock.
    #[serde(rename = "t_inv")]
    pub begun: u64,
    /// When the client knew how it ended; `None`: never, which is an open outcome too.
    #[serde(rename = "t_ret")]
    pub ended: Option<u64>,
    /// Who did it. A client does one thing after the other.
    pub client: u32,
    /// The chat.
    #[serde(with = "text::one")]
    pub chat: ChatToken,
    /// What it was.
    #[serde(flatten)]
    pub act: Act,
}

/// What a client can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Act {
    /// It tried to send, once.
    Send(Sending),
    /// It read one page.
    Read(Reading),
    /// After everything: it read the whole chat from one member.
    Final(Survey),
}

/// One try of one send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sending {
    /// The idempotency key.
    pub key: String,
    /// Who the message is from; a key belongs to a chat and a sender.
    pub sender: String,
    /// What was sent.
    #[serde(with = "text::one")]
    pub content: Content,
    /// How many had to hold it.
    pub w: u8,
    /// How many copies were asked for, if any number was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u8>,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// 201 or 200: it is there.
    Ok(Stored),
    /// 202: it is kept and not yet visible.
    Held {
        /// Its id.
        #[serde(with = "text::one")]
        id: MessageId,
    },
    /// It was refused for good, and is nowhere.
    Refused {
        /// The problem's code.
        code: String,
    },
    /// This try had no effect and never will; another under the same key may.
    NotCommitted {
        /// The problem's code.
        code: String,
    },
    /// It may be there, or come to be.
    Unknown {
        /// The problem's code, or what the connection said.
        code: String,
    },
}

/// What an answer says of a message that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its id.
    #[serde(with = "text::one")]
    pub id: MessageId,
    /// Its place.
    #[serde(with = "text::one")]
    pub cursor: Cursor,
    /// Whether the commit quorum had it.
    pub durability: Durability,
    /// Whether the answer repeats one to an earlier try.
    #[serde(default)]
    pub replay: bool,
}

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// A commit quorum has it: it is never lost.
    Quorum,
    /// Fewer have it: a take-over may withdraw it.
    Local,
}

/// One page that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// After which message; nothing is the start.
    #[serde(default, with = "text::maybe", skip_serializing_if = "Option::is_none")]
    pub after: Option<Cursor>,
    /// The furthest that this client has seen, if it said so: the answer may not be older.
    #[serde(default, with = "text::maybe", skip_serializing_if = "Option::is_none")]
    pub seen: Option<Cursor>,
    /// Whether it asked for everything that was acknowledged before.
    #[serde(default)]
    pub confirmed: bool,
    /// The answer; `None`: there was none, or it was an error.
    pub page: Option<Page>,
}

/// Messages in their order, as one answer showed them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The chat's last message at that time.
    #[serde(with = "text::one")]
    pub head: Cursor,
    /// The messages.
    #[serde(with = "text::many")]
    pub messages: Vec<Seen>,
}

/// A whole chat as one member has it in the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// The member.
    pub node: String,
    /// Every message.
    #[serde(with = "text::many")]
    pub messages: Vec<Seen>,
}

/// A message as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Its place.
    pub cursor: Cursor,
    /// Its id.
    pub id: MessageId,
    /// What it says.
    pub content: Content,
}

/// What a message says: a hash over its sender and its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content(pub u64);

impl Content {
    /// Of a message from `sender` that says `body`.
    pub fn of(sender: &str, body: &str) -> Self {
        let digest = Sha256::new().chain_update(sender).chain_update([0]).chain_update(body);
        let bytes = digest.finalize().into_iter().take(8);
        Self(bytes.fold(0, |hash, byte| hash << 8 | u64::from(byte)))
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.cursor, self.id, self.content)
    }
}

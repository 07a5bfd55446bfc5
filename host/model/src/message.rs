//! What somebody said, and to whom it goes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::chat_token::{hex16, write_digits};
use crate::{ChatToken, Redaction, Reference};

/// Free pairs of text on a message, a participant or a chat.
pub type Attrs = BTreeMap<String, String>;

/// Unique for ever, and known before the handlers run: the partition, then 15 bytes derived from
/// chat, epoch, turn and index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId(pub [u8; 16]);

impl MessageId {
    /// The id of message `index` (0 is what the sender sent) of a chat's turn `turn` under `epoch`.
    pub fn derive(partition: u8, chat: ChatToken, epoch: u64, turn: u64, index: u32) -> Self {
        let digest = Sha256::new()
            .chain_update(b"carillon message 1")
            .chain_update(chat.0)
            .chain_update(epoch.to_le_bytes())
            .chain_update(turn.to_le_bytes())
            .chain_update(index.to_le_bytes())
            .finalize();
        let mut id = [0; 16];
        for (to, from) in id.iter_mut().skip(1).zip(digest) {
            *to = from;
        }
        id[0] = partition;
        Self(id)
    }

    /// The partition in its first byte.
    pub fn partition(self) -> u8 {
        self.0[0]
    }

    /// An id from its 32 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        hex16(text).map(Self)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_digits(f, self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// To whom a message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Route {
    /// Everybody in the chat.
    Everyone,
    /// Nobody: recorded, never delivered.
    Nobody,
    /// The named participants.
    Only(Vec<String>),
}

impl Route {
    /// Whether `reader` may see it; `None` is a reader who gave no name, and sees what everyone sees
    /// and what is routed to some.
    pub fn reaches(&self, reader: Option<&str>) -> bool {
        match (self, reader) {
            (Self::Everyone, _) => true,
            (Self::Nobody, _) => false,
            (Self::Only(_), None) => true,
            (Self::Only(names), Some(reader)) => names.iter().any(|name| name == reader),
        }
    }
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// Text.
    Text(String),
    /// A JSON value, as its text.
    Json(String),
    /// Bytes of some media type.
    Bytes {
        /// What the bytes are.
        media_type: String,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Nothing any more.
    Redacted(Arc<Redaction>),
}

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Json(text) => text.len(),
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Redacted(_) => 0,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// For people: text as it is, of bytes only how many, and of what was taken back only why.
impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Json(text) => f.write_str(text),
            Self::Bytes { media_type, bytes } => write!(f, "{} bytes of {media_type}", bytes.len()),
            Self::Redacted(redaction) if redaction.reason.is_empty() => f.write_str("(redacted)"),
            Self::Redacted(redaction) => write!(f, "(redacted: {})", redaction.reason),
        }
    }
}

/// What a handler decided about a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Name of the plugin.
    pub plugin: String,
    /// The version in its manifest.
    pub version: String,
    /// `pass`, `accept`, `rewrite`, `hold`, or `skipped` when it failed and its policy is `skip`.
    pub verdict: String,
}

/// A message as it is stored. How it is written: `written.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Who sent it; `system` for the node itself and for plugins.
    pub sender: String,
    /// What it is: `text`, `chat.status`, …
    pub kind: String,
    /// To whom it goes.
    pub route: Route,
    /// What it says.
    pub body: Body,
    /// What it refers to in the archive: nothing that its sender did not say, and no handler changes it.
    pub archive: Option<Arc<Reference>>,
    /// Free pairs.
    pub attrs: Attrs,
    /// Unix milliseconds on the chat's clock: never decreasing within a chat, for display only.
    pub time_ms: u64,
    /// The sender's clock when it sent, if it said so.
    pub sent_ms: Option<u64>,
    /// What each handler decided.
    pub stamps: Vec<Stamp>,
}

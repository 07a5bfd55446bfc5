//! What a chat waits for: messages that a handler keeps back, timers, events that nobody was told of yet,
//! and calls out of the cluster that were asked for.
//!
//! All of it is folded with the chat, so that whoever takes over waits for the same. How much there may be
//! is bounded where it is asked for ([`HELD_MAX`] and its neighbours). Whoever decides an entry leaves out, and counts,
//! what there is no room for ([`NOTICES_MAX`]); an entry that holds more all the same is cut here, because what is in
//! the log cannot be refused any more.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Attrs, Message, MessageId};

/// Messages of one chat that are held at once.
pub const HELD_MAX: usize = 64;

/// Bytes of them: all of them can be released in one entry, with room to spare.
pub const HELD_BYTES_MAX: usize = 256 << 10;

/// Timers that one plugin has in one chat.
pub const TIMERS_MAX: usize = 16;

/// Calls out that wait in one chat.
pub const OUTCALLS_MAX: usize = 64;

/// Bytes of them: they are in the memory of every node that holds the chat.
pub const OUTCALL_BYTES_MAX: usize = 256 << 10;

/// Events of one chat that nobody was told of: they are told one entry after the other, so that there are
/// many only while nobody listens.
pub const NOTICES_MAX: usize = 256;

/// What a chat waits for. Most wait for nothing and have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Messages that are kept back, by id.
    pub held: BTreeMap<MessageId, Held>,
    /// Timers, by plugin and name.
    pub timers: BTreeMap<(String, String), Timer>,
    /// What has happened and was not told, oldest first.
    pub notices: VecDeque<Notice>,
    /// Calls out, by their number in the chat.
    pub outcalls: BTreeMap<u64, Arc<Outcall>>,
}

/// A message that is kept back. Nobody sees it before every hold is lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// As it will be stored, but for its time, which is that of its release.
    pub message: Arc<Message>,
    /// The idempotency key under which it was sent.
    pub key: String,
    /// Who keeps it back; never empty.
    pub holds: Vec<Hold>,
}

/// One plugin's wish to keep a message back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Whose.
    pub plugin: String,
    /// Why, for people.
    pub reason: String,
    /// How long after the message's time it ends by itself.
    pub deadline_ms: u32,
    /// Whether the message is stored then, as far as this plugin is concerned, or dropped.
    pub accept: bool,
}

/// A timer that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// The turn that started it: the same name started again is another timer.
    pub turn: u64,
    /// When, on the chat's clock.
    pub since_ms: u64,
    /// How long it runs.
    pub after_ms: u32,
}

/// Something that has happened, for those who listen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What.
    pub what: Happened,
    /// How many events led to it, each by what a listener asked for: 0 was no listener's doing.
    pub depth: u8,
}

/// What can have happened to a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Happened {
    /// It started.
    Started,
    /// It ended.
    Ended {
        /// Why, in words.
        reason: String,
    },
    /// Somebody joined who was not there.
    Joined {
        /// Who.
        id: String,
    },
    /// Somebody left who was there.
    Left {
        /// Who.
        id: String,
        /// As what they had joined.
        role: String,
    },
}

/// A call to a service outside, asked for by a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcall {
    /// Whose.
    pub plugin: String,
    /// Which service; the plugin's grant names it.
    pub service: String,
    /// Path and query, from `/` on.
    pub path: String,
    /// Headers. `{{secret:NAME}}` in a value is filled in by who delivers it.
    pub headers: Attrs,
    /// What is sent.
    pub body: Vec<u8>,
    /// Comes back with the answer; empty when none is wanted.
    pub correlation: String,
    /// When it was asked for, on the chat's clock.
    pub queued_ms: u64,
}

impl Waiting {
    /// Whether there is nothing left to wait for.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
            && self.timers.is_empty()
            && self.notices.is_empty()
            && self.outcalls.is_empty()
    }

    /// Whether `message` can be kept back beside those that are.
    pub fn has_room_for(&self, message: &Message) -> bool {
        let held: usize = self.held.values().map(|held| held_bytes(&held.message)).sum();
        self.held.len() < HELD_MAX && held + held_bytes(message) <= HELD_BYTES_MAX
    }

    /// Whether `plugin` may start a timer of this name.
    pub fn has_timer_for(&self, plugin: &str, name: &str) -> bool {
        let mut count = 0;
        for (of, timer) in self.timers.keys().filter(|(of, _)| of == plugin) {
            if (of.as_str(), timer.as_str()) == (plugin, name) {
                return true;
            }
            count += 1;
        }
        count < TIMERS_MAX
    }

    /// Whether a call out of so many bytes can wait beside those that do.
    pub fn has_outcall_for(&self, bytes: usize) -> bool {
        let queued: usize = self.outcalls.values().map(|outcall| outcall.bytes()).sum();
        self.outcalls.len() < OUTCALLS_MAX && queued + bytes <= OUTCALL_BYTES_MAX
    }

    /// Whether `plugin` keeps `message` back.
    pub fn holds(&self, message: MessageId, plugin: &str) -> bool {
        let held = self.held.get(&message);
        held.is_some_and(|held| held.holds.iter().any(|hold| hold.plugin == plugin))
    }
}

impl Outcall {
    /// What it takes, about.
    pub fn bytes(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let texts = self.plugin.len() + self.service.len() + self.path.len();
        texts + self.correlation.len() + headers + self.body.len()
    }
}

/// What a held message takes, about.
fn held_bytes(message: &Message) -> usize {
    let pairs: usize = message.attrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    let archive = message.archive.as_ref().map_or(0, |archive| archive.bytes());
    message.sender.len() + message.kind.len() + message.body.len() + archive + pairs
}

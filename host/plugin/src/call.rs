//! One call of a handler: what goes in.
//!
//! Plain data. A handler performs nothing: what it asked for comes back as a list of effects
//! ([`crate::Effect`]), and whoever called commits them, or drops them.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use model::{
    Attrs, ChatStatus, ChatToken, Cursor, Decisions, Message, Participant, Roster, Waiting,
};

/// What one plugin keeps in one chat.
pub type Notes = BTreeMap<String, Vec<u8>>;

/// Everything a handler is told, whatever it is asked about. Cheap to clone: what is big is shared.
#[derive(Clone, Debug)]
pub struct Call {
    /// The chat.
    pub context: Context,
    /// What this plugin has kept in this chat.
    pub notes: Arc<Notes>,
    /// Who is in the chat.
    pub roster: Arc<Roster>,
    /// What the chat waits for: messages held, timers, calls out, of every plugin.
    pub waiting: Option<Arc<Waiting>>,
    /// What this plugin decided last in this chat.
    pub decisions: Option<Arc<Decisions>>,
    /// Where earlier messages are read; only asked by those who were granted it.
    pub past: Option<Arc<dyn Past>>,
    /// How the ids of added messages are made.
    pub ids: Ids,
    /// The only randomness there is: derived from chat, epoch, turn and plugin, so that a call can be
    /// made again exactly.
    pub seed: u64,
}

/// What somebody wants to say.
#[derive(Clone, Debug)]
pub struct Said {
    /// The message.
    pub message: Arc<Message>,
    /// Who says it. For a first message this is who they will be once it is accepted.
    pub sender: Participant,
}

/// What has happened to a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `chat.started`, `chat.ended`, `member.joined`, `member.left`, `timer.fired`, `hold.expired`.
    pub name: &'static str,
    /// Whom it is about, if it is about somebody.
    pub subject: Option<Participant>,
    /// More of it, by name.
    pub attrs: Vec<(String, String)>,
}

/// What a service answered to a call out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallbackReply {
    /// As it was given when the call was asked for.
    pub correlation: String,
    /// The HTTP status; 0 when there was no answer.
    pub status: u16,
    /// What was answered.
    pub body: Vec<u8>,
    /// How often it was tried.
    pub attempts: u32,
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

/// The parts of [`model::MessageId::derive`], and the index that the next added message gets.
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

/// A result that takes a while. Dropping it stops waiting.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A message that was said before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// Where it stands.
    pub at: Cursor,
    /// What was said.
    pub message: Arc<Message>,
}

/// The messages before: everything appended when the call began, so that the same call is told the same.
pub trait Past: std::fmt::Debug + Send + Sync {
    /// At most `limit` messages before `at`, oldest first and the last of them nearest to `at`. `None` when
    /// they cannot be read at the moment.
    fn before(&self, at: Cursor, limit: usize) -> Later<'_, Option<Vec<Earlier>>>;
}

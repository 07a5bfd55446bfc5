//! The chat while a turn is decided: as everybody who was asked so far would leave it, and the changes
//! that would make it so.
//!
//! Pure. Each handler is called on what those before it left; what one asked for becomes changes here, all
//! of a call or none of it.

use std::sync::Arc;

use hashring::PartitionId;
use model::{Attrs, Body, Change, Chat, ChatToken, Cursor, Message, MessageId, Roster, Route};
use plugin::{Call, Context, Effect, Ids};
use sha2::{Digest, Sha256};

use crate::Config;
use crate::effects::{Effects, Misfit, OnMisfit, SYSTEM};

/// Where and when a turn is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    /// The chat after everything appended.
    pub(crate) chat: &'a Chat,
    /// Its last message, committed or not.
    pub(crate) head: Cursor,
    /// Its partition.
    pub(crate) partition: PartitionId,
    /// The epoch it would be appended in.
    pub(crate) epoch: u64,
    /// The time of the entry: never before the chat's clock.
    pub(crate) now_ms: u64,
    /// What fits into a chat.
    pub(crate) config: &'a Config,
}

/// A turn's chat and changes so far.
#[derive(Debug)]
pub(crate) struct Play<'a> {
    pub(crate) scene: Scene<'a>,
    /// The chat with the changes so far, if they changed more than its messages.
    after: Option<Chat>,
    pub(crate) changes: Vec<Change>,
    next_index: u32,
}

impl Scene<'_> {
    /// Whether the chat is over, by its end or by itself.
    pub(crate) fn is_over(&self) -> bool {
        self.chat.over_ms(self.now_ms, self.config.grace_ms()).is_some()
    }

    /// The id of message `index` of this turn.
    pub(crate) fn id(&self, index: u32) -> MessageId {
        let Scene { chat, partition, epoch, .. } = *self;
        message_id(partition, chat.token, epoch, chat.turn, index)
    }
}

/// The id of message `index` of a chat's turn.
pub(crate) fn message_id(
    partition: PartitionId,
    chat: ChatToken,
    epoch: u64,
    turn: u64,
    index: u32,
) -> MessageId {
    MessageId::derive(first_byte(partition), chat, epoch, turn, index)
}

impl<'a> Play<'a> {
    /// Nothing has happened yet. The index of the first message that is added is 1: 0 is the sender's.
    pub(crate) fn new(scene: Scene<'a>) -> Self {
        Self { scene, after: None, changes: Vec::new(), next_index: 1 }
    }

    /// The chat as the next handler sees it.
    pub(crate) fn chat(&self) -> &Chat {
        self.after.as_ref().unwrap_or(self.scene.chat)
    }

    /// One more change.
    pub(crate) fn push(&mut self, change: Change) {
        let Scene { chat, now_ms, .. } = self.scene;
        self.after.get_or_insert_with(|| chat.clone()).change(&change, now_ms);
        self.changes.push(change);
    }

    /// The node itself says something to everyone.
    pub(crate) fn say(&mut self, kind: &str, what: &serde_json::Value) {
        let message = Message {
            id: self.scene.id(self.next_index),
            sender: SYSTEM.to_owned(),
            kind: kind.to_owned(),
            route: Route::Everyone,
            body: Body::Json(what.to_string()),
            archive: None,
            attrs: Attrs::new(),
            time_ms: self.scene.now_ms,
            sent_ms: None,
            stamps: Vec::new(),
        };
        self.next_index = self.next_index.saturating_add(1);
        self.push(Change::Message(Arc::new(message)));
    }

    /// What `plugin` is told of the chat, with `roster` in it if that is not the chat's own. The round tells
    /// the calls of one turn apart.
    pub(crate) fn call(&self, plugin: &str, roster: Option<&Arc<Roster>>, round: u8) -> Call {
        let chat = self.chat();
        let roster = roster.unwrap_or(&chat.roster);
        let Scene { partition, epoch, now_ms, head, .. } = self.scene;
        let turn = self.scene.chat.turn;
        Call {
            context: Context {
                chat: chat.token,
                head,
                now_ms,
                status: chat.status,
                started_ms: chat.started_ms,
                max_duration_ms: chat.max_duration_s.map(|seconds| seconds.saturating_mul(1000)),
                max_participants: chat.max_participants,
                participants: u32::try_from(roster.len()).unwrap_or(u32::MAX),
                chat_attrs: Arc::clone(&chat.attrs),
            },
            notes: chat.notes.get(plugin).map(Arc::clone).unwrap_or_default(),
            roster: Arc::clone(roster),
            waiting: chat.waiting.as_ref().map(Arc::clone),
            decisions: chat.decisions.get(plugin).map(Arc::clone),
            past: None,
            ids: Ids {
                partition: first_byte(partition),
                chat: chat.token,
                epoch,
                turn,
                next_index: self.next_index,
            },
            seed: seed(chat, epoch, turn, round, plugin),
        }
    }

    /// Takes what `plugin` asked for in one call: all of it, or nothing.
    pub(crate) fn take(&mut self, plugin: &str, effects: Vec<Effect>) -> Result<(), Misfit> {
        if effects.is_empty() {
            return Ok(());
        }
        let posts = effects.iter().filter(|effect| matches!(effect, Effect::Post(_))).count();
        let base = self.after.as_ref().unwrap_or(self.scene.chat);
        let mut taken = Effects::on(base, self.scene.now_ms, self.scene.config.roster_max);
        taken.take(plugin, effects, OnMisfit::Stop)?;
        let taken = taken.done();
        self.adopt(taken);
        self.next_index = self.next_index.saturating_add(u32::try_from(posts).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Does what nobody asked for.
    pub(crate) fn apply(&mut self, what: impl FnOnce(&mut Effects<'_>)) {
        let base = self.after.as_ref().unwrap_or(self.scene.chat);
        let mut taken = Effects::on(base, self.scene.now_ms, self.scene.config.roster_max);
        what(&mut taken);
        let taken = taken.done();
        self.adopt(taken);
    }

    fn adopt(&mut self, (changes, after): (Vec<Change>, Option<Chat>)) {
        self.changes.extend(changes);
        if after.is_some() {
            self.after = after;
        }
    }
}

/// The partition as message ids name it.
pub(crate) fn first_byte(partition: PartitionId) -> u8 {
    u8::try_from(partition.0).unwrap_or(u8::MAX)
}

/// The randomness of one call: the same again for the same call.
fn seed(chat: &Chat, epoch: u64, turn: u64, round: u8, plugin: &str) -> u64 {
    let digest = Sha256::new()
        .chain_update(b"carillon seed 1")
        .chain_update(chat.token.0)
        .chain_update(epoch.to_le_bytes())
        .chain_update(turn.to_le_bytes())
        .chain_update([round])
        .chain_update(plugin)
        .finalize();
    let mut seed = [0; 8];
    for (to, from) in seed.iter_mut().zip(digest) {
        *to = from;
    }
    u64::from_le_bytes(seed)
}

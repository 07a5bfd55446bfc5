//! One turn of a chat while it is decided: from the chat, a request and the handlers' replies to the
//! changes of one entry.
//!
//! Pure: it is asked what to show the next handler ([`Turn::call`]), told what that one answered
//! ([`Turn::hear`]), and says whether to go on. Nothing here has happened yet; a turn that is dropped
//! leaves nothing. Each handler sees the chat as those before it would leave it; a handler that refuses
//! leaves the chat as it was, with what it alone asked for.

use std::sync::Arc;

use hashring::PartitionId;
use model::{
    Answer, Attrs, Body, Change, Chat, Cursor, Message, MessageId, Participant, Route, Stamp,
};
use plugin::{Call, Context, Effect, Failure, Ids, OnFailure, Reply, Roster, Verdict};
use sha2::{Digest, Sha256};

use crate::effects::{Effects, Full, Misfit, OnMisfit};
use crate::{Code, Config, Refusal, RequestOutcome, Send};

/// The kind under which handlers are shown somebody who wants to join.
pub(crate) const JOIN: &str = "member.join";

/// The kind under which handlers are shown somebody who wants to leave.
pub(crate) const LEAVE: &str = "member.leave";

/// The index in ids of what is shown to handlers and never stored.
const NO_INDEX: u32 = u32::MAX;

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

/// A turn that is being decided.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    scene: Scene<'a>,
    /// The chat with the changes so far, if they changed more than its messages.
    after: Option<Chat>,
    changes: Vec<Change>,
    next_index: u32,
    shown: Shown,
}

/// What the handlers are looking at.
#[derive(Debug)]
struct Shown {
    message: Arc<Message>,
    sender: Participant,
    /// Who is in the chat, when that is not what `after` says: somebody who joins is not in yet.
    roster: Option<Arc<Roster>>,
    stamps: Vec<Stamp>,
    /// Where in the changes it belongs.
    at: usize,
    /// Tells the calls of two rounds in one turn apart.
    round: u8,
}

/// Who answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    /// The plugin.
    pub(crate) name: &'a str,
    /// Its version.
    pub(crate) version: &'a str,
    /// What its failure means.
    pub(crate) on_failure: OnFailure,
}

/// How a round goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Ask the next handler.
    Next,
    /// Nobody else is asked.
    Enough,
}

/// Why a turn is not played.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Stopped {
    /// A handler said no. This is what it asked for, and its answer.
    Refused {
        /// What is stored instead.
        changes: Vec<Change>,
        /// The answer.
        answer: Answer,
    },
    /// A handler broke, and its policy is `reject`. Nothing is stored.
    Failed(Box<Refusal>),
    /// A handler brings somebody in, or adds to them, and the chat is full. Nothing is stored.
    Full(Full),
}

impl<'a> Turn<'a> {
    /// Shows somebody who joins, or joins again.
    pub(crate) fn of_join(scene: Scene<'a>, id: &str, role: Option<&str>, attrs: &Attrs) -> Self {
        let before = scene.chat.roster.get(id);
        let role = role.or_else(|| before.map(|member| member.role.as_str())).unwrap_or_default();
        let join = Change::Join { id: id.to_owned(), role: role.to_owned(), attrs: attrs.clone() };
        let mut after = scene.chat.clone();
        after.change(&join, scene.now_ms);
        let mut shown = Shown::pseudo(&scene, JOIN, participant(&after, id));
        shown.roster = Some(Arc::clone(&scene.chat.roster));
        Self { scene, after: Some(after), changes: vec![join], next_index: 1, shown }
    }

    /// Shows somebody who leaves. [`Turn::left`] makes it so.
    pub(crate) fn of_leave(scene: Scene<'a>, id: &str) -> Self {
        let shown = Shown::pseudo(&scene, LEAVE, participant(scene.chat, id));
        Self { scene, after: None, changes: Vec::new(), next_index: 1, shown }
    }

    /// Shows a message. [`Turn::stored`] makes it so.
    pub(crate) fn of_message(scene: Scene<'a>, send: &Send) -> Self {
        let shown = Shown::message(&scene, scene.chat, send);
        Self { scene, after: None, changes: Vec::new(), next_index: 1, shown }
    }

    /// Shows a message, after its sender joined in the same turn.
    pub(crate) fn show_message(&mut self, send: &Send) {
        let mut shown = Shown::message(&self.scene, self.chat(), send);
        shown.at = self.changes.len();
        shown.round = self.shown.round + 1;
        self.shown = shown;
    }

    /// Nobody minded: they are gone.
    pub(crate) fn left(&mut self, id: &str) {
        self.changes.push(Change::Leave { id: id.to_owned() });
    }

    /// What `plugin` is told.
    pub(crate) fn call(&self, plugin: &str) -> Call {
        let chat = self.chat();
        let roster = self.shown.roster.as_ref().unwrap_or(&chat.roster);
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
            message: Arc::clone(&self.shown.message),
            sender: self.shown.sender.clone(),
            notes: chat.notes.get(plugin).map(Arc::clone).unwrap_or_default(),
            roster: Arc::clone(roster),
            ids: Ids {
                partition: first_byte(partition),
                chat: chat.token,
                epoch,
                turn,
                next_index: self.next_index,
            },
            seed: seed(chat, epoch, turn, self.shown.round, plugin),
        }
    }

    /// What a handler answered.
    pub(crate) fn hear(
        &mut self,
        who: Who<'_>,
        reply: Result<Reply, Failure>,
    ) -> Result<Flow, Stopped> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(failure) => return self.failed(who, &failure.to_string(), failure.retryable()),
        };
        let verdict = reply.verdict.name();
        let flow = match reply.verdict {
            Verdict::Reject { code, reason, retry_after_ms } => {
                return Err(self.refused(who, reply.effects, code, reason, retry_after_ms));
            }
            Verdict::Rewrite(body) => {
                let most = self.scene.config.message_bytes_max;
                if body.len() > most {
                    return self.failed(
                        who,
                        &format!("it rewrote to more than {most} bytes"),
                        false,
                    );
                }
                if let Some(flow) = self.effects(who, reply.effects)? {
                    return Ok(flow);
                }
                Arc::make_mut(&mut self.shown.message).body = body;
                return self.stamp(who, verdict, Flow::Next);
            }
            Verdict::Pass => Flow::Next,
            Verdict::Accept => Flow::Enough,
        };
        if let Some(flow) = self.effects(who, reply.effects)? {
            return Ok(flow);
        }
        self.stamp(who, verdict, flow)
    }

    /// The changes of a turn in which no message was shown.
    pub(crate) fn changes(self) -> Vec<Change> {
        self.changes
    }

    /// The changes of a turn whose message nobody minded, the message as it is stored, and which of the
    /// entry's messages it is.
    pub(crate) fn stored(self) -> (Vec<Change>, Arc<Message>, u32) {
        let Shown { mut message, stamps, at, .. } = self.shown;
        let mut changes = self.changes;
        if !stamps.is_empty() {
            Arc::make_mut(&mut message).stamps = stamps;
        }
        let own =
            changes.iter().take(at).filter(|change| matches!(change, Change::Message(_))).count();
        changes.insert(at, Change::Message(Arc::clone(&message)));
        (changes, message, u32::try_from(own).unwrap_or(u32::MAX))
    }

    /// The chat as the next handler sees it.
    fn chat(&self) -> &Chat {
        self.after.as_ref().unwrap_or(self.scene.chat)
    }

    /// Takes a call's effects; `Some` when they did not fit and the policy is to go on without them.
    fn effects(&mut self, who: Who<'_>, effects: Vec<Effect>) -> Result<Option<Flow>, Stopped> {
        if effects.is_empty() {
            return Ok(None);
        }
        let posts = effects.iter().filter(|effect| matches!(effect, Effect::Post(_))).count();
        let base = self.after.as_ref().unwrap_or(self.scene.chat);
        let mut taken = Effects::on(base, self.scene.now_ms, self.scene.config.roster_max);
        match taken.take(who.name, effects, OnMisfit::Stop) {
            Ok(()) => {}
            Err(Misfit::Full(full)) => return Err(Stopped::Full(full)),
            Err(Misfit::Pairs(on)) => {
                return self
                    .failed(who, &format!("no more attributes fit on {on}"), false)
                    .map(Some);
            }
        }
        let (changes, after) = taken.done();
        self.changes.extend(changes);
        if after.is_some() {
            self.after = after;
        }
        self.next_index = self.next_index.saturating_add(u32::try_from(posts).unwrap_or(u32::MAX));
        Ok(None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the last line of a round")]
    fn stamp(&mut self, who: Who<'_>, verdict: &str, flow: Flow) -> Result<Flow, Stopped> {
        self.shown.stamps.push(Stamp {
            plugin: who.name.to_owned(),
            version: who.version.to_owned(),
            verdict: verdict.to_owned(),
        });
        Ok(flow)
    }

    fn failed(&mut self, who: Who<'_>, why: &str, retryable: bool) -> Result<Flow, Stopped> {
        match who.on_failure {
            OnFailure::Skip => self.stamp(who, "skipped", Flow::Next),
            OnFailure::Reject => {
                let detail = format!("handler {} failed: {why}", who.name);
                let mut refusal = Refusal::new(Code::PluginFailed, detail)
                    .with_outcome(RequestOutcome::NotCommitted);
                refusal.plugin = Some(who.name.to_owned());
                refusal.retryable = retryable;
                Err(Stopped::Failed(Box::new(refusal)))
            }
        }
    }

    /// A refusal and what the refusing handler asked for, on the chat as it was before this turn.
    fn refused(
        &self,
        who: Who<'_>,
        effects: Vec<Effect>,
        reason_code: String,
        reason: String,
        retry_after_ms: Option<u32>,
    ) -> Stopped {
        let Scene { chat, now_ms, config, .. } = self.scene;
        let mut taken = Effects::on(chat, now_ms, config.roster_max);
        // Cannot be an error: what does not fit is left out.
        let _fits = taken.take(who.name, effects, OnMisfit::LeaveOut);
        let plugin = who.name.to_owned();
        let answer = Answer::Refused { plugin, reason_code, reason, retry_after_ms };
        Stopped::Refused { changes: taken.done().0, answer }
    }
}

impl Shown {
    fn message(scene: &Scene<'_>, chat: &Chat, send: &Send) -> Self {
        let message = Message {
            id: scene.id(0),
            sender: send.sender.clone(),
            kind: send.kind.clone(),
            route: send.route.clone(),
            body: send.body.clone(),
            attrs: send.attrs.clone(),
            time_ms: scene.now_ms,
            sent_ms: send.sent_ms,
            stamps: Vec::new(),
        };
        Self::of(message, participant(chat, &send.sender))
    }

    /// A message that is only shown: who it is about is its sender.
    fn pseudo(scene: &Scene<'_>, kind: &str, about: Participant) -> Self {
        let body = serde_json::json!({ "id": about.id, "role": about.role });
        let message = Message {
            id: scene.id(NO_INDEX),
            sender: about.id.clone(),
            kind: kind.to_owned(),
            route: Route::Everyone,
            body: Body::Json(body.to_string()),
            attrs: about.attrs.clone(),
            time_ms: scene.now_ms,
            sent_ms: None,
            stamps: Vec::new(),
        };
        Self::of(message, about)
    }

    fn of(message: Message, sender: Participant) -> Self {
        let (message, stamps) = (Arc::new(message), Vec::new());
        Self { message, sender, roster: None, stamps, at: 0, round: 1 }
    }
}

impl Scene<'_> {
    /// The id of message `index` of this turn.
    fn id(&self, index: u32) -> MessageId {
        let Scene { chat, partition, epoch, .. } = *self;
        MessageId::derive(first_byte(partition), chat.token, epoch, chat.turn, index)
    }
}

/// A participant, or what somebody who is none looks like.
fn participant(chat: &Chat, id: &str) -> Participant {
    let there = chat.roster.get(id).cloned();
    there.unwrap_or_else(|| Participant { id: id.to_owned(), ..Participant::default() })
}

/// The partition as message ids name it.
fn first_byte(partition: PartitionId) -> u8 {
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

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;

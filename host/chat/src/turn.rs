//! One turn of a chat while it is decided: from the chat, a request and the handlers' replies to the
//! changes of one entry.
//!
//! Pure: it is asked what to show the next handler ([`Turn::call`]), told what that one answered
//! ([`Turn::hear`]), and says whether to go on. Nothing here has happened yet; a turn that is dropped
//! leaves nothing. Each handler sees the chat as those before it would leave it; a handler that refuses
//! leaves the chat as it was, with what it alone asked for. A handler that keeps the message back does not
//! end the round: the others decide now, so that letting it go needs nobody but those who kept it.

use std::sync::Arc;

use model::{
    Answer, Attrs, Body, Change, Chat, Cursor, Decision, Hold, Message, Participant, Roster, Route,
    Stamp,
};
use plugin::{Call, Effect, Failure, OnFailure, Reply, Said, Verdict};

use crate::chain::Handler;
use crate::effects::{Effects, Full, Misfit, OnMisfit};
use crate::play::{Play, Scene};
use crate::{Code, Refusal, RequestOutcome, Send};

/// The kind under which handlers are shown somebody who wants to join.
pub(crate) const JOIN: &str = "member.join";

/// The kind under which handlers are shown somebody who wants to leave.
pub(crate) const LEAVE: &str = "member.leave";

/// The index in ids of what is shown to handlers and never stored.
const NO_INDEX: u32 = u32::MAX;

/// How long a message is kept back for a handler that broke, when that is its policy: long enough to swap
/// the handler for one that works.
const HELD_FOR_FAILED_MS: u32 = 600_000;

/// The largest message that is kept as it came, in bytes of its body and pairs: two of the largest that are
/// accepted by default.
const ASKED_BYTES_MAX: usize = 128 << 10;

/// A turn that is being decided.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    play: Play<'a>,
    shown: Shown,
}

/// What the handlers are looking at.
#[derive(Debug)]
struct Shown {
    message: Arc<Message>,
    sender: Participant,
    /// Who is in the chat, when that is not what the play says: somebody who joins is not in yet.
    roster: Option<Arc<Roster>>,
    stamps: Vec<Stamp>,
    holds: Vec<Hold>,
    /// What was noted, and by whom, for those whose decisions are kept.
    decided: Vec<(String, Decision)>,
    /// It is stored if nobody minds; who comes and goes is only shown.
    is_message: bool,
    /// Where in the changes it belongs.
    at: usize,
    /// Tells the calls of two rounds in one turn apart.
    round: u8,
    /// As it came, once somebody has rewritten it.
    came: Option<Arc<Message>>,
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
    /// Whether it may be told later what it decided.
    pub(crate) recalls: bool,
}

impl<'a> Who<'a> {
    /// A handler.
    pub(crate) fn of(handler: &'a dyn Handler) -> Self {
        Self {
            name: handler.name(),
            version: handler.version(),
            on_failure: handler.on_failure(),
            recalls: handler.needs().recall,
        }
    }
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
    /// A handler broke, and its policy is `reject`; or too much is kept back. Nothing is stored.
    Failed(Box<Refusal>),
    /// A handler brings somebody in, or adds to them, and the chat is full. Nothing is stored.
    Full(Full),
}

/// Why nothing of a message's turn is stored.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Nothing {
    /// A handler broke, and its policy is `reject`; or too much is kept back.
    Failed(Box<Refusal>),
    /// The chat is full.
    Full(Full),
}

/// What a message's turn comes to, when nobody minded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Played {
    /// The message is stored.
    Stored {
        /// The changes of the entry.
        changes: Vec<Change>,
        /// Which of the entry's messages it is.
        own: u32,
    },
    /// The message is kept back.
    Held {
        /// The changes of the entry.
        changes: Vec<Change>,
        /// The answer.
        answer: Answer,
    },
}

impl<'a> Turn<'a> {
    /// Shows somebody who joins, or joins again.
    pub(crate) fn of_join(scene: Scene<'a>, id: &str, role: Option<&str>, attrs: &Attrs) -> Self {
        let before = scene.chat.roster.get(id);
        let role = role.or_else(|| before.map(|member| member.role.as_str())).unwrap_or_default();
        let mut play = Play::new(scene);
        play.push(Change::Join { id: id.to_owned(), role: role.to_owned(), attrs: attrs.clone() });
        let mut shown = Shown::pseudo(&scene, JOIN, participant(play.chat(), id));
        shown.roster = Some(Arc::clone(&scene.chat.roster));
        Self { play, shown }
    }

    /// Shows somebody who leaves. [`Turn::left`] makes it so.
    pub(crate) fn of_leave(scene: Scene<'a>, id: &str) -> Self {
        let shown = Shown::pseudo(&scene, LEAVE, participant(scene.chat, id));
        Self { play: Play::new(scene), shown }
    }

    /// Shows a message. [`Turn::played`] makes it so.
    pub(crate) fn of_message(scene: Scene<'a>, send: &Send) -> Self {
        let shown = Shown::message(&scene, scene.chat, send);
        Self { play: Play::new(scene), shown }
    }

    /// Shows a message, after its sender joined in the same turn.
    pub(crate) fn show_message(&mut self, send: &Send) {
        let head = self.play.scene.head;
        self.keep_decisions(head);
        let mut shown = Shown::message(&self.play.scene, self.play.chat(), send);
        shown.at = self.play.changes.len();
        shown.round = self.shown.round + 1;
        self.shown = shown;
    }

    /// Nobody minded: they are gone.
    pub(crate) fn left(&mut self, id: &str) {
        self.play.push(Change::Leave { id: id.to_owned() });
    }

    /// Where and when it is played.
    pub(crate) fn scene(&self) -> &Scene<'a> {
        &self.play.scene
    }

    /// What `plugin` is told of the chat.
    pub(crate) fn call(&self, plugin: &str) -> Call {
        self.play.call(plugin, self.shown.roster.as_ref(), self.shown.round)
    }

    /// What it is asked about.
    pub(crate) fn said(&self) -> Said {
        Said { message: Arc::clone(&self.shown.message), sender: self.shown.sender.clone() }
    }

    /// What a handler answered.
    pub(crate) fn hear(
        &mut self,
        who: Who<'_>,
        reply: Result<Reply, Failure>,
    ) -> Result<Flow, Stopped> {
        let Reply { verdict, notes, effects, .. } = match reply {
            Ok(reply) => reply,
            Err(failure) => return self.failed(who, &failure.to_string(), failure.retryable()),
        };
        let word = verdict.name();
        if let Verdict::Reject { code, reason, retry_after_ms } = verdict {
            let decision = self.decision(who, word, notes);
            let plugin = who.name.to_owned();
            let answer = Answer::Refused { plugin, reason_code: code, reason, retry_after_ms };
            return Err(self.refused(who, effects, decision, answer));
        }
        if let Some(why) = self.unfit(&verdict) {
            return self.failed(who, &why, false);
        }
        if let Some(flow) = self.effects(who, effects)? {
            return Ok(flow);
        }
        let mut flow = Flow::Next;
        match verdict {
            Verdict::Rewrite(body) => {
                self.shown.came.get_or_insert_with(|| Arc::clone(&self.shown.message));
                Arc::make_mut(&mut self.shown.message).body = body;
            }
            Verdict::Hold { reason, deadline_ms, accept } => {
                self.hold(who, reason, deadline_ms, accept)?;
            }
            Verdict::Accept => flow = Flow::Enough,
            Verdict::Pass | Verdict::Reject { .. } => {}
        }
        let decision = self.decision(who, word, notes);
        self.shown.decided.extend(decision);
        self.stamp(who, word);
        Ok(flow)
    }

    /// The changes of a turn in which no message was shown.
    pub(crate) fn changes(mut self) -> Vec<Change> {
        let head = self.play.scene.head;
        self.keep_decisions(head);
        self.play.changes
    }

    /// The changes of a turn in which `send` was shown, and its answer, whoever stopped it.
    ///
    /// # Errors
    /// Why nothing of it is stored.
    pub(crate) fn settled(
        self,
        send: &Send,
        stopped: Option<Stopped>,
    ) -> Result<(Vec<Change>, Answer), Nothing> {
        let now_ms = self.play.scene.now_ms;
        match stopped {
            None => Ok(match self.played(&send.key) {
                Played::Stored { changes, own } => {
                    let skew_ms = send.sent_ms.map(|sent_ms| skew_ms(sent_ms, now_ms));
                    (changes, Answer::Stored { own, skew_ms })
                }
                Played::Held { changes, answer } => (changes, answer),
            }),
            Some(Stopped::Refused { mut changes, answer }) => {
                let scene = &self.play.scene;
                let came = Shown::message(scene, scene.chat, send).message;
                changes.extend(asked(came));
                Ok((changes, answer))
            }
            Some(Stopped::Failed(refusal)) => Err(Nothing::Failed(refusal)),
            Some(Stopped::Full(full)) => Err(Nothing::Full(full)),
        }
    }

    /// What comes of a turn whose message, sent under `key`, nobody minded.
    pub(crate) fn played(mut self, key: &str) -> Played {
        let came = self.shown.came.take();
        if !self.shown.stamps.is_empty() {
            let mut stamps = std::mem::take(&mut self.shown.stamps);
            // It is in memory for long.
            stamps.shrink_to_fit();
            Arc::make_mut(&mut self.shown.message).stamps = stamps;
        }
        let message = Arc::clone(&self.shown.message);
        let Scene { head, epoch, chat, .. } = self.play.scene;
        if !self.shown.holds.is_empty() {
            self.keep_decisions(head);
            let answer = Answer::Held { id: message.id };
            let holds = std::mem::take(&mut self.shown.holds);
            let mut changes = self.play.changes;
            changes.push(Change::Hold { message, key: key.to_owned(), holds });
            changes.extend(came.and_then(asked));
            return Played::Held { changes, answer };
        }
        let at = self.shown.at;
        let before = self.play.changes.iter().take(at);
        let own = before.filter(|change| matches!(change, Change::Message(_))).count();
        let own = u32::try_from(own).unwrap_or(u32::MAX);
        self.keep_decisions(Cursor { epoch, seq: chat.messages + u64::from(own) + 1 });
        let mut changes = self.play.changes;
        // Nearly always it is the only one.
        changes.reserve_exact(1);
        changes.insert(at, Change::Message(message));
        changes.extend(came.and_then(asked));
        Played::Stored { changes, own }
    }

    /// What a verdict asks for and cannot have.
    fn unfit(&self, verdict: &Verdict) -> Option<String> {
        match verdict {
            Verdict::Rewrite(body) => {
                let most = self.play.scene.config.message_bytes_max;
                (body.len() > most).then(|| format!("it rewrote to more than {most} bytes"))
            }
            Verdict::Hold { .. } if !self.shown.is_message => {
                Some("it holds somebody who comes or goes; only messages can be kept back".into())
            }
            _ => None,
        }
    }

    /// Takes a call's effects; `Some` when they did not fit and the policy is to go on without them.
    fn effects(&mut self, who: Who<'_>, effects: Vec<Effect>) -> Result<Option<Flow>, Stopped> {
        match self.play.take(who.name, effects) {
            Ok(()) => Ok(None),
            Err(Misfit::Full(full)) => Err(Stopped::Full(full)),
            Err(misfit) => self.failed(who, &misfit.to_string(), false).map(Some),
        }
    }

    fn stamp(&mut self, who: Who<'_>, verdict: &str) {
        self.shown.stamps.push(Stamp {
            plugin: who.name.to_owned(),
            version: who.version.to_owned(),
            verdict: verdict.to_owned(),
        });
    }

    /// One more who keeps the message back, if the chat holds one more.
    fn hold(
        &mut self,
        who: Who<'_>,
        reason: String,
        deadline_ms: u32,
        accept: bool,
    ) -> Result<(), Stopped> {
        let waiting = self.play.chat().waiting.as_ref();
        if waiting.is_some_and(|waiting| !waiting.has_room_for(&self.shown.message)) {
            let detail = "no more messages of this chat can be kept back for now";
            let refusal = Refusal::new(Code::Overloaded, detail);
            let refusal = refusal.with_outcome(RequestOutcome::NotCommitted);
            return Err(Stopped::Failed(Box::new(refusal)));
        }
        let plugin = who.name.to_owned();
        self.shown.holds.push(Hold { plugin, reason, deadline_ms, accept });
        Ok(())
    }

    fn failed(&mut self, who: Who<'_>, why: &str, retryable: bool) -> Result<Flow, Stopped> {
        match who.on_failure {
            OnFailure::Skip => {
                self.stamp(who, "skipped");
                Ok(Flow::Next)
            }
            OnFailure::Hold if self.shown.is_message => {
                let reason = format!("handler {} failed: {why}", who.name);
                self.hold(who, reason, HELD_FOR_FAILED_MS, false)?;
                let decision = self.decision(who, "hold", Vec::new());
                self.shown.decided.extend(decision);
                self.stamp(who, "hold");
                Ok(Flow::Next)
            }
            OnFailure::Reject | OnFailure::Hold => {
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
        decision: Option<(String, Decision)>,
        answer: Answer,
    ) -> Stopped {
        let Scene { chat, now_ms, config, .. } = self.play.scene;
        let mut taken = Effects::on(chat, now_ms, config.roster_max);
        // Cannot be an error: what does not fit is left out.
        let _fits = taken.take(who.name, effects, OnMisfit::LeaveOut);
        let mut changes = taken.done().0;
        changes.extend(decision.map(|(plugin, decision)| Change::Decided { plugin, decision }));
        Stopped::Refused { changes, answer }
    }

    /// What is kept of a decision, if anything is; where its message stands is not known yet.
    fn decision(
        &self,
        who: Who<'_>,
        verdict: &str,
        notes: Vec<(String, String)>,
    ) -> Option<(String, Decision)> {
        if notes.is_empty() && !who.recalls {
            return None;
        }
        let decision = Decision {
            at: self.play.scene.head,
            message: self.shown.message.id,
            version: who.version.to_owned(),
            verdict: verdict.to_owned(),
            notes,
        };
        Some((who.name.to_owned(), decision))
    }

    /// What was decided about a message that stands at `at` becomes part of the entry.
    fn keep_decisions(&mut self, at: Cursor) {
        for (plugin, mut decision) in std::mem::take(&mut self.shown.decided) {
            decision.at = at;
            self.play.changes.push(Change::Decided { plugin, decision });
        }
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
            archive: send.archive.as_ref().and_then(|naming| naming.exact()),
            attrs: send.attrs.clone(),
            time_ms: scene.now_ms,
            sent_ms: send.sent_ms,
            stamps: Vec::new(),
        };
        Self { is_message: true, ..Self::of(message, participant(chat, &send.sender)) }
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
            archive: None,
            attrs: about.attrs.clone(),
            time_ms: scene.now_ms,
            sent_ms: None,
            stamps: Vec::new(),
        };
        Self::of(message, about)
    }

    fn of(message: Message, sender: Participant) -> Self {
        Self {
            message: Arc::new(message),
            sender,
            roster: None,
            stamps: Vec::new(),
            holds: Vec::new(),
            decided: Vec::new(),
            is_message: false,
            at: 0,
            round: 1,
            came: None,
        }
    }
}

/// Keeps a message as it came beside what became of it, unless it is so large that an entry might not hold
/// both: then its decision cannot be made again.
fn asked(came: Arc<Message>) -> Option<Change> {
    let pairs: usize = came.attrs.iter().map(|(name, value)| name.len() + value.len()).sum();
    (came.body.len() + pairs <= ASKED_BYTES_MAX).then_some(Change::Asked(came))
}

/// The sender's clock minus ours.
fn skew_ms(sent_ms: u64, now_ms: u64) -> i64 {
    let between = i64::try_from(sent_ms.abs_diff(now_ms)).unwrap_or(i64::MAX);
    if sent_ms < now_ms { -between } else { between }
}

/// A participant, or what somebody who is none looks like.
pub(crate) fn participant(chat: &Chat, id: &str) -> Participant {
    let there = chat.roster.get(id).cloned();
    there.unwrap_or_else(|| Participant { id: id.to_owned(), ..Participant::default() })
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
